// A synthetic shop with held-out events, mined by the program and audited by it: what tests of the
// audit share.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "host/data/embeddings.h"
#include "host/data/tables.h"
#include "tests/support/cli.h"
#include "tests/support/editable_set.h"

namespace quarry::test {

using Json = nlohmann::ordered_json;

inline const char* const kAuditRecipe = R"(name = "audited"
k = 8
metric = "ip"
[exposure]
positive = ["purchase", "like"]
aversion = ["dislike"]
disinterest = ["skip"]
[safety]
filters = [
  { kind = "positives" },
  { kind = "exposed", classes = ["ambiguous"] },
  { kind = "group", column = "group" },
  { kind = "near_duplicate", cosine = 0.98 },
  { kind = "time" },
]
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 60, max_rank = 500 }
filters = [
  { kind = "exposed", classes = ["aversion", "disinterest"] },
  { kind = "relative_margin", ratio = 0.95, against = "min" },
  { kind = "rank", window = [1, 300], of = "survivors" },
]
select = { kind = "sample", weight = { kind = "simans", a = 0.5, b = 0.0 } }
[[branch]]
name = "random"
share = 0.5
source = { kind = "uniform" }
[quota]
by = "popularity"
shares = { head = 0.4, torso = 0.35, tail = 0.25 }
cap = [{ column = "seller", per_row = 4 }]
backfill = ["random", "hard"]
)";

class AuditWorldTest : public CliTest {
 protected:
  static constexpr std::uint32_t kShopItems = 600, kShopUsers = 250, kShopDim = 16;

  /// What one audit said.
  struct Audited {
    int code = -1;
    std::string out, err;
    Json json;
    std::set<std::string> raised;  ///< gates that warn or fail
    std::set<std::string> failed;
    std::string status(const std::string& gate) const {
      for (const Json& g : json["gates"]) {
        if (g["id"] == gate) return g["status"];
      }
      return "absent";
    }
    Json gate(const std::string& id) const {
      for (const Json& g : json["gates"]) {
        if (g["id"] == id) return g;
      }
      return nullptr;
    }
    Json metric(const std::string& id) const {
      for (const Json& s : json["sections"]) {
        for (const Json& m : s["metrics"]) {
          if (m["id"] == id) return m["value"];
        }
      }
      return nullptr;
    }
    Json table(const std::string& id) const {
      for (const Json& s : json["sections"]) {
        for (const Json& t : s["tables"]) {
          if (t["id"] == id) return t;
        }
      }
      return nullptr;
    }
    Json rows(const std::string& id) const { return table(id)["rows"]; }
  };

  /// The world `shop` with the seed, and the time at which its log ends.
  std::string synth(int seed, int users = kShopUsers, int items = kShopItems) {
    fs::remove_all(path("shop"));
    const Args args = {"synth",
                       "--out",
                       path("shop"),
                       "--users",
                       std::to_string(users),
                       "--items",
                       std::to_string(items),
                       "--dim",
                       std::to_string(kShopDim),
                       "--events-per-user",
                       "30",
                       "--leaks",
                       "0",
                       "--seed",
                       std::to_string(seed),
                       "--threads",
                       "1",
                       "--json"};
    const Result r = run(args);
    EXPECT_EQ(r.code, 0) << r.err;
    return std::to_string(Json::parse(r.out)["as_of"].get<std::int64_t>());
  }

  /// The set `set` of world 1, without fault.
  void mine_clean_set() {
    write_file("audited.toml", kAuditRecipe);
    as_of_ = synth(1);
    const Result mined = run(mine_shop("set", as_of_));
    ASSERT_EQ(mined.code, 0) << mined.err;
  }

  /// What it was mined from, and what came later.
  void load_tables() {
    const IdMap items = IdMap::identity(kShopItems), users = IdMap::identity(kShopUsers);
    const Recipe recipe = parse_recipe(kAuditRecipe, "audited", 0);
    exposure_ = read_exposure(shop("events.csv"), {}, recipe.exposure, users, items,
                              std::stoll(as_of_), UnknownIds::kReject);
    later_ = read_exposure(shop("heldout.csv"), {}, recipe.exposure, users, items, std::nullopt,
                           UnknownIds::kReject);
    catalogue_ = read_catalogue(shop("catalogue.csv"), {}, items, UnknownIds::kReject);
    items_ = Embeddings::open(shop("items.npy"));
    users_ = Embeddings::open(shop("users.npy"));
  }

  const float* vector(const Embeddings& table, std::uint32_t row) const {
    return static_cast<const float*>(table.view().data) + std::size_t{row} * kShopDim;
  }
  /// Of two items.
  double cosine(std::uint32_t a, std::uint32_t b) const {
    double ab = 0, aa = 0, bb = 0;
    for (std::uint32_t d = 0; d < kShopDim; ++d) {
      const double x = vector(items_, a)[d], y = vector(items_, b)[d];
      ab += x * y, aa += x * x, bb += y * y;
    }
    return ab / std::sqrt(aa * bb);
  }

  std::string shop(const std::string& file) const { return path("shop/" + file); }

  Args mine_shop(const std::string& out, const std::string& as_of, const Args& more = {}) const {
    Args args = {"mine",
                 "--items",
                 shop("items.npy"),
                 "--users",
                 shop("users.npy"),
                 "--events",
                 shop("events.csv"),
                 "--catalogue",
                 shop("catalogue.csv"),
                 "--recipe",
                 path("audited.toml"),
                 "--threads",
                 "1",
                 "--out",
                 path(out)};
    if (!as_of.empty()) args.insert(args.end(), {"--as-of", as_of});
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  Audited audit(const std::string& set, const Args& more = {}) const {
    Args args = {"audit", path(set), "--json"};
    args.insert(args.end(), more.begin(), more.end());
    if (std::find(more.begin(), more.end(), "--threads") == more.end())
      args.insert(args.end(), {"--threads", "1"});
    const Result r = run(args);
    Audited a{r.code, r.out, r.err, Json::parse(r.out, nullptr, false), {}, {}};
    if (a.json.is_discarded()) {
      ADD_FAILURE() << "no JSON: " << r.err;
      return a;
    }
    for (const Json& gate : a.json["gates"]) {
      if (gate["status"] == "fail") a.failed.insert(gate["id"].get<std::string>());
      if (gate["status"] == "fail" || gate["status"] == "warn")
        a.raised.insert(gate["id"].get<std::string>());
    }
    EXPECT_EQ(a.code, a.failed.empty() ? 0 : 8) << r.err;
    EXPECT_EQ(a.json["verdict"], a.failed.empty() ? "pass" : "fail");
    return a;
  }

  std::string as_of_;  ///< end of the log
  Exposure exposure_, later_;
  Catalogue catalogue_;
  Embeddings items_, users_;
};

}  // namespace quarry::test

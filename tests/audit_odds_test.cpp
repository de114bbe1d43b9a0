// quarry audit computes probabilities (logq) and sampling thresholds (kappa) again: what the miner
// wrote is that, bit by bit, for recipes of all sorts; one bit, another pick, seed or weight is
// found.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "host/audit/pick_odds.h"
#include "host/audit/strata.h"
#include "host/data/tables.h"
#include "tests/support/audit_world.h"

namespace quarry {
namespace {

using namespace test;
using Gates = std::set<std::string>;

struct OddsCase {
  const char* name;
  std::string branches;
  std::string rest;
  std::string metric = "ip";
  std::string safety = "{ kind = \"positives\" }, { kind = \"time\" }";
};

std::string branch(const std::string& name, double share, const std::string& source,
                   const std::string& filters, const std::string& select) {
  return "[[branch]]\nname = \"" + name + "\"\nshare = " + std::to_string(share) +
         "\nsource = " + source + "\nfilters = [" + filters + "]\n" +
         (select.empty() ? "" : "select = " + select + "\n");
}
std::string sample(const std::string& weight) {
  return "{ kind = \"sample\", weight = " + weight + " }";
}

const char* const kTopk = "{ kind = \"topk\", pool = 40, max_rank = 200 }";
const char* const kUniform = "{ kind = \"uniform\" }";
const char* const kPopular = "{ kind = \"popularity\", beta = 0.7 }";
const char* const kQuota =
    "[strata]\npopularity = { bins = 3, names = [\"tail\", \"torso\", \"head\"] }\n[quota]\n"
    "by = \"popularity\"\nshares = { head = 0.5, torso = 0.3, tail = 0.2 }\n"
    "cap = [{ column = \"seller\", per_row = 2 }]\n";

std::string recipe_of(const OddsCase& c) {
  return std::string("name = \"odds\"\nk = 8\nmetric = \"") + c.metric +
         "\"\n[exposure]\npositive = [\"purchase\", \"like\"]\naversion = [\"dislike\"]\n"
         "disinterest = [\"skip\"]\n[safety]\nfilters = [" +
         c.safety + "]\n" + c.branches + c.rest;
}

/// The weight alone, beside random negatives.
OddsCase weighted(const char* name, const std::string& weight) {
  return {name,
          branch("hard", 0.5, kTopk,
                 "{ kind = \"relative_margin\", ratio = 0.9, against = \"min\" }", sample(weight)) +
              branch("random", 0.5, kUniform, "", ""),
          ""};
}

std::vector<OddsCase> cases() {
  std::vector<OddsCase> all = {
      weighted("softmax", "{ kind = \"softmax\", tau = 0.3 }"),
      weighted("simans", "{ kind = \"simans\", a = 0.5, b = 0.1, centre = \"mean\" }"),
      weighted("random_centre", "{ kind = \"distance\", tau = 2.0, centre = \"random\" }"),
      weighted("popularity", "{ kind = \"popularity\", beta = -0.5, smoothing = 1.0 }"),
      weighted("geometric", "{ kind = \"rank_geometric\", lambda = 20 }"),
      weighted("rank_beta", "{ kind = \"rank_beta\", j = 3 }"),
      weighted("class",
               "{ kind = \"class\", non_consumption = 1.0, aversion = 3.0, ambiguous = "
               "2.0, disinterest = 0.5 }"),
      weighted("ahns",
               "{ kind = \"simans\", a = 0.5, centre = { kind = \"ahns\", a = 1.0, b = "
               "0.4, p = -2 } }"),
      weighted("sum",
               "[{ kind = \"softmax\", tau = 0.5 }, { kind = \"popularity\", beta = 0.3, "
               "smoothing = 1.0 }]")};
  const std::string even = sample("\"uniform\"");
  all.push_back(
      {"sources",
       branch("window", 0.25, kTopk, "{ kind = \"rank\", window = [5, 100] }", even) +
           branch("popular", 0.25, kPopular, "", "") +
           branch("seen", 0.25, "{ kind = \"exposed\", classes = [\"aversion\", \"disinterest\"] }",
                  "", even) +
           branch("all", 0.25, "{ kind = \"all\" }",
                  "{ kind = \"rank\", quantile = [0.1, 0.6], of = \"raw\" }",
                  sample("{ kind = \"softmax\", tau = 1.0 }")),
       ""});
  const std::string best = "{ kind = \"top1_sample\", weight = { kind = \"softmax\", tau = 0.4 } }";
  all.push_back({"best_first",
                 branch("a", 0.5, kTopk, "", best) +
                     branch("b", 0.45, kTopk, "", "{ kind = \"top\" }") +
                     branch("seldom", 0.05, kTopk, "", best),
                 ""});
  all.push_back({"replacement",
                 branch("a", 0.5, kTopk, "",
                        "{ kind = \"sample_replacement\", weight = { kind = \"softmax\", tau = 0.4 "
                        "} }") +
                     branch("b", 0.5, kPopular, "", "{ kind = \"sample_replacement\" }"),
                 ""});
  const std::string quotas =
      branch("hard", 0.5, kTopk, "{ kind = \"group\", column = \"group\" }", even) +
      branch("random", 0.25, kUniform, "", "") +
      branch("wide", 0.25, "{ kind = \"topk\", pool = 100, max_rank = 400 }",
             "{ kind = \"near_duplicate\", cosine = 0.9 }", even);
  all.push_back({"quota", quotas, kQuota});
  all.push_back({"redistributed", quotas, std::string(kQuota) + "redistribute = true\n"});
  // Pools that run out before their count, and picks beyond them.
  all.push_back({"short",
                 branch("hard", 0.7, "{ kind = \"topk\", pool = 9, max_rank = 9 }",
                        "{ kind = \"exposed\", classes = [\"ambiguous\"] }", even) +
                     branch("next", 0.3, "{ kind = \"topk\", pool = 6, max_rank = 30 }",
                            "{ kind = \"rank\", window = [2, 9] }", even),
                 kQuota});
  const std::string both =
      branch("hard", 0.5, kTopk, "", even) + branch("popular", 0.5, kPopular, "", "");
  all.push_back({"cosine", both, "", "cosine"});
  all.push_back({"l2", both, "", "l2"});
  all.push_back({"ages", both, "", "ip",
                 "{ kind = \"positives\" }, { kind = \"exposed\", classes = [\"ambiguous\", "
                 "\"aversion\"], max_age = \"20d\" }"});
  return all;
}

class AuditOddsTest : public AuditWorldTest {
 protected:
  static constexpr std::uint32_t kItems = 300, kUsers = 80;

  void SetUp() override {
    AuditWorldTest::SetUp();
    as_of_ = synth(4, kUsers, kItems);
    const IdMap items = IdMap::identity(kItems);
    catalogue_ = read_catalogue(shop("catalogue.csv"), {}, items, UnknownIds::kReject);
    items_ = Embeddings::open(shop("items.npy"));
    users_ = Embeddings::open(shop("users.npy"));
    exec_.threads = 1;
  }
  void mine(const std::string& out, const OddsCase& c, const Args& more = {}) {
    write_file("audited.toml", recipe_of(c));
    fs::remove_all(path(out));
    const Result r = run(mine_shop(out, as_of_, more));
    ASSERT_EQ(r.code, 0) << c.name << r.err;
  }
  /// In this process: all rows.
  OddsResult odds(const std::string& set_path, const OddsCase& c) {
    const Recipe recipe = parse_recipe(recipe_of(c), "audited", 0);
    const Exposure exposure =
        read_exposure(shop("events.csv"), {}, recipe.exposure, IdMap::identity(kUsers),
                      IdMap::identity(kItems), std::stoll(as_of_), UnknownIds::kReject);
    MinerInputs inputs;
    inputs.items = items_.view();
    inputs.users = users_.view();
    inputs.exposure = &exposure;
    inputs.catalogue = &catalogue_;
    const JudgeTables tables(exec_, recipe, inputs, 0, 0);
    std::optional<WantedStrata> strata;
    if (recipe.quota) strata = wanted_strata(tables);
    AuditSettings settings;
    settings.odds_rows = settings.odds_work = 1e12;
    return check_odds(NegativeSet::open(path(set_path), true), tables, strata ? &*strata : nullptr,
                      settings, exec_);
  }
  /// By the program: gates that raise, of these two.
  Gates raised(const std::string& set, const Args& more = {}) {
    write_file("gates.toml", "[settings]\nodds_rows = 100000\nodds_work = 1e12\n");
    Args args = {"--gates", path("gates.toml")};
    args.insert(args.end(), more.begin(), more.end());
    last_ = audit(set, args);
    Gates some;
    for (const char* gate : {"fill.logq", "fill.kappa"}) {
      if (last_.raised.count(gate) > 0) some.insert(gate);
    }
    return some;
  }
  Gates with(const std::function<void(EditableSet&)>& edit) {
    EditableSet set(path("set"));
    edit(set);
    fs::remove_all(path("edited"));
    set.write(path("edited"));
    return raised("edited");
  }

  Exec exec_;
  Audited last_;
};

TEST_F(AuditOddsTest, WhatTheMinerWroteIsComputedAgain) {
  std::set<std::string> thresholds;
  for (const OddsCase& c : cases()) {
    mine("set", c);
    const OddsResult r = odds("set", c);
    ASSERT_EQ(r.why_not, "") << c.name;
    EXPECT_GT(r.logqs, 1000u) << c.name;
    EXPECT_EQ(r.wrong_logqs, 0u) << c.name << ": " << r.first_logq;
    EXPECT_EQ(r.wrong_kappas, 0u) << c.name << ": " << r.first_kappa;
    if (r.kappas > 0) thresholds.insert(c.name);
    EXPECT_EQ(r.kappas == 0, !r.why_not_kappa.empty()) << c.name;
  }
  EXPECT_EQ(thresholds.size(), cases().size() - 2) << "all but redistributed and replacement";
}

TEST_F(AuditOddsTest, ThroughTheProgramWithPairsRowsAndSeeds) {
  std::string pairs = "user,item,score\n", rows = "user,item\n";
  for (std::uint32_t u = 0; u < kUsers; ++u) {
    for (std::uint32_t i = u % 5; i < kItems; i += 5)
      pairs += std::to_string(u) + "," + std::to_string(i) + "," + std::to_string(i % 7) + "\n";
    for (std::uint32_t i = u; i < u + 3; ++i)
      rows += std::to_string(u) + "," + std::to_string(i * 37 % kItems) + "\n";
  }
  write_file("pairs.csv", pairs);
  write_file("rows.csv", rows);
  const Args given = {"--pairs", "pairs=" + path("pairs.csv")};
  const std::string best = "{ kind = \"top1_sample\", weight = { kind = \"softmax\", tau = 0.4 } }";
  const OddsCase run = {"run",
                        branch("kept", 0.5, "{ kind = \"run\", table = \"pairs\" }", "", best) +
                            branch("hard", 0.5, kTopk, "", best),
                        ""};
  mine("set", run, given);
  EXPECT_EQ(raised("set"), Gates{}) << last_.err;
  EXPECT_EQ(last_.status("fill.kappa"), "pass");
  mine("set", weighted("column", "{ kind = \"column\", table = \"pairs\", coef = 1.5 }"), given);
  EXPECT_EQ(raised("set"), Gates{}) << last_.err;
  // Rows without times, and another seed and round.
  mine("set", cases()[12], {"--rows", path("rows.csv"), "--seed", "9", "--round", "3"});
  EXPECT_EQ(raised("set"), Gates{}) << last_.err;
  EXPECT_EQ(last_.status("fill.logq"), "pass");
  // What is not computed again says so.
  const OddsCase pool = {
      "pool", branch("dns", 1, "{ kind = \"pool\", n = 50 }", "", sample("\"uniform\"")), ""};
  mine("set", pool);
  EXPECT_EQ(raised("set"), Gates{});
  EXPECT_EQ(last_.status("fill.logq"), "not_checked");
  EXPECT_NE(last_.gate("fill.logq")["why"].get<std::string>().find("Branch 'dns'"),
            std::string::npos);
  const OddsCase top = {"top", branch("naive", 1, kTopk, "", "{ kind = \"top\" }"), ""};
  mine("set", top);
  EXPECT_EQ(raised("set"), Gates{});
  EXPECT_EQ(last_.status("fill.kappa"), "not_checked");
  mine("set", cases()[0], {"--retriever", "HNSW16"});
  EXPECT_EQ(raised("set"), Gates{}) << "a search that is not proven may have missed some";
  EXPECT_EQ(last_.status("fill.logq"), "not_checked") << last_.err;
}

TEST_F(AuditOddsTest, PlantedInTheSet) {
  const OddsCase c = cases()[0];
  mine("set", c);
  EditableSet set(path("set"));
  std::uint64_t planted = 0;
  for (std::uint64_t r = 0; r < set.rows(); r += 10, ++planted) {
    float& logq = set.batch.logq[set.slot(r, 0)];
    logq = std::nextafter(logq, 0.0f);
    float& kappa = set.batch.kappa[r * 2];
    kappa = std::isnan(kappa) ? 1.0f : std::nextafter(kappa, 9.0f);
  }
  set.write(path("bits"));
  const OddsResult r = odds("bits", c);
  EXPECT_EQ(r.wrong_logqs, planted);
  EXPECT_EQ(r.wrong_kappas, planted);
  EXPECT_EQ(r.first_logq.find("slot 0 of row 0 says"), 0u) << r.first_logq;
}

TEST_F(AuditOddsTest, PlantedDefectsAreFound) {
  mine("set", cases()[0]);
  ASSERT_EQ(raised("set"), Gates{}) << last_.err;
  const auto hard = [](const EditableSet& s, std::uint64_t row, std::uint32_t from = 0) {
    std::uint32_t j = from;
    while (s.batch.branch[s.slot(row, j)] != 0) ++j;
    return s.slot(row, j);
  };
  EXPECT_EQ(with([&](EditableSet& s) {
              float& logq = s.batch.logq[hard(s, 17)];
              logq = std::nextafter(logq, 0.0f);
            }),
            Gates{"fill.logq"});
  EXPECT_EQ(last_.gate("fill.logq")["value"], 1);
  EXPECT_EQ(with([&](EditableSet& s) { s.batch.logq[hard(s, 17)] = NAN; }), Gates{"fill.logq"});
  EXPECT_EQ(with([&](EditableSet& s) {
              float& kappa = s.batch.kappa[17 * 2];
              kappa = std::nextafter(kappa, 9.0f);
            }),
            Gates{"fill.kappa"});
  EXPECT_EQ(last_.gate("fill.kappa")["value"], 1);
  EXPECT_EQ(with([&](EditableSet& s) { s.batch.kappa[17 * 2] = NAN; }), Gates{"fill.kappa"});
  // Two picks change places: the probabilities are theirs still, the order is not that of the keys.
  EXPECT_EQ(with([&](EditableSet& s) {
              const std::size_t a = hard(s, 17), b = hard(s, 17, 1);
              ASSERT_NE(a, b);
              std::swap(s.batch.item[a], s.batch.item[b]);
              std::swap(s.batch.score[a], s.batch.score[b]);
              std::swap(s.batch.logq[a], s.batch.logq[b]);
            }),
            Gates{"fill.kappa"});
  // Chance is of the seed, probabilities are not.
  EXPECT_EQ(with([](EditableSet& s) { s.run["options"]["seed"] = 1; }), Gates{"fill.kappa"});
  const auto said = [&](const std::string& from, const std::string& to) {
    return with([&](EditableSet& s) {
      std::string text = s.run["recipe"]["text"];
      const auto at = text.find(from);
      ASSERT_NE(at, std::string::npos);
      s.run["recipe"]["text"] = text.replace(at, from.size(), to);
    });
  };
  EXPECT_EQ(said("tau = 0.3", "tau = 0.31"), (Gates{"fill.logq", "fill.kappa"}));
  EXPECT_EQ(said("pool = 40", "pool = 41"), (Gates{"fill.logq", "fill.kappa"}));
}

}  // namespace
}  // namespace quarry

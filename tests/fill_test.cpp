// Every empty slot has the right reason and every row that can be filled is: each row of each call
// explained by brute force.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "kernels/core/errors.h"
#include "tests/support/files.h"
#include "tests/support/mined.h"
#include "tests/support/oracle.h"
#include "tests/support/scale.h"
#include "tests/support/starved_shop.h"

namespace quarry {
namespace {

using namespace test;  // the starved users by name

constexpr std::uint8_t kExhausted = 1, kMaxRank = 2, kCap = 3, kQuota = 4, kBadRow = 5;
constexpr std::uint32_t kNoLimit = 0xFFFFFFFFu;
constexpr std::uint32_t kUsers = StarvedShop::kUsers, kItems = StarvedShop::kItems;
constexpr std::uint32_t kDim = StarvedShop::kDim, kRowsPerUser = StarvedShop::kRowsPerUser;

/// What a branch lets through, in the test's words.
struct Way {
  using LetsThrough =
      std::function<bool(const StarvedShop&, std::uint64_t row, std::uint32_t item)>;
  /// Source and filters but for ranks and the user's positives, which are always asked.
  LetsThrough lets_through = [](const StarvedShop&, std::uint64_t, std::uint32_t) { return true; };
  bool searches = false;                ///< topk or all
  std::uint32_t limit = kNoLimit;       ///< of the raw rank
  std::uint32_t lo = 1, hi = kNoLimit;  ///< of the survivor rank
  bool fills = true;                    ///< it is in the backfill
};

struct Request {
  std::string name, toml;
  std::vector<Way> ways;                    ///< of the branches
  std::vector<std::uint32_t> targets = {};  ///< slots of each category; empty: no quota
  bool redistribute = false;
  std::uint32_t per_seller = kNoLimit;
  std::uint32_t k = 20;  ///< perhaps more than the text may ask for
};

/// Items that a row could get by a branch.
std::set<std::uint32_t> reach(const StarvedShop& shop, const std::vector<std::uint32_t>& ranking,
                              std::uint64_t row, const Way& way) {
  std::set<std::uint32_t> items;
  std::uint32_t raw = 0, survivors = 0;
  for (const std::uint32_t item : ranking) {
    if (++raw > way.limit) break;
    if (shop.owns(row, item) || !way.lets_through(shop, row, item)) continue;
    ++survivors;
    if (survivors >= way.lo && survivors <= way.hi) items.insert(item);
  }
  return items;
}

/// Explains every slot of a row and counts what it saw by code.
void explain(const StarvedShop& shop, const Request& request, const NegativeBatch& b,
             std::uint64_t row, std::uint64_t* codes) {
  SCOPED_TRACE(request.name + ", row " + std::to_string(row) + " of user " +
               std::to_string(shop.user(row)));
  const std::size_t at = row * b.k;
  const std::uint32_t count = b.count[row];
  for (std::uint32_t i = 0; i < b.k; ++i) {
    ASSERT_EQ(b.fill[at + i] == 0, i < count);
    ASSERT_EQ(b.item[at + i] == kNoItem, i >= count);
    codes[b.fill[at + i]] += 1;
  }
  const std::vector<std::uint32_t> ranking = shop.ranked(row);
  std::set<std::uint32_t> could, could_fill;
  bool stops_early = false;
  const bool backfill = std::any_of(request.ways.begin(), request.ways.end(),
                                    [](const Way& way) { return way.fills; });
  for (const Way& way : request.ways) {
    const std::set<std::uint32_t> items = reach(shop, ranking, row, way);
    could.insert(items.begin(), items.end());
    if (way.fills) could_fill.insert(items.begin(), items.end());
    stops_early = stops_early || ((way.fills || !backfill) && way.searches && way.limit < kItems);
  }
  const bool quota = !request.targets.empty();
  const auto stratum = [&](std::uint32_t item) { return quota ? shop.code("category", item) : 0u; };
  const std::vector<std::uint32_t> targets =
      quota ? request.targets : std::vector<std::uint32_t>{b.k};
  std::vector<std::uint32_t> filled(targets.size(), 0);
  std::vector<std::uint32_t> sold(shop.num_codes("seller"), 0);
  std::set<std::uint32_t> picked;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t item = b.item[at + i];
    ASSERT_TRUE(could.count(item) != 0) << "item " << item << " in slot " << i;
    ASSERT_TRUE(picked.insert(item).second) << "item " << item << " twice";
    ASSERT_EQ(b.stratum[at + i], stratum(item));
    sold[shop.code("seller", item)] += 1;
    filled[stratum(item)] += 1;
  }
  for (std::size_t s = 1; s < sold.size(); ++s) ASSERT_LE(sold[s], request.per_seller);

  // What is against each item that could stand in the row and does not: nothing, or a cap alone.
  std::vector<std::uint64_t> available(targets.size(), 0);
  std::vector<std::uint32_t> free(targets.size(), 0), capped(targets.size(), 0);
  for (const std::uint32_t item : could_fill) {
    available[stratum(item)] += 1;
    if (picked.count(item) != 0) continue;
    const std::uint32_t seller = shop.code("seller", item);
    const bool full = seller != 0 && sold[seller] >= request.per_seller;
    (full ? capped : free)[stratum(item)] += 1;
  }
  std::vector<std::uint32_t> lacks(targets.size(), 0);
  for (std::size_t s = 0; s < targets.size(); ++s) {
    ASSERT_TRUE(request.redistribute || filled[s] <= targets[s]) << "stratum " << s;
    if (filled[s] < targets[s]) {
      lacks[s] = targets[s] - filled[s];
      ASSERT_TRUE(!backfill || free[s] == 0) << "stratum " << s << " is short and could be filled";
    }
    if (!request.redistribute) continue;
    if (targets[s] == 0) {
      ASSERT_EQ(filled[s], 0u) << "stratum " << s << " has no share";
    } else {
      ASSERT_TRUE(count == b.k || free[s] == 0) << "stratum " << s << " could take more";
    }
  }
  if (request.redistribute && request.per_seller == kNoLimit) {
    // Without caps it is known how many each stratum gets of what the others could not fill.
    std::vector<std::uint64_t> weights(targets.begin(), targets.end()), caps, placed;
    std::uint64_t rest = b.k;
    for (std::size_t s = 0; s < targets.size(); ++s)
      rest -= std::min<std::uint64_t>(targets[s], available[s]);
    for (std::size_t s = 0; s < targets.size(); ++s)
      caps.push_back(
          std::min(rest, available[s] - std::min<std::uint64_t>(targets[s], available[s])));
    oracle::largest_remainder(rest, weights, caps, &placed);
    for (std::size_t s = 0; s < targets.size(); ++s) {
      ASSERT_EQ(filled[s], std::min<std::uint64_t>(targets[s], available[s]) + placed[s])
          << "stratum " << s;
    }
  }
  if (request.redistribute) {  // what nobody could take is nobody's in particular: listed as 0's
    lacks.assign(targets.size(), 0);
    lacks[0] = b.k - count;
  }
  std::uint32_t slot = count;
  for (std::size_t s = 0; s < targets.size(); ++s) {
    const std::uint8_t code = capped[s] > 0                    ? kCap
                              : stops_early                    ? kMaxRank
                              : quota && !request.redistribute ? kQuota
                                                               : kExhausted;
    for (std::uint32_t n = 0; n < lacks[s]; ++n, ++slot) {
      ASSERT_EQ(b.stratum[at + slot], s) << "slot " << slot;
      ASSERT_EQ(b.fill[at + slot], code) << "slot " << slot << " of stratum " << s;
    }
  }
  ASSERT_EQ(slot, b.k);
}

std::string recipe_of(const std::string& head, const std::string& safety, const std::string& rest) {
  return "name = \"fill\"\nk = 20\n" + head + "\n[safety]\nfilters = [\"positives\"" + safety +
         "]\n" + rest;
}
std::string branch_of(const std::string& name, const std::string& share, const std::string& source,
                      const std::string& filters = "") {
  return "[[branch]]\nname = \"" + name + "\"\nshare = " + share + "\nsource = " + source +
         "\nfilters = [" + filters + "]\n";
}

// Twentieths, so that k = 20 gives every category its slots whatever the row's chance is.
const std::vector<std::uint32_t> kTargets = {3, 5, 3, 3, 0, 4, 2};
constexpr const char* kQuotaText = R"([strata]
category = { column = "category" }
[quota]
by = "category"
shares = { "" = 0.15, category1 = 0.25, category2 = 0.15, category3 = 0.15, category5 = 0.2, void = 0.1 }
)";

std::vector<Request> requests() {
  const auto exposed = [](const StarvedShop& s, std::uint64_t row, std::uint32_t item) {
    return s.exposure(row, item) == 2 || s.exposure(row, item) == 3;
  };
  const auto paired = [](const StarvedShop& s, std::uint64_t row, std::uint32_t item) {
    return s.has_pair(row, item);
  };
  const auto has_positive = [](const StarvedShop& s, std::uint64_t row, std::uint32_t) {
    return s.has_positive(row);
  };
  const auto no_positive = [](const StarvedShop& s, std::uint64_t row, std::uint32_t) {
    return !s.has_positive(row);
  };
  const auto nothing = [](const StarvedShop&, std::uint64_t, std::uint32_t) { return false; };
  const auto in_time = [](const StarvedShop& s, std::uint64_t row, std::uint32_t item) {
    const Catalogue& c = s.world().catalogue;
    const std::int64_t t = s.world().rows.time[row];
    return c.first_seen[item] <= t && t < c.retired[item];
  };
  const auto far_below = [](const StarvedShop& s, std::uint64_t row, std::uint32_t item) {
    return s.score(row, item) <= -5.0f;
  };
  struct Source {
    std::string text;
    Way way;
  };
  const std::vector<Source> everything = {
      {"\"uniform\"", {}},
      {"\"popularity^0.5\"", {}},
      {"{ kind = \"pool\", n = 300 }", {}},
      {"\"all\"", {.searches = true}},
      {"{ kind = \"topk\", pool = 25 }", {.searches = true}},
      {"{ kind = \"topk\", pool = 25, max_rank = 240 }",
       {.searches = true}},  // the whole catalogue
      {"{ kind = \"topk\", pool = 25, max_rank = 80 }", {.searches = true, .limit = 80}}};
  std::vector<Source> sources = everything;
  sources.push_back({"{ kind = \"exposed\", classes = [\"aversion\", \"disinterest\"] }",
                     {.lets_through = exposed}});
  sources.push_back({"{ kind = \"run\", table = \"pairs\" }", {.lets_through = paired}});
  sources.push_back({"{ kind = \"near\", n = 300 }", {.lets_through = has_positive}});

  std::vector<Request> all;
  for (const Source& s : sources) {
    for (const std::uint32_t k : {20u, 300u}) {  // 300: more than there are items
      all.push_back({s.text + ", k = " + std::to_string(k),
                     recipe_of("", "", branch_of("b", "1.0", s.text)),
                     {s.way},
                     {},
                     false,
                     kNoLimit,
                     k});
    }
  }
  // Filters that let nothing, or hardly anything, through.
  struct Wall {
    std::string text;
    Way::LetsThrough lets_through;
  };
  const std::vector<Wall> walls = {
      {"{ kind = \"score\", lo = 1000000.0 }", nothing},
      {"{ kind = \"score\", hi = -5.0 }", far_below},
      {"{ kind = \"allow_list\", list = \"none\" }", nothing},
      {"{ kind = \"time\" }", in_time},
      {"{ kind = \"similarity\", max = -1.0 }", no_positive},
      {"{ kind = \"absolute_margin\", margin = 1000.0 }", no_positive}};
  for (const Wall& wall : walls) {
    for (Source s : everything) {
      s.way.lets_through = wall.lets_through;
      all.push_back({s.text + ", " + wall.text,
                     recipe_of("", ", " + wall.text, branch_of("b", "1.0", s.text)),
                     {s.way}});
    }
  }
  // Windows: of raw ranks to and beyond the end of the catalogue, of survivors that many rows lack.
  const auto window = [&all](const std::string& text, const Way& way) {
    all.push_back({"window " + text,
                   recipe_of("", "",
                             branch_of("b", "1.0", "{ kind = \"topk\", pool = 25 }",
                                       "{ kind = \"rank\", " + text + " }")),
                   {way}});
  };
  window("window = [1, 60], of = \"raw\"", {.searches = true, .limit = 60});
  window("window = [1, 500], of = \"raw\"", {.searches = true});
  window("quantile = [0.0, 0.25], of = \"raw\"", {.searches = true, .limit = 60});
  window("window = [100, 190]", {.searches = true, .lo = 100, .hi = 190});
  window("window = [230, 400]", {.searches = true, .lo = 230, .hi = 400});
  // Quotas whose strata are empty, owned or beyond the rank searched, with and without
  // redistribution and caps.
  for (const Source& s : everything) {
    for (const bool redistribute : {false, true}) {
      for (const std::uint32_t per_seller : {kNoLimit, 1u, 2u}) {
        std::string quota = kQuotaText;
        if (redistribute) quota += "redistribute = true\n";
        if (per_seller != kNoLimit) {
          quota +=
              "cap = [{ column = \"seller\", per_row = " + std::to_string(per_seller) + " }]\n";
        }
        all.push_back({s.text + ", quota" + (redistribute ? ", redistributed" : "") + ", cap " +
                           std::to_string(per_seller),
                       recipe_of("", "", branch_of("b", "1.0", s.text) + quota),
                       {s.way},
                       kTargets,
                       redistribute,
                       per_seller});
      }
    }
  }
  // A cap without a quota.
  for (const Source& s : everything) {
    all.push_back({s.text + ", cap",
                   recipe_of("cap = [{ column = \"seller\", per_row = 1 }]", "",
                             branch_of("b", "1.0", s.text)),
                   {s.way},
                   {},
                   false,
                   1});
  }
  // Two branches of which one, the other, both or none may fill what is missing.
  for (const std::string backfill :
       {"[]", "[\"hard\"]", "[\"random\"]", "[\"random\", \"hard\"]"}) {
    const auto named = [&](const char* name) { return backfill.find(name) != std::string::npos; };
    for (const bool quota : {false, true}) {
      all.push_back(
          {"backfill " + backfill + (quota ? ", quota" : ""),
           recipe_of(
               "", "",
               branch_of("hard", "0.5", "{ kind = \"topk\", pool = 15, max_rank = 60 }") +
                   branch_of("random", "0.5", "\"uniform\"", "{ kind = \"score\", hi = -5.0 }") +
                   (quota ? kQuotaText : "[quota]\n") + "backfill = " + backfill + "\n"),
           {{.searches = true, .limit = 60, .fills = named("hard")},
            {.lets_through = far_below, .fills = named("random")}},
           quota ? kTargets : std::vector<std::uint32_t>{}});
    }
  }
  return all;
}

TEST(Fill, EveryEmptySlotIsExplained) {
  std::uint64_t codes[kNumFillCodes] = {}, rows = 0;
  const std::vector<Request> all = requests();
  for (int seed = 1; seed <= test::test_scale(); ++seed) {
    const StarvedShop shop(static_cast<std::uint32_t>(seed));
    const test::TestWorld& w = shop.world();
    const RowTable ordinary =
        rows_where(w.rows, [&](std::uint64_t r) { return shop.user(r) >= kNumStarved; });
    for (const Request& request : all) {
      Recipe recipe = parse_recipe(request.toml, "fill.toml", 0);
      recipe.k = request.k;
      const MinerOptions options{.seed = static_cast<std::uint32_t>(seed), .tile_rows = 50};
      const test::Mined mined = test::mine_all(recipe, w.inputs, w.rows_view, options);
      std::uint64_t seen[kNumFillCodes] = {};
      for (std::uint64_t r = 0; r < shop.num_rows(); ++r)
        explain(shop, request, mined.all, r, seen);
      if (HasFailure()) return;
      for (std::uint32_t code = 1; code < kNumFillCodes; ++code)
        EXPECT_EQ(mined.report.counters.missing[code], seen[code]) << request.name;
      EXPECT_EQ(mined.report.counters.emitted, seen[0]) << request.name;
      for (std::uint32_t code = 0; code < kNumFillCodes; ++code) codes[code] += seen[code];
      rows += shop.num_rows();
      // The others' rows do not notice who was starved beside them.
      const test::Mined alone = test::mine_all(recipe, w.inputs, view_of(ordinary), options);
      ASSERT_EQ(alone.all.num_rows, shop.num_rows() - kNumStarved * kRowsPerUser);
      for (std::uint64_t r = 0; r < alone.all.num_rows; ++r) {
        ASSERT_EQ(test::row_difference(mined.all, r + kNumStarved * kRowsPerUser, alone.all, r), "")
            << request.name << ", row " << r;
      }
    }
  }
  for (std::uint32_t code = 0; code < kBadRow; ++code) EXPECT_GT(codes[code], 1000u) << code;
  std::printf(
      "%zu recipes, %llu rows; filled %llu, exhausted %llu, max_rank %llu, cap %llu, "
      "quota %llu, bad_row %llu\n",
      all.size(), static_cast<unsigned long long>(rows), static_cast<unsigned long long>(codes[0]),
      static_cast<unsigned long long>(codes[1]), static_cast<unsigned long long>(codes[2]),
      static_cast<unsigned long long>(codes[3]), static_cast<unsigned long long>(codes[4]),
      static_cast<unsigned long long>(codes[5]));
}

TEST(Fill, RowsWhoseOwnVectorCannotBeScoredSayBadRow) {
  const StarvedShop shop(1);
  const test::TestWorld& w = shop.world();
  std::vector<float> vectors;
  for (std::uint64_t r = 0; r < shop.num_rows(); ++r) {
    const auto first = w.users.begin() + static_cast<std::ptrdiff_t>(r % kUsers) * kDim;
    vectors.insert(vectors.end(), first, first + kDim);
  }
  const float spoilers[] = {std::numeric_limits<float>::quiet_NaN(), HUGE_VALF, -HUGE_VALF};
  for (const Metric metric : {Metric::kInnerProduct, Metric::kCosine, Metric::kL2}) {
    Recipe recipe =
        parse_recipe(recipe_of("", "",
                               branch_of("hard", "0.5", "{ kind = \"topk\", pool = 25 }") +
                                   branch_of("random", "0.5", "\"uniform\"") + kQuotaText),
                     "fill.toml", 0);
    recipe.metric = metric;
    RowsView view = w.rows_view;
    std::vector<float> sound = vectors, spoilt = vectors;
    for (std::uint32_t i = 0; i < kDim; ++i) sound[kNoScore * kDim + i] = 1.0f;
    std::set<std::uint64_t> bad;
    for (std::uint64_t r = 0; r < shop.num_rows(); ++r) {
      float* vector = spoilt.data() + r * kDim;
      std::copy_n(sound.data() + (r % kUsers) * kDim, kDim, sound.data() + r * kDim);
      std::copy_n(sound.data() + r * kDim, kDim, vector);
      if (r % 7 == 3) vector[r % kDim] = spoilers[r % 3];
      if (r % 7 == 5 && metric == Metric::kCosine) std::fill_n(vector, kDim, 0.0f);  // no norm
      if (!std::equal(vector, vector + kDim, sound.data() + r * kDim)) bad.insert(r);
    }
    view.queries = sound.data();
    const test::Mined before = test::mine_all(recipe, w.inputs, view, {.seed = 1});
    view.queries = spoilt.data();
    const test::Mined after = test::mine_all(recipe, w.inputs, view, {.seed = 1, .tile_rows = 40});
    for (std::uint64_t r = 0; r < shop.num_rows(); ++r) {
      if (bad.count(r) == 0) {
        ASSERT_EQ(test::row_difference(before.all, r, after.all, r), "") << "row " << r;
        continue;
      }
      ASSERT_EQ(after.all.count[r], 0u);
      for (std::uint32_t i = 0; i < 20; ++i) ASSERT_EQ(after.all.fill[r * 20 + i], kBadRow);
    }
    EXPECT_EQ(after.report.counters.missing[kBadRow], bad.size() * 20);
    EXPECT_EQ(before.report.counters.missing[kBadRow], 0u);
  }
}

TEST(Fill, AStratumThatDoesNotExistIsRefusedByName) {
  const StarvedShop shop(1);
  const auto refuse = [&](const std::string& from, const std::string& to, const std::string& word) {
    std::string text = recipe_of("", "", branch_of("b", "1.0", "\"uniform\"") + kQuotaText);
    text.replace(text.find(from), from.size(), to);
    testing::expect_error<ConfigError>(
        [&] { Miner(parse_recipe(text, "fill.toml", 0), shop.world().inputs, {}); }, {word});
  };
  refuse("category5 = 0.2", "category9 = 0.2", "category9");
  refuse("column = \"category\"", "column = \"colour\"", "colour");
  refuse("by = \"category\"", "by = \"size\"", "size");
}

}  // namespace
}  // namespace quarry

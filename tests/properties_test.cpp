// What must hold for every row of every run, checked by rules written out again here: over 10^6
// rows nothing forbidden is emitted, nothing repeats, quotas are met or their slack is explained,
// counters add up, and what must not matter (event order, a masked item at the end, scores times a
// power of two) does not.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/support/worlds.h"

namespace quarry {
namespace {

constexpr const char* kRecipe = R"(
name = "properties"
k = 8
metric = "ip"
[safety]
filters = [
  { kind = "positives" },
  { kind = "exposed", classes = ["ambiguous"] },
  { kind = "group", column = "group" },
  { kind = "near_duplicate", cosine = 0.95 },
  { kind = "time" },
]
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 60, max_rank = 600 }
filters = [
  { kind = "exposed", classes = ["aversion", "disinterest"] },
  { kind = "relative_margin", ratio = 0.95, against = "min" },
]
select = { kind = "sample", weight = { kind = "softmax", tau = 1.0 } }
[[branch]]
name = "exposed"
share = 0.1
source = { kind = "exposed", classes = ["aversion", "disinterest"] }
[[branch]]
name = "random"
share = 0.4
source = { kind = "uniform" }
[quota]
by = "popularity"
shares = { head = 0.4, torso = 0.35, tail = 0.25 }
cap = [{ column = "seller", per_row = 2 }]
backfill = ["random", "hard"]
)";

float dot(const float* x, const float* y, std::uint32_t dim) {
  double sum = 0;
  for (std::uint32_t i = 0; i < dim; ++i) sum += double{x[i]} * y[i];
  return static_cast<float>(sum);
}

/// The rules of kRecipe in plain words over a world.
class Rules {
 public:
  explicit Rules(const test::TestWorld& w)
      : w_(w), classes_(w.inputs.users.rows), groups_(w.inputs.users.rows) {
    const CatalogueColumn& group = *w.catalogue.find("group");
    for (std::uint32_t u = 0; u < w.inputs.users.rows; ++u) {
      for (std::uint64_t i = w.exposure.offsets[u]; i < w.exposure.offsets[u + 1]; ++i) {
        classes_[u][w.exposure.items[i]] = static_cast<ExposureClass>(w.exposure.classes[i]);
        if (w.exposure.classes[i] == 1) groups_[u].insert(group.codes[w.exposure.items[i]]);
      }
    }
    for (std::uint32_t i = 0; i < w.inputs.items.rows; ++i) {
      norms_.push_back(std::sqrt(dot(item(i), item(i), w.inputs.items.dim)));
    }
  }

  /// Which rule the pick breaks, "" if none. Scores within a rounding error of a bound are let
  /// pass.
  std::string broken(std::uint64_t row, std::uint32_t x, std::uint32_t branch) const {
    const std::uint32_t u = w_.rows.user[row];
    const auto seen = classes_[u].find(x);
    const ExposureClass c =
        seen == classes_[u].end() ? ExposureClass::kNonConsumption : seen->second;
    if (c == ExposureClass::kPositive) return "own positive";
    if (c == ExposureClass::kAmbiguous) return "ambiguous";
    const std::uint32_t code = w_.catalogue.find("group")->codes[x];
    if (code != 0 && groups_[u].count(code) != 0) return "group mate";
    if (w_.catalogue.first_seen[x] > w_.rows.time[row]) return "from the future";
    if (w_.catalogue.retired[x] <= w_.rows.time[row]) return "retired";
    const std::uint32_t dim = w_.inputs.items.dim;
    float least = HUGE_VALF;
    for (std::uint64_t p = w_.rows.positive_offsets[row]; p < w_.rows.positive_offsets[row + 1];
         ++p) {
      const std::uint32_t y = w_.rows.positives[p];
      if (dot(item(x), item(y), dim) > (0.95f + 1e-5f) * norms_[x] * norms_[y])
        return "near-duplicate";
      least = std::min(least, dot(user(u), item(y), dim));
    }
    if (branch == 1 && c == ExposureClass::kNonConsumption) return "not exposed";
    if (branch == 0) {
      if (c != ExposureClass::kNonConsumption) return "exposed";
      if (least < HUGE_VALF &&
          dot(user(u), item(x), dim) > least - 0.05f * std::fabs(least) + 1e-4f)
        return "margin";
    }
    return "";
  }

 private:
  const float* item(std::uint32_t i) const {
    return w_.items.data() + std::size_t{i} * w_.inputs.items.dim;
  }
  const float* user(std::uint32_t u) const {
    return w_.users.data() + std::size_t{u} * w_.inputs.users.dim;
  }
  const test::TestWorld& w_;
  std::vector<std::map<std::uint32_t, ExposureClass>> classes_;
  std::vector<std::set<std::uint32_t>> groups_;
  std::vector<float> norms_;
};

TEST(Properties, HoldOverAMillionRows) {
  const Recipe recipe = parse_recipe(kRecipe, "properties.toml", 0);
  const auto w = test::make_world({.users = 5000,
                                   .items = 1500,
                                   .dim = 16,
                                   .rows_per_user = 200,
                                   .events_per_user = 40,
                                   .seed = 5});
  const Rules rules(*w);
  const CatalogueColumn& seller = *w->catalogue.find("seller");
  Miner miner(recipe, w->inputs, {.exec = {.threads = 2}, .seed = 7});
  std::uint64_t rows = 0, emitted = 0, missing = 0, quota_error = 0;
  std::uint64_t by_code[kNumFillCodes] = {};
  std::vector<std::uint64_t> by_stratum(3), by_branch(3);
  miner.mine(w->rows_view, [&](const NegativeBatch& b) {
    for (std::uint32_t r = 0; r < b.num_rows; ++r) {
      const std::uint64_t row = b.first_row + r;
      std::uint32_t strata[3] = {};
      for (std::uint32_t i = 0; i < b.k; ++i) {
        const std::size_t at = std::size_t{r} * b.k + i;
        by_code[b.fill[at]] += 1;
        if (i >= b.count[r]) {
          ASSERT_EQ(b.item[at], kNoItem) << "row " << row;
          ASSERT_NE(b.fill[at], 0);
          missing += 1;
          continue;
        }
        const std::uint32_t x = b.item[at];
        ASSERT_EQ(b.fill[at], 0);
        ASSERT_LT(x, w->inputs.items.rows);
        ASSERT_EQ(rules.broken(row, x, b.branch[at]), "") << "row " << row << " item " << x;
        std::uint32_t sold = 0;
        for (std::uint32_t j = 0; j < i; ++j) {
          ASSERT_NE(b.item[at - i + j], x) << "row " << row << " repeats";
          sold += seller.codes[b.item[at - i + j]] == seller.codes[x] ? 1 : 0;
        }
        ASSERT_TRUE(seller.codes[x] == 0 || sold < 2) << "row " << row << " breaks the cap";
        strata[b.stratum[at]] += 1;
        by_stratum[b.stratum[at]] += 1;
        by_branch[b.branch[at]] += 1;
      }
      emitted += b.count[r];
      // Systematic rounding: each stratum's target is the floor or the ceiling of its share; only
      // short rows miss it.
      const double share[3] = {0.25, 0.35, 0.4};
      for (int s = 0; s < 3; ++s) {
        ASSERT_LE(strata[s], std::ceil(8 * share[s])) << "row " << row;
        if (b.count[r] == b.k) quota_error += strata[s] < std::floor(8 * share[s]) ? 1 : 0;
      }
    }
    rows += b.num_rows;
  });
  ASSERT_EQ(rows, 1000000u);
  EXPECT_EQ(quota_error, 0u);
  EXPECT_EQ(emitted + missing, rows * 8);
  EXPECT_EQ(by_code[0], emitted);
  const Counters& c = miner.report().counters;
  EXPECT_EQ(c.rows, rows);
  EXPECT_EQ(c.requested, rows * 8);
  EXPECT_EQ(c.emitted, emitted);
  for (std::uint32_t code = 1; code < kNumFillCodes; ++code)
    EXPECT_EQ(c.missing[code], by_code[code]);
  for (std::uint32_t b = 0; b < 3; ++b) {
    std::uint64_t rejected = 0;
    for (const std::uint64_t n : c.branch[b].rejected) rejected += n;
    EXPECT_EQ(c.branch[b].picked, by_branch[b]);
    if (b < 2) {
      EXPECT_EQ(c.branch[b].examined, rejected + c.branch[b].pool);
    } else {
      // Draws end as a pick, a rejection, a repeat or a refusal; enumeration picks without a draw.
      EXPECT_LE(c.branch[b].examined,
                rejected + c.branch[b].repeats + c.branch[b].refused + c.branch[b].picked);
      EXPECT_GE(c.branch[b].examined, rejected + c.branch[b].repeats + c.branch[b].refused);
    }
  }
  // The set as a whole meets the shares within the sampling error of the short rows.
  EXPECT_NEAR(static_cast<double>(by_stratum[2]) / static_cast<double>(emitted), 0.4, 0.01);
  RecordProperty("rows", static_cast<int>(rows));
  std::printf("%llu rows, %llu negatives, %llu missing, 0 violations\n",
              static_cast<unsigned long long>(rows), static_cast<unsigned long long>(emitted),
              static_cast<unsigned long long>(missing));
}

std::vector<std::uint32_t> ids(const Recipe& recipe, const test::TestWorld& w) {
  std::vector<std::uint32_t> out;
  Miner miner(recipe, w.inputs, {.seed = 9});
  miner.mine(w.rows_view,
             [&](const NegativeBatch& b) { out.insert(out.end(), b.item.begin(), b.item.end()); });
  return out;
}

TEST(Properties, AMaskedItemAppendedLastChangesNoId) {
  const Recipe recipe = parse_recipe(kRecipe, "properties.toml", 0);
  const auto w = test::make_world({.users = 30, .items = 400, .dim = 8, .rows_per_user = 5});
  const Snapshot frozen = make_snapshot(w->exposure, 400);
  w->inputs.snapshot = &frozen;
  const auto before = ids(recipe, *w);
  // The new item scores above everything for everybody, and is retired before any row.
  for (std::uint32_t d = 0; d < 8; ++d) w->items.push_back(50.0f);
  w->inputs.items = {w->items.data(), 401, 8, Dtype::kF32};
  w->exposure.item_count.push_back(0);
  w->catalogue.first_seen.push_back(0);
  w->catalogue.retired.push_back(0);
  for (CatalogueColumn& column : w->catalogue.columns) column.codes.push_back(0);
  EXPECT_EQ(ids(recipe, *w), before);
}

TEST(Properties, ScoresTimesAPowerOfTwoChangeNoId) {
  Recipe recipe = parse_recipe(kRecipe, "properties.toml", 0);
  recipe.branches[0].select = SelectKind::kTop;
  recipe.branches[0].weights.clear();
  const auto w =
      test::make_world({.users = 30, .items = 400, .dim = 8, .rows_per_user = 5, .ties = true});
  const auto before = ids(recipe, *w);
  for (float& x : w->users) x *= 8.0f;
  EXPECT_EQ(ids(recipe, *w), before);
}

TEST(Properties, AddingARowChangesNoOther) {
  const Recipe recipe = parse_recipe(kRecipe, "properties.toml", 0);
  const auto w = test::make_world({.users = 30, .items = 400, .dim = 8, .rows_per_user = 5});
  const auto all = ids(recipe, *w);
  w->rows_view.num_rows = 100;
  auto some = all;
  some.resize(800);
  EXPECT_EQ(ids(recipe, *w), some);
}

TEST(Properties, ALargerExclusionListNeverAddsWhatItExcludes) {
  const Recipe recipe = parse_recipe(kRecipe, "properties.toml", 0);
  const auto w = test::make_world({.users = 30, .items = 400, .dim = 8, .rows_per_user = 5});
  const auto before = ids(recipe, *w);
  // Each row's first negative becomes a positive of its user.
  RowTable more = w->rows;
  for (std::uint64_t r = 0; r < w->rows.size(); ++r) {
    if (before[r * 8] == kNoItem) continue;
    more.key.push_back(~w->rows.key[r]);
    more.user.push_back(w->rows.user[r]);
    more.time.push_back(w->rows.time[r]);
    more.positives.push_back(before[r * 8]);
    more.positive_offsets.push_back(more.positives.size());
  }
  w->inputs.rows = &more;
  const auto after = ids(recipe, *w);
  for (std::uint64_t r = 0; r < w->rows.size(); ++r) {
    for (std::uint32_t i = 0; i < 8; ++i)
      EXPECT_TRUE(after[r * 8 + i] != before[r * 8] || before[r * 8] == kNoItem);
  }
}

}  // namespace
}  // namespace quarry

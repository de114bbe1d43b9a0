// What must hold for every row of every run, checked by rules written out again here: over 10^6
// rows nothing forbidden is emitted, nothing repeats, quotas are met or their slack is explained,
// counters add up. What must not matter is in invariance_test.cpp and order_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "tests/support/mined.h"
#include "tests/support/oracle.h"
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
      : w_(w),
        num_items_(w.inputs.items.rows),
        group_(w.catalogue.find("group")->codes),
        num_groups_(w.catalogue.find("group")->names.size()),
        classes_(w.inputs.users.rows * num_items_),
        groups_(w.inputs.users.rows * num_groups_) {
    const auto expose = [this](std::uint32_t u, std::uint32_t x, ExposureClass c) {
      classes_[u * num_items_ + x] = c;
      if (c == ExposureClass::kPositive) groups_[u * num_groups_ + group_[x]] = true;
    };
    for (std::uint32_t u = 0; u < w.inputs.users.rows; ++u) {
      for (std::uint64_t i = w.exposure.offsets[u]; i < w.exposure.offsets[u + 1]; ++i)
        expose(u, w.exposure.items[i], static_cast<ExposureClass>(w.exposure.classes[i]));
    }
    const RowTable& rows = *w.inputs.rows;
    for (std::uint64_t r = 0; r < rows.size(); ++r) {
      for (std::uint64_t p = rows.positive_offsets[r]; p < rows.positive_offsets[r + 1]; ++p)
        expose(rows.user[r], rows.positives[p], ExposureClass::kPositive);
    }
    for (std::uint32_t i = 0; i < w.inputs.items.rows; ++i) {
      norms_.push_back(std::sqrt(dot(item(i), item(i), w.inputs.items.dim)));
    }
  }

  /// Which rule the pick breaks, "" if none. Scores within a rounding error of a bound, `side` of
  /// it, are let pass; with a negative `side` they are taken to break it.
  std::string_view broken(std::uint64_t row, std::uint32_t x, std::uint32_t branch,
                          float side = 1.0f) const {
    const std::uint32_t u = w_.rows.user[row];
    const ExposureClass c = classes_[u * num_items_ + x];
    if (c == ExposureClass::kPositive) return "own positive";
    if (c == ExposureClass::kAmbiguous) return "ambiguous";
    if (group_[x] != 0 && groups_[u * num_groups_ + group_[x]]) return "group mate";
    if (w_.catalogue.first_seen[x] > w_.rows.time[row]) return "from the future";
    if (w_.catalogue.retired[x] <= w_.rows.time[row]) return "retired";
    const std::uint32_t dim = w_.inputs.items.dim;
    float least = HUGE_VALF;
    for (std::uint64_t p = w_.rows.positive_offsets[row]; p < w_.rows.positive_offsets[row + 1];
         ++p) {
      const std::uint32_t y = w_.rows.positives[p];
      if (dot(item(x), item(y), dim) > (0.95f + side * 1e-5f) * norms_[x] * norms_[y])
        return "near-duplicate";
      least = std::min(least, dot(user(u), item(y), dim));
    }
    if (branch == 1 && c == ExposureClass::kNonConsumption) return "not exposed";
    if (branch == 0) {
      if (c != ExposureClass::kNonConsumption) return "exposed";
      if (least < HUGE_VALF &&
          dot(user(u), item(x), dim) > least - 0.05f * std::fabs(least) + side * 1e-4f)
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
  std::size_t num_items_;
  const std::vector<std::uint32_t>& group_;
  std::size_t num_groups_;
  std::vector<ExposureClass> classes_;  // [users, items]
  std::vector<bool> groups_;            // [users, groups] of the user's positives
  std::vector<float> norms_;
};

/// Popularity bin of each item: by its place among all, in the order of (count, item).
std::vector<std::uint32_t> bins_of(const Exposure& exposure, std::uint32_t bins) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> order;
  for (std::uint32_t i = 0; i < exposure.item_count.size(); ++i)
    order.emplace_back(exposure.item_count[i], i);
  std::sort(order.begin(), order.end());
  std::vector<std::uint32_t> bin(order.size());
  for (std::size_t place = 0; place < order.size(); ++place)
    bin[order[place].second] = static_cast<std::uint32_t>(place * bins / order.size());
  return bin;
}

TEST(Properties, HoldOverAMillionRows) {
  constexpr std::uint32_t kUsers = 5000, kItems = 1500, kSeed = 7;
  const Recipe recipe = parse_recipe(kRecipe, "properties.toml", 0);
  const auto w = test::make_world({.users = kUsers,
                                   .items = kItems,
                                   .dim = 16,
                                   .rows_per_user = 200,
                                   .events_per_user = 40,
                                   .seed = 5});
  CatalogueColumn& seller =
      *std::find_if(w->catalogue.columns.begin(), w->catalogue.columns.end(),
                    [](const auto& column) { return column.name == "seller"; });
  for (std::uint32_t i = 0; i < kItems; ++i) seller.codes[i] = i % 5;
  // Some users own so much of one kind that no quota can be met for them: what is left to them are
  // a few items, or items of one seller, that are in no group.
  const std::vector<std::uint32_t> bin = bins_of(w->exposure, 3);
  RowTable all_rows = w->rows;
  for (std::uint32_t n = 0; n * 50 < kUsers; ++n) {
    all_rows.key.push_back(~std::uint64_t{n});
    all_rows.user.push_back(n * 50);
    all_rows.time.push_back(0);
    for (std::uint32_t i = 0; i < kItems; ++i) {
      const bool is_left = w->catalogue.find("group")->codes[i] == 0 &&
                           (n % 2 == 0 ? i % 7 == 0 : seller.codes[i] == 1);
      if (bin[i] == n % 3 && !is_left) all_rows.positives.push_back(i);
    }
    all_rows.positive_offsets.push_back(all_rows.positives.size());
  }
  w->inputs.rows = &all_rows;
  const Rules rules(*w);
  Miner miner(recipe, w->inputs, {.exec = {.threads = 2}, .seed = kSeed});
  std::uint64_t rows = 0, emitted = 0, missing = 0, short_rows = 0;
  std::uint64_t by_code[kNumFillCodes] = {};
  std::vector<std::uint64_t> by_stratum(3), by_branch(3);
  miner.mine(w->rows_view, [&](const NegativeBatch& b) {
    for (std::uint32_t r = 0; r < b.num_rows; ++r) {
      const std::uint64_t row = b.first_row + r;
      const std::size_t first = std::size_t{r} * b.k;
      const std::uint64_t key = w->rows.key[row];
      std::uint64_t strata[3] = {};
      const auto sold = [&](std::uint32_t x, std::uint32_t before) {
        std::uint32_t same = 0;
        for (std::uint32_t j = 0; j < before; ++j)
          same += seller.codes[b.item[first + j]] == seller.codes[x] ? 1 : 0;
        return seller.codes[x] == 0 ? 0 : same;
      };
      const auto is_picked = [&](std::uint32_t x, std::uint32_t before) {
        return std::find(b.item.begin() + static_cast<std::ptrdiff_t>(first),
                         b.item.begin() + static_cast<std::ptrdiff_t>(first + before),
                         x) != b.item.begin() + static_cast<std::ptrdiff_t>(first + before);
      };
      for (std::uint32_t i = 0; i < b.count[r]; ++i) {
        const std::size_t at = first + i;
        const std::uint32_t x = b.item[at];
        ASSERT_EQ(b.fill[at], 0);
        ASSERT_LT(x, kItems);
        ASSERT_EQ(rules.broken(row, x, b.branch[at]), "") << "row " << row << " item " << x;
        ASSERT_FALSE(is_picked(x, i)) << "row " << row << " repeats";
        ASSERT_LT(sold(x, i), 2u) << "row " << row << " breaks the cap";
        ASSERT_EQ(b.stratum[at], bin[x]) << "row " << row << " item " << x;
        strata[bin[x]] += 1;
        by_stratum[bin[x]] += 1;
        by_branch[b.branch[at]] += 1;
        by_code[0] += 1;
      }
      // What is missing has a reason: whatever there is of that kind breaks a rule, stands in the
      // row already, or a cap is against it.
      std::uint32_t looked_at = 3, code = 0;
      for (std::uint32_t i = b.count[r]; i < b.k; ++i) {
        const std::size_t at = first + i;
        const std::uint32_t s = b.stratum[at];
        ASSERT_EQ(b.item[at], kNoItem) << "row " << row;
        ASSERT_LT(s, 3u);
        strata[s] += 1;
        by_code[b.fill[at]] += 1;
        if (s != looked_at) {
          looked_at = s;
          code = 2;  // `hard` does not look at every item
          for (std::uint32_t x = 0; x < kItems; ++x) {
            if (bin[x] != s || is_picked(x, b.count[r]) || rules.broken(row, x, 2, -1.0f) != "")
              continue;
            ASSERT_GE(sold(x, b.count[r]), 2u) << "row " << row << " could have item " << x;
            code = 3;
          }
        }
        ASSERT_EQ(b.fill[at], code) << "row " << row << " stratum " << s;
        missing += 1;
      }
      short_rows += b.count[r] < b.k ? 1 : 0;
      emitted += b.count[r];
      const auto z = oracle::philox(
          {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32), 0, 5},
          {kSeed, 0});
      const std::vector<std::uint64_t> targets =
          oracle::systematic(8, {5, 7, 8}, std::uint64_t{z[0]} << 32 | z[1]);
      for (int s = 0; s < 3; ++s) ASSERT_EQ(strata[s], targets[s]) << "row " << row;
    }
    rows += b.num_rows;
  });
  ASSERT_EQ(rows, 1000000u);
  EXPECT_EQ(emitted + missing, rows * 8);
  EXPECT_EQ(by_code[0], emitted);
  EXPECT_GT(short_rows, 5000u);
  EXPECT_GT(by_code[2], 1000u);
  EXPECT_GT(by_code[3], 1000u);
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
  std::printf("%llu rows, %llu negatives, %llu missing in %llu rows, 0 violations\n",
              static_cast<unsigned long long>(rows), static_cast<unsigned long long>(emitted),
              static_cast<unsigned long long>(missing),
              static_cast<unsigned long long>(short_rows));
}

std::vector<std::uint32_t> ids(const Recipe& recipe, const test::TestWorld& w) {
  return test::mine_all(recipe, w.inputs, w.rows_view, {.seed = 9}).all.item;
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

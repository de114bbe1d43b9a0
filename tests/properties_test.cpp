// What must hold for every row of every run, checked by rules written out again here: over 10^6
// rows nothing forbidden is emitted, nothing repeats, quotas are met or their slack is explained,
// counters add up, and what must not matter (masked items at the end, scores times a power of two,
// other rows) does not. The order of files is order_test's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
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

// Every source but `near`, whose n neighbours another item can displace, every selection but those
// that depend on how large a score is, and no bound on raw ranks.
constexpr const char* kBroad = R"(
name = "broad"
k = 16
[safety]
filters = [
  { kind = "positives" },
  { kind = "exposed", classes = ["ambiguous"] },
  { kind = "group", column = "group" },
  { kind = "near_duplicate", cosine = 0.95 },
  { kind = "allow_list", list = "allowed" },
  { kind = "time" },
]
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
recency = { edges = ["2d"] }
[[branch]]
name = "hard"
share = 0.25
source = { kind = "topk", pool = 60 }
filters = [
  { kind = "exposed", classes = ["aversion", "disinterest"] },
  { kind = "relative_margin", ratio = 0.95, against = "min" },
]
select = { kind = "sample", weight = [{ kind = "rank_geometric", lambda = 20.0 }, { kind = "popularity", beta = 0.5 }] }
[[branch]]
name = "best"
share = 0.125
source = { kind = "topk", pool = 20 }
filters = [
  { kind = "relative_margin", ratio = 0.9, against = "mean" },
  { kind = "rank", window = [3, 60] },
]
[[branch]]
name = "first"
share = 0.125
source = { kind = "pool", n = 40 }
select = "first_violator"
[[branch]]
name = "seen"
share = 0.125
source = { kind = "exposed", classes = ["aversion", "disinterest"] }
[[branch]]
name = "listed"
share = 0.125
source = { kind = "run", table = "listed" }
select = "top1_sample"
[[branch]]
name = "popular"
share = 0.125
source = "popularity^0.5"
[[branch]]
name = "random"
share = 0.125
source = "uniform"
[quota]
by = ["popularity", "recency"]
shares = "catalogue"
redistribute = true
cap = [{ column = "seller", per_row = 2 }]
backfill = ["random", "hard"]
)";

std::unique_ptr<test::TestWorld> broad_world(std::uint32_t seed, bool ties) {
  auto w = test::make_world(
      {.users = 300, .items = 600, .dim = 12, .rows_per_user = 4, .ties = ties, .seed = seed});
  w->inputs.pairs["listed"] = &w->pairs;
  for (std::uint32_t i = 0; i < 600; ++i)
    if (i % 9 != 0) w->inputs.item_lists["allowed"].push_back(i);
  return w;
}

const MinerOptions kOptions{.exec = {.threads = 2}, .seed = 9};

int test_scale() {
  const char* scale = std::getenv("QUARRY_TEST_SCALE");
  return scale != nullptr ? std::max(1, std::atoi(scale)) : 1;
}

/// The way in which items that are appended last are kept from everybody.
enum class Masked : std::uint8_t { kRetired, kNotYetSeen, kNotAllowed, kAmbiguous };

void append_masked_item(test::TestWorld& w, Masked how) {
  const auto item = static_cast<std::uint32_t>(w.inputs.items.rows);
  const std::uint32_t dim = w.inputs.items.dim;
  // Far out: it scores above everything for one half of the users, below for the other.
  for (std::uint32_t d = 0; d < dim; ++d) w.items.push_back(50.0f);
  w.inputs.items = {w.items.data(), item + 1, dim, Dtype::kF32};
  w.exposure.item_count.push_back(0);
  w.catalogue.first_seen.push_back(how == Masked::kNotYetSeen ? 150000 : 0);
  w.catalogue.retired.push_back(how == Masked::kRetired ? 90000 : INT64_MAX);
  for (CatalogueColumn& column : w.catalogue.columns) column.codes.push_back(0);
  if (how != Masked::kNotAllowed) w.inputs.item_lists["allowed"].push_back(item);
  if (how != Masked::kAmbiguous) return;
  Exposure& e = w.exposure;
  for (std::size_t u = e.offsets.size() - 1; u > 0; --u) {  // from behind: places stay right
    const auto at = static_cast<std::ptrdiff_t>(e.offsets[u]);
    e.items.insert(e.items.begin() + at, item);
    e.classes.insert(e.classes.begin() + at, static_cast<std::uint8_t>(ExposureClass::kAmbiguous));
    e.last_time.insert(e.last_time.begin() + at, 1);
    e.positive_time.insert(e.positive_time.begin() + at, INT64_MIN);
    e.offsets[u] += u;
  }
}

/// Score of the last item for a row's user.
float far_score(const test::TestWorld& w, Metric metric, std::size_t row) {
  const std::uint32_t dim = w.inputs.items.dim;
  const auto first = w.users.begin() + static_cast<std::ptrdiff_t>(w.rows.user[row] * dim);
  std::vector<float> user(first, first + dim), item(w.items.end() - dim, w.items.end());
  if (metric == Metric::kL2) return oracle::l2(user, item);
  return metric == Metric::kCosine ? oracle::dot(oracle::unit(user), oracle::unit(item))
                                   : oracle::dot(user, item);
}

TEST(Properties, MaskedItemsAppendedLastChangeRawRanksAlone) {
  Recipe recipe = parse_recipe(kBroad, "broad.toml", 0);
  std::uint64_t rows = 0, passed = 0;
  for (int turn = 0; turn < 4 * test_scale(); ++turn) {
    const Masked how = static_cast<Masked>(turn % 4);
    const std::uint32_t masked = turn % 2 == 0 ? 7 : 1;
    for (const Metric metric : {Metric::kInnerProduct, Metric::kCosine, Metric::kL2}) {
      recipe.metric = metric;
      const auto w = broad_world(static_cast<std::uint32_t>(turn + 1), turn % 2 == 1);
      const Snapshot frozen = make_snapshot(w->exposure, 600);
      w->inputs.snapshot = &frozen;
      const test::Mined before = test::mine_all(recipe, w->inputs, w->rows_view, kOptions);
      for (std::uint32_t n = 0; n < masked; ++n) append_masked_item(*w, how);
      test::Mined after = test::mine_all(recipe, w->inputs, w->rows_view, kOptions);
      // Behind the items in a full ranking a place is later by their number; nowhere else.
      for (std::size_t at = 0; at < after.all.item.size(); ++at) {
        if (after.all.branch[at] > 1) continue;
        const bool ahead = far_score(*w, metric, at / recipe.k) > after.all.score[at];
        ASSERT_EQ(after.all.raw_rank[at], before.all.raw_rank[at] + (ahead ? masked : 0));
        after.all.raw_rank[at] = before.all.raw_rank[at];
        passed += ahead ? 1 : 0;
      }
      Counters& c = after.report.counters;
      for (std::uint32_t b = 0; b < 2; ++b) {  // counted where it is passed, under its own filter
        const std::uint64_t more = c.branch[b].examined - before.report.counters.branch[b].examined;
        c.branch[b].examined -= more;
        const std::size_t filter = how == Masked::kAmbiguous    ? 1
                                   : how == Masked::kNotAllowed ? 4
                                                                : 5;
        c.branch[b].rejected[filter] -= more;
        EXPECT_TRUE(metric != Metric::kInnerProduct || more > 300);
      }
      ASSERT_EQ(test::difference(before, after), "") << "turn " << turn;
      for (std::uint32_t b = 0; b < recipe.branches.size(); ++b) EXPECT_GT(c.branch[b].picked, 0u);
      rows += after.all.num_rows;
    }
  }
  EXPECT_GT(passed, rows / 10);
  std::printf("%llu rows, %llu negatives ranked behind the masked item\n",
              static_cast<unsigned long long>(rows), static_cast<unsigned long long>(passed));
}

TEST(Properties, ScoresTimesAPowerOfTwoChangeScoresAlone) {
  Recipe recipe = parse_recipe(kBroad, "broad.toml", 0);
  std::uint64_t rows = 0;
  for (int turn = 0; turn < 4 * test_scale(); ++turn) {
    const auto w = broad_world(static_cast<std::uint32_t>(turn + 1), turn % 2 == 1);
    const std::vector<float> items = w->items, users = w->users;
    for (const Metric metric : {Metric::kInnerProduct, Metric::kCosine, Metric::kL2}) {
      recipe.metric = metric;
      w->items = items, w->users = users;
      const test::Mined before = test::mine_all(recipe, w->inputs, w->rows_view, kOptions);
      const float up = turn % 4 < 2 ? 0x1p7f : 0x1p-5f;
      const float other = metric == Metric::kL2 ? up : 0x1p-2f;  // a distance has one unit
      for (float& x : w->users) x *= up;
      for (float& x : w->items) x *= other;
      test::Mined after = test::mine_all(recipe, w->inputs, w->rows_view, kOptions);
      const float times = metric == Metric::kCosine ? 1.0f : up * other;
      for (float& x : after.all.score) x /= times;
      for (float& x : after.all.positive_min) x /= times;
      ASSERT_EQ(test::difference(before, after), "") << "turn " << turn;
      for (std::uint32_t b = 0; b < recipe.branches.size(); ++b)
        EXPECT_GT(after.report.counters.branch[b].picked, 0u);
      rows += after.all.num_rows;
    }
  }
  std::printf("%llu rows\n", static_cast<unsigned long long>(rows));
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

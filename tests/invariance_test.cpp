// What must not matter to a set: masked items at the end of a frozen catalogue, and scores times a
// power of two. Every column and every counter is compared, over most sources and selections.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/mined.h"
#include "tests/support/oracle.h"
#include "tests/support/scale.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

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

TEST(Invariance, MaskedItemsAppendedLastChangeRawRanksAlone) {
  Recipe recipe = parse_recipe(kBroad, "broad.toml", 0);
  std::uint64_t rows = 0, passed = 0;
  for (int turn = 0; turn < 4 * test::test_scale(); ++turn) {
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

TEST(Invariance, ScoresTimesAPowerOfTwoChangeScoresAlone) {
  Recipe recipe = parse_recipe(kBroad, "broad.toml", 0);
  std::uint64_t rows = 0;
  for (int turn = 0; turn < 4 * test::test_scale(); ++turn) {
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

}  // namespace
}  // namespace quarry

// topk_toward against the whole ranking: where each list ends, and that nothing is missing from it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "kernels/core/exact_math.h"
#include "kernels/topk/topk.h"
#include "kernels/topk/topk_row.h"
#include "tests/support/counting_allocator.h"
#include "tests/support/upper_halves.h"

namespace quarry {
namespace {

struct Problem {
  std::uint32_t num_items = 0, dim = 0, rows = 0, num_owners = 0;
  std::vector<float> items, queries, bias, ceiling;
  std::vector<float> pass_above;  ///< empty: everything is listed
  std::vector<float> margin;
  std::uint32_t room = 0;
  Bf16Unit bf16 = Bf16Unit::kPortable;
  Int8Unit int8 = Int8Unit::kPortable;
  bool always_by_bounds = false;
  bool packed = false;       ///< as a whole, before
  std::uint32_t stride = 0;  ///< of the sample; 0: none
  bool of_eligible = false;  ///< it is of those items that may count, and not of all
  std::vector<std::uint32_t> eligible, owner;
  std::vector<std::vector<std::set<std::uint32_t>>> skipped;  ///< by table, by owner
  std::vector<std::vector<std::uint64_t>> offsets;
  std::vector<std::vector<std::uint32_t>> skips;
};

/// Small integers: every order of addition gives the same sum, and ties abound.
Problem make_problem(std::uint32_t num_items, std::uint32_t rows, unsigned seed,
                     std::uint32_t dim = 6) {
  Problem p;
  p.num_items = num_items;
  p.dim = dim;
  p.rows = rows;
  p.num_owners = 5;
  std::mt19937 random(seed);
  const int spread = seed % 4 == 0 ? 0 : 4;  // 0: all scores are equal
  std::uniform_int_distribution<int> value(-spread, spread);
  for (std::uint32_t i = 0; i < num_items * p.dim; ++i)
    p.items.push_back(static_cast<float>(value(random)));
  for (std::uint32_t i = 0; i < rows * p.dim; ++i)
    p.queries.push_back(static_cast<float>(value(random)));
  for (std::uint32_t i = 0; i < num_items; ++i)
    p.bias.push_back(seed % 3 == 0 ? static_cast<float>(i % 5) : 0.0f);
  for (std::uint32_t r = 0; r < rows; ++r) {
    const float ceilings[] = {std::numeric_limits<float>::infinity(), 20.0f, 3.0f, -10.0f, -500.0f};
    p.ceiling.push_back(ceilings[random() % 5]);
    p.owner.push_back(static_cast<std::uint32_t>(random()) % p.num_owners);
    if (seed % 7 < 4) p.pass_above.push_back(p.ceiling.back() + static_cast<float>(seed % 3));
    const float margins[] = {0.0f, 0.0f, 1.0f, 3.0f, 40.0f};
    p.margin.push_back(margins[random() % 5]);
  }
  const std::uint32_t rooms[] = {0, 3, 64, 20000};
  p.room = rooms[random() % 4];
  for (std::uint32_t w = 0; w < (num_items + 31) / 32; ++w) {
    const auto any = [&] { return static_cast<std::uint32_t>(random()); };
    p.eligible.push_back(seed % 2 == 0 ? 0xFFFFFFFFu : any() | any());
  }
  for (std::uint32_t table = 0; table < seed % 4; ++table) {
    p.skipped.emplace_back();
    p.offsets.push_back({0});
    p.skips.emplace_back();
    for (std::uint32_t o = 0; o < p.num_owners; ++o) {
      std::set<std::uint32_t> list;
      const std::uint32_t n = o == 0 ? 0 : o == 1 ? 3 * num_items : num_items / 6;
      for (std::uint32_t j = 0; j < n; ++j)
        list.insert(static_cast<std::uint32_t>(random()) % num_items);
      p.skips.back().insert(p.skips.back().end(), list.begin(), list.end());
      p.offsets.back().push_back(p.skips.back().size());
      p.skipped.back().push_back(std::move(list));
    }
  }
  return p;
}

bool may_count(const Problem& p, std::uint32_t row, std::uint32_t item) {
  if ((p.eligible[item / 32] >> (item % 32) & 1u) == 0) return false;
  return std::none_of(p.skipped.begin(), p.skipped.end(), [&](const auto& by_owner) {
    return by_owner[p.owner[row]].count(item) != 0;
  });
}

bool counts(const Problem& p, std::uint32_t row, std::uint32_t item, float score) {
  return score <= p.ceiling[row] && may_count(p, row, item);
}

bool passes(const Problem& p, std::uint32_t row, std::uint32_t item, float score) {
  return !p.pass_above.empty() && score > p.pass_above[row] && may_count(p, row, item);
}

struct Ends {
  std::uint32_t at_goal = 0;  ///< lists before the whole ranking and before `most`
  std::uint32_t early = 0;    ///< before their goal, where a sample said so
};

Ends check(const Problem& p, const Exec& exec, std::uint32_t wanted, std::uint32_t most,
           TopkScoring scoring, TopkWorkspace& workspace) {
  TopkItems items{
      .rows = p.items.data(), .num_items = p.num_items, .dim = p.dim, .scoring = scoring};
  items.bias = scoring == TopkScoring::kCanonical ? nullptr : p.bias.data();
  items.bf16 = p.bf16;
  items.int8 = p.int8;
  items.always_by_bounds = p.always_by_bounds;
  Int8Table table;
  Int8Sample sample;
  if (scoring == TopkScoring::kInt8 && p.packed) {
    table.pack(exec, p.int8, p.items.data(), nullptr, p.num_items, p.dim);
    items.int8_table = &table;
  }
  if (scoring == TopkScoring::kInt8 && p.stride > 0) {
    sample.take(exec, p.int8, p.items.data(), items.bias, p.num_items, p.dim, p.stride,
                p.of_eligible ? p.eligible.data() : nullptr);
    items.int8_sample = &sample;
  }
  TopkGoal goal;
  goal.wanted = wanted;
  goal.margin = p.margin.data();
  goal.room = p.room;
  goal.ceiling = p.ceiling.data();
  goal.eligible = p.eligible.data();
  goal.pass_above = p.pass_above.empty() ? nullptr : p.pass_above.data();
  for (std::size_t t = 0; t < p.skips.size(); ++t)
    goal.skips[goal.num_skips++] = {p.offsets[t].data(), p.skips[t].data(), p.owner.data()};
  constexpr std::uint64_t kSentinel = 0x5EA15EA15EA15EA1u;
  std::vector<std::uint64_t> keys(std::size_t{p.rows} * most + 1, kSentinel);
  std::vector<std::uint32_t> count(p.rows);
  std::vector<float> cut(p.rows);
  std::vector<std::uint8_t> left_out(p.rows);
  std::vector<std::uint32_t> passed(p.rows, 77);
  std::vector<std::uint64_t> least(p.rows, 78);
  topk_toward(
      exec, items, goal, p.queries.data(), p.rows, most, workspace,
      {keys.data(), count.data(), cut.data(), left_out.data(), passed.data(), least.data()});
  EXPECT_EQ(keys.back(), kSentinel);

  Ends ends;
  for (std::uint32_t r = 0; r < p.rows; ++r) {
    std::vector<std::pair<float, std::uint32_t>> all;
    for (std::uint32_t i = 0; i < p.num_items; ++i) {
      float score = items.bias != nullptr ? p.bias[i] : 0.0f;
      for (std::uint32_t d = 0; d < p.dim; ++d)
        score += p.queries[r * p.dim + d] * p.items[i * p.dim + d];
      all.emplace_back(-score, i);
    }
    std::sort(all.begin(), all.end());
    std::uint32_t num_passed = 0;
    std::erase_if(all, [&](const auto& e) {
      const bool gone = passes(p, r, e.second, -e.first);
      num_passed += gone ? 1 : 0;
      return gone;
    });
    const auto num_listed = static_cast<std::uint32_t>(all.size());
    // The list goes down to the margin below the entry that reaches the goal, and ends sooner at
    // the first one that counts and finds no room, or at `most`.
    std::vector<std::uint32_t> counting;  // places
    for (std::uint32_t j = 0; j < num_listed; ++j)
      if (counts(p, r, all[j].second, -all[j].first)) counting.push_back(j);
    std::uint32_t end = num_listed;
    std::uint32_t goal_end = num_listed;
    const bool reached = counting.size() >= wanted;
    float floor = 0.0f;
    if (reached) {
      goal_end = counting[wanted - 1] + 1;
      floor = -all[counting[wanted - 1]].first - p.margin[r];
      end = 0;
      while (end < num_listed && -all[end].first >= floor) ++end;
      const std::size_t last = std::size_t{wanted} + p.room;
      if (counting.size() > last) end = std::min(end, counting[last]);
    }
    ends.at_goal += end < num_listed && end < most ? 1 : 0;
    end = std::min(end, most);
    const bool early = items.int8_sample != nullptr && count[r] < end;
    if (early) {
      ++ends.early;
      EXPECT_NE(left_out[r], 0) << "row " << r;
      EXPECT_GE(cut[r], -all[count[r]].first) << "row " << r;
      end = count[r];
    }
    // Of a list that ends before its goal, what can be proven: the margin is twice the error.
    if ((!reached || goal_end > end) && left_out[r] != 0) {
      goal_end = 0;
      while (goal_end < end && -all[goal_end].first > cut[r] + p.margin[r]) ++goal_end;
      goal_end = std::max(goal_end, std::min(end, 1u));
    }
    EXPECT_EQ(count[r], end) << "row " << r;
    const auto* list = keys.data() + std::size_t{r} * most;
    const auto needed = static_cast<std::uint32_t>(
        std::count_if(list, list + count[r], [&](std::uint64_t key) { return key >= least[r]; }));
    EXPECT_EQ(std::max(needed, std::min(end, 1u)), std::min(goal_end, end)) << "row " << r;
    EXPECT_TRUE(left_out[r] != 0 || end == num_listed) << "row " << r;
    EXPECT_TRUE(left_out[r] == 0 || end < num_listed || reached) << "row " << r;
    if (left_out[r] != 0 && !early) {
      const float best = end < num_listed ? -all[end].first : floor;
      EXPECT_TRUE(end == num_listed || cut[r] >= best) << "row " << r;
      EXPECT_TRUE(cut[r] <= best || (reached && cut[r] < floor)) << "row " << r;
    }
    // A list that ends above what is passed over is of no use; any other count is whole.
    if (left_out[r] == 0 || p.pass_above.empty() || cut[r] <= p.pass_above[r]) {
      EXPECT_EQ(passed[r], num_passed) << "row " << r;
    }
    const auto first = keys.begin() + static_cast<std::ptrdiff_t>(std::size_t{r} * most);
    std::vector<std::uint64_t> got(first, first + count[r]);
    std::sort(got.begin(), got.end(), std::greater<>());
    for (std::uint32_t j = 0; j < std::min(end, count[r]); ++j) {
      EXPECT_EQ(item_of_key(got[j]), all[j].second) << "row " << r << " place " << j;
      EXPECT_EQ(score_of_key(got[j]), -all[j].first) << "row " << r << " place " << j;
      if (::testing::Test::HasFailure()) return ends;
    }
  }
  return ends;
}

/// Small integers have the same scores by all of them.
TopkScoring scoring_of(unsigned seed) {
  const TopkScoring kinds[] = {TopkScoring::kCanonical, TopkScoring::kBlas, TopkScoring::kBf16,
                               TopkScoring::kInt8,      TopkScoring::kBf16, TopkScoring::kInt8};
  return kinds[seed % 6];
}

TEST(TopkToward, ListsEndBehindTheEntryThatReachesTheGoal) {
  TopkWorkspace workspace;
  unsigned seed = 0;
  Ends all;
  std::uint32_t sampled = 0;
  for (const std::uint32_t num_items : {1u, 40u, 513u, 4000u}) {
    for (const std::uint32_t rows : {1u, 7u, 150u}) {
      for (const std::uint32_t wanted : {1u, 20u, 300u}) {
        for (const std::uint32_t most : {wanted, wanted + 1, 8 * wanted, 5000u}) {
          for (const int threads : {1, 2}) {
            if (rows == 150 && num_items == 4000 && threads == 2 && most != 8 * wanted) continue;
            Problem p = make_problem(num_items, rows, ++seed);
            p.int8 = int8_units()[seed % int8_units().size()];
            p.always_by_bounds = seed / 6 % 2 == 0;
            p.packed = seed / 12 % 2 == 0;
            p.stride = seed / 24 % 2 == 0 ? 0 : seed / 48 % 2 == 0 ? 2 : 8;
            p.of_eligible = seed / 96 % 2 == 1;
            if (p.of_eligible && seed % 3 == 0) p.stride /= 8;  // all of them, or no sample
            sampled += scoring_of(seed) == TopkScoring::kInt8 && p.stride > 0 ? rows : 0;
            Exec exec;
            exec.threads = threads;
            SCOPED_TRACE(testing::Message()
                         << num_items << " items, " << rows << " rows, wanted " << wanted
                         << ", most " << most << ", threads " << threads << ", seed " << seed);
            const Ends ends = check(p, exec, wanted, most, scoring_of(seed), workspace);
            if (HasFailure()) return;
            all.at_goal += ends.at_goal;
            all.early += ends.early;
          }
        }
      }
    }
  }
  EXPECT_GT(all.at_goal, 1000u);
  EXPECT_GT(sampled, 500u);
  EXPECT_LT(all.early * 100, sampled);
}

/// A sample's thresholds hold for nearly every row: whatever the order of the items, and though
/// what is best is skipped, marked or above the ceiling.
TEST(TopkToward, ASampleSaysWhereListsEnd) {
  TopkWorkspace workspace;
  Exec exec;
  constexpr std::uint32_t kRows = 300, kItems = 5000, kWanted = 60;
  std::uint32_t early = 0;
  for (unsigned seed = 0; seed < 8; ++seed) {
    Problem p = make_problem(kItems, kRows, 1, 40);
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> value(-9, 9);
    for (float& x : p.items) x = static_cast<float>(value(random));
    for (float& x : p.queries) x = static_cast<float>(value(random));
    if (seed % 2 == 1) {  // what many rows want stands together
      for (std::uint32_t i = 0; i < kItems; ++i) p.items[i * p.dim] += static_cast<float>(i / 250);
    }
    // A first tile of the sample that is unlike the others: larger numbers, a larger bias, or more
    // that may count.
    constexpr std::uint32_t kFirst = 1024;
    for (std::uint32_t x = 0; seed % 4 == 0 && x < kFirst * p.dim; ++x) p.items[x] *= 2;
    for (std::uint32_t i = 0; i < kItems; ++i)
      p.bias[i] = static_cast<float>(static_cast<int>(i % 7) * 40 +
                                     (seed % 4 == 1 && i < kFirst ? 300 : 0));
    p.eligible.assign(p.eligible.size(), seed % 4 < 2 ? 0xFFFFFFFFu : 0x01010101u);
    std::fill_n(p.eligible.begin(), kFirst / 32, 0xFFFFFFFFu);
    p.num_owners = kRows;
    p.skipped.assign(1, {});
    p.offsets.assign(1, {0});
    p.skips.assign(1, {});
    std::fill(p.margin.begin(), p.margin.end(), 0.0f);
    p.room = 64;
    p.pass_above.clear();
    for (std::uint32_t r = 0; r < kRows; ++r) {
      std::vector<std::pair<float, std::uint32_t>> all;
      for (std::uint32_t i = 0; i < kItems; ++i) {
        float score = p.bias[i];
        for (std::uint32_t d = 0; d < p.dim; ++d)
          score += p.queries[r * p.dim + d] * p.items[i * p.dim + d];
        all.emplace_back(-score, i);
      }
      std::sort(all.begin(), all.end());
      p.owner[r] = r;
      std::set<std::uint32_t> list;
      for (std::uint32_t j = 0; j < r; ++j) list.insert(all[j].second);
      p.skips[0].insert(p.skips[0].end(), list.begin(), list.end());
      p.offsets[0].push_back(p.skips[0].size());
      p.skipped[0].push_back(std::move(list));
      // Either what is skipped or what is above the ceiling reaches further.
      p.ceiling[r] = -all[seed % 4 % 3 == 0 ? r / 2 : 2 * r].first;
    }
    p.pass_above = p.ceiling;
    p.int8 = int8_units()[seed / 2 % int8_units().size()];
    p.packed = seed % 3 == 0;
    p.stride = seed % 3 == 0 ? 8 : 2;
    p.of_eligible = seed % 4 == 3;
    p.always_by_bounds = seed % 4 == 0;  // and not for the first rows alone
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Ends ends = check(p, exec, kWanted, 3000, TopkScoring::kInt8, workspace);
    early += ends.early;
  }
  EXPECT_LE(early, 8 * kRows / 500) << "about one list in 1,000 may end before its goal";
}

/// Tiles of wide rows hold fewer items; each unit of this processor multiplies.
TEST(TopkToward, WideRowsByEveryUnit) {
  TopkWorkspace workspace;
  Exec exec;
  unsigned seed = 1000;
  for (const Bf16Unit unit : {Bf16Unit::kPortable, Bf16Unit::kAvx512, Bf16Unit::kAmx}) {
    if (unit > bf16_unit()) continue;
    for (const std::uint32_t dim : {40u, 700u, 2100u}) {
      for (const std::uint32_t rows : {3u, 33u}) {
        Problem p = make_problem(1100, rows, ++seed, dim);
        p.bf16 = unit;
        SCOPED_TRACE(testing::Message() << name_of(unit) << ", " << dim << " wide, seed " << seed);
        check(p, exec, 20, 400, TopkScoring::kBf16, workspace);
      }
    }
  }
}

TEST(TopkToward, WideRowsByBounds) {
  TopkWorkspace workspace;
  Exec exec;
  unsigned seed = 2000;
  for (const Int8Unit unit : int8_units()) {
    for (const std::uint32_t dim : {40u, 700u, 2100u}) {
      for (const std::uint32_t rows : {3u, 33u}) {
        Problem p = make_problem(1100, rows, ++seed, dim);
        p.int8 = unit;
        p.always_by_bounds = seed % 2 == 0;
        p.packed = seed % 3 == 0;
        p.stride = seed % 2 == 0 ? 2 : 0;  // tiles of the sample are narrow too
        SCOPED_TRACE(testing::Message() << name_of(unit) << ", " << dim << " wide, seed " << seed);
        check(p, exec, 20, 400, TopkScoring::kInt8, workspace);
      }
    }
  }
}

/// Where what was chosen is better than the rest, lists end before their goal and say so.
TEST(TopkToward, ASampleUnlikeTheRestEndsListsEarly) {
  TopkWorkspace workspace;
  Exec exec;
  constexpr std::uint32_t kRows = 40, kItems = 5000, kWanted = 60, kDim = 40;
  Problem p = make_problem(kItems, kRows, 2, kDim);
  Int8Sample sample;
  sample.take(exec, Int8Unit::kPortable, p.items.data(), nullptr, kItems, kDim, 8);
  for (std::uint32_t s = 0; s < sample.size(); ++s) {
    for (std::uint32_t d = 0; d < kDim; ++d)
      p.items[std::size_t{sample.items()[s]} * kDim + d] *= 4;
  }
  std::fill(p.ceiling.begin(), p.ceiling.end(), std::numeric_limits<float>::infinity());
  std::fill(p.margin.begin(), p.margin.end(), 0.0f);
  p.pass_above.clear();
  p.room = 64;
  p.int8 = int8_unit();
  p.stride = 8;
  const Ends ends = check(p, exec, kWanted, 3000, TopkScoring::kInt8, workspace);
  EXPECT_GT(ends.early, kRows / 2);
}

TEST(TopkToward, ScoresThatRiseOrFallThroughTheCatalogue) {
  TopkWorkspace workspace;
  Exec exec;
  for (const bool rising : {true, false}) {
    Problem p = make_problem(9000, 5, 2);
    p.pass_above.clear();
    p.dim = 1;
    p.items.clear();
    for (std::uint32_t i = 0; i < p.num_items; ++i)
      p.items.push_back(static_cast<float>(rising ? i : p.num_items - i));
    p.queries = {1.0f, 0.5f, -1.0f, 2.0f, 0.0f};
    p.ceiling = {8000.0f, 100.0f, -3000.0f, 17000.0f, 0.0f};
    if (rising) p.pass_above = p.ceiling;
    for (const std::uint32_t most : {30u, 1500u, 9000u})
      check(p, exec, 25, most, TopkScoring::kBlas, workspace);
  }
}

TEST(TopkToward, NothingIsAllocatedAfterTheFirstCall) {
  test::CountingAllocator counting;
  Exec exec;
  exec.threads = 2;
  exec.allocator = counting.get();
  TopkWorkspace workspace;
  const Problem p = make_problem(2000, 100, 7);
  check(p, exec, 50, 400, TopkScoring::kBlas, workspace);
  EXPECT_GT(counting.allocations(), 0);
  const int before = counting.allocations();
  check(p, exec, 50, 400, TopkScoring::kBlas, workspace);
  EXPECT_EQ(counting.allocations(), before);
}

TEST(TopkToward, NothingIsAllocatedAfterTheFirstCallByBounds) {
  test::CountingAllocator counting;
  Exec exec;
  exec.threads = 2;
  exec.allocator = counting.get();
  TopkWorkspace workspace;
  const Problem p = make_problem(3000, 100, 7, 40);
  Int8Table table;
  table.pack({}, int8_unit(), p.items.data(), nullptr, p.num_items, p.dim);
  Int8Sample sample;
  sample.take({}, int8_unit(), p.items.data(), nullptr, p.num_items, p.dim, 8);
  std::vector<std::uint64_t> keys(std::size_t{p.rows} * 400);
  std::vector<std::uint32_t> count(p.rows);
  std::vector<float> cut(p.rows);
  std::vector<std::uint8_t> left_out(p.rows);
  for (const bool packed : {true, false}) {
    TopkItems items{.rows = p.items.data(),
                    .num_items = p.num_items,
                    .dim = p.dim,
                    .scoring = TopkScoring::kInt8,
                    .int8 = int8_unit(),
                    .int8_table = packed ? &table : nullptr,
                    .int8_sample = &sample};
    TopkGoal goal;
    goal.wanted = 50;
    goal.ceiling = p.ceiling.data();
    const auto run = [&] {
      topk_toward(exec, items, goal, p.queries.data(), p.rows, 400, workspace,
                  {keys.data(), count.data(), cut.data(), left_out.data()});
      return counting.allocations();
    };
    const int once = run();
    EXPECT_GT(once, 0);
    EXPECT_EQ(run(), once);
  }
}

/// What append_two_lists_host is to decide, item by item, in the form of every processor.
TEST(TopkToward, TheVectorFormDecidesItemByItem) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (const std::uint32_t n : {1u, 63u, 64u, 65u, 512u, 1111u}) {
      std::vector<float> scores, bias;
      for (std::uint32_t i = 0; i < n; ++i) {
        scores.push_back(seed % 2 == 0 ? std::round(2 * normal(random)) : normal(random));
        bias.push_back(seed % 3 == 0 ? normal(random) : -0.0f);
      }
      if (n > 3) scores[1] = std::numeric_limits<float>::quiet_NaN();
      if (n > 4) scores[2] = -0.0f;
      if (n > 4) scores[4] = std::numeric_limits<float>::infinity();
      std::vector<std::uint32_t> bits;
      for (std::uint32_t w = 0; w < (n + 31) / 32 + 2; ++w)
        bits.push_back(static_cast<std::uint32_t>(random()));
      const float* b = seed % 4 < 2 ? nullptr : bias.data();
      const std::uint32_t* may = seed % 3 == 1 ? nullptr : bits.data();
      for (const float threshold : {no_threshold(), -1.0f, 0.0f}) {
        for (const float ceiling : {no_threshold(), 0.5f, 2.0f}) {
          const float pass_above = seed % 5 < 2 || std::isnan(ceiling) ? no_threshold() : 2.0f;
          std::vector<std::uint64_t> counting{1}, others{2};
          std::uint32_t passed = 3;
          for (std::uint32_t i = 0; i < n; ++i) {
            const float score = b == nullptr ? scores[i] : scores[i] + b[i];
            if (score <= threshold) continue;
            const std::uint64_t key = score_key(score == 0.0f ? 0.0f : score, i + 9);
            const bool may_count = may == nullptr || (may[i / 32] >> (i % 32) & 1u) != 0;
            if (may_count && (std::isnan(ceiling) || std::isnan(score) || score <= ceiling)) {
              counting.push_back(key);
            } else if (may_count && score > pass_above && std::isfinite(score)) {
              ++passed;
            } else {
              others.push_back(key);
            }
          }
          const TopkBounds bounds{may, threshold, ceiling, pass_above};
          for (const TopkScanForm& form : topk_scan_forms()) {
            std::vector<std::uint64_t> got(n + 2, 1), got_others(n + 2, 2);
            const TopkAppended filled = form.append_two(scores.data(), b, n, 9, bounds, got.data(),
                                                        got_others.data(), {1, 1, 3});
            ASSERT_FALSE(test::upper_halves_in_use()) << form.name;
            ASSERT_EQ(filled.passed, passed) << form.name;
            ASSERT_EQ(got.back(), 1u) << form.name << ": beyond the room";
            ASSERT_EQ(got_others.back(), 2u) << form.name << ": beyond the room";
            got.resize(filled.counting);
            got_others.resize(filled.others);
            ASSERT_EQ(got, counting) << form.name;
            ASSERT_EQ(got_others, others) << form.name;
          }
        }
      }
    }
  }
}

/// Code for any x86-64 runs after each form, and is many times slower where registers are left in
/// use.
TEST(TopkToward, EveryFormLeavesTheUpperHalvesOfRegistersClear) {
  const std::vector<float> scores(700, 1.0f);
  std::vector<std::uint64_t> keys(1000), others(1000);
  if (!test::kCanTellUse) GTEST_SKIP() << "this processor does not tell";
  for (const TopkScanForm& form : topk_scan_forms()) {
    for (const std::uint32_t n : {0u, 1u, 64u, 512u, 700u}) {
      for (const float threshold : {no_threshold(), 0.0f, 2.0f}) {
        form.append(scores.data(), nullptr, n, 0, nullptr, threshold, keys.data(), 0);
        EXPECT_FALSE(test::upper_halves_in_use()) << form.name << ", " << n;
        form.append_two(scores.data(), nullptr, n, 0, {nullptr, threshold, 1.5f, 1.5f}, keys.data(),
                        others.data(), {});
        EXPECT_FALSE(test::upper_halves_in_use()) << form.name << ", " << n;
      }
    }
  }
}

}  // namespace
}  // namespace quarry

// The oracle itself: published rounding cases, rows worked out by hand, and proof that a wrong
// answer is caught.
#include "tests/support/oracle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "kernels/core/ids.h"
#include "tests/support/problems.h"

namespace quarry {
namespace {

using oracle::Row;
using U64s = std::vector<std::uint64_t>;

struct RemainderCase {
  std::uint64_t n;
  U64s weights, caps, placed;
  std::uint64_t missing;
};

TEST(LargestRemainder, GoldenCases) {
  const RemainderCase cases[] = {
      {10, {1, 1, 1}, {99, 99, 99}, {4, 3, 3}, 0},
      {10, {1, 1, 1}, {2, 99, 99}, {2, 4, 4}, 0},
      {10, {5, 3, 2}, {1, 99, 99}, {1, 5, 4}, 0},
      {10, {1, 1, 1}, {1, 2, 3}, {1, 2, 3}, 4},
      {7, {100, 1, 1}, {99, 99, 99}, {7, 0, 0}, 0},
      {5, {1, 1, 0}, {0, 3, 9}, {0, 3, 0}, 2},
      {10, {6, 3, 1}, {4, 4, 9}, {4, 4, 2}, 0},
      {0, {1, 2}, {5, 5}, {0, 0}, 0},
      {3, {0, 0}, {5, 5}, {0, 0}, 3},
  };
  for (const RemainderCase& c : cases) {
    U64s placed;
    EXPECT_EQ(oracle::largest_remainder(c.n, c.weights, c.caps, &placed), c.missing);
    EXPECT_EQ(placed, c.placed);
  }
}

TEST(Systematic, SharesAreMetOnAverageAndSumUp) {
  const U64s weights = {7, 2, 1};
  double mean[3] = {};
  constexpr int kSteps = 1000;
  for (int i = 0; i < kSteps; ++i) {
    const U64s counts = oracle::systematic(4, weights, (UINT64_MAX / kSteps) * i);
    EXPECT_EQ(counts[0] + counts[1] + counts[2], 4u);
    for (int b = 0; b < 3; ++b) mean[b] += static_cast<double>(counts[b]) / kSteps;
  }
  for (int b = 0; b < 3; ++b) EXPECT_NEAR(mean[b], 0.4 * static_cast<double>(weights[b]), 0.01);
  EXPECT_EQ(oracle::systematic(4, weights, 0), (U64s{2, 1, 1}));  // o = 0: 28/10, 36/10, 40/10
  EXPECT_EQ(oracle::systematic(4, weights, UINT64_MAX),
            (U64s{3, 1, 0}));  // o = 9: 37/10, 45/10, 49/10
}

/// One user of vector {1}, items of one dimension: the score is the number.
struct HandWorld {
  std::vector<float> items, user{1.0f};
  Catalogue catalogue;
  RowTable rows;
  MinerInputs inputs;
  RowsView view;
  Recipe recipe;

  HandWorld(std::vector<float> values, std::vector<std::uint32_t> positives)
      : items(std::move(values)) {
    inputs.items = {items.data(), items.size(), 1, Dtype::kF32};
    inputs.users = {user.data(), 1, 1, Dtype::kF32};
    rows.key = {12345};
    rows.user = {0};
    rows.time = {INT64_MAX};
    rows.positives = std::move(positives);
    rows.positive_offsets = {0, rows.positives.size()};
    inputs.rows = &rows;
    view = {1,
            rows.key.data(),
            rows.user.data(),
            nullptr,
            nullptr,
            rows.positive_offsets.data(),
            rows.positives.data(),
            nullptr};
    recipe.name = "hand";
    recipe.share_sum = 1;
    BranchSpec branch;
    branch.name = "hard";
    branch.share = 1;
    branch.source.pool = 4;
    recipe.branches = {branch};
    recipe.backfill = {0};
  }
  void add_column(const std::string& name, std::vector<std::uint32_t> codes,
                  std::vector<std::string> names) {
    catalogue.columns.push_back({name, std::move(codes), std::move(names)});
    inputs.catalogue = &catalogue;
  }
  Row mine(std::uint32_t k, Counters* counters = nullptr) {
    recipe.k = k;
    oracle::Oracle o(recipe, inputs, 1, 0);
    const Row row = o.mine(view, 0);
    if (counters != nullptr) *counters = o.counters;
    return row;
  }
};

FilterSpec filter(FilterType type, double bound = 0.0) {
  FilterSpec f;
  f.type = type;
  f.bound = bound;
  return f;
}

std::vector<std::uint32_t> items_of(const Row& row) {
  std::vector<std::uint32_t> out;
  for (const oracle::Pick& p : row.picks) out.push_back(p.item);
  return out;
}
using Items = std::vector<std::uint32_t>;
using Codes = std::vector<std::uint8_t>;

TEST(HandRow, ATeachersValuesMayBeNegative) {
  HandWorld w({5, 4, 3, 2, 1}, {4});
  // The positive has -2, so with ratio 0.75 what lies above -2.5 is too near.
  const PairValues teacher{{0, 5}, {0, 1, 2, 3, 4}, {-1.0f, -2.25f, -2.5f, -3.0f, -2.0f}, 0};
  w.inputs.pairs["teacher"] = &teacher;
  w.recipe.safety = {filter(FilterType::kPositives)};
  FilterSpec column = filter(FilterType::kColumn, 0.75);
  column.table = "teacher";
  column.relative = true;
  w.recipe.branches[0].filters = {column};
  EXPECT_EQ(items_of(w.mine(3)), (Items{2, 3}));
}

TEST(HandRow, MarginAndPositivesLeaveTwoOfThree) {
  HandWorld w({5, 4, 4, 3, 2, 1}, {3});
  w.recipe.safety = {filter(FilterType::kPositives)};
  w.recipe.branches[0].filters = {filter(FilterType::kRelativeMargin, 0.95)};  // below 2.85
  Counters c;
  const Row row = w.mine(3, &c);
  EXPECT_EQ(items_of(row), (Items{4, 5}));
  EXPECT_EQ(row.codes, (Codes{1}));
  EXPECT_EQ(row.positive_min, 3.0f);
  EXPECT_EQ(row.picks[0].raw_rank, 5u);
  EXPECT_EQ(row.picks[0].survivor_rank, 1u);
  EXPECT_EQ(c.branch[0].examined, 6u);
  EXPECT_EQ(c.branch[0].rejected[0], 1u);
  EXPECT_EQ(c.branch[0].rejected[1], 3u);
  EXPECT_EQ(c.branch[0].pool, 2u);
}

TEST(HandRow, TiesGoToTheSmallerItemAndFullRowsLookBeyondThePool) {
  HandWorld w({1, 4, 4, 5, 2, 3}, {3});
  w.recipe.safety = {filter(FilterType::kPositives)};
  w.recipe.branches[0].source.pool = 1;
  w.recipe.branches[0].select = SelectKind::kSample;
  Counters c;
  const Row row = w.mine(3, &c);
  EXPECT_EQ(items_of(row), (Items{1, 2, 5}));
  EXPECT_EQ(row.picks[2].raw_rank, 4u);
  EXPECT_EQ(row.picks[2].survivor_rank, 3u);
  EXPECT_NEAR(row.picks[0].logq, std::log(3.0f), 1e-6f);  // E[n] = 3, p = 1 in a pool of one
  EXPECT_TRUE(std::isnan(row.picks[1].logq));             // beyond the pool
  EXPECT_EQ(c.branch[0].examined, 2u);
  EXPECT_TRUE(std::isnan(row.kappa[0]));
}

TEST(HandRow, SurvivorWindowEndsThePool) {
  HandWorld w({9, 8, 7, 6, 5, 4}, {1});
  FilterSpec window = filter(FilterType::kRank);
  window.window = {true, false, 2, 3};
  w.recipe.branches[0].filters = {window, filter(FilterType::kPositives)};
  Counters c;
  const Row row = w.mine(3, &c);
  EXPECT_EQ(items_of(row),
            (Items{2, 3}));  // survivors 0, 2, 3 | the window takes the second and third
  EXPECT_EQ(c.branch[0].examined, 4u);
  EXPECT_EQ(c.branch[0].rejected[0], 1u);
  EXPECT_EQ(c.branch[0].rejected[1], 1u);
}

TEST(HandRow, CapsAndMaxRankExplainShortRows) {
  HandWorld w({6, 5, 4, 3, 2, 1}, {});
  w.add_column("seller", {1, 1, 1, 2, 0, 0}, {"", "a", "b"});
  w.recipe.caps = {{"seller", 1, 1}};
  EXPECT_EQ(items_of(w.mine(4)), (Items{0, 3, 4, 5}));
  const Row capped = w.mine(5);
  EXPECT_EQ(capped.codes, (Codes{3}));
  EXPECT_TRUE(std::isnan(capped.positive_min));
  w.recipe.caps.clear();
  w.recipe.branches[0].source.pool = w.recipe.branches[0].source.max_rank = 2;
  const Row shallow = w.mine(3);
  EXPECT_EQ(items_of(shallow), (Items{0, 1}));
  EXPECT_EQ(shallow.codes, (Codes{2}));
}

TEST(HandRow, QuotaIsMetOrMissedOrRedistributed) {
  HandWorld w({9, 8, 7, 6, 5, 4}, {});
  w.add_column("genre", {1, 2, 2, 2, 2, 2}, {"", "a", "b"});
  w.recipe.branches[0].source.pool = 6;
  w.recipe.strata = {{"genre", StratumAttribute::Kind::kColumn, 0, {}, {}, "genre"}};
  w.recipe.quota =
      QuotaSpec{{{"genre", QuotaAttribute::Shares::kNamed, {{"a", 500000}, {"b", 500000}}}}, false};
  const Row strict = w.mine(4);
  EXPECT_EQ(items_of(strict), (Items{0, 1, 2}));
  EXPECT_EQ(strict.picks[1].stratum, 2u);
  EXPECT_EQ(strict.codes, (Codes{4}));
  w.recipe.quota->redistribute = true;
  EXPECT_EQ(items_of(w.mine(4)), (Items{0, 1, 2, 3}));
  w.recipe.quota->by[0].shares = {{"a", 1000000}};  // a weight of zero is never filled
  const Row one = w.mine(4);
  EXPECT_EQ(items_of(one), (Items{0}));
  EXPECT_EQ(one.codes, (Codes{1, 1, 1}));
}

TEST(HandRow, DrawBranchGivesEveryAllowedItemOnce) {
  HandWorld w({6, 5, 4, 3, 2, 1}, {2});
  w.recipe.safety = {filter(FilterType::kPositives)};
  w.recipe.branches[0].source.kind = SourceKind::kUniform;
  w.recipe.branches[0].select = SelectKind::kSample;
  Counters c;
  const Row row = w.mine(6, &c);
  const Items items = items_of(row);
  EXPECT_EQ(std::set<std::uint32_t>(items.begin(), items.end()),
            (std::set<std::uint32_t>{0, 1, 3, 4, 5}));
  EXPECT_EQ(row.codes, (Codes{1}));
  EXPECT_EQ(c.branch[0].examined, 16u * 6 + 64);  // the sixth slot is looked for to the bound
  EXPECT_EQ(c.branch[0].enumerated_rows, 1u);
  EXPECT_EQ(c.branch[0].examined, c.branch[0].repeats + 5);
  EXPECT_NEAR(row.picks[0].logq, std::log(6.0f / 5.0f), 1e-6f);
}

NegativeBatch batch_of(const Row& row, std::uint32_t k) {
  NegativeBatch b;
  b.num_rows = 1;
  b.k = k;
  b.num_branches = static_cast<std::uint32_t>(row.kappa.size());
  b.count = {static_cast<std::uint16_t>(row.picks.size())};
  for (const oracle::Pick& p : row.picks) {
    b.item.push_back(p.item);
    b.score.push_back(p.score);
    b.branch.push_back(static_cast<std::uint8_t>(p.branch));
    b.raw_rank.push_back(p.raw_rank);
    b.survivor_rank.push_back(p.survivor_rank);
    b.stratum.push_back(p.stratum);
    b.logq.push_back(p.logq);
    b.fill.push_back(0);
  }
  for (std::size_t i = 0; i < row.codes.size(); ++i) {
    b.item.push_back(kNoItem);
    b.score.push_back(0);
    b.branch.push_back(0xFF);
    b.raw_rank.push_back(0);
    b.survivor_rank.push_back(0);
    b.stratum.push_back(row.lacks[i]);
    b.logq.push_back(std::numeric_limits<float>::quiet_NaN());
    b.fill.push_back(row.codes[i]);
  }
  b.kappa = row.kappa;
  b.positive_min = {row.positive_min};
  return b;
}

TEST(Comparison, EveryAlterationIsCaught) {
  using Alter = std::function<void(NegativeBatch&, std::size_t)>;
  const Alter alterations[] = {
      [](NegativeBatch& b, std::size_t) { --b.count[0]; },
      [](NegativeBatch& b, std::size_t i) { b.item[i] ^= 1; },
      [](NegativeBatch& b, std::size_t i) { b.fill[i] ^= 1; },
      [](NegativeBatch& b, std::size_t i) { b.branch[i] ^= 1; },
      [](NegativeBatch& b, std::size_t i) { b.score[i] = std::nextafter(b.score[i], 1e9f); },
      [](NegativeBatch& b, std::size_t i) { ++b.raw_rank[i]; },
      [](NegativeBatch& b, std::size_t i) { ++b.survivor_rank[i]; },
      [](NegativeBatch& b, std::size_t i) { ++b.stratum[i]; },
      [](NegativeBatch& b, std::size_t i) {
        b.logq[i] =
            std::isfinite(b.logq[i]) ? b.logq[i] + 0.01f + 0.01f * std::fabs(b.logq[i]) : 0.0f;
      },
      [](NegativeBatch& b, std::size_t) {
        b.kappa[0] =
            std::isfinite(b.kappa[0]) ? b.kappa[0] + 0.01f + 0.01f * std::fabs(b.kappa[0]) : 0.0f;
      },
      [](NegativeBatch& b, std::size_t) {
        b.positive_min[0] = std::isnan(b.positive_min[0]) ? 0 : b.positive_min[0] + 1;
      },
      [](NegativeBatch& b, std::size_t) { std::swap(b.item[0], b.item[1]); },
      [](NegativeBatch& b, std::size_t) { ++b.stratum.back(); },
  };
  int rows = 0;
  for (std::uint64_t n = 0; n < 40; ++n) {
    const auto p = test::make_problem(n);
    oracle::Oracle o(p->recipe, p->inputs, p->seed, p->round);
    for (std::uint64_t r = 0; r < p->rows_view.num_rows; ++r) {
      const Row row = o.mine(p->rows_view, r);
      const NegativeBatch right = batch_of(row, p->recipe.k);
      ASSERT_EQ(oracle::difference(row, right, 0), "");
      if (row.picks.size() < 2 || row.picks[0].item == row.picks[1].item) continue;
      ++rows;
      for (std::size_t a = 0; a < std::size(alterations); ++a) {
        NegativeBatch wrong = right;
        alterations[a](wrong, row.picks.size() - 1);
        EXPECT_NE(oracle::difference(row, wrong, 0), "") << "alteration " << a;
      }
    }
  }
  EXPECT_GT(rows, 50);
}

TEST(Comparison, EveryCounterIsLookedAt) {
  Counters right;
  right.rows = 5;
  EXPECT_EQ(oracle::difference(right, right, 2), "");
  const std::function<std::uint64_t&(Counters&)> fields[] = {
      [](Counters& c) -> std::uint64_t& { return c.rows; },
      [](Counters& c) -> std::uint64_t& { return c.requested; },
      [](Counters& c) -> std::uint64_t& { return c.emitted; },
      [](Counters& c) -> std::uint64_t& { return c.missing[4]; },
      [](Counters& c) -> std::uint64_t& { return c.branch[1].examined; },
      [](Counters& c) -> std::uint64_t& { return c.branch[1].rejected[31]; },
      [](Counters& c) -> std::uint64_t& { return c.branch[0].pool; },
      [](Counters& c) -> std::uint64_t& { return c.branch[0].picked; },
      [](Counters& c) -> std::uint64_t& { return c.branch[0].repeats; },
      [](Counters& c) -> std::uint64_t& { return c.branch[0].refused; },
      [](Counters& c) -> std::uint64_t& { return c.branch[0].enumerated_rows; },
      [](Counters& c) -> std::uint64_t& { return c.branch[0].inert_rows; },
      [](Counters& c) -> std::uint64_t& { return c.branch[0].unscored; },
  };
  for (const auto& field : fields) {
    Counters wrong = right;
    ++field(wrong);
    EXPECT_NE(oracle::difference(right, wrong, 2), "");
  }
}

TEST(Comparison, EverySlotOfAStratumIsLookedAt) {
  const std::vector<StratumCounters> right(3);
  EXPECT_EQ(oracle::difference(right, right), "");
  EXPECT_NE(oracle::difference(right, std::vector<StratumCounters>(2)), "");
  for (std::uint32_t code = 0; code < kNumFillCodes; ++code) {
    std::vector<StratumCounters> wrong = right;
    ++wrong[2].slots[code];
    EXPECT_NE(oracle::difference(right, wrong), "");
  }
}

/// What must hold for every row whatever the recipe; and the generator must reach what it is for.
TEST(Problems, RowsAddUpAndTheGeneratorReachesEverything) {
  std::set<int> codes, sources, selects;
  std::uint64_t enumerated = 0, refused = 0, inert = 0, beyond = 0, unscored = 0;
  for (std::uint64_t n = 0; n < 300; ++n) {
    const auto p = test::make_problem(n);
    SCOPED_TRACE(n);
    oracle::Oracle o(p->recipe, p->inputs, p->seed, p->round);
    for (std::uint64_t r = 0; r < p->rows_view.num_rows; ++r) {
      const Row row = o.mine(p->rows_view, r);
      ASSERT_EQ(row.picks.size() + row.codes.size(), p->recipe.k);
      codes.insert(row.codes.begin(), row.codes.end());
      for (std::size_t i = 0; i < row.picks.size(); ++i) {
        const BranchSpec& by = p->recipe.branches[row.picks[i].branch];
        sources.insert(static_cast<int>(by.source.kind));
        selects.insert(static_cast<int>(by.select));
        beyond += by.select == SelectKind::kSample && std::isnan(row.picks[i].logq);
        for (std::size_t j = 0; j < i; ++j) {
          if (row.picks[j].item != row.picks[i].item) continue;
          ASSERT_EQ(by.select, SelectKind::kSampleReplacement);
          ASSERT_EQ(row.picks[j].branch, row.picks[i].branch);
        }
      }
    }
    ASSERT_EQ(o.counters.requested, o.counters.emitted + o.counters.missing[1] +
                                        o.counters.missing[2] + o.counters.missing[3] +
                                        o.counters.missing[4]);
    for (const BranchCounters& b : o.counters.branch) {
      enumerated += b.enumerated_rows;
      refused += b.refused;
      inert += b.inert_rows;
      unscored += b.unscored;
    }
  }
  EXPECT_EQ(codes, (std::set<int>{1, 2, 3, 4}));
  EXPECT_EQ(sources.size(), 7u);
  EXPECT_EQ(selects.size(), 6u);
  EXPECT_GT(enumerated, 0u);
  EXPECT_GT(refused, 0u);
  EXPECT_GT(inert, 0u);
  EXPECT_GT(unscored, 0u);
  EXPECT_GT(beyond, 0u);
}

}  // namespace
}  // namespace quarry

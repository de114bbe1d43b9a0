// The engine against the oracle: random problems, every row and every counter.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "host/mine/compile.h"
#include "host/mine/miner.h"
#include "host/mine/shared_pools.h"
#include "index/retriever.h"
#include "tests/support/oracle.h"
#include "tests/support/problems.h"
#include "tests/support/scale.h"

namespace quarry {
namespace {

/// First difference of the engine from the oracle, "" if there is none. Adds the miner's searches.
std::string judge(const test::Problem& p, const MinerOptions& options, SearchStats* searches,
                  std::string* retriever = nullptr) {
  oracle::Oracle judge(p.recipe, p.inputs, p.seed, p.round);
  std::vector<oracle::Row> expected;
  for (std::uint64_t r = 0; r < p.rows_view.num_rows; ++r)
    expected.push_back(judge.mine(p.rows_view, r));
  std::string text;
  Miner miner(p.recipe, p.inputs, options);
  std::uint64_t seen = 0;
  miner.mine(p.rows_view, [&](const NegativeBatch& batch) {
    if (text.empty() && (batch.first_row != seen || batch.k != p.recipe.k))
      text = "tiles out of order";
    seen += batch.num_rows;
    for (std::uint64_t r = 0; r < batch.num_rows && text.empty(); ++r) {
      const oracle::Row& row = expected[batch.first_row + r];
      const std::string why = oracle::difference(row, batch, r);
      if (why.empty()) continue;
      text = "row " + std::to_string(batch.first_row + r) + ", " + why +
             "\n  oracle:" + oracle::to_string(row) + "\n  engine:";
      for (std::uint32_t i = 0; i < batch.k; ++i) {
        const std::uint64_t at = r * batch.k + i;
        text += "\n    item " + std::to_string(batch.item[at]) + " score " +
                std::to_string(batch.score[at]) + " branch " + std::to_string(batch.branch[at]) +
                " raw " + std::to_string(batch.raw_rank[at]) + " survivor " +
                std::to_string(batch.survivor_rank[at]) + " stratum " +
                std::to_string(batch.stratum[at]) + " logq " + std::to_string(batch.logq[at]) +
                " fill " + std::to_string(batch.fill[at]);
      }
    }
  });
  if (retriever != nullptr) *retriever = miner.plan(1).retriever;
  searches->queries += miner.report().search.queries;
  searches->certified += miner.report().search.certified;
  searches->toward += miner.report().search.toward;
  searches->passed += miner.report().search.passed;
  searches->coarse += miner.report().search.coarse;
  if (text.empty() && seen != p.rows_view.num_rows) text = "rows are missing";
  if (text.empty())
    text = oracle::difference(judge.counters, miner.report().counters, p.recipe.branches.size());
  if (text.empty()) text = oracle::difference(judge.strata, miner.report().strata);
  return text;
}

constexpr int kBlocks = 24;
constexpr int kPerBlock = 50;

class EngineVsOracle : public ::testing::TestWithParam<int> {
 protected:
  static void TearDownTestSuite() {
    std::printf("%d problems, %d of them with searches proven by the error bound, %d by FAISS\n",
                problems, proven_problems, flat_problems);
    // Brute force on both sides would compare little of the engine's way to its candidates.
    if (problems >= kBlocks * kPerBlock) {
      EXPECT_GE(proven_problems * 20, problems) << "hardly a proven search";
      if (faiss_info().present) {
        EXPECT_GE(flat_problems * 10, problems) << "hardly one by FAISS";
      }
    }
  }
  static inline int problems = 0, proven_problems = 0, flat_problems = 0;
};

std::string judged(const test::Problem& p, const MinerOptions& options, SearchStats* searches,
                   std::string* retriever = nullptr) {
  try {
    return judge(p, options, searches, retriever);
  } catch (const std::exception& e) {
    return std::string("exception: ") + e.what();
  }
}

/// Each parameter is a block of problems, so that a failure names its neighbourhood and ctest can
/// run blocks apart.
TEST_P(EngineVsOracle, EveryRowIsTheSame) {
  int wrong = 0;
  for (int n = GetParam() * kPerBlock; n < (GetParam() + 1) * kPerBlock && wrong < 3; ++n) {
    const auto p =
        test::make_problem(static_cast<std::uint64_t>(n),
                           n % 8 == 7 ? test::ProblemSize::kLarge : test::ProblemSize::kSmall);
    MinerOptions options;
    options.seed = p->seed;
    options.round = p->round;
    options.exec.threads = 1 + n % 2;
    options.tile_rows = static_cast<std::uint32_t>(n % 4);  // 0: the engine's choice
    if (n % 5 == 4 && faiss_info().present) options.retriever = "Flat";
    SearchStats searches;
    std::string retriever;
    const std::string why = judged(*p, options, &searches, &retriever);
    EXPECT_EQ(why, "") << test::describe(*p);
    wrong += !why.empty();
    flat_problems += retriever.find("Flat") != std::string::npos && searches.queries > 0;
    problems += 1;
    proven_problems += searches.certified > 0;
  }
}

/// Searches that are told what will be rejected, and count what they need not list.
TEST(PushDown, EveryRowAndCounterIsTheSame) {
  const int problems = 120 * test::test_scale();
  int wrong = 0, refused = 0, toward = 0, passed = 0, coarse = 0;
  for (int n = 0; n < problems && wrong < 3; ++n) {
    const auto p = test::make_scanned(static_cast<std::uint64_t>(n));
    MinerOptions options;
    options.seed = p->seed;
    options.round = p->round;
    options.exec.threads = n % 8 == 1 ? 2 : 1;  // those have rows enough to share
    const char* passes[] = {"exact-bf16", "exact-fp32", "exact-bf16", "exact-int8"};
    options.retriever = passes[n % 4];
    SearchStats searches;
    std::string why;
    try {
      why = judge(*p, options, &searches);
    } catch (const ConfigError&) {  // windows twice, or weights of one branch in another
      ++refused;
      continue;
    } catch (const std::exception& e) {
      why = std::string("exception: ") + e.what();
    }
    EXPECT_EQ(why, "") << test::describe(*p);
    wrong += !why.empty();
    toward += searches.toward > 0;
    passed += searches.passed > 0;
    coarse += searches.coarse > 0;
  }
  std::printf(
      "%d problems, %d toward a goal, %d of these in bf16 first, %d with items that were counted "
      "only, %d refused\n",
      problems, toward, coarse, passed, refused);
  EXPECT_GE(coarse * 5, problems);
  EXPECT_GE(toward * 2, problems);
  EXPECT_GE(passed * 5, problems);
  EXPECT_LE(refused * 20, problems);
}

/// Branches of a problem that list survivors alone.
int branches_of_survivors(const test::Problem& p) {
  const auto compiled = compile(p.recipe, p.inputs, {}, p.seed, p.round);
  int branches = 0;
  for (std::uint32_t b = 0; b < compiled->plan.num_branches; ++b) {
    const Branch& branch = compiled->plan.branches[b];
    if (!is_shared(branch.source)) continue;
    branches += pool_lists(*compiled, {}, branch, p.pools[b].count).whole ? 0 : 1;
  }
  return branches;
}

TEST(SharedCandidates, EveryRowAndCounterIsTheSame) {
  const int problems = 400 * test::test_scale();
  int wrong = 0, refused = 0, of_survivors = 0;
  for (int n = 0; n < problems && wrong < 3; ++n) {
    const auto p = test::make_shared_pools(static_cast<std::uint64_t>(n));
    MinerOptions options;
    options.seed = p->seed;
    options.round = p->round;
    options.exec.threads = 1 + n % 2;
    options.tile_rows = static_cast<std::uint32_t>(n % 4);  // 0: the engine's choice
    SearchStats searches;
    std::string why;
    try {
      why = judge(*p, options, &searches);
      of_survivors += branches_of_survivors(*p);
    } catch (const ConfigError&) {  // windows twice, or weights of one branch in another
      ++refused;
      continue;
    } catch (const std::exception& e) {
      why = std::string("exception: ") + e.what();
    }
    EXPECT_EQ(why, "") << test::describe(*p);
    wrong += !why.empty();
  }
  std::printf("%d problems, %d branches with lists of survivors, %d refused\n", problems,
              of_survivors, refused);
  EXPECT_GE(of_survivors * 2, problems);
  EXPECT_LE(refused * 20, problems);
}

TEST(Enumeration, FillsPoolsInKeyOrderWhenTheirDrawsRunOut) {
  int wrong = 0;
  for (int n = 0; n < 60 && wrong < 3; ++n) {
    const auto p = test::make_starved_pool(static_cast<std::uint64_t>(n));
    MinerOptions options;
    options.seed = p->seed;
    options.round = p->round;
    SearchStats searches;
    const std::string why = judged(*p, options, &searches);
    EXPECT_EQ(why, "") << test::describe(*p);
    wrong += !why.empty();
  }
}

int blocks() { return kBlocks * test::test_scale(); }
INSTANTIATE_TEST_SUITE_P(Problems, EngineVsOracle, ::testing::Range(0, blocks()));

}  // namespace
}  // namespace quarry

// The recall report against brute force: shares, intervals, and which rows are sampled.
#include "host/mine/recall.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "kernels/core/errors.h"
#include "tests/support/mined.h"
#include "tests/support/retrieval_cases.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

using test::TestWorld;

constexpr std::uint32_t kItems = 400;
constexpr std::uint32_t kDim = 16;
constexpr std::uint32_t kPool = 20;
constexpr char kRecipe[] = R"(
name = "recall"
k = 6
metric = "ip"
[exposure]
positive = ["rating>=4"]
[safety]
filters = [{ kind = "positives" }]
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 20 }
[[branch]]
name = "random"
share = 0.5
source = { kind = "uniform" }
)";

std::unique_ptr<TestWorld> world() {
  auto w = test::make_world({.users = 50, .items = kItems, .dim = kDim, .seed = 5});
  w->rows_view.segment = nullptr;
  return w;
}

/// A run, sampled as it goes.
struct SampledRun {
  Miner miner;
  RecallSample sample;
  std::map<std::uint64_t, std::vector<std::uint32_t>> negatives;  ///< by row
  std::map<std::uint64_t, std::vector<std::uint8_t>> branches;

  SampledRun(const TestWorld& w, const RowsView& rows, std::uint32_t most,
             const MinerOptions& options, const std::string& recipe = kRecipe)
      : miner(parse_recipe(recipe, "recall.toml", 0), w.inputs, options), sample(most) {
    miner.mine(rows, [&](const NegativeBatch& b) {
      sample.offer(b, rows.key + b.first_row, b.first_row);
      for (std::uint32_t r = 0; r < b.num_rows; ++r) {
        for (std::uint32_t j = 0; j < b.count[r]; ++j) {
          negatives[b.first_row + r].push_back(b.item[std::size_t{r} * b.k + j]);
          branches[b.first_row + r].push_back(b.branch[std::size_t{r} * b.k + j]);
        }
      }
    });
  }
};

MinerOptions options_of(const std::string& retriever) {
  MinerOptions options;
  options.retriever = retriever;
  options.faiss.nprobe = 2;
  options.seed = 9;
  return options;
}

RowTable rows_at(const RowTable& rows, const std::vector<std::uint64_t>& places) {
  return test::rows_where(
      rows, [&](std::uint64_t r) { return std::binary_search(places.begin(), places.end(), r); });
}

/// The textbook form: the bounds p for which a share of `x` of n is 1.96 standard errors away.
std::pair<double, double> wilson(double x, double n) {
  const double z = 1.959963984540054, p = x / n, d = 1 + z * z / n;
  const double middle = p + z * z / (2 * n);
  const double root = z * std::sqrt((p * (1 - p) + z * z / (4 * n)) / n);
  return {(middle - root) / d, (middle + root) / d};
}

TEST(Recall, AShareOfIndependentTrialsHasWilsonsInterval) {
  for (const auto& [hits, trials] :
       {std::pair<std::uint32_t, std::uint32_t>{8, 10}, {1, 40}, {199, 200}, {50, 100}}) {
    std::vector<std::uint32_t> found(trials, 0), wanted(trials, 1);
    std::fill_n(found.begin(), hits, 1);
    const RecallShare s = recall_share(found, wanted);
    const auto [low, high] = wilson(hits, trials);
    EXPECT_EQ(s.found, hits);
    EXPECT_EQ(s.wanted, trials);
    EXPECT_DOUBLE_EQ(s.share, static_cast<double>(hits) / trials);
    EXPECT_NEAR(s.low, low, 1e-9);
    EXPECT_NEAR(s.high, high, 1e-9);
  }
  // Known to four places: 8 of 10.
  const RecallShare s =
      recall_share({1, 1, 1, 1, 1, 1, 1, 1, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  EXPECT_NEAR(s.low, 0.4902, 5e-5);
  EXPECT_NEAR(s.high, 0.9433, 5e-5);
}

TEST(Recall, RowsThatAreAllOrNothingAreOneTrialEach) {
  // 20 rows of 10, of which 15 are found whole: no more is known than from 20 trials.
  std::vector<std::uint32_t> found(20, 0), wanted(20, 10);
  std::fill_n(found.begin(), 15, 10);
  const RecallShare s = recall_share(found, wanted);
  const auto [low, high] = wilson(15, 20);
  EXPECT_NEAR(s.low, low, 1e-9);
  EXPECT_NEAR(s.high, high, 1e-9);
  EXPECT_EQ(s.wanted, 200u);
  // All found: the rows, not their 200 negatives, say how sure that is.
  const RecallShare all = recall_share(wanted, wanted);
  EXPECT_NEAR(all.low, wilson(20, 20).first, 1e-9);
  EXPECT_EQ(all.high, 1.0);
  const RecallShare none = recall_share(std::vector<std::uint32_t>(20, 0), wanted);
  EXPECT_EQ(none.low, 0.0);
  EXPECT_NEAR(none.high, wilson(0, 20).second, 1e-9);
}

TEST(Recall, NothingWantedIsNothingLost) {
  for (const RecallShare& s : {recall_share({}, {}), recall_share({0, 0}, {0, 0})}) {
    EXPECT_EQ(s.wanted, 0u);
    EXPECT_EQ(s.share, 1.0);
    EXPECT_EQ(s.low, 0.0);
    EXPECT_EQ(s.high, 1.0);
  }
}

TEST(Recall, AnExactRunLosesNothing) {
  const auto w = world();
  SampledRun run(*w, w->rows_view, 1000, options_of("exact"));
  const RowTable rows = rows_at(w->rows, run.sample.rows());
  const RecallReport report = run.sample.measure(run.miner, test::view_of(rows));
  EXPECT_EQ(report.rows, w->rows.size());
  EXPECT_EQ(report.depth, kPool);
  for (const RecallShare* s : {&report.candidates, &report.negatives, &report.ranked_negatives}) {
    EXPECT_GT(s->wanted, 0u);
    EXPECT_EQ(s->found, s->wanted);
  }
  EXPECT_EQ(report.candidates.wanted, report.rows * kPool);
}

TEST(Recall, SharesAreThoseOfBruteForce) {
  if (!faiss_info().present) GTEST_SKIP() << "this build has no FAISS";
  const auto w = world();
  const MinerOptions approximate = options_of("IVF16,Flat");
  SampledRun run(*w, w->rows_view, 60, approximate);
  const SampledRun truth(*w, w->rows_view, 0, options_of("exact"));
  ASSERT_TRUE(truth.miner.exact());
  ASSERT_FALSE(run.miner.exact());

  // What the index finds, asked of an index of its own; what there is, by sorting all scores.
  FaissOptions index = approximate.faiss;
  index.index = approximate.retriever;
  index.first_depth = kPool + kPool / 4 + 32;
  index.max_depth = kItems;
  const auto retriever = make_faiss_retriever(
      approximate.exec, {w->items.data(), kItems, kDim, Metric::kInnerProduct}, index);
  std::uint64_t found = 0, wanted = 0, kept = 0, all = 0, kept_ranked = 0, all_ranked = 0;
  const std::vector<std::uint64_t> places = run.sample.rows();
  ASSERT_EQ(places.size(), 60u);
  for (const std::uint64_t row : places) {
    const float* query = w->users.data() + std::size_t{w->rows.user[row]} * kDim;
    std::vector<std::pair<float, std::uint32_t>> order;
    for (std::uint32_t i = 0; i < kItems; ++i) {
      order.push_back({-test::naive_score(Metric::kInnerProduct, query,
                                          w->items.data() + std::size_t{i} * kDim, kDim),
                       i});
    }
    std::sort(order.begin(), order.end());
    std::vector<std::uint32_t> items(kPool), count(1);
    std::vector<float> scores(kPool);
    std::vector<std::uint8_t> complete(1);
    retriever->search(approximate.exec, query, 1, kPool,
                      {items.data(), scores.data(), count.data(), complete.data(), nullptr});
    const std::set<std::uint32_t> listed(items.begin(), items.begin() + count[0]);
    for (std::uint32_t j = 0; j < kPool; ++j) found += listed.count(order[j].second);
    wanted += kPool;

    const auto& picked = run.negatives.at(row);
    const auto& exact = truth.negatives.at(row);
    for (std::size_t j = 0; j < exact.size(); ++j) {
      const bool same = std::find(picked.begin(), picked.end(), exact[j]) != picked.end();
      const bool ranked = truth.branches.at(row)[j] == 0;
      all += 1, kept += same;
      all_ranked += ranked, kept_ranked += same && ranked;
    }
  }

  const RowTable rows = rows_at(w->rows, places);
  const MinerReport before = run.miner.report();
  const RecallReport report = run.sample.measure(run.miner, test::view_of(rows));
  EXPECT_EQ(report.rows, 60u);
  EXPECT_EQ(report.candidates.found, found);
  EXPECT_EQ(report.candidates.wanted, wanted);
  EXPECT_EQ(report.negatives.found, kept);
  EXPECT_EQ(report.negatives.wanted, all);
  EXPECT_EQ(report.ranked_negatives.found, kept_ranked);
  EXPECT_EQ(report.ranked_negatives.wanted, all_ranked);
  EXPECT_GT(report.seconds, 0.0);
  // The case is one in which something is lost, and not everything.
  EXPECT_GT(found, wanted / 5);
  EXPECT_LT(found, wanted * 9 / 10);
  EXPECT_LT(kept_ranked, all_ranked);
  EXPECT_GT(all, all_ranked);
  // It costs the run nothing that is reported.
  EXPECT_EQ(run.miner.report().search.queries, before.search.queries);
  run.miner.mine(w->rows_view, [](const NegativeBatch&) {});
  EXPECT_EQ(run.miner.report().search.queries, 2 * before.search.queries);
}

TEST(Recall, ABudgetThatHoldsTheRunHoldsItsTwin) {
  if (!faiss_info().present) GTEST_SKIP() << "this build has no FAISS";
  const auto w = world();
  MinerOptions options = options_of("IVF16,Flat");
  // A margin and a last rank: exact lists may be eight times as long as what is wanted of them.
  std::string recipe = kRecipe;
  const std::string source = "pool = 20 }";
  recipe.replace(
      recipe.find(source), source.size(),
      "pool = 20, max_rank = 300 }\nfilters = [{ kind = \"relative_margin\", ratio = 0.95, "
      "against = \"min\" }]");
  const auto fits = [&](std::uint64_t bytes) {
    options.host_memory = bytes;
    try {
      const Miner miner(parse_recipe(recipe, "recall.toml", 0), w->inputs, options);
    } catch (const ConfigError&) {
      return false;
    }
    return true;
  };
  std::uint64_t too_little = 1, enough = 1 << 20;
  ASSERT_TRUE(fits(enough) && !fits(too_little));
  while (enough - too_little > 1) {
    const std::uint64_t middle = too_little + (enough - too_little) / 2;
    (fits(middle) ? enough : too_little) = middle;
  }
  options.host_memory = enough;
  SampledRun run(*w, w->rows_view, 20, options, recipe);
  const RowTable rows = rows_at(w->rows, run.sample.rows());
  EXPECT_EQ(run.sample.measure(run.miner, test::view_of(rows)).rows, 20u);
}

TEST(Recall, TheSampleIsChosenByKeysAlone) {
  const auto w = world();
  const auto keys_of = [](const RowTable& rows, const std::vector<std::uint64_t>& places) {
    std::set<std::uint64_t> keys;
    for (const std::uint64_t row : places) keys.insert(rows.key[row]);
    return keys;
  };
  const SampledRun first(*w, w->rows_view, 30, options_of("exact"));
  const std::set<std::uint64_t> keys = keys_of(w->rows, first.sample.rows());
  EXPECT_EQ(keys.size(), 30u);
  for (const auto& [tile, threads, seed] :
       {std::tuple{1u, 1, 9u}, std::tuple{7u, 2, 9u}, std::tuple{64u, 1, 10u}}) {
    MinerOptions options = options_of("exact");
    options.tile_rows = tile;
    options.exec.threads = threads;
    options.seed = seed;
    EXPECT_EQ(SampledRun(*w, w->rows_view, 30, options).sample.rows(), first.sample.rows()) << tile;
  }
  // The same rows, the last first.
  RowTable turned;
  turned.positive_offsets = {0};
  for (std::uint64_t r = w->rows.size(); r-- > 0;) {
    turned.key.push_back(w->rows.key[r]);
    turned.user.push_back(w->rows.user[r]);
    turned.time.push_back(w->rows.time[r]);
    turned.positives.insert(
        turned.positives.end(),
        w->rows.positives.begin() + static_cast<std::ptrdiff_t>(w->rows.positive_offsets[r]),
        w->rows.positives.begin() + static_cast<std::ptrdiff_t>(w->rows.positive_offsets[r + 1]));
    turned.positive_offsets.push_back(turned.positives.size());
  }
  const SampledRun last(*w, test::view_of(turned), 30, options_of("exact"));
  EXPECT_EQ(keys_of(turned, last.sample.rows()), keys);
  // Every sample is part of each larger one, and none is the first rows.
  const SampledRun larger(*w, w->rows_view, 40, options_of("exact"));
  const std::set<std::uint64_t> more = keys_of(w->rows, larger.sample.rows());
  EXPECT_TRUE(std::includes(more.begin(), more.end(), keys.begin(), keys.end()));
  EXPECT_GT(first.sample.rows().back(), w->rows.size() / 2);
  EXPECT_EQ(SampledRun(*w, w->rows_view, 0, options_of("exact")).sample.rows().size(), 0u);
}

TEST(Recall, RowsThatCannotBeMinedAreNotSampled) {
  const auto w = world();
  const std::uint64_t n = w->rows.size();
  std::vector<float> queries(n * kDim);
  for (std::uint64_t r = 0; r < n; ++r)
    std::copy_n(w->users.data() + std::size_t{w->rows.user[r]} * kDim, kDim, &queries[r * kDim]);
  for (std::uint64_t r = 0; r < n; r += 2) queries[r * kDim + 3] = NAN;
  RowsView rows = w->rows_view;
  rows.queries = queries.data();
  SampledRun run(*w, rows, 1000, options_of("exact"));
  const std::vector<std::uint64_t> places = run.sample.rows();
  EXPECT_EQ(places.size(), n / 2);
  for (const std::uint64_t row : places) EXPECT_EQ(row % 2, 1u);
  // Rows that bring their vectors are ranked by them.
  const RowTable sampled = rows_at(w->rows, places);
  std::vector<float> vectors;
  for (const std::uint64_t row : places) {
    const auto at = queries.begin() + static_cast<std::ptrdiff_t>(row * kDim);
    vectors.insert(vectors.end(), at, at + kDim);
  }
  RowsView again = test::view_of(sampled);
  again.queries = vectors.data();
  const RecallReport report = run.sample.measure(run.miner, again);
  EXPECT_EQ(report.candidates.found, report.rows * kPool);
  EXPECT_EQ(report.negatives.found, report.negatives.wanted);
}

TEST(Recall, AutoTakesAnIndexOnlyWhereLessIsAllowedAndRowsPayForIt) {
  if (!faiss_info().present) GTEST_SKIP() << "this build has no FAISS";
  // As many numbers as make an index worth its while; what they are does not matter.
  const auto w = test::make_world({.users = 20, .items = 48000, .dim = 256, .seed = 3});
  w->rows_view.segment = nullptr;
  std::string text = kRecipe;
  text.replace(text.find("pool = 20"), 9, "pool = 4");
  const Recipe small = parse_recipe(text, "recall.toml", 0);
  MinerOptions options;
  options.recall = 0.6;
  options.expected_rows = 1000000000;
  Miner approximate(small, w->inputs, options);
  EXPECT_FALSE(approximate.exact());
  EXPECT_EQ(approximate.promise(), "same_index");
  const RetrieverCost& chosen = approximate.choice().chosen;
  EXPECT_EQ(chosen.retriever.rfind("IVF", 0), 0u) << chosen.retriever;
  EXPECT_NE(approximate.plan(1).retriever.find(chosen.retriever +
                                               " nprobe=" + std::to_string(chosen.nprobe) + " "),
            std::string::npos)
      << approximate.plan(1).retriever;
  EXPECT_GT(approximate.plan(1).build_seconds, 0.0);
  // What the caller says of the index stands.
  options.faiss.nprobe = chosen.nprobe + 3;
  const Miner own(small, w->inputs, options);
  EXPECT_NE(own.plan(1).retriever.find("nprobe=" + std::to_string(chosen.nprobe + 3)),
            std::string::npos)
      << own.plan(1).retriever;
  options.faiss.nprobe = 0;
  // Its exact twin is none.
  EXPECT_TRUE(approximate.exact_twin()->exact());
  for (const auto& [recall, rows, words] : {std::tuple{1.0, std::uint64_t{1000000000}, "all"},
                                            std::tuple{0.6, std::uint64_t{0}, "not known"},
                                            std::tuple{0.6, std::uint64_t{1}, "do not pay"}}) {
    options.recall = recall;
    options.expected_rows = rows;
    const Miner exact(small, w->inputs, options);
    EXPECT_TRUE(exact.exact());
    EXPECT_EQ(exact.plan(1).retriever, "exact");
    EXPECT_NE(exact.choice().rule.find(words), std::string::npos) << exact.choice().rule;
  }
  options.recall = 0.0;
  EXPECT_THROW(Miner(small, w->inputs, options), ConfigError);
}

TEST(Recall, AStopIsHeard) {
  const auto w = world();
  SampledRun run(*w, w->rows_view, 30, options_of("exact"));
  const RowTable rows = rows_at(w->rows, run.sample.rows());
  const std::atomic<bool> stop{true};
  EXPECT_THROW(run.sample.measure(run.miner, test::view_of(rows), &stop), Cancelled);
}

}  // namespace
}  // namespace quarry

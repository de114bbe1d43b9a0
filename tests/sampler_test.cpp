// Samplers by statistics that are right for them (chi-square on first picks and ordered pairs, a
// Wald test on inclusion counts), at a fixed seed and level 1e-6; the same judges must condemn
// samplers with planted mistakes. Longer than other files because judges stand with what they
// judge.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "kernels/core/exact_math.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

/// Upper 1e-6 point of chi-square (Wilson and Hilferty 1931), z = 4.753.
double bound(double df) {
  const double a = 2.0 / (9.0 * df);
  return df * std::pow(1.0 - a + 4.753 * std::sqrt(a), 3.0);
}

/// The negatives of many rows of one user, in order of picking.
using Draws = std::vector<std::vector<std::uint32_t>>;

// --- judges: a statistic over its bound; above 1 condemns
// ---------------------------------------------------------

double first_pick(const Draws& draws, const std::vector<double>& p) {
  std::vector<double> seen(p.size(), 0);
  for (const auto& row : draws) seen[row.at(0)] += 1;
  double x2 = 0;
  double cells = 0;
  const auto n = static_cast<double>(draws.size());
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      if (seen[i] > 0) return HUGE_VAL;
      continue;
    }
    x2 += (seen[i] - n * p[i]) * (seen[i] - n * p[i]) / (n * p[i]);
    cells += 1;
  }
  return x2 / bound(cells - 1);
}

/// Ordered pairs under successive sampling: p_i p_j / (1 - p_i).
double ordered_pairs(const Draws& draws, const std::vector<double>& p) {
  const std::size_t m = p.size();
  std::vector<double> seen(m * m, 0);
  for (const auto& row : draws) seen[row.at(0) * m + row.at(1)] += 1;
  double x2 = 0;
  double cells = 0;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < m; ++j) {
      if (i == j || p[i] == 0 || p[j] == 0) continue;
      const double expected = static_cast<double>(draws.size()) * p[i] * p[j] / (1 - p[i]);
      x2 += (seen[i * m + j] - expected) * (seen[i * m + j] - expected) / expected;
      cells += 1;
    }
  }
  return x2 / bound(cells - 1);
}

/// Inclusion counts of pairs: d' S^-1 d over all items but the last, S_ij = N (pi_ij - pi_i pi_j).
double inclusion(const Draws& draws, const std::vector<double>& p) {
  const std::size_t m = p.size();
  const auto n = static_cast<double>(draws.size());
  std::vector<std::vector<double>> both(m, std::vector<double>(m, 0));
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < m; ++j) {
      if (i == j) continue;
      both[i][j] = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]);
      both[i][i] += both[i][j];
    }
  }
  std::vector<double> d(m, 0);
  for (const auto& row : draws) {
    d[row.at(0)] += 1;
    d[row.at(1)] += 1;
  }
  const std::size_t q = m - 1;
  std::vector<std::vector<double>> s(q, std::vector<double>(q + 1));
  for (std::size_t i = 0; i < q; ++i) {
    for (std::size_t j = 0; j < q; ++j) s[i][j] = n * (both[i][j] - both[i][i] * both[j][j]);
    s[i][q] = d[i] - n * both[i][i];
  }
  std::vector<double> rhs(q);
  for (std::size_t i = 0; i < q; ++i) rhs[i] = s[i][q];
  for (std::size_t c = 0; c < q; ++c) {  // Gauss-Jordan on a positive definite matrix
    for (std::size_t r = 0; r < q; ++r) {
      if (r == c) continue;
      const double f = s[r][c] / s[c][c];
      for (std::size_t k = c; k <= q; ++k) s[r][k] -= f * s[c][k];
    }
  }
  double x2 = 0;
  for (std::size_t i = 0; i < q; ++i) x2 += rhs[i] * s[i][q] / s[i][i];
  return x2 / bound(static_cast<double>(q));
}

/// First picks of m equal items lean to small or large ones: the mean index, two-sided at 1e-6.
double trend(const Draws& draws, double m) {
  double sum = 0;
  for (const auto& row : draws) sum += row.at(0);
  const auto n = static_cast<double>(draws.size());
  return std::fabs(sum / n - (m - 1) / 2) / std::sqrt((m * m - 1) / 12 / n) / 4.89;
}

/// A table of counts: rows and columns depend on each other if it is above 1. Empty margins have no
/// cell.
double contingency(const std::vector<std::vector<double>>& n) {
  std::vector<double> rows(n.size(), 0), columns(n.at(0).size(), 0);
  double total = 0;
  for (std::size_t a = 0; a < n.size(); ++a) {
    for (std::size_t b = 0; b < columns.size(); ++b) {
      rows[a] += n[a][b];
      columns[b] += n[a][b];
      total += n[a][b];
    }
  }
  double x2 = 0;
  for (std::size_t a = 0; a < n.size(); ++a) {
    for (std::size_t b = 0; b < columns.size(); ++b) {
      const double expected = rows[a] * columns[b] / total;
      if (expected > 0) x2 += (n[a][b] - expected) * (n[a][b] - expected) / expected;
    }
  }
  const auto filled = [](const std::vector<double>& margin) {
    return static_cast<double>(
        std::count_if(margin.begin(), margin.end(), [](double x) { return x > 0; }));
  };
  return x2 / bound((filled(rows) - 1) * (filled(columns) - 1));
}

/// Pick `at` of the same rows in two runs over m items.
double dependence(const Draws& x, const Draws& y, std::size_t m, std::size_t at = 0) {
  std::vector<std::vector<double>> n(m, std::vector<double>(m, 0));
  for (std::size_t r = 0; r < x.size(); ++r) n[x[r].at(at)][y.at(r).at(at)] += 1;
  return contingency(n);
}

/// First picks of the rows' deciles, by place in the run: a sampler whose law drifts is above 1.
double drift(const Draws& draws, std::size_t m) {
  std::vector<std::vector<double>> n(10, std::vector<double>(m, 0));
  for (std::size_t r = 0; r < draws.size(); ++r) n[r * 10 / draws.size()][draws[r].at(0)] += 1;
  return contingency(n);
}

// --- the engine's samplers
// -----------------------------------------------------------------------------------------

constexpr std::uint64_t kRows = 400000;

/// One user, items with the scores given (inner product in one dimension); the first `own` items
/// are its positives.
struct OneUser {
  explicit OneUser(std::vector<float> scores, std::uint32_t own = 0) : items(std::move(scores)) {
    exposure.offsets = {0, own};
    for (std::uint32_t i = 0; i < own; ++i) exposure.items.push_back(i);
    exposure.classes.assign(own, static_cast<std::uint8_t>(ExposureClass::kPositive));
    exposure.last_time.assign(own, 5);
    exposure.positive_time.assign(own, 5);
    exposure.item_count.assign(items.size(), 0);
    exposure.as_of = 10;
    inputs.items = {items.data(), items.size(), 1, Dtype::kF32};
    inputs.users = {&one, 1, 1, Dtype::kF32};
    inputs.exposure = &exposure;
    recipe.name = "test";
    recipe.k = 2;
    recipe.safety.resize(1);
    recipe.safety[0].kind_text = "positives";
    recipe.branches.resize(1);
    recipe.branches[0].name = "only";
    recipe.branches[0].share = 1;
    recipe.branches[0].source.all = true;
    recipe.branches[0].select = SelectKind::kSample;
    recipe.backfill = {0};
  }

  /// Row keys are first_key, first_key + 1, ...
  Draws mine(std::uint64_t first_key = 0, std::uint64_t rows = kRows) {
    std::vector<std::uint64_t> keys(rows);
    for (std::uint64_t r = 0; r < rows; ++r) keys[r] = first_key + r;
    return mine(keys);
  }

  Draws mine(const std::vector<std::uint64_t>& keys) {
    const std::vector<std::uint32_t> user(keys.size(), 0);
    Miner miner(recipe, inputs, {.seed = 11, .tile_rows = 8192});
    Draws draws;
    RowsView rows;
    rows.num_rows = keys.size();
    rows.key = keys.data();
    rows.user = user.data();
    miner.mine(rows, [&](const NegativeBatch& b) {
      for (std::uint32_t r = 0; r < b.num_rows; ++r) {
        draws.emplace_back(b.item.begin() + r * b.k, b.item.begin() + r * b.k + b.count[r]);
        branches.push_back(b.branch[r * b.k]);
        strata.push_back(b.stratum[r * b.k]);
        kappa.push_back(b.kappa[r * b.num_branches]);
        logq.emplace_back(b.logq.begin() + r * b.k, b.logq.begin() + r * b.k + b.count[r]);
      }
    });
    return draws;
  }

  float one = 1.0f;
  std::vector<float> items;
  Exposure exposure;
  MinerInputs inputs;
  Recipe recipe;
  std::vector<std::uint8_t> branches;
  std::vector<std::uint32_t> strata;
  std::vector<float> kappa;
  std::vector<std::vector<float>> logq;
};

std::vector<double> normalised(std::vector<double> w) {
  double sum = 0;
  for (const double x : w) sum += x;
  for (double& x : w) x /= sum;
  return w;
}

WeightSpec softmax(double tau) {
  WeightSpec w;
  w.kind = WeightKind::kSoftmax;
  w.a = tau;
  return w;
}

/// Scores log 1 .. log m: softmax weights 1 .. m.
std::vector<float> log_scores(int m) {
  std::vector<float> s;
  for (int i = 1; i <= m; ++i) s.push_back(std::log(static_cast<float>(i)));
  return s;
}

TEST(Sampler, WeightsWithoutReplacementAreSuccessiveSampling) {
  OneUser user(log_scores(6));
  user.recipe.branches[0].weights = {softmax(1.0)};
  const Draws draws = user.mine();
  const auto p = normalised({1, 2, 3, 4, 5, 6});
  EXPECT_LT(first_pick(draws, p), 1);
  EXPECT_LT(ordered_pairs(draws, p), 1);
  EXPECT_LT(inclusion(draws, p), 1);
  // kappa makes estimates unbiased: the mean of sum 1 / q over picks is the number of items.
  double total = 0;
  double squares = 0;
  for (std::size_t r = 0; r < draws.size(); ++r) {
    double estimate = 0;
    for (const std::uint32_t item : draws[r]) {
      estimate += 1.0 / (1.0 - std::exp(-std::exp(std::log(item + 1.0) - user.kappa[r])));
    }
    total += estimate;
    squares += estimate * estimate;
  }
  const double mean = total / kRows;
  const double error = std::sqrt((squares / kRows - mean * mean) / kRows);
  EXPECT_NEAR(mean, 6.0, 5 * error);
  // logq of a single branch: log(k p).
  EXPECT_NEAR(user.logq[0][0], std::log(2 * p[draws[0][0]]), 1e-4);
}

TEST(Sampler, EqualWeightsOverManyItems) {
  OneUser user(std::vector<float>(100, 0.5f));
  const Draws draws = user.mine(0, kRows / 2);
  EXPECT_LT(first_pick(draws, std::vector<double>(100, 1.0 / 100)), 1);
  EXPECT_LT(trend(draws, 100), 1);
}

TEST(Sampler, EqualLargeLogWeightsAreDecidedByTheWholeKey) {
  // At a log-weight of 2^20 the floating part of a key moves in steps of 1/8: whole groups of items
  // tie there, and only the word behind it keeps them equal. Cut it and small items win.
  OneUser user(std::vector<float>(100, 1.0f));
  user.recipe.branches[0].weights = {softmax(0x1p-20)};
  const Draws draws = user.mine(0, kRows / 2);
  EXPECT_LT(first_pick(draws, std::vector<double>(100, 1.0 / 100)), 1);
  EXPECT_LT(trend(draws, 100), 1);
}

TEST(Sampler, WithReplacementIsMultinomial) {
  OneUser user(log_scores(6));
  user.recipe.branches[0].weights = {softmax(1.0)};
  user.recipe.branches[0].select = SelectKind::kSampleReplacement;
  const Draws draws = user.mine();
  const auto p = normalised({1, 2, 3, 4, 5, 6});
  EXPECT_LT(first_pick(draws, p), 1);
  Draws second;
  double same = 0;
  for (const auto& row : draws) {
    second.push_back({row.at(1)});
    same += row[0] == row[1];
  }
  EXPECT_LT(first_pick(second, p), 1);
  double expected = 0;
  for (const double x : p) expected += x * x;
  EXPECT_NEAR(same / kRows, expected, 5 * std::sqrt(expected * (1 - expected) / kRows));
}

TEST(Sampler, AnEntryOfWeightZeroIsNeverDrawnWithReplacement) {
  // Item 0 comes first in the pool, and its weight rounds to 0. This row's first draw is 0 of 2^31,
  // which must pass over it.
  OneUser user({2.0f, 1.0f});
  user.exposure.item_count = {0, 1000000};
  WeightSpec w;
  w.kind = WeightKind::kPopularity;
  w.a = 2.0;
  w.b = 1.0;
  user.recipe.branches[0].weights = {w};
  user.recipe.branches[0].select = SelectKind::kSampleReplacement;
  constexpr std::uint64_t kRowWhoseFirstDrawIsZero = 1007207952u;
  const Draws draws = user.mine(std::vector<std::uint64_t>{kRowWhoseFirstDrawIsZero, 1, 2, 3});
  EXPECT_EQ(draws, Draws(4, {1, 1}));
}

/// The samplers of one branch, over six items alike; each takes its chance from purposes of its
/// own.
enum class Way { kKeys, kReplacement, kDraws, kDrawsWithReplacement, kPool };
constexpr Way kWays[] = {Way::kKeys, Way::kReplacement, Way::kDraws, Way::kDrawsWithReplacement,
                         Way::kPool};
constexpr std::size_t kItems = 6;
/// What shares its chance depends wholly: fewer rows show it.
constexpr std::uint64_t kFewRows = kRows / 5;

OneUser sampled(Way way, const std::string& branch = "only") {
  OneUser user(std::vector<float>(kItems, 0.5f));
  BranchSpec& b = user.recipe.branches[0];
  b.name = branch;
  if (way == Way::kReplacement || way == Way::kDrawsWithReplacement)
    b.select = SelectKind::kSampleReplacement;
  if (way == Way::kDraws || way == Way::kDrawsWithReplacement) {
    b.source = {};
    b.source.kind = SourceKind::kUniform;
  }
  if (way == Way::kPool) {  // pools of one draw: what is drawn is picked
    b.source = {};
    b.source.kind = SourceKind::kPool;
    b.source.draws = 1;
    user.recipe.k = 1;
  }
  return user;
}

TEST(Sampler, EveryWayHasEqualShares) {
  for (const Way way : kWays) {
    const Draws draws = sampled(way).mine(0, kFewRows);
    EXPECT_LT(first_pick(draws, std::vector<double>(kItems, 1.0 / kItems)), 1)
        << static_cast<int>(way);
  }
}

TEST(Sampler, RowsAreTheSameLawFromTheFirstToTheLast) {
  for (const Way way : kWays)
    EXPECT_LT(drift(sampled(way).mine(0, kFewRows), kItems), 1) << static_cast<int>(way);
}

TEST(Sampler, WaysThatShareABranchNameAreIndependent) {
  std::vector<Draws> draws;
  for (const Way way : kWays) draws.push_back(sampled(way).mine(0, kFewRows));
  for (std::size_t a = 0; a < draws.size(); ++a) {
    for (std::size_t b = a + 1; b < draws.size(); ++b) {
      // With and without replacement a draw branch makes the same draws: that is its contract.
      if (kWays[a] == Way::kDraws && kWays[b] == Way::kDrawsWithReplacement) continue;
      EXPECT_LT(dependence(draws[a], draws[b], kItems), 1) << a << " " << b;
    }
  }
  EXPECT_EQ(draws[2][0].at(0), draws[3][0].at(0));
}

TEST(Sampler, BranchesOfDifferentNamesAreIndependent) {
  for (const Way way : kWays) {
    EXPECT_LT(
        dependence(sampled(way).mine(0, kFewRows), sampled(way, "other").mine(0, kFewRows), kItems),
        1)
        << static_cast<int>(way);
  }
}

TEST(Sampler, TwoBranchesOfARowDoNotShareTheirChance) {
  // Both see the same items, the second with the weights squared: with shared chance what the first
  // leaves over would not be the second's law.
  OneUser user(log_scores(6));
  user.recipe.branches[0].weights = {softmax(1.0)};
  user.recipe.branches.push_back(user.recipe.branches[0]);
  user.recipe.branches[1].name = "other";
  user.recipe.branches[1].weights = {softmax(0.5)};
  user.recipe.share_sum = 2;
  user.recipe.backfill = {0, 1};
  const Draws draws = user.mine();
  const auto p = normalised({1, 2, 3, 4, 5, 6});
  const auto q = normalised({1, 4, 9, 16, 25, 36});
  std::vector<double> seen(36, 0);
  for (const auto& row : draws) seen[row.at(0) * 6 + row.at(1)] += 1;
  double x2 = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    for (std::size_t j = 0; j < 6; ++j) {
      if (i == j) continue;
      const double expected = static_cast<double>(kRows) * p[i] * q[j] / (1 - q[i]);
      x2 += (seen[i * 6 + j] - expected) * (seen[i * 6 + j] - expected) / expected;
    }
  }
  EXPECT_LT(x2 / bound(29), 1);
}

TEST(Sampler, RowsWhoseKeysDifferInEitherHalfAreIndependent) {
  for (const Way way : kWays) {
    const Draws draws = sampled(way).mine(0, kFewRows);
    EXPECT_LT(dependence(draws, sampled(way).mine(std::uint64_t{1} << 32, kFewRows), kItems), 1)
        << "high half, " << static_cast<int>(way);
    EXPECT_LT(dependence(draws, sampled(way).mine(kFewRows, kFewRows), kItems), 1)
        << "low half, " << static_cast<int>(way);
  }
}

TEST(Sampler, DrawsOfARowAreIndependent) {
  // With replacement the second draw does not know the first.
  for (const Way way : {Way::kReplacement, Way::kDrawsWithReplacement}) {
    std::vector<std::vector<double>> n(kItems, std::vector<double>(kItems, 0));
    for (const auto& row : sampled(way).mine(0, kFewRows)) n[row.at(0)][row.at(1)] += 1;
    EXPECT_LT(contingency(n), 1) << static_cast<int>(way);
  }
}

TEST(Sampler, UniformDrawsFromTheComplement) {
  OneUser user(std::vector<float>(9, 0.0f), 3);
  user.recipe.branches[0].source = {};
  user.recipe.branches[0].source.kind = SourceKind::kUniform;
  const Draws draws = user.mine();
  std::vector<double> p(9, 1.0 / 6);
  p[0] = p[1] = p[2] = 0;
  EXPECT_LT(first_pick(draws, p), 1);
  EXPECT_LT(ordered_pairs(draws, p), 1);
  EXPECT_NEAR(user.logq[0][0], std::log(2.0 / 6), 1e-5);
}

TEST(Sampler, PopularityDrawsByIntegerWeights) {
  OneUser user(std::vector<float>(7, 0.0f), 2);
  user.exposure.item_count = {50, 3, 0, 1, 7, 20, 4};
  user.recipe.branches[0].source = {};
  user.recipe.branches[0].source.kind = SourceKind::kPopularity;
  user.recipe.branches[0].source.beta = 0.75;
  const Draws draws = user.mine();
  std::vector<double> w(7, 0.0);
  for (int i = 2; i < 7; ++i)
    w[i] = std::floor(std::pow(user.exposure.item_count[i] + 1.0, 0.75) * 1024 + 0.5);
  EXPECT_LT(first_pick(draws, normalised(w)), 1);
  EXPECT_LT(ordered_pairs(draws, normalised(w)), 1);
}

/// Weight of survivor rank r in N under the density of the j-th best of N draws.
std::vector<double> rank_beta(int n, double j, double shift) {
  std::vector<double> w(static_cast<std::size_t>(n));
  for (int r = 1; r <= n; ++r) {
    const double x = (r + shift - 0.5) / n;
    w[static_cast<std::size_t>(n - r)] =
        std::exp((j - 1) * std::log(x) + (n - j) * std::log(1 - std::min(x, 1 - 1e-9)));
  }
  return normalised(w);  // the largest score, item n - 1, has rank 1
}

TEST(Sampler, RankDensityUsesTheRankItself) {
  OneUser user(log_scores(8));
  WeightSpec w;
  w.kind = WeightKind::kRankBeta;
  w.a = 2.0;
  user.recipe.branches[0].weights = {w};
  const Draws draws = user.mine();
  EXPECT_LT(first_pick(draws, rank_beta(8, 2.0, 0.0)), 1);
  EXPECT_GT(first_pick(draws, rank_beta(8, 2.0, 1.0)), 1) << "ranks off by one would pass";
}

TEST(Sampler, DynamicPoolPicksTheBestOfItsDraws) {
  OneUser user(log_scores(10));
  user.recipe.k = 1;
  user.recipe.branches[0].source = {};
  user.recipe.branches[0].source.kind = SourceKind::kPool;
  user.recipe.branches[0].source.draws = 4;
  user.recipe.branches[0].select = SelectKind::kTop;
  const Draws draws = user.mine();
  // The best of 4 distinct of 10 is item i with probability C(i, 3) / C(10, 4).
  std::vector<double> p(10, 0.0);
  for (int i = 3; i < 10; ++i) p[i] = i * (i - 1.0) * (i - 2.0) / 6.0 / 210.0;
  EXPECT_LT(first_pick(draws, p), 1);
}

/// Branch by stratum for k = 1, shares 1:1 and quotas 1:1.
double dependence(const std::vector<std::uint8_t>& branch,
                  const std::vector<std::uint32_t>& stratum) {
  std::vector<std::vector<double>> n(2, std::vector<double>(2, 0));
  for (std::size_t r = 0; r < branch.size(); ++r) n[branch[r] & 1][stratum[r] & 1] += 1;
  return contingency(n);
}

TEST(Sampler, SharesAndQuotasAreRoundedIndependently) {
  OneUser user(std::vector<float>(12, 0.0f));
  Recipe& r = user.recipe;
  r.k = 1;
  r.branches[0].source = {};
  r.branches[0].source.kind = SourceKind::kUniform;
  r.branches.push_back(r.branches[0]);
  r.branches[1].name = "other";
  r.share_sum = 2;
  r.backfill = {0, 1};
  r.strata.resize(1);
  r.strata[0].name = "popularity";
  r.strata[0].bins = 2;
  r.quota.emplace();
  r.quota->by.resize(1);
  r.quota->by[0].attribute = "popularity";
  r.quota->by[0].mode = QuotaAttribute::Shares::kEqual;
  user.mine();
  EXPECT_LT(dependence(user.branches, user.strata), 1);
  double first = 0;
  for (const std::uint8_t b : user.branches) first += b == 0;
  EXPECT_NEAR(first / kRows, 0.5, 5 * std::sqrt(0.25 / kRows));
  // A sampler that reused one purpose for both roundings.
  std::vector<std::uint8_t> branch;
  std::vector<std::uint32_t> stratum;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    const std::uint64_t o =
        mulhi(as_u64(random_words({11, 0}, row, 0, 0, Purpose::kBranchCounts)), 2);
    branch.push_back(static_cast<std::uint8_t>(o));
    stratum.push_back(static_cast<std::uint32_t>(o));
  }
  EXPECT_GT(dependence(branch, stratum), 1);
}

// --- samplers with planted mistakes
// ---------------------------------------------------------------------------------

/// Two picks by Gumbel keys, with a hook on the log-weight and on the key.
Draws planted(const std::vector<double>& w, const std::function<float(float)>& phi_of,
              const std::function<std::uint64_t(std::uint64_t)>& key_of,
              std::uint64_t rows = kRows) {
  Draws draws;
  for (std::uint64_t row = 0; row < rows; ++row) {
    std::vector<std::pair<std::uint64_t, std::uint32_t>> keys;
    for (std::uint32_t i = 0; i < w.size(); ++i) {
      const PhiloxWords z = random_words({11, 0}, row, i, 0, Purpose::kSamplingKey);
      const float phi = phi_of(std::log(static_cast<float>(w[i])));
      keys.emplace_back(~key_of(std::uint64_t{ordered(phi + gumbel(z.z[0]))} << 32 | z.z[1]), i);
    }
    std::partial_sort(keys.begin(), keys.begin() + 2, keys.end());
    draws.push_back({keys[0].second, keys[1].second});
  }
  return draws;
}
const auto kSame = [](float phi) { return phi; };
const auto kWhole = [](std::uint64_t key) { return key; };

TEST(Judges, LetTheRightSamplerPass) {
  const auto p = normalised({1, 2, 3, 4, 5, 6});
  const Draws draws = planted({1, 2, 3, 4, 5, 6}, kSame, kWhole);
  EXPECT_LT(first_pick(draws, p), 1);
  EXPECT_LT(ordered_pairs(draws, p), 1);
  EXPECT_LT(inclusion(draws, p), 1);
}

TEST(Judges, CondemnWeightsToThePower1Point1) {
  const auto p = normalised({1, 2, 3, 4, 5, 6});
  const Draws draws = planted(
      {1, 2, 3, 4, 5, 6}, [](float phi) { return 1.1f * phi; }, kWhole);
  EXPECT_GT(first_pick(draws, p), 1);
  EXPECT_GT(ordered_pairs(draws, p), 1);
  EXPECT_GT(inclusion(draws, p), 1);
}

TEST(Judges, CondemnKeysCutTo16Bits) {
  const std::vector<double> w(60, 1.0);
  EXPECT_LT(trend(planted(w, kSame, kWhole, 2 * kRows), 60), 1);
  const Draws cut = planted(
      w, kSame, [](std::uint64_t key) { return key >> 48 << 48; }, 2 * kRows);
  EXPECT_GT(trend(cut, 60), 1);
}

TEST(Judges, CondemnALawThatDrifts) {
  Draws draws;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    const std::uint64_t z = as_u64(random_words({11, 0}, row, 0, 0, Purpose::kDraw));
    draws.push_back({static_cast<std::uint32_t>(mulhi(z, row < kRows / 10 ? 5 : 6))});
  }
  EXPECT_GT(drift(draws, 6), 1);
}

TEST(Judges, CondemnModuloBias) {
  Draws draws;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    draws.push_back({(random_words({11, 0}, row, 0, 0, Purpose::kDraw).z[0] & 63u) % 6u});
  }
  EXPECT_GT(first_pick(draws, std::vector<double>(6, 1.0 / 6)), 1);
}

TEST(Judges, CondemnASecondPickFromTheFirstPicksWord) {
  Draws draws;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    const std::uint32_t z = random_words({11, 0}, row, 0, 0, Purpose::kDraw).z[0];
    const auto a = static_cast<std::uint32_t>(std::uint64_t{z} * 6 >> 32);
    auto b = static_cast<std::uint32_t>(std::uint64_t{z} * 5 >> 32);
    if (b >= a) ++b;
    draws.push_back({a, b});
  }
  EXPECT_GT(ordered_pairs(draws, std::vector<double>(6, 1.0 / 6)), 1);
}

TEST(Judges, CondemnInclusionProportionalToWeight) {
  // Systematic sampling has inclusion k p, which successive sampling has not.
  const auto p = normalised({1, 2, 3, 4, 5, 6});
  Draws draws;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    const double u = random_words({11, 0}, row, 0, 0, Purpose::kDraw).z[0] * 0x1p-32;
    std::vector<std::uint32_t> picks;
    double sum = 0;
    for (std::uint32_t i = 0; i < 6; ++i) {
      const double before = sum;
      sum += 2 * p[i];
      if (std::floor(sum - u) > std::floor(before - u)) picks.push_back(i);
    }
    if (picks.size() == 2) draws.push_back(picks);
  }
  EXPECT_GT(inclusion(draws, p), 1);
}

}  // namespace
}  // namespace quarry

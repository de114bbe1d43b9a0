// Figures of audits against known answers and values computed another way: published null
// distributions, hand-worked cases, brute force and simulation.
#include "host/audit/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>

#include "host/audit/gates.h"
#include "host/audit/tally.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Counts = std::vector<std::uint64_t>;

TEST(AuditMetrics, RanksAndQuantilesOfASlotAgree) {
  const float nan = std::nanf("");
  EXPECT_TRUE(ranks_agree(3, 2, 3.0f / 7.0f, 7, 7));
  EXPECT_TRUE(ranks_agree(7, 7, 1.0f, 7, 7));
  EXPECT_TRUE(ranks_agree(0, 0, nan, 7, 7)) << "drawn";
  EXPECT_TRUE(ranks_agree(8, 1, 8.0f / 7.0f, 7, 9)) << "an item newer than the kept snapshot";
  EXPECT_TRUE(ranks_agree(3, 2, nan, 0, 7)) << "the set knows no number of items";
  EXPECT_FALSE(ranks_agree(3, 2, std::nextafter(3.0f / 7.0f, 1.0f), 7, 7));
  EXPECT_FALSE(ranks_agree(3, 2, nan, 7, 7));
  EXPECT_FALSE(ranks_agree(0, 0, 0.0f, 7, 7));
  EXPECT_FALSE(ranks_agree(3, 4, 3.0f / 7.0f, 7, 7));
  EXPECT_TRUE(ranks_agree(3, 4, 3.0f / 7.0f, 7, 7, false)) << "the third draw";
  EXPECT_FALSE(ranks_agree(8, 2, 8.0f / 7.0f, 7, 7));
}

TEST(AuditMetrics, NormalTailAndQuantileAreTheTables) {
  EXPECT_NEAR(normal_tail(0), 0.5, 1e-15);
  EXPECT_NEAR(normal_tail(1.959963984540054), 0.025, 1e-14);
  EXPECT_NEAR(normal_tail(3.090232306167813), 1e-3, 1e-14);
  EXPECT_NEAR(normal_quantile(1e-3), 3.090232306167813, 1e-9);
  EXPECT_NEAR(normal_quantile(0.975), -1.959963984540054, 1e-9);
}

TEST(AuditMetrics, ChiSquareQuantilesAreTheTables) {
  EXPECT_NEAR(chi2_quantile(1, 0.05), 3.841458820694124, 1e-8);
  EXPECT_NEAR(chi2_quantile(9, 0.05), 16.918977604620448, 1e-8);
  EXPECT_NEAR(chi2_quantile(9, 0.001), 27.877164871256568, 1e-7);
  EXPECT_NEAR(chi2_quantile(99, 0.001), 148.23035992, 1e-5);
  // With 2 degrees the tail is exp(-x / 2).
  for (const double x : {0.1, 1.0, 7.0, 40.0})
    EXPECT_NEAR(chi2_tail(2, x), std::exp(-x / 2), 1e-13);
}

TEST(AuditMetrics, WilsonIsTheTextbookInterval) {
  // 10 of 100 and 0 of 20: Newcombe 1998 gives 0.0552 .. 0.1744 and 0 .. 0.1611.
  EXPECT_NEAR(wilson(10, 100).low, 0.0552, 5e-5);
  EXPECT_NEAR(wilson(10, 100).high, 0.1744, 5e-5);
  EXPECT_EQ(wilson(0, 20).low, 0);
  EXPECT_NEAR(wilson(0, 20).high, 0.1611, 5e-5);
  EXPECT_EQ(wilson(0, 0).high, 1);
}

TEST(AuditMetrics, PsiOfEqualSamplesHasTheMeanAndLimitOfItsNull) {
  // n = m = 1000, 10 equal bins: mean 0.0180 by theory and 0.0178 measured, 95 % at 0.0338.
  std::mt19937_64 random(7);
  std::uniform_int_distribution<int> bin(0, 9);
  constexpr int kTrials = 4000;
  double sum = 0;
  int above_mean_limit = 0, above_limit = 0;
  const Counts flat(10, 100);
  const PsiNull null5 = psi_null(flat, flat, 0.05);
  const PsiNull null = psi_null(flat, flat, 0.001);
  for (int t = 0; t < kTrials; ++t) {
    Counts a(10, 0), b(10, 0);
    for (int i = 0; i < 1000; ++i) ++a[static_cast<std::size_t>(bin(random))];
    for (int i = 0; i < 1000; ++i) ++b[static_cast<std::size_t>(bin(random))];
    const double p = psi(a, b);
    sum += p;
    above_mean_limit += p > null5.limit;
    above_limit += p > null.limit;
  }
  std::printf(
      "PSI without drift: mean %.4f (theory %.4f), above the 95 %% point %.3f, above the "
      "99.9 %% point %.4f\n",
      sum / kTrials, null5.mean, above_mean_limit / double{kTrials}, above_limit / double{kTrials});
  EXPECT_NEAR(null5.mean, 0.0180, 1e-12);
  EXPECT_NEAR(null5.limit, 0.0338, 5e-5);
  EXPECT_NEAR(sum / kTrials, 0.0180, 0.0006);
  EXPECT_NEAR(above_mean_limit / double{kTrials}, 0.05, 0.015);
  EXPECT_LT(above_limit / double{kTrials}, 0.004);
}

TEST(AuditMetrics, PsiAndJensenShannonOfHandWorkedShares) {
  // (0.5, 0.5) against (0.25, 0.75): 0.25 ln 2 - 0.25 ln(2/3).
  EXPECT_NEAR(psi(Counts{50, 50}, Counts{25, 75}), 0.25 * std::log(2.0) - 0.25 * std::log(2.0 / 3),
              1e-14);
  // An empty bin counts as half a case.
  const double floor = 1.0 / 200;
  EXPECT_NEAR(psi(Counts{100, 0}, Counts{50, 50}),
              0.5 * std::log(2.0) + (floor - 0.5) * std::log(floor / 0.5), 1e-14);
  EXPECT_EQ(jensen_shannon(Counts{3, 5}, Counts{6, 10}), 0);
  EXPECT_NEAR(jensen_shannon(Counts{4, 0}, Counts{0, 9}), 1, 1e-15);
  // H(3/8) - (1 + H(1/4)) / 2 in bits.
  const auto h = [](double p) { return -p * std::log2(p) - (1 - p) * std::log2(1 - p); };
  EXPECT_NEAR(jensen_shannon(Counts{1, 1}, Counts{1, 3}), h(3.0 / 8) - (1 + h(0.25)) / 2, 1e-14);
  EXPECT_EQ(psi(Counts{}, Counts{}), 0);
  EXPECT_EQ(psi(Counts{0, 0}, Counts{1, 2}), 0);
}

TEST(AuditMetrics, ConcentrationByDefinition) {
  EXPECT_NEAR(std::exp(entropy(Counts{5, 5, 5, 5, 0})), 4, 1e-12);
  EXPECT_NEAR(gini(Counts{7, 7, 7}), 0, 1e-15);
  EXPECT_NEAR(gini(Counts{0, 0, 0, 9}), 0.75, 1e-15);
  // Gini is half the mean absolute difference over the mean.
  const Counts x = {1, 0, 12, 5, 5, 40, 2};
  double differences = 0, sum = 0;
  for (const auto a : x) {
    sum += static_cast<double>(a);
    for (const auto b : x)
      differences += std::fabs(static_cast<double>(a) - static_cast<double>(b));
  }
  EXPECT_NEAR(gini(x), differences / (2 * 7 * sum), 1e-14);
  EXPECT_NEAR(top_share(x, 0.01), 40.0 / 65, 1e-15);
  EXPECT_NEAR(top_share(x, 0.3), 52.0 / 65, 1e-15);
  EXPECT_EQ(top_share(Counts{0, 0}, 0.5), 0);
}

TEST(AuditMetrics, ExpectedDistinctIsTheMeanOfDraws) {
  std::mt19937_64 random(3);
  std::uniform_int_distribution<int> item(0, 99);
  double sum = 0;
  for (int t = 0; t < 2000; ++t) {
    std::vector<bool> seen(100, false);
    for (int i = 0; i < 150; ++i) seen[static_cast<std::size_t>(item(random))] = true;
    sum += static_cast<double>(std::count(seen.begin(), seen.end(), true));
  }
  EXPECT_NEAR(expected_distinct(100, 150), sum / 2000, 0.4);
  EXPECT_EQ(expected_distinct(100, 0), 0);
  EXPECT_EQ(expected_distinct(0, 5), 0);
  EXPECT_NEAR(expected_distinct(1000000000, 1), 1, 1e-6);
}

TEST(AuditMetrics, QuantilesAreInterpolated) {
  const std::vector<float> values = {1, 2, 4, 8};
  EXPECT_EQ(quantile_of_sorted(values, 0), 1);
  EXPECT_EQ(quantile_of_sorted(values, 0.5), 3);
  EXPECT_EQ(quantile_of_sorted(values, 1), 8);
  EXPECT_TRUE(std::isnan(quantile_of_sorted({}, 0.5)));
}

TEST(AuditMetrics, CalibrationOfHandWorkedCases) {
  // Negatives thinned to a tenth: odds of 1 become a tenth.
  EXPECT_NEAR(undo_downsampling(0.5, 0.1), 1.0 / 11, 1e-15);
  EXPECT_EQ(undo_downsampling(0.3, 1), 0.3);
  EXPECT_EQ(undo_downsampling(0, 0.5), 0);
  std::vector<ScoredLabel> cases = {{0.9, 1, 1}, {0.1, 1, 0}, {0.2, 1, 1}, {0.8, 1, 1}};
  EXPECT_NEAR(brier(cases), (0.01 + 0.01 + 0.64 + 0.04) / 4, 1e-14);
  const auto bins = calibration_bins(cases, 2);  // (0.1, 0.2) and (0.8, 0.9)
  ASSERT_EQ(bins.size(), 2u);
  EXPECT_NEAR(calibration_error(bins), (2 * 0.35 + 2 * 0.15) / 4, 1e-14);
  std::vector<ScoredLabel> tied(100, ScoredLabel{0.5, 1, 1});
  EXPECT_EQ(calibration_bins(tied, 15).size(), 1u) << "equal scores share a bin";
}

TEST(AuditMetrics, DownsampledScoresAreCalibratedInTheLarge) {
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> unit(0, 1);
  constexpr double kRate = 0.05;
  double scores = 0, labels = 0;
  for (int i = 0; i < 2000000; ++i) {
    const double q = 0.2 * unit(random) * unit(random);  // the truth in the whole population
    const bool label = unit(random) < q;
    if (!label && unit(random) >= kRate) continue;
    const double p = q / (q + (1 - q) * kRate);  // what a model of the thinned data says
    const double weight = label ? 1 : 1 / kRate;
    scores += weight * undo_downsampling(p, kRate);
    labels += weight * (label ? 1 : 0);
  }
  EXPECT_NEAR(scores / labels, 1, 0.02);
}

/// Probability of at most `most` hits in all cells by walking through all outcomes of draws.
double brute_force(const std::vector<MatchedCell>& cells, std::uint64_t most) {
  std::vector<double> mass = {1};
  for (const MatchedCell& cell : cells) {
    std::vector<double> p(cell.drawn + 1, 0);
    double subsets = 0;
    for (std::uint32_t set = 0; set < 1u << cell.all; ++set) {
      if (static_cast<std::uint32_t>(__builtin_popcount(set)) != cell.drawn) continue;
      subsets += 1;
      p[static_cast<std::size_t>(__builtin_popcount(set & ((1u << cell.marked) - 1)))] += 1;
    }
    std::vector<double> next(mass.size() + cell.drawn, 0);
    for (std::size_t i = 0; i < mass.size(); ++i) {
      for (std::size_t x = 0; x < p.size(); ++x) next[i + x] += mass[i] * p[x] / subsets;
    }
    mass = next;
  }
  double sum = 0;
  for (std::size_t i = 0; i <= most && i < mass.size(); ++i) sum += mass[i];
  return sum;
}

TEST(AuditMetrics, MatchedTestIsExact) {
  const std::vector<MatchedCell> cells = {{8, 3, 2, 1}, {5, 1, 4, 0}, {10, 5, 5, 1}, {6, 4, 5, 3}};
  const MatchedTest test = matched_test(cells);
  EXPECT_EQ(test.observed, 5u);
  EXPECT_NEAR(test.expected, 2 * 3.0 / 8 + 4 * 1.0 / 5 + 5 * 0.5 + 5 * 4.0 / 6, 1e-13);
  EXPECT_NEAR(test.p_few, brute_force(cells, 5), 1e-12);
  EXPECT_NEAR(test.p_many, 1 - brute_force(cells, 4), 1e-12);
  const MatchedTest normal = matched_test(cells, 0);
  EXPECT_NEAR(normal.p_few, test.p_few, 0.05);
}

TEST(AuditMetrics, MatchedTestHoldsItsLevelAndFindsMasks) {
  std::mt19937_64 random(5);
  constexpr int kTrials = 4000;
  int alarms = 0, alarms_5 = 0, found = 0;
  for (int t = 0; t < kTrials; ++t) {
    std::vector<MatchedCell> honest, masked;
    for (int c = 0; c < 150; ++c) {
      MatchedCell cell{20, 2, 3, 0};
      std::vector<int> urn(20);
      std::iota(urn.begin(), urn.end(), 0);
      for (std::uint32_t d = 0; d < cell.drawn; ++d) {
        std::uniform_int_distribution<std::size_t> pick(d, 19);
        std::swap(urn[d], urn[pick(random)]);
        cell.hits += urn[d] < 2;
      }
      honest.push_back(cell);
      cell.hits = cell.hits > 0 && c % 3 == 0 ? cell.hits : 0;  // two thirds of the hits masked
      masked.push_back(cell);
    }
    const double p = matched_test(honest).p_few;
    alarms += p < 1e-3;
    alarms_5 += p < 0.05;
    found += matched_test(masked).p_few < 1e-3;
  }
  std::printf("matched test: %.4f below 0.001, %.3f below 0.05, masks found %.3f\n",
              alarms / double{kTrials}, alarms_5 / double{kTrials}, found / double{kTrials});
  EXPECT_LE(alarms, 12) << "level 0.001 of 4,000";
  EXPECT_LT(alarms_5 / double{kTrials}, 0.062);
  EXPECT_GT(found / double{kTrials}, 0.99);
}

TEST(AuditMetrics, RatioIntervalCoversTheRatio) {
  const Interval i = ratio_interval(30, 1000, 20, 2000);
  EXPECT_LT(i.low, 3);
  EXPECT_GT(i.high, 3);
  EXPECT_GT(i.low, 1.7);
  EXPECT_LT(i.high, 5.4);
}

std::string message_of(const std::string& toml) {
  try {
    parse_gates(toml, "gates.toml");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(AuditGates, PrintedGatesAreReadBack) {
  const GateConfig defaults = default_gates();
  EXPECT_EQ(gates_to_toml(parse_gates(gates_to_toml(defaults), "gates.toml")),
            gates_to_toml(defaults));
  const GateConfig changed = parse_gates(
      "[leak.positives]\nseverity = \"warn\"\nlimit = 3\n[drift.churn]\nlow = 0.2\n"
      "[settings]\nhub_rows = 0.25\n",
      "gates.toml");
  EXPECT_EQ(changed.rule("leak.positives").severity, Severity::kWarn);
  EXPECT_EQ(changed.rule("leak.positives").high, 3);
  EXPECT_EQ(changed.rule("drift.churn").low, 0.2);
  EXPECT_EQ(changed.rule("drift.churn").high, defaults.rule("drift.churn").high);
  EXPECT_EQ(changed.settings.hub_rows, 0.25);
}

TEST(AuditGates, MistakesAreNamedWithTheirPlace) {
  EXPECT_NE(message_of("[leak.positive]\nlimit = 1\n").find("gates.toml:1"), std::string::npos);
  EXPECT_NE(message_of("[leak.positive]\nlimit = 1\n").find("did you mean \"positives\""),
            std::string::npos);
  EXPECT_NE(message_of("[leak.time]\nlimit = -1\n").find("gates.toml:2:9"), std::string::npos);
  EXPECT_NE(message_of("[leak.time]\nlow = 1\n").find("unknown key"), std::string::npos);
  EXPECT_NE(message_of("[leak.time]\nseverity = \"bad\"\n").find("off, warn, fail"),
            std::string::npos);
  EXPECT_NE(message_of("[drift.churn]\nlow = 0.95\n").find("allows nothing"), std::string::npos);
  EXPECT_NE(message_of("[settings]\ncohort_users = 5\n").find("20 to"), std::string::npos)
      << message_of("[settings]\ncohort_users = 5\n");
  EXPECT_NE(message_of("leak = 3\n").find("expected a table"), std::string::npos);
  EXPECT_NE(message_of("[leak\n").find("not TOML"), std::string::npos);
}

TEST(AuditGates, WhatIsFarBeyondAWarningFails) {
  const auto status = [](const char* toml, double value, const char* gate = "cohorts.suppression") {
    const GateConfig config = parse_gates(toml, "gates.toml");
    GateKeeper gates(config);
    return gates.judge(gate, value, "seen").status;
  };
  EXPECT_EQ(status("", 2), GateStatus::kPass);
  EXPECT_EQ(status("", 4), GateStatus::kWarn);
  EXPECT_EQ(status("", 4.001), GateStatus::kFail);
  EXPECT_EQ(status("", 0.001, "diversity.intra_row"), GateStatus::kWarn) << "it has none";
  const char* low = "[diversity.intra_row]\nfail = 0.001\n";
  EXPECT_EQ(status(low, 0.02, "diversity.intra_row"), GateStatus::kPass);
  EXPECT_EQ(status(low, 0.0015, "diversity.intra_row"), GateStatus::kWarn);
  EXPECT_EQ(status(low, 0.0005, "diversity.intra_row"), GateStatus::kFail);
  EXPECT_EQ(status("[cohorts.suppression]\nfail = 9\n", 5), GateStatus::kWarn);
  EXPECT_EQ(status("[cohorts.suppression]\nfail = 9\n", 10), GateStatus::kFail);
  EXPECT_EQ(status("[cohorts.suppression]\nlimit = 5\n", 1e9), GateStatus::kWarn);
  EXPECT_EQ(status("[cohorts.suppression]\nseverity = \"warn\"\n", 1e9), GateStatus::kWarn);
  EXPECT_EQ(status("[cohorts.suppression]\nseverity = \"off\"\n", 1e9), GateStatus::kNotChecked);
  EXPECT_NE(message_of("[cohorts.suppression]\nfail = 1\n").find("fail before it warns"),
            std::string::npos);
  EXPECT_NE(message_of("[drift.churn]\nfail = 1\n").find("unknown key"), std::string::npos);
}

TEST(AuditGates, SeveritiesDecideTheStatus) {
  const GateConfig config = parse_gates(
      "[leak.group]\nseverity = \"warn\"\n[leak.time]\nseverity = \"off\"\n", "gates.toml");
  GateKeeper gates(config);
  gates.judge("leak.positives", 1, "one");
  gates.judge("leak.group", 1, "one");
  gates.judge("leak.time", 1, "one");
  gates.judge("fill.slots", 1, "all");
  gates.judge("diversity.intra_row", std::nan(""), "nothing");
  const std::vector<Gate> all = gates.take();
  EXPECT_EQ(all.size(), config.rules.size());
  const auto status = [&](const std::string& id) {
    for (const Gate& g : all) {
      if (g.id == id) return g.status;
    }
    return GateStatus::kNotChecked;
  };
  EXPECT_EQ(status("leak.positives"), GateStatus::kFail);
  EXPECT_EQ(status("leak.group"), GateStatus::kWarn);
  EXPECT_EQ(status("leak.time"), GateStatus::kNotChecked);
  EXPECT_EQ(status("fill.slots"), GateStatus::kPass);
  EXPECT_EQ(status("diversity.intra_row"), GateStatus::kWarn) << "no number passes no limit";
  EXPECT_EQ(status("leak.exposed"), GateStatus::kNotChecked);
}

}  // namespace
}  // namespace quarry

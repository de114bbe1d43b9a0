// Figures of negative sets.
#include "host/audit/metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

namespace quarry {
namespace {

constexpr double kZ95 = 1.959963984540054;

double sum_of(std::span<const std::uint64_t> counts) {
  double sum = 0;
  for (const std::uint64_t c : counts) sum += static_cast<double>(c);
  return sum;
}

/// Regularised upper incomplete gamma Q(a, x): series below a + 1, continued fraction above.
double gamma_q(double a, double x) {
  if (x <= 0) return 1;
  const double scale = std::exp(-x + a * std::log(x) - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a;
    double sum = term;
    for (int n = 1; n < 100000 && term > sum * 1e-17; ++n) {
      term *= x / (a + n);
      sum += term;
    }
    return 1 - sum * scale;
  }
  constexpr double kTiny = 1e-300;  // Lentz's method: no denominator is 0
  double b = x + 1 - a;
  double c = 1 / kTiny;
  double d = 1 / b;
  double h = d;
  for (int i = 1; i < 100000; ++i) {
    const double an = -i * (i - a);
    b += 2;
    d = an * d + b;
    if (std::fabs(d) < kTiny) d = kTiny;
    c = b + an / c;
    if (std::fabs(c) < kTiny) c = kTiny;
    d = 1 / d;
    h *= d * c;
    if (std::fabs(d * c - 1) < 1e-16) break;
  }
  return scale * h;
}

/// x with `tail(x)` = wanted, tail falling; [low, high] holds it.
double bisect(double low, double high, double wanted, const std::function<double(double)>& tail) {
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (tail(middle) > wanted ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// P(T > t) of Student's distribution, t > 0.
double student_tail(std::uint64_t df, double t) {
  const auto n = static_cast<double>(df);
  const double sine = t / std::sqrt(n + t * t);
  const double cosine2 = n / (n + t * t);
  const bool odd = df % 2 == 1;
  double term = odd ? std::sqrt(cosine2) : 1;
  double sum = df == 1 ? 0 : term;
  for (std::uint64_t j = odd ? 3 : 2; j + 2 <= df; j += 2) {
    const auto k = static_cast<double>(j);
    term *= (k - 1) / k * cosine2;
    sum += term;
  }
  const double inside =
      odd ? 2 / std::numbers::pi * (std::atan(t / std::sqrt(n)) + sine * sum) : sine * sum;
  return (1 - inside) / 2;
}

/// Probabilities of 0 ... hits of a cell, by ratios from the most likely one.
std::vector<double> hypergeometric(const MatchedCell& cell) {
  const std::uint32_t low =
      cell.drawn + cell.marked > cell.all ? cell.drawn + cell.marked - cell.all : 0;
  const std::uint32_t high = std::min(cell.marked, cell.drawn);
  const auto choose = [](double n, double k) {
    return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
  };
  std::vector<double> p(high + 1, 0);
  const double whole = choose(cell.all, cell.drawn);
  for (std::uint32_t x = low; x <= high; ++x) {
    p[x] = std::exp(choose(cell.marked, x) +
                    choose(double{1} * cell.all - cell.marked, double{1} * cell.drawn - x) - whole);
  }
  return p;
}

/// P(X <= observed) and P(X >= observed) of the sum of the cells.
void exact_tails(std::span<const MatchedCell> cells, MatchedTest& test) {
  const std::size_t keep = test.observed + 1;  // the mass of 0 ... observed is enough for both
  std::vector<double> mass = {1};
  for (const MatchedCell& cell : cells) {
    const std::vector<double> p = hypergeometric(cell);
    std::vector<double> next(std::min(keep, mass.size() + p.size() - 1), 0);
    for (std::size_t i = 0; i < mass.size(); ++i) {
      for (std::size_t x = 0; x < p.size() && i + x < next.size(); ++x)
        next[i + x] += mass[i] * p[x];
    }
    mass = std::move(next);
  }
  const double up_to = std::accumulate(mass.begin(), mass.end(), 0.0);
  const double last = mass.size() == keep ? mass.back() : 0;
  test.p_few = std::min(1.0, up_to);
  test.p_many = std::clamp(1 - (up_to - last), 0.0, 1.0);
}

}  // namespace

double normal_tail(double z) { return 0.5 * std::erfc(z / std::sqrt(2.0)); }

double normal_quantile(double tail) { return bisect(-40, 40, tail, normal_tail); }

double chi2_tail(double df, double x) { return gamma_q(df / 2, x / 2); }

double student_quantile(std::uint64_t df, double tail) {
  constexpr std::uint64_t kMostTerms = 200;
  constexpr double kLargest = 1e9;
  df = std::max<std::uint64_t>(df, 1);
  if (df <= kMostTerms)
    return bisect(0, kLargest, tail, [df](double t) { return student_tail(df, t); });
  const double z = normal_quantile(tail);
  const double z2 = z * z;
  const auto n = static_cast<double>(df);
  return z + z * (z2 + 1) / (4 * n) + z * ((5 * z2 + 16) * z2 + 3) / (96 * n * n) +
         z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * n * n * n);
}

double chi2_quantile(double df, double tail) {
  if (df <= 0) return 0;
  return bisect(0, df + 100 * (1 + std::sqrt(df)), tail,
                [df](double x) { return chi2_tail(df, x); });
}

Interval wilson(std::uint64_t hits, std::uint64_t trials) {
  if (trials == 0) return {0, 1};
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(hits) / n;
  const double z2 = kZ95 * kZ95;
  const double centre = p + z2 / (2 * n);
  const double half = kZ95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {hits == 0 ? 0 : (centre - half) / (1 + z2 / n),
          hits == trials ? 1 : (centre + half) / (1 + z2 / n)};
}

Interval ratio_interval(std::uint64_t hits_a, std::uint64_t trials_a, std::uint64_t hits_b,
                        std::uint64_t trials_b) {
  const double a = static_cast<double>(hits_a) + 0.5;
  const double b = static_cast<double>(hits_b) + 0.5;
  const double n = static_cast<double>(trials_a) + 0.5;
  const double m = static_cast<double>(trials_b) + 0.5;
  const double log_ratio = std::log(a / n) - std::log(b / m);
  const double spread = kZ95 * std::sqrt(std::max(0.0, 1 / a - 1 / n + 1 / b - 1 / m));
  return {std::exp(log_ratio - spread), std::exp(log_ratio + spread)};
}

double psi(std::span<const std::uint64_t> now, std::span<const std::uint64_t> reference) {
  const double n = sum_of(now);
  const double m = sum_of(reference);
  if (n == 0 || m == 0) return 0;
  const double floor = 1 / (2 * std::min(n, m));
  double sum = 0;
  for (std::size_t b = 0; b < now.size(); ++b) {
    if (now[b] == 0 && reference[b] == 0) continue;
    const double p = std::max(static_cast<double>(now[b]) / n, floor);
    const double q = std::max(static_cast<double>(reference[b]) / m, floor);
    sum += (p - q) * std::log(p / q);
  }
  return sum;
}

PsiNull psi_null(std::span<const std::uint64_t> now, std::span<const std::uint64_t> reference,
                 double tail) {
  const double n = sum_of(now);
  const double m = sum_of(reference);
  if (n == 0 || m == 0) return {};
  double bins = 0;
  for (std::size_t b = 0; b < now.size(); ++b) bins += now[b] + reference[b] > 0 ? 1 : 0;
  const double size = 1 / n + 1 / m;
  return {(bins - 1) * size, size * chi2_quantile(bins - 1, tail)};
}

double jensen_shannon(std::span<const std::uint64_t> now,
                      std::span<const std::uint64_t> reference) {
  const double n = sum_of(now);
  const double m = sum_of(reference);
  if (n == 0 || m == 0) return 0;
  const auto term = [](double p) { return p > 0 ? -p * std::log2(p) : 0.0; };
  double sum = 0;
  for (std::size_t b = 0; b < now.size(); ++b) {
    const double p = static_cast<double>(now[b]) / n;
    const double q = static_cast<double>(reference[b]) / m;
    sum += term((p + q) / 2) - (term(p) + term(q)) / 2;
  }
  return std::clamp(sum, 0.0, 1.0);
}

double entropy(std::span<const std::uint64_t> counts) {
  const double n = sum_of(counts);
  double sum = 0;
  for (const std::uint64_t c : counts) {
    if (c == 0) continue;
    const double p = static_cast<double>(c) / n;
    sum -= p * std::log(p);
  }
  return sum;
}

double gini(std::span<const std::uint64_t> counts) {
  std::vector<std::uint64_t> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end());
  const auto n = static_cast<double>(sorted.size());
  double sum = 0;
  double weighted = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    sum += static_cast<double>(sorted[i]);
    weighted += (2 * static_cast<double>(i + 1) - n - 1) * static_cast<double>(sorted[i]);
  }
  return sum > 0 ? weighted / (n * sum) : 0;
}

double top_share(std::span<const std::uint64_t> counts, double share) {
  std::vector<std::uint64_t> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const double whole = sum_of(counts);
  const auto top = std::max<std::size_t>(
      1, static_cast<std::size_t>(static_cast<double>(sorted.size()) * share));
  if (whole == 0) return 0;
  return sum_of(std::span(sorted).first(std::min(top, sorted.size()))) / whole;
}

double expected_distinct(std::uint64_t items, std::uint64_t draws) {
  if (items == 0) return 0;
  const auto n = static_cast<double>(items);
  if (items == 1) return draws > 0 ? 1 : 0;
  return -n * std::expm1(static_cast<double>(draws) * std::log1p(-1 / n));
}

double quantile_of_sorted(std::span<const float> sorted, double share) {
  if (sorted.empty()) return std::nan("");
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(below);
  return (1 - part) * static_cast<double>(sorted[below]) +
         part * static_cast<double>(sorted[above]);
}

double undo_downsampling(double p, double w) { return p <= 0 ? 0 : p / (p + (1 - p) / w); }

std::vector<CalibrationBin> calibration_bins(std::vector<ScoredLabel>& cases, unsigned bins) {
  std::stable_sort(cases.begin(), cases.end(),
                   [](const ScoredLabel& a, const ScoredLabel& b) { return a.score < b.score; });
  double whole = 0;
  for (const ScoredLabel& c : cases) whole += c.weight;
  std::vector<CalibrationBin> out;
  double before = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const bool tied = i > 0 && cases[i].score == cases[i - 1].score;
    if (out.empty() || (!tied && before >= whole * static_cast<double>(out.size()) / bins))
      out.emplace_back();
    CalibrationBin& bin = out.back();
    const ScoredLabel& c = cases[i];
    bin.cases += 1;
    bin.weight += c.weight;
    bin.scores += c.weight * c.score;
    bin.labels += c.weight * c.label;
    before += c.weight;
  }
  return out;
}

double calibration_error(std::span<const CalibrationBin> bins) {
  double whole = 0;
  double sum = 0;
  for (const CalibrationBin& bin : bins) {
    whole += bin.weight;
    sum += std::fabs(bin.labels - bin.scores);
  }
  return whole > 0 ? sum / whole : 0;
}

double brier(std::span<const ScoredLabel> cases) {
  double whole = 0;
  double sum = 0;
  for (const ScoredLabel& c : cases) {
    whole += c.weight;
    sum += c.weight * (c.score - c.label) * (c.score - c.label);
  }
  return whole > 0 ? sum / whole : 0;
}

MatchedTest matched_test(std::span<const MatchedCell> cells, double exact_up_to) {
  MatchedTest test;
  for (const MatchedCell& cell : cells) {
    const double n = cell.all;
    const double share = cell.marked / n;
    test.observed += cell.hits;
    test.expected += cell.drawn * share;
    if (cell.all > 1)
      test.variance += cell.drawn * share * (1 - share) * (n - cell.drawn) / (n - 1);
  }
  const auto seen = static_cast<double>(test.observed);
  if (test.expected <= exact_up_to && seen <= 4 * exact_up_to) {
    exact_tails(cells, test);
  } else if (test.variance > 0) {
    const double sd = std::sqrt(test.variance);
    test.p_few = normal_tail((test.expected - seen - 0.5) / sd);
    test.p_many = normal_tail((seen - test.expected - 0.5) / sd);
  }
  return test;
}

}  // namespace quarry

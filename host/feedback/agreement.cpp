// Estimates from verdicts.
#include "host/feedback/agreement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quarry {
namespace {

/// The largest sum of W_h p_h under which no hit is seen with a chance of 5 %. With u_h = -n_h ln(1
/// - p_h), which sum to ln 20, it is concave: strata whose next u_h gives most take it until all
/// give the same, W_h / n_h exp(-u_h / n_h).
double bound_without_hit(std::span<const StratumCount> strata, double covered) {
  constexpr double kChance = 0.05;
  constexpr int kHalvings = 200;
  const double all = -std::log(kChance);
  const auto shares_at = [&](double level, auto&& visit) {
    for (const StratumCount& h : strata) {
      if (h.judged == 0 || h.judged == h.population) continue;
      const auto n = static_cast<double>(h.judged);
      const double weight = static_cast<double>(h.population) / covered;
      visit(n, weight, std::max(0.0, n * (std::log(weight / n) - level)));
    }
  };
  // The least log of what each gives: from where nobody takes on, down until ln 20 is taken.
  double high = 0, low = 0;  // W_h / n_h <= 1
  for (const StratumCount& h : strata) {
    if (h.judged == 0) continue;
    const double n = static_cast<double>(h.judged);
    low = std::min(low, std::log(static_cast<double>(h.population) / covered / n) - all);
  }
  for (int i = 0; i < kHalvings; ++i) {
    const double level = (high + low) / 2;
    double taken = 0;
    shares_at(level, [&](double, double, double u) { taken += u; });
    (taken > all ? low : high) = level;
  }
  double bound = 0;
  shares_at(high,
            [&](double n, double weight, double u) { bound += weight * -std::expm1(-u / n); });
  return std::min(1.0, bound);
}

}  // namespace

Interval wilson_of_share(double share, double size) {
  const double z = normal_quantile(0.025);
  const double z2 = z * z;
  const double centre = share + z2 / (2 * size);
  const double half = z * std::sqrt(share * (1 - share) / size + z2 / (4 * size * size));
  return {std::max(0.0, (centre - half) / (1 + z2 / size)),
          std::min(1.0, (centre + half) / (1 + z2 / size))};
}

StratifiedShare stratified_share(std::span<const StratumCount> strata) {
  StratifiedShare all;
  bool whole = true;
  std::uint64_t hits = 0;
  for (const StratumCount& h : strata) {
    all.population += h.population;
    all.covered += h.judged > 0 ? h.population : 0;
    hits += h.hits;
    whole = whole && (h.judged == 0 || h.judged == h.population);
  }
  if (all.covered == 0) return all;
  double share = 0, variance = 0;
  bool known = true;
  for (const StratumCount& h : strata) {
    if (h.judged == 0) continue;
    const double weight = static_cast<double>(h.population) / static_cast<double>(all.covered);
    const double p = static_cast<double>(h.hits) / static_cast<double>(h.judged);
    share += weight * p;
    if (h.judged == h.population) continue;  // nothing of it is estimated
    if (h.judged == 1) {
      known = false;
      continue;
    }
    const double left = 1 - static_cast<double>(h.judged) / static_cast<double>(h.population);
    variance += weight * weight * left * p * (1 - p) / static_cast<double>(h.judged - 1);
  }
  all.share = share;
  if (hits == 0 && !whole) all.upper = bound_without_hit(strata, static_cast<double>(all.covered));
  if (!known || (variance <= 0 && !whole)) return all;
  all.standard_error = std::sqrt(variance);
  if (variance > 0) {
    all.interval = wilson_of_share(share, share * (1 - share) / variance);
  } else {
    all.interval = Interval{share, share};
  }
  return all;
}

Agreement agreement_of(std::span<const VerdictCounts> units) {
  Agreement all;
  std::array<double, kNumVerdicts> totals = {};
  double agreeing = 0, shares = 0;  // coincidences o_cc, summed; shares of agreeing pairs
  for (const VerdictCounts& counts : units) {
    const std::uint64_t given = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
    if (given < 2) continue;
    ++all.units;
    all.verdicts += given;
    const auto m = static_cast<double>(given);
    double pairs = 0;
    for (std::size_t c = 0; c < kNumVerdicts; ++c) {
      const auto n = static_cast<double>(counts[c]);
      pairs += n * (n - 1);
      totals[c] += n;
    }
    agreeing += pairs / (m - 1);
    shares += pairs / (m * (m - 1));
  }
  if (all.units == 0) return all;
  all.percent = shares / static_cast<double>(all.units);
  const auto n = static_cast<double>(all.verdicts);
  double squares = 0;
  for (const double total : totals) squares += total * total;
  if (squares < n * n) all.alpha = 1 - (n - 1) * (n - agreeing) / (n * n - squares);
  return all;
}

std::optional<std::size_t> majority_of(const VerdictCounts& counts) {
  const auto most = std::max_element(counts.begin(), counts.end());
  if (*most == 0 || std::count(counts.begin(), counts.end(), *most) > 1) return std::nullopt;
  return static_cast<std::size_t>(most - counts.begin());
}

}  // namespace quarry

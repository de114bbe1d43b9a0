// Estimates from verdicts.
#include "host/feedback/agreement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quarry {
namespace {

/// Wilson's interval for a share seen in `size` trials, which need not be whole.
Interval wilson_of(double share, double size) {
  const double z = normal_quantile(0.025);
  const double z2 = z * z;
  const double centre = share + z2 / (2 * size);
  const double half = z * std::sqrt(share * (1 - share) / size + z2 / (4 * size * size));
  return {std::max(0.0, (centre - half) / (1 + z2 / size)),
          std::min(1.0, (centre + half) / (1 + z2 / size))};
}

}  // namespace

StratifiedShare stratified_share(std::span<const StratumCount> strata) {
  StratifiedShare all;
  bool whole = true;
  for (const StratumCount& h : strata) {
    all.population += h.population;
    all.covered += h.judged > 0 ? h.population : 0;
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
  if (!known) return all;
  all.standard_error = std::sqrt(variance);
  if (variance > 0) {
    all.interval = wilson_of(share, share * (1 - share) / variance);
  } else if (whole) {
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

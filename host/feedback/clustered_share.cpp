// Errors by clusters.
#include "host/feedback/clustered_share.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace quarry {
namespace {

bool is_estimated(const StratumCount& h) { return h.judged > 0 && h.judged < h.population; }

/// Of one cluster: its units in each stratum, and the hits among them.
struct Part {
  std::uint64_t units = 0, hits = 0;
};
using Parts = std::map<std::uint32_t, Part>;

}  // namespace

ClusteredShare clustered_share(std::span<const StratumCount> strata,
                               const StratifiedShare& independent,
                               std::span<const JudgedUnit> units) {
  ClusteredShare all;
  std::map<std::uint64_t, Parts> clusters;
  for (const JudgedUnit& unit : units) {
    if (!is_estimated(strata[unit.stratum])) continue;
    Part& part = clusters[unit.cluster][unit.stratum];
    ++part.units;
    part.hits += unit.hit ? 1 : 0;
  }
  std::vector<std::uint64_t> clusters_in(strata.size(), 0);
  all.clusters = clusters.size();
  for (const auto& [cluster, parts] : clusters) {
    std::uint64_t of_one = 0;
    for (const auto& [h, part] : parts) {
      of_one += part.units;
      ++clusters_in[h];
    }
    all.most = std::max(all.most, of_one);
  }
  if (all.most < 2) return all;
  std::uint64_t num_strata = 0;
  for (std::size_t h = 0; h < strata.size(); ++h) {
    if (!is_estimated(strata[h])) continue;
    ++num_strata;
    all.strata_of_one += strata[h].judged > 1 && clusters_in[h] == 1 ? 1 : 0;
  }
  if (independent.upper) {
    std::vector<StratumCount> by_cluster(strata.begin(), strata.end());
    for (std::size_t h = 0; h < strata.size(); ++h) {
      if (is_estimated(strata[h])) by_cluster[h].judged = clusters_in[h];
    }
    all.upper = stratified_share(by_cluster).upper;
  }
  if (!independent.standard_error || all.strata_of_one > 0) return all;
  double variance = 0;
  for (const auto& [cluster, parts] : clusters) {
    double sum = 0;
    for (const auto& [h, part] : parts) {
      const auto n = static_cast<double>(strata[h].judged);
      const auto population = static_cast<double>(strata[h].population);
      const auto m = static_cast<double>(clusters_in[h]);
      const double p = static_cast<double>(strata[h].hits) / n;
      const double off = static_cast<double>(part.hits) - p * static_cast<double>(part.units);
      const double weight = population / static_cast<double>(independent.covered);
      sum += weight * std::sqrt((1 - n / population) * m / (m - 1)) * off / n;
    }
    variance += sum * sum;
  }
  const double other = *independent.standard_error * *independent.standard_error;
  all.standard_error = std::sqrt(variance);
  all.design_effect = variance / other;
  const double share = *independent.share;
  const std::uint64_t freedom = all.clusters > num_strata ? all.clusters - num_strata : 1;
  const double quantiles = normal_quantile(0.025) / student_quantile(freedom, 0.025);
  const double size = share * (1 - share) / std::max(variance, other);
  all.interval = wilson_of_share(share, size * quantiles * quantiles);
  return all;
}

}  // namespace quarry

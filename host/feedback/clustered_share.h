// The error of a stratified share where several judged negatives are of one user. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "host/feedback/agreement.h"

namespace quarry {

/// A judged unit of a stratum and the cluster (user) that it is of.
struct JudgedUnit {
  std::uint32_t stratum = 0;
  std::uint64_t cluster = 0;
  bool hit = false;
};
/// Taylor linearisation of the stratified share with clusters as primary sampling units, taken as
/// drawn with replacement (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992,
/// ch. 5 and 7; Lohr, Sampling: Design and Analysis, ch. 9): the root of
///   sum over clusters u of (sum over strata h of c_h sum over its units k of (y_k - p_h) / n_h)^2
/// with c_h^2 = W_h^2 (1 - n_h / N_h) m_h / (m_h - 1), m_h the clusters with units in h. A cluster
/// may have units in several strata. Where each has one unit it is the error of StratifiedShare.
struct ClusteredShare {
  std::uint64_t clusters = 0;       ///< with units in strata that are not judged as a whole
  std::uint64_t most = 0;           ///< units of one cluster, at most
  std::uint64_t strata_of_one = 0;  ///< whose units, several, are all of one cluster
  /// Nothing: no cluster has two units, the other error is not known, or strata_of_one.
  std::optional<double> standard_error;
  std::optional<double> design_effect;  ///< its square over that of the other error
  /// From the larger of both errors: Wilson's for the effective size p (1 - p) / SE^2, times the
  /// square of the normal over Student's quantile with clusters - strata degrees of freedom, at
  /// least 1 (Korn and Graubard 1998).
  std::optional<Interval> interval;
  /// StratifiedShare's bound without a hit, were all verdicts on a cluster the same: n_h is m_h.
  std::optional<double> upper;
};
ClusteredShare clustered_share(std::span<const StratumCount> strata,
                               const StratifiedShare& independent,
                               std::span<const JudgedUnit> units);

}  // namespace quarry

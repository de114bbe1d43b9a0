// Verdicts in figures: the share of false negatives by stratified sampling, and how far reviewers
// agree. Pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "host/audit/metrics.h"

namespace quarry {

/// A stratum of the sample.
struct StratumCount {
  std::uint64_t population = 0;  ///< N_h
  std::uint64_t judged = 0;      ///< n_h
  std::uint64_t hits = 0;        ///< of these
};
/// Share of hits in the population: p = sum W_h p_h with W_h = N_h / N over the strata of which
/// some were judged, and its standard error, the root of sum W_h^2 (1 - n_h / N_h) p_h (1 - p_h) /
/// (n_h - 1) (Cochran, Sampling Techniques, 3rd ed. 1977, ch. 5, stratified sampling for
/// proportions): that of the draw, right for units that are drawn one by one. The sum with weights
/// N_h / n_h is the same (Horvitz-Thompson).
struct StratifiedShare {
  std::optional<double> share;  ///< nothing: none was judged
  /// Nothing: some stratum has one judged of several, or no stratum that is not judged as a whole
  /// shows both verdicts (the formula would give 0, which is no error).
  std::optional<double> standard_error;
  /// Wilson's interval for the effective size p (1 - p) / SE^2 (Korn and Graubard 1998); nothing
  /// where the error is not known.
  std::optional<Interval> interval;
  /// Without a hit: the one-sided 95 % bound of the share in the strata of which some were judged.
  /// It is the largest sum W_h p_h under which no hit still has a chance of 5 %: prod (1 - p_h)^n_h
  /// = 0.05. Of one stratum, or the same part of each, that is 1 - 0.05^(1 / n), the rule of three;
  /// draws without replacement find a hit sooner, so it stays a bound. Nothing where there is a hit
  /// or all were judged.
  std::optional<double> upper;
  std::uint64_t population = 0;  ///< of all strata
  std::uint64_t covered = 0;     ///< of those with some judged, for which the share speaks
};
StratifiedShare stratified_share(std::span<const StratumCount> strata);

/// Wilson's 95 % interval for a share seen in `size` trials, which need not be whole.
Interval wilson_of_share(double share, double size);

inline constexpr std::size_t kNumVerdicts = 3;
/// How many reviewers gave each verdict to one unit.
using VerdictCounts = std::array<std::uint64_t, kNumVerdicts>;

/// Of the units with two verdicts or more.
struct Agreement {
  std::uint64_t units = 0, verdicts = 0;
  /// Mean over units of the share of pairs of reviewers that agree; nothing without units.
  std::optional<double> percent;
  /// Krippendorff's alpha, nominal (Krippendorff 2011, "Computing Krippendorff's
  /// alpha-reliability"): 1 - (n - 1) (n - sum o_cc) / (n^2 - sum n_c^2) with the coincidences o of
  /// n pairable verdicts. Nothing where all verdicts are one: agreement by chance is then certain.
  std::optional<double> alpha;
};
Agreement agreement_of(std::span<const VerdictCounts> units);

/// The verdict that most reviewers gave; nothing: a tie, or none.
std::optional<std::size_t> majority_of(const VerdictCounts& counts);

}  // namespace quarry

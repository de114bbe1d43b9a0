// Figures of negative sets as pure functions: drift, concentration, intervals, calibration and the
// distributions behind their limits. Each says its formula; docs/audit.md says where it is from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quarry {

/// P(Z > z) of a standard normal.
double normal_tail(double z);
/// z with P(Z > z) = tail, 0 < tail < 1; to about 1e-12.
double normal_quantile(double tail);
/// x with P(chi-square with `df` degrees > x) = tail; by bisection of the regularised gamma.
double chi2_quantile(double df, double tail);
/// P(chi-square with `df` degrees > x).
double chi2_tail(double df, double x);

/// t with P(T > t) = tail of Student's distribution, 0 < tail < 0.5: by bisection of the finite
/// series for whole degrees of freedom up to 200, by expansion in 1 / df beyond (Abramowitz and
/// Stegun 26.7.3, 26.7.4, 26.7.5). df of 0 is 1.
double student_quantile(std::uint64_t df, double tail);

struct Interval {
  double low = 0, high = 0;
};
/// Wilson's score interval for `hits` of `trials` at 95 %; [0, 1] without trials.
Interval wilson(std::uint64_t hits, std::uint64_t trials);
/// 95 % interval of the ratio of two shares, hits_a / trials_a over hits_b / trials_b, on the
/// logarithm with half a hit added to each (Katz).
Interval ratio_interval(std::uint64_t hits_a, std::uint64_t trials_a, std::uint64_t hits_b,
                        std::uint64_t trials_b);

/// Population stability index: sum of (p - q) ln(p / q) over bins, p and q the shares of `now` and
/// `reference`, floored at half a count of the smaller sample. 0 where one of them is empty.
double psi(std::span<const std::uint64_t> now, std::span<const std::uint64_t> reference);
/// What PSI is on average, and exceeds once in 1 / tail times, if both samples are of one
/// distribution: (B - 1)(1/n + 1/m) and (1/n + 1/m) chi2(B - 1, tail). B: bins that are not empty
/// in both.
struct PsiNull {
  double mean = 0, limit = 0;
};
PsiNull psi_null(std::span<const std::uint64_t> now, std::span<const std::uint64_t> reference,
                 double tail);
/// Jensen-Shannon divergence in bits: H((p + q) / 2) - (H(p) + H(q)) / 2, in [0, 1].
double jensen_shannon(std::span<const std::uint64_t> now, std::span<const std::uint64_t> reference);

/// Entropy of the shares in nats: - sum p ln p.
double entropy(std::span<const std::uint64_t> counts);
/// Gini coefficient of the counts, zeros included: sum (2 i - N - 1) x_(i) / (N sum x).
double gini(std::span<const std::uint64_t> counts);
/// Share of the total that the largest `share` of the entries (at least one) hold.
double top_share(std::span<const std::uint64_t> counts, double share);
/// Different items that `draws` uniform draws out of `items` meet on average.
double expected_distinct(std::uint64_t items, std::uint64_t draws);
/// The value below which a `share` of the sorted values lies, interpolated; NaN without values.
double quantile_of_sorted(std::span<const float> sorted, double share);

/// One score of a model and what happened.
struct ScoredLabel {
  double score = 0;   ///< probability, already corrected for sampling
  double weight = 1;  ///< how many cases of the whole it stands for
  double label = 0;   ///< 0 or 1
};
/// q = p / (p + (1 - p) / w): the probability before negatives were thinned out to a share w.
double undo_downsampling(double p, double w);
struct CalibrationBin {
  std::uint64_t cases = 0;
  double weight = 0, scores = 0, labels = 0;  ///< sums; scores and labels weighted
};
/// `bins` bins of about equal weight by score; equal scores share a bin. Sorts `cases` by score.
std::vector<CalibrationBin> calibration_bins(std::vector<ScoredLabel>& cases, unsigned bins);
/// Expected calibration error: sum of n_b / n |labels_b / n_b - scores_b / n_b|.
double calibration_error(std::span<const CalibrationBin> bins);
/// Mean of (score - label)^2.
double brier(std::span<const ScoredLabel> cases);

/// `hits` of `marked` among `drawn` of `all`, drawn without replacement: a cell of a matched
/// comparison.
struct MatchedCell {
  std::uint32_t all = 0, marked = 0, drawn = 0, hits = 0;
};
/// Sum over cells of what is expected if marks mean nothing (each cell hypergeometric), the
/// variance of that, and one-sided probabilities of as few, and of as many, hits as were observed.
/// Exact (the convolution of the cells) up to `exact_up_to` expected hits, else normal with
/// continuity.
struct MatchedTest {
  double expected = 0, variance = 0;
  std::uint64_t observed = 0;
  double p_few = 1, p_many = 1;
};
MatchedTest matched_test(std::span<const MatchedCell> cells, double exact_up_to = 150);

}  // namespace quarry

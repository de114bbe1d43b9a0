// How shares follow what a model made of the negatives: an exponentiated-gradient step on the
// losses, damped by suspected false negatives, held within bounds (docs/feedback.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace quarry {

struct ShareRule {
  double eta = 0.5;                    ///< of the exponent, >= 0
  double step = 1.25;                  ///< most that a share is multiplied or divided by, >= 1
  double floor = 0.01, ceiling = 0.9;  ///< of the sum
  double confusion_limit = 0.1;        ///< share of negatives that may be false ones
  std::uint64_t min_negatives = 1000;  ///< a segment with fewer stays
};

/// A segment: what it has, and what a model made of it. Figures that are missing say nothing.
struct ShareSegment {
  std::string name;
  std::uint64_t share = 0;  ///< in units; the sum of all is kept
  bool measured = false;    ///< it has a line in the outputs
  std::uint64_t negatives = 0;
  std::optional<double> loss;
  std::optional<std::uint64_t> confusions;
  std::optional<double> predicted, observed;
};

enum class ShareHold : std::uint8_t {
  kNone,          ///< it may move
  kNotMeasured,   ///< no line, or no figure in it
  kFewNegatives,  ///< below min_negatives
  kNoShare,       ///< 0 stays 0
  kAlone,         ///< nobody may take what it gives
};

struct ShareChange {
  std::uint64_t before = 0, after = 0;
  std::uint64_t low = 0, high = 0;            ///< what it may become, in units
  bool at_floor = false, at_ceiling = false;  ///< these bound it, not the step
  ShareHold hold = ShareHold::kNone;
  std::optional<double> excess;         ///< loss over the mean loss, less 1
  std::optional<double> confusion_low;  ///< Wilson's lower bound of the rate
  std::optional<double> deviation;      ///< (predicted - observed) in standard errors
  double trust = 1;                     ///< share of `excess` that counts, by the calibration
  double damping = 1;                   ///< factor for suspected false negatives
  double factor = 1;                    ///< exp(eta * trust * excess) * damping
};

struct ShareStep {
  std::optional<double> mean_loss;  ///< of the segments that may move, by negatives * trust
  std::vector<ShareChange> changes;
  bool changed() const;
};

/// Throws ConfigError for a rule out of range.
void check_rule(const ShareRule& rule);
/// New shares with the sum of the old ones, as integers. A segment's share does not fall as its
/// loss rises and does not rise with its confusions, one unit of rounding apart; while its
/// confusions are above the limit, no loss makes its share larger than none would.
ShareStep reweigh(const std::vector<ShareSegment>& segments, const ShareRule& rule);
/// Why a share is what it becomes, in words.
std::string words_of(const ShareSegment& segment, const ShareChange& change, const ShareRule& rule);

}  // namespace quarry

// The share of false negatives that verdicts say, with its error, in words and as JSON.
#pragma once

#include <string>

#include "host/feedback/clustered_share.h"

namespace quarry {

/// The stratified share with both errors: that of negatives drawn one by one, and by users.
struct ReviewEstimate {
  StratifiedShare share;
  ClusteredShare by_user;

  /// The larger of both.
  std::optional<double> standard_error() const;
  std::optional<Interval> interval() const;
};

/// "of all 1,313 negatives 7.20 % are estimated to be false, standard error 3.10 %, ...".
std::string words_of(const ReviewEstimate& estimate);
/// An object.
std::string estimate_json(const ReviewEstimate& estimate);

}  // namespace quarry

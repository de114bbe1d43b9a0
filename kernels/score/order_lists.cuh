// The second step of score_lists on a GPU: scored lists into key order.
#pragma once

#include "kernels/score/score.h"

namespace quarry {

/// Sorts each list of args by its scores. Stream-ordered.
void order_lists_gpu(const Exec& exec, const ScoreArgs& args);

}  // namespace quarry

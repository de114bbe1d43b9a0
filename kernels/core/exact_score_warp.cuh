// The exact score by a warp: lane l is accumulator l, so loads coalesce; the same bits as one
// thread.
#pragma once

#include "kernels/core/exact_score.h"
#include "kernels/core/warp_group.cuh"

namespace quarry {

static_assert(kScoreLanes == kWarpThreads);

/// Every lane of the warp gets the score. In lanes l < w the tree adds acc[l] + acc[l + w] as
/// exact_dot_portable does; the other lanes add the same two numbers the other way round. Also
/// declared for the host, which runs none.
QUARRY_HD float exact_score_together(WarpGroup& warp, Metric metric, const float* x, const float* y,
                                     std::uint32_t dim) {
  const bool l2 = metric == Metric::kL2;
  float acc = 0.0f;
  for (std::uint32_t i = warp.rank(); i < dim; i += kWarpThreads) {
    if (l2) {
      const float t = x[i] - y[i];
      acc = fmaf(t, t, acc);
    } else {
      acc = fmaf(x[i], y[i], acc);
    }
  }
#if defined(__CUDA_ARCH__)
  for (unsigned w = kWarpThreads / 2; w > 0; w /= 2) {
    acc = acc + __shfl_xor_sync(kAllLanes, acc, static_cast<int>(w));
  }
#endif
  return canonical_score(l2 ? -acc : acc);
}

}  // namespace quarry

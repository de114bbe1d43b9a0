// The exact score of docs/row_contract.md section 1: 32 accumulators, fused multiply-add, fixed
// tree.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/exact_math.h"
#include "kernels/core/hd.h"

namespace quarry {

/// How a user and an item are compared. Persisted: never renumber.
enum class Metric : std::uint8_t { kInnerProduct = 0, kCosine = 1, kL2 = 2 };

inline constexpr unsigned kScoreLanes = 32;

QUARRY_HD float clear_negative_zero(float score) { return score == 0.0f ? 0.0f : score; }

/// A vector of this squared norm (in exact arithmetic) can be scored: its scores stay finite, and
/// it has a unit form under kCosine. False too if an element is NaN or infinite.
QUARRY_HD bool can_score(float squared_norm, Metric metric) {
  constexpr float kLargest = 3.402823466e+38f;
  if (!(squared_norm <= kLargest)) return false;
  if (metric == Metric::kCosine) return squared_norm > 0.0f;
  // |x - y|^2 <= 2 |x|^2 + 2 |y|^2 stays in range if each side takes at most a quarter of it.
  return metric != Metric::kL2 || squared_norm <= kLargest / 4;
}

/// One bit pattern for each value: -0 becomes +0, and what is not a number, whose bits depend on
/// the machine, becomes the pattern that is ordered behind everything.
QUARRY_HD float canonical_score(float score) {
  return score != score ? float_of_bits(0xFFFFFFFFu) : clear_negative_zero(score);
}

/// Portable form; the one that defines the bits. `x`, `y`: [dim].
QUARRY_HD float exact_dot_portable(const float* x, const float* y, std::uint32_t dim) {
  float acc[kScoreLanes] = {};
  for (std::uint32_t base = 0; base < dim; base += kScoreLanes) {
    for (std::uint32_t l = 0; l < kScoreLanes; ++l) {
      if (base + l < dim) acc[l] = fmaf(x[base + l], y[base + l], acc[l]);
    }
  }
  for (unsigned w = kScoreLanes / 2; w > 0; w /= 2) {
    for (unsigned l = 0; l < w; ++l) acc[l] = acc[l] + acc[l + w];
  }
  return canonical_score(acc[0]);
}

/// Negated squared Euclidean distance, portable form. `x`, `y`: [dim].
QUARRY_HD float exact_l2_portable(const float* x, const float* y, std::uint32_t dim) {
  float acc[kScoreLanes] = {};
  for (std::uint32_t base = 0; base < dim; base += kScoreLanes) {
    for (std::uint32_t l = 0; l < kScoreLanes; ++l) {
      if (base + l < dim) {
        const float t = x[base + l] - y[base + l];
        acc[l] = fmaf(t, t, acc[l]);
      }
    }
  }
  for (unsigned w = kScoreLanes / 2; w > 0; w /= 2) {
    for (unsigned l = 0; l < w; ++l) acc[l] = acc[l] + acc[l + w];
  }
  return canonical_score(-acc[0]);
}

/// Host forms: AVX2 + FMA where the processor has them, else the portable form; the same bits.
float exact_dot_host(const float* x, const float* y, std::uint32_t dim);
float exact_l2_host(const float* x, const float* y, std::uint32_t dim);
/// "avx2+fma" or "portable".
const char* exact_score_instruction_set();

/// Exact scores of `x` with n rows next to each other, many times faster than one by one on the
/// host. rows: [n, dim]; out: [n].
void exact_scores_host(Metric metric, const float* x, const float* rows, std::uint32_t n,
                       std::uint32_t dim, float* out);
/// exact_scores_host for a kind of processor.
struct ExactScoresForm {
  const char* name;  ///< "avx512", "avx2+fma" or "portable"
  void (*score)(Metric, const float*, const float*, std::uint32_t, std::uint32_t, float*);
};
/// All that this processor runs, the one in use first.
std::span<const ExactScoresForm> exact_scores_forms();

/// One thread computes one score. Tables under kCosine are already normalised.
QUARRY_HD float exact_score(Metric metric, const float* x, const float* y, std::uint32_t dim) {
#if defined(__CUDA_ARCH__)
  return metric == Metric::kL2 ? exact_l2_portable(x, y, dim) : exact_dot_portable(x, y, dim);
#else
  return metric == Metric::kL2 ? exact_l2_host(x, y, dim) : exact_dot_host(x, y, dim);
#endif
}

/// One score for all lanes of a group, each of which asks for the same. A warp has a form of its
/// own (exact_score_warp.cuh).
template <class Group>
QUARRY_HD float exact_score_together(Group&, Metric metric, const float* x, const float* y,
                                     std::uint32_t dim) {
  return exact_score(metric, x, y, dim);
}

QUARRY_HD float exact_dot(const float* x, const float* y, std::uint32_t dim) {
  return exact_score(Metric::kInnerProduct, x, y, dim);
}

}  // namespace quarry

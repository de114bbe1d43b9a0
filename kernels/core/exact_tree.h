// The end of the exact score (exact_score.h) in vectors of eight: sums of its 32 accumulators by
// the fixed tree.
#pragma once

#include "kernels/core/x86_vectors.h"

#if defined(__x86_64__)

namespace quarry {

/// w: accumulators l + (l + 8) + (l + 16) + (l + 24), as the tree adds them.
[[gnu::target("avx2"), gnu::always_inline]] inline float tree_of_eight(__m256 w) {
  const __m128 w4 = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));
  const __m128 w2 = _mm_add_ps(w4, _mm_movehl_ps(w4, w4));
  const __m128 w1 = _mm_add_ss(w2, _mm_shuffle_ps(w2, w2, 1));
  return _mm_cvtss_f32(w1);
}

/// a[g]: accumulators 8 g and following.
[[gnu::target("avx2"), gnu::always_inline]] inline float tree_of_32(const __m256* a) {
  return tree_of_eight(_mm256_add_ps(_mm256_add_ps(a[0], a[2]), _mm256_add_ps(a[1], a[3])));
}

}  // namespace quarry

#endif

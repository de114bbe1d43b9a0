// Host forms of the exact score with run-time dispatch.
#include "kernels/core/exact_score.h"

#include "kernels/core/exact_tree.h"

namespace quarry {
namespace {

#if defined(__x86_64__)

/// Lanes below `n` of a group of eight are read; the others are 0 and leave their accumulator as it
/// is.
[[gnu::target("avx2,fma")]] inline __m256 load_first(const float* p, std::uint32_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
}

template <bool kDistance>
[[gnu::target("avx2,fma")]] float accumulate(const float* x, const float* y, std::uint32_t dim) {
  __m256 acc[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                   _mm256_setzero_ps()};
  std::uint32_t base = 0;
  for (; base + 32 <= dim; base += 32) {
    for (int g = 0; g < 4; ++g) {
      const __m256 vx = _mm256_loadu_ps(x + base + 8 * g);
      const __m256 vy = _mm256_loadu_ps(y + base + 8 * g);
      if constexpr (kDistance) {
        const __m256 t = _mm256_sub_ps(vx, vy);
        acc[g] = _mm256_fmadd_ps(t, t, acc[g]);
      } else {
        acc[g] = _mm256_fmadd_ps(vx, vy, acc[g]);
      }
    }
  }
  for (int g = 0; base < dim; ++g, base += 8) {
    const std::uint32_t n = dim - base < 8 ? dim - base : 8;
    const __m256 vx = load_first(x + base, n);
    const __m256 vy = load_first(y + base, n);
    const __m256 t = kDistance ? _mm256_sub_ps(vx, vy) : vx;
    acc[g] = _mm256_fmadd_ps(t, kDistance ? t : vy, acc[g]);
    if (n < 8) break;
  }
  return tree_of_32(acc);
}

bool has_avx2_fma() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

[[gnu::target("avx2,fma")]] float dot_avx2(const float* x, const float* y, std::uint32_t dim) {
  return canonical_score(accumulate<false>(x, y, dim));
}
[[gnu::target("avx2,fma")]] float l2_avx2(const float* x, const float* y, std::uint32_t dim) {
  return canonical_score(-accumulate<true>(x, y, dim));
}

const bool kAvx2 = has_avx2_fma();

#endif

}  // namespace

#if defined(__x86_64__)
float exact_dot_host(const float* x, const float* y, std::uint32_t dim) {
  return kAvx2 ? dot_avx2(x, y, dim) : exact_dot_portable(x, y, dim);
}
float exact_l2_host(const float* x, const float* y, std::uint32_t dim) {
  return kAvx2 ? l2_avx2(x, y, dim) : exact_l2_portable(x, y, dim);
}
const char* exact_score_instruction_set() { return kAvx2 ? "avx2+fma" : "portable"; }
#else
float exact_dot_host(const float* x, const float* y, std::uint32_t dim) {
  return exact_dot_portable(x, y, dim);
}
float exact_l2_host(const float* x, const float* y, std::uint32_t dim) {
  return exact_l2_portable(x, y, dim);
}
const char* exact_score_instruction_set() { return "portable"; }
#endif

}  // namespace quarry

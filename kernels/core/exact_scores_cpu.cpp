// Exact scores of one vector with many rows: several rows at a time share what is loaded of the
// vector, and the trees of 8 or 16 pairs are added together.
#include <array>

#include "kernels/core/exact_score.h"
#include "kernels/core/x86_vectors.h"

namespace quarry {
namespace {

void scores_portable(Metric metric, const float* x, const float* rows, std::uint32_t n,
                     std::uint32_t dim, float* out) {
  for (std::uint32_t j = 0; j < n; ++j) {
    const float* y = rows + std::uint64_t{j} * dim;
    out[j] = metric == Metric::kL2 ? exact_l2_portable(x, y, dim) : exact_dot_portable(x, y, dim);
  }
}

#if defined(__x86_64__)

// --- AVX2 ---

struct Avx2 {
  static constexpr std::uint32_t kGroup = 8;  ///< rows whose trees are added together

  template <bool kDistance>
  [[gnu::target("avx2,fma"), gnu::always_inline]] static inline __m256 add(__m256 x, __m256 y,
                                                                           __m256 acc) {
    if constexpr (kDistance) {
      const __m256 t = _mm256_sub_ps(x, y);
      return _mm256_fmadd_ps(t, t, acc);
    }
    return _mm256_fmadd_ps(x, y, acc);
  }

  /// Of two rows: accumulators l + (l + 8) + (l + 16) + (l + 24), as the tree adds them.
  template <bool kDistance>
  [[gnu::target("avx2,fma"), gnu::always_inline]] static inline void two_rows(const float* x,
                                                                              const float* y,
                                                                              std::uint32_t dim,
                                                                              __m256* w) {
    __m256 a[4], b[4];
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) a[g] = b[g] = _mm256_setzero_ps();
    std::uint32_t at = 0;
    for (; at + 32 <= dim; at += 32) {
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const __m256 vx = _mm256_loadu_ps(x + at + 8 * g);
        a[g] = add<kDistance>(vx, _mm256_loadu_ps(y + at + 8 * g), a[g]);
        b[g] = add<kDistance>(vx, _mm256_loadu_ps(y + dim + at + 8 * g), b[g]);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      if (at + 8 * g >= dim) continue;
      // What is behind the last element is 0 and leaves its accumulator as it is.
      const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      const __m256i there =
          _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(dim - at) - 8 * g), lane);
      const __m256 vx = _mm256_maskload_ps(x + at + 8 * g, there);
      a[g] = add<kDistance>(vx, _mm256_maskload_ps(y + at + 8 * g, there), a[g]);
      b[g] = add<kDistance>(vx, _mm256_maskload_ps(y + dim + at + 8 * g, there), b[g]);
    }
    w[0] = _mm256_add_ps(_mm256_add_ps(a[0], a[2]), _mm256_add_ps(a[1], a[3]));
    w[1] = _mm256_add_ps(_mm256_add_ps(b[0], b[2]), _mm256_add_ps(b[1], b[3]));
  }

  template <bool kDistance>
  [[gnu::target("avx2,fma"), gnu::always_inline]] static inline void group(const float* x,
                                                                           const float* y,
                                                                           std::uint32_t dim,
                                                                           float* out) {
    __m256 w[8];
#pragma GCC unroll 4
    for (int p = 0; p < 8; p += 2) two_rows<kDistance>(x, y + std::uint64_t{dim} * p, dim, w + p);
    __m256 v[4], u[2];  // rows i and i + 4: four, two, one accumulator each
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_add_ps(_mm256_permute2f128_ps(w[i], w[i + 4], 0x20),
                           _mm256_permute2f128_ps(w[i], w[i + 4], 0x31));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      u[i] = _mm256_add_ps(_mm256_shuffle_ps(v[2 * i], v[2 * i + 1], 0x44),
                           _mm256_shuffle_ps(v[2 * i], v[2 * i + 1], 0xEE));
    }
    __m256 s =
        _mm256_add_ps(_mm256_shuffle_ps(u[0], u[1], 0x88), _mm256_shuffle_ps(u[0], u[1], 0xDD));
    if constexpr (kDistance) s = _mm256_xor_ps(s, _mm256_set1_ps(-0.0f));
    // canonical_score: all bits of what is not a number, and no negative zero.
    const __m256 nan = _mm256_cmp_ps(s, s, _CMP_UNORD_Q);
    _mm256_storeu_ps(out, _mm256_or_ps(_mm256_add_ps(s, _mm256_setzero_ps()), nan));
  }

  template <bool kDistance>
  [[gnu::target("avx2,fma")]] static void all(const float* x, const float* rows, std::uint32_t n,
                                              std::uint32_t dim, float* out) {
    for (std::uint32_t j = 0; j < n; j += kGroup)
      group<kDistance>(x, rows + std::uint64_t{j} * dim, dim, out + j);
    _mm256_zeroupper();
  }
};

// --- AVX-512 ---

struct Avx512 {
  static constexpr std::uint32_t kGroup = 16;

  template <bool kDistance>
  [[gnu::target("avx512f"), gnu::always_inline]] static inline __m512 add(__m512 x, __m512 y,
                                                                          __m512 acc) {
    if constexpr (kDistance) {
      const __m512 t = _mm512_sub_ps(x, y);
      return _mm512_fmadd_ps(t, t, acc);
    }
    return _mm512_fmadd_ps(x, y, acc);
  }

  /// Of four rows: accumulators l + (l + 16), as the tree adds them.
  template <bool kDistance>
  [[gnu::target("avx512f"), gnu::always_inline]] static inline void four_rows(const float* x,
                                                                              const float* y,
                                                                              std::uint32_t dim,
                                                                              __m512* w) {
    __m512 low[4], high[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) low[r] = high[r] = _mm512_setzero_ps();
    std::uint32_t at = 0;
    for (; at + 32 <= dim; at += 32) {
      const __m512 first = _mm512_loadu_ps(x + at);
      const __m512 second = _mm512_loadu_ps(x + at + 16);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const float* row = y + std::uint64_t{dim} * r + at;
        low[r] = add<kDistance>(first, _mm512_loadu_ps(row), low[r]);
        high[r] = add<kDistance>(second, _mm512_loadu_ps(row + 16), high[r]);
      }
    }
    if (at < dim) {
      const std::uint32_t left = (1u << (dim - at)) - 1;
      const auto in_first = static_cast<__mmask16>(left);
      const auto in_second = static_cast<__mmask16>(left >> 16);
      const __m512 first = _mm512_maskz_loadu_ps(in_first, x + at);
      const __m512 second = _mm512_maskz_loadu_ps(in_second, x + at + 16);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const float* row = y + std::uint64_t{dim} * r + at;
        low[r] = add<kDistance>(first, _mm512_maskz_loadu_ps(in_first, row), low[r]);
        high[r] = add<kDistance>(second, _mm512_maskz_loadu_ps(in_second, row + 16), high[r]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) w[r] = _mm512_add_ps(low[r], high[r]);
  }

  template <bool kDistance>
  [[gnu::target("avx512f"), gnu::always_inline]] static inline void group(const float* x,
                                                                          const float* y,
                                                                          std::uint32_t dim,
                                                                          float* out) {
    __m512 four[4];  // of four rows each, a quarter of a vector a row
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      __m512 w[4];
      four_rows<kDistance>(x, y + std::uint64_t{dim} * 4 * p, dim, w);
      const __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(w[0], w[1], 0x44),
                                     _mm512_shuffle_f32x4(w[0], w[1], 0xEE));
      const __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(w[2], w[3], 0x44),
                                     _mm512_shuffle_f32x4(w[2], w[3], 0xEE));
      four[p] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    }
    const __m512 a = _mm512_add_ps(_mm512_shuffle_ps(four[0], four[1], 0x44),
                                   _mm512_shuffle_ps(four[0], four[1], 0xEE));
    const __m512 b = _mm512_add_ps(_mm512_shuffle_ps(four[2], four[3], 0x44),
                                   _mm512_shuffle_ps(four[2], four[3], 0xEE));
    const __m512 mixed =
        _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
    // Quarter q holds rows q, q + 4, q + 8 and q + 12.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i s = _mm512_castps_si512(_mm512_permutexvar_ps(order, mixed));
    if constexpr (kDistance) s = _mm512_xor_si512(s, _mm512_set1_epi32(INT32_MIN));
    const __m512 score = _mm512_castsi512_ps(s);
    const __mmask16 nan = _mm512_cmp_ps_mask(score, score, _CMP_UNORD_Q);
    s = _mm512_castps_si512(_mm512_add_ps(score, _mm512_setzero_ps()));
    _mm512_storeu_ps(out,
                     _mm512_castsi512_ps(_mm512_mask_mov_epi32(s, nan, _mm512_set1_epi32(-1))));
  }

  template <bool kDistance>
  [[gnu::target("avx512f")]] static void all(const float* x, const float* rows, std::uint32_t n,
                                             std::uint32_t dim, float* out) {
    for (std::uint32_t j = 0; j < n; j += kGroup)
      group<kDistance>(x, rows + std::uint64_t{j} * dim, dim, out + j);
    _mm256_zeroupper();
  }
};

/// Whole groups by the vectors of `Unit`, the rows that are left one by one.
template <class Unit>
void scores_by(Metric metric, const float* x, const float* rows, std::uint32_t n, std::uint32_t dim,
               float* out) {
  const std::uint32_t whole = n / Unit::kGroup * Unit::kGroup;
  if (metric == Metric::kL2) {
    Unit::template all<true>(x, rows, whole, dim, out);
  } else {
    Unit::template all<false>(x, rows, whole, dim, out);
  }
  for (std::uint32_t j = whole; j < n; ++j)
    out[j] = exact_score(metric, x, rows + std::uint64_t{j} * dim, dim);
}

#endif

std::span<const ExactScoresForm> find_forms() {
#if defined(__x86_64__)
  static const std::array<ExactScoresForm, 3> all = {{{"avx512", scores_by<Avx512>},
                                                      {"avx2+fma", scores_by<Avx2>},
                                                      {"portable", scores_portable}}};
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const std::size_t first = avx2 && __builtin_cpu_supports("avx512f") ? 0 : avx2 ? 1 : 2;
  return std::span(all).subspan(first);
#else
  static const std::array<ExactScoresForm, 1> all = {{{"portable", scores_portable}}};
  return all;
#endif
}

const ExactScoresForm kForm = find_forms().front();

}  // namespace

void exact_scores_host(Metric metric, const float* x, const float* rows, std::uint32_t n,
                       std::uint32_t dim, float* out) {
  kForm.score(metric, x, rows, n, dim, out);
}

std::span<const ExactScoresForm> exact_scores_forms() { return find_forms(); }

}  // namespace quarry

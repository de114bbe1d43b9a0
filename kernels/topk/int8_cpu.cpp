// Rows rounded to 8 bits: packing, integer products and upper bounds, each portable and by AVX-512.
#include "kernels/topk/int8_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/core/exact_score.h"
#include "kernels/core/x86_vectors.h"

#if defined(__x86_64__) && defined(__linux__)
#define QUARRY_INT8_X86 1
#endif

namespace quarry {
namespace {

constexpr std::uint32_t kGroup = 16;  ///< items of a group: one vector of sums
constexpr float kInfinity = std::numeric_limits<float>::infinity();

float rounded_up(double value) {
  if (!(value < double{std::numeric_limits<float>::max()})) return kInfinity;
  return std::nextafter(static_cast<float>(value), kInfinity);
}

/// Of a row of at most 2^16 numbers, from fp32 sums of squares in any order: each is off by less
/// than (dim + 2) 2^-24 of itself, and by what squares below 2^-126 lose.
float norm_above(double sum_of_squares, std::uint32_t dim) {
  return rounded_up(std::sqrt(sum_of_squares * (1.0 + (dim + 4.0) * 0x1p-23)) + 0x1p-54);
}

/// The step of 8-bit integers that holds every number of the row; 0 of a row of zeros. Infinite or
/// undefined where a number is: then residuals are, and so every bound.
float step_of(const float* row, std::uint32_t dim) {
  float largest = 0.0f;
  for (std::uint32_t d = 0; d < dim; ++d) {
    const float size = std::fabs(row[d]);
    largest = size > largest || size != size ? size : largest;
  }
  return largest / 127.0f;
}

std::int32_t integer_of(float value, float inverse) {
  const float scaled = value * inverse;
  if (!(std::fabs(scaled) < 200.0f)) return 0;  // a step of a denormal, or none
  return std::clamp(static_cast<std::int32_t>(std::nearbyint(scaled)), -127, 127);
}

struct Rounded {
  float step;
  double norm = 0.0, rounded_norm = 0.0, residual = 0.0;  ///< squared
};

/// to[d] = the integer of row[d] for every d < dim.
template <class Store>
Rounded round_row(const float* row, std::uint32_t dim, Store store) {
  Rounded r{step_of(row, dim)};
  const float inverse = r.step > 0.0f ? 1.0f / r.step : 0.0f;
  for (std::uint32_t d = 0; d < dim; ++d) {
    const std::int32_t i = integer_of(row[d], inverse);
    const double value = double{r.step} * i;
    const double lost = double{row[d]} - value;
    r.norm += double{row[d]} * double{row[d]};
    r.rounded_norm += value * value;
    r.residual += lost * lost;
    store(d, i);
  }
  return r;
}

void pack_items_portable(const float* items, std::uint32_t n, std::uint32_t dim, std::uint8_t* to,
                         const Int8Items& info) {
  const std::uint32_t width = int8_width(dim);
  std::memset(to, 128, std::size_t{int8_rows(n)} * width);
  for (std::uint32_t i = 0; i < int8_rows(n); ++i) {
    info.step[i] = info.norm[i] = info.residual[i] = 0.0f;
    if (i >= n) continue;
    std::uint8_t* group = to + std::uint64_t{i / kGroup} * kGroup * width + i % kGroup * 4;
    const Rounded r =
        round_row(items + std::uint64_t{i} * dim, dim, [&](std::uint32_t d, std::int32_t value) {
          group[d / 4 * kGroup * 4 + d % 4] = static_cast<std::uint8_t>(value + 128);
        });
    info.step[i] = r.step;
    info.norm[i] = norm_above(r.norm, dim);
    info.residual[i] = norm_above(r.residual, dim);
  }
}

void multiply_portable(const std::int8_t* queries, const Int8Query* info, const std::uint8_t* items,
                       std::uint32_t n, std::uint32_t width, std::int32_t* products,
                       std::uint32_t stride) {
  for (std::uint32_t r = 0; r < kInt8Rows; ++r) {
    const std::int8_t* query = queries + std::uint64_t{r} * width;
    for (std::uint32_t first = 0; first < n; first += kGroup) {
      std::int32_t sum[kGroup];
      std::fill(sum, sum + kGroup, info[r].offset);
      const std::uint8_t* group = items + std::uint64_t{first} * width;
      for (std::uint32_t d = 0; d < width; ++d) {
        for (std::uint32_t i = 0; i < kGroup; ++i)
          sum[i] += std::int32_t{query[d]} * group[(d / 4 * kGroup + i) * 4 + d % 4];
      }
      std::copy(sum, sum + kGroup, products + std::uint64_t{r} * stride + first);
    }
  }
}

std::uint32_t upper_bounds_portable(const std::int32_t* products, const Int8Query& query,
                                    const Int8Items& items, std::uint32_t n, const float* bias,
                                    float threshold, float* upper, std::uint32_t* reaching) {
  std::uint32_t count = 0;
  std::fill(reaching, reaching + int8_rows(n) / 32, 0u);
  for (std::uint32_t i = 0; i < n; ++i) {
    const float error = std::fma(items.norm[i], query.residual, items.residual[i] * query.norm);
    upper[i] = std::fma(static_cast<float>(products[i]) * items.step[i], query.step, error);
    const float score = bias == nullptr ? upper[i] : upper[i] + bias[i];
    const std::uint32_t reaches = score < threshold ? 0 : 1;
    reaching[i / 32] |= reaches << (i % 32);
    count += reaches;
  }
  return count;
}

void score_reaching_portable(const float* query, const float* items, std::uint32_t n,
                             std::uint32_t dim, float scale, const std::uint32_t* reaching,
                             float* scores) {
  for (std::uint32_t w = 0; w < int8_rows(n) / 32; ++w) {
    for (std::uint32_t left = reaching[w]; left != 0; left &= left - 1) {
      const std::uint32_t j = 32 * w + static_cast<std::uint32_t>(std::countr_zero(left));
      scores[j] =
          scale * exact_score(Metric::kInnerProduct, query, items + std::uint64_t{j} * dim, dim);
    }
  }
}

#if defined(QUARRY_INT8_X86)

[[gnu::target("avx512f")]] inline __mmask16 lanes_of(std::uint32_t left) {
  return static_cast<__mmask16>(left >= kGroup ? 0xFFFFu : (1u << left) - 1);
}

/// As pack_items_portable; norms are summed in fp32.
[[gnu::target("avx512f")]] void pack_items_avx512(const float* items, std::uint32_t n,
                                                  std::uint32_t dim, std::uint8_t* to,
                                                  const Int8Items& info) {
  const std::uint32_t width = int8_width(dim);
  for (std::uint32_t i = 0; i < int8_rows(n); ++i) {
    std::uint8_t* group = to + std::uint64_t{i / kGroup} * kGroup * width + i % kGroup * 4;
    info.step[i] = info.norm[i] = info.residual[i] = 0.0f;
    if (i >= n) {
      for (std::uint32_t d = 0; d < width; d += 4) std::memset(group + d * kGroup, 128, 4);
      continue;
    }
    const float* row = items + std::uint64_t{i} * dim;
    __m512 largest = _mm512_setzero_ps();
    __m512 norm = _mm512_setzero_ps();
    for (std::uint32_t d = 0; d < dim; d += kGroup) {
      const __m512 x = _mm512_maskz_loadu_ps(lanes_of(dim - d), row + d);
      largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
      norm = _mm512_fmadd_ps(x, x, norm);
    }
    const float square = _mm512_reduce_add_ps(norm);
    const float step = _mm512_reduce_max_ps(largest) / 127.0f;
    const float inverse = step > 0.0f ? 1.0f / step : 0.0f;
    info.step[i] = step;
    const __m512 wide_step = _mm512_set1_ps(step);
    const __m512 wide_inverse = _mm512_set1_ps(inverse);
    __m512 residual = _mm512_setzero_ps();
    for (std::uint32_t d = 0; d < width; d += kGroup) {
      const __m512 x =
          d < dim ? _mm512_maskz_loadu_ps(lanes_of(dim - d), row + d) : _mm512_setzero_ps();
      const __m512 scaled = _mm512_mul_ps(x, wide_inverse);
      const __mmask16 fits =
          _mm512_cmp_ps_mask(_mm512_abs_ps(scaled), _mm512_set1_ps(200.0f), _CMP_LT_OQ);
      __m512i value = _mm512_maskz_cvtps_epi32(fits, scaled);  // to the nearest, ties to even
      value = _mm512_max_epi32(_mm512_min_epi32(value, _mm512_set1_epi32(127)),
                               _mm512_set1_epi32(-127));
      const __m512 lost = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(value), wide_step, x);
      residual = _mm512_fmadd_ps(lost, lost, residual);
      alignas(16) std::uint8_t bytes[kGroup];
      _mm_store_si128(reinterpret_cast<__m128i*>(bytes),
                      _mm512_cvtepi32_epi8(_mm512_add_epi32(value, _mm512_set1_epi32(128))));
      for (std::uint32_t p = 0; p < 4; ++p)
        std::memcpy(group + std::uint64_t{d + 4 * p} * kGroup, bytes + 4 * p, 4);
    }
    info.norm[i] = norm_above(double{square}, dim);
    info.residual[i] = norm_above(double{_mm512_reduce_add_ps(residual)}, dim);
  }
}

/// Eight queries and two groups at a time: 16 sums in registers.
[[gnu::target("avx512f,avx512vnni")]] void multiply_vnni(
    const std::int8_t* queries, const Int8Query* info, const std::uint8_t* items, std::uint32_t n,
    std::uint32_t width, std::int32_t* products, std::uint32_t stride) {
  for (std::uint32_t first = 0; first < n; first += 2 * kGroup) {
    const std::uint8_t* left = items + std::uint64_t{first} * width;
    const std::uint8_t* right = left + std::uint64_t{kGroup} * width;
    __m512i sum[kInt8Rows][2];
#pragma GCC unroll 8
    for (std::uint32_t r = 0; r < kInt8Rows; ++r)
      sum[r][0] = sum[r][1] = _mm512_set1_epi32(info[r].offset);
    for (std::uint32_t d = 0; d < width; d += 4) {
      const __m512i b0 = _mm512_loadu_si512(left + std::uint64_t{d} * kGroup);
      const __m512i b1 = _mm512_loadu_si512(right + std::uint64_t{d} * kGroup);
#pragma GCC unroll 8
      for (std::uint32_t r = 0; r < kInt8Rows; ++r) {
        std::int32_t four;
        std::memcpy(&four, queries + std::uint64_t{r} * width + d, sizeof four);
        const __m512i a = _mm512_set1_epi32(four);
        sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], b0, a);
        sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], b1, a);
      }
    }
#pragma GCC unroll 8
    for (std::uint32_t r = 0; r < kInt8Rows; ++r) {
      std::int32_t* out = products + std::uint64_t{r} * stride + first;
      _mm512_storeu_si512(out, sum[r][0]);
      _mm512_storeu_si512(out + kGroup, sum[r][1]);
    }
  }
}

[[gnu::target("avx512f,popcnt")]] std::uint32_t upper_bounds_avx512(
    const std::int32_t* products, const Int8Query& query, const Int8Items& items, std::uint32_t n,
    const float* bias, float threshold, float* upper, std::uint32_t* reaching) {
  const __m512 step = _mm512_set1_ps(query.step);
  const __m512 norm = _mm512_set1_ps(query.norm);
  const __m512 residual = _mm512_set1_ps(query.residual);
  const __m512 floor = _mm512_set1_ps(threshold);
  std::uint32_t count = 0;
  for (std::uint32_t at = 0; at < n; at += 2 * kGroup) {
    std::uint32_t bits = 0;
    for (std::uint32_t half = 0; half < 2; ++half) {
      const std::uint32_t i = at + half * kGroup;
      const __m512 error =
          _mm512_fmadd_ps(_mm512_loadu_ps(items.norm + i), residual,
                          _mm512_mul_ps(_mm512_loadu_ps(items.residual + i), norm));
      const __m512 product = _mm512_cvtepi32_ps(_mm512_loadu_si512(products + i));
      const __m512 u =
          _mm512_fmadd_ps(_mm512_mul_ps(product, _mm512_loadu_ps(items.step + i)), step, error);
      _mm512_storeu_ps(upper + i, u);
      const __mmask16 there = i < n ? lanes_of(n - i) : static_cast<__mmask16>(0);
      const __m512 score =
          bias == nullptr ? u : _mm512_add_ps(u, _mm512_maskz_loadu_ps(there, bias + i));
      // Not less: true for unordered operands.
      bits |= std::uint32_t{_mm512_mask_cmp_ps_mask(there, score, floor, _CMP_NLT_UQ)}
              << (half * kGroup);
    }
    reaching[at / 32] = bits;
    count += static_cast<std::uint32_t>(__builtin_popcount(bits));
  }
  return count;
}

/// Of one query and two items, which may be the same.
[[gnu::target("avx512f")]] inline void dot_two(const float* query, const float* first,
                                               const float* second, std::uint32_t dim,
                                               float* of_first, float* of_second) {
  __m512 a = _mm512_setzero_ps();
  __m512 b = _mm512_setzero_ps();
  __m512 more_a = _mm512_setzero_ps();
  __m512 more_b = _mm512_setzero_ps();
  std::uint32_t d = 0;
  for (; d + 2 * kGroup <= dim; d += 2 * kGroup) {
    const __m512 q = _mm512_loadu_ps(query + d);
    const __m512 r = _mm512_loadu_ps(query + d + kGroup);
    a = _mm512_fmadd_ps(q, _mm512_loadu_ps(first + d), a);
    b = _mm512_fmadd_ps(q, _mm512_loadu_ps(second + d), b);
    more_a = _mm512_fmadd_ps(r, _mm512_loadu_ps(first + d + kGroup), more_a);
    more_b = _mm512_fmadd_ps(r, _mm512_loadu_ps(second + d + kGroup), more_b);
  }
  for (; d < dim; d += kGroup) {
    const __mmask16 there = lanes_of(dim - d);
    const __m512 q = _mm512_maskz_loadu_ps(there, query + d);
    a = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(there, first + d), a);
    b = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(there, second + d), b);
  }
  *of_first = _mm512_reduce_add_ps(_mm512_add_ps(a, more_a));
  *of_second = _mm512_reduce_add_ps(_mm512_add_ps(b, more_b));
}

/// Rows are few and far apart: the next two are fetched while two are multiplied.
[[gnu::target("avx512f,bmi")]] void score_reaching_avx512(const float* query, const float* items,
                                                          std::uint32_t n, std::uint32_t dim,
                                                          float scale,
                                                          const std::uint32_t* reaching,
                                                          float* scores) {
  constexpr std::uint32_t kWords = 16;  // of bits whose items are listed at a time
  const std::uint32_t words = int8_rows(n) / 32;
  for (std::uint32_t first = 0; first < words; first += kWords) {
    std::uint32_t found[32 * kWords];
    std::uint32_t count = 0;
    for (std::uint32_t w = first; w < std::min(first + kWords, words); ++w) {
      for (std::uint32_t left = reaching[w]; left != 0; left &= left - 1)
        found[count++] = 32 * w + static_cast<std::uint32_t>(__builtin_ctz(left));
    }
    for (std::uint32_t i = 0; i < count; i += 2) {
      for (std::uint32_t next = i + 2; next < std::min(i + 4, count); ++next) {
        for (std::uint32_t d = 0; d < dim; d += kGroup)
          __builtin_prefetch(items + std::uint64_t{found[next]} * dim + d);
      }
      const std::uint32_t a = found[i];
      const std::uint32_t b = found[std::min(i + 1, count - 1)];
      float of_a = 0.0f;
      float of_b = 0.0f;
      dot_two(query, items + std::uint64_t{a} * dim, items + std::uint64_t{b} * dim, dim, &of_a,
              &of_b);
      scores[a] = scale * of_a;
      scores[b] = scale * of_b;
    }
  }
}

Int8Unit find_unit() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")
             ? Int8Unit::kAvx512Vnni
             : Int8Unit::kPortable;
}

#else

Int8Unit find_unit() { return Int8Unit::kPortable; }

#endif

}  // namespace

Int8Unit int8_unit() {
  static const Int8Unit unit = find_unit();
  return unit;
}

const char* name_of(Int8Unit unit) {
  return unit == Int8Unit::kAvx512Vnni ? "avx512_vnni" : "portable";
}

void int8_pack_queries(const float* queries, std::uint32_t n, std::uint32_t dim, float scale,
                       std::int8_t* to, Int8Query* info) {
  const std::uint32_t width = int8_width(dim);
  std::memset(to, 0, std::size_t{int8_rows(n)} * width);
  for (std::uint32_t q = 0; q < int8_rows(n); ++q) {
    info[q] = {};
    if (q >= n) continue;
    std::int8_t* row = to + std::uint64_t{q} * width;
    std::int32_t sum = 0;
    const Rounded r =
        round_row(queries + std::uint64_t{q} * dim, dim, [&](std::uint32_t d, std::int32_t value) {
          row[d] = static_cast<std::int8_t>(value);
          sum += value;
        });
    const double norm = norm_above(r.rounded_norm, dim);
    const double residual = norm_above(r.residual, dim);
    constexpr double kRaised = 1.0 + 0x1p-20;
    info[q] = {r.step * scale, rounded_up(norm * kRaised * double{scale}),
               rounded_up((residual * kRaised + 4.0 * 0x1p-24 * norm) * double{scale}), -128 * sum};
  }
}

void int8_pack_items(Int8Unit unit, const float* items, std::uint32_t n, std::uint32_t dim,
                     std::uint8_t* to, const Int8Items& info) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni) return pack_items_avx512(items, n, dim, to, info);
#endif
  pack_items_portable(items, n, dim, to, info);
}

void int8_multiply(Int8Unit unit, const std::int8_t* queries, const Int8Query* info,
                   const std::uint8_t* items, std::uint32_t n, std::uint32_t width,
                   std::int32_t* products, std::uint32_t stride) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni)
    return multiply_vnni(queries, info, items, int8_rows(n), width, products, stride);
#endif
  multiply_portable(queries, info, items, int8_rows(n), width, products, stride);
}

std::uint32_t int8_upper_bounds(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                                const Int8Items& items, std::uint32_t n, const float* bias,
                                float threshold, float* upper, std::uint32_t* reaching) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni)
    return upper_bounds_avx512(products, query, items, n, bias, threshold, upper, reaching);
#endif
  return upper_bounds_portable(products, query, items, n, bias, threshold, upper, reaching);
}

void int8_score_reaching(Int8Unit unit, const float* query, const float* items, std::uint32_t n,
                         std::uint32_t dim, float scale, const std::uint32_t* reaching,
                         float* scores) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni)
    return score_reaching_avx512(query, items, n, dim, scale, reaching, scores);
#endif
  score_reaching_portable(query, items, n, dim, scale, reaching, scores);
}

}  // namespace quarry

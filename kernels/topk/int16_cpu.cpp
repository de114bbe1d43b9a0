// Products of rows rounded to 16-bit integers: packing, and one multiplication per kind of
// processor.
#include "kernels/topk/int16_cpu.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/certify/score_bound.h"
#include "kernels/core/int16.h"
#include "kernels/core/x86_vectors.h"

namespace quarry {
namespace {

constexpr std::uint32_t kGroup = 16;  ///< items of a group

/// Place of a number of an item in its group.
std::size_t place_of(std::uint32_t item, std::uint32_t d) {
  return (std::size_t{d / 2} * kGroup + item % kGroup) * 2 + d % 2;
}

void pack_row(const float* row, float step, std::uint32_t dim, std::int16_t* to) {
  const float inverse = int16_inverse(step);
  for (std::uint32_t d = 0; d < dim; ++d)
    to[d] = static_cast<std::int16_t>(to_int16(row[d], inverse));
}

void pack_group(const float* rows, const float* steps, std::uint32_t n, std::uint32_t dim,
                std::int16_t* group) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const float inverse = int16_inverse(steps[i]);
    for (std::uint32_t d = 0; d < dim; ++d)
      group[place_of(i, d)] =
          static_cast<std::int16_t>(to_int16(rows[std::size_t{i} * dim + d], inverse));
  }
}

void multiply_portable(const std::int16_t* queries, const float* query_steps,
                       const std::int16_t* items, const float* item_steps, std::uint32_t n,
                       std::uint32_t width, float* products, std::uint32_t stride) {
  for (std::uint32_t r = 0; r < kInt16StripRows; ++r) {
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::int16_t* group = items + std::uint64_t{i / kGroup} * kGroup * width;
      std::int32_t sum = 0;
      for (std::uint32_t d = 0; d < width; ++d)
        sum += std::int32_t{queries[std::uint64_t{r} * width + d]} * group[place_of(i, d)];
      products[std::uint64_t{r} * stride + i] =
          static_cast<float>(sum) * item_steps[i] * query_steps[r];
    }
  }
}

#if defined(__x86_64__)

/// to_int16 of eight numbers, as 16 bits each in the lower half.
[[gnu::target("avx2")]] inline __m128i round_eight(const float* row, __m256 inverse) {
  const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(row), inverse);
  const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), scaled);
  const __m256 fits = _mm256_cmp_ps(size, _mm256_set1_ps(kInt16Fits), _CMP_LT_OQ);
  const __m256i value = _mm256_cvtps_epi32(_mm256_and_ps(scaled, fits));
  return _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
}

[[gnu::target("avx2")]] void pack_row_avx2(const float* row, float step, std::uint32_t dim,
                                           std::int16_t* to) {
  const __m256 inverse = _mm256_set1_ps(int16_inverse(step));
  std::uint32_t d = 0;
  for (; d + 8 <= dim; d += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + d), round_eight(row + d, inverse));
  for (; d < dim; ++d) to[d] = static_cast<std::int16_t>(to_int16(row[d], int16_inverse(step)));
}

[[gnu::target("avx2")]] void pack_group_avx2(const float* rows, const float* steps, std::uint32_t n,
                                             std::uint32_t dim, std::int16_t* group) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const float* row = rows + std::size_t{i} * dim;
    const float inverse = int16_inverse(steps[i]);
    std::uint32_t d = 0;
    for (; d + 8 <= dim; d += 8) {
      const __m128i pairs = round_eight(row + d, _mm256_set1_ps(inverse));
      const std::int32_t pair[] = {_mm_cvtsi128_si32(pairs), _mm_extract_epi32(pairs, 1),
                                   _mm_extract_epi32(pairs, 2), _mm_extract_epi32(pairs, 3)};
      for (std::uint32_t p = 0; p < 4; ++p)
        std::memcpy(group + place_of(i, d + 2 * p), &pair[p], sizeof pair[p]);
    }
    for (; d < dim; ++d)
      group[place_of(i, d)] = static_cast<std::int16_t>(to_int16(row[d], inverse));
  }
}

/// Four queries and one group at a time: eight sums in registers.
[[gnu::target("avx2")]] void multiply_avx2(const std::int16_t* queries, const float* query_steps,
                                           const std::int16_t* items, const float* item_steps,
                                           std::uint32_t n, std::uint32_t width, float* products,
                                           std::uint32_t stride) {
  constexpr std::uint32_t kRows = 4;
  for (std::uint32_t first = 0; first < n; first += kGroup) {
    for (std::uint32_t row = 0; row < kInt16StripRows; row += kRows) {
      const std::int16_t* at = items + std::uint64_t{first} * width;
      const std::int16_t* query = queries + std::uint64_t{row} * width;
      __m256i sum[kRows][2];
#pragma GCC unroll 4
      for (auto& s : sum) s[0] = s[1] = _mm256_setzero_si256();
      for (std::uint32_t d = 0; d < width; d += 2, at += std::size_t{2} * kGroup) {
        const __m256i b0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
        const __m256i b1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at) + 1);
#pragma GCC unroll 4
        for (std::uint32_t r = 0; r < kRows; ++r) {
          std::int32_t pair;
          std::memcpy(&pair, query + std::uint64_t{r} * width + d, sizeof pair);
          const __m256i a = _mm256_set1_epi32(pair);
          sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(a, b0));
          sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(a, b1));
          // Row after row: compilers that mix them run out of registers.
          __asm__("" : "+x"(sum[r][0]), "+x"(sum[r][1]));
        }
      }
      // Steps of whole groups are there to read (int16_rows).
      const __m256 step0 = _mm256_loadu_ps(item_steps + first);
      const __m256 step1 = _mm256_loadu_ps(item_steps + first + 8);
#pragma GCC unroll 4
      for (std::uint32_t r = 0; r < kRows; ++r) {
        const __m256 step = _mm256_set1_ps(query_steps[row + r]);
        float* out = products + std::uint64_t{row + r} * stride + first;
        const __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][0]), step0);
        const __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][1]), step1);
        _mm256_storeu_ps(out, _mm256_mul_ps(low, step));
        _mm256_storeu_ps(out + 8, _mm256_mul_ps(high, step));
      }
    }
  }
}

#endif

std::vector<Int16Unit> find_units() {
  std::vector<Int16Unit> units{Int16Unit::kPortable};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) units.push_back(Int16Unit::kAvx2);
#endif
  return units;
}

}  // namespace

std::span<const Int16Unit> int16_units() {
  static const std::vector<Int16Unit> units = find_units();
  return units;
}

const char* name_of(Int16Unit unit) { return unit == Int16Unit::kAvx2 ? "avx2" : "portable"; }

void int16_steps(const float* rows, std::uint32_t n, std::uint32_t dim, float* steps) {
  for (std::uint32_t i = 0; i < n; ++i)
    steps[i] = int16_step(squared_norm(rows + std::uint64_t{i} * dim, dim));
}

void int16_pack_queries(Int16Unit unit, const float* rows, std::uint32_t n, std::uint32_t dim,
                        float scale, std::int16_t* to, float* steps) {
  const std::uint32_t width = int16_width(dim);
  std::memset(to, 0, std::size_t{int16_rows(n)} * width * sizeof *to);
  std::fill(steps, steps + int16_rows(n), 0.0f);
  for (std::uint32_t r = 0; r < n; ++r) {
    const float* row = rows + std::uint64_t{r} * dim;
    std::int16_t* out = to + std::uint64_t{r} * width;
    const float step = int16_step(squared_norm(row, dim));
    steps[r] = step * scale;
#if defined(__x86_64__)
    if (unit == Int16Unit::kAvx2) {
      pack_row_avx2(row, step, dim, out);
      continue;
    }
#endif
    pack_row(row, step, dim, out);
  }
}

void int16_pack_items(Int16Unit unit, const float* rows, const float* steps, std::uint32_t n,
                      std::uint32_t dim, std::int16_t* to) {
  const std::uint32_t width = int16_width(dim);
  for (std::uint32_t first = 0; first < int16_rows(n); first += kGroup) {
    std::int16_t* group = to + std::uint64_t{first} * width;
    const std::uint32_t there = n > first ? std::min(n - first, kGroup) : 0;
    if (there < kGroup || width != dim)
      std::memset(group, 0, std::size_t{kGroup} * width * sizeof *group);
    const float* from = rows + std::uint64_t{first} * dim;
#if defined(__x86_64__)
    if (unit == Int16Unit::kAvx2) {
      pack_group_avx2(from, steps + first, there, dim, group);
      continue;
    }
#endif
    pack_group(from, steps + first, there, dim, group);
  }
}

void int16_multiply(Int16Unit unit, const std::int16_t* queries, const float* query_steps,
                    const std::int16_t* items, const float* item_steps, std::uint32_t n,
                    std::uint32_t width, float* products, std::uint32_t stride) {
#if defined(__x86_64__)
  if (unit == Int16Unit::kAvx2)
    return multiply_avx2(queries, query_steps, items, item_steps, n, width, products, stride);
#endif
  multiply_portable(queries, query_steps, items, item_steps, n, width, products, stride);
}

}  // namespace quarry

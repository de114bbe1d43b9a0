// The 8-bit pass for processors with AVX2 but no AVX-512, 8 items at a time: dot products of bytes
// by AVX_VNNI, or of pairs of bytes in 16 bits, which queries with small pairs do not saturate.
#include "kernels/topk/int8_forms.h"

#include "kernels/core/exact_score.h"
#include "kernels/core/exact_tree.h"

#if defined(__x86_64__)

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

namespace quarry {
namespace {

constexpr std::uint32_t kLanes = 8;

[[gnu::target("avx2")]] inline __m256 absolute(__m256 x) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

[[gnu::target("avx2")]] inline float sum_of(__m256 x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

[[gnu::target("avx2")]] inline float largest_of(__m256 x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/// Lanes of the first `left` of 8.
[[gnu::target("avx2")]] inline __m256i lanes_of(std::uint32_t left) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::min(left, kLanes))), lane);
}

/// Numbers d .. d + 7 of a row, zeros behind its last.
[[gnu::target("avx2")]] inline __m256 load(const float* row, std::uint32_t d, std::uint32_t dim) {
  if (d >= dim) return _mm256_setzero_ps();
  return _mm256_maskload_ps(row + d, lanes_of(dim - d));
}

/// Eight integers from -127 to 127 as bytes.
[[gnu::target("avx2")]] inline __m128i bytes_of(__m256i value) {
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
  return _mm_packs_epi16(words, words);
}

/// The rounding of a row to integers of at most 127 steps.
struct Rounding {
  __m256 step, inverse;

  [[gnu::target("avx2")]] explicit Rounding(float row_step)
      : step(_mm256_set1_ps(row_step)),
        inverse(_mm256_set1_ps(row_step > 0.0f ? 1.0f / row_step : 0.0f)) {}
  /// To the nearest, ties to even; 0 where the step is a denormal's, or none.
  [[gnu::target("avx2")]] __m256i integers(__m256 x) const {
    const __m256 scaled = _mm256_mul_ps(x, inverse);
    const __m256 fits = _mm256_cmp_ps(absolute(scaled), _mm256_set1_ps(200.0f), _CMP_LT_OQ);
    const __m256i value = _mm256_cvtps_epi32(_mm256_and_ps(scaled, fits));
    return _mm256_max_epi32(_mm256_min_epi32(value, _mm256_set1_epi32(127)),
                            _mm256_set1_epi32(-127));
  }
};

/// The step of a row whose neighbours stay within kInt8PairLimit together: roundings add at most
/// one, and 127.4 steps are 127 of one number beside a zero. Single numbers are mostly nearer to
/// that limit than pairs are to its double, so steps are finer than those of 7 bits.
[[gnu::target("avx2")]] float step_of_pairs(const float* row, std::uint32_t dim) {
  __m256 largest = _mm256_setzero_ps();
  for (std::uint32_t d = 0; d < dim; d += 2 * kLanes) {
    const __m256 pairs =
        _mm256_hadd_ps(absolute(load(row, d, dim)), absolute(load(row, d + kLanes, dim)));
    largest = _mm256_max_ps(largest, pairs);
  }
  return largest_of(largest) / (static_cast<float>(kInt8PairLimit) - 0.6f);
}

[[gnu::target("avx2")]] float step_of_numbers(const float* row, std::uint32_t dim) {
  __m256 largest = _mm256_setzero_ps();
  for (std::uint32_t d = 0; d < dim; d += kLanes)
    largest = _mm256_max_ps(largest, absolute(load(row, d, dim)));
  return largest_of(largest) / 127.0f;
}

/// Norms are summed in fp32.
template <float (*kStepOf)(const float*, std::uint32_t)>
[[gnu::target("avx2,fma")]] void pack_queries(const float* queries, std::uint32_t n,
                                              std::uint32_t dim, float scale, std::int8_t* to,
                                              Int8Query* info) {
  const std::uint32_t width = int8_width(dim);
  for (std::uint32_t q = 0; q < n; ++q) {
    const float* row = queries + std::uint64_t{q} * dim;
    std::int8_t* bytes = to + std::uint64_t{q} * width;
    const float step = kStepOf(row, dim);
    const Rounding rounding(step);
    __m256 squares = _mm256_setzero_ps();
    __m256 rest = _mm256_setzero_ps();
    __m256i sum = _mm256_setzero_si256();
    for (std::uint32_t d = 0; d < width; d += kLanes) {
      const __m256 x = load(row, d, dim);
      const __m256i value = rounding.integers(x);
      const __m256 integer = _mm256_cvtepi32_ps(value);
      const __m256 rounded = _mm256_mul_ps(integer, rounding.step);
      const __m256 lost = _mm256_fnmadd_ps(integer, rounding.step, x);
      squares = _mm256_fmadd_ps(rounded, rounded, squares);
      rest = _mm256_fmadd_ps(lost, lost, rest);
      sum = _mm256_add_epi32(sum, value);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes + d), bytes_of(value));
    }
    alignas(32) std::int32_t sums[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), sum);
    info[q] = int8_query(step, norm_above(double{sum_of(squares)}, dim),
                         norm_above(double{sum_of(rest)}, dim), scale,
                         std::accumulate(sums, sums + kLanes, 0));
  }
}

/// Norms are summed in fp32.
[[gnu::target("avx2,fma")]] void pack_items(const float* items, std::uint32_t n, std::uint32_t dim,
                                            std::uint8_t* to, float* step, float* norm,
                                            float* residual) {
  const std::uint32_t width = int8_width(dim);
  for (std::uint32_t i = 0; i < int8_rows(n); ++i) {
    std::uint8_t* group =
        to + std::uint64_t{i / kInt8Group} * kInt8Group * width + i % kInt8Group * 4;
    step[i] = norm[i] = residual[i] = 0.0f;
    if (i >= n) {
      for (std::uint32_t d = 0; d < width; d += 4) std::memset(group + d * kInt8Group, 128, 4);
      continue;
    }
    const float* row = items + std::uint64_t{i} * dim;
    __m256 largest = _mm256_setzero_ps();
    __m256 squares = _mm256_setzero_ps();
    for (std::uint32_t d = 0; d < dim; d += kLanes) {
      const __m256 x = load(row, d, dim);
      largest = _mm256_max_ps(largest, absolute(x));
      squares = _mm256_fmadd_ps(x, x, squares);
    }
    step[i] = largest_of(largest) / 127.0f;
    const Rounding rounding(step[i]);
    __m256 rest = _mm256_setzero_ps();
    for (std::uint32_t d = 0; d < width; d += kLanes) {
      const __m256 x = load(row, d, dim);
      const __m256i value = rounding.integers(x);
      const __m256 lost = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(value), rounding.step, x);
      rest = _mm256_fmadd_ps(lost, lost, rest);
      const __m128i bytes = _mm_xor_si128(bytes_of(value), _mm_set1_epi8(-128));  // plus 128
      const int four[] = {_mm_cvtsi128_si32(bytes), _mm_extract_epi32(bytes, 1)};
      std::memcpy(group + std::uint64_t{d} * kInt8Group, &four[0], 4);
      std::memcpy(group + std::uint64_t{d + 4} * kInt8Group, &four[1], 4);
    }
    norm[i] = norm_above(double{sum_of(squares)}, dim);
    residual[i] = norm_above(double{sum_of(rest)}, dim);
  }
}

/// Four queries and one group at a time: eight sums in registers. Two products of unsigned bytes
/// and neighbours of a query are added in 16 bits.
[[gnu::target("avx2")]] void multiply_by_pairs(const std::int8_t* queries, const Int8Query* info,
                                               const std::uint8_t* items, std::uint32_t n,
                                               std::uint32_t width, std::int32_t* products,
                                               std::uint32_t stride) {
  static_assert(255 * kInt8PairLimit <= 32767);
  constexpr std::uint32_t kRows = 4;
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::uint32_t first = 0; first < n; first += kInt8Group) {
    for (std::uint32_t row = 0; row < kInt8Rows; row += kRows) {
      const std::uint8_t* at = items + std::uint64_t{first} * width;
      const std::int8_t* query = queries + std::uint64_t{row} * width;
      __m256i sum[kRows][2];
#pragma GCC unroll 4
      for (std::uint32_t r = 0; r < kRows; ++r)
        sum[r][0] = sum[r][1] = _mm256_set1_epi32(info[row + r].offset);
      for (std::uint32_t d = 0; d < width; d += 4, at += std::size_t{4} * kInt8Group) {
        const __m256i b0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
        const __m256i b1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at) + 1);
#pragma GCC unroll 4
        for (std::uint32_t r = 0; r < kRows; ++r) {
          std::int32_t four;
          std::memcpy(&four, query + std::uint64_t{r} * width + d, sizeof four);
          const __m256i a = _mm256_set1_epi32(four);
          const __m256i p0 = _mm256_madd_epi16(_mm256_maddubs_epi16(b0, a), ones);
          const __m256i p1 = _mm256_madd_epi16(_mm256_maddubs_epi16(b1, a), ones);
          sum[r][0] = _mm256_add_epi32(sum[r][0], p0);
          sum[r][1] = _mm256_add_epi32(sum[r][1], p1);
          // Row after row: compilers that mix them run out of registers.
          __asm__("" : "+x"(sum[r][0]), "+x"(sum[r][1]));
        }
      }
#pragma GCC unroll 4
      for (std::uint32_t r = 0; r < kRows; ++r) {
        auto* out = reinterpret_cast<__m256i*>(products + std::uint64_t{row + r} * stride + first);
        _mm256_storeu_si256(out, sum[r][0]);
        _mm256_storeu_si256(out + 1, sum[r][1]);
      }
    }
  }
}

/// Likewise, four products at a time.
[[gnu::target("avx2,avxvnni")]] void multiply_by_fours(const std::int8_t* queries,
                                                       const Int8Query* info,
                                                       const std::uint8_t* items, std::uint32_t n,
                                                       std::uint32_t width, std::int32_t* products,
                                                       std::uint32_t stride) {
  constexpr std::uint32_t kRows = 4;
  for (std::uint32_t first = 0; first < n; first += kInt8Group) {
    const std::uint8_t* group = items + std::uint64_t{first} * width;
    for (std::uint32_t row = 0; row < kInt8Rows; row += kRows) {
      __m256i sum[kRows][2];
#pragma GCC unroll 4
      for (std::uint32_t r = 0; r < kRows; ++r)
        sum[r][0] = sum[r][1] = _mm256_set1_epi32(info[row + r].offset);
      for (std::uint32_t d = 0; d < width; d += 4) {
        const auto* at = reinterpret_cast<const __m256i*>(group + std::uint64_t{d} * kInt8Group);
        const __m256i b0 = _mm256_loadu_si256(at);
        const __m256i b1 = _mm256_loadu_si256(at + 1);
#pragma GCC unroll 4
        for (std::uint32_t r = 0; r < kRows; ++r) {
          std::int32_t four;
          std::memcpy(&four, queries + std::uint64_t{row + r} * width + d, sizeof four);
          const __m256i a = _mm256_set1_epi32(four);
          sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], b0, a);
          sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], b1, a);
        }
      }
#pragma GCC unroll 4
      for (std::uint32_t r = 0; r < kRows; ++r) {
        auto* out = reinterpret_cast<__m256i*>(products + std::uint64_t{row + r} * stride + first);
        _mm256_storeu_si256(out, sum[r][0]);
        _mm256_storeu_si256(out + 1, sum[r][1]);
      }
    }
  }
}

/// A row of products, 8 items at a time.
struct ProductRow {
  const std::int32_t* products;
  const float *item_step, *item_norm, *item_residual;
  const float* bias;
  __m256 step, norm, residual;

  [[gnu::target("avx2,fma")]] ProductRow(const std::int32_t* p, const Int8Query& query,
                                         const Int8Items& items, const float* b)
      : products(p),
        item_step(items.step),
        item_norm(items.norm),
        item_residual(items.residual),
        bias(b),
        step(_mm256_set1_ps(query.step)),
        norm(_mm256_set1_ps(query.norm)),
        residual(_mm256_set1_ps(query.residual)) {}

  [[gnu::target("avx2,fma")]] __m256 error(std::uint32_t at) const {
    return _mm256_fmadd_ps(_mm256_loadu_ps(item_norm + at), residual,
                           _mm256_mul_ps(_mm256_loadu_ps(item_residual + at), norm));
  }
  [[gnu::target("avx2,fma")]] __m256 product(std::uint32_t at) const {
    const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(products + at));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(item_step + at));
  }
  [[gnu::target("avx2,fma")]] __m256 upper(std::uint32_t at) const {
    return biased(_mm256_fmadd_ps(product(at), step, error(at)), at);
  }
  [[gnu::target("avx2,fma")]] __m256 lower(std::uint32_t at) const {
    return biased(_mm256_fmsub_ps(product(at), step, error(at)), at);
  }
  [[gnu::target("avx2,fma")]] __m256 biased(__m256 bound, std::uint32_t at) const {
    return bias == nullptr ? bound : _mm256_add_ps(bound, _mm256_loadu_ps(bias + at));
  }
};

/// Bits of 32 items from `at` on; passes: and of those above `over`.
[[gnu::target("avx2,fma")]] inline Reaching reaching_of(const ProductRow& row, std::uint32_t at,
                                                        __m256 floor, __m256 over, bool passes) {
  const __m256 largest = _mm256_set1_ps(kLargest);
  Reaching all{0, 0};
  for (std::uint32_t part = 0; part < 4; ++part) {
    const std::uint32_t first = at + kLanes * part;
    const __m256 upper = row.upper(first);
    // Not less: true for unordered operands.
    const __m256 reaches = _mm256_cmp_ps(upper, floor, _CMP_NLT_UQ);
    all.bits |= static_cast<std::uint32_t>(_mm256_movemask_ps(reaches)) << (kLanes * part);
    if (!passes) continue;
    const __m256 above = _mm256_and_ps(_mm256_cmp_ps(row.lower(first), over, _CMP_GT_OQ),
                                       _mm256_cmp_ps(upper, largest, _CMP_LE_OQ));
    all.above |= static_cast<std::uint32_t>(_mm256_movemask_ps(above)) << (kLanes * part);
  }
  return all;
}

/// Bits of 32 items from `at` on that reach a floor if their error is the largest of them: more
/// than reach it, by half the loads.
[[gnu::target("avx2,fma")]] inline std::uint32_t near_of(const ProductRow& row,
                                                         const Int8Items& items, std::uint32_t at,
                                                         __m256 floor) {
  const __m256 error = _mm256_fmadd_ps(
      _mm256_broadcast_ss(items.largest_norm + at / 32), row.residual,
      _mm256_mul_ps(_mm256_broadcast_ss(items.largest_residual + at / 32), row.norm));
  std::uint32_t bits = 0;
#pragma GCC unroll 4
  for (std::uint32_t part = 0; part < 4; ++part) {
    const std::uint32_t first = at + kLanes * part;
    const __m256 upper = row.biased(_mm256_fmadd_ps(row.product(first), row.step, error), first);
    const __m256 reaches = _mm256_cmp_ps(upper, floor, _CMP_NLT_UQ);
    bits |= static_cast<std::uint32_t>(_mm256_movemask_ps(reaches)) << (kLanes * part);
  }
  return bits;
}

/// Whole words of 32 items from `at` on, few of which reach the threshold: each of those by itself.
/// Returns where it ended, sooner where they are not few: then compares in vectors are faster.
[[gnu::target("avx2,fma,bmi,popcnt")]] inline std::uint32_t take_few(
    const ProductRow& row, const Int8Query& query, const Int8Items& items, std::uint32_t at,
    std::uint32_t n, Listing& listing) {
  constexpr std::uint32_t kWords = 4;
  constexpr std::uint32_t kMost = 16;  // of the 128 items of these words
  const __m256 floor = _mm256_set1_ps(listing.wanted.threshold);
  while (n - at >= 32) {
    const std::uint32_t words = std::min((n - at) / 32, kWords);
    std::uint32_t near[kWords];
    std::uint32_t all = 0;
    for (std::uint32_t w = 0; w < words; ++w) {
      near[w] = near_of(row, items, at + 32 * w, floor);
      all += static_cast<std::uint32_t>(std::popcount(near[w]));
    }
    if (all > kMost) return at;
    for (std::uint32_t w = 0; w < words; ++w) {
      for (std::uint32_t left = near[w]; left != 0; left &= left - 1) {
        const std::uint32_t i = at + 32 * w + static_cast<std::uint32_t>(std::countr_zero(left));
        listing.take_if_reaching(i, bounds_of(row.products, query, items, i));
      }
    }
    at += 32 * words;
  }
  return at;
}

[[gnu::target("avx2,fma,bmi,popcnt")]] Int8Found find_reaching(
    const std::int32_t* products, const Int8Query& query, const Int8Items& items, std::uint32_t n,
    const Int8Wanted& wanted, std::uint32_t* places) {
  constexpr std::uint32_t kWords = 16;  // at a time: all compares first, then the few that reach
  constexpr std::uint32_t kTried = 64;  // an eighth of a tile
  constexpr std::uint32_t kFew = 6;     // of these; as many by themselves cost what vectors do
  const ProductRow row(products, query, items, wanted.bias);
  const __m256 floor = _mm256_set1_ps(wanted.threshold);
  const __m256 over = _mm256_set1_ps(wanted.pass_above);
  Listing listing{wanted, places, {}};
  const bool passes = listing.passes();
  std::uint32_t at = 0;
  if (items.largest_norm != nullptr && n > kTried) {
    // The first items of a tile tell how the rest is looked at fastest.
    Reaching reaching[kTried / 32];
    for (std::uint32_t w = 0; w < kTried / 32; ++w)
      reaching[w] = reaching_of(row, 32 * w, floor, over, passes);
    take_words(reaching, kTried / 32, 0, listing);
    at = kTried;
    if (listing.found.reaching + listing.found.passed <= kFew)
      at = take_few(row, query, items, at, n, listing);
  }
  while (n - at >= 32) {
    const std::uint32_t words = std::min((n - at) / 32, kWords);
    Reaching reaching[kWords];
    for (std::uint32_t w = 0; w < words; ++w)
      reaching[w] = reaching_of(row, at + 32 * w, floor, over, passes);
    take_words(reaching, words, at, listing);
    at += 32 * words;
  }
  for (; at < n; ++at) {
    listing.take_if_reaching(at, bounds_of(products, query, items, at));
  }
  return listing.found;
}

[[gnu::target("avx2,fma")]] void lower_bounds(const std::int32_t* products, const Int8Query& query,
                                              const Int8Items& items, std::uint32_t n,
                                              const float* bias, float ceiling,
                                              const std::uint32_t* counts, float* lower) {
  const ProductRow row(products, query, items, bias);
  const __m256 wide_ceiling = _mm256_set1_ps(ceiling);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  std::uint32_t at = 0;
  for (; n - at >= kLanes; at += kLanes) {
    const std::uint32_t bits = counts == nullptr ? 0xFFu : counts[at / 32] >> (at % 32);
    const __m256i may = _mm256_slli_epi32(
        _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(bits)), lane), 31);  // sign bits
    const __m256 bound = row.lower(at);
    // Not greater: true for unordered operands.
    const __m256 within = _mm256_and_ps(_mm256_cmp_ps(row.upper(at), wide_ceiling, _CMP_NGT_UQ),
                                        _mm256_cmp_ps(bound, bound, _CMP_EQ_OQ));
    _mm256_storeu_ps(lower + at, _mm256_blendv_ps(_mm256_set1_ps(-kInfinity), bound,
                                                  _mm256_and_ps(within, _mm256_castsi256_ps(may))));
  }
  for (; at < n; ++at)
    lower[at] = lower_bound_of(products, query, items, at, bias, ceiling, counts);
}

/// Exact scores of one query and two items, which may be the same.
[[gnu::target("avx2,fma")]] inline void dot_two(const float* query, const float* first,
                                                const float* second, std::uint32_t dim,
                                                float* of_first, float* of_second) {
  __m256 a[4];
  __m256 b[4];
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) a[g] = b[g] = _mm256_setzero_ps();
  std::uint32_t d = 0;
  for (; d + 4 * kLanes <= dim; d += 4 * kLanes) {
#pragma GCC unroll 4
    for (std::uint32_t g = 0; g < 4; ++g) {
      const __m256 q = _mm256_loadu_ps(query + d + g * kLanes);
      a[g] = _mm256_fmadd_ps(q, _mm256_loadu_ps(first + d + g * kLanes), a[g]);
      b[g] = _mm256_fmadd_ps(q, _mm256_loadu_ps(second + d + g * kLanes), b[g]);
    }
  }
  if (d < dim) {
#pragma GCC unroll 4
    for (std::uint32_t g = 0; g < 4; ++g) {
      const __m256 q = load(query, d + g * kLanes, dim);
      a[g] = _mm256_fmadd_ps(q, load(first, d + g * kLanes, dim), a[g]);
      b[g] = _mm256_fmadd_ps(q, load(second, d + g * kLanes, dim), b[g]);
    }
  }
  *of_first = canonical_score(tree_of_32(a));
  *of_second = canonical_score(tree_of_32(b));
}

[[gnu::target("avx2,fma")]] void score(const float* query, const float* items, std::uint32_t dim,
                                       float scale, const std::uint32_t* places,
                                       std::uint32_t count, float* scores) {
  score_by_twos(query, items, dim, scale, places, count, scores, dot_two);
}

}  // namespace

const Int8Form kInt8Avx2{
    pack_queries<step_of_pairs>, pack_items, multiply_by_pairs, find_reaching, lower_bounds, score};
const Int8Form kInt8AvxVnni{pack_queries<step_of_numbers>,
                            pack_items,
                            multiply_by_fours,
                            find_reaching,
                            lower_bounds,
                            score};

}  // namespace quarry

#endif

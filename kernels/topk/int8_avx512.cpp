// The 8-bit pass by AVX-512: 16 items at a time, dot products of bytes by AVX512_VNNI.
#include "kernels/topk/int8_forms.h"

#include "kernels/core/exact_score.h"
#include "kernels/core/exact_tree.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cstring>

namespace quarry {
namespace {

[[gnu::target("avx512f")]] inline __mmask16 lanes_of(std::uint32_t left) {
  return static_cast<__mmask16>(left >= kInt8Group ? 0xFFFFu : (1u << left) - 1);
}

/// The rounding of a row to integers of at most 127 steps.
struct Rounding {
  __m512 step, inverse;

  [[gnu::target("avx512f")]] explicit Rounding(float row_step)
      : step(_mm512_set1_ps(row_step)),
        inverse(_mm512_set1_ps(row_step > 0.0f ? 1.0f / row_step : 0.0f)) {}
  /// To the nearest, ties to even; 0 where the step is a denormal's, or none.
  [[gnu::target("avx512f")]] __m512i integers(__m512 x) const {
    const __m512 scaled = _mm512_mul_ps(x, inverse);
    const __mmask16 fits =
        _mm512_cmp_ps_mask(_mm512_abs_ps(scaled), _mm512_set1_ps(200.0f), _CMP_LT_OQ);
    return _mm512_max_epi32(
        _mm512_min_epi32(_mm512_maskz_cvtps_epi32(fits, scaled), _mm512_set1_epi32(127)),
        _mm512_set1_epi32(-127));
  }
};

/// Norms are summed in fp32.
[[gnu::target("avx512f")]] void pack_queries(const float* queries, std::uint32_t n,
                                             std::uint32_t dim, float scale, std::int8_t* to,
                                             Int8Query* info) {
  const std::uint32_t width = int8_width(dim);
  for (std::uint32_t q = 0; q < n; ++q) {
    const float* row = queries + std::uint64_t{q} * dim;
    std::int8_t* bytes = to + std::uint64_t{q} * width;
    __m512 largest = _mm512_setzero_ps();
    for (std::uint32_t d = 0; d < dim; d += kInt8Group)
      largest =
          _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(lanes_of(dim - d), row + d)));
    const Rounding rounding(_mm512_reduce_max_ps(largest) / 127.0f);
    __m512 squares = _mm512_setzero_ps();
    __m512 rest = _mm512_setzero_ps();
    __m512i sum = _mm512_setzero_si512();
    for (std::uint32_t d = 0; d < dim; d += kInt8Group) {
      const __m512 x = _mm512_maskz_loadu_ps(lanes_of(dim - d), row + d);
      const __m512i value = rounding.integers(x);
      const __m512 integer = _mm512_cvtepi32_ps(value);
      const __m512 rounded = _mm512_mul_ps(integer, rounding.step);
      const __m512 lost = _mm512_fnmadd_ps(integer, rounding.step, x);
      squares = _mm512_fmadd_ps(rounded, rounded, squares);
      rest = _mm512_fmadd_ps(lost, lost, rest);
      sum = _mm512_add_epi32(sum, value);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + d), _mm512_cvtepi32_epi8(value));
    }
    info[q] = int8_query(
        _mm512_cvtss_f32(rounding.step), norm_above(double{_mm512_reduce_add_ps(squares)}, dim),
        norm_above(double{_mm512_reduce_add_ps(rest)}, dim), scale, _mm512_reduce_add_epi32(sum));
  }
}

/// Norms are summed in fp32.
[[gnu::target("avx512f")]] void pack_items(const float* items, std::uint32_t n, std::uint32_t dim,
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
    __m512 largest = _mm512_setzero_ps();
    __m512 squares = _mm512_setzero_ps();
    for (std::uint32_t d = 0; d < dim; d += kInt8Group) {
      const __m512 x = _mm512_maskz_loadu_ps(lanes_of(dim - d), row + d);
      largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
      squares = _mm512_fmadd_ps(x, x, squares);
    }
    const float square = _mm512_reduce_add_ps(squares);
    step[i] = _mm512_reduce_max_ps(largest) / 127.0f;
    const Rounding rounding(step[i]);
    __m512 rest = _mm512_setzero_ps();
    for (std::uint32_t d = 0; d < width; d += kInt8Group) {
      const __m512 x =
          d < dim ? _mm512_maskz_loadu_ps(lanes_of(dim - d), row + d) : _mm512_setzero_ps();
      const __m512i value = rounding.integers(x);
      const __m512 lost = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(value), rounding.step, x);
      rest = _mm512_fmadd_ps(lost, lost, rest);
      alignas(16) std::uint8_t bytes[kInt8Group];
      _mm_store_si128(reinterpret_cast<__m128i*>(bytes),
                      _mm512_cvtepi32_epi8(_mm512_add_epi32(value, _mm512_set1_epi32(128))));
      for (std::uint32_t p = 0; p < 4; ++p)
        std::memcpy(group + std::uint64_t{d + 4 * p} * kInt8Group, bytes + 4 * p, 4);
    }
    norm[i] = norm_above(double{square}, dim);
    residual[i] = norm_above(double{_mm512_reduce_add_ps(rest)}, dim);
  }
}

/// Eight queries and two groups at a time: 16 sums in registers.
[[gnu::target("avx512f,avx512vnni")]] void multiply(const std::int8_t* queries,
                                                    const Int8Query* info,
                                                    const std::uint8_t* items, std::uint32_t n,
                                                    std::uint32_t width, std::int32_t* products,
                                                    std::uint32_t stride) {
  constexpr std::uint32_t kRows = 8;
  for (std::uint32_t first = 0; first < n; first += 2 * kInt8Group) {
    const std::uint8_t* left = items + std::uint64_t{first} * width;
    const std::uint8_t* right = left + std::uint64_t{kInt8Group} * width;
    for (std::uint32_t row = 0; row < kInt8Rows; row += kRows) {
      const std::int8_t* query = queries + std::uint64_t{row} * width;
      __m512i sum[kRows][2];
#pragma GCC unroll 8
      for (std::uint32_t r = 0; r < kRows; ++r)
        sum[r][0] = sum[r][1] = _mm512_set1_epi32(info[row + r].offset);
      for (std::uint32_t d = 0; d < width; d += 4) {
        const __m512i b0 = _mm512_loadu_si512(left + std::uint64_t{d} * kInt8Group);
        const __m512i b1 = _mm512_loadu_si512(right + std::uint64_t{d} * kInt8Group);
#pragma GCC unroll 8
        for (std::uint32_t r = 0; r < kRows; ++r) {
          std::int32_t four;
          std::memcpy(&four, query + std::uint64_t{r} * width + d, sizeof four);
          const __m512i a = _mm512_set1_epi32(four);
          sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], b0, a);
          sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], b1, a);
        }
      }
#pragma GCC unroll 8
      for (std::uint32_t r = 0; r < kRows; ++r) {
        std::int32_t* out = products + std::uint64_t{row + r} * stride + first;
        _mm512_storeu_si512(out, sum[r][0]);
        _mm512_storeu_si512(out + kInt8Group, sum[r][1]);
      }
    }
  }
}

/// A row of products against n items, 16 at a time.
template <bool kBias>
struct ProductRow {
  const std::int32_t* products;
  const float *item_step, *item_norm, *item_residual;
  const float* bias;
  __m512 step, norm, residual;

  [[gnu::target("avx512f")]] ProductRow(const std::int32_t* p, const Int8Query& query,
                                        const Int8Items& items, const float* b)
      : products(p),
        item_step(items.step),
        item_norm(items.norm),
        item_residual(items.residual),
        bias(b),
        step(_mm512_set1_ps(query.step)),
        norm(_mm512_set1_ps(query.norm)),
        residual(_mm512_set1_ps(query.residual)) {}

  [[gnu::target("avx512f")]] __m512 error(std::uint32_t at) const {
    return _mm512_fmadd_ps(_mm512_loadu_ps(item_norm + at), residual,
                           _mm512_mul_ps(_mm512_loadu_ps(item_residual + at), norm));
  }
  [[gnu::target("avx512f")]] __m512 product(std::uint32_t at) const {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(products + at)),
                         _mm512_loadu_ps(item_step + at));
  }
  [[gnu::target("avx512f")]] __m512 upper(std::uint32_t at, __mmask16 there) const {
    return biased(_mm512_fmadd_ps(product(at), step, error(at)), at, there);
  }
  [[gnu::target("avx512f")]] __m512 lower(std::uint32_t at, __mmask16 there) const {
    return biased(_mm512_fmsub_ps(product(at), step, error(at)), at, there);
  }
  [[gnu::target("avx512f")]] __m512 biased(__m512 bound, std::uint32_t at, __mmask16 there) const {
    if constexpr (!kBias) return bound;
    return _mm512_add_ps(bound, _mm512_maskz_loadu_ps(there, bias + at));
  }
};

/// Bits of the items at .. at + 15 that are there and may reach the floor.
template <bool kBias>
[[gnu::target("avx512f")]] inline __mmask16 reaching(const ProductRow<kBias>& row, std::uint32_t at,
                                                     __mmask16 there, __m512 floor) {
  // Not less: true for unordered operands.
  return _mm512_mask_cmp_ps_mask(there, row.upper(at, there), floor, _CMP_NLT_UQ);
}

/// Of these, bits of those whose bounds are both finite and above `over`.
template <bool kBias>
[[gnu::target("avx512f")]] inline __mmask16 above(const ProductRow<kBias>& row, std::uint32_t at,
                                                  __mmask16 some, __m512 over) {
  const __mmask16 finite = _mm512_mask_cmp_ps_mask(
      some, row.upper(at, some), _mm512_set1_ps(std::numeric_limits<float>::max()), _CMP_LE_OQ);
  return _mm512_mask_cmp_ps_mask(finite, row.lower(at, some), over, _CMP_GT_OQ);
}

/// Writes the places first .. first + 15 of a mask. Compressed in a register: into memory it is
/// slow on some processors.
[[gnu::target("avx512f,bmi2,popcnt")]] inline std::uint32_t list(std::uint32_t mask,
                                                                 std::uint32_t first,
                                                                 std::uint32_t* places,
                                                                 std::uint32_t count) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i place = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)), lane);
  const auto n = static_cast<std::uint32_t>(__builtin_popcount(mask));
  _mm512_mask_storeu_epi32(places + count, static_cast<__mmask16>((1u << n) - 1),
                           _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), place));
  return count + n;
}

/// Counts what is passed of the items at .. at + 15 and lists the rest. Half of all items may be
/// passed, a few are listed, and where they stand no branch foretells.
template <bool kPasses, bool kBias>
[[gnu::target("avx512f,bmi2,fma,popcnt")]] inline void take_group(
    const ProductRow<kBias>& row, std::uint32_t at, __mmask16 some, __m512 over,
    const Int8Wanted& wanted, std::uint32_t* places, Int8Found& found) {
  std::uint32_t left = some;
  if constexpr (kPasses) {
    std::uint32_t passed = above(row, at, some, over);
    if (wanted.counts != nullptr) passed &= wanted.counts[at / 32] >> (at % 32);
    found.passed += static_cast<std::uint32_t>(__builtin_popcount(passed));
    left &= ~passed;
  }
  found.reaching = list(left, at, places, found.reaching);
}

/// The items at .. to - 1, group by group without a branch: where many groups hold something.
template <bool kPasses, bool kBias>
[[gnu::target("avx512f,bmi2,fma,popcnt")]] inline void take_all(
    const ProductRow<kBias>& row, std::uint32_t at, std::uint32_t to, __m512 floor, __m512 over,
    const Int8Wanted& wanted, std::uint32_t* places, Int8Found& found) {
  for (; at < to; at += kInt8Group)
    take_group<kPasses>(row, at, reaching(row, at, lanes_of(to - at), floor), over, wanted, places,
                        found);
}

/// Likewise of whole steps of four groups, most of which hold nothing.
template <bool kPasses, bool kBias>
[[gnu::target("avx512f,bmi2,fma,popcnt")]] inline void take_few(
    const ProductRow<kBias>& row, std::uint32_t at, std::uint32_t to, __m512 floor, __m512 over,
    const Int8Wanted& wanted, std::uint32_t* places, Int8Found& found) {
  for (; at < to; at += 4 * kInt8Group) {
    std::uint64_t some = 0;
#pragma GCC unroll 4
    for (std::uint32_t g = 0; g < 4; ++g)
      some |= std::uint64_t{reaching(row, at + g * kInt8Group, __mmask16{0xFFFF}, floor)}
              << g * kInt8Group;
    while (some != 0) {
      const auto g = static_cast<std::uint32_t>(__builtin_ctzll(some)) / kInt8Group;
      const auto group = static_cast<__mmask16>(some >> g * kInt8Group);
      take_group<kPasses>(row, at + g * kInt8Group, group, over, wanted, places, found);
      some &= ~(std::uint64_t{0xFFFF} << g * kInt8Group);
    }
  }
}

/// The first items of a tile tell how the rest is looked at fastest.
template <bool kPasses, bool kBias>
[[gnu::target("avx512f,bmi2,fma,popcnt")]] Int8Found find_with(
    const std::int32_t* products, const Int8Query& query, const Int8Items& items, std::uint32_t n,
    const Int8Wanted& wanted, std::uint32_t* places) {
  constexpr std::uint32_t kTried = 4 * kInt8Group;
  constexpr std::uint32_t kFew = 1;
  const ProductRow<kBias> row(products, query, items, wanted.bias);
  const __m512 floor = _mm512_set1_ps(wanted.threshold);
  const __m512 over = _mm512_set1_ps(wanted.pass_above);
  Int8Found found{};
  std::uint32_t at = std::min(n, kTried);
  take_all<kPasses>(row, 0, at, floor, over, wanted, places, found);
  if (found.reaching + found.passed <= kFew) {
    const std::uint32_t whole = n - (n - at) % (4 * kInt8Group);
    take_few<kPasses>(row, at, whole, floor, over, wanted, places, found);
    at = whole;
  }
  take_all<kPasses>(row, at, n, floor, over, wanted, places, found);
  return found;
}

template <bool kBias>
[[gnu::target("avx512f")]] void bounds_with(const std::int32_t* products, const Int8Query& query,
                                            const Int8Items& items, std::uint32_t n,
                                            const float* bias, float ceiling,
                                            const std::uint32_t* counts, float* lower) {
  const ProductRow<kBias> row(products, query, items, bias);
  const __m512 wide_ceiling = _mm512_set1_ps(ceiling);
  for (std::uint32_t at = 0; at < n; at += kInt8Group) {
    const __mmask16 there = lanes_of(n - at);
    const auto may =
        static_cast<__mmask16>(counts == nullptr ? 0xFFFFu : counts[at / 32] >> (at % 32));
    // Not greater: true for unordered operands.
    const __mmask16 within =
        _mm512_mask_cmp_ps_mask(may, row.upper(at, there), wide_ceiling, _CMP_NGT_UQ);
    const __m512 bound = row.lower(at, there);
    const __mmask16 known = _mm512_mask_cmp_ps_mask(within, bound, bound, _CMP_EQ_OQ);
    _mm512_mask_storeu_ps(lower + at, there,
                          _mm512_mask_blend_ps(known, _mm512_set1_ps(-kInfinity), bound));
  }
}

[[gnu::target("avx512f")]] inline float exact_score_of(__m512 low, __m512 high) {
  const __m512 sum = _mm512_add_ps(low, high);
  const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(sum), 1));
  return canonical_score(tree_of_eight(_mm256_add_ps(_mm512_castps512_ps256(sum), upper)));
}

/// Exact scores of one query and two items, which may be the same.
[[gnu::target("avx512f")]] inline void dot_two(const float* query, const float* first,
                                               const float* second, std::uint32_t dim,
                                               float* of_first, float* of_second) {
  __m512 a = _mm512_setzero_ps();
  __m512 b = _mm512_setzero_ps();
  __m512 more_a = _mm512_setzero_ps();
  __m512 more_b = _mm512_setzero_ps();
  std::uint32_t d = 0;
  for (; d + 2 * kInt8Group <= dim; d += 2 * kInt8Group) {
    const __m512 q = _mm512_loadu_ps(query + d);
    const __m512 r = _mm512_loadu_ps(query + d + kInt8Group);
    a = _mm512_fmadd_ps(q, _mm512_loadu_ps(first + d), a);
    b = _mm512_fmadd_ps(q, _mm512_loadu_ps(second + d), b);
    more_a = _mm512_fmadd_ps(r, _mm512_loadu_ps(first + d + kInt8Group), more_a);
    more_b = _mm512_fmadd_ps(r, _mm512_loadu_ps(second + d + kInt8Group), more_b);
  }
  if (d < dim) {
    const __mmask16 there = lanes_of(dim - d);
    const __m512 q = _mm512_maskz_loadu_ps(there, query + d);
    a = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(there, first + d), a);
    b = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(there, second + d), b);
  }
  if (d + kInt8Group < dim) {
    d += kInt8Group;
    const __mmask16 there = lanes_of(dim - d);
    const __m512 q = _mm512_maskz_loadu_ps(there, query + d);
    more_a = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(there, first + d), more_a);
    more_b = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(there, second + d), more_b);
  }
  *of_first = exact_score_of(a, more_a);
  *of_second = exact_score_of(b, more_b);
}

[[gnu::target("avx512f")]] void score(const float* query, const float* items, std::uint32_t dim,
                                      float scale, const std::uint32_t* places, std::uint32_t count,
                                      float* scores) {
  score_by_twos(query, items, dim, scale, places, count, scores, dot_two);
}

Int8Found find_reaching(const std::int32_t* products, const Int8Query& query,
                        const Int8Items& items, std::uint32_t n, const Int8Wanted& wanted,
                        std::uint32_t* places) {
  const bool passes = Listing{wanted, places, {}}.passes();
  if (wanted.bias == nullptr) {
    return passes ? find_with<true, false>(products, query, items, n, wanted, places)
                  : find_with<false, false>(products, query, items, n, wanted, places);
  }
  return passes ? find_with<true, true>(products, query, items, n, wanted, places)
                : find_with<false, true>(products, query, items, n, wanted, places);
}

void lower_bounds(const std::int32_t* products, const Int8Query& query, const Int8Items& items,
                  std::uint32_t n, const float* bias, float ceiling, const std::uint32_t* counts,
                  float* lower) {
  return bias == nullptr
             ? bounds_with<false>(products, query, items, n, bias, ceiling, counts, lower)
             : bounds_with<true>(products, query, items, n, bias, ceiling, counts, lower);
}

}  // namespace

const Int8Form kInt8Avx512Vnni{pack_queries,  pack_items,   multiply,
                               find_reaching, lower_bounds, score};

}  // namespace quarry

#endif

// Rows rounded to 8 bits: packing, integer products and bounds, each portable and by AVX-512.
#include "kernels/topk/int8_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/core/errors.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/philox.h"
#include "kernels/core/x86_vectors.h"

#if defined(__x86_64__) && defined(__linux__)
#define QUARRY_INT8_X86 1
#endif

namespace quarry {
namespace {

constexpr std::uint32_t kGroup = 16;  ///< items of a group: one vector of sums
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

float rounded_up(double value) {
  if (!(value < double{kLargest})) return kInfinity;
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
                         float* step, float* norm, float* residual) {
  const std::uint32_t width = int8_width(dim);
  std::memset(to, 128, std::size_t{int8_rows(n)} * width);
  for (std::uint32_t i = 0; i < int8_rows(n); ++i) {
    step[i] = norm[i] = residual[i] = 0.0f;
    if (i >= n) continue;
    std::uint8_t* group = to + std::uint64_t{i / kGroup} * kGroup * width + i % kGroup * 4;
    const Rounded r =
        round_row(items + std::uint64_t{i} * dim, dim, [&](std::uint32_t d, std::int32_t value) {
          group[d / 4 * kGroup * 4 + d % 4] = static_cast<std::uint8_t>(value + 128);
        });
    step[i] = r.step;
    norm[i] = norm_above(r.norm, dim);
    residual[i] = norm_above(r.residual, dim);
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

/// Both bounds of one dot product.
struct Between {
  float lower, upper;
};

inline Between bounds_of(const std::int32_t* products, const Int8Query& query,
                         const Int8Items& items, std::uint32_t i) {
  const float error = std::fma(items.norm[i], query.residual, items.residual[i] * query.norm);
  const float product = static_cast<float>(products[i]) * items.step[i];
  return {std::fma(product, query.step, -error), std::fma(product, query.step, error)};
}

/// Lists an item that may reach the threshold, or counts it as passed, without a branch.
struct Listing {
  const Int8Wanted& wanted;
  std::uint32_t* places;
  Int8Found found;

  void take(std::uint32_t i, Between b) {
    const float bias = wanted.bias == nullptr ? 0.0f : wanted.bias[i];
    const bool may = wanted.counts == nullptr || (wanted.counts[i / 32] >> (i % 32) & 1u) != 0;
    const std::uint32_t passed = (may ? 1u : 0u) & (b.lower + bias > wanted.pass_above ? 1u : 0u) &
                                 (b.upper + bias <= kLargest ? 1u : 0u);
    places[found.reaching] = i;
    found.reaching += 1 - passed;
    found.passed += passed;
  }
};

Int8Found find_reaching_portable(const std::int32_t* products, const Int8Query& query,
                                 const Int8Items& items, std::uint32_t n, const Int8Wanted& wanted,
                                 std::uint32_t* places) {
  Listing listing{wanted, places, {}};
  for (std::uint32_t i = 0; i < n; ++i) {
    const Between b = bounds_of(products, query, items, i);
    const float bias = wanted.bias == nullptr ? 0.0f : wanted.bias[i];
    if (!(b.upper + bias < wanted.threshold)) listing.take(i, b);
  }
  return listing.found;
}

void lower_bounds_portable(const std::int32_t* products, const Int8Query& query,
                           const Int8Items& items, std::uint32_t n, const float* bias,
                           float ceiling, const std::uint32_t* counts, float* lower) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const Between b = bounds_of(products, query, items, i);
    const float more = bias == nullptr ? 0.0f : bias[i];
    const bool may = counts == nullptr || (counts[i / 32] >> (i % 32) & 1u) != 0;
    const bool known = b.lower + more == b.lower + more;
    lower[i] = may && known && !(b.upper + more > ceiling) ? b.lower + more : -kInfinity;
  }
}

void score_portable(const float* query, const float* items, std::uint32_t dim, float scale,
                    const std::uint32_t* places, std::uint32_t count, float* scores) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const float* item = items + std::uint64_t{places[i]} * dim;
    scores[i] = scale * exact_score(Metric::kInnerProduct, query, item, dim);
  }
}

#if defined(QUARRY_INT8_X86)

[[gnu::target("avx512f")]] inline __mmask16 lanes_of(std::uint32_t left) {
  return static_cast<__mmask16>(left >= kGroup ? 0xFFFFu : (1u << left) - 1);
}

/// As pack_items_portable; norms are summed in fp32.
[[gnu::target("avx512f")]] void pack_items_avx512(const float* items, std::uint32_t n,
                                                  std::uint32_t dim, std::uint8_t* to, float* step,
                                                  float* norm, float* residual) {
  const std::uint32_t width = int8_width(dim);
  for (std::uint32_t i = 0; i < int8_rows(n); ++i) {
    std::uint8_t* group = to + std::uint64_t{i / kGroup} * kGroup * width + i % kGroup * 4;
    step[i] = norm[i] = residual[i] = 0.0f;
    if (i >= n) {
      for (std::uint32_t d = 0; d < width; d += 4) std::memset(group + d * kGroup, 128, 4);
      continue;
    }
    const float* row = items + std::uint64_t{i} * dim;
    __m512 largest = _mm512_setzero_ps();
    __m512 squares = _mm512_setzero_ps();
    for (std::uint32_t d = 0; d < dim; d += kGroup) {
      const __m512 x = _mm512_maskz_loadu_ps(lanes_of(dim - d), row + d);
      largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
      squares = _mm512_fmadd_ps(x, x, squares);
    }
    const float square = _mm512_reduce_add_ps(squares);
    step[i] = _mm512_reduce_max_ps(largest) / 127.0f;
    const float inverse = step[i] > 0.0f ? 1.0f / step[i] : 0.0f;
    const __m512 wide_step = _mm512_set1_ps(step[i]);
    const __m512 wide_inverse = _mm512_set1_ps(inverse);
    __m512 rest = _mm512_setzero_ps();
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
      rest = _mm512_fmadd_ps(lost, lost, rest);
      alignas(16) std::uint8_t bytes[kGroup];
      _mm_store_si128(reinterpret_cast<__m128i*>(bytes),
                      _mm512_cvtepi32_epi8(_mm512_add_epi32(value, _mm512_set1_epi32(128))));
      for (std::uint32_t p = 0; p < 4; ++p)
        std::memcpy(group + std::uint64_t{d + 4 * p} * kGroup, bytes + 4 * p, 4);
    }
    norm[i] = norm_above(double{square}, dim);
    residual[i] = norm_above(double{_mm512_reduce_add_ps(rest)}, dim);
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

constexpr __mmask16 kAll = 0xFFFF;

template <bool kBias>
[[gnu::target("avx512f,bmi,fma")]] Int8Found find_reaching_avx512(
    const std::int32_t* products, const Int8Query& query, const Int8Items& items, std::uint32_t n,
    const Int8Wanted& wanted, std::uint32_t* places) {
  constexpr std::uint32_t kWords = 16;  // at a time: all compares first, then the few that reach
  const ProductRow<kBias> row(products, query, items, wanted.bias);
  const __m512 floor = _mm512_set1_ps(wanted.threshold);
  Listing listing{wanted, places, {}};
  for (std::uint32_t first = 0; first < n; first += 32 * kWords) {
    std::uint32_t bits[kWords];
    std::uint32_t words = 0;
    // Not less: true for unordered operands.
    std::uint32_t at = first;
    for (; words < kWords && at + 32 <= n; at += 32) {
      const __mmask16 low = _mm512_cmp_ps_mask(row.upper(at, kAll), floor, _CMP_NLT_UQ);
      const __mmask16 high = _mm512_cmp_ps_mask(row.upper(at + kGroup, kAll), floor, _CMP_NLT_UQ);
      bits[words++] = std::uint32_t{low} | std::uint32_t{high} << kGroup;
    }
    if (words < kWords && at < n) {
      const __mmask16 low = lanes_of(n - at);
      const __mmask16 high = n - at > kGroup ? lanes_of(n - at - kGroup) : __mmask16{0};
      bits[words++] =
          std::uint32_t{_mm512_mask_cmp_ps_mask(low, row.upper(at, low), floor, _CMP_NLT_UQ)} |
          std::uint32_t{
              _mm512_mask_cmp_ps_mask(high, row.upper(at + kGroup, high), floor, _CMP_NLT_UQ)}
              << kGroup;
    }
    for (std::uint32_t w = 0; w < words; ++w) {
      for (std::uint32_t left = bits[w]; left != 0; left &= left - 1) {
        const std::uint32_t i = first + 32 * w + static_cast<std::uint32_t>(__builtin_ctz(left));
        listing.take(i, bounds_of(products, query, items, i));
      }
    }
  }
  return listing.found;
}

template <bool kBias>
[[gnu::target("avx512f")]] void lower_bounds_avx512(const std::int32_t* products,
                                                    const Int8Query& query, const Int8Items& items,
                                                    std::uint32_t n, const float* bias,
                                                    float ceiling, const std::uint32_t* counts,
                                                    float* lower) {
  const ProductRow<kBias> row(products, query, items, bias);
  const __m512 wide_ceiling = _mm512_set1_ps(ceiling);
  for (std::uint32_t at = 0; at < n; at += kGroup) {
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
[[gnu::target("avx512f")]] void score_avx512(const float* query, const float* items,
                                             std::uint32_t dim, float scale,
                                             const std::uint32_t* places, std::uint32_t count,
                                             float* scores) {
  const auto item = [&](std::uint32_t i) {
    return items + std::uint64_t{places[std::min(i, count - 1)]} * dim;
  };
  for (std::uint32_t i = 0; i < count; i += 2) {
    for (std::uint32_t d = 0; d < dim; d += kGroup) {
      __builtin_prefetch(item(i + 2) + d);
      __builtin_prefetch(item(i + 3) + d);
    }
    float first = 0.0f;
    float second = 0.0f;
    dot_two(query, item(i), item(i + 1), dim, &first, &second);
    scores[i] = scale * first;
    if (i + 1 < count) scores[i + 1] = scale * second;
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
                     std::uint8_t* to, float* step, float* norm, float* residual) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni)
    return pack_items_avx512(items, n, dim, to, step, norm, residual);
#endif
  pack_items_portable(items, n, dim, to, step, norm, residual);
}

void Int8Table::pack(const Exec& exec, Int8Unit unit, const float* rows,
                     const std::uint32_t* chosen, std::uint32_t n, std::uint32_t dim) {
  constexpr std::uint32_t kBlock = 512;  // a multiple of what int8_rows() rounds up to
  Int8Table table;
  table.width_ = int8_width(dim);
  table.rows_ = int8_rows(n);
  table.numbers_.resize(exec, std::size_t{table.rows_} * table.width_);
  table.info_.resize(exec, std::size_t{3} * table.rows_);
  const std::size_t gathered = chosen == nullptr ? 0 : std::size_t{std::min(kBlock, n)} * dim;
  HostBuffer<float> gather(exec, gathered * static_cast<std::size_t>(std::max(exec.threads, 1)));
  parallel_for(exec, (std::uint64_t{n} + kBlock - 1) / kBlock, 1,
               [&](std::uint64_t begin, std::uint64_t end) {
                 for (std::uint64_t b = begin; b < end; ++b) {
                   const auto first = static_cast<std::uint32_t>(b * kBlock);
                   const std::uint32_t count = std::min(kBlock, n - first);
                   const float* from = rows + std::uint64_t{first} * dim;
                   if (chosen != nullptr) {
                     float* to =
                         gather.data() + gathered * static_cast<std::size_t>(worker_index());
                     for (std::uint32_t i = 0; i < count; ++i)
                       std::copy_n(rows + std::uint64_t{chosen[first + i]} * dim, dim,
                                   to + std::uint64_t{i} * dim);
                     from = to;
                   }
                   float* info = table.info_.data() + first;
                   int8_pack_items(unit, from, count, dim,
                                   table.numbers_.data() + std::uint64_t{first} * table.width_,
                                   info, info + table.rows_, info + std::size_t{2} * table.rows_);
                 }
               });
  *this = std::move(table);
}

void Int8Sample::take(const Exec& exec, Int8Unit unit, const float* rows, const float* bias,
                      std::uint32_t n, std::uint32_t dim, std::uint32_t stride) {
  QUARRY_CHECK(std::has_single_bit(stride) && n > 0);
  Int8Sample sample;
  sample.shift_ = static_cast<std::uint32_t>(std::countr_zero(stride));
  const std::uint32_t size = (n - 1) / stride + 1;
  sample.items_.resize(exec, size);
  if (bias != nullptr) sample.bias_.resize(exec, size);
  for (std::uint32_t i = 0; i < size; ++i) {
    const std::uint32_t first = i << sample.shift_;
    const std::uint32_t item =
        first + philox4x32({}, i, 0, 0, 0).z[0] % std::min(stride, n - first);
    sample.items_.data()[i] = item;
    if (bias != nullptr) sample.bias_.data()[i] = bias[item];
  }
  sample.table_.pack(exec, unit, rows, sample.items_.data(), size, dim);
  *this = std::move(sample);
}

Int8Items Int8Table::info_at(std::uint32_t item) const {
  const float* info = info_.data() + item;
  return {info, info + rows_, info + std::size_t{2} * rows_};
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

Int8Found int8_find_reaching(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                             const Int8Items& items, std::uint32_t n, const Int8Wanted& wanted,
                             std::uint32_t* places) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni) {
    return wanted.bias == nullptr
               ? find_reaching_avx512<false>(products, query, items, n, wanted, places)
               : find_reaching_avx512<true>(products, query, items, n, wanted, places);
  }
#endif
  return find_reaching_portable(products, query, items, n, wanted, places);
}

void int8_lower_bounds(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                       const Int8Items& items, std::uint32_t n, const float* bias, float ceiling,
                       const std::uint32_t* counts, float* lower) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni) {
    return bias == nullptr
               ? lower_bounds_avx512<false>(products, query, items, n, bias, ceiling, counts, lower)
               : lower_bounds_avx512<true>(products, query, items, n, bias, ceiling, counts, lower);
  }
#endif
  lower_bounds_portable(products, query, items, n, bias, ceiling, counts, lower);
}

void int8_score(Int8Unit unit, const float* query, const float* items, std::uint32_t dim,
                float scale, const std::uint32_t* places, std::uint32_t count, float* scores) {
#if defined(QUARRY_INT8_X86)
  if (unit == Int8Unit::kAvx512Vnni)
    return score_avx512(query, items, dim, scale, places, count, scores);
#endif
  score_portable(query, items, dim, scale, places, count, scores);
}

}  // namespace quarry

// Rows rounded to 8 bits, for any processor: packing, integer products and bounds.
#include "kernels/topk/int8_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/core/exact_score.h"
#include "kernels/core/x86_tiles.h"
#include "kernels/topk/int8_forms.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace quarry {
namespace {

constexpr int kLimit = 127;

/// The step of integers up to kLimit that holds every number of the row; 0 of a row of zeros.
/// Infinite or undefined where a number is: then residuals are, and so every bound.
float step_of(const float* row, std::uint32_t dim) {
  float largest = 0.0f;
  for (std::uint32_t d = 0; d < dim; ++d) {
    const float size = std::fabs(row[d]);
    largest = size > largest || size != size ? size : largest;
  }
  return largest / kLimit;
}

std::int32_t integer_of(float value, float inverse) {
  const float scaled = value * inverse;
  if (!(std::fabs(scaled) < 200.0f)) return 0;  // a step of a denormal, or none
  return std::clamp(static_cast<std::int32_t>(std::nearbyint(scaled)), -kLimit, kLimit);
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

void pack_queries(const float* queries, std::uint32_t n, std::uint32_t dim, float scale,
                  std::int8_t* to, Int8Query* info) {
  const std::uint32_t width = int8_width(dim);
  for (std::uint32_t q = 0; q < n; ++q) {
    std::int8_t* row = to + std::uint64_t{q} * width;
    std::int32_t sum = 0;
    const Rounded r =
        round_row(queries + std::uint64_t{q} * dim, dim, [&](std::uint32_t d, std::int32_t value) {
          row[d] = static_cast<std::int8_t>(value);
          sum += value;
        });
    info[q] = int8_query(r.step, norm_above(r.rounded_norm, dim), norm_above(r.residual, dim),
                         scale, sum);
  }
}

void pack_items(const float* items, std::uint32_t n, std::uint32_t dim, std::uint8_t* to,
                float* step, float* norm, float* residual) {
  const std::uint32_t width = int8_width(dim);
  std::memset(to, 128, std::size_t{int8_rows(n)} * width);
  for (std::uint32_t i = 0; i < int8_rows(n); ++i) {
    step[i] = norm[i] = residual[i] = 0.0f;
    if (i >= n) continue;
    std::uint8_t* group =
        to + std::uint64_t{i / kInt8Group} * kInt8Group * width + i % kInt8Group * 4;
    const Rounded r =
        round_row(items + std::uint64_t{i} * dim, dim, [&](std::uint32_t d, std::int32_t value) {
          group[d / 4 * kInt8Group * 4 + d % 4] = static_cast<std::uint8_t>(value + 128);
        });
    step[i] = r.step;
    norm[i] = norm_above(r.norm, dim);
    residual[i] = norm_above(r.residual, dim);
  }
}

void multiply(const std::int8_t* queries, const Int8Query* info, const std::uint8_t* items,
              std::uint32_t n, std::uint32_t width, std::int32_t* products, std::uint32_t stride) {
  for (std::uint32_t r = 0; r < kInt8Rows; ++r) {
    const std::int8_t* query = queries + std::uint64_t{r} * width;
    for (std::uint32_t first = 0; first < n; first += kInt8Group) {
      std::int32_t sum[kInt8Group];
      std::fill(sum, sum + kInt8Group, info[r].offset);
      const std::uint8_t* group = items + std::uint64_t{first} * width;
      for (std::uint32_t d = 0; d < width; ++d) {
        for (std::uint32_t i = 0; i < kInt8Group; ++i)
          sum[i] += std::int32_t{query[d]} * group[(d / 4 * kInt8Group + i) * 4 + d % 4];
      }
      std::copy(sum, sum + kInt8Group, products + std::uint64_t{r} * stride + first);
    }
  }
}

Int8Found find_reaching(const std::int32_t* products, const Int8Query& query,
                        const Int8Items& items, std::uint32_t n, const Int8Wanted& wanted,
                        std::uint32_t* places) {
  Listing listing{wanted, places, {}};
  for (std::uint32_t i = 0; i < n; ++i) {
    listing.take_if_reaching(i, bounds_of(products, query, items, i));
  }
  return listing.found;
}

void lower_bounds(const std::int32_t* products, const Int8Query& query, const Int8Items& items,
                  std::uint32_t n, const float* bias, float ceiling, const std::uint32_t* counts,
                  float* lower) {
  for (std::uint32_t i = 0; i < n; ++i)
    lower[i] = lower_bound_of(products, query, items, i, bias, ceiling, counts);
}

void score(const float* query, const float* items, std::uint32_t dim, float scale,
           const std::uint32_t* places, std::uint32_t count, float* scores) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const float* item = items + std::uint64_t{places[i]} * dim;
    scores[i] = scale * exact_score(Metric::kInnerProduct, query, item, dim);
  }
}

#if defined(__x86_64__)
/// Compilers that this builds with do not all know its name.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1u) != 0;
}
#endif

std::vector<Int8Unit> find_units() {
  std::vector<Int8Unit> units{Int8Unit::kPortable};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    units.push_back(Int8Unit::kAvx2);
    if (has_avx_vnni()) units.push_back(Int8Unit::kAvxVnni);
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"))
    units.push_back(Int8Unit::kAvx512Vnni);
  if (units.back() == Int8Unit::kAvx512Vnni && has_tile_products(TileProducts::kInt8))
    units.push_back(Int8Unit::kAmx);
#endif
  return units;
}

const Int8Form& form_of(Int8Unit unit) {
#if defined(__x86_64__)
  if (unit == Int8Unit::kAvx2) return kInt8Avx2;
  if (unit == Int8Unit::kAvxVnni) return kInt8AvxVnni;
  if (unit == Int8Unit::kAvx512Vnni) return kInt8Avx512Vnni;
  static const Int8Form amx = int8_amx_form();
  if (unit == Int8Unit::kAmx) return amx;
#endif
  return kInt8Portable;
}

}  // namespace

const Int8Form kInt8Portable{pack_queries,  pack_items,   multiply,
                             find_reaching, lower_bounds, score};

std::span<const Int8Unit> int8_units() {
  static const std::vector<Int8Unit> units = find_units();
  return units;
}

const char* name_of(Int8Unit unit) {
  switch (unit) {
    case Int8Unit::kAvx2:
      return "avx2";
    case Int8Unit::kAvxVnni:
      return "avx_vnni";
    case Int8Unit::kAvx512Vnni:
      return "avx512_vnni";
    case Int8Unit::kAmx:
      return "amx_int8";
    case Int8Unit::kPortable:
      break;
  }
  return "portable";
}

void int8_pack_queries(Int8Unit unit, const float* queries, std::uint32_t n, std::uint32_t dim,
                       float scale, std::int8_t* to, Int8Query* info) {
  std::memset(to, 0, std::size_t{int8_rows(n)} * int8_width(dim));
  std::fill(info, info + int8_rows(n), Int8Query{});
  form_of(unit).pack_queries(queries, n, dim, scale, to, info);
}

void int8_pack_items(Int8Unit unit, const float* items, std::uint32_t n, std::uint32_t dim,
                     std::uint8_t* to, float* step, float* norm, float* residual) {
  form_of(unit).pack_items(items, n, dim, to, step, norm, residual);
}

void int8_find_largest(const Int8Items& items, std::uint32_t n, float* largest_norm,
                       float* largest_residual) {
  for (std::uint32_t first = 0; first < n; first += 32) {
    largest_norm[first / 32] = *std::max_element(items.norm + first, items.norm + first + 32);
    largest_residual[first / 32] =
        *std::max_element(items.residual + first, items.residual + first + 32);
  }
}

void int8_multiply(Int8Unit unit, const std::int8_t* queries, const Int8Query* info,
                   const std::uint8_t* items, std::uint32_t n, std::uint32_t width,
                   std::int32_t* products, std::uint32_t stride) {
  form_of(unit).multiply(queries, info, items, int8_rows(n), width, products, stride);
}

Int8Found int8_find_reaching(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                             const Int8Items& items, std::uint32_t n, const Int8Wanted& wanted,
                             std::uint32_t* places) {
  return form_of(unit).find_reaching(products, query, items, n, wanted, places);
}

void int8_lower_bounds(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                       const Int8Items& items, std::uint32_t n, const float* bias, float ceiling,
                       const std::uint32_t* counts, float* lower) {
  form_of(unit).lower_bounds(products, query, items, n, bias, ceiling, counts, lower);
}

void int8_score(Int8Unit unit, const float* query, const float* items, std::uint32_t dim,
                float scale, const std::uint32_t* places, std::uint32_t count, float* scores) {
  form_of(unit).score(query, items, dim, scale, places, count, scores);
}

}  // namespace quarry

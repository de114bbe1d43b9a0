// Products of rows rounded to 16-bit integers: twice as fast as fp32 by instructions that every
// processor with AVX2 has, for a first pass under its own error bound, which is some 20 times that
// of fp32 and a thirtieth of that of bf16. Private to kernels/topk but for int16_unit(), its name,
// int16_pays() and kMostInt16Dim.
#pragma once

#include <cstdint>
#include <span>

namespace quarry {

/// What multiplies. All give the same products.
enum class Int16Unit : std::uint8_t {
  kPortable,  ///< no instruction for it: right, and slower than fp32
  kAvx2,      ///< AVX2 sums of two products of 16 bits each
};
/// Those of this processor that the system lets programs use, the fastest last.
std::span<const Int16Unit> int16_units();
inline Int16Unit int16_unit() { return int16_units().back(); }
const char* name_of(Int16Unit unit);
inline bool int16_pays(Int16Unit unit) { return unit != Int16Unit::kPortable; }

/// Wider rows could overflow the sums (kernels/core/int16.h).
inline constexpr std::uint32_t kMostInt16Dim = 65536;
/// Queries of a strip, which are multiplied together.
inline constexpr std::uint32_t kInt16StripRows = 32;
/// Packed rows are this many numbers wide, zeros behind `dim`.
inline std::uint32_t int16_width(std::uint32_t dim) { return (dim + 7) / 8 * 8; }
/// Packed rows of a table of n rows.
inline std::uint32_t int16_rows(std::uint32_t n) { return (n + 31) / 32 * 32; }

/// steps: [n], int16_step of rows [n, dim].
void int16_steps(const float* rows, std::uint32_t n, std::uint32_t dim, float* steps);
/// rows: [n, dim]. to: [int16_rows(n), width], zeros behind row n; steps: [int16_rows(n)], times
/// `scale`, a power of two.
void int16_pack_queries(Int16Unit unit, const float* rows, std::uint32_t n, std::uint32_t dim,
                        float scale, std::int16_t* to, float* steps);
/// rows: [n, dim], with their steps. to: [int16_rows(n) / 16, width / 2, 16, 2]: of 16 items two
/// dimensions each.
void int16_pack_items(Int16Unit unit, const float* rows, const float* steps, std::uint32_t n,
                      std::uint32_t dim, std::int16_t* to);
/// A strip of packed queries against n packed items: sums of integers times both steps, each of
/// the three rounded once to fp32. products: [kInt16StripRows, stride], of which n columns are
/// written, or up to int16_rows(n). item_steps: [int16_rows(n)].
void int16_multiply(Int16Unit unit, const std::int16_t* queries, const float* query_steps,
                    const std::int16_t* items, const float* item_steps, std::uint32_t n,
                    std::uint32_t width, float* products, std::uint32_t stride);

}  // namespace quarry

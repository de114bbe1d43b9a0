// Products of rows rounded to bf16, by the processor's matrix or dot-product instructions: several
// times as fast as fp32, for a first pass under its own error bound. Private to kernels/topk but
// for bf16_unit() and bf16_pays().
#pragma once

#include <cstdint>

namespace quarry {

/// What multiplies. All give products of to_bf16 (kernels/core/bf16.h) with fp32 sums, in an order
/// of their own.
enum class Bf16Unit : std::uint8_t {
  kPortable,  ///< no instruction for it: right, and slower than fp32
  kAvx512,    ///< AVX512_BF16 dot products
  kAmx,       ///< AMX-BF16 tiles
};
/// The fastest unit of this processor that the system lets programs use; kPortable where there is
/// none. The first call asks the kernel for AMX, for the whole process: alternate signal stacks
/// that the program makes later must have room for the tiles (sigaltstack(2), AT_MINSIGSTKSZ).
Bf16Unit bf16_unit();
const char* name_of(Bf16Unit unit);
/// Whether a first pass by this unit is faster than fp32 without one. Tiles multiply eight times as
/// fast as fp32 does; dot products of AVX-512 no faster on an Intel Xeon, so that the pass costs
/// more than it saves (exact-bf16 in bench/results/cpu/mine_200k_int8.json).
inline bool bf16_pays(Bf16Unit unit) { return unit == Bf16Unit::kAmx; }

/// Queries of a strip, which are multiplied together.
inline constexpr std::uint32_t kBf16StripRows = 32;
/// Packed rows are this many numbers wide, zeros behind `dim`.
inline std::uint32_t bf16_width(std::uint32_t dim) { return (dim + 31) / 32 * 32; }
/// Packed rows of a table of n rows.
inline std::uint32_t bf16_rows(std::uint32_t n) { return (n + 31) / 32 * 32; }

/// `scale`, a power of two, times rows [n, dim]. to: [bf16_rows(n), width], zeros behind row n.
void bf16_pack_queries(const float* rows, std::uint32_t n, std::uint32_t dim, float scale,
                       std::uint16_t* to);
/// rows: [n, dim]. to: [bf16_rows(n) / 16, width / 2, 16, 2]: of 16 items two dimensions each.
void bf16_pack_items(Bf16Unit unit, const float* rows, std::uint32_t n, std::uint32_t dim,
                     std::uint16_t* to);
/// A strip of packed queries against n packed items. products: [kBf16StripRows, stride], of which
/// bf16_rows(n) columns are written. 64-byte alignment is faster.
void bf16_multiply(Bf16Unit unit, const std::uint16_t* queries, const std::uint16_t* items,
                   std::uint32_t n, std::uint32_t width, float* products, std::uint32_t stride);

}  // namespace quarry

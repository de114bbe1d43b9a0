// Upper bounds of dot products from rows rounded to 8 bits: integer products by the processor's
// dot-product instructions, several times as fast as fp32. What such a bound cannot exclude is
// scored in fp32, so nothing changes in what is found. Private to kernels/topk but for int8_unit(),
// its name, int8_pays() and kMostInt8Dim.
#pragma once

#include <cstdint>

namespace quarry {

/// What multiplies. Both give the same integers.
enum class Int8Unit : std::uint8_t {
  kPortable,    ///< no instruction for it: right, and slower than fp32
  kAvx512Vnni,  ///< AVX512_VNNI dot products of unsigned by signed bytes
};
/// The fastest unit of this processor that the system lets programs use.
Int8Unit int8_unit();
const char* name_of(Int8Unit unit);
/// Whether bounds by this unit and fp32 where they exclude nothing are faster than fp32 alone.
inline bool int8_pays(Int8Unit unit) { return unit != Int8Unit::kPortable; }

/// Queries that are multiplied together.
inline constexpr std::uint32_t kInt8Rows = 8;
/// Packed rows are this many numbers wide.
inline std::uint32_t int8_width(std::uint32_t dim) { return (dim + 15) / 16 * 16; }
/// Packed rows of a table of n rows: whole groups of queries and of items.
inline std::uint32_t int8_rows(std::uint32_t n) { return (n + 31) / 32 * 32; }
/// Wider rows could overflow the sums: 2^31 / (255 * 127).
inline constexpr std::uint32_t kMostInt8Dim = 65536;

/// Of a query q, which is rounded to q' = integers from -127 to 127 times a step of its own.
struct Int8Query {
  float step = 0.0f;
  float norm = 0.0f;        ///< more than |q'|, by what the roundings of a bound take
  float residual = 0.0f;    ///< more than |q - q'|, likewise
  std::int32_t offset = 0;  ///< of the products, which take an integer i of an item as i + 128
};
/// queries: [n, dim]. to: [int8_rows(n), width]; info: [int8_rows(n)]. Zeros stand behind row n.
/// `scale`, a power of two, multiplies the steps, norms and residuals.
void int8_pack_queries(const float* queries, std::uint32_t n, std::uint32_t dim, float scale,
                       std::int8_t* to, Int8Query* info);

/// Of each item x, which is rounded to x' = integers from -127 to 127 times a step of its own;
/// [int8_rows(n)].
struct Int8Items {
  float* step = nullptr;
  float* norm = nullptr;      ///< at least |x|
  float* residual = nullptr;  ///< at least |x - x'|
};
/// items: [n, dim]. to: [int8_rows(n) / 16, width / 4, 16, 4]: of 16 items four dimensions each,
/// each number plus 128. Zeros stand behind item n.
void int8_pack_items(Int8Unit unit, const float* items, std::uint32_t n, std::uint32_t dim,
                     std::uint8_t* to, const Int8Items& info);

/// A group of packed queries against n packed items. products: [kInt8Rows, stride], of which
/// int8_rows(n) columns are written: sums of products of the integers.
void int8_multiply(Int8Unit unit, const std::int8_t* queries, const Int8Query* info,
                   const std::uint8_t* items, std::uint32_t n, std::uint32_t width,
                   std::int32_t* products, std::uint32_t stride);

/// Numbers that the dot products of the unrounded rows, times the scale of the query, do not
/// exceed, from n integer products of one query; and whether each of them, plus `bias` if that is
/// not null, reaches `threshold` (or is no number). products, upper: [int8_rows(n)]; reaching:
/// [int8_rows(n) / 32] bits, none set behind item n. Returns how many do.
///
/// In real numbers q.x = q'.x' + (q - q').x + q'.(x - x') <= q'.x' + |q - q'| |x| + |q'| |x - x'|
/// by Cauchy-Schwarz. The sum of integers in fp32, its product with the step of the item and the
/// last fused addition are each off by at most u = 2^-24 of |q'| |x'| <= |q'| (|x| + |x - x'|), the
/// last also by u of the other terms, and those by 2 u of themselves: residual and norm of the
/// query are raised by more. Norms are at least 2^-54, so that underflow is covered too.
std::uint32_t int8_upper_bounds(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                                const Int8Items& items, std::uint32_t n, const float* bias,
                                float threshold, float* upper, std::uint32_t* reaching);
/// Dot products, times `scale`, in fp32 and any order of addition, of the query and the items whose
/// bit of `reaching` is set, into scores[]; the others stay. query: [dim]; items: [n, dim].
void int8_score_reaching(Int8Unit unit, const float* query, const float* items, std::uint32_t n,
                         std::uint32_t dim, float scale, const std::uint32_t* reaching,
                         float* scores);

}  // namespace quarry

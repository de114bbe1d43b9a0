// Bounds of dot products from rows rounded to 8 bits: integer products by the processor's
// dot-product instructions, several times as fast as fp32. What such bounds leave open is scored in
// fp32, so nothing changes in what is found. Private to kernels/topk but for int8_unit(), its
// name, int8_pays(), kMostInt8Dim, Int8Table and Int8Sample.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "kernels/core/buffer.h"
#include "kernels/core/exec.h"

namespace quarry {

/// What multiplies. All give the same integers, but for those of queries.
enum class Int8Unit : std::uint8_t {
  kPortable,    ///< no instruction for it: right, and slower than fp32
  kAvx2,        ///< AVX2 products of pairs of bytes, which keep those of queries small
  kAvxVnni,     ///< AVX_VNNI dot products of unsigned by signed bytes, 32 of them at a time
  kAvx512Vnni,  ///< AVX512_VNNI, 64 at a time
  kAmx,         ///< AMX-INT8 tiles; all else by AVX-512
};
/// Those of this processor that the system lets programs use, the fastest last. The first call may
/// ask the kernel for AMX (kernels/core/x86_tiles.h).
std::span<const Int8Unit> int8_units();
inline Int8Unit int8_unit() { return int8_units().back(); }
const char* name_of(Int8Unit unit);
/// Whether bounds by this unit and fp32 where they exclude nothing are faster than fp32 alone.
inline bool int8_pays(Int8Unit unit) { return unit != Int8Unit::kPortable; }

/// Queries that are multiplied together.
inline constexpr std::uint32_t kInt8Rows = 16;
/// Packed rows are this many numbers wide.
inline std::uint32_t int8_width(std::uint32_t dim) { return (dim + 15) / 16 * 16; }
/// Packed rows of a table of n rows: whole groups of queries and of items.
inline std::uint32_t int8_rows(std::uint32_t n) { return (n + 31) / 32 * 32; }
/// Wider rows could overflow the sums: 2^31 / (255 * 127).
inline constexpr std::uint32_t kMostInt8Dim = 65536;

/// Magnitudes of two integers of a query that stand at 2 i and 2 i + 1, together, for units that
/// add products of such pairs in 16 bits.
inline constexpr int kInt8PairLimit = 128;

/// Of a query q, which is rounded to q' = integers from -127 to 127 times a step of its own.
struct Int8Query {
  float step = 0.0f;
  float norm = 0.0f;        ///< more than |q'|, by what the roundings of a bound take
  float residual = 0.0f;    ///< more than |q - q'|, likewise
  std::int32_t offset = 0;  ///< of the products, which take an integer i of an item as i + 128
};
/// queries: [n, dim]. to: [int8_rows(n), width]; info: [int8_rows(n)]. Zeros stand behind row n.
/// `scale`, a power of two, multiplies the steps, norms and residuals.
void int8_pack_queries(Int8Unit unit, const float* queries, std::uint32_t n, std::uint32_t dim,
                       float scale, std::int8_t* to, Int8Query* info);

/// Of each item x, which is rounded to x' = integers from -127 to 127 times a step of its own;
/// [int8_rows(n)].
struct Int8Items {
  const float* step = nullptr;
  const float* norm = nullptr;      ///< at least |x|
  const float* residual = nullptr;  ///< at least |x - x'|
  /// [int8_rows(n) / 32] The largest of 32 items each; null: not known. Only for speed.
  const float* largest_norm = nullptr;
  const float* largest_residual = nullptr;
};
/// Whether a unit's looks are faster by them.
inline bool int8_uses_largest(Int8Unit unit) {
  return unit == Int8Unit::kAvx2 || unit == Int8Unit::kAvxVnni;
}
/// Finds them, from the norms and residuals of n items.
void int8_find_largest(const Int8Items& items, std::uint32_t n, float* largest_norm,
                       float* largest_residual);
/// items: [n, dim]. to: [int8_rows(n) / 16, width / 4, 16, 4]: of 16 items four dimensions each,
/// each number plus 128. step, norm, residual: as in Int8Items. Zeros stand behind item n.
void int8_pack_items(Int8Unit unit, const float* items, std::uint32_t n, std::uint32_t dim,
                     std::uint8_t* to, float* step, float* norm, float* residual);

/// Items of a table, packed once: for tables that are small, or searched often.
class Int8Table {
 public:
  /// Packs rows[i] for every i < n, or rows[chosen[i]] if that is not null, by exec.threads. rows:
  /// [.., dim]. Where there is no memory the table stays as it was.
  void pack(const Exec& exec, Int8Unit unit, const float* rows, const std::uint32_t* chosen,
            std::uint32_t n, std::uint32_t dim);
  bool empty() const { return numbers_.size() == 0; }
  /// Of n items.
  static std::uint64_t bytes(std::uint32_t n, std::uint32_t dim) {
    return (std::uint64_t{n} + 31) / 32 * 32 * (int8_width(dim) + 3 * sizeof(float));
  }
  std::uint64_t capacity_bytes() const {
    return numbers_.capacity_bytes() + info_.capacity_bytes();
  }
  /// Of items `item`, a multiple of 32, and following.
  const std::uint8_t* numbers_at(std::uint32_t item) const {
    return numbers_.data() + std::uint64_t{item} * width_;
  }
  Int8Items info_at(std::uint32_t item) const;

 private:
  std::uint32_t width_ = 0, rows_ = 0;
  HostBuffer<std::uint8_t> numbers_;
  HostBuffer<float> info_;  ///< steps, norms, residuals
};

/// One item, chosen by chance, of every `stride` that stand next to each other, packed: what is
/// good among them says roughly what is good among all, in whatever order the items stand.
class Int8Sample {
 public:
  /// stride: a power of two. bias: [n] or null. some: bits of the items that it is taken of; null:
  /// all. Where there is no memory the sample stays as it was.
  void take(const Exec& exec, Int8Unit unit, const float* rows, const float* bias, std::uint32_t n,
            std::uint32_t dim, std::uint32_t stride, const std::uint32_t* some = nullptr);
  /// Taken of these items of n, and not of all.
  bool is_of(const std::uint32_t* some, std::uint32_t n) const;
  bool is_of_some() const { return some_.size() > 0; }
  /// Items that it was taken of.
  std::uint32_t population() const { return population_; }
  /// Items chosen; 0: none were.
  std::uint32_t size() const { return static_cast<std::uint32_t>(items_.size()); }
  std::uint32_t place_of(std::uint32_t item) const {
    if (!is_of_some()) return item >> shift_;
    const std::uint32_t before = some_.data()[item / 32] & ((1u << item % 32) - 1);
    return (ahead_.data()[item / 32] + static_cast<std::uint32_t>(std::popcount(before))) >> shift_;
  }
  /// [size()], ascending: that at place_of(item), if it is one, is `item` or of its neighbours.
  const std::uint32_t* items() const { return items_.data(); }
  const float* bias() const { return bias_.size() == 0 ? nullptr : bias_.data(); }
  const Int8Table& table() const { return table_; }
  std::uint64_t capacity_bytes() const {
    return items_.capacity_bytes() + bias_.capacity_bytes() + some_.capacity_bytes() +
           ahead_.capacity_bytes() + table_.capacity_bytes();
  }

 private:
  std::uint32_t index(const Exec& exec, const std::uint32_t* some, std::uint32_t n);

  std::uint32_t shift_ = 0, population_ = 0;
  HostBuffer<std::uint32_t> items_;
  HostBuffer<std::uint32_t> some_;   ///< bits of the items that it was taken of; empty: all
  HostBuffer<std::uint32_t> ahead_;  ///< by word of `some_`: how many stand ahead of it
  HostBuffer<float> bias_;
  Int8Table table_;
};

/// A group of packed queries against n packed items. products: [kInt8Rows, stride], of which
/// int8_rows(n) columns are written: sums of products of the integers.
void int8_multiply(Int8Unit unit, const std::int8_t* queries, const Int8Query* info,
                   const std::uint8_t* items, std::uint32_t n, std::uint32_t width,
                   std::int32_t* products, std::uint32_t stride);

/// What a query looks for among n items. A bound that is not a number bounds nothing.
struct Int8Wanted {
  const float* bias = nullptr;            ///< [n] added to dot products; null: nothing
  float threshold = 0.0f;                 ///< what does not reach it is of no interest
  float pass_above = 0.0f;                ///< what is above it is only counted
  const std::uint32_t* counts = nullptr;  ///< bits of the n items that may be passed; null: all
};
/// How many items.
struct Int8Found {
  std::uint32_t reaching = 0;
  std::uint32_t passed = 0;  ///< reach the threshold too, and are surely above `pass_above`
};
/// What two bounds say of the dot products of the unrounded rows, times the scale of the query,
/// plus the bias, from n integer products of one query: which may reach the threshold (or have no
/// bound) and are not passed. products: [int8_rows(n)]; places: [n], of which the first are
/// written, ascending.
///
/// In real numbers q.x = q'.x' + (q - q').x + q'.(x - x'), which is within |q - q'| |x| + |q'| |x -
/// x'| of q'.x' by Cauchy-Schwarz. The sum of integers in fp32, its product with the step of the
/// item and the last fused addition are each off by at most u = 2^-24 of |q'| |x'| <= |q'| (|x| +
/// |x - x'|), the last also by u of the other terms, and those by 2 u of themselves: residual and
/// norm of the query are raised by more. Norms are at least 2^-54, so that underflow is covered
/// too.
Int8Found int8_find_reaching(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                             const Int8Items& items, std::uint32_t n, const Int8Wanted& wanted,
                             std::uint32_t* places);
/// Numbers that the same scores surely reach; minus infinity where an item may not count, may be
/// above `ceiling` or has no bound. lower: [n].
void int8_lower_bounds(Int8Unit unit, const std::int32_t* products, const Int8Query& query,
                       const Int8Items& items, std::uint32_t n, const float* bias, float ceiling,
                       const std::uint32_t* counts, float* lower);
/// Exact scores by dot product (kernels/core/exact_score.h), times `scale`, of the query and items
/// places[0] .. places[count - 1], in this order. query: [dim]; items: [n, dim].
void int8_score(Int8Unit unit, const float* query, const float* items, std::uint32_t dim,
                float scale, const std::uint32_t* places, std::uint32_t count, float* scores);

}  // namespace quarry

// Products of the 8-bit pass by matrix tiles (AMX-INT8), eight times as many per cycle as AVX-512
// makes; all else of the pass is done by AVX-512.
#include "kernels/topk/int8_forms.h"

#if defined(__x86_64__)

#include <algorithm>

#include "kernels/core/x86_tiles.h"
#include "kernels/core/x86_vectors.h"

namespace quarry {
namespace {

constexpr std::uint32_t kTileBytes = 64;  ///< numbers of a row of a tile

/// Shapes of the tiles of multiply(), which stand for these in its text: 0, 1 products; 2 queries
/// and 3, 4 items of whole steps; 5 queries and 6, 7 items of what is left of the width.
TileConfig shapes_of(std::uint32_t width) {
  const auto left = static_cast<std::uint8_t>(width % kTileBytes);
  TileConfig config;
  static_assert(kInt8Rows == 16);
  config.row_bytes[5] = left == 0 ? kTileBytes : left;
  config.rows[6] = config.rows[7] = left == 0 ? kTileBytes / 4 : left / 4;
  return config;
}

/// Sixteen queries and two groups of items at a time. A group is packed as a tile wants it: a row
/// of a tile is four numbers of each of 16 items.
[[gnu::target("amx-tile,amx-int8")]] void multiply(const std::int8_t* queries,
                                                   const Int8Query* info, const std::uint8_t* items,
                                                   std::uint32_t n, std::uint32_t width,
                                                   std::int32_t* products, std::uint32_t stride) {
  const TileConfig config = shapes_of(width);
  alignas(64) std::int32_t offsets[kInt8Rows][kInt8Group];
  for (std::uint32_t r = 0; r < kInt8Rows; ++r)
    std::fill(offsets[r], offsets[r] + kInt8Group, info[r].offset);
  // The intrinsics of GCC 12 do not say all that they read: it is to be in memory.
  __asm__ volatile("" ::: "memory");
  _tile_loadconfig(&config);
  const std::uint64_t product_bytes = std::uint64_t{stride} * sizeof *products;
  const std::uint32_t whole = width / kTileBytes * kTileBytes;
  for (std::uint32_t first = 0; first < n; first += 2 * kInt8Group) {
    const std::uint8_t* left = items + std::uint64_t{first} * width;
    const std::uint8_t* right = left + std::uint64_t{kInt8Group} * width;
    _tile_loadd(0, offsets, sizeof offsets[0]);
    _tile_loadd(1, offsets, sizeof offsets[0]);
    for (std::uint32_t d = 0; d < whole; d += kTileBytes) {
      _tile_loadd(2, queries + d, width);
      _tile_loadd(3, left + std::uint64_t{d} * kInt8Group, kTileBytes);
      _tile_loadd(4, right + std::uint64_t{d} * kInt8Group, kTileBytes);
      _tile_dpbsud(0, 2, 3);
      _tile_dpbsud(1, 2, 4);
    }
    if (whole < width) {
      _tile_loadd(5, queries + whole, width);
      _tile_loadd(6, left + std::uint64_t{whole} * kInt8Group, kTileBytes);
      _tile_loadd(7, right + std::uint64_t{whole} * kInt8Group, kTileBytes);
      _tile_dpbsud(0, 5, 6);
      _tile_dpbsud(1, 5, 7);
    }
    std::int32_t* out = products + first;
    _tile_stored(0, out, product_bytes);
    _tile_stored(1, out + kInt8Group, product_bytes);
  }
  _tile_release();
}

}  // namespace

Int8Form int8_amx_form() {
  Int8Form form = kInt8Avx512Vnni;
  form.multiply = multiply;
  return form;
}

}  // namespace quarry

#endif

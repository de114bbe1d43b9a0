// The steps of topk on a device, a kernel each; topk_gpu.cu strings them together.
#pragma once

#include "kernels/topk/topk.h"

namespace quarry {

/// A tile on a device: large enough that the GEMM runs at full speed, and its scores stay in a few
/// megabytes.
inline constexpr std::uint32_t kTopkDeviceTileRows = 1024;
inline constexpr std::uint32_t kTopkDeviceTileItems = 4096;
inline constexpr unsigned kTopkThreads = 256;

/// A block of rows and one tile of items. All pointers in device memory.
struct TopkTile {
  TopkItems items;
  TopkMask mask;
  const float* queries = nullptr;  ///< [rows, dim] of this block of rows
  std::uint32_t first_row = 0;     ///< of the block, among the rows of the call
  std::uint32_t rows = 0;
  std::uint32_t first_item = 0;
  std::uint32_t num_items = 0;  ///< of this tile
  std::uint32_t capacity = 0;   ///< of one running list
  std::uint32_t keep = 0;       ///< k + 1: the one beyond k tells the cut
  std::uint32_t k = 0;
  float* scores = nullptr;         ///< [rows, kTopkDeviceTileItems]
  std::uint64_t* keys = nullptr;   ///< [rows, capacity] running lists
  std::uint32_t* count = nullptr;  ///< [rows]
  float* threshold = nullptr;      ///< [rows]
};

/// Exact scores of the tile.
void score_topk_tile(const Exec& exec, const TopkTile& tile);
/// Appends the tile's scores to the running lists, cut back first where they might not fit. The
/// first tile begins them.
void append_topk_tile(const Exec& exec, const TopkTile& tile);
/// Writes the lists of the block of rows to `out`, the result of the whole call.
void finish_topk_rows(const Exec& exec, const TopkTile& tile, const TopkResult& out);

}  // namespace quarry

// A tile of scores into the running lists of topk on a GPU: a block per row.
#include "kernels/core/block_group.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/topk/topk_device.cuh"
#include "kernels/topk/topk_row.h"

namespace quarry {

constexpr std::uint32_t kTileWords = kTopkDeviceTileItems / 32;
using AppendBlock = BlockGroup<kTopkThreads>;

/// Bits of the tile's items that row `row` of the call may find, into words[kTileWords].
__device__ inline void mark_allowed(const AppendBlock& block, const TopkTile& tile,
                                    std::uint64_t row, std::uint32_t* words) {
  for (std::uint32_t w = block.rank(); w < kTileWords; w += block.size()) {
    const bool inside = w * 32 < tile.num_items;
    words[w] = !inside                         ? 0
               : tile.mask.eligible != nullptr ? tile.mask.eligible[tile.first_item / 32 + w]
                                               : 0xFFFFFFFFu;
  }
  block.sync();
  if (tile.mask.exclusion_offsets != nullptr) {
    const std::uint64_t end = tile.mask.exclusion_offsets[row + 1];
    std::uint64_t low = tile.mask.exclusion_offsets[row];
    std::uint64_t high = end;
    while (low < high) {  // the first exclusion in the tile
      const std::uint64_t middle = low + (high - low) / 2;
      if (tile.mask.exclusions[middle] < tile.first_item) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (std::uint64_t e = low + block.rank(); e < end; e += block.size()) {
      const std::uint32_t j = tile.mask.exclusions[e] - tile.first_item;
      if (j >= tile.num_items) break;
      atomicAnd(&words[j / 32], ~(1u << (j % 32)));
    }
  }
  block.sync();
}

__global__ void __launch_bounds__(kTopkThreads, 1)
    topk_append_kernel(const __grid_constant__ TopkTile tile) {
  __shared__ AppendBlock::Storage storage;
  __shared__ std::uint32_t allowed[kTileWords];
  AppendBlock block(storage);
  const bool masked = tile.mask.eligible != nullptr || tile.mask.exclusion_offsets != nullptr;
  for (std::uint32_t r = blockIdx.x; r < tile.rows; r += gridDim.x) {
    if (masked) mark_allowed(block, tile, std::uint64_t{tile.first_row} + r, allowed);
    std::uint64_t* keys = tile.keys + std::uint64_t{r} * tile.capacity;
    std::uint32_t count = tile.first_item == 0 ? 0 : tile.count[r];
    float threshold = tile.first_item == 0 ? no_threshold() : tile.threshold[r];
    if (std::uint64_t{count} + tile.num_items > tile.capacity) {
      count = compact_row(block, keys, count, tile.keep, &threshold);
    }
    const float* bias = tile.items.scoring == TopkScoring::kBlas && tile.items.bias != nullptr
                            ? tile.items.bias + tile.first_item
                            : nullptr;
    count = append_row(block, tile.scores + std::uint64_t{r} * kTopkDeviceTileItems, bias,
                       tile.num_items, tile.first_item, masked ? allowed : nullptr, threshold, keys,
                       count);
    block.sync();  // every thread has read the row's state
    if (block.rank() == 0) {
      tile.count[r] = count;
      tile.threshold[r] = threshold;
    }
  }
}

void append_topk_tile(const Exec& exec, const TopkTile& tile) {
  static_assert(sizeof(TopkTile) <= kMaxParameterBytes);
  const DeviceScope scope(exec);
  topk_append_kernel<<<grid_blocks(tile.rows, 1), kTopkThreads, 0, exec.stream>>>(tile);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

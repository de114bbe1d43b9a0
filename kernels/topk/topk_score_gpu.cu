// Exact scores of a tile of topk on a GPU: a warp per pair.
#include "kernels/core/exact_score_warp.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/topk/topk_device.cuh"

namespace quarry {

__global__ void __launch_bounds__(kTopkThreads, 1)
    topk_score_kernel(const __grid_constant__ TopkTile tile) {
  WarpGroup warp;
  const std::uint64_t pairs = std::uint64_t{tile.rows} * tile.num_items;
  const std::uint64_t dim = tile.items.dim;
  for (std::uint64_t pair = warp_of_grid(); pair < pairs; pair += warps_in_grid()) {
    const std::uint64_t r = pair / tile.num_items;
    const std::uint64_t j = pair - r * tile.num_items;
    const float score =
        exact_score_together(warp, tile.items.metric, tile.queries + r * dim,
                             tile.items.rows + (tile.first_item + j) * dim, tile.items.dim);
    if (warp.rank() == 0) tile.scores[r * kTopkDeviceTileItems + j] = score;
  }
}

void score_topk_tile(const Exec& exec, const TopkTile& tile) {
  static_assert(sizeof(TopkTile) <= kMaxParameterBytes);
  const DeviceScope scope(exec);
  const unsigned blocks =
      grid_blocks(std::uint64_t{tile.rows} * tile.num_items, kTopkThreads / kWarpThreads);
  topk_score_kernel<<<blocks, kTopkThreads, 0, exec.stream>>>(tile);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

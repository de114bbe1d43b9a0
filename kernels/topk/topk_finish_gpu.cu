// The running lists of topk on a GPU become its result: a block per row.
#include "kernels/core/block_group.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/topk/topk_device.cuh"
#include "kernels/topk/topk_row.h"

namespace quarry {

using FinishBlock = BlockGroup<kTopkThreads>;

__global__ void __launch_bounds__(kTopkThreads, 1)
    topk_finish_kernel(const __grid_constant__ TopkTile tile,
                       const __grid_constant__ TopkResult out) {
  __shared__ FinishBlock::Storage storage;
  FinishBlock block(storage);
  for (std::uint32_t r = blockIdx.x; r < tile.rows; r += gridDim.x) {
    const std::uint64_t row = std::uint64_t{tile.first_row} + r;
    std::uint64_t* keys = tile.keys + std::uint64_t{r} * tile.capacity;
    std::uint64_t* to = out.keys + row * tile.k;
    std::uint32_t count = tile.count[r];
    float threshold = 0.0f;
    if (count > tile.keep) count = compact_row(block, keys, count, tile.keep, &threshold);
    // One more than k was kept: the least of them is set aside as the cut.
    std::uint64_t mine = ~std::uint64_t{0};
    for (std::uint32_t j = block.rank(); j < count; j += block.size())
      mine = keys[j] < mine ? keys[j] : mine;
    const std::uint64_t least = block.min(mine);
    const bool cut = count > tile.k;
    std::uint32_t written = 0;
    for (std::uint32_t base = 0; base < count; base += block.size()) {
      const std::uint32_t j = base + block.rank();
      const bool wanted = j < count && !(cut && keys[j] == least);
      std::uint32_t total = 0;
      const std::uint32_t before = block.scan(wanted ? 1u : 0u, &total);
      if (wanted) to[written + before] = keys[j];
      written += total;
    }
    if (block.rank() == 0) {
      out.count[row] = written;
      out.left_out[row] = cut ? 1 : 0;
      if (cut) out.cut[row] = score_of_key(least);
    }
  }
}

void finish_topk_rows(const Exec& exec, const TopkTile& tile, const TopkResult& out) {
  static_assert(sizeof(TopkTile) + sizeof(TopkResult) <= kMaxParameterBytes);
  const DeviceScope scope(exec);
  topk_finish_kernel<<<grid_blocks(tile.rows, 1), kTopkThreads, 0, exec.stream>>>(tile, out);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

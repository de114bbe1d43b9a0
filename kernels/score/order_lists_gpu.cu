// Scored lists into key order: a block per row, its entries in shared memory where they fit.
#include "kernels/core/block_group.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/score/order_lists.cuh"
#include "kernels/score/score_row.h"

namespace quarry {

constexpr unsigned kOrderThreads = 128;
using OrderBlock = BlockGroup<kOrderThreads>;

/// shared_area: dynamic shared memory holds the entries; else args.scratch has room for every row.
__global__ void __launch_bounds__(kOrderThreads, 1)
    order_lists_kernel(const __grid_constant__ ScoreArgs args, bool shared_area) {
  extern __shared__ std::uint64_t order_area[];
  __shared__ OrderBlock::Storage storage;
  OrderBlock block(storage);
  for (std::uint64_t r = blockIdx.x; r < args.rows.num_rows; r += gridDim.x) {
    const std::uint64_t at = r * args.stride;
    SortEntry* entries = shared_area ? reinterpret_cast<SortEntry*>(order_area)
                                     : static_cast<SortEntry*>(args.scratch) + at;
    order_scored_row(block, args.count[r], args.items + at, args.scores + at,
                     args.raw_rank != nullptr ? args.raw_rank + at : nullptr, entries);
  }
}

void order_lists_gpu(const Exec& exec, const ScoreArgs& args) {
  static_assert(sizeof(ScoreArgs) + sizeof(bool) <= kMaxParameterBytes);
  const DeviceScope scope(exec);
  const std::uint64_t bytes = args.stride * sizeof(SortEntry);
  const bool fits = bytes + sizeof(OrderBlock::Storage) <= kSharedBytes;
  order_lists_kernel<<<grid_blocks(args.rows.num_rows, 1), kOrderThreads, fits ? bytes : 0,
                       exec.stream>>>(args, fits);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

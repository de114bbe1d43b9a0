// merge on a GPU: a warp per row, its work area in global memory.
#include "kernels/core/exact_score_warp.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "kernels/merge/merge_tile.h"

namespace quarry {

constexpr unsigned kMergeThreads = 128;

__global__ void __launch_bounds__(kMergeThreads, 1)
    merge_kernel(const __grid_constant__ World world, const __grid_constant__ Plan plan,
                 const __grid_constant__ MergeArgs args,
                 const __grid_constant__ MergeScratchLayout layout) {
  WarpGroup warp;
  for (std::uint64_t r = warp_of_grid(); r < args.rows.num_rows; r += warps_in_grid()) {
    merge_tile_row(warp, world, plan, args, static_cast<std::uint32_t>(r),
                   merge_scratch_at(layout, args.scratch, r));
  }
}

void merge_gpu(const Exec& exec, const MergeArgs& args) {
  static_assert(sizeof(World) + sizeof(Plan) + sizeof(MergeArgs) + sizeof(MergeScratchLayout) <=
                kMaxParameterBytes);
  if (args.rows.num_rows == 0) return;
  const DeviceScope scope(exec);
  const unsigned blocks = grid_blocks(args.rows.num_rows, kMergeThreads / kWarpThreads);
  merge_kernel<<<blocks, kMergeThreads, 0, exec.stream>>>(
      *args.world, *args.plan, args, merge_scratch_layout(*args.world, *args.plan));
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

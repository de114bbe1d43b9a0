// sample on a GPU: a warp per row; one lane draws, all enumerate.
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "kernels/sample/draw_row.h"
#include "kernels/sample/sample.h"

namespace quarry {

constexpr unsigned kSampleThreads = 128;

__global__ void __launch_bounds__(kSampleThreads, 1)
    sample_kernel(const __grid_constant__ World world, const __grid_constant__ Plan plan,
                  const __grid_constant__ SampleArgs args) {
  WarpGroup warp;
  const Branch& branch = plan.branches[args.branch];
  for (std::uint64_t r = warp_of_grid(); r < args.rows.num_rows; r += warps_in_grid()) {
    std::uint32_t found = 0;
    if (!is_bad(args.rows, static_cast<std::uint32_t>(r))) {
      found = pool_draws_row(
          warp, world, plan, branch, row_context(world, args.rows, static_cast<std::uint32_t>(r)),
          sample_scratch_at(args.scratch, r, branch.draws), args.items + r * args.stride);
    }
    if (warp.rank() == 0) args.count[r] = found;
  }
}

void sample_gpu(const Exec& exec, const SampleArgs& args) {
  static_assert(sizeof(World) + sizeof(Plan) + sizeof(SampleArgs) <= kMaxParameterBytes);
  if (args.rows.num_rows == 0) return;
  const DeviceScope scope(exec);
  const unsigned blocks = grid_blocks(args.rows.num_rows, kSampleThreads / kWarpThreads);
  sample_kernel<<<blocks, kSampleThreads, 0, exec.stream>>>(*args.world, *args.plan, args);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

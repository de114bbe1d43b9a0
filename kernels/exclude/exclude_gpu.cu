// exclude on a GPU: a warp per row, candidates over its lanes.
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "kernels/exclude/exclude.h"
#include "kernels/exclude/exclude_row.h"

namespace quarry {

constexpr unsigned kExcludeThreads = 128;

__global__ void __launch_bounds__(kExcludeThreads, 1)
    exclude_kernel(const __grid_constant__ World world, const __grid_constant__ Plan plan,
                   const __grid_constant__ ExcludeArgs args) {
  WarpGroup warp;
  const Branch& branch = plan.branches[args.branch];
  const Candidates& c = args.candidates;
  for (std::uint64_t r = warp_of_grid(); r < args.rows.num_rows; r += warps_in_grid()) {
    if (is_bad(args.rows, static_cast<std::uint32_t>(r))) continue;
    const std::uint32_t list = list_of(branch, args.rows, static_cast<std::uint32_t>(r));
    const std::uint64_t at = list * c.stride;
    exclude_row(warp, world, plan, branch,
                row_context(world, args.rows, static_cast<std::uint32_t>(r)), c.items + at,
                c.scores + at, c.raw_rank != nullptr ? c.raw_rank + at : nullptr, c.count[list],
                args.reasons + r * c.stride);
  }
}

void exclude_gpu(const Exec& exec, const ExcludeArgs& args) {
  static_assert(sizeof(World) + sizeof(Plan) + sizeof(ExcludeArgs) <= kMaxParameterBytes);
  if (args.rows.num_rows == 0) return;
  const DeviceScope scope(exec);
  const unsigned blocks = grid_blocks(args.rows.num_rows, kExcludeThreads / kWarpThreads);
  exclude_kernel<<<blocks, kExcludeThreads, 0, exec.stream>>>(*args.world, *args.plan, args);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

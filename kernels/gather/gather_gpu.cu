// gather on a GPU: a warp per row.
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "kernels/gather/gather.h"
#include "kernels/gather/gather_row.h"

namespace quarry {

constexpr unsigned kGatherThreads = 128;

__global__ void __launch_bounds__(kGatherThreads, 1)
    gather_kernel(const __grid_constant__ World world, const __grid_constant__ Plan plan,
                  const __grid_constant__ GatherArgs args) {
  WarpGroup warp;
  for (std::uint64_t r = warp_of_grid(); r < args.rows.num_rows; r += warps_in_grid())
    gather_tile_row(warp, world, plan, args, static_cast<std::uint32_t>(r));
}

void gather_gpu(const Exec& exec, const GatherArgs& args) {
  static_assert(sizeof(World) + sizeof(Plan) + sizeof(GatherArgs) <= kMaxParameterBytes);
  if (args.rows.num_rows == 0) return;
  const DeviceScope scope(exec);
  const unsigned blocks = grid_blocks(args.rows.num_rows, kGatherThreads / kWarpThreads);
  gather_kernel<<<blocks, kGatherThreads, 0, exec.stream>>>(*args.world, *args.plan, args);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

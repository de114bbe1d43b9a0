// admit on a GPU: a warp per row, its lanes are the accumulators of the norm.
#include "kernels/admit/admit.h"
#include "kernels/core/exact_score_warp.cuh"
#include "kernels/core/launch.cuh"
// Behind the warp's exact score, so that the row algorithm finds it.
#include "kernels/admit/admit_row.h"

namespace quarry {

constexpr unsigned kAdmitThreads = 128;

__global__ void __launch_bounds__(kAdmitThreads, 1)
    admit_kernel(const __grid_constant__ World world, const __grid_constant__ AdmitArgs args) {
  WarpGroup warp;
  for (std::uint64_t r = warp_of_grid(); r < args.rows.num_rows; r += warps_in_grid())
    admit_row(warp, world, args, static_cast<std::uint32_t>(r));
}

void admit_gpu(const Exec& exec, const AdmitArgs& args) {
  static_assert(sizeof(World) + sizeof(AdmitArgs) <= kMaxParameterBytes);
  if (args.rows.num_rows == 0) return;
  const DeviceScope scope(exec);
  const unsigned blocks = grid_blocks(args.rows.num_rows, kAdmitThreads / kWarpThreads);
  admit_kernel<<<blocks, kAdmitThreads, 0, exec.stream>>>(*args.world, args);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

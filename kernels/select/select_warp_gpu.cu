// select for short candidate lists: a warp per row, its work area in shared memory where it fits.
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "kernels/select/select_tile.cuh"

namespace quarry {

/// shared_area: dynamic shared memory holds a work area per warp; else args.scratch has one per
/// row.
__global__ void __launch_bounds__(kSelectWarpThreads, 1)
    select_warp_kernel(const __grid_constant__ World world, const __grid_constant__ Plan plan,
                       const __grid_constant__ SelectArgs args, bool shared_area) {
  extern __shared__ std::uint64_t select_warp_area[];
  WarpGroup warp;
  for (std::uint64_t r = warp_of_grid(); r < args.rows.num_rows; r += warps_in_grid()) {
    if (is_bad(args.rows, static_cast<std::uint32_t>(r))) continue;
    const SelectScratch scratch =
        shared_area
            ? select_scratch_at(select_warp_area, threadIdx.x / kWarpThreads, args.out.stride)
            : select_scratch_at(args.scratch, r, args.out.stride);
    select_tile_row(warp, world, plan, args, static_cast<std::uint32_t>(r), scratch);
    warp.sync();  // the shared area passes to the next row
  }
}

void select_by_warps(const Exec& exec, const SelectArgs& args) {
  static_assert(sizeof(World) + sizeof(Plan) + sizeof(SelectArgs) + sizeof(bool) <=
                kMaxParameterBytes);
  constexpr unsigned kRowsPerBlock = kSelectWarpThreads / kWarpThreads;
  const DeviceScope scope(exec);
  const std::uint64_t bytes = kRowsPerBlock * select_row_bytes(args.out.stride);
  const bool fits = bytes <= kSharedBytes;
  select_warp_kernel<<<grid_blocks(args.rows.num_rows, kRowsPerBlock), kSelectWarpThreads,
                       fits ? bytes : 0, exec.stream>>>(*args.world, *args.plan, args, fits);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

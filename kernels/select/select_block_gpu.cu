// select for long candidate lists: a block per row, its work area in shared memory where it fits.
#include "kernels/core/block_group.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/select/select_tile.cuh"

namespace quarry {

using SelectBlock = BlockGroup<kSelectBlockThreads>;

/// shared_area: dynamic shared memory holds the block's work area; else args.scratch has one per
/// row.
__global__ void __launch_bounds__(kSelectBlockThreads, 1)
    select_block_kernel(const __grid_constant__ World world, const __grid_constant__ Plan plan,
                        const __grid_constant__ SelectArgs args, bool shared_area) {
  extern __shared__ std::uint64_t select_block_area[];
  __shared__ SelectBlock::Storage storage;
  SelectBlock block(storage);
  for (std::uint64_t r = blockIdx.x; r < args.rows.num_rows; r += gridDim.x) {
    if (is_bad(args.rows, static_cast<std::uint32_t>(r))) continue;
    const SelectScratch scratch = shared_area
                                      ? select_scratch_at(select_block_area, 0, args.out.stride)
                                      : select_scratch_at(args.scratch, r, args.out.stride);
    select_tile_row(block, world, plan, args, static_cast<std::uint32_t>(r), scratch);
    block.sync();  // the shared area passes to the next row
  }
}

void select_by_blocks(const Exec& exec, const SelectArgs& args) {
  static_assert(sizeof(World) + sizeof(Plan) + sizeof(SelectArgs) + sizeof(bool) <=
                kMaxParameterBytes);
  const DeviceScope scope(exec);
  const std::uint64_t bytes = select_row_bytes(args.out.stride);
  const bool fits = bytes + sizeof(SelectBlock::Storage) <= kSharedBytes;
  select_block_kernel<<<grid_blocks(args.rows.num_rows, 1), kSelectBlockThreads, fits ? bytes : 0,
                        exec.stream>>>(*args.world, *args.plan, args, fits);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

// merge on the CPU: rows over threads, one work area per thread.
#include "kernels/merge/merge_tile.h"

namespace quarry {

std::uint64_t merge_scratch_bytes(const Exec& exec, const World& world, const Plan& plan,
                                  std::uint32_t num_rows) {
  const std::uint64_t slots = exec.device == Device::kCuda
                                  ? num_rows
                                  : static_cast<std::uint64_t>(exec.threads > 1 ? exec.threads : 1);
  return slots * merge_scratch_layout(world, plan).bytes;
}

void merge(const Exec& exec, const MergeArgs& args) {
  if (exec.device == Device::kCuda) return merge_gpu(exec, args);
  const MergeScratchLayout layout = merge_scratch_layout(*args.world, *args.plan);
  parallel_for(exec, args.rows.num_rows, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    const MergeScratch scratch =
        merge_scratch_at(layout, args.scratch, static_cast<std::uint64_t>(worker_index()));
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      merge_tile_row(solo, *args.world, *args.plan, args, r, scratch);
    }
  });
}

}  // namespace quarry

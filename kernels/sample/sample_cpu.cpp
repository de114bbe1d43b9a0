// sample on the CPU: rows over threads.
#include "kernels/sample/sample.h"

#include "kernels/sample/draw_row.h"

namespace quarry {

std::uint64_t sample_scratch_bytes(const Exec& exec, std::uint32_t num_rows, std::uint32_t draws) {
  const std::uint64_t slots = exec.device == Device::kCuda
                                  ? num_rows
                                  : static_cast<std::uint64_t>(exec.threads > 1 ? exec.threads : 1);
  return slots * sample_row_bytes(draws);
}

void sample(const Exec& exec, const SampleArgs& args) {
  if (exec.device == Device::kCuda) return sample_gpu(exec, args);
  const Branch& branch = args.plan->branches[args.branch];
  parallel_for(exec, args.rows.num_rows, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    const SampleScratch scratch =
        sample_scratch_at(args.scratch, static_cast<std::uint64_t>(worker_index()), branch.draws);
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      args.count[r] = is_bad(args.rows, r) ? 0
                                           : pool_draws_row(solo, *args.world, *args.plan, branch,
                                                            row_context(*args.world, args.rows, r),
                                                            scratch, args.items + r * args.stride);
    }
  });
}

}  // namespace quarry

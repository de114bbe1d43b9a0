// exclude on the CPU: rows over threads.
#include "kernels/exclude/exclude.h"
#include "kernels/exclude/exclude_row.h"

namespace quarry {

void exclude(const Exec& exec, const ExcludeArgs& args) {
  if (exec.device == Device::kCuda) return exclude_gpu(exec, args);
  const Branch& branch = args.plan->branches[args.branch];
  parallel_for(exec, args.rows.num_rows, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      if (is_bad(args.rows, r)) continue;
      const std::uint32_t list = list_of(branch, args.rows, r);
      const std::uint64_t at = list * args.candidates.stride;
      exclude_row(solo, *args.world, *args.plan, branch, row_context(*args.world, args.rows, r),
                  args.candidates.items + at, args.candidates.scores + at,
                  args.candidates.raw_rank != nullptr ? args.candidates.raw_rank + at : nullptr,
                  args.candidates.count[list], args.reasons + r * args.candidates.stride);
    }
  });
}

}  // namespace quarry

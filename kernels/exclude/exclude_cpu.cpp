// exclude on the CPU: rows over threads; what a row's filters look up is prepared once per row.
#include "kernels/exclude/exclude.h"
#include "kernels/exclude/prepared_filters.h"

namespace quarry {

void exclude(const Exec& exec, const ExcludeArgs& args) {
  if (exec.device == Device::kCuda) return exclude_gpu(exec, args);
  const Branch& branch = args.plan->branches[args.branch];
  const FeatureTable* compared = compared_features(*args.world, *args.plan, branch);
  parallel_for(exec, args.rows.num_rows, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    PreparedFilters filters(*args.world, *args.plan, branch);
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      if (is_bad(args.rows, r)) continue;
      const std::uint32_t list = list_of(branch, args.rows, r);
      const std::uint64_t at = list * args.candidates.stride;
      const std::uint32_t count = args.candidates.count[list];
      filters.prepare(row_context(*args.world, args.rows, r), count);
      exclude_row_by(solo, filters, compared, args.candidates.items + at,
                     args.candidates.scores + at,
                     args.candidates.raw_rank != nullptr ? args.candidates.raw_rank + at : nullptr,
                     count, args.reasons + r * args.candidates.stride);
    }
  });
}

}  // namespace quarry

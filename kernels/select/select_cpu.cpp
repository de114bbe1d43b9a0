// select on the CPU: rows over threads, one work area per thread.
#include "kernels/select/select.h"

#include "kernels/select/select_row.h"

namespace quarry {

std::uint64_t select_scratch_bytes(const Exec& exec, std::uint32_t num_rows,
                                   std::uint64_t capacity) {
  const std::uint64_t slots = exec.device == Device::kCuda
                                  ? num_rows
                                  : static_cast<std::uint64_t>(exec.threads > 1 ? exec.threads : 1);
  return slots * capacity * (sizeof(SortEntry) + sizeof(std::uint64_t));
}

void select(const Exec& exec, const SelectArgs& args) {
  if (exec.device == Device::kCuda) return select_gpu(exec, args);
  const Branch& branch = args.plan->branches[args.branch];
  const std::uint64_t capacity = args.out.stride;
  parallel_for(exec, args.rows.num_rows, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    const std::uint64_t slots = exec.threads > 1 ? exec.threads : 1;
    SelectScratch scratch;
    scratch.entries = static_cast<SortEntry*>(args.scratch) + worker_index() * capacity;
    scratch.sums =
        reinterpret_cast<std::uint64_t*>(static_cast<SortEntry*>(args.scratch) + slots * capacity) +
        worker_index() * capacity;
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      if (is_bad(args.rows, r)) continue;
      const std::uint32_t list = list_of(branch, args.rows, r);
      const std::uint64_t at = list * args.candidates.stride;
      const std::uint32_t count = args.candidates.count[list];
      const PoolEnd pool =
          select_row(solo, *args.world, *args.plan, branch, row_context(*args.world, args.rows, r),
                     args.candidates.items + at, args.candidates.scores + at,
                     args.candidates.raw_rank != nullptr ? args.candidates.raw_rank + at : nullptr,
                     count, args.reasons + r * args.candidates.stride, scratch,
                     order_row(args.out, r), &args.out.count[r], &args.out.log_total[r]);
      store_pool_end(args.out, r, branch, pool, count,
                     args.candidates.complete == nullptr || args.candidates.complete[list] != 0);
    }
  });
}

}  // namespace quarry

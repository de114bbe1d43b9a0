// How the arrays of a tile are cut for select_row.h, and the three kernels of select: a warp per
// short row, a block per long one with its work area in shared or in global memory.
#pragma once

#include "kernels/select/select.h"
#include "kernels/select/select_row.h"

namespace quarry {

inline constexpr unsigned kSelectWarpThreads = 128;
inline constexpr unsigned kSelectBlockThreads = 128;
/// Up to this many candidates a warp takes the row.
inline constexpr std::uint64_t kSelectWarpCandidates = 256;

/// Bytes of one row's SelectScratch.
QUARRY_HD std::uint64_t select_row_bytes(std::uint64_t capacity) {
  return capacity * (sizeof(SortEntry) + sizeof(std::uint64_t));
}

/// The work area number `slot` of those that begin at `base`.
QUARRY_HD SelectScratch select_scratch_at(void* base, std::uint64_t slot, std::uint64_t capacity) {
  SelectScratch s;
  s.entries =
      reinterpret_cast<SortEntry*>(static_cast<char*>(base) + slot * select_row_bytes(capacity));
  s.sums = reinterpret_cast<std::uint64_t*>(s.entries + capacity);
  return s;
}

template <class Group>
QUARRY_HD void select_tile_row(Group& g, const World& world, const Plan& plan,
                               const SelectArgs& args, std::uint32_t r,
                               const SelectScratch& scratch) {
  const Branch& branch = plan.branches[args.branch];
  const Candidates& c = args.candidates;
  const std::uint32_t list = list_of(branch, args.rows, r);
  const std::uint64_t at = list * c.stride;
  const std::uint32_t count = c.count[list];
  std::uint32_t num_ordered = 0;
  float log_total = 0.0f;
  const PoolEnd pool = select_row(
      g, world, plan, branch, row_context(world, args.rows, r), c.items + at, c.scores + at,
      c.raw_rank != nullptr ? c.raw_rank + at : nullptr, count, args.reasons + r * c.stride,
      scratch, order_row(args.out, r), &num_ordered, &log_total);
  if (g.rank() == 0) {
    args.out.count[r] = num_ordered;
    args.out.log_total[r] = log_total;
    store_pool_end(args.out, r, branch, pool, count,
                   c.complete == nullptr || c.complete[list] != 0);
  }
}

/// Each file of a kernel has its launcher.
void select_by_warps(const Exec& exec, const SelectArgs& args);
void select_by_blocks(const Exec& exec, const SelectArgs& args);

}  // namespace quarry

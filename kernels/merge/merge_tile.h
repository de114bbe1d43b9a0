// How the arrays of a tile are cut into the views that merge_row.h works on; the same for every
// backend.
#pragma once

#include "kernels/merge/merge.h"
#include "kernels/merge/merge_row.h"

namespace quarry {

/// Bytes and offsets of one row's work area.
struct MergeScratchLayout {
  std::uint64_t picked_capacity;
  std::uint64_t counted_capacity;
  std::uint64_t best, ranges, origins, log_draws, left, carry, available, picked, counted, bytes;
};

QUARRY_HD MergeScratchLayout merge_scratch_layout(const World& world, const Plan& plan) {
  MergeScratchLayout l;
  const std::uint64_t counted = plan.num_levels > 0 ? std::uint64_t{world.num_strata} * plan.k : 0;
  l.picked_capacity = item_set_capacity(plan.k);
  l.counted_capacity = item_set_capacity(counted < world.num_items ? counted : world.num_items);
  bool draws = false;
  for (std::uint32_t b = 0; b < plan.num_branches; ++b) draws = draws || is_draw(plan.branches[b]);
  const std::uint64_t best = draws ? std::uint64_t{enumeration_keep(plan)} + kBestSlack : 0;
  l.best = plan.num_branches * sizeof(BranchRow);
  l.ranges = l.best + best * sizeof(SortEntry);
  l.origins = l.ranges + std::uint64_t{plan.k} * sizeof(DrawRange);
  l.log_draws = l.origins + std::uint64_t{plan.k} * sizeof(PickOrigin);
  l.left = l.log_draws + std::uint64_t{plan.k} * sizeof(float);
  l.carry = l.left + std::uint64_t{world.num_strata} * 4;
  l.available = l.carry + std::uint64_t{world.num_strata} * 4;
  l.picked = l.available + std::uint64_t{world.num_strata} * 4;
  l.counted = l.picked + l.picked_capacity * 4;
  l.bytes = (l.counted + l.counted_capacity * 4 + 15) / 16 * 16;
  return l;
}

QUARRY_HD MergeScratch merge_scratch_at(const MergeScratchLayout& l, void* base,
                                        std::uint64_t slot) {
  char* p = static_cast<char*>(base) + slot * l.bytes;
  MergeScratch s;
  s.branches = reinterpret_cast<BranchRow*>(p);
  s.best = reinterpret_cast<SortEntry*>(p + l.best);
  s.ranges = reinterpret_cast<DrawRange*>(p + l.ranges);
  s.origins = reinterpret_cast<PickOrigin*>(p + l.origins);
  s.log_draws = reinterpret_cast<float*>(p + l.log_draws);
  s.left = reinterpret_cast<std::uint32_t*>(p + l.left);
  s.carry = reinterpret_cast<std::uint32_t*>(p + l.carry);
  s.available = reinterpret_cast<std::uint32_t*>(p + l.available);
  s.picked = {reinterpret_cast<std::uint32_t*>(p + l.picked),
              static_cast<std::uint32_t>(l.picked_capacity - 1)};
  s.counted = {reinterpret_cast<std::uint32_t*>(p + l.counted),
               static_cast<std::uint32_t>(l.counted_capacity - 1)};
  return s;
}

/// A branch's slices of the tile's arrays for row `r`; nothing but the counters of a draw branch.
QUARRY_HD BranchRow branch_row(const Branch& branch, const MergeArgs& args, std::uint32_t b,
                               std::uint32_t r) {
  BranchRow v{};
  if (is_draw(branch)) return v;
  const Candidates& c = args.candidates[b];
  const std::uint32_t list = list_of(branch, args.rows, r);
  const BranchOrder& o = args.order[b];
  v.items = c.items + list * c.stride;
  v.scores = c.scores + list * c.stride;
  v.raw_rank = c.raw_rank != nullptr ? c.raw_rank + list * c.stride : nullptr;
  v.reasons = args.reasons[b] + r * c.stride;
  v.passed = c.passed != nullptr ? c.passed[list] : 0;
  v.count = c.count[list];
  v.complete = c.complete == nullptr || c.complete[list] != 0;
  v.order = order_row(o, r);
  v.pool_size = o.pool_size[r];
  v.num_ordered = o.count[r];
  v.cut = o.cut[r];
  v.cut_survivors = o.cut_survivors[r];
  v.log_total = o.log_total[r];
  return v;
}

/// Picks::floor of a row that is final.
QUARRY_HD float floor_of(const Plan& plan, const MergeArgs& args, std::uint32_t r) {
  float floor = float_of_bits(0x7F800000u);
  for (std::uint32_t b = 0; b < plan.num_branches; ++b) {
    if (plan.branches[b].source != SourceKind::kTopk) continue;
    const Candidates& c = args.candidates[b];
    const std::uint64_t list = list_of(plan.branches[b], args.rows, r);
    const bool complete = c.complete == nullptr || c.complete[list] != 0;
    const std::uint32_t count = c.count[list];
    const float last =
        complete || count == 0 ? float_of_bits(0xFF800000u) : c.scores[list * c.stride + count - 1];
    if (!(last >= floor)) floor = last;  // what is not a number is below nothing
  }
  return floor;
}

/// One row of the tile, from its branches to its picks.
template <class Group>
QUARRY_HD void merge_tile_row(Group& g, const World& world, const Plan& plan, const MergeArgs& args,
                              std::uint32_t r, const MergeScratch& scratch) {
  const std::uint64_t place = place_of(args.rows, r);
  const std::uint64_t at = place * plan.k;
  const PickRow out{
      args.out.item + at,    args.out.raw_rank + at, args.out.survivor_rank + at,
      args.out.stratum + at, args.out.score + at,    args.out.logq + at,
      args.out.branch + at,  args.out.fill + at,     args.out.kappa + place * plan.num_branches};
  if (is_bad(args.rows, r)) {
    for (std::uint32_t i = g.rank(); i < plan.k; i += g.size())
      leave_slot_empty(out, i, FillCode::kBadRow, 0);
    for (std::uint32_t b = g.rank(); b < plan.num_branches; b += g.size())
      out.kappa[b] = float_of_bits(0x7FC00000u);
    if (g.rank() == 0) {
      args.deepen[r] = 0;
      args.out.count[place] = 0;
      args.out.positive_min[place] = float_of_bits(0x7FC00000u);
      args.out.certified[place] = 0;
      if (args.out.floor != nullptr) args.out.floor[place] = float_of_bits(0x7F800000u);
    }
    return;
  }
  bool open = false;
  for (std::uint32_t b = 0; b < plan.num_branches; ++b)
    open = open || (!is_draw(plan.branches[b]) && args.order[b].open[r] != 0);
  for (std::uint32_t b = g.rank(); b < plan.num_branches; b += g.size())
    scratch.branches[b] = branch_row(plan.branches[b], args, b, r);
  DrawTally* tallies = args.tallies + std::uint64_t{r} * plan.num_branches;
  for (std::uint32_t b = g.rank(); b < plan.num_branches; b += g.size()) tallies[b] = DrawTally{};
  g.sync();
  if (open) {
    if (g.rank() == 0) args.deepen[r] = 1;
    return;
  }
  const RowContext row = row_context(world, args.rows, r);
  RowFill<Group> fill(g, world, plan, row, tallies, scratch, out);
  std::uint32_t count = 0;
  const bool final = fill.run(&count);
  if (g.rank() == 0) {
    args.deepen[r] = final ? 0 : 1;
    args.out.count[place] = static_cast<std::uint16_t>(count);
    args.out.positive_min[place] = row.positive_scores[static_cast<int>(PositiveScore::kMin)];
    args.out.certified[place] =
        args.certified == nullptr || args.certified[query_of(args.rows, r)] != 0 ? 1 : 0;
    if (args.out.floor != nullptr) args.out.floor[place] = floor_of(plan, args, r);
  }
}

}  // namespace quarry

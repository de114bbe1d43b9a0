// One row's candidates from its user's list.
#pragma once

#include "kernels/core/group.h"
#include "kernels/gather/gather.h"

namespace quarry {

/// Returns how many there are; the same in every lane. items: room for all of them, or null.
template <class Group>
QUARRY_HD std::uint32_t gather_row(Group& g, const World& world, const Branch& branch,
                                   std::uint32_t user, std::uint32_t* items) {
  const bool run = branch.source == SourceKind::kRun;
  const std::uint64_t* offsets = run ? world.runs[branch.table].offsets : world.exposure.offsets;
  const std::uint32_t* values = run ? world.runs[branch.table].items : world.exposure.values;
  const std::uint64_t begin = offsets[user];
  const std::uint64_t n = offsets[user + 1] - begin;
  std::uint32_t count = 0;
  for (std::uint64_t base = 0; base < n; base += g.size()) {
    const std::uint64_t i = begin + base + g.rank();
    bool wanted = base + g.rank() < n;
    if (wanted && !run) {
      wanted = (branch.class_mask >> world.event_class[i] & 1u) != 0 &&
               world.event_time[i] >= branch.oldest;
    }
    std::uint32_t total = 0;
    const std::uint32_t before = g.scan(wanted ? 1u : 0u, &total);
    if (wanted && items != nullptr) items[count + before] = values[i];
    count += total;
  }
  g.sync();
  return count;
}

template <class Group>
QUARRY_HD void gather_tile_row(Group& g, const World& world, const Plan& plan,
                               const GatherArgs& args, std::uint32_t r) {
  std::uint32_t count = 0;
  if (!is_bad(args.rows, r)) {
    const std::uint32_t user =
        args.rows.user != nullptr ? args.rows.user[place_of(args.rows, r)] : 0;
    count = gather_row(g, world, plan.branches[args.branch], user,
                       args.items != nullptr ? args.items + r * args.stride : nullptr);
  }
  if (g.rank() == 0) args.count[r] = count;
}

}  // namespace quarry

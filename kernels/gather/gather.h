// gather: the candidate lists of branches whose items stand in a user's own list: exposed items,
// and runs.
#pragma once

#include "kernels/core/exec.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

struct GatherArgs {
  const World* world = nullptr;
  const Plan* plan = nullptr;
  RowBatch rows;                   ///< queries and scores are not read
  std::uint32_t branch = 0;        ///< kExposed or kRun
  std::uint64_t stride = 0;        ///< at least the longest list: Branch::capacity is always enough
  std::uint32_t* items = nullptr;  ///< [rows, stride] out, in the list's order; null: count only
  std::uint32_t* count = nullptr;  ///< [rows] out; 0 for bad rows
};

/// Stream-ordered. Cost: one pass over the users' lists.
void gather(const Exec& exec, const GatherArgs& args);
void gather_gpu(const Exec& exec, const GatherArgs& args);

}  // namespace quarry

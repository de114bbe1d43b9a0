// merge: the branches of every row of a tile to its negatives.
#pragma once

#include "kernels/core/exec.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

struct MergeArgs {
  const World* world = nullptr;
  const Plan* plan = nullptr;
  RowBatch rows;
  Candidates candidates[kMaxBranches];             ///< empty for draw branches
  const std::uint8_t* reasons[kMaxBranches] = {};  ///< [rows, candidates.stride]
  BranchOrder order[kMaxBranches];
  const std::uint8_t* certified = nullptr;  ///< [queries] of the search; null: nothing was searched
  DrawTally* tallies = nullptr;             ///< [rows, num_branches] out
  std::uint8_t* deepen = nullptr;     ///< [rows] out, 1: not final, more candidates could change it
  StratumCounters* strata = nullptr;  ///< [num_strata] tally adds here; null: not counted
  Picks out;                          ///< by place
  void* scratch = nullptr;            ///< merge_scratch_bytes(...)
};

/// Stream-ordered. Cost: a walk along the orders of selection, a few collectives per negative.
void merge(const Exec& exec, const MergeArgs& args);
void merge_gpu(const Exec& exec, const MergeArgs& args);
std::uint64_t merge_scratch_bytes(const Exec& exec, const World& world, const Plan& plan,
                                  std::uint32_t num_rows);

}  // namespace quarry

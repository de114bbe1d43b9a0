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
  const std::uint8_t* skip = nullptr;  ///< [rows] 1: leave the row alone; null: none
  DrawTally* tallies = nullptr;        ///< [rows, num_branches] out
  StratumCounters* strata = nullptr;   ///< [num_strata] tally adds here; null: not counted
  Picks out;                           ///< rows with out.deepen = 1 are not final
  void* scratch = nullptr;             ///< merge_scratch_bytes(...)
};

/// Stream-ordered. Cost: a walk along the orders of selection, a few collectives per negative.
void merge(const Exec& exec, const MergeArgs& args);
void merge_gpu(const Exec& exec, const MergeArgs& args);
std::uint64_t merge_scratch_bytes(const Exec& exec, const World& world, const Plan& plan,
                                  std::uint32_t num_rows);

}  // namespace quarry

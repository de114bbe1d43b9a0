// select: the pool of a branch and its order of selection, for every row of a tile.
#pragma once

#include "kernels/exclude/exclude.h"

namespace quarry {

struct SelectArgs {
  const World* world = nullptr;
  const Plan* plan = nullptr;
  RowBatch rows;
  Candidates candidates;
  std::uint32_t branch = 0;
  std::uint8_t* reasons =
      nullptr;  ///< [rows, candidates.stride] in: exclude's; out: survivor windows added
  BranchOrder out;
  void* scratch = nullptr;  ///< select_scratch_bytes(...) in the memory space of exec.device
};

/// Stream-ordered. Cost: one pass over the candidates, one sort of the pool.
void select(const Exec& exec, const SelectArgs& args);
void select_gpu(const Exec& exec, const SelectArgs& args);

/// Work area for rows selected at the same time; `capacity` is BranchOrder::stride.
std::uint64_t select_scratch_bytes(const Exec& exec, std::uint32_t num_rows,
                                   std::uint64_t capacity);

}  // namespace quarry

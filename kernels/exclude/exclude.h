// exclude: a reason code for every candidate of a branch.
#pragma once

#include "kernels/core/exec.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

/// All pointers in the memory space of exec.device; `plan` arrays likewise.
struct ExcludeArgs {
  const World* world = nullptr;  ///< host pointer to a struct of views
  const Plan* plan = nullptr;    ///< likewise
  RowBatch rows;
  Candidates candidates;
  std::uint32_t branch = 0;
  std::uint8_t* reasons =
      nullptr;  ///< [rows, candidates.stride] out: 0 survives, i + 1 rejected by filter i
};

/// Stream-ordered. Cost: one pass over the candidates; similarity filters add one dot product per
/// positive.
void exclude(const Exec& exec, const ExcludeArgs& args);
void exclude_gpu(const Exec& exec, const ExcludeArgs& args);

}  // namespace quarry

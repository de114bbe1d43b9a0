// tally: totals over the final rows of a tile.
#pragma once

#include "kernels/merge/merge.h"

namespace quarry {

/// Adds the final rows (args.deepen = 0) of a merged tile to `totals` and, where
/// it is given, to args.strata, in the memory space of exec.device. Stream-ordered. Integers only:
/// the order of addition cannot matter.
void tally(const Exec& exec, const MergeArgs& args, Counters* totals);
void tally_gpu(const Exec& exec, const MergeArgs& args, Counters* totals);

}  // namespace quarry

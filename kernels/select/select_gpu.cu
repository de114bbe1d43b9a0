// select on a GPU: chooses how many threads share a row.
#include "kernels/select/select_tile.cuh"

namespace quarry {

void select_gpu(const Exec& exec, const SelectArgs& args) {
  if (args.rows.num_rows == 0) return;
  if (args.candidates.stride <= kSelectWarpCandidates) {
    select_by_warps(exec, args);
  } else {
    select_by_blocks(exec, args);
  }
}

}  // namespace quarry

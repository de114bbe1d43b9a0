// score_lists on a GPU: a warp per candidate, its lanes are the accumulators of the exact score.
#include "kernels/core/exact_score_warp.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/score/order_lists.cuh"

namespace quarry {

constexpr unsigned kScoreListsThreads = 256;

__global__ void __launch_bounds__(kScoreListsThreads, 1)
    score_lists_kernel(const __grid_constant__ World world,
                       const __grid_constant__ ScoreArgs args) {
  WarpGroup warp;
  const std::uint64_t places = args.rows.num_rows * args.stride;
  for (std::uint64_t at = warp_of_grid(); at < places; at += warps_in_grid()) {
    const std::uint64_t r = at / args.stride;
    if (at - r * args.stride >= args.count[r]) continue;
    const float* query =
        args.rows.queries +
        std::uint64_t{query_of(args.rows, static_cast<std::uint32_t>(r))} * world.dim;
    const float* item = world.items + std::uint64_t{args.items[at]} * world.dim;
    const float score = exact_score_together(warp, world.metric, query, item, world.dim);
    if (warp.rank() == 0) args.scores[at] = score;
  }
}

void score_lists_gpu(const Exec& exec, const ScoreArgs& args) {
  static_assert(sizeof(World) + sizeof(ScoreArgs) <= kMaxParameterBytes);
  if (args.rows.num_rows == 0 || args.stride == 0) return;
  const DeviceScope scope(exec);
  const unsigned blocks =
      grid_blocks(args.rows.num_rows * args.stride, kScoreListsThreads / kWarpThreads);
  score_lists_kernel<<<blocks, kScoreListsThreads, 0, exec.stream>>>(*args.world, args);
  QUARRY_CUDA(cudaGetLastError());
  if (args.order) order_lists_gpu(exec, args);
}

}  // namespace quarry

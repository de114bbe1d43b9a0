// score_positives on a GPU: a warp per row, its lanes are the accumulators of the exact score.
#include "kernels/core/exact_score_warp.cuh"
#include "kernels/core/launch.cuh"
#include "kernels/score/score.h"
#include "kernels/score/score_row.h"

namespace quarry {

constexpr unsigned kPositivesThreads = 128;

/// Exact score of an item with the row's query, by a warp.
struct WarpScore {
  const World& world;
  const float* query;
  QUARRY_HD float operator()(std::uint32_t item) const {
    WarpGroup warp;
    return exact_score_together(warp, world.metric, query,
                                world.items + std::uint64_t{item} * world.dim, world.dim);
  }
};

__global__ void __launch_bounds__(kPositivesThreads, 1)
    score_positives_kernel(const __grid_constant__ World world, const __grid_constant__ Plan plan,
                           const __grid_constant__ RowBatch rows, float* out) {
  for (std::uint64_t r = warp_of_grid(); r < rows.num_rows; r += warps_in_grid()) {
    if (is_bad(rows, static_cast<std::uint32_t>(r))) continue;
    const RowContext row = row_context(world, rows, static_cast<std::uint32_t>(r));
    float aggregates[kNumPositiveScores];
    positive_scores_row(plan, row, WarpScore{world, row.query}, aggregates);
    if (threadIdx.x % kWarpThreads == 0) {
      for (std::uint32_t a = 0; a < kNumPositiveScores; ++a)
        out[r * kNumPositiveScores + a] = aggregates[a];
    }
  }
}

void score_positives_gpu(const Exec& exec, const World& world, const Plan& plan,
                         const RowBatch& rows, float* out) {
  static_assert(sizeof(World) + sizeof(Plan) + sizeof(RowBatch) + sizeof(out) <=
                kMaxParameterBytes);
  if (rows.num_rows == 0) return;
  const DeviceScope scope(exec);
  const unsigned blocks = grid_blocks(rows.num_rows, kPositivesThreads / kWarpThreads);
  score_positives_kernel<<<blocks, kPositivesThreads, 0, exec.stream>>>(world, plan, rows, out);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

// score on the CPU: rows over threads.
#include "kernels/score/score.h"

#include "kernels/score/score_row.h"

namespace quarry {

void score_positives(const Exec& exec, const World& world, const Plan& plan, const RowBatch& rows,
                     float* out) {
  if (exec.device == Device::kCuda) return score_positives_gpu(exec, world, plan, rows, out);
  parallel_for(exec, rows.num_rows, 64, [&](std::uint64_t begin, std::uint64_t end) {
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      if (is_bad(rows, r)) continue;
      const RowContext row = row_context(world, rows, r);
      positive_scores_row(plan, row, ThreadScore{world, row.query},
                          out + std::uint64_t{r} * kNumPositiveScores);
    }
  });
}

std::uint64_t score_scratch_bytes(const Exec& exec, std::uint32_t num_rows, std::uint64_t stride) {
  const std::uint64_t slots = exec.device == Device::kCuda
                                  ? num_rows
                                  : static_cast<std::uint64_t>(exec.threads > 1 ? exec.threads : 1);
  return slots * stride * sizeof(SortEntry);
}

void score_lists(const Exec& exec, const ScoreArgs& args) {
  if (exec.device == Device::kCuda) return score_lists_gpu(exec, args);
  parallel_for(exec, args.rows.num_rows, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    SortEntry* entries = static_cast<SortEntry*>(args.scratch) + worker_index() * args.stride;
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      const RowContext row = row_context(*args.world, args.rows, r);
      const std::uint64_t at = r * args.stride;
      if (args.order) {
        score_and_order_row(solo, *args.world, row.query, args.count[r], args.items + at,
                            args.scores + at,
                            args.raw_rank != nullptr ? args.raw_rank + at : nullptr, entries);
      } else {
        score_row(solo, *args.world, row.query, args.count[r], args.items + at, args.scores + at);
      }
    }
  });
}

}  // namespace quarry

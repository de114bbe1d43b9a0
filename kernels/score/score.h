// score: exact scores of positives and of candidate lists.
#pragma once

#include "kernels/core/exec.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

/// Aggregated exact scores of every row's positives into out [rows, kNumPositiveScores].
/// Stream-ordered. rows.positive_scores is not read.
void score_positives(const Exec& exec, const World& world, const Plan& plan, const RowBatch& rows,
                     float* out);
void score_positives_gpu(const Exec& exec, const World& world, const Plan& plan,
                         const RowBatch& rows, float* out);

struct ScoreArgs {
  const World* world = nullptr;
  RowBatch rows;
  std::uint64_t stride = 0;
  std::uint32_t* items = nullptr;  ///< [rows, stride] in; out: in key order if `order`
  float* scores = nullptr;         ///< [rows, stride] out
  std::uint32_t* raw_rank =
      nullptr;  ///< [rows, stride] out: former place + 1 where `order`; null: not wanted
  const std::uint32_t* count = nullptr;  ///< [rows]
  bool order = false;                    ///< sort each list by key
  void* scratch = nullptr;               ///< score_scratch_bytes(...) where `order`
};
/// Exact scores of lists. Stream-ordered. Cost: one dot product per candidate.
void score_lists(const Exec& exec, const ScoreArgs& args);
void score_lists_gpu(const Exec& exec, const ScoreArgs& args);
std::uint64_t score_scratch_bytes(const Exec& exec, std::uint32_t num_rows, std::uint64_t stride);

}  // namespace quarry

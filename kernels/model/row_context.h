// One row, gathered from its batch.
#pragma once

#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

struct RowContext {
  std::uint64_t key;
  std::uint32_t user;
  std::uint32_t segment;
  std::int64_t time;
  const float* query;
  const std::uint32_t* positives;
  std::uint32_t num_positives;
  const float* positive_scores;  ///< [kNumPositiveScores]
};

QUARRY_HD RowContext row_context(const World& world, const RowBatch& rows, std::uint32_t row) {
  RowContext c;
  c.key = rows.key[row];
  c.user = rows.user[row];
  c.segment = rows.segment != nullptr ? rows.segment[row] : 0;
  c.time = rows.time != nullptr ? rows.time[row] : INT64_MAX;
  if (c.time == INT64_MAX) c.time = world.as_of;
  c.query = rows.queries + std::uint64_t{rows.query[row]} * world.dim;
  c.positives = rows.positives + rows.positive_offsets[row];
  c.num_positives =
      static_cast<std::uint32_t>(rows.positive_offsets[row + 1] - rows.positive_offsets[row]);
  c.positive_scores = rows.positive_scores + std::uint64_t{row} * kNumPositiveScores;
  return c;
}

QUARRY_HD std::uint32_t stratum_of(const World& world, std::uint32_t item) {
  return world.stratum != nullptr ? world.stratum[item] : 0;
}

}  // namespace quarry

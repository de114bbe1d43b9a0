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
  const std::uint64_t place = place_of(rows, row);
  RowContext c;
  c.key = rows.key[place];
  c.user = rows.user != nullptr ? rows.user[place] : 0;
  c.segment = rows.segment != nullptr ? rows.segment[place] : 0;
  c.time = rows.time != nullptr ? rows.time[place] : INT64_MAX;
  if (c.time == INT64_MAX) c.time = world.as_of;
  c.query = rows.queries + std::uint64_t{query_of(rows, row)} * world.dim;
  c.num_positives = num_positives_of(rows, row);
  c.positives = c.num_positives > 0 ? rows.positives + rows.positive_offsets[place] : nullptr;
  c.positive_scores = rows.positive_scores + std::uint64_t{row} * kNumPositiveScores;
  return c;
}

QUARRY_HD std::uint32_t stratum_of(const World& world, std::uint32_t item) {
  return world.stratum != nullptr ? world.stratum[item] : 0;
}

}  // namespace quarry

// One row: is it sound, and its query vector prepared.
#pragma once

#include "kernels/admit/admit.h"
#include "kernels/core/exact_score.h"

namespace quarry {

template <class Group>
QUARRY_HD void admit_row(Group& g, const World& world, const AdmitArgs& args, std::uint32_t r) {
  const RowBatch& rows = args.rows;
  const std::uint64_t place = place_of(rows, r);
  bool mine = rows.user == nullptr || rows.user[place] < world.num_users;
  const std::uint32_t num_positives = num_positives_of(rows, r);
  for (std::uint32_t p = g.rank(); p < num_positives; p += g.size())
    mine = mine && rows.positives[rows.positive_offsets[place] + p] < world.num_items;
  const std::uint64_t inside = g.min(mine ? 1 : 0);
  bool good = inside != 0;
  if (args.vectors != nullptr) {
    const float* vector = args.vectors + place * world.dim;
    float* query = args.queries + std::uint64_t{r} * world.dim;
    const float squared = exact_score_together(g, Metric::kInnerProduct, vector, vector, world.dim);
    good = good && can_score(squared, world.metric);
    const float norm = world.metric == Metric::kCosine ? sqrtf(squared) : 1.0f;
    for (std::uint32_t i = g.rank(); i < world.dim; i += g.size())
      query[i] = good ? vector[i] / norm : 0.0f;
  }
  if (g.rank() == 0) args.bad[r] = good ? 0 : 1;
  g.sync();
}

}  // namespace quarry

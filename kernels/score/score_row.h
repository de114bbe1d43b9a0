// Exact scores of one row's candidates and positives, and lists put into key order.
#pragma once

#include "kernels/core/philox.h"
#include "kernels/core/sort_row.h"
#include "kernels/model/row_context.h"

namespace quarry {

/// Scores items[0, count) in place of the list, order kept.
template <class Group>
QUARRY_HD void score_row(Group& g, const World& world, const float* query, std::uint32_t count,
                         const std::uint32_t* items, float* scores) {
  for (std::uint32_t j = g.rank(); j < count; j += g.size()) {
    scores[j] = exact_score(world.metric, query, world.items + std::uint64_t{items[j]} * world.dim,
                            world.dim);
  }
  g.sync();
}

/// Sorts items[0, count) and their scores by key, largest first. raw_rank (may be null) gets each
/// candidate's former place + 1. entries: [count].
template <class Group>
QUARRY_HD void order_scored_row(Group& g, std::uint32_t count, std::uint32_t* items, float* scores,
                                std::uint32_t* raw_rank, SortEntry* entries) {
  for (std::uint32_t j = g.rank(); j < count; j += g.size()) {
    entries[j] = {score_key(scores[j], items[j]), items[j], j};
  }
  sort_row(g, entries, count);
  g.sync();
  for (std::uint32_t j = g.rank(); j < count; j += g.size()) {
    items[j] = entries[j].item;
    scores[j] = score_of_key(entries[j].key);
    if (raw_rank != nullptr) raw_rank[j] = entries[j].index + 1;
  }
  g.sync();
}

/// Both: scores items[0, count) with the row's query and sorts by key.
template <class Group>
QUARRY_HD void score_and_order_row(Group& g, const World& world, const float* query,
                                   std::uint32_t count, std::uint32_t* items, float* scores,
                                   std::uint32_t* raw_rank, SortEntry* entries) {
  score_row(g, world, query, count, items, scores);
  order_scored_row(g, count, items, scores, raw_rank, entries);
}

/// Exact score of an item with the row's query, by one thread.
struct ThreadScore {
  const World& world;
  const float* query;
  QUARRY_HD float operator()(std::uint32_t item) const {
    return exact_score(world.metric, query, world.items + std::uint64_t{item} * world.dim,
                       world.dim);
  }
};

/// The aggregates of docs/row_contract.md section 2 over the row's positives, whose scores
/// `score_of(item)` gives; NaN without positives. out: [kNumPositiveScores].
template <class Score>
QUARRY_HD void positive_scores_row(const Plan& plan, const RowContext& row, const Score& score_of,
                                   float* out) {
  if (row.num_positives == 0) {
    for (std::uint32_t a = 0; a < kNumPositiveScores; ++a) out[a] = float_of_bits(0x7FC00000u);
    return;
  }
  float least = 0.0f;
  float most = 0.0f;
  float sum = 0.0f;
  float chosen = 0.0f;
  const std::uint64_t r = as_u64(random_words(plan.key, row.key, 0, 0, Purpose::kRandomPositive));
  const std::uint64_t choice = mulhi(r, row.num_positives);
  for (std::uint32_t p = 0; p < row.num_positives; ++p) {
    const float s = score_of(row.positives[p]);
    if (p == 0 || s < least) least = s;
    if (p == 0 || s > most) most = s;
    sum = sum + s;
    if (p == choice) chosen = s;
  }
  out[static_cast<std::uint32_t>(PositiveScore::kMin)] = least;
  out[static_cast<std::uint32_t>(PositiveScore::kMax)] = most;
  out[static_cast<std::uint32_t>(PositiveScore::kMean)] =
      canonical_score(sum / static_cast<float>(row.num_positives));
  out[static_cast<std::uint32_t>(PositiveScore::kRandom)] = chosen;
}

}  // namespace quarry

// What is looked at one by one on a sample of rows: scores computed again, gaps, diversity.
#pragma once

#include <vector>

#include "host/audit/tally.h"

namespace quarry {

struct Samples {
  std::uint64_t rows = 0, numbers = 0;  ///< numbers compared: scores, least positive scores, gaps
  std::uint64_t wrong_scores = 0, wrong_positive_min = 0, wrong_gaps = 0;
  std::vector<float> scores, gaps, quantiles;  ///< ascending
  double distance_sum = 0;                     ///< of 1 - cosine, over pairs within rows
  std::uint64_t distance_pairs = 0;
  std::uint64_t negatives = 0;      ///< of rows whose user has held-out positives
  std::uint64_t near_held_out = 0;  ///< of them, near-duplicates of one
};

/// About `rows` rows, those with the smallest hashes of their keys: the same ones whatever the
/// threads, and mostly the same in another version. `tables` null: scores, gaps and quantiles only.
/// Throws Cancelled if asked to stop.
Samples sample_set(const NegativeSet& set, const JudgeTables* tables, const HeldOut* held_out,
                   double near_duplicate, double rows, const Exec& exec,
                   const std::atomic<bool>* stop = nullptr);

}  // namespace quarry

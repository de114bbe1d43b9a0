// One row's running top-K: append what beats the threshold, and cut the list back to the K best
// when it is full.
#pragma once

#include <cstdint>

#include "kernels/core/exact_math.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/group.h"
#include "kernels/core/hd.h"

namespace quarry {

/// The threshold before a list has been cut back for the first time: everything beats it.
QUARRY_HD float no_threshold() { return float_of_bits(0x7FC00000u); }

/// Items come in increasing order, so one that ties with the threshold (the K-th best so far) loses
/// by its id. Written so that a NaN on either side passes: a score that cannot be compared is kept
/// until keys decide.
QUARRY_HD bool beats(float score, float threshold) { return !(score <= threshold); }

QUARRY_HD bool is_allowed(const std::uint32_t* allowed, std::uint32_t j) {
  return allowed == nullptr || (allowed[j / 32] >> (j % 32) & 1u) != 0;
}

/// Appends the keys of the allowed items among `first_item .. first_item + n - 1` that beat the
/// threshold, in item order, to `keys[count ...]`, which must have room for n more. Returns the new
/// count. scores: [n]; bias: [n] added to the scores, or null; allowed: bits of the n items, or
/// null for all.
template <class Group>
QUARRY_HD std::uint32_t append_row(Group& g, const float* scores, const float* bias,
                                   std::uint32_t n, std::uint32_t first_item,
                                   const std::uint32_t* allowed, float threshold,
                                   std::uint64_t* keys, std::uint32_t count) {
  for (std::uint32_t base = 0; base < n; base += g.size()) {
    const std::uint32_t j = base + g.rank();
    bool pass = false;
    std::uint64_t key = 0;
    if (j < n) {
      const float score = bias == nullptr ? scores[j] : scores[j] + bias[j];
      pass = beats(score, threshold) && is_allowed(allowed, j);
      key = score_key(clear_negative_zero(score), first_item + j);
    }
    std::uint32_t total = 0;
    const std::uint32_t offset = g.scan(pass ? 1u : 0u, &total);
    if (pass) keys[count + offset] = key;
    count += total;
  }
  g.sync();
  return count;
}

/// The k-th largest of `keys[0, count)`, which are distinct; 1 <= k <= count. The common leading
/// bits are skipped, the others found one by one by counting.
template <class Group>
QUARRY_HD std::uint64_t kth_largest(Group& g, const std::uint64_t* keys, std::uint32_t count,
                                    std::uint32_t k) {
  std::uint64_t least = ~std::uint64_t{0};
  std::uint64_t most = 0;
  for (std::uint32_t j = g.rank(); j < count; j += g.size()) {
    least = keys[j] < least ? keys[j] : least;
    most = keys[j] > most ? keys[j] : most;
  }
  least = g.min(least);
  most = g.max(most);
  int bit = 63;
  while (bit >= 0 && ((least ^ most) >> bit & 1u) == 0) --bit;
  // Largest t with at least k keys >= t; keys are distinct, so this t is the k-th key.
  std::uint64_t t = bit == 63 ? 0 : least >> (bit + 1) << (bit + 1);
  for (; bit >= 0; --bit) {
    const std::uint64_t tried = t | std::uint64_t{1} << bit;
    std::uint32_t reach = 0;
    for (std::uint32_t j = g.rank(); j < count; j += g.size()) reach += keys[j] >= tried ? 1u : 0u;
    reach = g.sum(reach);
    if (reach >= k) t = tried;
  }
  return t;
}

/// Cuts `keys[0, count)` back to its k largest, in any order, and sets the threshold to the score
/// of the smallest of them; a list of fewer than k stays as it is. Returns the new count.
template <class Group>
QUARRY_HD std::uint32_t compact_row(Group& g, std::uint64_t* keys, std::uint32_t count,
                                    std::uint32_t k, float* threshold) {
  if (k == 0) return 0;
  if (count < k) return count;
  const std::uint64_t last = kth_largest(g, keys, count, k);
  std::uint32_t kept = 0;
  for (std::uint32_t base = 0; base < count; base += g.size()) {
    const std::uint32_t j = base + g.rank();
    const std::uint64_t key = j < count ? keys[j] : 0;
    const bool keep = j < count && key >= last;
    g.sync();  // every lane has read its key before a slot at or below it is written
    std::uint32_t total = 0;
    const std::uint32_t offset = g.scan(keep ? 1u : 0u, &total);
    if (keep) keys[kept + offset] = key;
    kept += total;
  }
  g.sync();
  *threshold = score_of_key(last);
  return kept;
}

}  // namespace quarry

// One list of a search becomes exact: scored again, proven to miss nothing, put in key order.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/certify/candidate_lists.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/group.h"
#include "kernels/core/prefetch.h"
#include "kernels/core/sort_row.h"

namespace quarry {

/// No item has this key (item 0xFFFFFFFF names none): the place is empty. Sorts last.
inline constexpr std::uint64_t kNoKey = 0;

QUARRY_HD std::uint64_t bits_of_double(double value) {
#if defined(__CUDA_ARCH__)
  return static_cast<std::uint64_t>(__double_as_longlong(value));
#else
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}
QUARRY_HD double double_of_bits(std::uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return __longlong_as_double(static_cast<long long>(bits));
#else
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

/// items: [n], ascending.
QUARRY_HD bool is_among(const std::uint32_t* items, std::uint32_t n, std::uint32_t item) {
  std::uint32_t low = 0;
  std::uint32_t high = n;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (items[middle] < item) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < n && items[low] == item;
}

/// The candidates of one list, then the heavy items.
struct Candidate {
  const CertifyArgs& args;
  const std::uint64_t* found;  ///< keys of the list
  std::uint32_t count;         ///< of the list

  QUARRY_HD std::uint32_t item(std::uint32_t j) const {
    return j < count ? item_of_key(found[j]) : args.heavy[j - count];
  }
  QUARRY_HD const float* row(std::uint32_t j) const {
    return args.items + std::uint64_t{item(j)} * args.bound.dim;
  }
};

/// Keys of the exact scores of candidates first .. total - 1, a lane per candidate. A block has a
/// form of its own, a warp per candidate (certify_gpu.cu).
template <class Group>
QUARRY_HD void score_candidates(Group& g, const Candidate& candidate, const float* query,
                                std::uint32_t first, std::uint32_t total, std::uint64_t* keys) {
  constexpr std::uint32_t kAhead = 6;
  const ScoreBound& b = candidate.args.bound;
  for (std::uint32_t j = first + g.rank(); j < total; j += g.size()) {
    const std::uint64_t ahead = j + std::uint64_t{kAhead} * g.size();
    if (ahead < total) prefetch_row(candidate.row(static_cast<std::uint32_t>(ahead)), b.dim);
    keys[j] = score_key(exact_score(b.metric, query, candidate.row(j), b.dim), candidate.item(j));
  }
}

/// True if no item that was left out of the list can belong to the best: such an item scores at
/// most cut + offset + error, and strictly less than `last` is strictly behind it, whatever its id.
QUARRY_HD bool misses_nothing(float cut, float last, const QueryBound& bound) {
  const double rounding = (fabs(double{cut}) + fabs(double{last}) + fabs(bound.offset)) * 0x1p-48;
  return double{last} > double{cut} + bound.offset + bound.error + rounding;
}

/// List `list` of args. keys: [lists.depth + num_heavy] for the row alone. Under kApproximate a
/// list that is not proven to hold the k best leaves `out` as it is.
template <class Group>
QUARRY_HD void certify_row(Group& g, const CertifyArgs& args, std::uint32_t list,
                           std::uint64_t* keys) {
  const bool approximate = args.kind == ListKind::kApproximate;
  const float* query = args.queries + std::uint64_t{list} * args.bound.dim;
  const Candidate candidate{args, args.lists.keys + std::uint64_t{list} * args.lists.depth,
                            args.lists.count[list]};
  const std::uint32_t listed = candidate.count;
  const std::uint32_t total = listed + (approximate ? args.num_heavy : 0);
  const bool exact =
      args.kind == ListKind::kExact || (args.lists.exact != nullptr && args.lists.exact[list] != 0);
  const std::uint32_t scored = exact ? listed : 0;
  for (std::uint32_t j = g.rank(); j < scored; j += g.size()) keys[j] = candidate.found[j];
  if (scored < total) score_candidates(g, candidate, query, scored, total, keys);
  QueryBound bound;
  if (approximate && g.rank() == 0) bound = query_bound(args.bound, query);
  const std::uint64_t offset_bits = g.broadcast(bits_of_double(bound.offset), 0);
  const std::uint64_t error_bits = g.broadcast(bits_of_double(bound.error), 0);
  bound.offset = double_of_bits(offset_bits);
  bound.error = double_of_bits(error_bits);
  g.sync();

  // A heavy item in the list leaves it, for it is also behind it; every other score must keep the
  // bound.
  std::uint32_t dropped = 0;
  std::uint32_t outside = 0;
  for (std::uint32_t j = g.rank(); approximate && j < listed; j += g.size()) {
    // Of an exact score with itself it is 0, and the offset too.
    const double difference = fabs(double{score_of_key(candidate.found[j])} + bound.offset -
                                   double{score_of_key(keys[j])});
    if (is_among(args.heavy, args.num_heavy, candidate.item(j))) {
      keys[j] = kNoKey;
      ++dropped;
    } else if (!(difference <= bound.error)) {
      ++outside;
    }
  }
  dropped = g.sum(dropped);
  outside = g.sum(outside);
  sort_keys(g, keys, total);
  g.sync();

  const std::uint32_t known = total - dropped;
  const std::uint32_t passed = args.lists.passed != nullptr ? args.lists.passed[list] : 0;
  // What is passed over is in no list.
  const std::uint32_t there = args.num_items - passed;
  std::uint32_t wanted = args.k < there ? args.k : there;
  const std::uint32_t most = wanted;
  const bool whole = known + passed == args.num_items;  // nothing was left out
  const bool partial = approximate && !whole && args.lists.left_out[list] != 0;
  if (partial && args.lists.needed != nullptr && args.lists.needed[list] < wanted)
    wanted = args.lists.needed[list];
  bool write = !approximate;
  if (approximate && known >= wanted) {
    write = whole;
    if (partial && wanted > 0 && outside == 0)
      write = misses_nothing(args.lists.cut[list], score_of_key(keys[wanted - 1]), bound);
  }
  // Where a goal says how much is needed, what else is proven is worth having.
  const bool longer = partial && write && args.lists.needed != nullptr;
  std::uint32_t end = total < most ? total : most;
  for (std::uint32_t j = wanted + g.rank(); j < (longer ? end : 0); j += g.size()) {
    if (!misses_nothing(args.lists.cut[list], score_of_key(keys[j]), bound)) end = j;
  }
  const auto proven = static_cast<std::uint32_t>(g.min(end));
  if (longer) wanted = proven;

  const std::uint32_t row = args.rows != nullptr ? args.rows[list] : args.first_row + list;
  const std::uint64_t to = std::uint64_t{row} * args.k;
  std::uint32_t distinct = 0;
  for (std::uint32_t base = 0; base < (write ? total : 0); base += g.size()) {
    const std::uint32_t j = base + g.rank();
    const bool fresh = j < total && keys[j] != kNoKey && (j == 0 || keys[j] != keys[j - 1]);
    std::uint32_t here = 0;
    const std::uint32_t before = g.scan(fresh ? 1u : 0u, &here);
    const std::uint32_t place = distinct + before;
    if (fresh && place < wanted) {
      args.out.items[to + place] = item_of_key(keys[j]);
      args.out.scores[to + place] = score_of_key(keys[j]);
    }
    distinct += here;
  }
  if (g.rank() == 0) {
    if (approximate) args.proven[list] = write ? 1 : 0;
    if (write) {
      const std::uint32_t count = distinct < wanted ? distinct : wanted;
      const bool unproven = args.kind == ListKind::kUnproven;
      // Unproven and shorter than asked for: what the index reaches is exhausted.
      const bool exhausted = distinct < args.k || (args.whole && distinct == args.k);
      args.out.count[row] = count;
      args.out.complete[row] = count + passed == args.num_items || (unproven && exhausted) ? 1 : 0;
      if (args.out.passed != nullptr) args.out.passed[row] = passed;
      if (args.out.certified != nullptr) args.out.certified[row] = unproven ? 0 : 1;
    }
  }
  g.sync();  // the next row may use the same keys
}

}  // namespace quarry

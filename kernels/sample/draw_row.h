// Draws from what a user's lists leave of the catalogue, without rejection (docs/row_contract.md
// section 5).
#pragma once

#include "kernels/core/best_row.h"
#include "kernels/core/group.h"
#include "kernels/core/philox.h"
#include "kernels/model/row_context.h"

namespace quarry {

/// One stratum of a draw space as one row sees it: positions [begin, end), of which the user's
/// excluded entries [lo, hi) are taken out; `weight` is what is left.
struct DrawRange {
  std::uint32_t stratum = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  std::uint64_t lo = 0;
  std::uint64_t hi = 0;
  std::uint64_t weight = 0;
};

/// First place in sorted values[lo, hi) that is not below `value`.
template <class T>
QUARRY_HD std::uint64_t lower_place(const T* values, std::uint64_t lo, std::uint64_t hi, T value) {
  while (lo < hi) {
    const std::uint64_t middle = lo + (hi - lo) / 2;
    if (values[middle] < value) {
      lo = middle + 1;
    } else {
      hi = middle;
    }
  }
  return lo;
}

QUARRY_HD std::uint64_t weight_before(const DrawSpace& space, std::uint32_t position) {
  return space.cumulative != nullptr ? space.cumulative[position] : position;
}

/// Weight of the user's excluded entries in [lo, j), absolute places in excluded.values.
QUARRY_HD std::uint64_t excluded_weight(const DrawSpace& space, std::uint64_t lo, std::uint64_t j) {
  if (space.excluded_before == nullptr || j == lo) return j - lo;
  const std::uint32_t last = space.excluded.values[j - 1];
  const std::uint64_t own = space.cumulative[last + 1] - space.cumulative[last];
  return space.excluded_before[j - 1] + own - space.excluded_before[lo];
}

QUARRY_HD DrawRange draw_range(const DrawSpace& space, const RowContext& row,
                               std::uint32_t stratum) {
  DrawRange r;
  r.stratum = stratum;
  r.begin = space.stratum_begin[stratum];
  r.end = space.stratum_begin[stratum + 1];
  if (space.arrival_at != nullptr && row.time != INT64_MAX) {
    r.end = static_cast<std::uint32_t>(
        lower_place<std::int64_t>(space.arrival_at, r.begin, r.end, row.time + 1));
  }
  r.weight = weight_before(space, r.end) - weight_before(space, r.begin);
  if (space.excluded.offsets != nullptr) {
    const std::uint64_t from = space.excluded.offsets[row.user];
    const std::uint64_t to = space.excluded.offsets[row.user + 1];
    r.lo = lower_place<std::uint32_t>(space.excluded.values, from, to, r.begin);
    r.hi = lower_place<std::uint32_t>(space.excluded.values, r.lo, to, r.end);
    r.weight -= excluded_weight(space, r.lo, r.hi);
  }
  return r;
}

/// Position of the entry at `offset` (< weight) in the cumulative weight of what is left of the
/// range.
QUARRY_HD std::uint32_t position_at(const DrawSpace& space, const DrawRange& range,
                                    std::uint64_t offset) {
  const std::uint64_t base = weight_before(space, range.begin);
  // Excluded entries before the wanted one: those with no more than `offset` left before them.
  std::uint64_t low = range.lo;
  std::uint64_t high = range.hi;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    const std::uint64_t before = weight_before(space, space.excluded.values[middle]) - base -
                                 excluded_weight(space, range.lo, middle);
    if (before <= offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const std::uint64_t target = base + offset + excluded_weight(space, range.lo, low);
  if (space.cumulative == nullptr) return static_cast<std::uint32_t>(target);
  // The last position whose weight-before is not above the target.
  std::uint64_t first = range.begin;
  std::uint64_t last = range.end;
  while (last - first > 1) {
    const std::uint64_t middle = first + (last - first) / 2;
    if (space.cumulative[middle] <= target) {
      first = middle;
    } else {
      last = middle;
    }
  }
  return static_cast<std::uint32_t>(first);
}

/// True if `position` is one of the user's excluded entries within the range.
QUARRY_HD bool is_excluded(const DrawSpace& space, const DrawRange& range, std::uint32_t position) {
  if (range.lo == range.hi) return false;
  const std::uint64_t at =
      lower_place<std::uint32_t>(space.excluded.values, range.lo, range.hi, position);
  return at < range.hi && space.excluded.values[at] == position;
}

/// Weight of an item in what the row may draw from; 0 if it may not be drawn.
QUARRY_HD std::uint64_t draw_weight(const DrawSpace& space, const RowContext& row,
                                    std::uint32_t item) {
  const std::uint32_t position = space.position_of[item];
  if (position == kNoItem) return 0;
  if (space.arrival_at != nullptr && space.arrival_at[position] > row.time) return 0;
  if (space.excluded.offsets != nullptr) {
    const std::uint64_t from = space.excluded.offsets[row.user];
    const std::uint64_t n = space.excluded.offsets[row.user + 1] - from;
    if (find_sorted(space.excluded.values + from, n, position) < n) return 0;
  }
  return weight_before(space, position + 1) - weight_before(space, position);
}

/// Total weight left to the row over all strata.
template <class Group>
QUARRY_HD std::uint64_t total_draw_weight(Group& g, const DrawSpace& space, const RowContext& row) {
  std::uint64_t mine = 0;
  for (std::uint32_t s = g.rank(); s < space.num_strata; s += g.size())
    mine += draw_range(space, row, s).weight;
  return g.sum64(mine);
}

/// Set of items by open addressing; capacity is a power of two above the number of entries, up to
/// 2^32. Written by lane 0 only.
struct ItemSet {
  std::uint32_t* slots = nullptr;  ///< [capacity], kNoItem = free
  std::uint32_t mask = 0;          ///< capacity - 1

  QUARRY_HD static std::uint32_t spread(std::uint32_t item) {
    return item * 0x9E3779B1u ^ item >> 15;
  }
  QUARRY_HD bool has(std::uint32_t item) const {
    for (std::uint32_t at = spread(item) & mask;; at = (at + 1) & mask) {
      if (slots[at] == item) return true;
      if (slots[at] == kNoItem) return false;
    }
  }
  /// False if it was there.
  QUARRY_HD bool insert(std::uint32_t item) const {
    std::uint32_t at = spread(item) & mask;
    for (; slots[at] != kNoItem; at = (at + 1) & mask) {
      if (slots[at] == item) return false;
    }
    slots[at] = item;
    return true;
  }
};
/// Slots for up to 2^32 - 2 entries: at most half full where 32 bits can address that.
QUARRY_HD std::uint64_t item_set_capacity(std::uint64_t entries) {
  std::uint64_t capacity = 8;
  while (capacity < entries * 2 && capacity < std::uint64_t{1} << 32) capacity *= 2;
  return capacity;
}
template <class Group>
QUARRY_HD void clear(Group& g, const ItemSet& set) {
  for (std::uint64_t i = g.rank(); i <= set.mask; i += g.size()) set.slots[i] = kNoItem;
  g.sync();
}

/// Work area of one row of a `pool` branch.
struct SampleScratch {
  SortEntry* best = nullptr;  ///< [draws + kBestSlack]
  ItemSet seen;               ///< room for `draws`
};
QUARRY_HD std::uint64_t sample_row_bytes(std::uint32_t draws) {
  return (std::uint64_t{draws} + kBestSlack) * sizeof(SortEntry) +
         item_set_capacity(draws) * sizeof(std::uint32_t);
}
/// The work area number `slot` of those that begin at `base`.
QUARRY_HD SampleScratch sample_scratch_at(void* base, std::uint64_t slot, std::uint32_t draws) {
  SampleScratch s;
  char* p = static_cast<char*>(base) + slot * sample_row_bytes(draws);
  s.best = reinterpret_cast<SortEntry*>(p);
  s.seen.slots =
      reinterpret_cast<std::uint32_t*>(p + (std::uint64_t{draws} + kBestSlack) * sizeof(SortEntry));
  s.seen.mask = static_cast<std::uint32_t>(item_set_capacity(draws) - 1);
  return s;
}

/// Distinct draws for a `pool` branch: items[0, n) in draw order. Returns n found.
template <class Group>
QUARRY_HD std::uint32_t pool_draws_row(Group& g, const World& world, const Plan& plan,
                                       const Branch& branch, const RowContext& row,
                                       const SampleScratch& scratch, std::uint32_t* items) {
  const ItemSet& seen = scratch.seen;
  const DrawSpace& space = world.draws[branch.draw];
  const DrawRange range = draw_range(space, row, 0);
  const std::uint32_t wanted = branch.draws;
  clear(g, seen);
  std::uint32_t found = 0;
  // Draws depend on earlier ones only through repeats, so one lane makes them; the others wait.
  if (g.rank() == 0 && range.weight > 0) {
    const std::uint64_t bound = std::uint64_t{16} * wanted + 64;
    for (std::uint64_t j = 0; j < bound && found < wanted; ++j) {
      const PhiloxWords z = random_words(plan.key, row.key, static_cast<std::uint32_t>(j),
                                         branch.hash, Purpose::kPoolDraw);
      const std::uint32_t item =
          space.item_at[position_at(space, range, mulhi(as_u64(z), range.weight))];
      if (seen.insert(item)) items[found++] = item;
    }
  }
  found = static_cast<std::uint32_t>(g.broadcast(found, 0));
  g.sync();
  if (range.weight == 0 || found == wanted) return found;
  // Enumeration of the rest, only when draws ran out.
  BestEntries<Group> best(g, scratch.best, wanted - found);
  for (std::uint64_t base = range.begin; base < range.end; base += g.size()) {
    const std::uint64_t p = base + g.rank();
    SortEntry entry{0, 0, 0};
    bool take = false;
    if (p < range.end) {
      entry.item = space.item_at[p];
      entry.key = as_u64(
          random_words(plan.key, row.key, entry.item, branch.hash, Purpose::kPoolEnumeration));
      take = best.can_enter(entry) && !is_excluded(space, range, static_cast<std::uint32_t>(p)) &&
             !seen.has(entry.item);
    }
    best.offer(take, entry);
  }
  const std::uint32_t rest = best.finish();
  for (std::uint32_t i = g.rank(); i < rest; i += g.size()) items[found + i] = scratch.best[i].item;
  g.sync();
  return found + rest;
}

}  // namespace quarry

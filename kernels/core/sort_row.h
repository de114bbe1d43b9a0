// Sorting within one row by its group: entries descending by key, then ascending by item, or bare
// keys. Total on distinct items, so every group width gives the same order.
#pragma once

#if !defined(__CUDA_ARCH__)
#include <algorithm>
#endif
#include <cstdint>
#include <type_traits>

#include "kernels/core/group.h"
#include "kernels/core/hd.h"

namespace quarry {

/// One entry of a row's order: what it is sorted by, whose it is, and where it came from.
struct SortEntry {
  std::uint64_t key;
  std::uint32_t item;
  std::uint32_t index;
};

QUARRY_HD bool goes_before(const SortEntry& a, const SortEntry& b) {
  return a.key != b.key ? a.key > b.key : a.item != b.item ? a.item < b.item : a.index < b.index;
}

/// Sorts `values[0, n)` in place, those that go before others to the front. Any n: the bitonic
/// network runs on the next power of two with absent values taken as last, which its compare
/// direction never moves forward. Starts and ends with a sync.
template <class Group, class Value, class Before>
QUARRY_HD void sort_row_by(Group& g, Value* values, std::uint32_t n, Before before) {
#if !defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<Group, SoloGroup>) {
    std::sort(values, values + n, before);
    return;
  }
#endif
  std::uint32_t padded = 1;
  while (padded < n) padded *= 2;
  g.sync();
  // Merge steps that always order (low index first): the first stage of each merge mirrors, the
  // others stride, so no comparison is reversed and values beyond n stay put.
  for (std::uint32_t width = 2; width <= padded; width *= 2) {
    for (std::uint32_t stride = width / 2; stride > 0; stride /= 2) {
      for (std::uint32_t t = g.rank(); t < padded / 2; t += g.size()) {
        const std::uint32_t block = t / stride;
        const std::uint32_t within = t % stride;
        const std::uint32_t low = block * 2 * stride + within;
        const std::uint32_t high =
            stride == width / 2 ? block * 2 * stride + (2 * stride - 1 - within) : low + stride;
        if (high < n && before(values[high], values[low])) {
          const Value moved = values[low];
          values[low] = values[high];
          values[high] = moved;
        }
      }
      g.sync();
    }
  }
}

struct EntryGoesBefore {
  QUARRY_HD bool operator()(const SortEntry& a, const SortEntry& b) const {
    return goes_before(a, b);
  }
};
template <class Group>
QUARRY_HD void sort_row(Group& g, SortEntry* entries, std::uint32_t n) {
  sort_row_by(g, entries, n, EntryGoesBefore{});
}

struct KeyGoesBefore {
  QUARRY_HD bool operator()(std::uint64_t a, std::uint64_t b) const { return a > b; }
};
/// Largest key first.
template <class Group>
QUARRY_HD void sort_keys(Group& g, std::uint64_t* keys, std::uint32_t n) {
  sort_row_by(g, keys, n, KeyGoesBefore{});
}

}  // namespace quarry

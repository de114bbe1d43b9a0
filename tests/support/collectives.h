// Conformance of a Group: one text that uses every collective and sorts rows, for groups of the
// host and of a device, and what plain loops say it must leave behind.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/core/exec.h"
#include "kernels/core/hd.h"
#include "kernels/core/sort_row.h"

namespace quarry::test {

inline constexpr std::uint32_t kCollectiveRounds = 5;

QUARRY_HD std::uint32_t lane_value32(std::uint32_t lane, std::uint32_t round) {
  return (lane + 1) * 2654435761u + round * 40503u;
}
QUARRY_HD std::uint64_t lane_value64(std::uint32_t lane, std::uint32_t round) {
  return (std::uint64_t{lane} + 7) * 0x9E3779B97F4A7C15u ^ std::uint64_t{round} << 40;
}

/// What one lane got from a round of every collective. No padding, so that bytes can be compared.
struct Collectives {
  std::uint32_t rank, size, sum, scan, scan_total, after_sync;
  std::uint64_t sum64, min, max, broadcast;
  bool operator==(const Collectives&) const = default;
};

/// Every collective in a row, without a barrier of the caller's between them, kCollectiveRounds
/// times. out: [size, kCollectiveRounds]; shared: [size], written by all and read by all.
template <class Group>
QUARRY_HD void use_collectives(Group& g, std::uint32_t* shared, Collectives* out) {
  for (std::uint32_t round = 0; round < kCollectiveRounds; ++round) {
    Collectives c;
    c.rank = g.rank();
    c.size = g.size();
    c.sum = g.sum(lane_value32(g.rank(), round));
    c.scan = g.scan(lane_value32(g.rank(), round) & 0xFFFFu, &c.scan_total);
    c.sum64 = g.sum64(lane_value64(g.rank(), round));
    c.min = g.min(lane_value64(g.rank(), round));
    c.max = g.max(lane_value64(g.rank(), round));
    c.broadcast = g.broadcast(lane_value64(g.rank(), round), round % g.size());
    shared[g.rank()] = lane_value32(g.rank(), round);
    g.sync();
    c.after_sync = 0;
    for (std::uint32_t l = 0; l < g.size(); ++l) c.after_sync += shared[l];
    g.sync();
    out[g.rank() * kCollectiveRounds + round] = c;
  }
}

inline Collectives expected_collectives(std::uint32_t lane, std::uint32_t width,
                                        std::uint32_t round) {
  Collectives c{lane, width, 0, 0, 0, 0, 0, UINT64_MAX, 0, lane_value64(round % width, round)};
  for (std::uint32_t l = 0; l < width; ++l) {
    const std::uint64_t wide = lane_value64(l, round);
    c.sum += lane_value32(l, round);
    c.after_sync += lane_value32(l, round);
    if (l < lane) c.scan += lane_value32(l, round) & 0xFFFFu;
    c.scan_total += lane_value32(l, round) & 0xFFFFu;
    c.sum64 += wide;
    c.min = wide < c.min ? wide : c.min;
    c.max = wide > c.max ? wide : c.max;
  }
  return c;
}

/// Lengths of the rows that sort_rows sorts, and how many keys they hold: any, one, few.
inline constexpr std::uint32_t kSortLengths = 10;
inline constexpr std::uint32_t kSortKeyRanges = 3;
QUARRY_HD std::uint32_t sort_length(std::uint32_t i) {
  constexpr std::uint32_t kLengths[kSortLengths] = {0, 1, 2, 3, 31, 32, 33, 65, 100, 1025};
  return kLengths[i];
}
QUARRY_HD std::uint32_t sort_key_range(std::uint32_t i) {
  constexpr std::uint32_t kRanges[kSortKeyRanges] = {0, 1, 5};
  return kRanges[i];
}

/// Entry `i` of the row of length n. Items are distinct and not in index order; extreme keys and
/// many ties on purpose.
QUARRY_HD SortEntry sort_entry(std::uint32_t n, std::uint32_t key_range, std::uint32_t i) {
  const std::uint64_t z =
      (std::uint64_t{n} * 77 + key_range + i * 6364136223846793005u) * 0x9E3779B97F4A7C15u;
  SortEntry e{key_range == 0 ? z : (z >> 33) % key_range, i * 7919u % 1000003u, i};
  if (i % 50 == 3) e.key = i % 100 == 3 ? 0 : UINT64_MAX;
  return e;
}

/// Fills row[0, n] and sorts the first n entries; the entry behind the row must stay. sort_row has
/// its own barrier in front.
template <class Group>
QUARRY_HD void sort_one_row(Group& g, std::uint32_t n, std::uint32_t key_range, SortEntry* row) {
  for (std::uint32_t i = g.rank(); i <= n; i += g.size()) row[i] = sort_entry(n, key_range, i);
  sort_row(g, row, n);
}

/// Every length and key range, one row behind the other; the last is followed by nothing.
template <class Group>
QUARRY_HD void sort_rows(Group& g, SortEntry* rows) {
  for (std::uint32_t l = 0; l < kSortLengths; ++l) {
    for (std::uint32_t r = 0; r < kSortKeyRanges; ++r) {
      sort_one_row(g, sort_length(l), sort_key_range(r), rows);
      rows += sort_length(l) + 1;
    }
  }
}

inline std::vector<SortEntry> expected_row(std::uint32_t n, std::uint32_t key_range) {
  std::vector<SortEntry> row;
  for (std::uint32_t i = 0; i <= n; ++i) row.push_back(sort_entry(n, key_range, i));
  std::sort(row.begin(), row.end() - 1, [](const SortEntry& a, const SortEntry& b) {
    if (a.key != b.key) return a.key > b.key;
    return a.item < b.item;
  });
  return row;
}
inline std::vector<SortEntry> expected_rows() {
  std::vector<SortEntry> rows;
  for (std::uint32_t l = 0; l < kSortLengths; ++l) {
    for (std::uint32_t r = 0; r < kSortKeyRanges; ++r) {
      const std::vector<SortEntry> row = expected_row(sort_length(l), sort_key_range(r));
      rows.insert(rows.end(), row.begin(), row.end());
    }
  }
  return rows;
}
/// First place where two lists of entries differ, or their common size.
inline std::size_t first_difference(const std::vector<SortEntry>& a,
                                    const std::vector<SortEntry>& b) {
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && a[i].key == b[i].key && a[i].item == b[i].item &&
         a[i].index == b[i].index) {
    ++i;
  }
  return i;
}

/// Builds with CUDA only: use_collectives and sort_rows by one group. width: 32 runs WarpGroup, 128
/// and 256 BlockGroup. On the device: shared [width], out [width, kCollectiveRounds], rows as
/// expected_rows(). Stream-ordered.
void run_collectives(const Exec& exec, std::uint32_t width, std::uint32_t* shared, Collectives* out,
                     SortEntry* rows);

}  // namespace quarry::test

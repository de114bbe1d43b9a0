// World: everything a row is judged against, as read-only views in one memory space. Made once per
// run by the host.
#pragma once

#include <cstdint>

#include "kernels/core/exact_score.h"
#include "kernels/core/hd.h"
#include "kernels/core/ids.h"

namespace quarry {

/// For each user a sorted list without repeats. offsets: [num_users + 1]; values:
/// [offsets[num_users]].
struct UserLists {
  const std::uint64_t* offsets = nullptr;
  const std::uint32_t* values = nullptr;
};

/// For each user a number per item, items sorted. offsets: [num_users + 1]; items, values:
/// [offsets[num_users]].
struct PairTable {
  const std::uint64_t* offsets = nullptr;
  const std::uint32_t* items = nullptr;
  const float* values = nullptr;
};

/// Unit rows for cosine similarity of items. rows: [num_items, dim].
struct FeatureTable {
  const float* rows = nullptr;
  std::uint32_t dim = 0;
};

/// What a draw branch draws from (docs/row_contract.md section 5). Positions run in (stratum, first
/// seen, item) order.
struct DrawSpace {
  const std::uint32_t* item_at = nullptr;  ///< [size]
  const std::uint64_t* cumulative =
      nullptr;  ///< [size + 1] sums of integer weights; null: every weight is 1
  const std::uint32_t* stratum_begin = nullptr;  ///< [num_strata + 1] positions
  const std::int64_t* arrival_at =
      nullptr;  ///< [size] first seen; null: no time filter on the branch
  const std::uint32_t* position_of =
      nullptr;         ///< [num_items] position, kNoItem for items outside the space
  UserLists excluded;  ///< positions, not items; offsets null: nothing is excluded
  const std::uint64_t* excluded_before =
      nullptr;  ///< aligned with excluded.values: weight of the user's earlier entries
  std::uint32_t size = 0;
  std::uint32_t num_strata = 1;
};

/// For each user a list in an order of its own. offsets: [num_users + 1]; items:
/// [offsets[num_users]].
struct OrderedLists {
  const std::uint64_t* offsets = nullptr;
  const std::uint32_t* items = nullptr;
};

inline constexpr std::uint32_t kMaxUserLists = 12;
inline constexpr std::uint32_t kMaxPairTables = 4;
inline constexpr std::uint32_t kMaxFeatureTables = 4;
inline constexpr std::uint32_t kMaxBitmaps = 4;
inline constexpr std::uint32_t kMaxDrawSpaces = 6;

struct World {
  Metric metric = Metric::kInnerProduct;
  std::uint32_t dim = 0;
  std::uint32_t num_items = 0;
  std::uint32_t num_users = 0;
  std::uint32_t num_strata = 1;
  std::uint32_t num_columns = 0;
  std::int64_t as_of = INT64_MAX;             ///< stands in for the time of rows that have none
  const float* items = nullptr;               ///< [num_items, dim], unit rows under kCosine
  const std::uint32_t* stratum = nullptr;     ///< [num_items]; null: one stratum
  const std::uint32_t* columns = nullptr;     ///< [num_columns, num_items] codes, 0 = empty
  const std::int64_t* first_seen = nullptr;   ///< [num_items]; null: always there
  const std::int64_t* retired = nullptr;      ///< [num_items]; null: never
  const std::uint32_t* popularity = nullptr;  ///< [num_items] positive counts up to as_of
  const std::uint8_t* event_class =
      nullptr;  ///< aligned with exposure.values; ExposureClass of the pair
  const std::int64_t* event_time =
      nullptr;                     ///< aligned with exposure.values; latest event of the pair
  UserLists exposure;              ///< every item of a user that has a class
  UserLists lists[kMaxUserLists];  ///< items or codes a filter looks up
  PairTable pairs[kMaxPairTables];
  OrderedLists runs[kMaxPairTables];  ///< items of pairs[i] by (value descending, item ascending)
  FeatureTable features[kMaxFeatureTables];
  const std::uint32_t* bitmaps[kMaxBitmaps] = {};  ///< [ceil(num_items / 32)] words
  DrawSpace draws[kMaxDrawSpaces];
};

/// Place of `value` in sorted `values[0, n)`, or n if it is not there.
QUARRY_HD std::uint64_t find_sorted(const std::uint32_t* values, std::uint64_t n,
                                    std::uint32_t value) {
  std::uint64_t low = 0;
  std::uint64_t high = n;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (values[middle] < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < n && values[low] == value ? low : n;
}

QUARRY_HD bool contains(const UserLists& lists, std::uint32_t user, std::uint32_t value) {
  const std::uint64_t begin = lists.offsets[user];
  const std::uint64_t n = lists.offsets[user + 1] - begin;
  return find_sorted(lists.values + begin, n, value) < n;
}

/// Value of (user, item) if the table has one.
QUARRY_HD bool look_up(const PairTable& table, std::uint32_t user, std::uint32_t item,
                       float* value) {
  const std::uint64_t begin = table.offsets[user];
  const std::uint64_t n = table.offsets[user + 1] - begin;
  const std::uint64_t at = find_sorted(table.items + begin, n, item);
  if (at == n) return false;
  *value = table.values[begin + at];
  return true;
}

QUARRY_HD bool is_marked(const std::uint32_t* bitmap, std::uint32_t item) {
  return (bitmap[item >> 5] >> (item & 31u) & 1u) != 0;
}

}  // namespace quarry

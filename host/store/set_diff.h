// What differs between the rows of two negative sets: rows joined by their keys, wherever they
// stand.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/store/negative_set.h"

namespace quarry {

struct DiffOptions {
  std::uint64_t rows = 5;    ///< changed rows to list, those with the least in common first
  std::uint64_t items = 10;  ///< items to list on either side
  const std::atomic<bool>* stop = nullptr;
};

/// How much of the negatives of rows is in both sets. A row's overlap is Jaccard's: negatives in
/// both, divided by those in either, repeats counted; 1 where neither has any.
struct Overlap {
  std::uint64_t rows = 0;                           ///< rows of both
  std::uint64_t kept = 0, dropped = 0, gained = 0;  ///< negatives of these rows
  double mean = 0;
  /// Of the rows' overlaps: the d-th is the least that d + 1 tenths of the rows do not exceed.
  std::array<double, 9> deciles = {};
};

/// Slots, by what `name` says, of all rows.
struct SlotCount {
  std::string name;
  std::uint64_t a = 0, b = 0;
};

struct ItemChange {
  std::uint32_t item = 0;
  std::uint64_t a = 0, b = 0;  ///< slots of all rows
};

struct ChangedRow {
  std::uint64_t row_a = 0, row_b = 0;
  double overlap = 0;
  std::vector<std::uint32_t> dropped, gained;  ///< items, ascending
};

struct SetDiff {
  /// Every row of one is the row of the other at its place, in every column; k, branches and strata
  /// are the same.
  bool identical = false;
  std::uint64_t rows_a = 0, rows_b = 0;
  std::uint64_t common = 0, only_a = 0, only_b = 0;
  std::uint64_t repeated_keys = 0;  ///< rows of either whose key an earlier row has
  std::uint64_t moved = 0;          ///< common rows at another place

  // Common rows are one of these.
  std::uint64_t equal = 0;           ///< in every column
  std::uint64_t same_negatives = 0;  ///< in the same order, but other columns differ
  std::uint64_t reordered = 0;       ///< the same negatives in another order
  std::uint64_t changed = 0;         ///< other negatives

  /// Common rows in which the column differs, of columns where some do. Branches and strata are
  /// compared by name.
  std::vector<std::pair<std::string, std::uint64_t>> columns;

  std::optional<Overlap> overlap;  ///< nothing without common rows
  std::vector<std::pair<std::string, Overlap>> by_branch;

  // Negatives of common rows that are in both, with finite scores: |score in b - score in a|.
  std::uint64_t scored = 0;
  double mean_change = 0, largest_change = 0;

  std::vector<SlotCount> branches, strata, fill;
  std::vector<ItemChange> gained, lost;
  std::vector<ChangedRow> rows;
};

/// Holds 16 bytes per row of one set at a time, and 16 per item. Throws Cancelled if asked to stop.
SetDiff diff_sets(const NegativeSet& a, const NegativeSet& b, const DiffOptions& options = {});

}  // namespace quarry

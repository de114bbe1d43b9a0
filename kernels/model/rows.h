// Rows in flight: the inputs of a tile, its candidates, and what comes out. Plain views in one
// memory space.
#pragma once

#include <cstdint>

#include "kernels/model/plan.h"

namespace quarry {

/// The training rows of a tile: some of the rows of a caller's call, whose arrays are read in
/// place. Row r of the tile is row place_of(batch, r) of the call.
struct RowBatch {
  std::uint32_t num_rows = 0;  ///< of the tile
  std::uint32_t num_queries = 0;
  std::uint32_t first = 0;               ///< place of row 0 where `index` is null
  const std::uint32_t* index = nullptr;  ///< [rows] places; null: first, first + 1 ...
  // By place in the call.
  const std::uint64_t* key = nullptr;      ///< row keys
  const std::uint32_t* user = nullptr;     ///< user index; null: user 0
  const std::int64_t* time = nullptr;      ///< null: the end of time
  const std::uint32_t* segment = nullptr;  ///< code of the segment column, 0 = none; null: none
  const std::uint64_t* positive_offsets = nullptr;  ///< one more than places; null: no positives
  const std::uint32_t* positives = nullptr;         ///< item indices
  // By row of the tile.
  const std::uint8_t* bad = nullptr;     ///< [rows] 1: cannot be mined, left alone; null: none
  const std::uint32_t* query = nullptr;  ///< [rows] row of `queries`; null: query r is of row r
  const float* queries = nullptr;        ///< [num_queries, dim], unit rows under kCosine
  const float* positive_scores =
      nullptr;  ///< [rows, kNumPositiveScores]; not read for rows without positives
};

QUARRY_HD std::uint64_t place_of(const RowBatch& rows, std::uint32_t row) {
  return rows.index != nullptr ? rows.index[row] : std::uint64_t{rows.first} + row;
}
QUARRY_HD std::uint32_t query_of(const RowBatch& rows, std::uint32_t row) {
  return rows.query != nullptr ? rows.query[row] : row;
}
QUARRY_HD bool is_bad(const RowBatch& rows, std::uint32_t row) {
  return rows.bad != nullptr && rows.bad[row] != 0;
}
QUARRY_HD std::uint32_t num_positives_of(const RowBatch& rows, std::uint32_t row) {
  if (rows.positive_offsets == nullptr) return 0;
  const std::uint64_t place = place_of(rows, row);
  return static_cast<std::uint32_t>(rows.positive_offsets[place + 1] -
                                    rows.positive_offsets[place]);
}

/// List of candidates that a row reads: its query's for topk, its own otherwise.
QUARRY_HD std::uint32_t list_of(const Branch& branch, const RowBatch& rows, std::uint32_t row) {
  return branch.source == SourceKind::kTopk ? query_of(rows, row) : row;
}

/// The candidates of one branch for a tile, in key order (kTopk, kExposed, kPool, kBatch, kQueue)
/// or source order (kRun, kNear). Candidate j of list l is at l * stride + j; a row's list is its
/// query for kTopk, else the row itself.
struct Candidates {
  std::uint64_t stride = 0;
  const std::uint32_t* items = nullptr;     ///< [lists, stride]
  const float* scores = nullptr;            ///< [lists, stride] exact scores
  const std::uint32_t* raw_rank = nullptr;  ///< [lists, stride]; null: passed + place + 1
  /// [lists] items that rank ahead of every survivor and are not listed: the branch's first ceiling
  /// of scores rejects them, and no filter before it; null: none.
  const std::uint32_t* passed = nullptr;
  const std::uint32_t* count = nullptr;  ///< [lists]
  const std::uint8_t* complete =
      nullptr;  ///< [lists] 1: nothing further exists for this list; null: all complete
};

/// What select leaves for merge: the pool, its order of selection, and where the pool ends.
struct BranchOrder {
  std::uint64_t stride = 0;             ///< >= pool capacity, and >= k for draws with replacement
  std::uint32_t* pool_place = nullptr;  ///< [rows, stride] candidate places, in candidate order
  std::uint32_t* pool_survivor_rank = nullptr;  ///< [rows, stride] aligned with pool_place
  float* pool_log_weight = nullptr;             ///< [rows, stride] phi, aligned with pool_place
  std::uint32_t* order = nullptr;      ///< [rows, stride] pool indices in order of selection
  float* sampling_key = nullptr;       ///< [rows, stride] phi + gumbel, aligned with order
  std::uint32_t* pool_size = nullptr;  ///< [rows]
  std::uint32_t* count = nullptr;      ///< [rows] entries of order
  std::uint32_t* cut = nullptr;        ///< [rows] candidates that count as examined
  std::uint32_t* cut_survivors =
      nullptr;                   ///< [rows] survivors (before a survivor window) among them
  float* log_total = nullptr;    ///< [rows] logsumexp of phi over the pool
  std::uint8_t* open = nullptr;  ///< [rows] 1: the pool needs candidates beyond those given
};

/// What happened to the draws of one draw branch in one row.
struct DrawTally {
  std::uint32_t examined = 0;
  std::uint32_t repeats = 0;
  std::uint32_t refused = 0;
  std::uint32_t enumerated = 0;
  std::uint32_t unscored = 0;
  std::uint32_t rejected[kMaxFilters] = {};
};

/// What comes out, k slots for each row of the call, by place. Written for rows that are not final
/// too, and written again when they are.
struct Picks {
  std::uint32_t* item = nullptr;           ///< [rows, k] kNoItem in empty slots
  float* score = nullptr;                  ///< [rows, k]
  std::uint8_t* branch = nullptr;          ///< [rows, k] 0xFF in empty slots
  std::uint32_t* raw_rank = nullptr;       ///< [rows, k] 0 = not ranked
  std::uint32_t* survivor_rank = nullptr;  ///< [rows, k] 0 = not ranked
  std::uint32_t* stratum = nullptr;        ///< [rows, k]; of an empty slot: the one that lacks it
  float* logq = nullptr;                   ///< [rows, k] NaN: deterministic pick
  std::uint8_t* fill = nullptr;            ///< [rows, k] FillCode
  std::uint16_t* count = nullptr;          ///< [rows] filled slots
  float* kappa = nullptr;                  ///< [rows, branches]
  float* positive_min = nullptr;           ///< [rows] NaN without positives
  std::uint8_t* certified = nullptr;       ///< [rows] 1: what was searched for it is proven exact
  /// [rows] The row's negatives depend on no searched item whose exact score is below this: -inf
  /// where all were looked at, +inf where none was searched for. Where a search ends depends on how
  /// it was done, so this is no part of the result. Null: not wanted.
  float* floor = nullptr;
};

/// Totals over rows; one 64-bit integer each, so the order of addition cannot matter.
struct BranchCounters {
  std::uint64_t examined = 0;  ///< candidates up to the cut; draws for draw branches
  std::uint64_t rejected[kMaxFilters] = {};
  std::uint64_t pool = 0;
  std::uint64_t picked = 0;
  std::uint64_t repeats = 0;  ///< draws that hit an item already picked
  std::uint64_t refused = 0;  ///< draws refused by a cap
  std::uint64_t enumerated_rows = 0;
  std::uint64_t unscored = 0;  ///< candidates and draws whose score is not finite
  std::uint64_t inert_rows =
      0;  ///< rows without positives where filters relative to a positive did nothing
};
/// Slots of one stratum by FillCode: filled ones first, then the missing by reason.
struct StratumCounters {
  std::uint64_t slots[kNumFillCodes] = {};
};
struct Counters {
  std::uint64_t rows = 0;
  std::uint64_t requested = 0;
  std::uint64_t emitted = 0;
  std::uint64_t missing[kNumFillCodes] = {};
  BranchCounters branch[kMaxBranches];
};

}  // namespace quarry

// How the CPU forms of topk cut the work and score a tile. Private to kernels/topk.
#pragma once

#include "kernels/topk/topk.h"

namespace quarry {

/// Fewer rows than this per worker leave the GEMM slow: the item table is split among workers
/// instead.
inline constexpr std::uint32_t kMinRowsPerWorker = 32;

inline std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; }

/// Rows whose scores are looked for before they are read: their items are fetched meanwhile.
inline constexpr std::uint32_t kTopkGroupRows = kInt8Rows;

/// Scores of one row and the items of a tile, without the bias.
struct ScoredRow {
  const float* scores = nullptr;
  /// Item of the tile of each score, ascending; null: all of them, in order. What has no place does
  /// not beat the threshold, or is passed.
  const std::uint32_t* places = nullptr;
  std::uint32_t count = 0;   ///< scores
  std::uint32_t passed = 0;  ///< items that are surely above bounds.pass_above, and may count
};

/// Scores of a block of rows against one tile of items after another, strip by strip of the rows,
/// so that they are read while they are in cache. Holds nothing: the work areas are the worker's.
class TileScorer {
 public:
  TileScorer(const TopkItems& items, TopkWorkspace::Worker& work, std::uint32_t block_rows);
  TileScorer(const TileScorer&) = delete;  // packed_info_ points into it
  TileScorer& operator=(const TileScorer&) = delete;
  /// Sizes the work areas of a worker for blocks of so many rows.
  static void reserve(const Exec& exec, const TopkItems& items, std::uint32_t block_rows,
                      TopkWorkspace::Worker& work);
  /// kInt8: the next rows of the strip are looked at by bounds.
  bool by_bounds() const { return by_bounds_; }
  std::uint32_t strip_rows() const { return strip_rows_; }
  /// Items of a tile, a multiple of 32: kTopkTileItems, or fewer of wide ones.
  std::uint32_t tile_items() const { return tile_items_; }
  /// queries: [m, dim], m <= block_rows.
  void begin_block(const float* queries, std::uint32_t m);
  /// Of the rows before, bounds excluded too little for long.
  bool bounds_failed() const { return work_.int8_pause >= kFailedPause; }
  /// Nearly all rows have a threshold, so that bounds exclude much of the first tile.
  void rows_have_thresholds() { pause_ = 0; }
  /// Items `item .. item + n - 1`, n <= tile_items().
  void begin_tile(std::uint32_t item, std::uint32_t n);
  /// Rows first .. first + rows - 1 of the block; `first` is a multiple of strip_rows().
  void begin_strip(std::uint32_t first, std::uint32_t rows);
  /// Row `place` of the strip against the tile, for lists within `bounds`. To be called for the
  /// rows of a group in order before row() is; groups are of kTopkGroupRows rows and in order too.
  void look(std::uint32_t place, const TopkBounds& bounds);
  /// What was found. Valid until the next call.
  ScoredRow row(std::uint32_t place);
  /// kInt8: rows of the block from `first` on, a multiple of kInt8Rows, as many as that or to its
  /// end, against those of items.int8_sample at `at`, a multiple of 32, and following, n <=
  /// tile_items().
  void begin_sample_group(std::uint32_t first, std::uint32_t at, std::uint32_t n);
  /// Row `place` of them: int8_lower_bounds, with the bias.
  const float* sample_row(std::uint32_t place, float ceiling, const std::uint32_t* counts);
  /// Likewise how many of the n items bounds leave open.
  std::uint32_t sample_reaching(std::uint32_t place, const TopkBounds& bounds);
  /// Whether what bounds leave open of so many pairs takes less time than all pairs do in fp32.
  bool bounds_pay(std::uint64_t open, std::uint64_t pairs) const;
  /// What is to be added to the scores of the tile; null: nothing.
  const float* bias() const;

 private:
  void multiply(std::uint32_t place);
  void begin_int8_group(std::uint32_t place);
  void leave_bounds_unless_they_pay(std::uint32_t place);
  void pack_tile();
  std::uint32_t& next_pause() { return work_.int8_pause; }

  static constexpr std::uint32_t kFailedPause = 8;

  const TopkItems& items_;
  TopkWorkspace::Worker& work_;
  std::uint32_t strip_rows_;
  std::uint32_t tile_items_;
  const float* queries_ = nullptr;
  std::uint32_t item_ = 0;
  std::uint32_t n_ = 0;
  std::uint32_t first_ = 0, rows_ = 0;  ///< of the strip, or of a group of the sample
  std::uint32_t block_rows_ = 0;        ///< of the queries of this block
  // kInt8: bounds are left out while they exclude too little.
  bool by_bounds_ = false;                   ///< the rows of the strip from here on
  Int8Found found_[kTopkGroupRows];          ///< of the rows of the group
  const std::uint8_t* packed_ = nullptr;     ///< the tile; null: not yet
  Int8Items packed_info_;                    ///< of the tile
  float largest_norm_[kTopkTileItems / 32];  ///< likewise, of 32 items each
  float largest_residual_[kTopkTileItems / 32];
  std::uint32_t scored_ = 0;  ///< pairs of the group that were not excluded
  std::int64_t gained_ = 0;   ///< by bounds so far, in pairs of fp32
  std::uint32_t pause_ = 0;   ///< strips without bounds
};

/// Room of a running list for `keep` entries, what is appended between two cuts, and one tile.
std::uint32_t list_capacity(std::uint32_t items, std::uint32_t keep);

/// Rows of a block, each with `entries` of running lists; `spread`: the blocks are all the work
/// there is for the workers.
std::uint32_t block_rows(const Exec& exec, const TopkItems& items, std::uint32_t rows,
                         std::uint64_t entries, bool spread);

}  // namespace quarry

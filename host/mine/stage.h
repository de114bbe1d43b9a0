// Stage: the rows of a tile and their negatives, in host memory and where the kernels run.
#pragma once

#include "host/mine/miner.h"
#include "host/mine/placement.h"
#include "host/mine/tile.h"

namespace quarry {

/// Takes a slice of host rows to the Exec and its negatives back. On the CPU both are used in
/// place. Buffers are kept, so a loop over tiles allocates nothing once warm.
class HostStage {
 public:
  /// Rows [first, first + count) of `rows`, and room in `out` for their negatives.
  TileJob load(const Exec& exec, const RowsView& rows, std::uint64_t first, std::uint32_t count,
               std::uint32_t dim, NegativeBatch& out);
  /// Waits, and copies the negatives of the rows loaded last into `out`.
  void store(const Exec& exec, NegativeBatch& out);

 private:
  template <class Move>
  void for_each_column(NegativeBatch& out, Move&& move);

  TileArray<std::uint64_t> key_, positive_offsets_;
  TileArray<std::uint32_t> user_, segment_, positives_;
  TileArray<std::int64_t> time_;
  TileArray<float> queries_;
  TileArray<std::uint32_t> item_, raw_rank_, survivor_rank_, stratum_;
  TileArray<float> score_, logq_, kappa_, positive_min_, floor_;
  TileArray<std::uint8_t> branch_, fill_, certified_;
  TileArray<std::uint16_t> count_;
};

/// What a caller of mine_batch leaves out: columns that were not asked for, and host copies of what
/// the host must read.
class CallerStage {
 public:
  /// `rows` and `out` in the memory of the Exec.
  TileJob load(const Exec& exec, const RowsView& rows, const Picks& out, std::uint32_t k,
               std::uint32_t num_branches, bool needs_positives);

 private:
  HostBuffer<std::uint32_t> user_, positives_;
  HostBuffer<std::uint64_t> positive_offsets_;
  TileArray<std::uint32_t> item_, raw_rank_, survivor_rank_, stratum_;
  TileArray<float> score_, logq_, kappa_, positive_min_;
  TileArray<std::uint8_t> branch_, fill_, certified_;
  TileArray<std::uint16_t> count_;
};

}  // namespace quarry

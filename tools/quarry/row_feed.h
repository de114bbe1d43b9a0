// Feeds a range of the run's rows to the Miner, a block at a time, and gives rows of users without
// a usable embedding their empty answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "host/mine/miner.h"
#include "host/store/negative_set.h"
#include "tools/quarry/load_inputs.h"

namespace quarry {

/// Codes of the rows' segments in the recipe's segment column; empty if the rows have none.
std::vector<std::uint32_t> segment_codes(const RowTable& rows, const Miner& miner);
/// Rows as the Miner takes them. Borrows both.
RowsView view_of(const RowTable& rows, const std::vector<std::uint32_t>& segments);

class RowFeed {
 public:
  /// A batch, the place of its first row in the range, and its rows, valid during the call.
  using Sink = std::function<void(const NegativeBatch&, std::uint64_t, const SetRows&)>;

  /// Rows [begin, end) of inputs.rows; k of the recipe. Borrows `inputs` and `miner`.
  RowFeed(const Inputs& inputs, Miner& miner, std::uint32_t k, std::uint64_t begin,
          std::uint64_t end);

  /// Mines the range; every row reaches `sink` in order.
  void mine(const Sink& sink, const std::atomic<bool>* stop);

  /// Rows met so far whose user cannot be scored: k empty slots each, code bad_row.
  std::uint64_t bad_rows() const { return bad_rows_; }
  /// Rows mined whose segment no item has.
  std::uint64_t unknown_segments() const { return unknown_segments_; }

 private:
  void mine_block(const Sink& sink, const std::atomic<bool>* stop);
  void leave_out_bad_rows();

  const Inputs& inputs_;
  Miner& miner_;
  std::uint32_t k_;
  std::uint64_t begin_, end_;
  std::uint64_t at_ = 0;  ///< rows of the range before the block
  std::uint64_t bad_rows_ = 0, unknown_segments_ = 0;
  RowTable block_;
  std::vector<std::uint64_t> bad_;  ///< places in the block, ascending
  RowTable kept_;                   ///< the block without them, if there are any
};

}  // namespace quarry

// Feeds a range of the run's rows to the Miner, a block at a time, gives rows of users without a
// usable embedding their empty answer, and takes over rows of an earlier version that stand.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "host/mine/miner.h"
#include "host/mine/reuse.h"
#include "host/store/negative_set.h"
#include "host/store/version_basis.h"
#include "tools/quarry/load_inputs.h"

namespace quarry {

/// Codes of the rows' segments in the recipe's segment column; empty if the rows have none.
std::vector<std::uint32_t> segment_codes(const RowTable& rows, const Miner& miner);
/// Rows as the Miner takes them. Borrows both.
RowsView view_of(const RowTable& rows, const std::vector<std::uint32_t>& segments);

/// Where rows may be taken from instead of being mined. Borrowed.
struct TakeOver {
  EarlierVersion* from = nullptr;
  Reuse* reuse = nullptr;  ///< without obstacles
};

class RowFeed {
 public:
  /// A batch, the place of its first row in the range, and its rows, valid during the call.
  using Sink = std::function<void(const NegativeBatch&, std::uint64_t, const SetRows&)>;

  /// Rows [begin, end) of inputs.rows; k of the recipe. Borrows all. With `dependence` the sink
  /// gets SetRows::depends; a TakeOver needs it.
  RowFeed(const Inputs& inputs, Miner& miner, std::uint32_t k, std::uint64_t begin,
          std::uint64_t end, const Dependence* dependence = nullptr,
          const TakeOver* takeover = nullptr);

  /// Mines the range; every row reaches `sink` in order.
  void mine(const Sink& sink, const std::atomic<bool>* stop);
  /// Rows of the range that would be mined.
  std::uint64_t count_to_mine(const std::atomic<bool>* stop);

  /// Rows met so far whose user cannot be scored: k empty slots each, code bad_row.
  std::uint64_t bad_rows() const { return bad_rows_; }
  /// Rows mined whose segment no item has.
  std::uint64_t unknown_segments() const { return unknown_segments_; }
  /// Rows taken over, and all that their columns tell of counters.
  std::uint64_t taken_rows() const { return taken_.counters.rows; }
  const MinerReport& taken() const { return taken_; }

 private:
  /// A row that is not mined; where it comes from.
  struct Special {
    std::uint64_t row;    ///< of the block
    std::uint64_t place;  ///< of the earlier version; kBad: it is left out
  };

  void each_block(const std::atomic<bool>* stop, const std::function<void()>& visit);
  void mine_block(const Sink& sink, const std::atomic<bool>* stop);
  void find_bad_rows();
  void find_standing_rows();
  void collect_rows_to_mine();
  NegativeBatch take(std::size_t first, std::size_t count);

  const Inputs& inputs_;
  Miner& miner_;
  std::uint32_t k_;
  std::uint64_t begin_, end_;
  const Dependence* dependence_;
  const TakeOver* takeover_;
  std::uint64_t at_ = 0;  ///< rows of the range before the block
  std::uint64_t bad_rows_ = 0, unknown_segments_ = 0;
  MinerReport taken_;
  RowTable block_;
  std::vector<std::uint64_t> depends_;  ///< of the block's rows
  std::vector<Special> special_;        ///< ascending
  RowTable kept_;                       ///< the block without them, if there are any
};

}  // namespace quarry

// Feeds a range of the loaded rows to the Miner, and gives rows of users without a usable embedding
// their empty answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "host/mine/miner.h"
#include "tools/quarry/load_inputs.h"

namespace quarry {

class RowFeed {
 public:
  /// Rows [begin, end) of inputs.rows; k of the recipe. Borrows `inputs` and `miner`.
  RowFeed(const Inputs& inputs, Miner& miner, std::uint32_t k, std::uint64_t begin,
          std::uint64_t end);

  /// Mines the range; every row reaches `sink` in order, batch.first_row counted from `begin`.
  void mine(const std::function<void(const NegativeBatch&)>& sink, const std::atomic<bool>* stop);

  /// Rows whose user cannot be scored: k empty slots each, code bad_row.
  std::uint64_t bad_rows() const { return bad_.size(); }

 private:
  RowsView direct_view();
  RowsView compacted_view();

  const Inputs& inputs_;
  Miner& miner_;
  std::uint32_t k_;
  std::uint64_t begin_, end_;
  std::vector<std::uint64_t> bad_;  ///< places in the range, ascending
  std::vector<std::uint32_t> segment_;
  // Used only if some rows are left out.
  std::vector<std::uint64_t> key_, offsets_;
  std::vector<std::uint32_t> user_, kept_segment_, positives_;
  std::vector<std::int64_t> time_;
};

}  // namespace quarry

// Feeds a range of the run's rows to the Miner, a block at a time, gives rows of users without a
// usable embedding their empty answer, and takes over rows of an earlier version that stand. Where
// it was decided before which rows are to be mined, it feeds those alone, or puts those that were
// mined elsewhere between the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "host/mine/miner.h"
#include "host/mine/reuse.h"
#include "host/store/negative_set.h"
#include "host/store/version_basis.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/row_marks.h"

namespace quarry {

/// Codes of the rows' segments in the recipe's segment column; empty if the rows have none.
std::vector<std::uint32_t> segment_codes(const RowTable& rows, const Miner& miner);
/// Rows as the Miner takes them. Borrows both.
RowsView view_of(const RowTable& rows, const std::vector<std::uint32_t>& segments);

/// Where rows may be taken from instead of being mined. Borrowed.
struct TakeOver {
  EarlierVersion* from = nullptr;     ///< null: rows that are not mined reach no sink
  Reuse* reuse = nullptr;             ///< decides which; without obstacles
  const RowMarks* to_mine = nullptr;  ///< decided before, of the rows of the inputs
};

/// Of --host-memory, what the rows of a stretch may take.
inline constexpr std::uint64_t kStretchShare = 8;

class RowFeed {
 public:
  /// A batch, the place of its first row in the range, and its rows, valid during the call.
  using Sink = std::function<void(const NegativeBatch&, std::uint64_t, const SetRows&)>;

  /// Rows [begin, end) of inputs.rows; k of the recipe. Borrows all. With `dependence` the sink
  /// gets SetRows::depends; a TakeOver that decides needs it. block_rows: rows read at a time, of
  /// which stretches are made up; 0: tiles enough. stretch_bytes: what the rows of a stretch may
  /// take before it ends, but for its last block; 0: whatever they take.
  RowFeed(const Inputs& inputs, Miner& miner, std::uint32_t k, std::uint64_t begin,
          std::uint64_t end, const Dependence* dependence = nullptr,
          const TakeOver* takeover = nullptr, std::uint64_t block_rows = 0,
          std::uint64_t stretch_bytes = 0);

  /// Mines the range; every row reaches `sink` in order.
  void mine(const Sink& sink, const std::atomic<bool>* stop);

  /// Lists of a tile and the keys of its rows, valid during the call.
  using FoundSink = std::function<void(const FoundLists&, const std::uint64_t*)>;
  /// Miner::find of the rows that mine() would mine, in order.
  void find(const FoundSink& sink, const std::atomic<bool>* stop);

  /// The same in stretches, each of one block, or of so many that there are enough rows to mine for
  /// searches that are not small. Judges the next one; its rows, 0 at the end of the range.
  std::uint64_t begin_stretch(const std::atomic<bool>* stop);
  void mine_stretch(const Sink& sink, const std::atomic<bool>* stop);
  /// Marks the rows of the stretch that are to be mined.
  void mark_rows_to_mine(RowMarks& marks) const;

  using MinedSink = std::function<void(const NegativeBatch&)>;
  /// From here on rows to mine come from `source`, which hands the answers of the rows it is given
  /// to the sink, in order. Nobody counts them here.
  void take_mined(std::function<void(const RowsView&, const MinedSink&)> source) {
    source_ = std::move(source);
  }
  /// Rows of the stretch that are not taken over.
  std::uint64_t rows_to_mine() const { return stretch_rows_ - special_.size(); }

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
    std::uint64_t row;    ///< of the stretch
    std::uint64_t place;  ///< of the earlier version; kBad: left out; kPassedOver: not asked for
  };
  class Emission;
  struct ToMine {
    const RowTable& rows;
    std::vector<std::uint32_t> segments;
  };
  ToMine to_mine() const;

  const RowTable& block() const { return blocks_.back(); }
  std::vector<Special> bad_rows_of_block() const;
  void hash_block(const std::vector<Special>& bad, std::vector<RowFacts>& facts);
  std::vector<Special> standing_rows(const std::vector<Special>& bad,
                                     const std::vector<RowFacts>& facts);
  std::vector<Special> decided_rows(const std::vector<Special>& bad);
  void keep_rows_to_mine(const std::vector<Special>& special);
  NegativeBatch take(std::size_t first, std::size_t count);

  const Inputs& inputs_;
  Miner& miner_;
  std::uint32_t k_;
  std::uint64_t begin_, end_;
  const Dependence* dependence_;
  const TakeOver* takeover_;
  std::uint64_t block_rows_, stretch_bytes_;
  std::uint64_t at_ = 0;            ///< rows of the range before the stretch
  std::uint64_t stretch_rows_ = 0;  ///< rows of the stretch
  std::uint64_t bad_rows_ = 0, unknown_segments_ = 0;
  MinerReport taken_;
  std::function<void(const RowsView&, const MinedSink&)> source_;  ///< null: they are mined
  // Of the stretch:
  std::vector<RowTable> blocks_;
  std::uint64_t block_first_ = 0;  ///< the place of the last block's first row
  std::vector<std::uint64_t> depends_;
  std::vector<Special> special_;  ///< ascending
  RowTable kept_;                 ///< rows to mine, unless they are the one block there is
  std::vector<std::uint32_t> kept_segments_;
  bool whole_block_ = true;
};

}  // namespace quarry

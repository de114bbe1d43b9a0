// How much an approximate retriever loses: a sample of the rows of a run is mined again with the
// exact one.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "host/mine/miner.h"

namespace quarry {

/// A share of what was wanted, with a 95 % interval (Wilson). What is wanted falls into rows, and
/// rows differ more than chance would have it; the interval is that of as many independent trials
/// as have the variance that is seen between rows.
struct RecallShare {
  std::uint64_t found = 0;
  std::uint64_t wanted = 0;
  double share = 1;  ///< found / wanted; 1 where nothing was wanted
  double low = 0, high = 1;
};

/// found[r] of wanted[r] in row r, put together. Rows that want nothing count for nothing.
RecallShare recall_share(const std::vector<std::uint32_t>& found,
                         const std::vector<std::uint32_t>& wanted);

struct RecallReport {
  std::uint64_t rows = 0;   ///< rows that were mined a second time
  std::uint32_t depth = 0;  ///< K: Miner::pool_depth()
  /// Of the K items that rank first for a row's query, before any filter: those among the K that
  /// the retriever ranks first. By item: of items with equal scores the smaller ids are wanted.
  RecallShare candidates;
  RecallShare negatives;         ///< of the exact answer's negatives: those that the row has too
  RecallShare ranked_negatives;  ///< of those that a topk branch picked
  double seconds = 0;            ///< what it took to find out
};

/// Which rows of a run are mined a second time: those with the smallest hashes of their keys, so
/// that neither tiles nor threads nor the order of the rows choose. Keeps the negatives of these
/// rows, and nothing of the others.
class RecallSample {
 public:
  /// `most` rows at most.
  explicit RecallSample(std::uint32_t most) : most_(most) {}
  std::uint32_t most() const { return most_; }
  /// A batch of the run: row r of it has the key keys[r] ([batch.num_rows]) and is row
  /// first_row + r of the run. Rows that cannot be mined (code kBadRow) are passed over.
  void offer(const NegativeBatch& batch, const std::uint64_t* keys, std::uint64_t first_row);
  /// Rows of the run that are sampled, ascending.
  std::vector<std::uint64_t> rows() const;
  /// Mines them again with an exact retriever, and compares. `rows` are those that rows() names, in
  /// that order, in host memory; `miner` is the one whose batches were offered. Throws as
  /// Miner::mine, Cancelled at a stop.
  RecallReport measure(Miner& miner, const RowsView& rows,
                       const std::atomic<bool>* stop = nullptr) const;

 private:
  struct Row {
    std::uint64_t hash = 0, row = 0;
    std::vector<std::uint32_t> negatives;  ///< ascending
  };
  std::vector<const Row*> by_row() const;

  std::uint32_t most_;
  std::vector<Row> heap_;  ///< the largest (hash, row) first
};

}  // namespace quarry

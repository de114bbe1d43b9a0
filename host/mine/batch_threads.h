// As many threads as a batch has work for.
#pragma once

#include "host/mine/state.h"

namespace quarry {

/// While it lives the miner takes fewer threads if a batch is over before others
/// have begun: starting and awaiting them at each step of a batch would then be most of its time,
/// and more on a busy machine. The rule goes by work alone, and no result depends on it.
class BatchThreads {
 public:
  /// `rows` bring what the recipe needs.
  BatchThreads(Miner::State& s, const RowsView& rows);
  ~BatchThreads();
  BatchThreads(const BatchThreads&) = delete;
  BatchThreads& operator=(const BatchThreads&) = delete;

 private:
  Miner::State& s_;
};

}  // namespace quarry

// A Miner as Python has it: owns its inputs, serves several threads one after the other, hears
// Ctrl-C.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "host/mine/miner.h"
#include "python/bind/loaded_inputs.h"

namespace quarry {

/// A process was forked after its parent had mined: the threads of the parent are not in it, and
/// waiting for them would never end.
struct ForkError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Threads of miners that are made from now on; 0: as many as the process may use. Throws
/// ConfigError outside of 0 to 4096.
void set_default_threads(int threads);
/// What a miner made now would take.
int default_threads();

class BoundMiner {
 public:
  /// `pause` is called now and then, without locks that it could wait for, and may throw.
  using Pause = std::function<void()>;

  BoundMiner(const MinerRequest& request, const Pause& pause);

  /// Mines the rows into `out`, host memory of [rows] and [rows, k], of which `floor` may be
  /// null. Rows without a key get the command line's, into `keys`, [rows]. `k` is the
  /// recipe's, or another one, for which a miner is made and kept. Waits for other callers. Throws
  /// InputError before anything is mined for users and positives outside of their tables.
  void mine(RowsView rows, std::uint64_t* keys, std::uint32_t k, const Picks& out,
            const Pause& pause);

  /// With the recipe's k.
  const Miner& miner() const { return *miner_; }
  const LoadedInputs& loaded() const { return loaded_; }
  const std::string& retriever() const { return retriever_; }
  int threads() const { return options_.exec.threads; }
  std::uint32_t seed() const { return options_.seed; }
  std::uint32_t round() const { return options_.round; }

 private:
  Miner& miner_of(std::uint32_t k);
  void check(const RowsView& rows) const;
  void name_rows(const RowsView& rows, std::uint64_t* keys, const Pause& pause) const;

  MinerRequest request_;  ///< what it keeps alive: the caller's arrays
  int threads_;
  LoadedInputs loaded_;
  MinerOptions options_;
  std::unique_ptr<Miner> miner_;
  std::string retriever_;
  std::map<std::uint32_t, std::unique_ptr<Miner>> other_k_;
  std::mutex mutex_;
};

}  // namespace quarry

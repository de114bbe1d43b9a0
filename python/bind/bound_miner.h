// A Miner as Python has it: owns its inputs, serves several threads one after the other, hears
// Ctrl-C, and takes other tables while it mines.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "python/bind/edition.h"

namespace quarry {

/// A process was forked after its parent had mined: the threads of the parent are not in it, and
/// waiting for them would never end.
struct ForkError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// A batch asked for items of another version than the Miner has.
struct StaleError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Threads of miners that are made from now on; 0: as many as the process may use. Throws
/// ConfigError outside of 0 to 4096.
void set_default_threads(int threads);
/// What a miner made now would take.
int default_threads();

/// What changes with an update; what is not given stays.
struct Update {
  MatrixSource items, users;
  IdSource item_ids, user_ids;
  std::map<std::string, MatrixSource> features;
  std::vector<std::string> events;  ///< further files of the log
  std::shared_ptr<const LaterEvents> later_events;
  std::optional<std::int64_t> version;  ///< of the items; nothing: one more, where there are items
};

class BoundMiner {
 public:
  BoundMiner(const MinerRequest& request, const Pause& pause);

  /// What batches that begin now are mined with; hold it for as long as one batch.
  std::shared_ptr<Edition> edition() const;
  std::uint32_t round() const;
  /// Of batches from now on. The miner of that round is made before, if it takes one of its own.
  void set_round(std::uint32_t round, const Pause& pause);

  /// Mines the rows with `edition` and, where the recipe has a source `queue`, puts them into the
  /// queue once all are mined. `out`: host memory of [rows] and [rows, k], of which `floor` may be
  /// null. Rows without a key get the command line's, into `keys`, [rows]. Waits for
  /// other callers. Throws InputError before anything is mined for users and positives outside of
  /// their tables.
  void mine(Edition& edition, RowsView rows, std::uint64_t* keys, std::uint32_t round,
            std::uint32_t k, const Picks& out, const Pause& pause);

  /// Makes another edition beside the one in use, then puts it in its place: batches that begin
  /// afterwards have it. Updates wait for each other. Where one fails nothing has changed. Returns
  /// the version. Throws InputError for fewer items or users than there are.
  std::int64_t update(const Update& update, const Pause& pause);

  /// The recipe has a source `queue`.
  bool has_queue() const;
  /// The positives of the rows mined before, oldest first, as far back as the recipe's sources
  /// `queue` look.
  Lists queue() const;
  /// Takes them for the batches that follow. Throws InputError for items outside of their table.
  void set_queue(const Lists& rows);

  int threads() const { return threads_; }
  std::uint32_t seed() const { return seed_; }

 private:
  void check(const Edition& edition, const RowsView& rows) const;
  void name_rows(const Edition& edition, const RowsView& rows, std::uint64_t* keys,
                 const Pause& pause) const;

  /// Sorted positives of each row of a batch, rows in an order that is the batch's own.
  static std::vector<std::vector<std::uint32_t>> rows_of(const RowsView& rows);
  void enqueue(std::vector<std::vector<std::uint32_t>> rows);

  int threads_;
  std::uint32_t seed_;
  std::recursive_mutex updating_;  ///< one update at a time; what a signal runs may update
  mutable std::mutex state_;       ///< what follows
  std::shared_ptr<Edition> current_;
  std::uint32_t round_;
  std::deque<std::vector<std::uint32_t>> queue_;  ///< rows, oldest first
  std::uint32_t queue_depth_ = 0;                 ///< the deepest that was asked for
};

}  // namespace quarry

// Edition: the tables as of one update, and the miners over them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/mine/miner.h"
#include "python/bind/loaded_inputs.h"

namespace quarry {

/// Called now and then, without locks that it could wait for; may throw.
using Pause = std::function<void()>;

/// Never changed once it is in use: an update makes another one. Batches that began with an edition
/// end with it. Threads take turns tile by tile.
class Edition {
 public:
  /// Reads all tables; those of vectors are mapped, and stay what they are when another file takes
  /// the name. `version`: of the items, as the caller counts them.
  Edition(MinerRequest request, const MinerOptions& options, std::int64_t version,
          const Pause& pause);
  /// Other vectors over the tables of `former`; as many items and users.
  Edition(const Edition& former, MinerRequest request, std::int64_t version);

  /// Makes the miner of a round and k, without keeping others from mining.
  void prepare(std::uint32_t round, std::uint32_t k, const Pause& pause);
  /// Makes the miners of what was mined with `former`, so that no batch has to wait for them.
  void prepare_like(Edition& former, const Pause& pause);
  /// Mines the rows, which are checked and named, into `out`, tile by tile; `floor` of it may be
  /// null.
  void mine(const RowsView& rows, std::uint32_t round, std::uint32_t k, const Picks& out,
            const Pause& pause);

  /// The recipe, whose schedules are taken at `round`.
  std::shared_ptr<const Recipe> recipe_at(std::uint32_t round) const;
  std::uint32_t k_at(std::uint32_t round) const { return recipe_at(round)->k; }
  /// Throws InputError for users and items outside of their tables, and times out of range.
  void check_events(const LaterEvents& events) const;
  const MinerOptions& options() const { return options_; }
  const MinerRequest& request() const { return request_; }
  /// How many miners are kept, each with prepared tables.
  std::size_t num_miners();
  const LoadedInputs& loaded() const { return *loaded_; }
  std::int64_t version() const { return version_; }
  /// Of the first miner that was prepared: names of branches, strata and so on.
  const Miner& first() const { return *first_; }
  const std::string& retriever() const { return retriever_; }

 private:
  /// A miner, and the tables if they are others than the edition's (a scheduled [exposure]).
  struct Made {
    std::uint32_t k = 0, round = 0;  ///< round 0 where the recipe has no schedules
    std::shared_ptr<const LoadedInputs> loaded;
    std::shared_ptr<Miner> miner;
    std::shared_ptr<const Miner> former;  ///< it was made after; null once it has mined
    std::uint64_t last_use = 0;
    bool mined = false;
  };

  std::uint32_t round_of(std::uint32_t round) const {
    return loaded_->recipe.has_schedules ? round : 0;
  }
  Made make(std::uint32_t round, std::uint32_t k, const Pause& pause) const;
  std::shared_ptr<const Miner> miner_of(const std::shared_ptr<const LoadedInputs>& loaded) const;
  Made* find(std::uint32_t round, std::uint32_t k);
  Made to_mine(std::uint32_t round, std::uint32_t k);
  void keep(Made made);

  MinerRequest request_;  ///< what it keeps alive: the caller's arrays
  std::shared_ptr<const LoadedInputs> loaded_;
  MinerOptions options_;
  std::int64_t version_;
  std::shared_ptr<Miner> first_;
  std::shared_ptr<const LoadedInputs> first_loaded_;  ///< what it refers to
  std::string retriever_;
  std::vector<Made> made_;
  std::uint64_t uses_ = 0;
  /// One miner is made at a time; taken before mining_. Recursive: what a signal runs may mine.
  std::recursive_mutex making_;
  std::mutex mining_;        ///< whatever mines; taken before kept_
  mutable std::mutex kept_;  ///< made_, and what else is known of miners; never for long
};

}  // namespace quarry

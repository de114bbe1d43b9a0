// Mining into a store: shard by shard, each kept as soon as it is complete, so that a run that was
// killed goes on where it was.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host/store/run_part.h"
#include "host/store/store.h"
#include "host/store/version_basis.h"
#include "tools/quarry/mining_run.h"

namespace quarry {

struct StoreOptions {
  std::string store;
  std::string model;              ///< name of the model whose vectors these are; may be empty
  std::string note;               ///< may be empty
  std::vector<std::string> tags;  ///< to move to the new version, besides `latest`
  std::vector<std::string> parents;
  std::uint64_t rows_per_shard = 65536;
  bool moves_tags_back = true;  ///< to a version that is there and is not the newest
};

struct Stored {
  std::uint64_t version = 0;
  std::string content_hash;
  bool was_there = false;            ///< the same run is a version already: nothing was mined
  bool repaired = false;             ///< it was damaged, and its shards were mined again
  std::uint64_t shards = 0;          ///< in all
  std::uint64_t shards_resumed = 0;  ///< kept by an earlier process
  std::uint64_t shards_shared = 0;   ///< in the store already
  std::uint64_t rows_taken = 0;      ///< of `taken_from` instead of being mined, now or earlier
  std::uint64_t rows_mined = 0;
  std::uint64_t taken_from = 0;                      ///< a version; 0: none
  std::vector<std::string> obstacles;                ///< why it gave no row
  std::uint64_t items_changed = 0, items_added = 0;  ///< since it
  std::string run_json;
};

/// A version whose rows are taken over where they would come out alike.
struct EarlierRun {
  EarlierVersion* version = nullptr;
  std::optional<MatrixView> items;  ///< its item embeddings, where they are at hand
};

/// A hash of everything that decides what the negatives of a loaded run are and how they lie in
/// shards; of the options rows per shard and model. folder: what paths are relative to.
std::string run_identity(const StoreOptions& options, const RunRequest& request,
                         const Inputs& inputs, const std::string& folder);

/// Shards that were made elsewhere, a part at a time, each of whole shards.
struct MadeParts {
  std::uint64_t count = 0;
  std::function<RunPart(std::uint64_t)> open;  ///< in the order of the rows; verified
};

/// Mines the chosen rows into a new version. The caller holds the store's lock. Throws what mining
/// throws; after Cancelled the shards that are complete stay. Completes `mining.facts` where rows
/// were mined.
Stored mine_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const EarlierRun& earlier = {});
/// The same of rows that were mined elsewhere: `mining` mines none. A version of the same run that
/// is there stays. Throws InputError where a part is damaged.
Stored join_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const MadeParts& parts);
/// Mines a version again whose files are damaged, and puts the shards and arrays that are not whole
/// in place anew. Throws InputError where `mining` is not the run that made it.
Stored repair_in_store(const Store& store, std::uint64_t version, const StoreOptions& options,
                       MiningRun& mining, const Context& context);
/// The options of a version by which it was kept.
StoreOptions store_options_in(const std::string& store, const std::string& manifest_json);
/// Says without mining how many rows mine_into_store would mine and take: rows_mined, rows_taken,
/// obstacles and what changed. was_there as it would be.
Stored plan_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const EarlierRun& earlier);

}  // namespace quarry

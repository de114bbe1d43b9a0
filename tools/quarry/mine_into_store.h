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
#include "tools/quarry/row_marks.h"

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

/// What was found when it was decided which rows of a run are to be mined.
struct DecidedRows {
  RowMarks to_mine;                                  ///< of the rows of the inputs
  std::uint64_t items_changed = 0, items_added = 0;  ///< as in Stored
  std::vector<std::string> obstacles;                ///< not empty: no row is taken over
};

/// A version whose rows are taken over where they would come out alike.
struct EarlierRun {
  EarlierVersion* version = nullptr;
  std::optional<MatrixView> items;       ///< its item embeddings, where they are at hand
  const DecidedRows* decided = nullptr;  ///< which rows that are, if it was decided before
};

/// A hash of everything that decides what the negatives of a loaded run are and how they lie in
/// shards; of the options rows per shard and model. folder: what paths are relative to.
std::string run_identity(const StoreOptions& options, const RunRequest& request,
                         const Inputs& inputs, const std::string& folder);

/// Rows that were mined elsewhere, a part at a time.
struct MadeParts {
  std::uint64_t count = 0;
  std::function<RunPart(std::uint64_t)> open;  ///< in the order of the rows; verified
};

/// Mines the chosen rows into a new version. The caller holds the store's lock. Throws what mining
/// throws; after Cancelled the shards that are complete stay. Completes `mining.facts` where rows
/// were mined.
Stored mine_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const EarlierRun& earlier = {});
/// The same of rows that were mined elsewhere: `mining` mines none. Without `earlier` each part is
/// of whole shards, and together they are of all rows; else they are of the rows that are decided
/// to be mined. A version of the same run that is there stays. Throws InputError where a part is
/// damaged or of other rows.
Stored join_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const MadeParts& parts,
                       const EarlierRun& earlier = {});
/// What these would return of a run with this identity that is `version` already: nothing is
/// loaded.
Stored found_in_store(const Store& store, const StoreOptions& options, std::uint64_t version,
                      const std::string& identity);
/// Mines a version again whose files are damaged, and puts the shards and arrays that are not whole
/// in place anew. Throws InputError where `mining` is not the run that made it.
Stored repair_in_store(const Store& store, std::uint64_t version, const StoreOptions& options,
                       MiningRun& mining, const Context& context);
/// The options of a version by which it was kept.
StoreOptions store_options_in(const std::string& store, const std::string& manifest_json);
/// Says without mining how many rows mine_into_store would mine and take: rows_mined, rows_taken,
/// obstacles and what changed. was_there as it would be. to_mine: of the rows of the inputs, none
/// marked; those to mine become so.
Stored plan_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const EarlierRun& earlier,
                       RowMarks* to_mine = nullptr);

}  // namespace quarry

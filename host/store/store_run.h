// A run that adds a version to a store, shard by shard: what is complete stays, and the same run
// goes on from there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/store/journal.h"
#include "host/store/negative_set.h"
#include "host/store/shard_writer.h"
#include "host/store/store.h"

namespace quarry {

/// A shard that is complete.
struct DoneShard {
  std::string entry;  ///< of the manifest's `shards`, JSON
  std::string about;  ///< what the caller gave with it
};

class StoreRun {
 public:
  /// identity: of all that decides the rows and their shards, as letters for a folder's name. The
  /// caller holds the store's lock.
  StoreRun(const Store& store, const std::string& identity, const SetSchema& schema);

  /// The newest version that the same run made already.
  std::optional<std::uint64_t> version_there() const;
  /// What a process that was killed behind its commit left undone: log, tags and `latest`, its work
  /// folder.
  void complete(std::uint64_t version, const std::vector<std::string>& tags);

  /// Takes over the shards that an earlier process completed; with `anew` none.
  void begin(bool anew);
  const std::map<std::uint64_t, DoneShard>& done() const { return done_; }
  /// Drops all that was completed: it may be of inputs that changed.
  void abandon();
  /// Where the next shard is to be written; there is none yet.
  std::string part_folder() const;
  /// Where an array is to be drafted (host/store/kept_array.h).
  std::string draft_file() const { return work_folder() + "/array.part"; }
  /// The shard there is complete: from here on it is not made again. True: the store had it
  /// already. about: JSON.
  bool keep(std::uint64_t shard, std::uint64_t first_row, const ShardFacts& facts,
            const std::string& about);
  /// Hash over all rows, read back from the shards: what is damaged there throws InputError.
  std::string content_hash() const;
  /// All shards are kept: they become the next version. about: a JSON object, what the manifest
  /// says under `store` besides the identity.
  std::uint64_t commit(std::uint64_t rows, const std::string& run_json, const std::string& about,
                       const std::vector<std::string>& tags);

 private:
  std::string work_folder() const { return store_.work_folder(identity_); }
  void take_over(const std::string& line);
  void end();

  Store store_;
  std::string identity_;
  SetSchema schema_;
  std::optional<Journal> journal_;
  std::map<std::uint64_t, DoneShard> done_;
};

}  // namespace quarry

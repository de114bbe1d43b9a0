// A part of a run: a set of some of its rows, made by one of many workers who may be killed,
// doubled or late. It is there whole or not at all, and the first one stays.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/store/negative_set.h"
#include "host/store/shard_copy.h"
#include "host/store/version_basis.h"

namespace quarry {

/// What became of a part that was written.
struct PartCommit {
  std::string content_hash;
  bool was_there = false;  ///< another worker's stands at the place, with the same rows and answers
};

/// Writes a part into a hidden folder beside its place, and puts it there by one rename. A writer
/// that is destroyed before commit() leaves nothing behind; one that is killed leaves its folder,
/// which no reader takes for a part, and which the next writer of the same part on the same machine
/// removes.
class PartWriter {
 public:
  /// folder: must exist. name: of the part. Throws IoError.
  PartWriter(const std::string& folder, const std::string& name, const SetSchema& schema,
             std::uint64_t rows_per_shard);
  ~PartWriter();
  PartWriter(const PartWriter&) = delete;
  PartWriter& operator=(const PartWriter&) = delete;
  /// Rows in order, with SetRows::depends. `stop` ends it between shards with Cancelled.
  void append(const NegativeBatch& batch, const SetRows& rows, const std::atomic<bool>* stop);
  /// run_json: the manifest's `run`. part_json: an object, its `part`, which gains `bases` and
  /// `committed`. Throws InputError if a part of other rows or answers stands at the place: the
  /// program is not deterministic there, or the inputs were not the same.
  PartCommit commit(const std::string& run_json, const std::string& part_json);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A part that was committed.
class RunPart {
 public:
  /// verify: every byte is compared with its hash. Throws InputError where it is damaged or none,
  /// naming the file.
  RunPart(const std::string& folder, const std::string& name, bool verify);
  /// Something lies at its place, whatever it is.
  static bool is_there(const std::string& folder, const std::string& name);

  const NegativeSet& set() const { return set_; }
  /// The manifest's `part`, JSON.
  const std::string& about() const { return about_; }
  const std::vector<FinishedShard>& shards() const { return shards_; }
  /// What the rows of a shard stand on. Throws InputError where the file is damaged.
  std::vector<RowBasis> basis(std::size_t shard) const;

 private:
  NegativeSet set_;
  std::string about_;
  std::vector<FinishedShard> shards_;
  std::vector<std::string> bases_;
};

/// Takes a damaged part out of the way; returns where it is now.
std::string move_damaged_part_aside(const std::string& folder, const std::string& name);

}  // namespace quarry

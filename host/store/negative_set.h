// A negative set on disk: a folder with manifest.json and immutable shards of .npy columns
// (host/store/FORMAT.md).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "host/mine/miner.h"

namespace quarry {

struct SetSchema {
  std::uint32_t k = 0;
  std::vector<std::string> branches;
  std::vector<std::string> strata;
  std::uint32_t num_items =
      0;  ///< N of the quantile column (snapshot items); 0: unknown, quantiles are NaN
};

class ContentHash;
class NegativeSet;

/// What the rows of a batch are. Borrowed.
struct SetRows {
  const std::uint64_t* key = nullptr;   ///< [rows]
  const std::uint32_t* user = nullptr;  ///< [rows]; null: none has a number, 0xFFFFFFFF is written
  const std::int64_t* time = nullptr;   ///< [rows] INT64_MAX: none; null: none for all
  /// [rows + 1] places in `positives`, not falling; the first may be any. Null: no positives.
  const std::uint64_t* positive_offsets = nullptr;
  const std::uint32_t* positives = nullptr;  ///< item indices
  /// [rows] Dependence::of_row; null: not known. No column: stores keep it apart.
  const std::uint64_t* depends = nullptr;
};

/// Bytes of the columns of so many rows with so many positives in all, their headers left out.
std::uint64_t set_bytes(const SetSchema& schema, std::uint64_t rows, std::uint64_t positives);

/// What to do if something lies at the target already.
enum class Existing : std::uint8_t {
  kRefuse,   ///< IoError, unless it is an empty folder
  kReplace,  ///< a set there is moved to `<path>.old[-n]` once the new one is complete
};

/// Throws IoError, with what to try, if a set cannot be put at `path`: it holds something else, or
/// the folder that it would lie in is missing or cannot be written. For checking before the work is
/// done.
void check_set_target(const std::string& path, Existing existing);

/// `format_version` of the manifests written and read: 2 added the rows' times and positives.
inline constexpr std::uint64_t kFormatVersion = 2;

/// Shards of one set. A reader maps 19 columns of each, and Linux allows a process 65,530 mappings.
inline constexpr std::uint64_t kMaxShards = 3400;

/// Writes a set in one go: shards into a temporary folder beside `path`, manifest last, then one
/// rename. Until finish() nothing exists under `path`; a writer that is destroyed before leaves
/// nothing behind.
class SetWriter {
 public:
  /// Throws IoError if `path` exists (unless it is an empty folder) or its parent cannot be
  /// written.
  SetWriter(const std::string& path, const SetSchema& schema, std::uint64_t rows_per_shard = 65536,
            Existing existing = Existing::kRefuse);
  ~SetWriter();
  SetWriter(const SetWriter&) = delete;
  SetWriter& operator=(const SetWriter&) = delete;
  /// Rows in order; rows: [batch.num_rows]. `stop`, if given, ends it between shards with
  /// Cancelled.
  void append(const NegativeBatch& batch, const SetRows& rows,
              const std::atomic<bool>* stop = nullptr);
  /// All rows of a finished set of the same schema, its shards linked or copied as they are
  /// (host/store/shard_copy.h); shards of appended rows are to be full. Its bytes should have been
  /// verified. Throws InputError where the schema differs.
  void append_set(const NegativeSet& set, const std::atomic<bool>* stop = nullptr);
  /// Adds `run_json` (an object: recipe, seeds, inputs, counters ...) to the manifest, syncs,
  /// renames. Returns the content hash (XXH3-128 hex over ids, scores, strata and fill codes in row
  /// order, independent of the sharding).
  std::string finish(const std::string& run_json);
  /// Where finish() put what lay at the target before; "" if nothing did.
  const std::string& moved_aside() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A finished set, mapped.
class NegativeSet {
 public:
  /// Opens and checks manifest, shard sizes and headers; `verify` also recomputes shard hashes.
  /// Throws InputError naming the file.
  static NegativeSet open(const std::string& path, bool verify);
  /// A version of a store: `manifest` is the path of its file in the store's folder.
  static NegativeSet open_version(const std::string& store, const std::string& manifest,
                                  bool verify);
  std::uint64_t rows() const;
  std::uint32_t k() const;
  const SetSchema& schema() const;
  /// Adds the rows of a shard of a store to `hash`; `entry`: its object in a manifest's `shards`,
  /// as text. Throws InputError where a column does not have the hash that stands there.
  static void hash_shard(const std::string& store, const std::string& entry,
                         const SetSchema& schema, ContentHash& hash);
  /// The set's folder, or its store's: what paths in the manifest are relative to.
  const std::string& path() const;
  /// The file that manifest_json() was read from, for messages.
  const std::string& manifest_path() const;
  const std::string& content_hash() const;
  const std::string& manifest_json() const;
  /// One row's columns as views into the mapped shard.
  struct Row {
    std::uint64_t row_key;
    std::uint32_t user;
    std::int64_t time;  ///< INT64_MAX: none
    std::span<const std::uint32_t> positives;
    std::uint16_t count;
    float positive_min;
    const std::uint32_t *item, *raw_rank, *survivor_rank, *stratum;
    const std::uint8_t *branch, *fill;
    const float *score, *logq, *gap, *quantile;
    const float* kappa;  ///< [branches]
    std::uint8_t certified;
  };
  /// Throws InputError where the shard's places of positives contradict each other.
  Row row(std::uint64_t index) const;

 private:
  friend std::string content_hash_of(const std::vector<NegativeSet>& parts);
  struct State;
  static NegativeSet open(const std::string& path, const std::string& manifest, bool of_store,
                          bool verify);
  std::shared_ptr<const State> state_;
};

/// Content hash of sets laid end to end: of one set its own, of the row shards of a run that of the
/// unsharded run. Throws InputError if their k differ.
std::string content_hash_of(const std::vector<NegativeSet>& parts);

}  // namespace quarry

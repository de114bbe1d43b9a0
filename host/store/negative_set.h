// A negative set on disk: a folder with manifest.json and immutable shards of .npy columns (host/store/FORMAT.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/mine/miner.h"

namespace quarry {

struct SetSchema {
  std::uint32_t k = 0;
  std::vector<std::string> branches;
  std::vector<std::string> strata;
};

/// Writes a set in one go: shards into a temporary folder beside `path`, manifest last, then one rename. Until
/// finish() nothing exists under `path`; a writer that is destroyed before leaves nothing behind.
class SetWriter {
 public:
  /// Throws IoError if `path` exists (unless it is an empty folder) or its parent cannot be written.
  SetWriter(const std::string& path, const SetSchema& schema, std::uint64_t rows_per_shard = 65536);
  ~SetWriter();
  SetWriter(const SetWriter&) = delete;
  SetWriter& operator=(const SetWriter&) = delete;
  /// Rows in order. row_key, user: [batch.num_rows].
  void append(const NegativeBatch& batch, const std::uint64_t* row_key, const std::uint32_t* user);
  /// Adds `run_json` (an object: recipe, seeds, inputs, counters ...) to the manifest, syncs, renames. Returns the
  /// content hash (XXH3-128 hex over ids, scores, strata and fill codes in row order, independent of the sharding).
  std::string finish(const std::string& run_json);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A finished set, mapped.
class NegativeSet {
 public:
  /// Opens and checks manifest, shard sizes and headers; `verify` also recomputes shard hashes. Throws InputError naming
  /// the file.
  static NegativeSet open(const std::string& path, bool verify);
  std::uint64_t rows() const;
  std::uint32_t k() const;
  const std::string& manifest_json() const;
  /// One row's columns as views into the mapped shard.
  struct Row {
    std::uint64_t row_key;
    std::uint32_t user;
    std::uint16_t count;
    float positive_min;
    const std::uint32_t *item, *raw_rank, *survivor_rank, *stratum;
    const std::uint8_t *branch, *fill;
    const float *score, *logq, *gap, *quantile;
  };
  Row row(std::uint64_t index) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace quarry

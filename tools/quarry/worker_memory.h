// What a worker of a plan must have in memory, and into how many slices the items are cut so that
// it has that: by what quarry plan foretells of the run.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tools/quarry/mining_run.h"

namespace quarry {

/// Bytes, where a worker's peak is: where it searches the longest slice for a shard, or mines one.
struct WorkerNeed {
  std::uint64_t own = 0;      ///< without mapped files
  std::uint64_t program = 0;  ///< the program's own code and libraries
  std::uint64_t items = 0;    ///< items' rows in place that it reads again and again
  std::uint64_t users = 0;    ///< users' rows in place of a tile; others are read and passed
  std::uint64_t rows = 0;     ///< kept by row of its shard until the lists of a slice are written
  std::uint64_t total() const { return own + program + items + users + rows; }
};

/// How much a worker has.
struct MemoryLimit {
  std::uint64_t bytes = 0;
  std::string from;  ///< whose it is: "--worker-memory", ...
  bool given = false;
};

/// What was chosen, or asked for, and by which rule.
struct SliceChoice {
  std::uint64_t slices = 1;
  WorkerNeed need;
  std::string rule;     ///< a sentence
  std::string warning;  ///< where a worker on this machine would not have what it needs; "" mostly
};

class WorkerMemory {
 public:
  /// Of a run that is loaded, best behind some tiles. seen: as of foretell_memory. Borrows the run,
  /// and says what it plans now.
  WorkerMemory(const MiningRun& run, std::uint64_t seen);

  /// slices: 1, or more where the items can be cut so. rows: of the largest shard.
  WorkerNeed need(std::uint64_t slices, std::uint64_t rows) const;
  /// "a worker needs about 90.1 MiB: 70.0 MiB of its own (loaded 10.0 MiB, ...".
  std::string words(const WorkerNeed& need) const;
  /// As `worker_memory` of a plan: JSON text. chosen: not asked for.
  std::string json(const MemoryLimit& limit, const SliceChoice& choice, bool chosen) const;
  /// What a person may try where a worker has not got `need`: sentences' ends.
  std::string advice(const WorkerNeed& need, std::uint64_t slices) const;

  const MiningRun& run() const { return run_; }
  /// Why no number of slices is better than one, half a sentence; "": some are.
  const std::string& not_sliced() const { return not_sliced_; }
  std::uint64_t most_slices() const { return most_; }

 private:
  const MiningRun& run_;
  MinePlan plan_;
  ForetoldMemory foretold_;
  std::uint64_t program_ = 0, items_ = 0, users_ = 0, most_ = 1;
  std::string not_sliced_;
  bool is_estimate_;
};

/// As --worker-memory says, or else what this process may have here. Throws ConfigError.
MemoryLimit memory_limit(const std::string& worker_memory);

/// The least number of slices by which a worker stays within the limit. rows: of the largest shard,
/// by number of slices. Throws ConfigError where there is none.
SliceChoice choose_slices(const WorkerMemory& memory, const MemoryLimit& limit,
                          const std::function<std::uint64_t(std::uint64_t)>& rows);
/// A number that was asked for. Throws ConfigError where a limit was given that it does not keep.
SliceChoice check_slices(const WorkerMemory& memory, const MemoryLimit& limit, std::uint64_t slices,
                         std::uint64_t rows);

/// The most rows of a shard, so that what is kept by row stays a small part of the limit.
std::uint64_t most_rows_of_shard(const MemoryLimit& limit);

}  // namespace quarry

// What every way of mining does before its first row and behind its last: inputs are loaded and
// hashed, the miner is made, and in the end it is said what came of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "host/store/negative_set.h"
#include "tools/quarry/foretold_memory.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/process_memory.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/run_report.h"

namespace quarry {

/// Stays where it is made: `facts` and `miner` refer to other members.
struct MiningRun {
  /// Throws what loading and making a miner throws, and ConfigError where so many rows per shard
  /// make more shards than a set may have. folder: what paths in the manifest are relative to.
  MiningRun(RunRequest checked, std::uint64_t rows_per_shard, const std::string& folder,
            const Context& context);
  MiningRun(const MiningRun&) = delete;
  MiningRun& operator=(const MiningRun&) = delete;

  std::uint64_t rows() const { return inputs->end_row - inputs->first_row; }
  SetSchema schema() const;
  /// Completes `facts`, whose bad_rows and mine_seconds are those of all rows, and returns them as
  /// the manifest's `run`.
  std::string report(const MeasuredRecall& recall, std::uint64_t unknown_segments);

  RunRequest request;
  MemoryWatch memory;
  LoadedMemory loaded;
  RunFacts facts;
  std::unique_ptr<Inputs> inputs;
  std::optional<Miner> miner;
};

}  // namespace quarry

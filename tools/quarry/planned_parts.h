// The shards of a plan that are there, and those that are missing.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "host/store/run_part.h"
#include "kernels/core/errors.h"
#include "tools/quarry/shard_plan.h"

namespace quarry {

/// Something of another plan, or another shard, lies where a shard belongs.
struct ForeignPart : InputError {
  using InputError::InputError;
};

/// Throws ForeignPart unless the part says of itself that it is this shard of this plan, and
/// InputError unless it has its rows.
void check_part(const ShardPlan& plan, std::uint64_t id, const RunPart& part);

struct PlanState {
  std::vector<std::uint64_t> missing;   ///< ascending
  std::vector<std::string> damages;     ///< of what is there, in sentences; these are missing too
  std::vector<std::string> unfinished;  ///< folders of workers at work or killed
  /// Of slices for missing shards, ascending; damaged ones are among `damages`.
  std::vector<std::uint64_t> searches_missing;
  std::uint64_t rows_done = 0;
  double seconds = 0;  ///< of mining, those that are there
};
/// Looks at every shard. verify: reads every byte; else a manifest at its place is a shard. Throws
/// ForeignPart where a shard of another plan lies in the place of one, Cancelled at a stop.
PlanState state_of_plan(const ShardPlan& plan, bool verify, const std::atomic<bool>* stop);

/// "3,7-9", as --array= of Slurm takes it.
std::string array_expression(const std::vector<std::uint64_t>& ids);

}  // namespace quarry

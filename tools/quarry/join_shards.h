// The shards of a plan joined into what one process would have written.
#pragma once

#include <cstdint>
#include <string>

#include "host/store/run_part.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/set_place.h"
#include "tools/quarry/shard_plan.h"

namespace CLI {
class App;
}

namespace quarry {

struct JoinArgs {
  std::string plan;
  SetPlace place;
  bool clean = false;  ///< remove the shards' folders behind it
  bool json = false;
};

/// Joins, or says what is missing and returns kGateFailed. `verb`: whose command line this is.
/// Throws InputError where a shard is damaged or inputs changed.
int join_shards(const JoinArgs& args, const CLI::App& verb, const Context& context);

/// Adds what a part's worker counted to the run; returns rows of segments that no item has. Throws
/// InputError where the part does not say.
std::uint64_t count_part(const RunPart& part, MiningRun& run);

/// Of a run whose rows other processes mined: they measured it, each on its own rows.
MeasuredRecall recall_of_parts(const Miner& miner);

}  // namespace quarry

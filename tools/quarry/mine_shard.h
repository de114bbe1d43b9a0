// One shard of a plan, mined and committed once.
#pragma once

#include <string>

#include "tools/quarry/run_options.h"

namespace CLI {
class App;
}

namespace quarry {

struct Context;

/// Of quarry mine.
struct ShardArgs {
  std::string plan;      ///< file; "": a whole run
  bool recheck = false;  ///< mine a shard that is there, and compare
  std::string search;    ///< search a slice of the items instead of mining; "": no
};
void add_shard_options(CLI::App& verb, ShardArgs& args);

/// `verb` is mine, whose flags the plan holds, but for those of this machine. The shard is
/// run.shard. Returns 0. Throws what mining throws; InputError where inputs are not those of the
/// plan or a shard made before differs; after Cancelled nothing is left.
int mine_planned_shard(const ShardArgs& args, const RunOptions& run, bool json,
                       const CLI::App& verb, const Context& context);

}  // namespace quarry

// Flags that were given and did nothing.
#pragma once

#include <string>
#include <vector>

#include "host/mine/miner.h"
#include "tools/quarry/run_options.h"

namespace quarry {

/// A sentence for each of --nprobe, --ef-search and --index-cache that was given and did nothing,
/// also because of what `auto` chose, and one if the index took the place of another in its file.
std::vector<std::string> search_warnings(const RunOptions& options, const Miner& miner);

/// A sentence for each flag that says how to read a file which no flag gives.
std::vector<std::string> lone_flags(const RunOptions& options);

}  // namespace quarry

// The tables that a recipe reads against those that flags give.
#pragma once

#include <string>
#include <vector>

#include "tools/quarry/run_options.h"

namespace quarry {

/// Throws ConfigError for a table that the recipe reads and no flag gives.
void check_recipe_against_flags(const RunRequest& request);

/// A sentence for each named table that a flag gives and the recipe does not read.
std::vector<std::string> unused_tables(const RunRequest& request);

}  // namespace quarry

// Filters and weights of a branch as the kernels read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "host/mine/compile.h"
#include "host/mine/compile_tables.h"
#include "host/recipe/recipe.h"
#include "kernels/model/plan.h"

namespace quarry {

/// Both put what they look up into `tables`, and take ages and ranks at the snapshot of `compiled`.
/// What no kernel could evaluate is a ConfigError that names `branch`.
Filter compile_filter(const FilterSpec& spec, const std::string& branch, const Compiled& compiled,
                      LookupTables& tables);
Weight compile_weight(const WeightSpec& spec, const std::string& branch, const Compiled& compiled,
                      LookupTables& tables);

/// Time of the oldest event that an age lets pass; `as_of` is where ages are counted from.
std::int64_t oldest_event(const std::optional<std::int64_t>& max_age, std::int64_t as_of);

}  // namespace quarry

// Strata, integer weights and marks that are computed once per snapshot, before any row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/mine/inputs.h"
#include "host/mine/placement.h"
#include "kernels/core/exec.h"

namespace quarry {

/// Cells of the attributes of a quota, multiplied out in lexicographic order (docs/row_contract.md
/// section 4).
struct Strata {
  std::vector<std::uint32_t> of_item;      ///< [num_items]
  std::vector<std::string> names;          ///< [strata] "head" or "head/new"
  std::vector<std::uint64_t> weight;       ///< [strata] integers without a common divisor
  std::vector<std::uint32_t> level_width;  ///< innermost first
  std::string tables_name;  ///< all that `of_item` depends on besides the snapshot and catalogue
};
/// Throws ConfigError naming the attribute, column or cell that does not exist.
/// Popularity is ranked where the Exec runs and comes back; `popularity` is the snapshot's counts
/// there. cells: of the same Exec, where those of each attribute are shared by name.
Strata make_strata(const Exec& exec, const Recipe& recipe, const Snapshot& snapshot,
                   const std::uint32_t* popularity, const Catalogue* catalogue,
                   std::uint32_t num_items, Placement& cells);

/// Integer weights of popularity^beta for the first `num_items` items (docs/row_contract.md section
/// 5); the same on every machine, their sum below 2^63.
std::vector<std::uint64_t> popularity_weights(const std::vector<std::uint32_t>& popularity,
                                              std::uint32_t num_items, double beta);

std::uint64_t users_with_a_positive(const Exposure& exposure);

/// Marks items positive for more than `share` of the users that have a positive.
std::vector<std::uint32_t> universal_items(const Exposure* exposure, const Snapshot& snapshot,
                                           double share);

}  // namespace quarry

// Strata and popularity deciles computed again from recipe, events and catalogue.
#pragma once

#include <cstdint>
#include <vector>

#include "host/audit/row_judge.h"

namespace quarry {

/// `bins` bins of equal size by (count, item), for the first `num_items` items; 0 for later ones.
std::vector<std::uint32_t> popularity_bins_of(const std::vector<std::uint32_t>& counts,
                                              std::uint32_t num_items, std::uint32_t bins);

struct WantedStrata {
  std::vector<std::uint32_t> of_item;  ///< [items]
  std::vector<double> share;           ///< [strata] of the quota, sum 1
};
/// Throws InputError where the recipe's quota cannot be computed from the tables. The recipe has a
/// quota.
WantedStrata wanted_strata(const JudgeTables& tables);

}  // namespace quarry

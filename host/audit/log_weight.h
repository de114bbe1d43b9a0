// Weights of candidates computed again (docs/row_contract.md sections 3 and 5).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/audit/row_judge.h"

namespace quarry {

/// Log-weight of a candidate of a branch: every operation in fp32, rounded once. `judge` is at the
/// row, whose user is inside the table.
float log_weight_of(const JudgeTables& tables, RowJudge& judge, const BranchSpec& branch,
                    std::uint32_t user, const JudgedItem& candidate);

/// The user's items of a named table, by value descending, then item.
std::vector<std::uint32_t> items_by_value(const JudgeTables& tables, const std::string& table,
                                          std::uint32_t user);

/// The weight of popularity^beta of an item with `count` positives, where `most` is the largest
/// count of the snapshot's `num_items` items.
std::uint64_t draw_weight_of(std::uint32_t count, std::uint32_t most, std::uint32_t num_items,
                             double beta);

}  // namespace quarry

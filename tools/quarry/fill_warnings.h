// How full the rows of a run are, and sentences about it where that is not what was asked for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/mine/miner.h"

namespace quarry {

/// The Miner's counters with `bad_rows` rows of k slots that never reached it.
Counters whole_counters(const Miner& miner, std::uint64_t bad_rows);

/// Whether the rows mined are those of the set, or some that were tried.
enum class RowsSeen : std::uint8_t { kAll, kProbed };

/// Sentences about k beyond the number of items, rows without a positive where filters need one,
/// branches that gave under half of their share, and sets with no negative or with fewer than 90 %
/// of what was asked for: which reason is the commonest, which filter rejected most, what to try.
std::vector<std::string> fill_warnings(const Recipe& recipe, const Miner& miner,
                                       std::uint64_t bad_rows, RowsSeen seen);

}  // namespace quarry

// The searches of a tile: all rows once, then deeper those that are not final, until every one is.
#pragma once

#include <atomic>
#include <cstdint>

#include "host/mine/state.h"

namespace quarry {

inline constexpr std::uint32_t kMaxTileRows = 8192;
/// Deep searches of few rows still get enough at once to keep the GEMM busy.
inline constexpr std::uint64_t kLeastRunBytes = 64ull << 20;

/// Throws Cancelled.
void stop_if_asked(const std::atomic<bool>* stop);

void add(SearchStats& into, const SearchStats& from);
SearchStats minus(SearchStats a, const SearchStats& b);

/// Rows of a tile at `depth` that stay under the budget.
std::uint32_t rows_within(const Compiled& compiled, std::uint32_t depth, std::uint64_t budget);

/// How long lists may become at a depth. Not nearly all items: these are found without a scan.
std::uint32_t most_at(const Miner::State& s, std::uint32_t wanted);

/// What the first search of some rows of a job is for, with longer lists where these share queries.
SearchDepth first_search_of(Miner::State& s, const TileJob& job, std::uint32_t first,
                            std::uint32_t num_rows);

/// Room in lists for what a recipe lets through seldom and, where that is more than there is room
/// for anyway, for what users' own lists hold; only so much as leaves a tile a few rows.
void make_room_in_lists(Miner::State& s, std::uint64_t budget);

/// Rows [first, first + num_rows) of a job, searched until every one is final. A row whose list
/// ended among what its ceiling rejects gets one as long as a sample of the items says; any other
/// gets four times as much.
void mine_rows(Miner::State& s, const TileJob& job, std::uint32_t first, std::uint32_t num_rows,
               const std::atomic<bool>* stop);

}  // namespace quarry

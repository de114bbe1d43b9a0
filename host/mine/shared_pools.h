// Candidates that the rows of a batch share: those of the sources `batch` and `queue`.
#pragma once

#include "host/mine/state.h"

namespace quarry {

/// Throws ConfigError for a recipe whose candidates come with the rows, where they do not;
/// InputError for a pool that is not as SharedPool says.
void require_pools(const RowsView& rows, const Miner::State& s);

/// Rows of a tile whose lists of shared candidates stay within what it may take.
std::uint32_t rows_with_pools(const Miner::State& s, const RowsView& rows);

}  // namespace quarry

// Candidates that the rows of a batch share: those of the sources `batch` and `queue`.
#pragma once

#include "host/mine/state.h"
#include "kernels/score/shared_pool.h"

namespace quarry {

/// Throws ConfigError for a recipe whose candidates come with the rows, where they do not;
/// InputError for a pool that is not as SharedPool says.
void require_pools(const RowsView& rows, const Miner::State& s);

/// Smaller pools are listed as fast one row after the other, and devices do so.
inline constexpr std::uint32_t kLeastBlocked = 64;
inline bool lists_by_blocks(const Exec& exec, std::uint32_t count) {
  return exec.device == Device::kCpu && count >= kLeastBlocked;
}

/// Lists of a pool of `count` items.
SharedLists pool_lists(const Compiled& compiled, const Exec& exec, const Branch& branch,
                       std::uint32_t count);

/// Rows of a tile whose lists of shared candidates stay within what it may take.
std::uint32_t rows_with_pools(const Miner::State& s, const RowsView& rows);

}  // namespace quarry

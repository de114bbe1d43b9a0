// How the CPU forms of topk cut the work and score a tile. Private to kernels/topk.
#pragma once

#include "kernels/topk/topk.h"

namespace quarry {

/// Fewer rows than this per worker leave the GEMM slow: the item table is split among workers
/// instead.
inline constexpr std::uint32_t kMinRowsPerWorker = 32;

inline std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; }

/// Scores of m queries against items `item .. item + n - 1`, [m, kTopkTileItems].
void score_tile(const TopkItems& items, const float* queries, std::uint32_t m, std::uint32_t item,
                std::uint32_t n, float* scores);

/// Room of a running list for `keep` entries, what is appended between two cuts, and one tile.
std::uint32_t list_capacity(std::uint32_t items, std::uint32_t keep);

/// Rows of a block, each with `entries` of running lists; `spread`: the blocks are all the work
/// there is for the workers.
std::uint32_t block_rows(const Exec& exec, const TopkItems& items, std::uint32_t rows,
                         std::uint64_t entries, bool spread);

}  // namespace quarry

// How the CPU forms of topk cut the work and score a tile.
#include "kernels/topk/topk_tile_cpu.h"

#include <cblas.h>

#include <algorithm>

namespace quarry {
namespace {

/// Bytes of running lists that one worker may hold before its blocks get fewer rows.
constexpr std::uint64_t kListBytes = std::uint64_t{16} << 20;
/// Canonical scores gain nothing from tall tiles; a few rows per pass over the item table are
/// enough.
constexpr std::uint32_t kCanonicalTileRows = 32;

}  // namespace

void score_tile(const TopkItems& items, const float* queries, std::uint32_t m, std::uint32_t item,
                std::uint32_t n, float* scores) {
  const std::uint64_t d = items.dim;
  const float* x = items.rows + item * d;
  if (items.scoring == TopkScoring::kBlas) {
    const int dim = static_cast<int>(items.dim);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(m), static_cast<int>(n),
                dim, items.scale, queries, dim, x, dim, 0.0f, scores,
                static_cast<int>(kTopkTileItems));
    return;
  }
  for (std::uint32_t r = 0; r < m; ++r) {
    for (std::uint32_t j = 0; j < n; ++j) {
      scores[std::uint64_t{r} * kTopkTileItems + j] =
          exact_score(items.metric, queries + r * d, x + j * d, items.dim);
    }
  }
}

// Rare cuts let the threshold lag behind and more be appended than needed; twice `keep` is where
// the two costs are even.
std::uint32_t list_capacity(std::uint32_t items, std::uint32_t keep) {
  const std::uint64_t wanted =
      std::uint64_t{keep} + std::max<std::uint64_t>(2ull * keep, 256) + kTopkTileItems;
  const std::uint64_t all = divide_up(items, kTopkTileItems) * kTopkTileItems;
  return static_cast<std::uint32_t>(std::min({wanted, all, std::uint64_t{0xFFFFFFFFu}}));
}

std::uint32_t block_rows(const Exec& exec, const TopkItems& items, std::uint32_t rows,
                         std::uint64_t entries, bool spread) {
  const auto threads = static_cast<std::uint32_t>(std::max(exec.threads, 1));
  const std::uint64_t fitting = kListBytes / (sizeof(std::uint64_t) * entries);
  const std::uint32_t widest =
      items.scoring == TopkScoring::kBlas ? kTopkTileRows : kCanonicalTileRows;
  const std::uint64_t most = std::clamp<std::uint64_t>(fitting, std::min(widest, 16u), widest);
  std::uint64_t blocks = divide_up(rows, most);
  // Few blocks: make their number a multiple of the workers, so that none waits for a last big one.
  if (spread && blocks < 4ull * threads)
    blocks = std::min<std::uint64_t>(divide_up(blocks, threads) * threads, rows);
  return static_cast<std::uint32_t>(divide_up(rows, blocks));
}

}  // namespace quarry

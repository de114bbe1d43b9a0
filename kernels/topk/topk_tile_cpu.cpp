// How the CPU forms of topk cut the work and score a tile.
#include "kernels/topk/topk_tile_cpu.h"

#include <cblas.h>

#include <algorithm>

#include "kernels/topk/bf16_cpu.h"

namespace quarry {
namespace {

/// Bytes of running lists that one worker may hold before its blocks get fewer rows.
constexpr std::uint64_t kListBytes = std::uint64_t{16} << 20;
/// Canonical scores gain nothing from tall tiles; a few rows per pass over the item table are
/// enough.
constexpr std::uint32_t kCanonicalTileRows = 32;
/// Items are packed once per block, which tall blocks spread over more rows.
constexpr std::uint32_t kBf16BlockRows = 1024;
/// Bytes of packed items, which are read again for every strip.
constexpr std::uint64_t kPackedBytes = std::uint64_t{512} << 10;

std::uint32_t strip_of(const TopkItems& items, std::uint32_t block_rows) {
  switch (items.scoring) {
    case TopkScoring::kCanonical:
      return kCanonicalTileRows;
    case TopkScoring::kBf16:
      return kBf16StripRows;
    case TopkScoring::kBlas:
      break;
  }
  return block_rows;
}

std::uint32_t tile_of(const TopkItems& items) {
  if (items.scoring != TopkScoring::kBf16) return kTopkTileItems;
  const std::uint64_t fitting = kPackedBytes / (sizeof(std::uint16_t) * bf16_width(items.dim));
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(fitting / 64 * 64, 64, kTopkTileItems));
}

}  // namespace

TileScorer::TileScorer(const TopkItems& items, TopkWorkspace::Worker& work,
                       std::uint32_t block_rows)
    : items_(items),
      work_(work),
      strip_rows_(strip_of(items, block_rows)),
      tile_items_(tile_of(items)) {}

void TileScorer::reserve(const Exec& exec, const TopkItems& items, std::uint32_t block_rows,
                         TopkWorkspace::Worker& work) {
  const TileScorer scorer(items, work, block_rows);
  work.scores.resize(exec, std::size_t{scorer.strip_rows_} * kTopkTileItems);
  if (items.scoring != TopkScoring::kBf16) return;
  const std::size_t width = bf16_width(items.dim);
  work.packed_queries.resize(exec, bf16_rows(block_rows) * width);
  work.packed_items.resize(exec, scorer.tile_items_ * width);
}

void TileScorer::begin_block(const float* queries, std::uint32_t m) {
  queries_ = queries;
  if (items_.scoring == TopkScoring::kBf16)
    bf16_pack_queries(queries, m, items_.dim, items_.scale, work_.packed_queries.data());
}

void TileScorer::begin_tile(std::uint32_t item, std::uint32_t n) {
  item_ = item;
  n_ = n;
  if (items_.scoring == TopkScoring::kBf16) {
    bf16_pack_items(items_.unit, items_.rows + std::uint64_t{item} * items_.dim, n, items_.dim,
                    work_.packed_items.data());
  }
}

const float* TileScorer::score(std::uint32_t first, std::uint32_t rows) {
  const std::uint64_t d = items_.dim;
  const float* x = items_.rows + item_ * d;
  const float* q = queries_ + first * d;
  float* scores = work_.scores.data();
  if (items_.scoring == TopkScoring::kBf16) {
    const std::uint32_t width = bf16_width(items_.dim);
    bf16_multiply(items_.unit, work_.packed_queries.data() + std::uint64_t{first} * width,
                  work_.packed_items.data(), n_, width, scores, kTopkTileItems);
  } else if (items_.scoring == TopkScoring::kBlas) {
    const int dim = static_cast<int>(items_.dim);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(rows),
                static_cast<int>(n_), dim, items_.scale, q, dim, x, dim, 0.0f, scores,
                static_cast<int>(kTopkTileItems));
  } else {
    for (std::uint32_t r = 0; r < rows; ++r) {
      for (std::uint32_t j = 0; j < n_; ++j) {
        scores[std::uint64_t{r} * kTopkTileItems + j] =
            exact_score(items_.metric, q + r * d, x + j * d, items_.dim);
      }
    }
  }
  return scores;
}

const float* TileScorer::bias() const {
  return items_.scoring != TopkScoring::kCanonical && items_.bias != nullptr ? items_.bias + item_
                                                                             : nullptr;
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
  const std::uint32_t widest = items.scoring == TopkScoring::kBlas   ? kTopkTileRows
                               : items.scoring == TopkScoring::kBf16 ? kBf16BlockRows
                                                                     : kCanonicalTileRows;
  const std::uint64_t most = std::clamp<std::uint64_t>(fitting, std::min(widest, 16u), widest);
  std::uint64_t blocks = divide_up(rows, most);
  // Few blocks: make their number a multiple of the workers, so that none waits for a last big one.
  if (spread && blocks < 4ull * threads)
    blocks = std::min<std::uint64_t>(divide_up(blocks, threads) * threads, rows);
  const auto each = static_cast<std::uint32_t>(divide_up(rows, blocks));
  // Whole strips, of which the rest would be multiplied in vain.
  return items.scoring == TopkScoring::kBf16 ? bf16_rows(each) : each;
}

}  // namespace quarry

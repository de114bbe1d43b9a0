// How the CPU forms of topk cut the work and score a tile.
#include "kernels/topk/topk_tile_cpu.h"

#include <cblas.h>

#include <algorithm>

#include "kernels/core/prefetch.h"
#include "kernels/topk/bf16_cpu.h"

namespace quarry {
namespace {

/// Bytes of running lists that one worker may hold before its blocks get fewer rows.
constexpr std::uint64_t kListBytes = std::uint64_t{32} << 20;
/// Canonical scores gain nothing from tall tiles; a few rows per pass over the item table are
/// enough.
constexpr std::uint32_t kCanonicalTileRows = 32;
/// Items are packed once per block, which tall blocks spread over more rows.
constexpr std::uint32_t kPackedBlockRows = 1024;
/// Bytes of packed items, which are read again for every strip.
constexpr std::uint64_t kPackedBytes = std::uint64_t{512} << 10;

/// Where a larger part of the pairs of a group of rows has to be scored after all, fp32 alone is
/// faster: a pair by itself takes some 12 to 20 times as long as in a product of tiles, and what
/// bounds cost beside is less with dot products of bytes.
std::uint32_t most_scored(Int8Unit unit) { return unit == Int8Unit::kAvx2 ? 28 : 20; }
/// Rows differ: what some groups lose others make up for. In groups.
constexpr std::int64_t kMostLost = 2;
constexpr std::int64_t kMostGained = 8;
/// Strips without bounds before they are tried again, at most.
constexpr std::uint32_t kLongestPause = 32;

/// From one row of products to the next: not a power of two, which would put all rows of a column
/// into one set of the cache.
constexpr std::uint32_t kProductStride = kTopkTileItems + 16;

/// Packed tables that stay in cache, of which low blocks lose nothing by reading them more often.
constexpr std::uint64_t kCachedTableBytes = std::uint64_t{4} << 20;

bool is_packed(TopkScoring scoring) {
  return scoring == TopkScoring::kBf16 || scoring == TopkScoring::kInt8;
}

std::uint32_t strip_of(const TopkItems& items, std::uint32_t block_rows) {
  switch (items.scoring) {
    case TopkScoring::kCanonical:
      return kCanonicalTileRows;
    case TopkScoring::kBf16:
      return kBf16StripRows;
    case TopkScoring::kInt8:
      return std::min(kTopkTileRows, int8_rows(block_rows));
    case TopkScoring::kBlas:
      break;
  }
  return block_rows;
}

/// Tall blocks read or pack the items less often; the lists of low ones stay in cache.
std::uint32_t widest_block(const TopkItems& items) {
  const bool cached = items.int8_table != nullptr &&
                      Int8Table::bytes(items.num_items, items.dim) <= kCachedTableBytes;
  if (items.scoring == TopkScoring::kBlas || cached) return kTopkTileRows;
  return is_packed(items.scoring) ? kPackedBlockRows : kCanonicalTileRows;
}

std::uint32_t tile_of(const TopkItems& items) {
  std::uint64_t bytes = 0;
  if (items.scoring == TopkScoring::kBf16) bytes = sizeof(std::uint16_t) * bf16_width(items.dim);
  if (items.scoring == TopkScoring::kInt8) bytes = int8_width(items.dim);
  if (bytes == 0) return kTopkTileItems;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(kPackedBytes / bytes / 64 * 64, 64, kTopkTileItems));
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
  if (items.scoring == TopkScoring::kBf16) {
    const std::size_t width = bf16_width(items.dim);
    work.packed_queries.resize(exec, bf16_rows(block_rows) * width);
    work.packed_items.resize(exec, scorer.tile_items_ * width);
  } else if (items.scoring == TopkScoring::kInt8) {
    const std::size_t width = int8_width(items.dim);
    work.int8_queries.resize(exec, int8_rows(block_rows) * width);
    work.int8_info.resize(exec, int8_rows(block_rows));
    work.int8_products.resize(exec, std::size_t{kInt8Rows} * kProductStride);
    work.int8_places.resize(exec, std::size_t{kTopkGroupRows} * kTopkTileItems);
    if (items.int8_table != nullptr) return;
    work.int8_items.resize(exec, scorer.tile_items_ * width);
    work.int8_item_info.resize(exec, std::size_t{3} * scorer.tile_items_);
  }
}

void TileScorer::begin_block(const float* queries, std::uint32_t m) {
  queries_ = queries;
  block_rows_ = m;
  gained_ = 0;
  if (items_.scoring == TopkScoring::kBf16) {
    bf16_pack_queries(queries, m, items_.dim, items_.scale, work_.packed_queries.data());
  } else if (items_.scoring == TopkScoring::kInt8) {
    int8_pack_queries(items_.int8, queries, m, items_.dim, items_.scale, work_.int8_queries.data(),
                      work_.int8_info.data());
    const auto first_tile = static_cast<std::uint32_t>(divide_up(m, strip_rows_));
    pause_ = std::max(first_tile, next_pause() > 1 ? next_pause() : 0);
  }
}

void TileScorer::begin_tile(std::uint32_t item, std::uint32_t n) {
  item_ = item;
  n_ = n;
  packed_ = nullptr;
  if (items_.scoring == TopkScoring::kBf16) {
    bf16_pack_items(items_.bf16, items_.rows + std::uint64_t{item} * items_.dim, n, items_.dim,
                    work_.packed_items.data());
  }
}

void TileScorer::begin_strip(std::uint32_t first, std::uint32_t rows) {
  first_ = first;
  rows_ = rows;
  by_bounds_ = items_.scoring == TopkScoring::kInt8 && (pause_ == 0 || items_.always_by_bounds);
  scored_ = 0;
  if (by_bounds_) return;
  if (pause_ > 0) --pause_;
  multiply(0);
}

/// The rows of the strip from `place` on, each against all items of the tile.
void TileScorer::multiply(std::uint32_t place) {
  const std::uint64_t d = items_.dim;
  const float* x = items_.rows + item_ * d;
  const float* q = queries_ + (first_ + place) * d;
  float* scores = work_.scores.data() + std::uint64_t{place} * kTopkTileItems;
  if (items_.scoring == TopkScoring::kBf16) {
    const std::uint32_t width = bf16_width(items_.dim);
    bf16_multiply(items_.bf16, work_.packed_queries.data() + std::uint64_t{first_} * width,
                  work_.packed_items.data(), n_, width, scores, kTopkTileItems);
  } else if (items_.scoring == TopkScoring::kCanonical) {
    for (std::uint32_t r = 0; r < rows_; ++r) {
      exact_scores_host(items_.metric, q + r * d, x, n_, items_.dim,
                        scores + std::uint64_t{r} * kTopkTileItems);
    }
  } else {
    const int dim = static_cast<int>(items_.dim);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(rows_ - place),
                static_cast<int>(n_), dim, items_.scale, q, dim, x, dim, 0.0f, scores,
                static_cast<int>(kTopkTileItems));
  }
}

void TileScorer::look(std::uint32_t place, const TopkBounds& bounds) {
  const std::uint32_t at = place % kInt8Rows;
  if (by_bounds_ && at == 0) begin_int8_group(place);
  if (!by_bounds_) return;
  std::uint32_t* places = work_.int8_places.data() + std::uint64_t{at} * kTopkTileItems;
  found_[at] = int8_find_reaching(
      items_.int8, work_.int8_products.data() + std::uint64_t{at} * kProductStride,
      work_.int8_info.data()[first_ + place], packed_info_, n_,
      {bias(), bounds.threshold, bounds.pass_above, bounds.counts}, places);
  scored_ += found_[at].reaching;
  constexpr std::uint32_t kFetched = 4;  // of a row; later ones are while these are multiplied
  const float* tile = items_.rows + std::uint64_t{item_} * items_.dim;
  for (std::uint32_t i = 0; i < std::min(found_[at].reaching, kFetched); ++i)
    prefetch_row(tile + std::uint64_t{places[i]} * items_.dim, items_.dim);
}

/// What bounds leave open is scored exactly: no slower, and never to be scored again.
ScoredRow TileScorer::row(std::uint32_t place) {
  const std::uint32_t at = place % kInt8Rows;
  if (by_bounds_ && at == 0) leave_bounds_unless_they_pay(place);
  float* scores = work_.scores.data();
  if (!by_bounds_) return {scores + std::uint64_t{place} * kTopkTileItems, nullptr, n_, 0};
  const std::uint32_t* places = work_.int8_places.data() + std::uint64_t{at} * kTopkTileItems;
  const std::uint64_t d = items_.dim;
  int8_score(items_.int8, queries_ + (first_ + place) * d, items_.rows + item_ * d, items_.dim,
             items_.scale, places, found_[at].reaching, scores);
  return {scores, places, found_[at].reaching, found_[at].passed};
}

/// Where bounds exclude too little of group after group, this one and all that follow it in the
/// strip are scored by the BLAS, as are some strips behind it.
void TileScorer::leave_bounds_unless_they_pay(std::uint32_t place) {
  const std::int64_t pairs = std::int64_t{kInt8Rows} * n_;
  gained_ = std::min(gained_ + pairs - std::int64_t{scored_} * most_scored(items_.int8),
                     kMostGained * pairs);
  if (items_.always_by_bounds || gained_ >= -kMostLost * pairs) {
    if (gained_ >= 0) next_pause() = 1;
    return;
  }
  gained_ = 0;
  by_bounds_ = false;
  pause_ = next_pause();
  next_pause() = std::min(2 * next_pause(), kLongestPause);
  multiply(place);
}

void TileScorer::pack_tile() {
  if (items_.int8_table != nullptr) {
    packed_ = items_.int8_table->numbers_at(item_);
    packed_info_ = items_.int8_table->info_at(item_);
  } else {
    float* info = work_.int8_item_info.data();
    packed_info_ = {info, info + tile_items_, info + std::size_t{2} * tile_items_};
    int8_pack_items(items_.int8, items_.rows + std::uint64_t{item_} * items_.dim, n_, items_.dim,
                    work_.int8_items.data(), info, info + tile_items_,
                    info + std::size_t{2} * tile_items_);
    packed_ = work_.int8_items.data();
  }
  // They are found for each tile again, which few rows would not make up for.
  constexpr std::uint32_t kLeastRows = 64;
  if (block_rows_ < kLeastRows || !int8_uses_largest(items_.int8)) return;
  int8_find_largest(packed_info_, n_, largest_norm_, largest_residual_);
  packed_info_.largest_norm = largest_norm_;
  packed_info_.largest_residual = largest_residual_;
}

/// Integer products of the next rows.
void TileScorer::begin_int8_group(std::uint32_t place) {
  scored_ = 0;
  if (packed_ == nullptr) pack_tile();
  const std::uint32_t width = int8_width(items_.dim);
  const std::uint64_t at = first_ + place;
  int8_multiply(items_.int8, work_.int8_queries.data() + at * width, work_.int8_info.data() + at,
                packed_, n_, width, work_.int8_products.data(), kProductStride);
}

void TileScorer::begin_sample_group(std::uint32_t first, std::uint32_t at, std::uint32_t n) {
  first_ = first;
  item_ = at;
  n_ = n;
  const std::uint32_t width = int8_width(items_.dim);
  int8_multiply(items_.int8, work_.int8_queries.data() + std::uint64_t{first} * width,
                work_.int8_info.data() + first, items_.int8_sample->table().numbers_at(at), n,
                width, work_.int8_products.data(), kProductStride);
}

const float* TileScorer::sample_row(std::uint32_t place, float ceiling,
                                    const std::uint32_t* counts) {
  const Int8Sample& sample = *items_.int8_sample;
  int8_lower_bounds(items_.int8, work_.int8_products.data() + std::uint64_t{place} * kProductStride,
                    work_.int8_info.data()[first_ + place], sample.table().info_at(item_), n_,
                    sample.bias() == nullptr ? nullptr : sample.bias() + item_, ceiling, counts,
                    work_.scores.data());
  return work_.scores.data();
}

std::uint32_t TileScorer::sample_reaching(std::uint32_t place, const TopkBounds& bounds) {
  const Int8Sample& sample = *items_.int8_sample;
  const float* bias = sample.bias() == nullptr ? nullptr : sample.bias() + item_;
  return int8_find_reaching(
             items_.int8, work_.int8_products.data() + std::uint64_t{place} * kProductStride,
             work_.int8_info.data()[first_ + place], sample.table().info_at(item_), n_,
             {bias, bounds.threshold, bounds.pass_above, bounds.counts}, work_.int8_places.data())
      .reaching;
}

bool TileScorer::bounds_pay(std::uint64_t open, std::uint64_t pairs) const {
  return open * most_scored(items_.int8) <= pairs;
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
  const std::uint32_t widest = widest_block(items);
  const std::uint64_t most = std::clamp<std::uint64_t>(fitting, std::min(widest, 16u), widest);
  std::uint64_t blocks = divide_up(rows, most);
  // Few blocks: make their number a multiple of the workers, so that none waits for a last big one.
  if (spread && blocks < 4ull * threads)
    blocks = std::min<std::uint64_t>(divide_up(blocks, threads) * threads, rows);
  const auto each = static_cast<std::uint32_t>(divide_up(rows, blocks));
  // Whole strips, of which the rest would be multiplied in vain.
  return is_packed(items.scoring) ? bf16_rows(each) : each;
}

}  // namespace quarry

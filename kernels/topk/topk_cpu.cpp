// Top-K on the CPU: each worker multiplies its own tile with the BLAS and scans it while it is in
// cache.
#include <algorithm>
#include <cstring>

#include "kernels/core/errors.h"
#include "kernels/topk/blas_threads.h"
#include "kernels/topk/topk.h"
#include "kernels/topk/topk_row.h"
#include "kernels/topk/topk_tile_cpu.h"

namespace quarry {
namespace {

/// How the work is cut: blocks of rows times segments of the item table.
struct Split {
  std::uint32_t block_rows = 1;
  std::uint32_t blocks = 1;
  std::uint32_t segment_items = 0;
  std::uint32_t segments = 1;
  std::uint32_t capacity = 0;  ///< of one running list
  std::uint32_t keep = 0;      ///< k + 1: the one beyond k tells the cut
};

Split split_work(const Exec& exec, const TopkItems& items, std::uint32_t rows, std::uint32_t k) {
  Split s;
  const auto threads = static_cast<std::uint32_t>(std::max(exec.threads, 1));
  s.keep =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{k} + 1, items.num_items));
  const std::uint32_t tiles =
      static_cast<std::uint32_t>(divide_up(items.num_items, kTopkTileItems));
  if (rows < threads * kMinRowsPerWorker) s.segments = std::min(threads, std::max(tiles, 1u));
  const std::uint64_t segment_tiles = divide_up(tiles, s.segments);
  s.segment_items = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      std::max<std::uint64_t>(segment_tiles, 1) * kTopkTileItems, items.num_items));
  s.segments = static_cast<std::uint32_t>(divide_up(items.num_items, s.segment_items));
  s.capacity = list_capacity(s.segment_items, s.keep);
  s.block_rows = block_rows(exec, items, rows, std::uint64_t{s.capacity}, s.segments == 1);
  s.blocks = static_cast<std::uint32_t>(divide_up(rows, s.block_rows));
  return s;
}

/// Rows of a block that are scored together.
struct Strip {
  std::uint32_t first_row = 0;  ///< of the block
  std::uint32_t begin = 0;      ///< of the strip, within the block
  std::uint32_t rows = 0;
};

/// Everything the workers see; read-only but for the work areas and the output.
struct Job {
  const TopkItems& items;
  const TopkMask& mask;
  const float* queries;
  std::uint32_t rows;
  std::uint32_t k;
  TopkWorkspace& workspace;
  const TopkResult* out;
  Split split;
  void run_block(std::uint64_t task) const;
  const std::uint32_t* allowed_bits(TopkWorkspace::Worker& work, std::uint32_t first_row,
                                    std::uint32_t r, std::uint32_t item, std::uint32_t n,
                                    std::uint32_t* words) const;
  void scan_strip(TopkWorkspace::Worker& work, TileScorer& scorer, const Strip& strip,
                  std::uint32_t item, std::uint32_t n) const;
  void merge_segments(std::uint32_t row) const;
  void finish_row(std::uint32_t row, std::uint64_t* keys, std::uint32_t count) const;
  void multiply_block(std::uint64_t block) const;
};

/// Which of items `item .. item + n - 1` row r of the block may list; null: all.
const std::uint32_t* Job::allowed_bits(TopkWorkspace::Worker& work, std::uint32_t first_row,
                                       std::uint32_t r, std::uint32_t item, std::uint32_t n,
                                       std::uint32_t* words) const {
  const std::uint32_t* eligible = mask.eligible == nullptr ? nullptr : mask.eligible + item / 32;
  if (mask.exclusion_offsets == nullptr) return eligible;
  std::uint64_t& next = work.cursor.data()[r];
  const std::uint64_t last = mask.exclusion_offsets[first_row + r + 1];
  if (next == last || mask.exclusions[next] - item >= n) return eligible;
  if (eligible == nullptr) {
    std::memset(words, 0xFF, divide_up(n, 32) * sizeof words[0]);
  } else {
    std::memcpy(words, eligible, divide_up(n, 32) * sizeof words[0]);
  }
  for (; next < last && mask.exclusions[next] - item < n; ++next) {
    const std::uint32_t j = mask.exclusions[next] - item;
    words[j / 32] &= ~(1u << (j % 32));
  }
  return words;
}

/// Rows of a strip against a tile of items.
void Job::scan_strip(TopkWorkspace::Worker& work, TileScorer& scorer, const Strip& strip,
                     std::uint32_t item, std::uint32_t n) const {
  scorer.begin_strip(strip.begin, strip.rows);
  for (std::uint32_t place = 0; place < strip.rows; place += kTopkGroupRows) {
    const std::uint32_t group = std::min(kTopkGroupRows, strip.rows - place);
    for (std::uint32_t i = place; i < place + group; ++i) {
      const std::uint32_t r = strip.begin + i;
      std::uint64_t* keys = work.keys.data() + std::uint64_t{r} * split.capacity;
      std::uint32_t& count = work.count.data()[r];
      float& threshold = work.threshold.data()[r];
      // Cut back when another tile might not fit; a list with room for its whole segment never is.
      if (std::uint64_t{count} + n > split.capacity)
        count = compact_row_host(keys, count, split.keep, &threshold);
      scorer.look(i, {nullptr, threshold, no_threshold(), no_threshold()});
    }
    for (std::uint32_t i = place; i < place + group; ++i) {
      const std::uint32_t r = strip.begin + i;
      std::uint32_t words[kTopkTileItems / 32];
      const std::uint32_t* allowed = allowed_bits(work, strip.first_row, r, item, n, words);
      std::uint64_t* keys = work.keys.data() + std::uint64_t{r} * split.capacity;
      std::uint32_t& count = work.count.data()[r];
      const float threshold = work.threshold.data()[r];
      const ScoredRow scored = scorer.row(i);
      count = scored.places == nullptr
                  ? append_row_host(scored.scores, scorer.bias(), scored.count, item, allowed,
                                    threshold, keys, count)
                  : append_row_at_host(scored.scores, scored.places, scorer.bias(), scored.count,
                                       item, allowed, threshold, keys, count);
    }
  }
}

/// One block of rows against one segment of the items.
void Job::run_block(std::uint64_t task) const {
  TopkWorkspace::Worker& work = workspace.workers[static_cast<std::size_t>(worker_index())];
  const auto segment = static_cast<std::uint32_t>(task % split.segments);
  const auto first_row = static_cast<std::uint32_t>(task / split.segments * split.block_rows);
  const std::uint32_t m = std::min(split.block_rows, rows - first_row);
  const auto begin = static_cast<std::uint32_t>(std::uint64_t{segment} * split.segment_items);
  const auto end = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{begin} + split.segment_items, items.num_items));

  std::uint32_t* count = work.count.data();
  float* threshold = work.threshold.data();
  std::uint64_t* cursor = work.cursor.data();
  for (std::uint32_t r = 0; r < m; ++r) {
    count[r] = 0;
    threshold[r] = no_threshold();
    if (mask.exclusion_offsets == nullptr) continue;
    const std::uint64_t* offset = mask.exclusion_offsets + first_row + r;
    cursor[r] = static_cast<std::uint64_t>(
        std::lower_bound(mask.exclusions + offset[0], mask.exclusions + offset[1], begin) -
        mask.exclusions);
  }

  TileScorer scorer(items, work, split.block_rows);
  scorer.begin_block(queries + std::uint64_t{first_row} * items.dim, m);
  for (std::uint32_t item = begin; item < end; item += std::min(scorer.tile_items(), end - item)) {
    const std::uint32_t n = std::min(scorer.tile_items(), end - item);
    scorer.begin_tile(item, n);
    for (std::uint32_t strip = 0; strip < m; strip += scorer.strip_rows())
      scan_strip(work, scorer, {first_row, strip, std::min(scorer.strip_rows(), m - strip)}, item,
                 n);
  }

  for (std::uint32_t r = 0; r < m; ++r) {
    std::uint64_t* keys = work.keys.data() + std::uint64_t{r} * split.capacity;
    if (split.segments == 1) {
      finish_row(first_row + r, keys, count[r]);
    } else {
      const std::uint64_t list = std::uint64_t{first_row + r} * split.segments + segment;
      const std::uint32_t kept = compact_row_host(keys, count[r], split.keep, &threshold[r]);
      workspace.partial_count.data()[list] = kept;
      std::copy(keys, keys + kept, workspace.partial_keys.data() + list * split.keep);
    }
  }
}

void Job::merge_segments(std::uint32_t row) const {
  // The row's lists lie next to each other, so closing the gaps makes one list of them.
  std::uint64_t* keys =
      workspace.partial_keys.data() + std::uint64_t{row} * split.segments * split.keep;
  std::uint32_t total = 0;
  for (std::uint32_t s = 0; s < split.segments; ++s) {
    const std::uint32_t n = workspace.partial_count.data()[std::uint64_t{row} * split.segments + s];
    const std::uint64_t* from = keys + std::uint64_t{s} * split.keep;
    std::copy(from, from + n, keys + total);
    total += n;
  }
  finish_row(row, keys, total);
}

/// Cuts to k + 1, sets aside the last one as the cut, writes the others.
void Job::finish_row(std::uint32_t row, std::uint64_t* keys, std::uint32_t count) const {
  float last = 0.0f;
  if (count > split.keep) count = compact_row_host(keys, count, split.keep, &last);
  out->left_out[row] = count > k ? 1 : 0;
  if (count > k) {
    std::uint64_t* least = std::min_element(keys, keys + count);
    out->cut[row] = score_of_key(*least);
    *least = keys[count - 1];
    --count;
  }
  out->count[row] = count;
  std::copy(keys, keys + count, out->keys + std::uint64_t{row} * k);
}

void Job::multiply_block(std::uint64_t block) const {
  TopkWorkspace::Worker& work = workspace.workers[static_cast<std::size_t>(worker_index())];
  const auto first_row = static_cast<std::uint32_t>(block * split.block_rows);
  const std::uint32_t m = std::min(split.block_rows, rows - first_row);
  TileScorer scorer(items, work, split.block_rows);
  scorer.begin_block(queries + std::uint64_t{first_row} * items.dim, m);
  for (std::uint32_t item = 0; item < items.num_items;
       item += std::min(scorer.tile_items(), items.num_items - item)) {
    scorer.begin_tile(item, std::min(scorer.tile_items(), items.num_items - item));
    for (std::uint32_t strip = 0; strip < m; strip += scorer.strip_rows())
      scorer.begin_strip(strip, std::min(scorer.strip_rows(), m - strip));
  }
}

void reserve(const Exec& exec, const Job& job) {
  const Split& s = job.split;
  auto& workers = job.workspace.workers;
  if (workers.size() < static_cast<std::size_t>(std::max(exec.threads, 1))) {
    workers.resize(static_cast<std::size_t>(std::max(exec.threads, 1)));
  }
  for (auto& w : workers) {
    TileScorer::reserve(exec, job.items, s.block_rows, w);
    w.keys.resize(exec, std::size_t{s.block_rows} * s.capacity);
    w.count.resize(exec, s.block_rows);
    w.threshold.resize(exec, s.block_rows);
    w.cursor.resize(exec, s.block_rows);
  }
  if (s.segments > 1) {
    job.workspace.partial_keys.resize(exec, std::size_t{job.rows} * s.segments * s.keep);
    job.workspace.partial_count.resize(exec, std::size_t{job.rows} * s.segments);
  }
}

}  // namespace

std::uint64_t TopkWorkspace::bytes() const {
  std::uint64_t total = partial_keys.capacity_bytes() + partial_count.capacity_bytes() +
                        sample_counts.capacity_bytes();
  for (const auto& w : workers) {
    total += w.scores.capacity_bytes() + w.packed_queries.capacity_bytes() +
             w.packed_items.capacity_bytes() + w.int8_queries.capacity_bytes() +
             w.int8_info.capacity_bytes() + w.int8_items.capacity_bytes() +
             w.int8_item_info.capacity_bytes() + w.int8_products.capacity_bytes() +
             w.int8_places.capacity_bytes() + w.keys.capacity_bytes() + w.count.capacity_bytes() +
             w.threshold.capacity_bytes() + w.cursor.capacity_bytes() + w.others.capacity_bytes() +
             w.progress.capacity_bytes();
  }
  return total;
}

void topk(const Exec& exec, const TopkItems& items, const TopkMask& mask, const float* queries,
          std::uint32_t rows, std::uint32_t k, TopkWorkspace& workspace, const TopkResult& out) {
  if (rows == 0) return;
  if (k == 0 || items.num_items == 0) {
    QUARRY_CHECK(items.num_items == 0);  // k = 0 leaves no list to bound what is left out
    for (std::uint32_t r = 0; r < rows; ++r) out.count[r] = out.left_out[r] = 0;
    return;
  }
  const OneBlasThread one_blas_thread(exec.threads);
  const Job job{items, mask, queries, rows, k, workspace, &out, split_work(exec, items, rows, k)};
  reserve(exec, job);
  // One pointer captured: the closure fits into std::function without an allocation.
  const Job* const j = &job;
  parallel_for(exec, std::uint64_t{job.split.blocks} * job.split.segments, 1,
               [j](std::uint64_t begin, std::uint64_t end) {
                 for (std::uint64_t t = begin; t < end; ++t) j->run_block(t);
               });
  if (job.split.segments > 1) {
    parallel_for(exec, rows, 1, [j](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t r = begin; r < end; ++r) j->merge_segments(static_cast<std::uint32_t>(r));
    });
  }
}

void topk_gemm_only(const Exec& exec, const TopkItems& items, const float* queries,
                    std::uint32_t rows, TopkWorkspace& workspace) {
  if (rows == 0 || items.num_items == 0) return;
  const OneBlasThread one_blas_thread(exec.threads);
  const Job job{items, {}, queries, rows, 1, workspace, nullptr, split_work(exec, items, rows, 1)};
  reserve(exec, job);
  const Job* const j = &job;
  parallel_for(exec, job.split.blocks, 1, [j](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t b = begin; b < end; ++b) j->multiply_block(b);
  });
}

}  // namespace quarry

// Lists that are as long as a caller needs who will reject a part of them. Each row runs two: what
// counts, whose worst entry is the floor, and what does not, which is kept down to that floor.
#include <algorithm>
#include <cstring>

#include "kernels/core/errors.h"
#include "kernels/topk/blas_threads.h"
#include "kernels/topk/topk.h"
#include "kernels/topk/topk_row.h"
#include "kernels/topk/topk_tile_cpu.h"

namespace quarry {
namespace {

/// Fewer rows per worker leave the GEMM so slow that searching again, deeper, costs less.
constexpr std::uint32_t kMinGoalRows = 16;

struct Job {
  const TopkItems& items;
  const TopkGoal& goal;
  const float* queries;
  std::uint32_t rows;
  std::uint32_t most;
  TopkWorkspace& workspace;
  const TopkResult& out;
  std::uint32_t keep = 0;  ///< of entries that count: the one beyond goal.wanted ends the list
  std::uint32_t keep_others = 0;     ///< of the others: more would make the list longer than `most`
  std::uint32_t capacity = 0;        ///< of a list of what counts
  std::uint32_t other_capacity = 0;  ///< of a list of what does not
  std::uint32_t block = 0;           ///< rows

  void run_block(std::uint64_t b) const;
  const std::uint32_t* counting_bits(TopkWorkspace::Worker& work, std::uint32_t first_row,
                                     std::uint32_t r, std::uint32_t item, std::uint32_t n,
                                     std::uint32_t* words) const;
  void make_room(TopkWorkspace::Worker& work, std::uint32_t r, std::uint32_t n) const;
  void finish_row(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r) const;
};

/// Drops what is at or behind the bar; keeps the order.
std::uint32_t drop_behind(std::uint64_t* keys, std::uint32_t count, std::uint64_t bar) {
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t key = keys[i];
    keys[kept] = key;
    kept += key > bar ? 1 : 0;
  }
  return kept;
}

/// Cuts back to the `keep` best if there are more, and takes the worst of these away as the new
/// bar, if it is ahead of it.
std::uint32_t raise_bar(std::uint64_t* keys, std::uint32_t count, std::uint32_t keep,
                        std::uint64_t* bar) {
  if (count < keep) return count;
  float ignored = 0.0f;
  count = compact_row_host(keys, count, keep, &ignored);
  std::uint64_t* least = std::min_element(keys, keys + count);
  *bar = std::max(*bar, *least);
  *least = keys[count - 1];
  return count - 1;
}

/// Which of items `item .. item + n - 1` may count in row r of the block: null for all.
const std::uint32_t* Job::counting_bits(TopkWorkspace::Worker& work, std::uint32_t first_row,
                                        std::uint32_t r, std::uint32_t item, std::uint32_t n,
                                        std::uint32_t* words) const {
  const std::uint32_t* bits = goal.eligible == nullptr ? nullptr : goal.eligible + item / 32;
  for (std::uint32_t s = 0; s < goal.num_skips; ++s) {
    const TopkSkips& skips = goal.skips[s];
    std::uint64_t& next = work.cursor.data()[std::uint64_t{r} * goal.num_skips + s];
    const std::uint64_t last = skips.offsets[skips.owner[first_row + r] + 1];
    if (next == last || skips.items[next] - item >= n) continue;
    if (bits == nullptr) {
      std::memset(words, 0xFF, divide_up(n, 32) * sizeof words[0]);
    } else if (bits != words) {
      std::memcpy(words, bits, divide_up(n, 32) * sizeof words[0]);
    }
    bits = words;
    for (; next < last && skips.items[next] - item < n; ++next) {
      const std::uint32_t j = skips.items[next] - item;
      words[j / 32] &= ~(1u << (j % 32));
    }
  }
  return bits;
}

/// Room for n more entries in both lists of row r.
void Job::make_room(TopkWorkspace::Worker& work, std::uint32_t r, std::uint32_t n) const {
  std::uint64_t* counting = work.keys.data() + std::uint64_t{r} * capacity;
  std::uint64_t* others = work.others.data() + std::uint64_t{r} * other_capacity;
  std::uint32_t& count = work.count.data()[r];
  std::uint32_t& num_others = work.num_others.data()[r];
  std::uint64_t& bar = work.bar.data()[r];
  if (std::uint64_t{count} + n > capacity) {
    count = drop_behind(counting, count, bar);
    count = raise_bar(counting, count, keep, &bar);
  }
  if (std::uint64_t{num_others} + n > other_capacity) {
    num_others = drop_behind(others, num_others, bar);
    if (num_others >= keep_others) num_others = raise_bar(others, num_others, keep_others, &bar);
  }
  if (bar != 0) work.threshold.data()[r] = score_of_key(bar);
}

void Job::run_block(std::uint64_t b) const {
  TopkWorkspace::Worker& work = workspace.workers[static_cast<std::size_t>(worker_index())];
  const auto first_row = static_cast<std::uint32_t>(b * block);
  const std::uint32_t m = std::min(block, rows - first_row);
  for (std::uint32_t r = 0; r < m; ++r) {
    work.count.data()[r] = work.num_others.data()[r] = work.num_passed.data()[r] = 0;
    work.bar.data()[r] = 0;
    work.threshold.data()[r] = no_threshold();
    for (std::uint32_t s = 0; s < goal.num_skips; ++s)
      work.cursor.data()[std::uint64_t{r} * goal.num_skips + s] =
          goal.skips[s].offsets[goal.skips[s].owner[first_row + r]];
  }
  for (std::uint32_t item = 0; item < items.num_items;
       item += std::min(kTopkTileItems, items.num_items - item)) {
    const std::uint32_t n = std::min(kTopkTileItems, items.num_items - item);
    score_tile(items, queries + std::uint64_t{first_row} * items.dim, m, item, n,
               work.scores.data());
    const float* bias =
        items.scoring == TopkScoring::kBlas && items.bias != nullptr ? items.bias + item : nullptr;
    for (std::uint32_t r = 0; r < m; ++r) {
      std::uint32_t words[kTopkTileItems / 32];
      const std::uint32_t* counts = counting_bits(work, first_row, r, item, n, words);
      const std::uint32_t row = first_row + r;
      TopkAppended filled{work.count.data()[r], work.num_others.data()[r],
                          work.num_passed.data()[r]};
      if (std::uint64_t{filled.counting} + n > capacity ||
          std::uint64_t{filled.others} + n > other_capacity) {
        make_room(work, r, n);
        filled.counting = work.count.data()[r];
        filled.others = work.num_others.data()[r];
      }
      const TopkBounds bounds{counts, work.threshold.data()[r],
                              goal.ceiling != nullptr ? goal.ceiling[row] : no_threshold(),
                              goal.pass_above != nullptr ? goal.pass_above[row] : no_threshold()};
      filled =
          append_two_lists_host(work.scores.data() + std::uint64_t{r} * kTopkTileItems, bias, n,
                                item, bounds, work.keys.data() + std::uint64_t{r} * capacity,
                                work.others.data() + std::uint64_t{r} * other_capacity, filled);
      work.count.data()[r] = filled.counting;
      work.num_others.data()[r] = filled.others;
      work.num_passed.data()[r] = filled.passed;
    }
  }
  for (std::uint32_t r = 0; r < m; ++r) finish_row(work, first_row, r);
}

/// Both lists down to the bar, as one of at most `most`.
void Job::finish_row(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r) const {
  std::uint64_t* counting = work.keys.data() + std::uint64_t{r} * capacity;
  std::uint64_t* others = work.others.data() + std::uint64_t{r} * other_capacity;
  std::uint64_t bar = work.bar.data()[r];
  std::uint32_t count = raise_bar(counting, work.count.data()[r], keep, &bar);
  count = drop_behind(counting, count, bar);
  std::uint32_t num_others = drop_behind(others, work.num_others.data()[r], bar);
  std::uint64_t* to = out.keys + std::uint64_t{first_row + r} * most;
  if (std::uint64_t{count} + num_others > most) {
    // The list ends sooner, behind the best `most` of both: they meet in the room of the others.
    num_others = raise_bar(others, num_others, most + 1, &bar);
    count = drop_behind(counting, count, bar);
    std::copy(counting, counting + count, others + num_others);
    num_others = raise_bar(others, num_others + count, most + 1, &bar);
    count = 0;
  }
  std::copy(counting, counting + count, to);
  std::copy(others, others + num_others, to + count);
  out.count[first_row + r] = count + num_others;
  out.left_out[first_row + r] = bar != 0 ? 1 : 0;
  if (bar != 0) out.cut[first_row + r] = score_of_key(bar);
  if (out.passed != nullptr) out.passed[first_row + r] = work.num_passed.data()[r];
}

void reserve(const Exec& exec, const Job& job) {
  auto& workers = job.workspace.workers;
  const auto threads = static_cast<std::size_t>(std::max(exec.threads, 1));
  if (workers.size() < threads) workers.resize(threads);
  for (auto& w : workers) {
    w.scores.resize(exec, std::size_t{job.block} * kTopkTileItems);
    w.keys.resize(exec, std::size_t{job.block} * job.capacity);
    w.others.resize(exec, std::size_t{job.block} * job.other_capacity);
    for (auto* per_row : {&w.count, &w.num_others, &w.num_passed}) per_row->resize(exec, job.block);
    w.bar.resize(exec, job.block);
    w.threshold.resize(exec, job.block);
    w.cursor.resize(exec, std::size_t{job.block} * std::max(job.goal.num_skips, 1u));
  }
}

}  // namespace

bool topk_toward_pays(const Exec& exec, std::uint32_t rows) {
  return exec.threads <= 1 || rows / static_cast<std::uint32_t>(exec.threads) >= kMinGoalRows;
}

void topk_toward(const Exec& exec, const TopkItems& items, const TopkGoal& goal,
                 const float* queries, std::uint32_t rows, std::uint32_t most,
                 TopkWorkspace& workspace, const TopkResult& out) {
  if (rows == 0) return;
  QUARRY_CHECK(goal.wanted > 0 && goal.wanted <= most && most > 0);
  QUARRY_CHECK(goal.pass_above == nullptr || goal.ceiling != nullptr);
  if (items.num_items == 0) {
    for (std::uint32_t r = 0; r < rows; ++r) out.count[r] = out.left_out[r] = 0;
    if (out.passed != nullptr) std::fill_n(out.passed, rows, 0u);
    return;
  }
  const OneBlasThread one_blas_thread(exec.threads);
  Job job{items, goal, queries, rows, most, workspace, out};
  job.keep = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{goal.wanted} + 1, 0xFFFFFFFFu));
  job.keep_others =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{most} + 1, 0xFFFFFFFFu));
  job.capacity = list_capacity(items.num_items, job.keep);
  // Not cut back for its own sake: a little room beyond what is kept at most, and room for the
  // counting entries at the end.
  job.other_capacity = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      std::uint64_t{job.keep_others} + goal.wanted + 2 * kTopkTileItems, 0xFFFFFFFFu));
  job.block = block_rows(exec, items, rows, std::uint64_t{job.capacity} + job.other_capacity, true);
  reserve(exec, job);
  const Job* const j = &job;
  parallel_for(exec, divide_up(rows, job.block), 1, [j](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t b = begin; b < end; ++b) j->run_block(b);
  });
}

}  // namespace quarry

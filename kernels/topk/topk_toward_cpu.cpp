// Lists that are as long as a caller needs who will reject a part of them. Each row runs two: what
// counts, of which the entry that reaches the goal, less the margin, is the floor, and what does
// not, which is kept down to that floor.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/core/errors.h"
#include "kernels/topk/blas_threads.h"
#include "kernels/topk/topk.h"
#include "kernels/topk/topk_row.h"
#include "kernels/topk/topk_tile_cpu.h"

namespace quarry {
namespace {

/// Fewer rows per worker leave the GEMM so slow that searching again, deeper, costs less.
constexpr std::uint32_t kMinGoalRows = 16;
/// Of rows whose goals are far: rows in all, and workers for one that has rows.
constexpr std::uint32_t kMinFarRows = 2;
constexpr std::uint32_t kMostIdle = 8;

/// Entries that count beyond what is kept, between two cuts: a list that is cut back often costs
/// sorting, one that is cut back late keeps a low threshold, which costs more where what reaches it
/// is scored again.
constexpr std::uint32_t kMinGrowth = 256;
constexpr std::uint32_t kMinGrowthByBounds = 64;

std::uint32_t within(std::uint64_t entries) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(entries, 0xFFFFFFFFu));
}

/// Rows that are looked at together.
struct RowGroup {
  std::uint32_t first_row = 0;  ///< of the block
  std::uint32_t strip = 0;      ///< first row of the strip, within the block
  std::uint32_t place = 0;      ///< within the strip
  std::uint32_t rows = 0;
};

struct Job {
  const TopkItems& items;
  const TopkGoal& goal;
  const float* queries;
  std::uint32_t rows;
  std::uint32_t most;
  TopkWorkspace& workspace;
  const TopkResult& out;
  std::uint32_t wanted = 0;            ///< goal.wanted, or more than there are items
  std::uint32_t growth = 0;            ///< of a list of what counts between two cuts
  std::uint32_t growth_by_bounds = 0;  ///< likewise where it is scored pair by pair
  std::uint32_t capacity = 0;          ///< of a list of what counts
  bool has_others = false;             ///< some items may not count
  bool scores_are_exact = false;       ///< those that bounds leave open
  std::uint32_t other_capacity = 0;    ///< of a list of what does not
  std::uint32_t block = 0;             ///< rows
  std::uint32_t from_sample = 0;  ///< entry of the sample's list that is a threshold; 0: none is

  void run_block(std::uint64_t b) const;
  void start_row(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r) const;
  void start_from_sample(TopkWorkspace::Worker& work, TileScorer& scorer, std::uint32_t first_row,
                         std::uint32_t first, std::uint32_t m) const;
  void start_block(TopkWorkspace::Worker& work, TileScorer& scorer, std::uint32_t first_row,
                   std::uint32_t m) const;
  const std::uint32_t* sample_bits(TopkWorkspace::Worker& work, std::uint32_t first_row,
                                   std::uint32_t r, std::uint32_t at, std::uint32_t n,
                                   std::uint32_t* words) const;
  TopkBounds bounds_of(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r,
                       std::uint32_t n, bool by_bounds) const;
  void prefetch_ends(TopkWorkspace::Worker& work, std::uint32_t r) const;
  void list_row(TopkWorkspace::Worker& work, std::uint32_t r, std::uint32_t item,
                const ScoredRow& scored, const float* bias, const TopkBounds& bounds) const;
  void scan_group(TopkWorkspace::Worker& work, TileScorer& scorer, const RowGroup& group,
                  std::uint32_t item, std::uint32_t n) const;
  const std::uint32_t* counting_bits(TopkWorkspace::Worker& work, std::uint32_t first_row,
                                     std::uint32_t r, std::uint32_t item, std::uint32_t n,
                                     std::uint32_t* words) const;
  void cut_counting(std::uint64_t* keys, float margin, TopkProgress& row) const;
  void cut_others(std::uint64_t* keys, TopkProgress& row) const;
  static std::uint64_t least_needed(float margin, const TopkProgress& row);
  void finish_row(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r) const;
  float margin_of(std::uint32_t row) const {
    return goal.margin != nullptr ? goal.margin[row] : 0.0f;
  }
};

/// Drops what is at or below the bar; keeps the order.
std::uint32_t drop_behind(std::uint64_t* keys, std::uint32_t count, std::uint64_t bar) {
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t key = keys[i];
    keys[kept] = key;
    kept += key > bar ? 1 : 0;
  }
  return kept;
}

/// Cuts back to the `keep` best if there are more; the best of what goes is a bar.
std::uint32_t keep_best(std::uint64_t* keys, std::uint32_t count, std::uint32_t keep,
                        std::uint64_t* bar) {
  if (count <= keep) return count;
  partition_row_host(keys, count, keep);
  *bar = std::max(*bar, *std::max_element(keys + keep, keys + count));
  return keep;
}

/// The key below which scores are more than `margin` worse; 0 where that is not a number.
std::uint64_t bar_below(float score, float margin) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  // One step for the rounding of the difference, one to be strictly below it.
  const float floor = std::nextafter(std::nextafter(score - margin, kLowest), kLowest);
  return std::isfinite(floor) ? score_key(clear_negative_zero(floor), 0) : 0;
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

/// Down to the margin below the entry that reaches the goal, if one does, and to the room there is.
void Job::cut_counting(std::uint64_t* keys, float margin, TopkProgress& row) const {
  std::uint32_t count = drop_behind(keys, row.counting, row.bar);
  if (count >= wanted) {
    partition_row_host(keys, count, wanted);
    row.goal = *std::min_element(keys, keys + wanted);
    row.bar = std::max(row.bar, bar_below(score_of_key(row.goal), margin));
    count = wanted + drop_behind(keys + wanted, count - wanted, row.bar);
    count = keep_best(keys, count, within(std::uint64_t{wanted} + goal.room), &row.bar);
  }
  row.counting = count;
  row.kept = std::max(count, wanted);
  if (row.bar != 0) row.threshold = score_of_key(row.bar);
}

/// More than `most` of them would make the list longer than that.
void Job::cut_others(std::uint64_t* keys, TopkProgress& row) const {
  row.others = drop_behind(keys, row.others, row.bar);
  row.others = keep_best(keys, row.others, most, &row.bar);
  if (row.bar != 0) row.threshold = score_of_key(row.bar);
}

/// Room for what a row may list of the next tile, and what is to be listed.
TopkBounds Job::bounds_of(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r,
                          std::uint32_t n, bool by_bounds) const {
  const std::uint32_t at = first_row + r;
  TopkProgress& row = work.progress.data()[r];
  std::uint64_t* counting = work.keys.data() + std::uint64_t{r} * capacity;
  std::uint64_t* others = work.others.data() + std::uint64_t{r} * other_capacity;
  const std::uint64_t grown = std::uint64_t{row.kept} + (by_bounds ? growth_by_bounds : growth);
  if (row.counting >= grown || std::uint64_t{row.counting} + n > capacity)
    cut_counting(counting, margin_of(at), row);
  if (has_others && std::uint64_t{row.others} + n > other_capacity) cut_others(others, row);
  return {nullptr, row.threshold, goal.ceiling != nullptr ? goal.ceiling[at] : no_threshold(),
          goal.pass_above != nullptr ? goal.pass_above[at] : no_threshold()};
}

/// The lists of a block are larger than the near caches: where they go on is fetched while the rows
/// of the group are looked at.
void Job::prefetch_ends(TopkWorkspace::Worker& work, std::uint32_t r) const {
  constexpr std::uint32_t kLine = 64 / sizeof(std::uint64_t);
  const TopkProgress& row = work.progress.data()[r];
  const std::uint64_t* counting = work.keys.data() + std::uint64_t{r} * capacity;
  const std::uint64_t* others = work.others.data() + std::uint64_t{r} * other_capacity;
  __builtin_prefetch(counting + std::min(row.counting, capacity - 1), 1);
  __builtin_prefetch(counting + std::min(row.counting + kLine, capacity - 1), 1);
  __builtin_prefetch(others + std::min(row.others, other_capacity - 1), 1);
}

/// What was found of a row in the items from `item` on goes to its lists.
void Job::list_row(TopkWorkspace::Worker& work, std::uint32_t r, std::uint32_t item,
                   const ScoredRow& scored, const float* bias, const TopkBounds& bounds) const {
  TopkProgress& row = work.progress.data()[r];
  row.approximate = row.approximate || scored.places == nullptr;
  row.passed += scored.passed;
  if (scored.count == 0) return;
  std::uint64_t* counting = work.keys.data() + std::uint64_t{r} * capacity;
  std::uint64_t* others = work.others.data() + std::uint64_t{r} * other_capacity;
  const TopkAppended before{row.counting, row.others, row.passed};
  const TopkAppended filled =
      scored.places == nullptr
          ? append_two_lists_host(scored.scores, bias, scored.count, item, bounds, counting, others,
                                  before)
          : append_two_lists_at_host(scored.scores, scored.places, bias, scored.count, item, bounds,
                                     counting, others, before);
  row.counting = filled.counting;
  row.others = filled.others;
  row.passed = filled.passed;
}

/// Some rows from a place of a strip of the block on, against items `item .. item + n - 1`.
void Job::scan_group(TopkWorkspace::Worker& work, TileScorer& scorer, const RowGroup& group,
                     std::uint32_t item, std::uint32_t n) const {
  std::uint32_t words[kTopkGroupRows][kTopkTileItems / 32];
  TopkBounds bounds[kTopkGroupRows];
  for (std::uint32_t i = 0; i < group.rows; ++i) {
    const std::uint32_t r = group.strip + group.place + i;
    bounds[i] = bounds_of(work, group.first_row, r, n, scorer.by_bounds());
    bounds[i].counts = counting_bits(work, group.first_row, r, item, n, words[i]);
    prefetch_ends(work, r);
    scorer.look(group.place + i, bounds[i]);
  }
  for (std::uint32_t i = 0; i < group.rows; ++i)
    list_row(work, group.strip + group.place + i, item, scorer.row(group.place + i), scorer.bias(),
             bounds[i]);
}

/// Nothing is listed, and skipped items are looked at from the first on.
void Job::start_row(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r) const {
  TopkProgress& row = work.progress.data()[r];
  row.counting = 0;
  row.kept = wanted;
  row.threshold = row.bar != 0 ? score_of_key(row.bar) : no_threshold();
  for (std::uint32_t s = 0; s < goal.num_skips; ++s)
    work.cursor.data()[std::uint64_t{r} * goal.num_skips + s] =
        goal.skips[s].offsets[goal.skips[s].owner[first_row + r]];
}

/// As counting_bits, of the sample's items at `at` and following.
const std::uint32_t* Job::sample_bits(TopkWorkspace::Worker& work, std::uint32_t first_row,
                                      std::uint32_t r, std::uint32_t at, std::uint32_t n,
                                      std::uint32_t* words) const {
  const Int8Sample& sample = *items.int8_sample;
  std::memcpy(words, workspace.sample_counts.data() + at / 32, divide_up(n, 32) * sizeof words[0]);
  for (std::uint32_t s = 0; s < goal.num_skips; ++s) {
    const TopkSkips& skips = goal.skips[s];
    std::uint64_t& next = work.cursor.data()[std::uint64_t{r} * goal.num_skips + s];
    const std::uint64_t last = skips.offsets[skips.owner[first_row + r] + 1];
    for (; next < last && sample.place_of(skips.items[next]) < at + n; ++next) {
      const std::uint32_t place = sample.place_of(skips.items[next]);
      if (sample.items()[place] != skips.items[next]) continue;
      words[(place - at) / 32] &= ~(1u << ((place - at) % 32));
    }
  }
  return words;
}

/// First thresholds of rows first .. first + m - 1 of the block: what is behind one of the sample's
/// best entries is, but for rare chance, behind the goal. Where it is not, the list ends there.
void Job::start_from_sample(TopkWorkspace::Worker& work, TileScorer& scorer,
                            std::uint32_t first_row, std::uint32_t first, std::uint32_t m) const {
  const std::uint32_t size = items.int8_sample->size();
  std::uint32_t words[kTopkTileItems / 32];
  for (std::uint32_t at = 0; at < size; at += std::min(scorer.tile_items(), size - at)) {
    const std::uint32_t n = std::min(scorer.tile_items(), size - at);
    for (std::uint32_t r = first; r < first + m; ++r) {
      if (r % kInt8Rows == 0) scorer.begin_sample_group(r, at, n);
      TopkProgress& row = work.progress.data()[r];
      std::uint64_t* keys = work.keys.data() + std::uint64_t{r} * capacity;
      if (row.counting >= 2 * from_sample + kMinGrowthByBounds ||
          std::uint64_t{row.counting} + n > capacity)
        row.counting = compact_row_host(keys, row.counting, from_sample, &row.threshold);
      const float ceiling = goal.ceiling != nullptr ? goal.ceiling[first_row + r] : no_threshold();
      const float* bounds =
          scorer.sample_row(r % kInt8Rows, ceiling, sample_bits(work, first_row, r, at, n, words));
      row.counting =
          append_row_host(bounds, nullptr, n, at, nullptr, row.threshold, keys, row.counting);
    }
  }
  for (std::uint32_t r = first; r < first + m; ++r) {
    TopkProgress& row = work.progress.data()[r];
    std::uint64_t* keys = work.keys.data() + std::uint64_t{r} * capacity;
    float reached = no_threshold();
    compact_row_host(keys, row.counting, from_sample, &reached);
    // Lists go on to a margin below the goal, whose score in the scan may be half a margin below
    // this bound of its real one.
    if (std::isfinite(reached)) row.bar = bar_below(reached, 2.0f * margin_of(first_row + r));
    start_row(work, first_row, r);
  }
}

/// Thresholds for all rows of the block, unless those of the first strip show that bounds will not
/// pay: then the others would be in vain. Where few items count they keep lists of others short,
/// and are worth it by themselves.
void Job::start_block(TopkWorkspace::Worker& work, TileScorer& scorer, std::uint32_t first_row,
                      std::uint32_t m) const {
  constexpr std::uint32_t kMostTried = 64;  // rows
  const bool few_count = items.int8_sample->is_of_some();
  bool pays = items.always_by_bounds || !scorer.bounds_failed();
  if (!pays && !few_count) return;
  const std::uint32_t n = std::min(scorer.tile_items(), items.int8_sample->size());
  for (std::uint32_t strip = 0; strip < m; strip += scorer.strip_rows()) {
    start_from_sample(work, scorer, first_row, strip, std::min(scorer.strip_rows(), m - strip));
    if (strip > 0 || items.always_by_bounds) continue;
    const std::uint32_t tried = std::min(kMostTried, m);
    std::uint64_t open = 0;
    for (std::uint32_t r = 0; r < tried; ++r) {
      if (r % kInt8Rows == 0) scorer.begin_sample_group(r, 0, n);
      open += scorer.sample_reaching(r % kInt8Rows, bounds_of(work, first_row, r, 0, true));
    }
    pays = pays && scorer.bounds_pay(open, std::uint64_t{tried} * n);
    if (!pays && !few_count) return;
  }
  if (pays) scorer.rows_have_thresholds();
}

void Job::run_block(std::uint64_t b) const {
  TopkWorkspace::Worker& work = workspace.workers[static_cast<std::size_t>(worker_index())];
  const auto first_row = static_cast<std::uint32_t>(b * block);
  const std::uint32_t m = std::min(block, rows - first_row);
  for (std::uint32_t r = 0; r < m; ++r) {
    work.progress.data()[r] = {};
    start_row(work, first_row, r);
  }
  TileScorer scorer(items, work, block);
  scorer.begin_block(queries + std::uint64_t{first_row} * items.dim, m);
  if (from_sample > 0) start_block(work, scorer, first_row, m);
  for (std::uint32_t item = 0; item < items.num_items;
       item += std::min(scorer.tile_items(), items.num_items - item)) {
    const std::uint32_t n = std::min(scorer.tile_items(), items.num_items - item);
    scorer.begin_tile(item, n);
    for (std::uint32_t strip = 0; strip < m; strip += scorer.strip_rows()) {
      const std::uint32_t strip_rows = std::min(scorer.strip_rows(), m - strip);
      scorer.begin_strip(strip, strip_rows);
      for (std::uint32_t place = 0; place < strip_rows; place += kTopkGroupRows) {
        const std::uint32_t group_rows = std::min(kTopkGroupRows, strip_rows - place);
        scan_group(work, scorer, {first_row, strip, place, group_rows}, item, n);
      }
    }
  }
  for (std::uint32_t r = 0; r < m; ++r) finish_row(work, first_row, r);
}

/// The key of the entry that reaches the goal. Of a list that ends before it, of the last that can
/// be proven: farther above the bar than a margin.
std::uint64_t Job::least_needed(float margin, const TopkProgress& row) {
  if (row.bar == 0 || row.bar < row.goal) return row.goal;
  constexpr float kHighest = std::numeric_limits<float>::infinity();
  const float sure =
      std::nextafter(std::nextafter(score_of_key(row.bar) + margin, kHighest), kHighest);
  return score_key(clear_negative_zero(sure), 0xFFFFFFFFu);  // the least key of the score
}

/// Both lists down to the bar, as one of at most `most`.
void Job::finish_row(TopkWorkspace::Worker& work, std::uint32_t first_row, std::uint32_t r) const {
  std::uint64_t* counting = work.keys.data() + std::uint64_t{r} * capacity;
  std::uint64_t* others = work.others.data() + std::uint64_t{r} * other_capacity;
  TopkProgress& row = work.progress.data()[r];
  const std::uint32_t at = first_row + r;
  cut_counting(counting, margin_of(at), row);
  std::uint64_t* list = counting;
  if (has_others) {
    cut_others(others, row);
    row.counting = drop_behind(counting, row.counting, row.bar);
    // Both meet in the room of the others.
    std::copy(counting, counting + row.counting, others + row.others);
    list = others;
  }
  // Where they are too many the list ends sooner.
  const std::uint32_t all = row.others + row.counting;
  const std::uint32_t count = keep_best(list, all, most, &row.bar);
  std::copy(list, list + count, out.keys + std::uint64_t{at} * most);
  out.count[at] = count;
  out.left_out[at] = row.bar != 0 ? 1 : 0;
  if (row.bar != 0) out.cut[at] = score_of_key(row.bar);
  if (out.passed != nullptr) out.passed[at] = row.passed;
  if (out.exact != nullptr) out.exact[at] = scores_are_exact && !row.approximate ? 1 : 0;
  if (out.least != nullptr) out.least[at] = least_needed(margin_of(at), row);
  if (out.others != nullptr) out.others[at] = count == all ? row.others : 0;
}

/// Of the sample's list: more of the sample are among the `wanted` best of all in one row of some
/// 1,000. Their number is a sum of independent choices, which is narrower than Poisson's.
std::uint32_t sample_goal(const TopkItems& items, std::uint32_t wanted) {
  if (items.scoring != TopkScoring::kInt8 || items.int8_sample == nullptr) return 0;
  const std::uint32_t size = items.int8_sample->size();
  const std::uint32_t population = items.int8_sample->population();
  if (size == population) return wanted <= size ? wanted : 0;
  const double among = static_cast<double>(size) / population * wanted;
  const double entry = std::ceil(among + 3.0 * std::sqrt(among) + 3.0);
  return entry * 2.0 <= size ? static_cast<std::uint32_t>(entry) : 0;
}

/// Bits of the sample's items that may count.
void find_sample_counts(const Exec& exec, const Job& job) {
  const Int8Sample& sample = *job.items.int8_sample;
  const auto words = static_cast<std::uint32_t>(divide_up(sample.size(), 32));
  job.workspace.sample_counts.resize(exec, words);
  std::uint32_t* counts = job.workspace.sample_counts.data();
  std::fill(counts, counts + words, job.goal.eligible == nullptr ? 0xFFFFFFFFu : 0u);
  for (std::uint32_t i = 0; job.goal.eligible != nullptr && i < sample.size(); ++i) {
    const std::uint32_t item = sample.items()[i];
    counts[i / 32] |= (job.goal.eligible[item / 32] >> (item % 32) & 1u) << (i % 32);
  }
}

void reserve(const Exec& exec, const Job& job) {
  auto& workers = job.workspace.workers;
  const auto threads = static_cast<std::size_t>(std::max(exec.threads, 1));
  if (workers.size() < threads) workers.resize(threads);
  for (auto& w : workers) {
    TileScorer::reserve(exec, job.items, job.block, w);
    w.keys.resize(exec, std::size_t{job.block} * job.capacity);
    w.others.resize(exec, std::size_t{job.block} * job.other_capacity);
    w.progress.resize(exec, job.block);
    w.cursor.resize(exec, std::size_t{job.block} * std::max(job.goal.num_skips, 1u));
  }
}

}  // namespace

bool topk_toward_pays(const Exec& exec, std::uint32_t rows, bool far) {
  if (exec.threads <= 1) return true;
  const auto threads = static_cast<std::uint32_t>(exec.threads);
  if (far) return rows >= kMinFarRows && rows >= threads / kMostIdle;
  return rows / threads >= kMinGoalRows;
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
    if (out.least != nullptr) std::fill_n(out.least, rows, std::uint64_t{0});
    if (out.others != nullptr) std::fill_n(out.others, rows, 0u);
    if (out.exact != nullptr) std::fill_n(out.exact, rows, std::uint8_t{1});
    return;
  }
  const OneBlasThread one_blas_thread(exec.threads);
  Job job{items, goal, queries, rows, most, workspace, out};
  job.wanted = std::min(goal.wanted, within(std::uint64_t{items.num_items} + 1));
  job.growth = std::max(job.wanted, kMinGrowth);
  job.growth_by_bounds = std::max(job.wanted / 2, kMinGrowthByBounds);
  const std::uint64_t kept = std::uint64_t{job.wanted} + goal.room;
  const std::uint64_t all = divide_up(items.num_items, kTopkTileItems) * kTopkTileItems;
  job.capacity = within(std::min(kept + job.growth + kTopkTileItems, all));
  // Not cut back for its own sake: room for the counting entries at the end, for a tile, and for so
  // much that long lists are seldom cut.
  job.has_others = goal.ceiling != nullptr || goal.eligible != nullptr || goal.num_skips > 0;
  job.other_capacity =
      job.has_others
          ? within(std::uint64_t{most} + job.capacity + std::max(kTopkTileItems, most / 8))
          : 1;
  // A distance is not what a product and norms add up to.
  job.scores_are_exact = items.scoring == TopkScoring::kInt8 && items.metric != Metric::kL2 &&
                         items.scale == 1.0f && items.bias == nullptr;
  job.block = block_rows(exec, items, rows, std::uint64_t{job.capacity} + job.other_capacity, true);
  reserve(exec, job);
  job.from_sample = sample_goal(items, job.wanted);
  if (job.from_sample > 0) find_sample_counts(exec, job);
  const Job* const j = &job;
  parallel_for(exec, divide_up(rows, job.block), 1, [j](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t b = begin; b < end; ++b) j->run_block(b);
  });
}

}  // namespace quarry

// Top-K by blocked GEMM: tiles of scores that stay in cache, masks before selection, a running
// top-K per row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/exec.h"
#include "kernels/topk/bf16_cpu.h"
#include "kernels/topk/int8_cpu.h"

namespace quarry {

/// How the score of a pair is formed. kBlas: by the BLAS in any order of addition, fast and
/// approximate. kCanonical: by exact_score, so that the result is brute force itself. kInt8: as
/// kBlas for what bounds from rows rounded to 8 bits leave open, faster where int8_pays();
/// what they exclude surely does not beat a row's threshold. kBf16: of rows rounded to
/// bf16, faster still where bf16_pays() and with a larger error. The last two are for the CPU only.
enum class TopkScoring : std::uint8_t { kBlas, kCanonical, kInt8, kBf16 };

/// What is searched. But for kCanonical an item's score is `scale * dot + bias`, `scale` a power of
/// two.
struct TopkItems {
  const float* rows = nullptr;  ///< [num_items, dim]
  std::uint32_t num_items = 0;
  std::uint32_t dim = 0;
  TopkScoring scoring = TopkScoring::kBlas;
  Metric metric = Metric::kInnerProduct;  ///< read under kCanonical and kInt8
  float scale = 1.0f;
  const float* bias = nullptr;            ///< [num_items]; null: none
  Bf16Unit bf16 = Bf16Unit::kPortable;    ///< kBf16: what multiplies; bf16_unit() is the fastest
  Int8Unit int8 = Int8Unit::kPortable;    ///< kInt8: what multiplies; int8_unit() is the fastest
  const Int8Table* int8_table = nullptr;  ///< kInt8: the rows, packed; null: every block packs them
  /// kInt8, topk_toward: some of the rows, from which lists take their first threshold; null: none.
  const Int8Sample* int8_sample = nullptr;
  bool always_by_bounds = false;  ///< kInt8: also where bounds exclude too little to pay
};

/// What may be found; applied before selection, so k counts only what is allowed.
struct TopkMask {
  const std::uint32_t* eligible = nullptr;  ///< [ceil(num_items / 32)] bit per item; null: all
  const std::uint64_t* exclusion_offsets = nullptr;  ///< [rows + 1]; null: no exclusions
  const std::uint32_t* exclusions = nullptr;         ///< item indices, ascending within a row
};

/// What is found. `cut` bounds everything that was left out: no allowed item outside the list
/// scores above it.
struct TopkResult {
  std::uint64_t* keys =
      nullptr;  ///< [rows, k] score_key(score, item), best k, in no particular order
  std::uint32_t* count = nullptr;  ///< [rows] entries of the list
  float* cut = nullptr;  ///< [rows] best score that was left out; not set where left_out is 0
  std::uint8_t* left_out = nullptr;  ///< [rows] 1: some allowed item is not in the list
  std::uint32_t* passed = nullptr;   ///< [rows] of topk_toward: items passed over; neither listed
                                     ///< nor left out. Null: not wanted
  /// [rows] of topk_toward: the key of the entry by which the goal is reached; if it is not, 0, or
  /// the least key that can be proven. What has a lesser one is not needed. Null: not wanted.
  std::uint64_t* least = nullptr;
  /// [rows] of topk_toward: entries that come first because they do not count. Null: not wanted.
  std::uint32_t* others = nullptr;
  /// [rows] of topk_toward: 1: every score of the list is that of exact_score. Null: not wanted.
  std::uint8_t* exact = nullptr;
};

/// Items of each row that a caller is sure to reject, such as what a user has seen.
struct TopkSkips {
  const std::uint64_t* offsets =
      nullptr;                           ///< row r: from offsets[owner[r]] to that of owner[r] + 1
  const std::uint32_t* items = nullptr;  ///< ascending within a list
  const std::uint32_t* owner = nullptr;  ///< [rows]
};
inline constexpr std::uint32_t kMaxTopkSkips = 8;

/// How long lists shall be, for callers who will reject a part of what is found: so long that
/// `wanted` entries are not sure to be rejected. It says where a list ends, never what is in it, so
/// it need not be exact.
struct TopkGoal {
  std::uint32_t wanted = 0;  ///< 1 or more
  /// [rows] The list goes on down to this much below the score of the entry that reaches the goal:
  /// with twice the error of a score nothing is missing that could be ahead of it. Null: 0.
  const float* margin = nullptr;
  std::uint32_t room = 64;                  ///< entries that count beyond `wanted`, at most
  const float* ceiling = nullptr;           ///< [rows] what scores above is rejected; null: nothing
  const std::uint32_t* eligible = nullptr;  ///< bit per item: 0 is rejected in every row; null: all
  std::uint32_t num_skips = 0;
  TopkSkips skips[kMaxTopkSkips];
  /// [rows] An eligible item that no list skips and that scores above this is passed over: counted
  /// and not listed. Not below `ceiling`, and surely above every score of a list's end; null:
  /// everything is listed.
  const float* pass_above = nullptr;
  /// [rows] What scores above this is rejected whatever its score and place. Scans list it like
  /// all else; a certified list may begin with such items in no order, each with the score
  /// kSettledScore: scoring them again and sorting them would be in vain. Null: nothing is.
  const float* settled_above = nullptr;
  /// What is not eligible or skipped is rejected whatever its score. Scans list it like all else; a
  /// certified list holds it with scores of the scan, between the other entries where it belongs,
  /// but in no order where several stand together.
  bool dismisses = false;
  /// Of `skips` the one of which this is not true; kMaxTopkSkips: it is true of all.
  std::uint32_t not_dismissed = kMaxTopkSkips;
};

/// A row of topk_toward on its way through the items.
struct TopkProgress {
  std::uint64_t bar = 0;   ///< nothing at or below this key is listed; 0: nothing was left out
  std::uint64_t goal = 0;  ///< key of the entry that reaches the goal so far; 0: none does
  float threshold = 0.0f;  ///< score of `bar`
  std::uint32_t counting = 0, others = 0, passed = 0;
  bool approximate = false;  ///< some tile was scored by the BLAS
  std::uint32_t kept = 0;    ///< entries that count behind the last cut, or as many as are wanted
};

/// Work areas, one per worker; kept by the caller so that calls of one size allocate once.
struct TopkWorkspace {
  struct Worker {
    HostBuffer<float> scores;                  ///< one strip of a tile
    HostBuffer<std::uint16_t> packed_queries;  ///< kBf16: of a block, of a tile
    HostBuffer<std::uint16_t> packed_items;
    HostBuffer<std::int8_t> int8_queries;  ///< kInt8: of a block, of a tile
    HostBuffer<Int8Query> int8_info;
    HostBuffer<std::uint8_t> int8_items;
    HostBuffer<float> int8_item_info;        ///< steps, norms, residuals
    HostBuffer<std::int32_t> int8_products;  ///< of a group of rows
    std::uint32_t int8_pause = 1;            ///< strips to do without bounds when they fail again
    HostBuffer<std::uint32_t> int8_places;   ///< of what bounds leave open, of the rows of a group
    HostBuffer<std::uint64_t> keys;          ///< running lists of one block of rows
    HostBuffer<std::uint32_t> count;
    HostBuffer<float> threshold;
    HostBuffer<std::uint64_t> cursor;   ///< next exclusion of each row, or of each of its lists
    HostBuffer<std::uint64_t> others;   ///< topk_toward: entries that do not count
    HostBuffer<TopkProgress> progress;  ///< topk_toward
  };
  std::vector<Worker> workers;
  HostBuffer<std::uint32_t> sample_counts;  ///< topk_toward: bits of the sample, as goal.eligible
  HostBuffer<std::uint64_t>
      partial_keys;  ///< lists per (row, item segment), when few rows are shared by all workers
  HostBuffer<std::uint32_t> partial_count;

  std::uint64_t bytes() const;
};

/// A tile is at most this many query rows by this many items (a multiple of 32).
inline constexpr std::uint32_t kTopkTileRows = 256;
inline constexpr std::uint32_t kTopkTileItems = 512;

/// The k best allowed items of each row, ties to the smaller item. queries: [rows, dim]. Blocks of
/// rows, and segments of the item table when rows are few, are spread over exec.threads. Under
/// kCanonical the set found is the same for any threads and any split of the rows; under kBlas
/// scores may differ in their last bits with the shape of a tile. The BLAS runs on one thread
/// meanwhile (blas_threads.h).
void topk(const Exec& exec, const TopkItems& items, const TopkMask& mask, const float* queries,
          std::uint32_t rows, std::uint32_t k, TopkWorkspace& workspace, const TopkResult& out);

/// Lists that are long enough: each row's best items in unbroken order down to goal.margin below
/// the last that counts toward goal.wanted, but at most `most`, and at most goal.room that count
/// beyond goal.wanted. `cut` may be above all that was left out. Otherwise as topk with k = most,
/// whose lists these begin. For rows enough to give every worker a block (topk_toward_pays).
/// With items.int8_sample at most about one list in 1,000 ends before its goal: its `left_out` is
/// 1, its `least` says what can be proven of it, and the rest is found by searching again.
void topk_toward(const Exec& exec, const TopkItems& items, const TopkGoal& goal,
                 const float* queries, std::uint32_t rows, std::uint32_t most,
                 TopkWorkspace& workspace, const TopkResult& out);
/// False where the item table had better be split among the workers, which topk alone does.
/// far: what is wanted may rank far down, so that searching without a goal costs several searches
/// or all scores; then few rows and idle workers are worth it.
bool topk_toward_pays(const Exec& exec, std::uint32_t rows, bool far = false);

/// Work areas of topk_gpu, kept by the caller like TopkWorkspace.
struct TopkDeviceWorkspace {
  DeviceBuffer<float> scores, threshold;
  DeviceBuffer<std::uint64_t> keys;
  DeviceBuffer<std::uint32_t> count;
};

/// topk on a device: every pointer, those inside the arguments too, is device memory.
/// Stream-ordered. The lists of the two agree under kCanonical as sets.
void topk_gpu(const Exec& exec, const TopkItems& items, const TopkMask& mask, const float* queries,
              std::uint32_t rows, std::uint32_t k, TopkDeviceWorkspace& workspace,
              const TopkResult& out);

/// The GEMM of topk alone: the same tiles on the same threads, nothing selected. The limit topk is
/// measured against.
void topk_gemm_only(const Exec& exec, const TopkItems& items, const float* queries,
                    std::uint32_t rows, TopkWorkspace& workspace);

/// append_row of one thread with vector instructions where the processor has them; the same keys in
/// the same order.
std::uint32_t append_row_host(const float* scores, const float* bias, std::uint32_t n,
                              std::uint32_t first_item, const std::uint32_t* allowed,
                              float threshold, std::uint64_t* keys, std::uint32_t count);
/// The same of n items that lie apart: item first_item + places[i] of scores[i], ascending; bias
/// and allowed are of the items from first_item on.
std::uint32_t append_row_at_host(const float* scores, const std::uint32_t* places,
                                 const float* bias, std::uint32_t n, std::uint32_t first_item,
                                 const std::uint32_t* allowed, float threshold, std::uint64_t* keys,
                                 std::uint32_t count);
/// Moves the k largest of `keys[0, count)`, distinct, to the front, in any order; 1 <= k <= count.
void partition_row_host(std::uint64_t* keys, std::uint32_t count, std::uint32_t k);
/// compact_row of one thread, without its counting passes: the same set of keys (in another order)
/// and threshold.
std::uint32_t compact_row_host(std::uint64_t* keys, std::uint32_t count, std::uint32_t k,
                               float* threshold);
/// Two lists that grow together, and what is in neither.
struct TopkAppended {
  std::uint32_t counting = 0;
  std::uint32_t others = 0;
  std::uint32_t passed = 0;
};
/// What one row looks for: bits of the items that may count (null: all), and bounds of scores.
struct TopkBounds {
  const std::uint32_t* counts = nullptr;
  float threshold = 0.0f;
  float ceiling = 0.0f;
  float pass_above = 0.0f;
};
/// As append_row_host, every item that beats the threshold. One that may count goes to `counting`
/// if it scores at most `ceiling` and is only counted if it scores above `pass_above`; all else
/// goes to `others`. A bound that is not a number bounds nothing.
TopkAppended append_two_lists_host(const float* scores, const float* bias, std::uint32_t n,
                                   std::uint32_t first_item, const TopkBounds& bounds,
                                   std::uint64_t* counting, std::uint64_t* others,
                                   TopkAppended filled);
/// The same of n items that lie apart: item first_item + places[i] of scores[i], ascending; bias
/// and bounds.counts are of the items from first_item on.
TopkAppended append_two_lists_at_host(const float* scores, const std::uint32_t* places,
                                      const float* bias, std::uint32_t n, std::uint32_t first_item,
                                      const TopkBounds& bounds, std::uint64_t* counting,
                                      std::uint64_t* others, TopkAppended filled);
/// append_row_host, append_two_lists_host and what partition_row_host splits by, for a kind of
/// processor.
struct TopkScanForm {
  const char* name;  ///< "avx512", "avx2" or "portable"
  std::uint32_t (*append)(const float*, const float*, std::uint32_t, std::uint32_t,
                          const std::uint32_t*, float, std::uint64_t*, std::uint32_t);
  TopkAppended (*append_two)(const float*, const float*, std::uint32_t, std::uint32_t,
                             const TopkBounds&, std::uint64_t*, std::uint64_t*, TopkAppended);
  /// Moves what is at least the pivot before what is not, in any order; returns how many there are.
  std::uint32_t (*split)(std::uint64_t* keys, std::uint32_t n, std::uint64_t pivot);
};
/// All that this processor runs, the one in use first.
std::span<const TopkScanForm> topk_scan_forms();
const char* topk_instruction_set();

}  // namespace quarry

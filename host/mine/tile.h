// Tile: the pipeline on some rows at one search depth. Buffers are kept between runs, so a loop
// over tiles allocates nothing once warm.
#pragma once

#include <chrono>
#include <vector>

#include "host/mine/compile.h"
#include "host/mine/miner.h"
#include "host/mine/search_depth.h"
#include "host/mine/search_goal.h"
#include "host/mine/sliced_lists.h"
#include "kernels/merge/merge.h"
#include "kernels/score/shared_pool.h"

namespace quarry {

/// Adds the seconds of its life to a total.
class StageTimer {
 public:
  explicit StageTimer(double& total) : total_(total), start_(std::chrono::steady_clock::now()) {}
  ~StageTimer() {
    total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  double& total_;
  std::chrono::steady_clock::time_point start_;
};

/// What a tile needs of the miner.
struct TileContext {
  const Exec& exec;
  const Compiled& compiled;
  const MinerInputs& inputs;
  Retriever* retriever;                ///< null without a topk branch
  Retriever* near_retriever;           ///< null without a near branch
  bool in_order = false;               ///< for find(): SearchGoals
  const SlicedLists* found = nullptr;  ///< for SearchDepth::found
};

/// The rows of a call and where their negatives go. `rows` and `out` are memory of the Exec, every
/// column of `out` is there; host_* are the same columns in host memory.
struct TileJob {
  RowsView rows;
  Picks out;
  const std::uint32_t* host_user = nullptr;              ///< where Tile::needs_users
  const std::uint64_t* host_positive_offsets = nullptr;  ///< where Tile::needs_positives; may be
                                                         ///< null: no positives
  const std::uint32_t* host_positives = nullptr;
};

/// Which rows of the call a run is about.
struct TileRows {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  const std::uint32_t* places = nullptr;  ///< [count] host memory; null: first, first + 1 ...
  std::uint32_t at(std::uint32_t i) const { return places != nullptr ? places[i] : first + i; }
};

/// A row that is not final.
struct ShortRow {
  std::uint32_t place = 0;   ///< in the call
  std::uint32_t length = 0;  ///< its list must have about this; 0: its list was not too short
};

class Tile {
 public:
  explicit Tile(const TileContext& context)
      : c_(context), goals_(context.exec, context.compiled, context.in_order) {}

  /// Mines rows at `depth`, writes them to job.out, and appends those that are not final to
  /// `short_rows`. Counts final rows into `report`.
  void run(const TileJob& job, const TileRows& rows, SearchDepth depth,
           std::vector<ShortRow>& short_rows, MinerReport& report);

  /// Only searches, at `depth`: what run() would find of the items that the retriever has, every
  /// list in order, on the CPU. Valid until the next call.
  FoundLists find(const TileJob& job, const TileRows& rows, SearchDepth depth);

  const SearchGoals& goals() const { return goals_; }
  /// Rows since construction that are not final because their lists were as long as allowed.
  std::uint64_t cut_short() const { return cut_short_; }
  /// Bytes that one row takes at `depth`, for sizing tiles.
  static std::uint64_t row_bytes(const Compiled& compiled, std::uint32_t depth);
  /// What runs have left allocated, host and device.
  std::uint64_t bytes() const;
  /// Host columns that a job must bring.
  static bool needs_users(const RowsView& rows) { return rows.queries == nullptr; }
  bool needs_positives() const { return c_.near_retriever != nullptr; }

 private:
  struct BranchWork {
    TileArray<std::uint32_t> items, raw_rank, count;
    TileArray<float> scores;
    TileArray<std::uint8_t> reasons;
    TileArray<std::uint32_t> pool_place, pool_rank, order, pool_size, num_ordered, cut,
        cut_survivors;
    TileArray<float> log_weight, sampling_key, log_total;
    TileArray<std::uint8_t> open;
    bool judged = false;  ///< lists hold survivors alone; `rest` says what else counts
    HostBuffer<SharedRest> rest;
  };

  void load_rows(const TileJob& job, const TileRows& rows);
  void load_queries(const TileJob& job, const TileRows& rows);
  void admit_rows(const TileJob& job, const TileRows& rows);
  void retrieve(SearchDepth depth);
  void reserve_found(std::uint32_t stride, bool counts_passed);
  void take_found(const TileJob& job, const TileRows& rows, SearchDepth depth);
  void gather_candidates(std::uint32_t b, const TileJob& job, const TileRows& rows);
  void gather_listed(std::uint32_t b);
  void gather_pool(std::uint32_t b);
  void gather_near(std::uint32_t b, const TileJob& job, const TileRows& rows);
  void gather_shared(std::uint32_t b, const TileJob& job);
  void copy_shared(std::uint32_t b, const SharedPool& pool);
  void count_unlisted(Counters& counters) const;
  void reserve_lists(BranchWork& w, std::uint64_t stride);
  void score(std::uint32_t b, std::uint64_t stride, bool order, bool keep_place);
  void judge(std::uint32_t b, MinerReport& report);
  void merge_rows(const Picks& out);
  void finish(const TileRows& rows, std::vector<ShortRow>& short_rows, MinerReport& report);
  void find_lengths(std::vector<ShortRow>& short_rows, std::size_t first);
  std::uint32_t length_of(std::uint32_t query) const;
  void* scratch(std::uint64_t bytes);
  template <class Visit>
  void for_each_array(Visit&& visit) const;

  TileContext c_;
  SearchGoals goals_;
  std::uint32_t num_rows_ = 0;
  std::uint32_t stride_ = 0;  ///< places of a list that was found
  std::uint64_t cut_short_ = 0;
  RowBatch batch_;
  MergeArgs merge_;
  std::vector<std::uint32_t> query_users_;
  std::vector<std::uint32_t> cut_queries_;  ///< of short rows; kNoItem: its list was not too short
  std::vector<std::uint32_t> asked_;        ///< each of them once
  std::vector<std::uint32_t> lengths_;      ///< by query, of those; 0: not asked for
  std::vector<float> sample_;               ///< rows of items in equal distances
  std::vector<std::uint32_t> near_items_;
  std::vector<std::pair<float, std::uint32_t>> near_list_;
  TileArray<std::uint32_t> index_, query_;
  TileArray<std::uint8_t> bad_;
  TileArray<float> queries_, positive_scores_;
  TileArray<std::uint32_t> found_items_, found_count_, found_passed_;
  bool passing_ = false;  ///< found_passed_ holds
  TileArray<float> found_scores_;
  std::vector<std::uint32_t> list_row_;  ///< by query, the row of the slices' lists; kNoItem: none
  TileArray<std::uint8_t> found_complete_, certified_;
  TileArray<std::uint32_t> near_found_, near_count_;
  TileArray<float> near_scores_, near_queries_;
  TileArray<std::uint8_t> near_complete_;
  SharedPoolWorkspace shared_;
  BranchWork work_[kMaxBranches];
  TileArray<DrawTally> tallies_;
  TileArray<Counters> counters_;
  TileArray<StratumCounters> strata_;
  TileArray<std::uint8_t> deepen_;
  TileArray<std::uint64_t> scratch_;
};

/// Adds all totals of one set of counters to another.
void add(Counters& into, const Counters& from);

}  // namespace quarry

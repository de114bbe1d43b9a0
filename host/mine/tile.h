// Tile: the pipeline on some rows at one search depth. Buffers are kept between runs, so a loop
// over tiles allocates nothing once warm.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "host/mine/compile.h"
#include "host/mine/miner.h"
#include "kernels/merge/merge.h"

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
  Retriever* retriever;       ///< null without a topk branch
  Retriever* near_retriever;  ///< null without a near branch
};

class Tile {
 public:
  explicit Tile(const TileContext& context) : c_(context) {}

  /// Mines rows[ids[i]] at `depth`, writes those that are final to out at place ids[i] - base, and
  /// appends the others to `deeper`. Counts final rows into `report`.
  void run(const RowsView& rows, std::span<const std::uint64_t> ids, std::uint64_t base,
           std::uint32_t depth, NegativeBatch& out, std::vector<std::uint64_t>& deeper,
           MinerReport& report);

  /// Bytes that one row takes at `depth`, for sizing tiles.
  static std::uint64_t row_bytes(const Compiled& compiled, std::uint32_t depth);
  std::uint64_t bytes() const;

 private:
  struct BranchWork {
    TileArray<std::uint32_t> items, raw_rank, count;
    TileArray<float> scores;
    TileArray<std::uint8_t> reasons;
    TileArray<std::uint32_t> pool_place, pool_rank, order, pool_size, num_ordered, cut,
        cut_survivors;
    TileArray<float> log_weight, sampling_key, log_total;
    TileArray<std::uint8_t> open;
  };

  void load_rows(const RowsView& rows, std::span<const std::uint64_t> ids);
  void load_queries(const RowsView& rows, std::span<const std::uint64_t> ids);
  void retrieve(std::uint32_t depth);
  void gather(std::uint32_t b);
  void gather_exposed(std::uint32_t b);
  void gather_run(std::uint32_t b);
  void gather_pool(std::uint32_t b);
  void gather_near(std::uint32_t b);
  void reserve_lists(BranchWork& w, std::uint64_t stride);
  void score(std::uint32_t b, std::uint64_t stride, bool order, bool keep_place);
  void judge(std::uint32_t b, std::uint32_t depth, MinerReport& report);
  void merge_rows();
  void emit(std::span<const std::uint64_t> ids, std::uint64_t base, NegativeBatch& out,
            std::vector<std::uint64_t>& deeper);
  void* scratch(std::uint64_t bytes);

  TileContext c_;
  std::uint32_t num_rows_ = 0;
  RowBatch batch_;
  MergeArgs merge_;
  std::vector<std::uint32_t> query_users_;
  std::vector<std::uint32_t> near_items_;
  std::vector<std::pair<float, std::uint32_t>> near_list_;
  TileArray<std::uint64_t> key_, positive_offsets_;
  TileArray<std::uint32_t> user_, query_, segment_, positives_;
  TileArray<std::int64_t> time_;
  TileArray<float> queries_, positive_scores_;
  TileArray<std::uint32_t> found_items_, found_count_;
  TileArray<float> found_scores_;
  TileArray<std::uint8_t> found_complete_, certified_;
  TileArray<std::uint32_t> near_found_, near_count_;
  TileArray<float> near_scores_, near_queries_;
  TileArray<std::uint8_t> near_complete_;
  BranchWork work_[kMaxBranches];
  TileArray<DrawTally> tallies_;
  TileArray<Counters> counters_;
  TileArray<std::uint32_t> item_, raw_rank_, survivor_rank_, stratum_;
  TileArray<float> score_, logq_, kappa_;
  TileArray<std::uint8_t> branch_, fill_, deepen_;
  TileArray<std::uint16_t> count_;
  TileArray<std::uint64_t> scratch_;
};

/// Adds all totals of one set of counters to another.
void add(Counters& into, const Counters& from);

}  // namespace quarry

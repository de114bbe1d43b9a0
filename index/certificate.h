// Exact search on top of an approximate one: re-score, prove with an error bound, search wider, at
// last by brute force. All of it where the Exec runs.
#pragma once

#include <cstdint>
#include <vector>

#include "index/item_rows.h"
#include "index/retriever.h"
#include "kernels/certify/certify.h"
#include "kernels/core/buffer.h"
#include "kernels/topk/topk.h"

namespace quarry {

/// The bound of kernels/certify/score_bound.h for one table of items.
class ErrorBound {
 public:
  /// Measures the norms of all items, on the host; with `coarse` also what bf16 takes away of them.
  void prepare(const Exec& exec, const ItemTable& items, bool coarse);
  ScoreBound of(Approximation approximation) const {
    ScoreBound bound = bound_;
    bound.approximation = approximation;
    return bound;
  }
  /// The few items, ascending, whose norm is far above the others': scored exactly for every query,
  /// so that one of them does not loosen the bound for all.
  const std::vector<std::uint32_t>& heavy() const { return heavy_; }

 private:
  ScoreBound bound_;
  std::vector<std::uint32_t> heavy_;
};

/// Work areas of topk, kept between calls.
struct SearchWorkspace {
  TopkWorkspace cpu;
  TopkDeviceWorkspace cuda;

  std::uint64_t device_bytes() const;
};
/// topk or topk_gpu, without a mask.
void topk_on(const Exec& exec, const TopkItems& items, const float* queries, std::uint32_t rows,
             std::uint32_t k, SearchWorkspace& workspace, const TopkResult& out);

/// Finds the best items by approximate score.
class CandidateSource {
 public:
  virtual ~CandidateSource() = default;
  /// The `depth` best of each row, as topk leaves them. depth <= max_depth(). Every pointer is
  /// memory of exec.device. `items`: the rows of the table there.
  virtual void find(const Exec& exec, const float* items, const float* queries, std::uint32_t rows,
                    std::uint32_t depth, SearchWorkspace& workspace, const TopkResult& out) = 0;
  /// As topk_toward leaves them, with scores of kind `how`; only for kinds that
  /// Retriever::follows_goals().
  virtual void find_toward(const Exec&, Approximation /*how*/, const float*, const float*,
                           std::uint32_t, std::uint32_t, const TopkGoal&, SearchWorkspace&,
                           const TopkResult&) {}
  /// Whether coarse_pays() may be true of some number of rows.
  virtual bool may_be_coarse(const Exec&) const { return false; }
  /// True where find_toward of so many rows is much faster with kTopkBf16, whose error is larger.
  virtual bool coarse_pays(const Exec&, std::uint32_t /*rows*/) const { return false; }
  virtual std::uint32_t max_depth() const { return 0xFFFFFFFFu; }
};

/// Turns a CandidateSource into exact search: results equal brute force with the exact score, bit
/// for bit, for any threads, any batch and either device. Work areas are kept between calls.
class CertifiedSearch {
 public:
  CertifiedSearch(const ItemTable& items, Approximation approximation)
      : items_(items), approximation_(approximation) {}
  /// As Retriever::search.
  void search(const Exec& exec, CandidateSource& source, const float* queries,
              std::uint32_t num_queries, std::uint32_t k, const SearchResult& out);
  /// As Retriever::search_toward.
  void search_toward(const Exec& exec, CandidateSource& source, const float* queries,
                     std::uint32_t num_queries, std::uint32_t most, const SearchGoal& goal,
                     const SearchResult& out);
  const SearchStats& stats() const { return stats_; }
  std::uint64_t memory_bytes() const;
  std::uint64_t device_bytes() const;

 private:
  struct Request;
  struct Pass;
  void prepare(const Exec& exec, const CandidateSource& source);
  void search(const Exec& exec, CandidateSource& source, const float* queries,
              std::uint32_t num_queries, std::uint32_t k, const SearchGoal* goal,
              const SearchResult& out);
  TopkGoal goal_of(const Exec& exec, const Request& request, const Pass& pass,
                   const SearchGoal& wanted, const float* queries, std::uint32_t begin,
                   std::uint32_t count);
  void search_pass(const Exec& exec, CandidateSource& source, Request& request, const Pass& pass);
  void coarse_pass(const Exec& exec, CandidateSource& source, Request& request);
  void brute_force(const Exec& exec, const Request& request);
  void keep_pending(const Exec& exec, Request& request);
  const std::uint32_t* place_pending(const Exec& exec, const Request& request);
  const float* gather(const Exec& exec, const Request& request, const std::uint32_t* pending,
                      std::uint32_t begin, std::uint32_t count);
  CertifyArgs reserve_lists(const Exec& exec, const Request& request, ListKind kind,
                            std::uint32_t rows, std::uint32_t depth, bool toward);
  TopkResult lists();
  void prepare_goal(const SearchGoal& goal);

  ItemRows items_;
  Approximation approximation_;
  ErrorBound bound_;
  bool prepared_ = false;
  SearchStats stats_;
  SearchWorkspace workspace_;
  ExecBuffer<std::uint32_t> heavy_;
  ExecBuffer<std::uint64_t> keys_, scratch_;
  ExecBuffer<std::uint32_t> count_;
  HostBuffer<std::uint32_t> passed_, others_;
  HostBuffer<std::uint64_t> least_;
  HostBuffer<std::uint8_t> exact_;
  std::vector<std::uint32_t> eligible_;  ///< of the goal, without heavy items
  ExecBuffer<float> cut_, gathered_;
  ExecBuffer<std::uint8_t> left_out_, proven_;
  std::vector<float> ceiling_, pass_above_, settled_above_,
      margin_;                                        ///< of the goal, for the queries in work
  std::vector<std::uint32_t> owners_[kMaxTopkSkips];  ///< likewise
  HostBuffer<std::uint8_t> flags_;      ///< `proven_` on the host, where that is elsewhere
  std::vector<std::uint32_t> pending_;  ///< rows that are not proven yet, ascending
  DeviceBuffer<std::uint32_t> device_pending_;
  std::uint32_t coarse_pause_ = 0;  ///< searches that do without a coarse pass
  std::uint32_t next_pause_ = 1;
};

}  // namespace quarry

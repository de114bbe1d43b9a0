// Exact search on top of an approximate one: re-score, prove with an error bound, search wider, at
// last by brute force.
#pragma once

#include <cstdint>
#include <vector>

#include "index/retriever.h"
#include "kernels/core/buffer.h"
#include "kernels/topk/topk.h"

namespace quarry {

/// How the approximate scores come about: each has its own error bound.
enum class Approximation : std::uint8_t {
  kTopk,  ///< kernels/topk: dot by BLAS; for L2 2 dot - |x|^2, to which -|q|^2 is still to be added
  kFaissFlat,  ///< FAISS flat: dot; for L2 the negated distance, direct or expanded with fp32 norms
};

/// Rigorous bound of |approximate - exact score|; the derivation stands in certificate.cpp.
class ErrorBound {
 public:
  struct OfQuery {
    double offset = 0.0;  ///< to be added to approximate scores
    double error = 0.0;   ///< |approximate + offset - exact| <= error for every item that is not
                          ///< heavy; may be infinite
  };

  /// Measures the norms of all items.
  void prepare(const Exec& exec, const ItemTable& items, Approximation approximation);
  OfQuery of(const float* query) const;
  /// The few items, ascending, whose norm is far above the others': scored exactly for every query,
  /// so that one of them does not loosen the bound for all.
  const std::vector<std::uint32_t>& heavy() const { return heavy_; }

 private:
  std::uint32_t dim_ = 0;
  Metric metric_ = Metric::kInnerProduct;
  Approximation approximation_ = Approximation::kTopk;
  double largest_norm_ = 0.0;  ///< of the items that are not heavy, rounded up
  std::vector<std::uint32_t> heavy_;
};

/// Sum of squares in double; the products are exact.
double squared_norm(const float* row, std::uint32_t dim);

/// Finds the best items by approximate score.
class CandidateSource {
 public:
  virtual ~CandidateSource() = default;
  /// The `depth` best of each row, as topk leaves them. depth <= max_depth().
  virtual void find(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t depth,
                    TopkWorkspace& workspace, const TopkResult& out) = 0;
  virtual std::uint32_t max_depth() const { return 0xFFFFFFFFu; }
};

/// Turns a CandidateSource into exact search: results equal brute force with the exact score, bit
/// for bit, for any threads and any batch. Work areas are kept between calls.
class CertifiedSearch {
 public:
  CertifiedSearch(const ItemTable& items, Approximation approximation)
      : items_(items), approximation_(approximation) {}
  void search(const Exec& exec, CandidateSource& source, const float* queries,
              std::uint32_t num_queries, std::uint32_t k, const SearchResult& out);
  const SearchStats& stats() const { return stats_; }
  std::uint64_t memory_bytes() const;

 private:
  struct Request;
  void search_pass(const Exec& exec, CandidateSource& source, const Request& request,
                   std::uint32_t slack);
  void brute_force(const Exec& exec, const Request& request);
  bool judge(const Request& request, const float* query, std::uint32_t chunk_row,
             std::uint32_t depth, std::uint32_t row);
  const float* gather(const Exec& exec, const Request& request, std::uint32_t begin,
                      std::uint32_t count);
  void reserve_lists(const Exec& exec, std::uint32_t rows, std::uint32_t depth);
  TopkResult lists();

  ItemTable items_;
  Approximation approximation_;
  ErrorBound bound_;
  bool prepared_ = false;
  SearchStats stats_;
  TopkWorkspace workspace_;
  HostBuffer<std::uint64_t> keys_;
  HostBuffer<std::uint32_t> count_;
  HostBuffer<float> cut_;
  HostBuffer<std::uint8_t> left_out_;
  HostBuffer<std::uint8_t> proven_;
  HostBuffer<float> gathered_;
  std::vector<HostBuffer<std::uint64_t>> scratch_;  ///< one list per worker
  std::vector<std::uint32_t> pending_;              ///< rows that are not proven yet, ascending
};

}  // namespace quarry

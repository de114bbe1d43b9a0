// The error bound and the loop that widens until every row is proven.
//
// Notation: u = 2^-24, gamma(n) = n u / (1 - n u). A sum of products in which every term passes at
// most n roundings, fused or not and in any order, is off by at most gamma(n) * sum |q_i x_i| <=
// gamma(n) |q| |x| (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). A sum of
// d products in any order has n <= d, because additions of an exact zero round nothing. The exact
// score has n = e = ceil(d / 32) + 5: its lanes, then its tree.
//
// Inner product and cosine:  |approx - exact| <= (gamma(d) + gamma(e)) |q| X, X the largest norm of
// an item.
//
// L2, with D = |q - x|^2 <= (|q| + X)^2 in real numbers. The exact score rounds each difference
// once, which is squared, so its terms pass e + 2 roundings: |exact + D| <= gamma(e + 2) D.
//   kTopk: g = dot by BLAS, 2 g exact, b = |x|^2 rounded once from double, s = 2 g - b rounded
//   once:
//     |s - (2 q.x - |x|^2)| <= 2 gamma(d) |q| X + u X^2 + u (2 (1 + gamma(d)) |q| X + (1 + u) X^2)
//                           <= 2 gamma(d + 2) |q| X + 2.5 u X^2;
//     offset = -|q|^2 from double, off by at most d 2^-53 |q|^2.
//   kFaissFlat: either the direct sum, gamma(d + 2) D, or |q|^2 + |x|^2 - 2 q.x with every part
//   summed in fp32 and two
//     additions: every term passes at most d + 2 roundings and the terms' magnitudes add up to at
//     most (|q| + X)^2, so gamma(d + 3) (|q| + X)^2 covers both. FAISS raises negative results to
//     0, which only brings them nearer to D.
//
// Underflow is not covered by gamma: every operation may lose up to 2^-126 even if a library
// flushes denormals, and there are fewer than 4 (d + 8) operations in both computations together.
// Where a partial sum could overflow, the bound is infinite and the row ends in brute force. As a
// guard against a BLAS that computes in lower precision, every candidate is checked against the
// bound when it is re-scored; one violation and the row is not certified.
#include "index/certificate.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/core/exact_math.h"

namespace quarry {
namespace {

constexpr std::uint32_t kSlacks[] = {16, 64, 256, 1024};
constexpr std::uint32_t kMaxHeavy = 64;
/// Bytes of candidate lists in flight, and most rows of a chunk.
constexpr std::uint64_t kChunkBytes = std::uint64_t{48} << 20;
constexpr std::uint32_t kChunkRows = 4096;
constexpr std::uint64_t kRowGrain = 8;

double gamma_of(double n) {
  const double nu = n * 0x1p-24;
  return nu < 0.5 ? nu / (1.0 - nu) : std::numeric_limits<double>::infinity();
}

/// At least the norm: the sum of `dim` doubles and its root are off by less than (dim + 4) 2^-53,
/// relatively.
double norm_rounded_up(double squared, std::uint32_t dim) {
  return std::sqrt(squared) * (1.0 + (dim + 4.0) * 0x1p-52);
}

std::uint32_t chunk_rows(std::uint32_t depth) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
      kChunkBytes / (sizeof(std::uint64_t) * std::uint64_t{depth}), 1, kChunkRows));
}

void prefetch_row(const float* row, std::uint32_t dim) {
  for (std::uint32_t i = 0; i < dim; i += 16) __builtin_prefetch(row + i);
}

}  // namespace

double squared_norm(const float* row, std::uint32_t dim) {
  double part[4] = {};
  std::uint32_t i = 0;
  for (; i + 4 <= dim; i += 4) {
    for (std::uint32_t j = 0; j < 4; ++j) part[j] += double{row[i + j]} * double{row[i + j]};
  }
  for (; i < dim; ++i) part[0] += double{row[i]} * double{row[i]};
  return (part[0] + part[1]) + (part[2] + part[3]);
}

void ErrorBound::prepare(const Exec& exec, const ItemTable& items, Approximation approximation) {
  dim_ = items.dim;
  metric_ = items.metric;
  approximation_ = approximation;
  heavy_.clear();
  largest_norm_ = 0.0;
  const std::uint32_t n = items.num_items;
  if (n == 0) return;
  HostBuffer<double> norms(exec, n);
  parallel_for(exec, n, 4096, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      norms.data()[i] =
          norm_rounded_up(squared_norm(items.rows + i * items.dim, items.dim), items.dim);
    }
  });
  const double largest = *std::max_element(norms.data(), norms.data() + n);
  double limit = largest;
  const std::uint32_t most_heavy = std::min(kMaxHeavy, n / 64);
  if (most_heavy > 0) {
    HostBuffer<double> sorted(exec, n);
    std::copy(norms.data(), norms.data() + n, sorted.data());
    std::nth_element(sorted.data(), sorted.data() + most_heavy, sorted.data() + n,
                     std::greater<>());
    // At most `most_heavy` items are above this one, so at most that many are above its double.
    limit = 2.0 * sorted.data()[most_heavy];
  }
  for (std::uint32_t i = 0; i < n; ++i) {
    if (norms.data()[i] > limit) {
      heavy_.push_back(i);
    } else {
      largest_norm_ = std::max(largest_norm_, norms.data()[i]);
    }
  }
}

ErrorBound::OfQuery ErrorBound::of(const float* query) const {
  const double squared = squared_norm(query, dim_);
  const double q = norm_rounded_up(squared, dim_);
  const double x = largest_norm_;
  const double d = dim_;
  const double e = (dim_ + kScoreLanes - 1) / kScoreLanes + 5;
  OfQuery result;
  double magnitude = q * x;
  if (metric_ != Metric::kL2) {
    result.error = (gamma_of(d) + gamma_of(e)) * q * x;
  } else {
    const double sum = (q + x) * (q + x);
    magnitude = sum;
    result.error = gamma_of(e + 2) * sum;
    if (approximation_ == Approximation::kTopk) {
      result.offset = -squared;
      result.error += 2.0 * gamma_of(d + 2) * q * x + 2.5 * 0x1p-24 * x * x + d * 0x1p-53 * squared;
    } else {
      result.error += gamma_of(d + 3) * sum;
    }
  }
  // The factor covers the roundings of this function itself.
  result.error = result.error * (1.0 + 0x1p-40) + 4.0 * (d + 8.0) * 0x1p-126;
  if (!(magnitude < 0x1p126)) result.error = std::numeric_limits<double>::infinity();
  return result;
}

struct CertifiedSearch::Request {
  const float* queries;
  std::uint32_t k;  ///< entries wanted of each row: min(k of the caller, items)
  std::uint32_t stride;
  const SearchResult& out;
  bool all_pending;  ///< the rows are 0, 1, 2 ...: nothing to gather
  std::uint32_t pending;

  void write(const std::uint64_t* keys, std::uint32_t row) const {
    const std::uint64_t base = std::uint64_t{row} * stride;
    for (std::uint32_t j = 0; j < k; ++j) {
      out.items[base + j] = item_of_key(keys[j]);
      out.scores[base + j] = score_of_key(keys[j]);
    }
  }
};

TopkResult CertifiedSearch::lists() {
  return {keys_.data(), count_.data(), cut_.data(), left_out_.data()};
}

void CertifiedSearch::reserve_lists(const Exec& exec, std::uint32_t rows, std::uint32_t depth) {
  keys_.resize(exec, std::size_t{rows} * depth);
  count_.resize(exec, rows);
  cut_.resize(exec, rows);
  left_out_.resize(exec, rows);
  proven_.resize(exec, rows);
  const auto threads = static_cast<std::size_t>(std::max(exec.threads, 1));
  if (scratch_.size() < threads) scratch_.resize(threads);
  for (auto& s : scratch_) s.resize(exec, std::size_t{depth} + bound_.heavy().size());
}

const float* CertifiedSearch::gather(const Exec& exec, const Request& request, std::uint32_t begin,
                                     std::uint32_t count) {
  const std::size_t dim = items_.dim;
  if (request.all_pending) return request.queries + begin * dim;
  gathered_.resize(exec, count * dim);
  for (std::uint32_t r = 0; r < count; ++r) {
    const float* from = request.queries + pending_[begin + r] * dim;
    std::copy(from, from + dim, gathered_.data() + r * dim);
  }
  return gathered_.data();
}

/// Re-scores one list; if it is proven to hold the k best, writes them.
bool CertifiedSearch::judge(const Request& request, const float* query, std::uint32_t chunk_row,
                            std::uint32_t depth, std::uint32_t row) {
  constexpr std::uint32_t kAhead =
      6;  // rows of items fetched in advance: they lie anywhere in memory
  const std::uint64_t* found = keys_.data() + std::uint64_t{chunk_row} * depth;
  const std::uint32_t n = count_.data()[chunk_row];
  std::uint64_t* keys = scratch_[static_cast<std::size_t>(worker_index())].data();
  const ErrorBound::OfQuery bound = bound_.of(query);
  const auto& heavy = bound_.heavy();
  const auto row_of = [&](std::uint32_t item) {
    return items_.rows + std::uint64_t{item} * items_.dim;
  };

  bool within_bound = true;
  for (std::uint32_t j = 0; j < n; ++j) {
    if (j + kAhead < n) prefetch_row(row_of(item_of_key(found[j + kAhead])), items_.dim);
    const std::uint32_t item = item_of_key(found[j]);
    const float exact = exact_score(items_.metric, query, row_of(item), items_.dim);
    keys[j] = score_key(exact, item);
    const double difference =
        std::fabs(double{score_of_key(found[j])} + bound.offset - double{exact});
    if (!(difference <= bound.error) && !std::binary_search(heavy.begin(), heavy.end(), item))
      within_bound = false;
  }
  std::uint32_t total = n;
  if (!heavy.empty()) {
    for (const std::uint32_t item : heavy) {
      keys[total++] = score_key(exact_score(items_.metric, query, row_of(item), items_.dim), item);
    }
    std::sort(keys, keys + total, std::greater<>());
    total = static_cast<std::uint32_t>(std::unique(keys, keys + total) - keys);
  }
  if (total < request.k) return false;
  float last = 0.0f;
  if (heavy.empty()) {
    compact_row_host(keys, total, request.k, &last);
    std::sort(keys, keys + request.k, std::greater<>());
  }
  last = score_of_key(keys[request.k - 1]);
  bool proven = total == items_.num_items;  // nothing was left out
  if (!proven && within_bound && left_out_.data()[chunk_row] != 0) {
    // An item that was left out scores at most cut + offset + error: strictly less is strictly
    // behind, whatever its id.
    const double cut = cut_.data()[chunk_row];
    const double rounding =
        (std::fabs(cut) + std::fabs(double{last}) + std::fabs(bound.offset)) * 0x1p-48;
    proven = double{last} > cut + bound.offset + bound.error + rounding;
  }
  if (proven) request.write(keys, row);
  return proven;
}

void CertifiedSearch::search_pass(const Exec& exec, CandidateSource& source, const Request& request,
                                  std::uint32_t slack) {
  const auto depth = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{request.k} + slack, items_.num_items));
  const std::uint32_t step = chunk_rows(depth);
  std::uint32_t left = 0;
  for (std::uint32_t begin = 0; begin < request.pending;
       begin += std::min(step, request.pending - begin)) {
    const std::uint32_t rows = std::min(step, request.pending - begin);
    const float* queries = gather(exec, request, begin, rows);
    reserve_lists(exec, rows, depth);
    source.find(exec, queries, rows, depth, workspace_, lists());
    parallel_for(exec, rows, kRowGrain, [&](std::uint64_t first, std::uint64_t end) {
      for (std::uint64_t r = first; r < end; ++r) {
        const auto at = static_cast<std::uint32_t>(r);
        const std::uint32_t row = request.all_pending ? begin + at : pending_[begin + at];
        proven_.data()[r] = judge(request, queries + r * items_.dim, at, depth, row) ? 1 : 0;
      }
    });
    // Rows that failed move to the front; entries at or behind `begin` are not needed any more.
    for (std::uint32_t r = 0; r < rows; ++r) {
      if (proven_.data()[r] == 0) {
        const std::uint32_t row = request.all_pending ? begin + r : pending_[begin + r];
        if (left == pending_.size()) pending_.push_back(row);
        pending_[left++] = row;
      }
    }
  }
  stats_.certified += request.pending - left;
  pending_.resize(left);
}

void CertifiedSearch::brute_force(const Exec& exec, const Request& request) {
  const TopkItems scored{.rows = items_.rows,
                         .num_items = items_.num_items,
                         .dim = items_.dim,
                         .scoring = TopkScoring::kCanonical,
                         .metric = items_.metric};
  const std::uint32_t step = chunk_rows(request.k);
  for (std::uint32_t begin = 0; begin < request.pending;
       begin += std::min(step, request.pending - begin)) {
    const std::uint32_t rows = std::min(step, request.pending - begin);
    const float* queries = gather(exec, request, begin, rows);
    reserve_lists(exec, rows, request.k);
    topk(exec, scored, {}, queries, rows, request.k, workspace_, lists());
    parallel_for(exec, rows, kRowGrain, [&](std::uint64_t first, std::uint64_t end) {
      for (std::uint64_t r = first; r < end; ++r) {
        std::uint64_t* keys = keys_.data() + r * request.k;
        std::sort(keys, keys + request.k, std::greater<>());
        request.write(keys, request.all_pending ? begin + static_cast<std::uint32_t>(r)
                                                : pending_[begin + r]);
      }
    });
  }
  stats_.fallback += request.pending;
}

void CertifiedSearch::search(const Exec& exec, CandidateSource& source, const float* queries,
                             std::uint32_t num_queries, std::uint32_t k, const SearchResult& out) {
  if (num_queries == 0) return;
  const std::uint32_t wanted = std::min(k, items_.num_items);
  stats_.queries += num_queries;
  for (std::uint32_t r = 0; r < num_queries; ++r) {
    out.count[r] = wanted;
    out.complete[r] = wanted == items_.num_items ? 1 : 0;
    if (out.certified != nullptr) out.certified[r] = 1;
  }
  if (wanted == 0) {
    stats_.certified += num_queries;
    return;
  }
  if (!prepared_) {
    bound_.prepare(exec, items_, approximation_);
    prepared_ = true;
  }
  Request request{queries, wanted, k, out, true, num_queries};
  // Nearly all items are wanted: their exact scores are needed anyway.
  const bool nearly_all = std::uint64_t{wanted} + kSlacks[0] >= items_.num_items;
  pending_.clear();
  for (const std::uint32_t slack : kSlacks) {
    if (request.pending == 0 || nearly_all) break;
    if (std::uint64_t{wanted} + slack > source.max_depth()) break;
    if (!request.all_pending) stats_.widened += request.pending;
    search_pass(exec, source, request, slack);
    request.all_pending = false;
    request.pending = static_cast<std::uint32_t>(pending_.size());
  }
  if (request.pending > 0) brute_force(exec, request);
}

std::uint64_t CertifiedSearch::memory_bytes() const {
  std::uint64_t total = workspace_.bytes() + keys_.capacity_bytes() + count_.capacity_bytes() +
                        cut_.capacity_bytes() + left_out_.capacity_bytes() +
                        proven_.capacity_bytes() + gathered_.capacity_bytes() +
                        pending_.capacity() * sizeof(std::uint32_t);
  for (const auto& s : scratch_) total += s.capacity_bytes();
  return total;
}

}  // namespace quarry

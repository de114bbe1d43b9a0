// How much an approximate retriever loses.
#include "host/mine/recall.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <tuple>

#include "host/mine/state.h"
#include "kernels/core/errors.h"
#include "kernels/core/philox.h"

namespace quarry {
namespace {

/// Items of both rankings that are compared at a time.
constexpr std::uint64_t kRankedItems = 2ull << 20;
/// The 97.5 % point of the normal distribution.
constexpr double kNormal = 1.959963984540054;

/// Of the row key alone: the same rows for every seed and round, so that runs can be compared.
std::uint64_t hash_of(std::uint64_t key) {
  const PhiloxWords words = philox4x32({0x72656361u, 0x6C6C0001u}, static_cast<std::uint32_t>(key),
                                       static_cast<std::uint32_t>(key >> 32), 0, 0);
  return std::uint64_t{words.z[0]} << 32 | words.z[1];
}

/// Items of two ascending lists, each as often as both hold it.
std::uint32_t in_both(const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b) {
  std::vector<std::uint32_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return static_cast<std::uint32_t>(both.size());
}

}  // namespace

RecallShare recall_share(const std::vector<std::uint32_t>& found,
                         const std::vector<std::uint32_t>& wanted) {
  RecallShare share;
  double rows = 0;
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    share.found += found[r];
    share.wanted += wanted[r];
    rows += wanted[r] > 0 ? 1 : 0;
  }
  if (share.wanted == 0) return share;
  const auto n = static_cast<double>(share.wanted);
  const double p = static_cast<double>(share.found) / n;
  share.share = p;
  // The variance of a ratio of sums over rows, and the trials that would have it. Where all or
  // nothing is found no variance is seen: then a row is one trial.
  double squares = 0;
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    const double off = static_cast<double>(found[r]) - p * static_cast<double>(wanted[r]);
    squares += off * off;
  }
  const double variance = squares / (n * n);
  const double trials =
      p > 0 && p < 1 && variance > 0 ? std::clamp(p * (1 - p) / variance, 1.0, n) : rows;
  const double z2 = kNormal * kNormal;
  const double middle = (p + z2 / (2 * trials)) / (1 + z2 / trials);
  const double half =
      kNormal / (1 + z2 / trials) * std::sqrt(p * (1 - p) / trials + z2 / (4 * trials * trials));
  share.low = std::min(p, std::max(0.0, middle - half));
  share.high = std::max(p, std::min(1.0, middle + half));
  return share;
}

void RecallSample::offer(const NegativeBatch& batch, const std::uint64_t* keys,
                         std::uint64_t first_row) {
  const auto before = [](const Row& a, const Row& b) {
    return std::tie(a.hash, a.row) < std::tie(b.hash, b.row);
  };
  for (std::uint32_t r = 0; most_ > 0 && r < batch.num_rows; ++r) {
    const std::size_t begin = std::size_t{r} * batch.k;
    if (batch.k == 0 || batch.fill[begin] == static_cast<std::uint8_t>(FillCode::kBadRow)) continue;
    Row row{hash_of(keys[r]), first_row + r, {}};
    if (heap_.size() == most_) {
      if (!before(row, heap_.front())) continue;
      std::pop_heap(heap_.begin(), heap_.end(), before);
      heap_.pop_back();
    }
    const auto items = batch.item.begin() + static_cast<std::ptrdiff_t>(begin);
    row.negatives.assign(items, items + batch.count[r]);
    std::sort(row.negatives.begin(), row.negatives.end());
    heap_.push_back(std::move(row));
    std::push_heap(heap_.begin(), heap_.end(), before);
  }
}

std::vector<const RecallSample::Row*> RecallSample::by_row() const {
  std::vector<const Row*> rows;
  for (const Row& row : heap_) rows.push_back(&row);
  std::sort(rows.begin(), rows.end(), [](const Row* a, const Row* b) { return a->row < b->row; });
  return rows;
}

std::vector<std::uint64_t> RecallSample::rows() const {
  std::vector<std::uint64_t> rows;
  for (const Row* row : by_row()) rows.push_back(row->row);
  return rows;
}

RecallReport RecallSample::measure(Miner& miner, const RowsView& rows,
                                   const std::atomic<bool>* stop) const {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<const Row*> sampled = by_row();
  QUARRY_CHECK(rows.num_rows == sampled.size());
  RecallReport report;
  report.rows = rows.num_rows;
  report.depth = miner.pool_depth();
  if (report.rows == 0) return report;
  const std::unique_ptr<Miner> twin = miner.exact_twin();
  const Compiled& compiled = *miner.state().compiled;

  std::vector<std::uint32_t> found, wanted;
  if (report.depth > 0) {
    const std::uint64_t step =
        std::clamp<std::uint64_t>(kRankedItems / report.depth, 1, report.rows);
    std::vector<std::uint32_t> items, count, exact_items, exact_count;
    for (std::uint64_t first = 0; first < report.rows; first += step) {
      if (stop != nullptr && stop->load(std::memory_order_relaxed))
        throw Cancelled("stopped on request");
      const RowsView part =
          part_of(rows, first, std::min(step, report.rows - first), compiled.world.dim);
      miner.rank(part, report.depth, items, count);
      twin->rank(part, report.depth, exact_items, exact_count);
      for (std::uint64_t r = 0; r < part.num_rows; ++r) {
        const auto list = [&](const auto& of, const auto& length) {
          const auto at = of.begin() + static_cast<std::ptrdiff_t>(r * report.depth);
          std::vector<std::uint32_t> sorted(at, at + length[r]);
          std::sort(sorted.begin(), sorted.end());
          return sorted;
        };
        found.push_back(in_both(list(items, count), list(exact_items, exact_count)));
        wanted.push_back(exact_count[r]);
      }
    }
  }
  report.candidates = recall_share(found, wanted);

  std::vector<std::uint32_t> ranked_found, ranked_wanted;
  found.clear(), wanted.clear();
  twin->mine(
      rows,
      [&](const NegativeBatch& batch) {
        for (std::uint32_t r = 0; r < batch.num_rows; ++r) {
          std::vector<std::uint32_t> all, ranked;
          for (std::uint32_t j = 0; j < batch.count[r]; ++j) {
            const std::size_t slot = std::size_t{r} * batch.k + j;
            all.push_back(batch.item[slot]);
            if (compiled.plan.branches[batch.branch[slot]].source == SourceKind::kTopk)
              ranked.push_back(batch.item[slot]);
          }
          std::sort(all.begin(), all.end());
          std::sort(ranked.begin(), ranked.end());
          const std::vector<std::uint32_t>& own = sampled[batch.first_row + r]->negatives;
          found.push_back(in_both(all, own));
          wanted.push_back(static_cast<std::uint32_t>(all.size()));
          ranked_found.push_back(in_both(ranked, own));
          ranked_wanted.push_back(static_cast<std::uint32_t>(ranked.size()));
        }
      },
      stop);
  report.negatives = recall_share(found, wanted);
  report.ranked_negatives = recall_share(ranked_found, ranked_wanted);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace quarry

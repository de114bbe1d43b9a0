// Samples of rows.
#include "host/audit/samples.h"

#include <algorithm>
#include <cmath>

#include "host/audit/matched.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/exec.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

bool differs(float a, float b) { return bits_of_float(a) != bits_of_float(b); }

class Sampler {
 public:
  Sampler(const NegativeSet& set, const JudgeTables* tables, const HeldOut* held_out, double bound)
      : set_(set), t_(tables), held_out_(held_out), bound_(static_cast<float>(bound)) {
    if (t_ != nullptr) judge_.emplace_back(*t_);
  }

  void look(std::uint64_t index, Samples& out) {
    const NegativeSet::Row row = set_.row(index);
    ++out.rows;
    for (std::uint32_t j = 0; j < row.count; ++j) {
      if (std::isfinite(row.score[j])) out.scores.push_back(row.score[j]);
      if (std::isfinite(row.gap[j])) out.gaps.push_back(row.gap[j]);
      if (std::isfinite(row.quantile[j])) out.quantiles.push_back(row.quantile[j]);
    }
    if (t_ == nullptr) return;
    items_.clear();
    for (std::uint32_t j = 0; j < row.count; ++j) {
      if (row.item[j] < t_->num_items) items_.push_back(row.item[j]);
    }
    if (row.user < t_->in.users.rows) compare_scores(row, out);
    distances(out);
    near_held_out(row, out);
  }

 private:
  void compare_scores(const NegativeSet::Row& row, Samples& out) {
    RowJudge& judge = judge_.front();
    judge.begin(row.user, row.time, row.row_key, row.positives);
    // A row that was never mined (no usable embedding) has nothing to compare.
    if (row.count == 0) return;
    const float least =
        row.positives.empty() ? std::nanf("") : judge.positive_score(PositiveScore::kMin);
    ++out.numbers;
    out.wrong_positive_min +=
        row.positives.empty() ? !std::isnan(row.positive_min) : differs(least, row.positive_min);
    for (std::uint32_t j = 0; j < row.count; ++j) {
      if (row.item[j] >= t_->num_items) continue;
      out.numbers += 2;
      out.wrong_scores += differs(judge.score(row.item[j]), row.score[j]) ? 1 : 0;
      const float gap = row.positive_min - row.score[j];
      out.wrong_gaps += std::isnan(gap) ? !std::isnan(row.gap[j]) : differs(gap, row.gap[j]);
    }
  }

  float cosine(std::uint32_t a, std::uint32_t b) const {
    const float* x = t_->items.row(a);
    const float* y = t_->items.row(b);
    const std::uint32_t dim = t_->items.dim();
    const float scale = exact_dot(x, x, dim) * exact_dot(y, y, dim);
    return scale > 0 ? exact_dot(x, y, dim) / std::sqrt(scale) : 0;
  }

  void distances(Samples& out) {
    constexpr std::size_t kMost = 16;  // pairs grow with the square
    const std::size_t n = std::min(items_.size(), kMost);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        out.distance_sum += 1 - static_cast<double>(cosine(items_[i], items_[j]));
        ++out.distance_pairs;
      }
    }
  }

  void near_held_out(const NegativeSet::Row& row, Samples& out) {
    if (held_out_ == nullptr) return;
    const std::span<const std::uint32_t> held_out = HeldOut::of(held_out_->all, row.user);
    if (held_out.empty()) return;
    for (const std::uint32_t item : items_) {
      ++out.negatives;
      if (std::binary_search(held_out.begin(), held_out.end(), item)) continue;
      out.near_held_out += std::any_of(held_out.begin(), held_out.end(), [&](std::uint32_t other) {
        return cosine(item, other) >= bound_;
      });
    }
  }

  const NegativeSet& set_;
  const JudgeTables* t_;
  const HeldOut* held_out_;
  float bound_;
  std::vector<RowJudge> judge_;  ///< one, or none without tables
  std::vector<std::uint32_t> items_;
};

void append(std::vector<float>& to, const std::vector<float>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

Samples sample_set(const NegativeSet& set, const JudgeTables* tables, const HeldOut* held_out,
                   double near_duplicate, double wanted, const Exec& exec,
                   const std::atomic<bool>* stop) {
  constexpr std::uint64_t kBlock = 4096;
  const double share = wanted / static_cast<double>(std::max<std::uint64_t>(1, set.rows()));
  const std::uint64_t below =
      share >= 1 ? UINT64_MAX : static_cast<std::uint64_t>(share * 18446744073709551615.0);
  // A result for each block, added up in their order: sums of doubles depend on it.
  std::vector<Samples> blocks((set.rows() + kBlock - 1) / kBlock);
  std::vector<Sampler> samplers;
  samplers.reserve(static_cast<std::size_t>(exec.threads));
  for (int i = 0; i < exec.threads; ++i)
    samplers.emplace_back(set, tables, held_out, near_duplicate);
  parallel_for(exec, blocks.size(), 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t b = begin; b < end; ++b) {
      stop_audit_if_asked(stop);
      const std::uint64_t last = std::min(set.rows(), (b + 1) * kBlock);
      for (std::uint64_t r = b * kBlock; r < last; ++r) {
        if (sample_hash(set.row(r).row_key) <= below)
          samplers[static_cast<std::size_t>(worker_index())].look(r, blocks[b]);
      }
    }
  });
  Samples all;
  for (Samples& block : blocks) {
    all.rows += block.rows, all.numbers += block.numbers;
    all.wrong_scores += block.wrong_scores, all.wrong_gaps += block.wrong_gaps;
    all.wrong_positive_min += block.wrong_positive_min;
    all.distance_sum += block.distance_sum, all.distance_pairs += block.distance_pairs;
    all.negatives += block.negatives, all.near_held_out += block.near_held_out;
    append(all.scores, block.scores), append(all.gaps, block.gaps);
    append(all.quantiles, block.quantiles);
  }
  std::sort(all.scores.begin(), all.scores.end());
  std::sort(all.gaps.begin(), all.gaps.end());
  std::sort(all.quantiles.begin(), all.quantiles.end());
  return all;
}

}  // namespace quarry

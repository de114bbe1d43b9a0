// Candidate lists of the branches that do not search: exposed items, runs, random pools, neighbours
// of the positives.
#include <algorithm>
#include <span>

#include "host/mine/shared_pools.h"
#include "host/mine/tile.h"
#include "kernels/gather/gather.h"
#include "kernels/sample/sample.h"
#include "kernels/score/score.h"

namespace quarry {

void Tile::reserve_lists(BranchWork& w, std::uint64_t stride) {
  w.items.resize(c_.exec, std::max<std::uint64_t>(stride * num_rows_, 1));
  w.scores.resize(c_.exec, std::max<std::uint64_t>(stride * num_rows_, 1));
}

/// Exact scores of the branch's lists, in key order if `order`; `keep_place` keeps the former place
/// as raw rank.
void Tile::score(std::uint32_t b, std::uint64_t stride, bool order, bool keep_place) {
  BranchWork& w = work_[b];
  if (keep_place) w.raw_rank.resize(c_.exec, std::max<std::uint64_t>(stride * num_rows_, 1));
  ScoreArgs args;
  args.world = &c_.compiled.world;
  args.rows = batch_;
  args.stride = stride;
  args.items = w.items.at(c_.exec);
  args.scores = w.scores.at(c_.exec);
  args.raw_rank = keep_place ? w.raw_rank.at(c_.exec) : nullptr;
  args.count = w.count.at(c_.exec);
  args.order = order;
  if (order) args.scratch = scratch(score_scratch_bytes(c_.exec, num_rows_, stride));
  score_lists(c_.exec, args);
  merge_.candidates[b].stride = stride;
  merge_.candidates[b].raw_rank = args.raw_rank;
}

/// What stands in the users' own lists. On a device the longest list sets the stride, so that
/// nothing waits for it; on the CPU the longest of the tile does.
void Tile::gather_listed(std::uint32_t b) {
  const Branch& branch = c_.compiled.plan.branches[b];
  BranchWork& w = work_[b];
  w.count.resize(c_.exec, num_rows_);
  GatherArgs args;
  args.world = &c_.compiled.world;
  args.plan = &c_.compiled.plan;
  args.rows = batch_;
  args.branch = b;
  args.stride = branch.capacity;
  args.count = w.count.at(c_.exec);
  if (c_.exec.device == Device::kCpu) {
    quarry::gather(c_.exec, args);
    args.stride = *std::max_element(w.count.host(), w.count.host() + num_rows_);
  }
  reserve_lists(w, args.stride);
  args.items = w.items.at(c_.exec);
  quarry::gather(c_.exec, args);
  score(b, args.stride, branch.source == SourceKind::kExposed, false);
}

void Tile::gather_pool(std::uint32_t b) {
  const Branch& branch = c_.compiled.plan.branches[b];
  BranchWork& w = work_[b];
  w.count.resize(c_.exec, num_rows_);
  reserve_lists(w, branch.draws);
  SampleArgs args;
  args.world = &c_.compiled.world;
  args.plan = &c_.compiled.plan;
  args.rows = batch_;
  args.branch = b;
  args.stride = branch.draws;
  args.items = w.items.at(c_.exec);
  args.count = w.count.at(c_.exec);
  args.scratch = scratch(sample_scratch_bytes(c_.exec, num_rows_, branch.draws));
  sample(c_.exec, args);
  score(b, branch.draws, true, branch.select == SelectKind::kFirstViolator);
}

/// What the caller brought for all rows alike; the filters make it each row's own.
void Tile::gather_shared(std::uint32_t b, const TileJob& job) {
  const SharedPool& pool = job.rows.pools[b];
  BranchWork& w = work_[b];
  w.count.resize(c_.exec, num_rows_);
  w.judged = false;
  if (!lists_by_blocks(c_.exec, pool.count)) return copy_shared(b, pool);
  SharedPoolArgs args;
  args.world = &c_.compiled.world;
  args.plan = &c_.compiled.plan;
  args.rows = batch_;
  args.branch = b;
  args.pool = pool.items;
  args.pool_count = pool.count;
  args.lists = pool_lists(c_.compiled, c_.exec, c_.compiled.plan.branches[b], pool.count);
  w.judged = !args.lists.whole;
  reserve_lists(w, args.lists.length);
  args.items = w.items.host();
  args.scores = w.scores.host();
  args.count = w.count.host();
  if (w.judged) {
    w.raw_rank.resize(c_.exec, std::size_t{args.lists.length} * num_rows_);
    w.rest.resize(c_.exec, num_rows_);
    args.raw_rank = w.raw_rank.host();
    args.rest = w.rest.data();
  }
  list_shared(c_.exec, args, shared_);
  merge_.candidates[b].stride = args.lists.length;
  merge_.candidates[b].raw_rank = args.raw_rank;
}

/// A list of all of it for each row.
void Tile::copy_shared(std::uint32_t b, const SharedPool& pool) {
  BranchWork& w = work_[b];
  reserve_lists(w, pool.count);
  bad_.pull(c_.exec);
  synchronize(c_.exec);
  for (std::uint32_t r = 0; r < num_rows_; ++r) {
    const bool bad = bad_.host()[r] != 0;
    w.count.host()[r] = bad ? 0 : pool.count;
    if (!bad) std::copy_n(pool.items, pool.count, w.items.host() + std::size_t{r} * pool.count);
  }
  w.items.push(c_.exec);
  w.count.push(c_.exec);
  score(b, pool.count, true, false);
}

/// What counts of final rows' shared candidates beside their lists.
void Tile::count_unlisted(Counters& counters) const {
  for (std::uint32_t b = 0; b < c_.compiled.plan.num_branches; ++b) {
    if (!work_[b].judged) continue;
    BranchCounters& c = counters.branch[b];
    for (std::uint32_t r = 0; r < num_rows_; ++r) {
      if (deepen_.host()[r] != 0) continue;
      const SharedRest& rest = work_[b].rest.data()[r];
      c.examined += rest.examined;
      c.pool += rest.pool;
      c.unscored += rest.unscored;
      for (std::uint32_t f = 0; f < kMaxFilters; ++f) c.rejected[f] += rest.rejected[f];
    }
  }
}

/// The first n items by largest similarity to a positive: each positive's own first n contain them.
void Tile::gather_near(std::uint32_t b, const TileJob& job, const TileRows& rows) {
  const Branch& branch = c_.compiled.plan.branches[b];
  const std::uint32_t n = branch.draws;
  const std::uint32_t dim = c_.compiled.world.dim;
  BranchWork& w = work_[b];
  w.count.resize(c_.exec, num_rows_);
  reserve_lists(w, n);
  bad_.pull(c_.exec);
  synchronize(c_.exec);
  const auto positives_of = [&](std::uint32_t r) -> std::span<const std::uint32_t> {
    if (job.host_positive_offsets == nullptr || bad_.host()[r] != 0) return {};
    const std::uint64_t begin = job.host_positive_offsets[rows.at(r)];
    return {job.host_positives + begin,
            static_cast<std::size_t>(job.host_positive_offsets[rows.at(r) + 1] - begin)};
  };
  near_items_.clear();
  for (std::uint32_t r = 0; r < num_rows_; ++r) {
    const auto positives = positives_of(r);
    near_items_.insert(near_items_.end(), positives.begin(), positives.end());
  }
  std::sort(near_items_.begin(), near_items_.end());
  near_items_.erase(std::unique(near_items_.begin(), near_items_.end()), near_items_.end());
  const auto queries = static_cast<std::uint32_t>(near_items_.size());
  near_queries_.resize(c_.exec, std::size_t{queries} * dim);
  for (std::uint32_t q = 0; q < queries; ++q) {
    std::copy_n(c_.compiled.host_unit_items + std::size_t{near_items_[q]} * dim, dim,
                near_queries_.host() + std::size_t{q} * dim);
  }
  near_queries_.push(c_.exec);
  near_found_.resize(c_.exec, std::size_t{queries} * n);
  near_scores_.resize(c_.exec, std::size_t{queries} * n);
  near_count_.resize(c_.exec, queries);
  near_complete_.resize(c_.exec, queries);
  if (queries > 0) {
    c_.near_retriever->search(c_.exec, near_queries_.at(c_.exec), queries, n,
                              {near_found_.at(c_.exec), near_scores_.at(c_.exec),
                               near_count_.at(c_.exec), near_complete_.at(c_.exec), nullptr});
  }
  near_found_.pull(c_.exec);
  near_scores_.pull(c_.exec);
  near_count_.pull(c_.exec);
  synchronize(c_.exec);
  for (std::uint32_t r = 0; r < num_rows_; ++r) {
    near_list_.clear();
    for (const std::uint32_t positive : positives_of(r)) {
      const auto at = std::lower_bound(near_items_.begin(), near_items_.end(), positive);
      const auto q = static_cast<std::size_t>(at - near_items_.begin());
      for (std::uint32_t j = 0; j < near_count_.host()[q]; ++j) {
        near_list_.emplace_back(near_scores_.host()[q * n + j], near_found_.host()[q * n + j]);
      }
    }
    // Largest similarity of each item first, then the order of the source.
    std::sort(near_list_.begin(), near_list_.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second < b.second : a.first > b.first;
    });
    near_list_.erase(std::unique(near_list_.begin(), near_list_.end(),
                                 [](const auto& a, const auto& b) { return a.second == b.second; }),
                     near_list_.end());
    std::sort(near_list_.begin(), near_list_.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    const auto kept = static_cast<std::uint32_t>(std::min<std::size_t>(near_list_.size(), n));
    w.count.host()[r] = kept;
    for (std::uint32_t j = 0; j < kept; ++j)
      w.items.host()[std::size_t{r} * n + j] = near_list_[j].second;
  }
  w.items.push(c_.exec);
  w.count.push(c_.exec);
  score(b, n, false, false);
}

}  // namespace quarry

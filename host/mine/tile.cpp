// Tile: the pipeline on some rows at one search depth.
#include "host/mine/tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/exclude/exclude.h"
#include "kernels/score/score.h"
#include "kernels/select/select.h"
#include "kernels/tally/tally.h"

namespace quarry {

void Tile::run(const RowsView& rows, std::span<const std::uint64_t> ids, std::uint64_t base,
               std::uint32_t depth, NegativeBatch& out, std::vector<std::uint64_t>& deeper,
               MinerReport& report) {
  num_rows_ = static_cast<std::uint32_t>(ids.size());
  {
    const StageTimer timer(report.seconds.prepare);
    load_rows(rows, ids);
    load_queries(rows, ids);
    positive_scores_.resize(c_.exec, std::size_t{num_rows_} * kNumPositiveScores);
    score_positives(c_.exec, c_.compiled.world, c_.compiled.plan, batch_,
                    positive_scores_.at(c_.exec));
    batch_.positive_scores = positive_scores_.at(c_.exec);
  }
  if (c_.retriever != nullptr) {
    const StageTimer timer(report.seconds.retrieve);
    retrieve(depth);
  }
  merge_ = MergeArgs{};
  merge_.world = &c_.compiled.world;
  merge_.plan = &c_.compiled.plan;
  merge_.rows = batch_;
  for (std::uint32_t b = 0; b < c_.compiled.plan.num_branches; ++b) {
    if (is_draw(c_.compiled.plan.branches[b])) continue;
    {
      const StageTimer timer(report.seconds.gather);
      gather(b);
    }
    judge(b, depth, report);
  }
  {
    const StageTimer timer(report.seconds.merge);
    merge_rows();
    counters_.resize(c_.exec, 1);
    counters_.host()[0] = Counters{};
    counters_.push(c_.exec);
    tally(c_.exec, merge_, counters_.at(c_.exec));
  }
  const StageTimer timer(report.seconds.emit);
  counters_.pull(c_.exec);
  emit(ids, base, out, deeper);
  add(report.counters, counters_.host()[0]);
}

void Tile::load_rows(const RowsView& rows, std::span<const std::uint64_t> ids) {
  key_.resize(c_.exec, num_rows_);
  user_.resize(c_.exec, num_rows_);
  positive_offsets_.resize(c_.exec, std::size_t{num_rows_} + 1);
  if (rows.time != nullptr) time_.resize(c_.exec, num_rows_);
  if (rows.segment != nullptr) segment_.resize(c_.exec, num_rows_);
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < num_rows_; ++i) {
    const std::uint64_t r = ids[i];
    key_.host()[i] = rows.key[r];
    user_.host()[i] = rows.user[r];
    if (rows.time != nullptr) time_.host()[i] = rows.time[r];
    if (rows.segment != nullptr) segment_.host()[i] = rows.segment[r];
    positive_offsets_.host()[i] = total;
    if (rows.positive_offsets != nullptr)
      total += rows.positive_offsets[r + 1] - rows.positive_offsets[r];
  }
  positive_offsets_.host()[num_rows_] = total;
  positives_.resize(c_.exec, std::max<std::uint64_t>(total, 1));
  for (std::uint32_t i = 0; i < num_rows_ && total > 0; ++i) {
    const std::uint64_t from = rows.positive_offsets[ids[i]];
    const std::uint64_t n = rows.positive_offsets[ids[i] + 1] - from;
    if (n > 0) {
      std::memcpy(positives_.host() + positive_offsets_.host()[i], rows.positives + from,
                  n * sizeof(std::uint32_t));
    }
  }
  key_.push(c_.exec);
  user_.push(c_.exec);
  positive_offsets_.push(c_.exec);
  positives_.push(c_.exec);
  if (rows.time != nullptr) time_.push(c_.exec);
  if (rows.segment != nullptr) segment_.push(c_.exec);
  batch_ = RowBatch{};
  batch_.num_rows = num_rows_;
  batch_.key = key_.at(c_.exec);
  batch_.user = user_.at(c_.exec);
  batch_.time = rows.time != nullptr ? time_.at(c_.exec) : nullptr;
  batch_.segment = rows.segment != nullptr ? segment_.at(c_.exec) : nullptr;
  batch_.positive_offsets = positive_offsets_.at(c_.exec);
  batch_.positives = positives_.at(c_.exec);
}

/// One query per distinct user of the tile, or one per row where the caller brings vectors.
void Tile::load_queries(const RowsView& rows, std::span<const std::uint64_t> ids) {
  const std::uint32_t dim = c_.compiled.world.dim;
  const bool unit = c_.compiled.world.metric == Metric::kCosine;
  query_.resize(c_.exec, num_rows_);
  if (rows.queries != nullptr) {
    queries_.resize(c_.exec, std::size_t{num_rows_} * dim);
    for (std::uint32_t i = 0; i < num_rows_; ++i) {
      query_.host()[i] = i;
      const MatrixView one{rows.queries + ids[i] * dim, 1, dim, Dtype::kF32};
      prepare_rows(one, 0, 1, unit, queries_.host() + std::size_t{i} * dim);
    }
    batch_.num_queries = num_rows_;
  } else {
    query_users_.assign(user_.host(), user_.host() + num_rows_);
    std::sort(query_users_.begin(), query_users_.end());
    query_users_.erase(std::unique(query_users_.begin(), query_users_.end()), query_users_.end());
    queries_.resize(c_.exec, query_users_.size() * dim);
    parallel_for(c_.exec, query_users_.size(), 64, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t q = begin; q < end; ++q) {
        prepare_rows(c_.inputs.users, query_users_[q], std::uint64_t{query_users_[q]} + 1, unit,
                     queries_.host() + q * dim);
      }
    });
    for (std::uint32_t i = 0; i < num_rows_; ++i) {
      const auto at = std::lower_bound(query_users_.begin(), query_users_.end(), user_.host()[i]);
      query_.host()[i] = static_cast<std::uint32_t>(at - query_users_.begin());
    }
    batch_.num_queries = static_cast<std::uint32_t>(query_users_.size());
  }
  query_.push(c_.exec);
  queries_.push(c_.exec);
  batch_.query = query_.at(c_.exec);
  batch_.queries = queries_.at(c_.exec);
}

void Tile::retrieve(std::uint32_t depth) {
  const std::uint32_t n = batch_.num_queries;
  found_items_.resize(c_.exec, std::size_t{n} * depth);
  found_scores_.resize(c_.exec, std::size_t{n} * depth);
  found_count_.resize(c_.exec, n);
  found_complete_.resize(c_.exec, n);
  certified_.resize(c_.exec, n);
  c_.retriever->search(
      c_.exec, queries_.at(c_.exec), n, depth,
      {found_items_.at(c_.exec), found_scores_.at(c_.exec), found_count_.at(c_.exec),
       found_complete_.at(c_.exec), certified_.at(c_.exec)});
  found_count_.pull(c_.exec);
  certified_.pull(c_.exec);
  synchronize(c_.exec);
}

void Tile::gather(std::uint32_t b) {
  switch (c_.compiled.plan.branches[b].source) {
    case SourceKind::kExposed:
      return gather_exposed(b);
    case SourceKind::kRun:
      return gather_run(b);
    case SourceKind::kPool:
      return gather_pool(b);
    case SourceKind::kNear:
      return gather_near(b);
    case SourceKind::kTopk:
    case SourceKind::kUniform:
    case SourceKind::kPopularity:
      return;
  }
}

/// Excludes and selects one branch.
void Tile::judge(std::uint32_t b, std::uint32_t depth, MinerReport& report) {
  const Branch& branch = c_.compiled.plan.branches[b];
  BranchWork& w = work_[b];
  Candidates& candidates = merge_.candidates[b];
  if (branch.source == SourceKind::kTopk) {
    candidates.stride = depth;
    candidates.items = found_items_.at(c_.exec);
    candidates.scores = found_scores_.at(c_.exec);
    candidates.count = found_count_.at(c_.exec);
    candidates.complete = found_complete_.at(c_.exec);
    for (std::uint32_t i = 0; i < num_rows_; ++i)
      report.candidates += found_count_.host()[query_.host()[i]];
  } else {
    candidates.items = w.items.at(c_.exec);
    candidates.scores = w.scores.at(c_.exec);
    candidates.count = w.count.at(c_.exec);
    for (std::uint32_t i = 0; i < num_rows_ && c_.exec.device == Device::kCpu; ++i) {
      report.candidates += w.count.host()[i];
    }
  }
  w.reasons.resize(c_.exec, std::max<std::uint64_t>(candidates.stride * num_rows_, 1));
  {
    const StageTimer timer(report.seconds.exclude);
    ExcludeArgs args;
    args.world = &c_.compiled.world;
    args.plan = &c_.compiled.plan;
    args.rows = batch_;
    args.candidates = candidates;
    args.branch = b;
    args.reasons = w.reasons.at(c_.exec);
    exclude(c_.exec, args);
  }
  const StageTimer timer(report.seconds.select);
  std::uint64_t stride = std::min<std::uint64_t>(branch.pool, candidates.stride);
  if (branch.select == SelectKind::kSampleReplacement)
    stride = std::max<std::uint64_t>(stride, c_.compiled.plan.k);
  stride = std::max<std::uint64_t>(stride, 1);
  const std::size_t entries = stride * num_rows_;
  w.pool_place.resize(c_.exec, entries);
  w.pool_rank.resize(c_.exec, entries);
  w.log_weight.resize(c_.exec, entries);
  w.order.resize(c_.exec, entries);
  w.sampling_key.resize(c_.exec, entries);
  for (auto* per_row : {&w.pool_size, &w.num_ordered, &w.cut, &w.cut_survivors})
    per_row->resize(c_.exec, num_rows_);
  w.log_total.resize(c_.exec, num_rows_);
  w.open.resize(c_.exec, num_rows_);
  SelectArgs args;
  args.world = &c_.compiled.world;
  args.plan = &c_.compiled.plan;
  args.rows = batch_;
  args.candidates = candidates;
  args.branch = b;
  args.reasons = w.reasons.at(c_.exec);
  args.out = {stride,
              w.pool_place.at(c_.exec),
              w.pool_rank.at(c_.exec),
              w.log_weight.at(c_.exec),
              w.order.at(c_.exec),
              w.sampling_key.at(c_.exec),
              w.pool_size.at(c_.exec),
              w.num_ordered.at(c_.exec),
              w.cut.at(c_.exec),
              w.cut_survivors.at(c_.exec),
              w.log_total.at(c_.exec),
              w.open.at(c_.exec)};
  args.scratch = scratch(select_scratch_bytes(c_.exec, num_rows_, stride));
  select(c_.exec, args);
  merge_.reasons[b] = args.reasons;
  merge_.order[b] = args.out;
}

void Tile::merge_rows() {
  const Plan& plan = c_.compiled.plan;
  const std::size_t slots = std::size_t{num_rows_} * plan.k;
  for (auto* column : {&item_, &raw_rank_, &survivor_rank_, &stratum_})
    column->resize(c_.exec, slots);
  score_.resize(c_.exec, slots);
  logq_.resize(c_.exec, slots);
  branch_.resize(c_.exec, slots);
  fill_.resize(c_.exec, slots);
  kappa_.resize(c_.exec, std::size_t{num_rows_} * plan.num_branches);
  count_.resize(c_.exec, num_rows_);
  deepen_.resize(c_.exec, num_rows_);
  tallies_.resize(c_.exec, std::size_t{num_rows_} * plan.num_branches);
  merge_.tallies = tallies_.at(c_.exec);
  merge_.out = {item_.at(c_.exec),     score_.at(c_.exec),         branch_.at(c_.exec),
                raw_rank_.at(c_.exec), survivor_rank_.at(c_.exec), stratum_.at(c_.exec),
                logq_.at(c_.exec),     fill_.at(c_.exec),          count_.at(c_.exec),
                kappa_.at(c_.exec),    deepen_.at(c_.exec)};
  merge_.scratch = scratch(merge_scratch_bytes(c_.exec, c_.compiled.world, plan, num_rows_));
  merge(c_.exec, merge_);
}

void Tile::emit(std::span<const std::uint64_t> ids, std::uint64_t base, NegativeBatch& out,
                std::vector<std::uint64_t>& deeper) {
  for (auto* column : {&item_, &raw_rank_, &survivor_rank_, &stratum_}) column->pull(c_.exec);
  score_.pull(c_.exec);
  logq_.pull(c_.exec);
  branch_.pull(c_.exec);
  fill_.pull(c_.exec);
  kappa_.pull(c_.exec);
  count_.pull(c_.exec);
  deepen_.pull(c_.exec);
  positive_scores_.pull(c_.exec);
  synchronize(c_.exec);
  const std::uint32_t k = c_.compiled.plan.k;
  const std::uint32_t branches = c_.compiled.plan.num_branches;
  for (std::uint32_t i = 0; i < num_rows_; ++i) {
    if (deepen_.host()[i] != 0) {
      deeper.push_back(ids[i]);
      continue;
    }
    const std::uint64_t at = ids[i] - base;
    const std::size_t from = std::size_t{i} * k;
    const auto to = static_cast<std::ptrdiff_t>(at * k);
    std::copy_n(item_.host() + from, k, out.item.begin() + to);
    std::copy_n(raw_rank_.host() + from, k, out.raw_rank.begin() + to);
    std::copy_n(survivor_rank_.host() + from, k, out.survivor_rank.begin() + to);
    std::copy_n(stratum_.host() + from, k, out.stratum.begin() + to);
    std::copy_n(score_.host() + from, k, out.score.begin() + to);
    std::copy_n(logq_.host() + from, k, out.logq.begin() + to);
    std::copy_n(branch_.host() + from, k, out.branch.begin() + to);
    std::copy_n(fill_.host() + from, k, out.fill.begin() + to);
    std::copy_n(kappa_.host() + std::size_t{i} * branches, branches,
                out.kappa.begin() + static_cast<std::ptrdiff_t>(at * branches));
    out.count[at] = count_.host()[i];
    out.positive_min[at] = positive_scores_.host()[std::size_t{i} * kNumPositiveScores];
    out.certified[at] = c_.retriever == nullptr ? 1 : certified_.host()[query_.host()[i]];
  }
}

void* Tile::scratch(std::uint64_t bytes) {
  scratch_.resize(c_.exec, bytes / sizeof(std::uint64_t) + 1);
  return scratch_.at(c_.exec);
}

std::uint64_t Tile::row_bytes(const Compiled& compiled, std::uint32_t depth) {
  const Plan& plan = compiled.plan;
  std::uint64_t bytes = 64 + std::uint64_t{compiled.world.dim} * sizeof(float);
  bytes += std::uint64_t{plan.k} * 26 + plan.num_branches * (sizeof(DrawTally) + 4);
  bool searched = false;
  for (std::uint32_t b = 0; b < plan.num_branches; ++b) {
    const Branch& branch = plan.branches[b];
    if (is_draw(branch)) continue;
    const std::uint64_t candidates = branch.source == SourceKind::kTopk ? depth : branch.capacity;
    const std::uint64_t own = branch.source == SourceKind::kTopk ? 0 : 12 * candidates;
    bytes += candidates + own + std::min<std::uint64_t>(branch.pool, candidates) * 20 + 28;
    searched = searched || branch.source == SourceKind::kTopk;
  }
  if (searched) bytes += std::uint64_t{depth} * 8 + 8;
  return bytes;
}

std::uint64_t Tile::bytes() const {
  std::uint64_t total = key_.bytes() + user_.bytes() + query_.bytes() + queries_.bytes() +
                        positives_.bytes() + positive_offsets_.bytes() + time_.bytes() +
                        segment_.bytes() + positive_scores_.bytes() + found_items_.bytes() +
                        found_scores_.bytes() + found_count_.bytes() + tallies_.bytes() +
                        item_.bytes() + raw_rank_.bytes() + survivor_rank_.bytes() +
                        stratum_.bytes() + score_.bytes() + logq_.bytes() + kappa_.bytes() +
                        branch_.bytes() + fill_.bytes() + scratch_.bytes();
  for (const BranchWork& w : work_) {
    total += w.items.bytes() + w.scores.bytes() + w.raw_rank.bytes() + w.reasons.bytes() +
             w.pool_place.bytes() + w.pool_rank.bytes() + w.order.bytes() + w.log_weight.bytes() +
             w.sampling_key.bytes();
  }
  return total;
}

void add(Counters& into, const Counters& from) {
  static_assert(sizeof(Counters) % sizeof(std::uint64_t) == 0);
  std::uint64_t a[sizeof(Counters) / sizeof(std::uint64_t)];
  std::uint64_t b[sizeof(Counters) / sizeof(std::uint64_t)];
  std::memcpy(a, &into, sizeof a);
  std::memcpy(b, &from, sizeof b);
  for (std::size_t i = 0; i < std::size(a); ++i) a[i] += b[i];
  std::memcpy(&into, a, sizeof a);
}

}  // namespace quarry

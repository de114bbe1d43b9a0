// Tile: the pipeline on some rows at one search depth.
#include "host/mine/tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/admit/admit.h"
#include "kernels/exclude/exclude.h"
#include "kernels/score/score.h"
#include "kernels/select/select.h"
#include "kernels/tally/tally.h"

namespace quarry {
namespace {

/// Items by which the place of a ceiling is judged, and how far apart they must be for that to cost
/// less than searching again.
constexpr std::uint32_t kLengthSample = 512;
constexpr std::uint32_t kLeastSampleDistance = 16;

}  // namespace

void Tile::run(const TileJob& job, const TileRows& rows, SearchDepth depth,
               std::vector<ShortRow>& short_rows, MinerReport& report) {
  {
    const StageTimer timer(report.seconds.prepare);
    admit_rows(job, rows);
  }
  if (c_.retriever != nullptr) {
    const StageTimer timer(report.seconds.retrieve);
    depth.found ? take_found(job, rows, depth) : retrieve(depth);
  }
  merge_ = MergeArgs{};
  merge_.world = &c_.compiled.world;
  merge_.plan = &c_.compiled.plan;
  merge_.rows = batch_;
  for (std::uint32_t b = 0; b < c_.compiled.plan.num_branches; ++b) {
    if (is_draw(c_.compiled.plan.branches[b])) continue;
    {
      const StageTimer timer(report.seconds.gather);
      gather_candidates(b, job, rows);
    }
    judge(b, report);
  }
  {
    const StageTimer timer(report.seconds.merge);
    merge_rows(job.out);
    counters_.resize(c_.exec, 1);
    counters_.host()[0] = Counters{};
    counters_.push(c_.exec);
    strata_.resize(c_.exec, c_.compiled.world.num_strata);
    std::fill_n(strata_.host(), strata_.size(), StratumCounters{});
    strata_.push(c_.exec);
    merge_.strata = strata_.at(c_.exec);
    tally(c_.exec, merge_, counters_.at(c_.exec));
  }
  const std::size_t first = short_rows.size();
  {
    const StageTimer timer(report.seconds.emit);
    strata_.pull(c_.exec);
    finish(rows, short_rows, report);
  }
  const StageTimer timer(report.seconds.retrieve);
  find_lengths(short_rows, first);
}

FoundLists Tile::find(const TileJob& job, const TileRows& rows, SearchDepth depth) {
  QUARRY_CHECK(c_.exec.device == Device::kCpu && c_.in_order);
  admit_rows(job, rows);
  retrieve(depth);
  FoundLists found;
  found.num_rows = num_rows_;
  found.num_queries = batch_.num_queries;
  found.stride = stride_;
  found.query = batch_.query;
  found.items = found_items_.host();
  found.scores = found_scores_.host();
  found.count = found_count_.host();
  found.complete = found_complete_.host();
  if (passing_ && goals_.passes()) {
    found.passed = found_passed_.host();
    found.pass_above = goals_.pass_above();
  }
  return found;
}

/// Rows, their queries, and the scores of their positives.
void Tile::admit_rows(const TileJob& job, const TileRows& rows) {
  num_rows_ = rows.count;
  load_rows(job, rows);
  load_queries(job, rows);
  positive_scores_.resize(c_.exec, std::size_t{num_rows_} * kNumPositiveScores);
  score_positives(c_.exec, c_.compiled.world, c_.compiled.plan, batch_,
                  positive_scores_.at(c_.exec));
  batch_.positive_scores = positive_scores_.at(c_.exec);
}

/// The caller's columns in place; only which rows, and whether each is sound, is the tile's own.
void Tile::load_rows(const TileJob& job, const TileRows& rows) {
  batch_ = RowBatch{};
  batch_.num_rows = num_rows_;
  batch_.first = rows.first;
  if (rows.places != nullptr) {
    index_.resize(c_.exec, num_rows_);
    std::copy_n(rows.places, num_rows_, index_.host());
    index_.push(c_.exec);
    batch_.index = index_.at(c_.exec);
  }
  batch_.key = job.rows.key;
  batch_.user = c_.compiled.has_users ? job.rows.user : nullptr;
  batch_.time = job.rows.time;
  batch_.segment = job.rows.segment;
  batch_.positive_offsets = job.rows.positive_offsets;
  batch_.positives = job.rows.positives;
}

/// One query per distinct user of the tile, or one per row where the caller brings vectors.
void Tile::load_queries(const TileJob& job, const TileRows& rows) {
  const std::uint32_t dim = c_.compiled.world.dim;
  queries_.resize(c_.exec, std::size_t{num_rows_} * dim);
  bad_.resize(c_.exec, num_rows_);
  AdmitArgs args;
  args.world = &c_.compiled.world;
  args.rows = batch_;
  args.vectors = job.rows.queries;
  args.queries = queries_.at(c_.exec);
  args.bad = bad_.at(c_.exec);
  admit(c_.exec, args);
  batch_.bad = args.bad;
  batch_.num_queries = num_rows_;
  batch_.queries = args.queries;
  if (job.rows.queries != nullptr) return;

  query_.resize(c_.exec, num_rows_);
  query_users_.resize(num_rows_);
  const std::uint64_t last = c_.inputs.users.rows - 1;  // rows that name another are bad
  const auto user_of = [&](std::uint32_t i) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(job.host_user[rows.at(i)], last));
  };
  for (std::uint32_t i = 0; i < num_rows_; ++i) query_users_[i] = user_of(i);
  std::sort(query_users_.begin(), query_users_.end());
  query_users_.erase(std::unique(query_users_.begin(), query_users_.end()), query_users_.end());
  const bool unit = c_.compiled.world.metric == Metric::kCosine;
  parallel_for(c_.exec, query_users_.size(), 64, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t q = begin; q < end; ++q) {
      prepare_rows(c_.inputs.users, query_users_[q], std::uint64_t{query_users_[q]} + 1, unit,
                   queries_.host() + q * dim);
    }
  });
  for (std::uint32_t i = 0; i < num_rows_; ++i) {
    const auto at = std::lower_bound(query_users_.begin(), query_users_.end(), user_of(i));
    query_.host()[i] = static_cast<std::uint32_t>(at - query_users_.begin());
  }
  query_.push(c_.exec);
  queries_.push(c_.exec);
  batch_.num_queries = static_cast<std::uint32_t>(query_users_.size());
  batch_.query = query_.at(c_.exec);
}

void Tile::retrieve(SearchDepth depth) {
  const std::uint32_t n = batch_.num_queries;
  const bool far = goals_.rejected() > 1 || goals_.skipped() > depth.wanted;
  const bool toward =
      depth.most > depth.wanted && goals_.any() && c_.retriever->follows_goals(c_.exec, n, far);
  reserve_found(toward ? depth.most : depth.plain, toward);
  const SearchResult out{found_items_.at(c_.exec), found_scores_.at(c_.exec),
                         found_count_.at(c_.exec), found_complete_.at(c_.exec),
                         certified_.at(c_.exec),   found_passed_.at(c_.exec)};
  if (!toward) {
    c_.retriever->search(c_.exec, batch_.queries, n, stride_, out);
    return;
  }
  const std::uint32_t* users = batch_.query != nullptr ? query_users_.data() : nullptr;
  c_.retriever->search_toward(c_.exec, batch_.queries, n, stride_,
                              goals_.of(batch_, users, depth.wanted), out);
}

/// Room for lists of `stride` places.
void Tile::reserve_found(std::uint32_t stride, bool counts_passed) {
  const std::uint32_t n = batch_.num_queries;
  stride_ = stride;
  passing_ = counts_passed;
  found_items_.resize(c_.exec, std::size_t{n} * stride_);
  found_scores_.resize(c_.exec, std::size_t{n} * stride_);
  found_count_.resize(c_.exec, n);
  if (counts_passed) found_passed_.resize(c_.exec, n);
  found_complete_.resize(c_.exec, n);
  certified_.resize(c_.exec, n);
}

/// Lists that searches of slices left, in the place of a search.
void Tile::take_found(const TileJob& job, const TileRows& rows, SearchDepth depth) {
  const std::uint32_t n = batch_.num_queries;
  const std::uint32_t most = std::max(depth.most, depth.plain);
  // Rows of one query that stand in several lists, as where a tile's end parted them, are rejected
  // by other ceilings than those by which a list passed over items.
  constexpr std::uint32_t kUnset = kNoItem - 1;
  list_row_.assign(n, kUnset);
  std::uint32_t room = 1;
  for (std::uint32_t i = 0; i < num_rows_; ++i) {
    std::uint32_t& row = list_row_[query_of(batch_, i)];
    const std::uint32_t own = c_.found->row(job.rows.key[rows.at(i)]);
    if (row == kUnset) {
      row = own;
      room = std::max(room, c_.found->room(own, most));
    } else if (row != kNoItem && !c_.found->share_lists(row, own)) {
      row = kNoItem;
    }
  }
  reserve_found(room, true);
  parallel_for(c_.exec, n, 16, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t q = begin; q < end; ++q) {
      MergedList merged;
      if (list_row_[q] != kNoItem) {
        merged = c_.found->merge(list_row_[q], room, found_items_.host() + q * room,
                                 found_scores_.host() + q * room);
      }
      found_count_.host()[q] = merged.count;
      found_passed_.host()[q] = merged.passed;
      found_complete_.host()[q] = merged.complete ? 1 : 0;
      certified_.host()[q] = 1;
    }
  });
}

void Tile::gather_candidates(std::uint32_t b, const TileJob& job, const TileRows& rows) {
  switch (c_.compiled.plan.branches[b].source) {
    case SourceKind::kExposed:
    case SourceKind::kRun:
      return gather_listed(b);
    case SourceKind::kPool:
      return gather_pool(b);
    case SourceKind::kNear:
      return gather_near(b, job, rows);
    case SourceKind::kBatch:
    case SourceKind::kQueue:
      return gather_shared(b, job);
    case SourceKind::kTopk:
    case SourceKind::kUniform:
    case SourceKind::kPopularity:
      return;
  }
}

/// Excludes and selects one branch.
void Tile::judge(std::uint32_t b, MinerReport& report) {
  const Branch& branch = c_.compiled.plan.branches[b];
  BranchWork& w = work_[b];
  Candidates& candidates = merge_.candidates[b];
  if (branch.source == SourceKind::kTopk) {
    candidates.stride = stride_;
    candidates.items = found_items_.at(c_.exec);
    candidates.scores = found_scores_.at(c_.exec);
    candidates.count = found_count_.at(c_.exec);
    candidates.complete = found_complete_.at(c_.exec);
    candidates.passed = passing_ ? found_passed_.at(c_.exec) : nullptr;
    if (c_.exec.device == Device::kCuda) {
      report.candidates += std::uint64_t{num_rows_} * stride_;
    } else {
      for (std::uint32_t i = 0; i < num_rows_; ++i)
        report.candidates += found_count_.host()[query_of(batch_, i)];
    }
  } else {
    candidates.items = w.items.at(c_.exec);
    candidates.scores = w.scores.at(c_.exec);
    candidates.count = w.count.at(c_.exec);
    for (std::uint32_t i = 0; i < num_rows_ && c_.exec.device == Device::kCpu; ++i)
      report.candidates += w.count.host()[i] + (w.judged ? w.rest.data()[i].unlisted : 0);
  }
  w.reasons.resize(c_.exec, std::max<std::uint64_t>(candidates.stride * num_rows_, 1));
  if (w.judged) {
    std::fill_n(w.reasons.host(), w.reasons.size(), 0);
  } else {
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

void Tile::merge_rows(const Picks& out) {
  const Plan& plan = c_.compiled.plan;
  deepen_.resize(c_.exec, num_rows_);
  tallies_.resize(c_.exec, std::size_t{num_rows_} * plan.num_branches);
  merge_.certified = c_.retriever != nullptr ? certified_.at(c_.exec) : nullptr;
  merge_.tallies = tallies_.at(c_.exec);
  merge_.deepen = deepen_.at(c_.exec);
  merge_.out = out;
  merge_.scratch = scratch(merge_scratch_bytes(c_.exec, c_.compiled.world, plan, num_rows_));
  merge(c_.exec, merge_);
}

/// Which rows are not final; the others' counts.
void Tile::finish(const TileRows& rows, std::vector<ShortRow>& short_rows, MinerReport& report) {
  counters_.pull(c_.exec);
  deepen_.pull(c_.exec);
  synchronize(c_.exec);
  cut_queries_.clear();
  for (std::uint32_t i = 0; i < num_rows_; ++i) {
    if (deepen_.host()[i] == 0) continue;
    short_rows.push_back({rows.at(i), 0});
    const std::uint32_t query = query_of(batch_, i);
    const bool cut = passing_ && found_count_.host()[query] == stride_;
    cut_short_ += cut ? 1 : 0;
    cut_queries_.push_back(cut ? query : kNoItem);
  }
  add(report.counters, counters_.host()[0]);
  count_unlisted(report.counters);
  report.strata.resize(strata_.size());
  for (std::size_t s = 0; s < strata_.size(); ++s) {
    for (std::uint32_t code = 0; code < kNumFillCodes; ++code)
      report.strata[s].slots[code] += strata_.host()[s].slots[code];
  }
}

/// About as long a list as holds what is above the query's ceiling, judged by the sample, and what
/// was wanted.
std::uint32_t Tile::length_of(std::uint32_t query) const {
  const World& world = c_.compiled.world;
  const float ceiling = goals_.ceilings()[query];
  std::uint32_t above = 0;
  for (std::uint32_t s = 0; s < kLengthSample; ++s) {
    const float score = exact_score(world.metric, batch_.queries + std::uint64_t{query} * world.dim,
                                    sample_.data() + std::size_t{s} * world.dim, world.dim);
    above += score >= ceiling ? 1 : 0;
  }
  // Two standard errors of the share more: a list that is too long costs little.
  const double share = static_cast<double>(above + 1) / (kLengthSample + 1);
  const double high = share + 2.0 * std::sqrt(share * (1.0 - share) / kLengthSample);
  return static_cast<std::uint32_t>(
      std::min(high * world.num_items + stride_, static_cast<double>(world.num_items)));
}

/// Of short rows from `first` on those whose lists were cut. Where what is above ceilings is passed
/// over it does not make lists long.
void Tile::find_lengths(std::vector<ShortRow>& short_rows, std::size_t first) {
  const World& world = c_.compiled.world;
  if (goals_.ceilings() == nullptr || goals_.passes()) return;
  if (world.num_items / kLengthSample < kLeastSampleDistance) return;
  if (sample_.empty()) {
    for (std::uint64_t s = 0; s < kLengthSample; ++s) {
      const float* row = world.items + s * world.num_items / kLengthSample * world.dim;
      sample_.insert(sample_.end(), row, row + world.dim);
    }
  }
  lengths_.assign(batch_.num_queries, 0);
  asked_.clear();
  for (const std::uint32_t q : cut_queries_) {
    if (q == kNoItem || lengths_[q] != 0) continue;
    lengths_[q] = 1;
    asked_.push_back(q);
  }
  parallel_for(c_.exec, asked_.size(), 4, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) lengths_[asked_[i]] = length_of(asked_[i]);
  });
  for (std::size_t i = 0; i < cut_queries_.size(); ++i)
    if (cut_queries_[i] != kNoItem) short_rows[first + i].length = lengths_[cut_queries_[i]];
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

template <class Visit>
void Tile::for_each_array(Visit&& visit) const {
  visit(index_), visit(query_), visit(bad_), visit(queries_), visit(positive_scores_);
  visit(found_items_), visit(found_count_), visit(found_scores_), visit(found_complete_);
  visit(found_passed_);
  visit(certified_), visit(near_found_), visit(near_count_), visit(near_scores_);
  visit(near_queries_), visit(near_complete_), visit(tallies_), visit(counters_);
  visit(deepen_), visit(strata_), visit(scratch_);
  for (const BranchWork& w : work_) {
    visit(w.items), visit(w.raw_rank), visit(w.count), visit(w.scores), visit(w.reasons);
    visit(w.pool_place), visit(w.pool_rank), visit(w.order), visit(w.pool_size);
    visit(w.num_ordered), visit(w.cut), visit(w.cut_survivors), visit(w.log_weight);
    visit(w.sampling_key), visit(w.log_total), visit(w.open);
  }
}

std::uint64_t Tile::bytes() const {
  std::uint64_t total = 0;
  for_each_array([&total](const auto& array) { total += array.bytes(); });
  for (const BranchWork& w : work_) total += w.rest.capacity_bytes();
  return total + shared_.bytes();
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

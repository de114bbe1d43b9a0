// The loop that widens until every row is proven. The bound and its derivation stand in
// kernels/certify/score_bound.h.
#include "index/certificate.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace quarry {
namespace {

/// Entries to spare for the proof, pass by pass.
constexpr std::uint32_t kSlacks[] = {16, 64, 256, 1024};
/// Where a goal ends lists: entries within twice the error of the last, per slack. Nearly all rows
/// have one or none.
constexpr std::uint32_t kRoomPerSlack = 4;
/// Likewise of a coarse pass, whose error is larger: at most this part of the items, but so many.
constexpr std::uint32_t kCoarseShare = 256;
constexpr std::uint32_t kLeastCoarseRoom = 256;
constexpr std::uint32_t kMostCoarseRoom = 4096;
/// A coarse pass that proves fewer of its rows, in percent, is left out for a while.
constexpr std::uint64_t kCoarsePays = 75;
constexpr std::uint32_t kLongestPause = 64;
constexpr std::uint32_t kMaxHeavy = 64;
/// Bytes of candidate lists in flight, and most rows of a chunk.
constexpr std::uint64_t kChunkBytes = std::uint64_t{48} << 20;
constexpr std::uint32_t kChunkRows = 4096;

std::uint32_t chunk_rows(std::uint32_t depth) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
      kChunkBytes / (sizeof(std::uint64_t) * std::uint64_t{depth}), 1, kChunkRows));
}

}  // namespace

void ErrorBound::prepare(const Exec& exec, const ItemTable& items, bool coarse) {
  bound_ = {.dim = items.dim, .metric = items.metric};
  heavy_.clear();
  const std::uint32_t n = items.num_items;
  if (n == 0) return;
  HostBuffer<double> norms(exec, n);
  parallel_for(exec, n, 4096, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      norms.data()[i] =
          norm_rounded_up(squared_norm(items.rows + i * items.dim, items.dim), items.dim);
    }
  });
  double limit = *std::max_element(norms.data(), norms.data() + n);
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
      bound_.largest_norm = std::max(bound_.largest_norm, norms.data()[i]);
    }
  }
  if (!coarse) return;
  HostBuffer<double>& lost = norms;
  parallel_for(exec, n, 4096, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      const bool is_heavy = norms.data()[i] > limit;
      lost.data()[i] =
          is_heavy
              ? 0.0
              : norm_rounded_up(squared_residual(items.rows + i * items.dim, items.dim), items.dim);
    }
  });
  bound_.largest_residual = *std::max_element(lost.data(), lost.data() + n);
}

std::uint64_t SearchWorkspace::device_bytes() const {
  return cuda.scores.capacity_bytes() + cuda.threshold.capacity_bytes() +
         cuda.keys.capacity_bytes() + cuda.count.capacity_bytes();
}

void topk_on(const Exec& exec, const TopkItems& items, const float* queries, std::uint32_t rows,
             std::uint32_t k, SearchWorkspace& workspace, const TopkResult& out) {
  if (exec.device == Device::kCuda) {
    topk_gpu(exec, items, {}, queries, rows, k, workspace.cuda, out);
  } else {
    topk(exec, items, {}, queries, rows, k, workspace.cpu, out);
  }
}

/// One way through the items.
struct CertifiedSearch::Pass {
  Approximation how;
  std::uint32_t slack;     ///< entries of a list beyond those wanted
  const SearchGoal* goal;  ///< null: lists of all that is wanted
};

struct CertifiedSearch::Request {
  const float* queries;
  std::uint32_t wanted;  ///< entries of each row: min(k, items)
  std::uint32_t k;
  const SearchResult& out;
  const SearchGoal* goal;
  bool all_pending;  ///< the rows are 0, 1, 2 ...: nothing to gather
  std::uint32_t pending;
};

void CertifiedSearch::prepare(const Exec& exec, const CandidateSource& source) {
  if (!prepared_) bound_.prepare(exec, items_.table(), source.may_be_coarse(exec));
  prepared_ = true;
  const std::vector<std::uint32_t>& heavy = bound_.heavy();
  heavy_.resize(exec, heavy.size());
  copy_from_host(exec, heavy_.data(), heavy.data(), heavy.size() * sizeof(heavy[0]));
}

TopkResult CertifiedSearch::lists() {
  return {keys_.data(), count_.data(), cut_.data(), left_out_.data()};
}

/// Work areas for a chunk, whose lists follow a goal or not, and what certify is to do with it but
/// for its rows and queries.
CertifyArgs CertifiedSearch::reserve_lists(const Exec& exec, const Request& request, ListKind kind,
                                           std::uint32_t rows, std::uint32_t depth, bool toward) {
  const ItemTable& table = items_.table();
  CertifyArgs args;
  args.kind = kind;
  args.bound = bound_.of(approximation_);
  args.items = items_.at(exec);
  args.num_items = table.num_items;
  if (kind == ListKind::kApproximate) {
    args.heavy = heavy_.data();
    args.num_heavy = static_cast<std::uint32_t>(bound_.heavy().size());
  }
  keys_.resize(exec, std::size_t{rows} * depth);
  count_.resize(exec, rows);
  cut_.resize(exec, rows);
  left_out_.resize(exec, rows);
  scratch_.resize(exec,
                  certify_scratch_size(exec, rows, std::uint64_t{depth} + args.num_heavy, toward));
  args.lists = {keys_.data(), count_.data(), cut_.data(), left_out_.data(), depth};
  args.k = request.k;
  const SearchResult& out = request.out;
  args.out = {out.items,    out.scores,    out.count,
              out.complete, out.certified, request.goal != nullptr ? out.passed : nullptr};
  args.scratch = scratch_.data();
  return args;
}

/// The pending rows where kernels can read them; null while all are.
const std::uint32_t* CertifiedSearch::place_pending(const Exec& exec, const Request& request) {
  if (request.all_pending) return nullptr;
  if (exec.device == Device::kCpu) return pending_.data();
  device_pending_.resize(exec, pending_.size());
  copy_to_device(exec, device_pending_.data(), pending_.data(),
                 pending_.size() * sizeof(pending_[0]));
  return device_pending_.data();
}

/// Queries of pending rows begin .. begin + count - 1, next to each other.
const float* CertifiedSearch::gather(const Exec& exec, const Request& request,
                                     const std::uint32_t* pending, std::uint32_t begin,
                                     std::uint32_t count) {
  const std::size_t dim = items_.table().dim;
  if (pending == nullptr) return request.queries + begin * dim;
  gathered_.resize(exec, count * dim);
  gather_queries(exec, request.queries, items_.table().dim, pending + begin, count,
                 gathered_.data());
  return gathered_.data();
}

/// Heavy items keep no error bound: they are listed and never passed over.
void CertifiedSearch::prepare_goal(const SearchGoal& goal) {
  eligible_.clear();
  if (goal.pass_above == nullptr || bound_.heavy().empty()) return;
  const std::uint32_t words = (items_.table().num_items + 31) / 32;
  if (goal.eligible != nullptr) {
    eligible_.assign(goal.eligible, goal.eligible + words);
  } else {
    eligible_.assign(words, 0xFFFFFFFFu);
  }
  for (const std::uint32_t item : bound_.heavy()) eligible_[item / 32] &= ~(1u << (item % 32));
}

/// The goal for rows begin .. begin + count - 1 of those pending, with room for the proof. queries:
/// theirs.
TopkGoal CertifiedSearch::goal_of(const Exec& exec, const Request& request, const Pass& pass,
                                  const SearchGoal& wanted, const float* queries,
                                  std::uint32_t begin, std::uint32_t count) {
  TopkGoal goal = wanted;
  goal.room = pass.slack;
  if (!eligible_.empty()) goal.eligible = eligible_.data();
  const auto row_of = [&](std::uint32_t i) {
    return request.all_pending ? begin + i : pending_[begin + i];
  };
  const ScoreBound score_bound = bound_.of(pass.how);
  margin_.resize(count);
  if (goal.ceiling != nullptr) ceiling_.resize(count);
  if (goal.pass_above != nullptr) pass_above_.resize(count);
  if (goal.settled_above != nullptr) settled_above_.resize(count);
  constexpr float kNone = std::numeric_limits<float>::infinity();
  const auto up = [](double value) {
    return value < double{std::numeric_limits<float>::max()}
               ? std::nextafter(static_cast<float>(value), kNone)
               : kNone;
  };
  const auto bound_row = [&](std::uint32_t i) {
    const std::uint32_t row = row_of(i);
    const QueryBound bound =
        query_bound(score_bound, queries + std::uint64_t{i} * items_.table().dim);
    // What is left out is behind the entry that reaches the goal, each of them off by the error,
    // and a little more for the additions of misses_nothing.
    margin_[i] = up(bound.error * (2.0 + 0x1p-20));
    // As in misses_nothing: the additions themselves round.
    const auto surely_above = [&](double above) {
      return up(above - bound.offset + bound.error +
                (std::fabs(above) + std::fabs(bound.offset) + bound.error) * 0x1p-48);
    };
    if (goal.settled_above != nullptr) settled_above_[i] = surely_above(wanted.settled_above[row]);
    if (goal.ceiling == nullptr) return;
    // Scores of the scan: without what is the same for all items of a query, and with an error.
    // What counts is surely not above the ceiling, or the list might end before the goal.
    ceiling_[i] = wanted.ceiling[row];
    if (std::isfinite(ceiling_[i]))
      ceiling_[i] = -up(bound.offset + bound.error - double{ceiling_[i]});
    if (goal.pass_above == nullptr) return;
    pass_above_[i] = std::max(ceiling_[i], surely_above(wanted.pass_above[row]));
  };
  parallel_for(exec, count, 64, [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t i = first; i < last; ++i) bound_row(static_cast<std::uint32_t>(i));
  });
  goal.margin = margin_.data();
  if (goal.ceiling != nullptr) goal.ceiling = ceiling_.data();
  if (goal.pass_above != nullptr) goal.pass_above = pass_above_.data();
  if (goal.settled_above != nullptr) goal.settled_above = settled_above_.data();
  for (std::uint32_t s = 0; s < goal.num_skips; ++s) {
    const bool again = s > 0 && wanted.skips[s].owner == wanted.skips[s - 1].owner;
    if (!again) {
      owners_[s].resize(count);
      for (std::uint32_t i = 0; i < count; ++i) owners_[s][i] = wanted.skips[s].owner[row_of(i)];
    }
    goal.skips[s].owner = again ? goal.skips[s - 1].owner : owners_[s].data();
  }
  return goal;
}

void CertifiedSearch::search_pass(const Exec& exec, CandidateSource& source, Request& request,
                                  const Pass& pass) {
  const auto depth = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      std::uint64_t{request.wanted} + pass.slack, items_.table().num_items));
  const std::uint32_t step = std::min(chunk_rows(depth), request.pending);
  const std::uint32_t* pending = place_pending(exec, request);
  const bool toward = pass.goal != nullptr;
  CertifyArgs args = reserve_lists(exec, request, ListKind::kApproximate, step, depth, toward);
  args.bound = bound_.of(pass.how);
  proven_.resize(exec, request.pending);
  if (toward) {
    passed_.resize(exec, step);
    least_.resize(exec, step);
    others_.resize(exec, step);
    exact_.resize(exec, step);
    args.lists.exact = exact_.data();
    args.lists.passed = passed_.data();
    if (pass.goal->dismisses) args.lists.others = others_.data();
    args.lists.least = least_.data();
    prepare_goal(*pass.goal);
  }
  for (std::uint32_t begin = 0; begin < request.pending; begin += args.num_lists) {
    args.num_lists = std::min(step, request.pending - begin);
    args.queries = gather(exec, request, pending, begin, args.num_lists);
    args.rows = pending != nullptr ? pending + begin : nullptr;
    args.first_row = begin;
    args.proven = proven_.data() + begin;
    if (toward) {
      const TopkGoal goal =
          goal_of(exec, request, pass, *pass.goal, args.queries, begin, args.num_lists);
      TopkResult found = lists();
      found.passed = passed_.data();
      found.least = least_.data();
      found.others = others_.data();
      found.exact = exact_.data();
      source.find_toward(exec, pass.how, args.items, args.queries, args.num_lists, depth, goal,
                         workspace_, found);
      args.lists.settled_above = goal.settled_above;
      args.lists.ceiling = goal.ceiling;
      if (goal.not_dismissed < goal.num_skips) {
        const TopkSkips& kept = goal.skips[goal.not_dismissed];
        args.lists.kept = kept.items;
        args.lists.kept_offsets = kept.offsets;
        args.lists.kept_owner = kept.owner;
      }
      if (request.goal != nullptr) stats_.toward += args.num_lists;
      for (std::uint32_t i = 0; i < args.num_lists; ++i) stats_.passed += passed_.data()[i];
    } else {
      source.find(exec, args.items, args.queries, args.num_lists, depth, workspace_, lists());
    }
    certify(exec, args);
  }
  keep_pending(exec, request);
}

/// Scores of a larger error first, where that is faster: most rows are proven with them.
void CertifiedSearch::coarse_pass(const Exec& exec, CandidateSource& source, Request& request) {
  if (coarse_pause_ > 0) {
    --coarse_pause_;
    return;
  }
  const std::uint32_t tried = request.pending;
  const std::uint32_t wanted = request.goal != nullptr ? request.goal->wanted : request.wanted;
  const std::uint32_t room =
      std::clamp(std::max(items_.table().num_items / kCoarseShare, wanted / 4), kLeastCoarseRoom,
                 kMostCoarseRoom);
  SearchGoal all;
  all.wanted = request.wanted;
  search_pass(exec, source, request,
              {Approximation::kTopkBf16, room, request.goal != nullptr ? request.goal : &all});
  const std::uint64_t proven = tried - request.pending;
  stats_.coarse += proven;
  if (proven * 100 >= tried * kCoarsePays) {
    next_pause_ = 1;
  } else {
    coarse_pause_ = next_pause_;
    next_pause_ = std::min(2 * next_pause_, kLongestPause);
  }
}

/// Only the rows that the last pass did not prove stay. The one thing that comes to the host.
void CertifiedSearch::keep_pending(const Exec& exec, Request& request) {
  const std::uint8_t* proven = proven_.data();
  if (exec.device == Device::kCuda) {
    flags_.resize(exec, request.pending);
    copy_to_host(exec, flags_.data(), proven, request.pending);
    synchronize(exec);
    proven = flags_.data();
  }
  std::uint32_t left = 0;
  for (std::uint32_t r = 0; r < request.pending; ++r) {
    if (proven[r] != 0) continue;
    const std::uint32_t row = request.all_pending ? r : pending_[r];
    if (left == pending_.size()) pending_.push_back(row);
    pending_[left++] = row;
  }
  stats_.certified += request.pending - left;
  pending_.resize(left);
  request.all_pending = false;
  request.pending = left;
}

void CertifiedSearch::brute_force(const Exec& exec, const Request& request) {
  const ItemTable& table = items_.table();
  const TopkItems scored{.rows = items_.at(exec),
                         .num_items = table.num_items,
                         .dim = table.dim,
                         .scoring = TopkScoring::kCanonical,
                         .metric = table.metric};
  const std::uint32_t step = std::min(chunk_rows(request.wanted), request.pending);
  const std::uint32_t* pending = place_pending(exec, request);
  CertifyArgs args = reserve_lists(exec, request, ListKind::kExact, step, request.wanted, false);
  for (std::uint32_t begin = 0; begin < request.pending; begin += args.num_lists) {
    args.num_lists = std::min(step, request.pending - begin);
    args.queries = gather(exec, request, pending, begin, args.num_lists);
    args.rows = pending != nullptr ? pending + begin : nullptr;
    args.first_row = begin;
    topk_on(exec, scored, args.queries, args.num_lists, request.wanted, workspace_, lists());
    certify(exec, args);
  }
  stats_.fallback += request.pending;
}

void CertifiedSearch::search(const Exec& exec, CandidateSource& source, const float* queries,
                             std::uint32_t num_queries, std::uint32_t k, const SearchResult& out) {
  search(exec, source, queries, num_queries, k, nullptr, out);
}

void CertifiedSearch::search_toward(const Exec& exec, CandidateSource& source, const float* queries,
                                    std::uint32_t num_queries, std::uint32_t most,
                                    const SearchGoal& goal, const SearchResult& out) {
  search(exec, source, queries, num_queries, most, &goal, out);
}

void CertifiedSearch::search(const Exec& exec, CandidateSource& source, const float* queries,
                             std::uint32_t num_queries, std::uint32_t k, const SearchGoal* goal,
                             const SearchResult& out) {
  if (num_queries == 0) return;
  const std::uint32_t num_items = items_.table().num_items;
  const std::uint32_t wanted = std::min(k, num_items);
  stats_.queries += num_queries;
  if (wanted == 0) {
    fill_bytes(exec, out.count, 0, num_queries * sizeof(out.count[0]));
    fill_bytes(exec, out.complete, num_items == 0 ? 1 : 0, num_queries);
    if (out.certified != nullptr) fill_bytes(exec, out.certified, 1, num_queries);
    if (goal != nullptr && out.passed != nullptr)
      fill_bytes(exec, out.passed, 0, num_queries * sizeof(out.passed[0]));
    stats_.certified += num_queries;
    return;
  }
  prepare(exec, source);
  Request request{queries, wanted, k, out, goal, true, num_queries};
  // Nearly all items are wanted: their exact scores are needed anyway.
  const bool nearly_all = std::uint64_t{wanted} + kSlacks[0] >= num_items;
  pending_.clear();
  if (!nearly_all && source.coarse_pays(exec, num_queries) && topk_toward_pays(exec, num_queries))
    coarse_pass(exec, source, request);
  for (const std::uint32_t slack : kSlacks) {
    if (request.pending == 0 || nearly_all) break;
    if (std::uint64_t{wanted} + slack > source.max_depth()) break;
    if (!request.all_pending) stats_.widened += request.pending;
    const std::uint32_t room = goal != nullptr ? kRoomPerSlack * slack : slack;
    search_pass(exec, source, request, {approximation_, room, goal});
  }
  if (request.pending > 0) brute_force(exec, request);
}

std::uint64_t CertifiedSearch::memory_bytes() const {
  std::uint64_t owners = 0;
  for (const auto& owner : owners_) owners += owner.capacity();
  return workspace_.cpu.bytes() + heavy_.host_bytes() + keys_.host_bytes() + scratch_.host_bytes() +
         count_.host_bytes() + cut_.host_bytes() + gathered_.host_bytes() + left_out_.host_bytes() +
         proven_.host_bytes() + flags_.capacity_bytes() +
         (ceiling_.capacity() + pass_above_.capacity() + settled_above_.capacity() +
          margin_.capacity()) *
             sizeof(float) +
         passed_.capacity_bytes() + least_.capacity_bytes() + others_.capacity_bytes() +
         exact_.capacity_bytes() + (eligible_.capacity() + owners) * sizeof(std::uint32_t) +
         pending_.capacity() * sizeof(std::uint32_t);
}

std::uint64_t CertifiedSearch::device_bytes() const {
  return items_.device_bytes() + workspace_.device_bytes() + heavy_.device_bytes() +
         keys_.device_bytes() + scratch_.device_bytes() + count_.device_bytes() +
         cut_.device_bytes() + gathered_.device_bytes() + left_out_.device_bytes() +
         proven_.device_bytes() + device_pending_.capacity_bytes();
}

}  // namespace quarry

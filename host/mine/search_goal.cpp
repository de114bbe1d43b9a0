// What of a recipe's filters a search may know beforehand.
#include "host/mine/search_goal.h"

#include <algorithm>
#include <limits>

#include "kernels/exclude/exclude_row.h"

namespace quarry {
namespace {

/// What the lists of a user hold in all, but for the one in twenty with the longest.
std::uint32_t usual_length(const std::vector<UserLists>& lists, std::uint32_t num_users,
                           std::uint32_t num_items) {
  if (lists.empty() || num_users == 0) return 0;
  std::vector<std::uint64_t> lengths(num_users, 0);
  for (const UserLists& list : lists) {
    for (std::uint32_t u = 0; u < num_users; ++u)
      lengths[u] += list.offsets[u + 1] - list.offsets[u];
  }
  const auto most = lengths.begin() + static_cast<std::ptrdiff_t>(num_users - 1 - num_users / 20);
  std::nth_element(lengths.begin(), most, lengths.end());
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(*most, num_items));
}

std::vector<const Branch*> topk_branches(const Plan& plan) {
  std::vector<const Branch*> branches;
  for (std::uint32_t b = 0; b < plan.num_branches; ++b) {
    if (plan.branches[b].source == SourceKind::kTopk) branches.push_back(&plan.branches[b]);
  }
  return branches;
}

bool has_filter(const Plan& plan, const Branch& branch, const Filter& wanted) {
  return std::any_of(
      plan.filters + branch.first_filter, plan.filters + branch.first_filter + branch.num_filters,
      [&](const Filter& f) { return f.kind == wanted.kind && f.table == wanted.table; });
}

/// What is above the branch's first ceiling is rejected by it, or by a filter that `scanned` says a
/// scan applies.
template <class Scanned>
bool passes_over(const Plan& plan, const World& world, const Branch& branch, Scanned&& scanned) {
  const std::uint32_t ceiling = first_ceiling(plan, branch);
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    const Filter& f = plan.filters[branch.first_filter + i];
    if (f.kind == FilterKind::kRawRank) return false;
    if (i < ceiling && f.kind != FilterKind::kSurvivorRank && !scanned(f)) return false;
  }
  return ceiling < branch.num_filters && branch.max_rank >= world.num_items;
}

/// What `scanned` says a scan applies rejects an item whatever its score, and before any filter
/// that looks at it.
template <class Scanned>
bool dismisses(const Plan& plan, const Branch& branch, Scanned&& scanned) {
  bool by_score = false;
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    const Filter& f = plan.filters[branch.first_filter + i];
    if (f.kind == FilterKind::kRawRank || (by_score && scanned(f))) return false;
    by_score = by_score || (kScoreKinds & kind_bit(f.kind)) != 0;
  }
  return true;
}

/// What is above the branch's first ceiling is rejected by the same filter however much it is above
/// it, and counts wherever it stands. (A score window before it lets nothing through where it tells
/// such items apart; searches of rows that get nothing end with all items.)
bool settles(const Plan& plan, const World& world, const Branch& branch) {
  const std::uint32_t ceiling = first_ceiling(plan, branch);
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    if (plan.filters[branch.first_filter + i].kind == FilterKind::kRawRank) return false;
  }
  return ceiling < branch.num_filters && branch.max_rank >= world.num_items;
}

}  // namespace

SearchGoals::SearchGoals(const Exec& exec, const Compiled& compiled, bool in_order)
    : compiled_(compiled) {
  if (exec.device != Device::kCpu) return;  // plan and world are where the host cannot read
  const Plan& plan = compiled.plan;
  const World& world = compiled.world;
  branches_ = topk_branches(plan);
  if (branches_.empty()) return;
  has_ceiling_ = std::all_of(branches_.begin(), branches_.end(), [&](const Branch* b) {
    return first_ceiling(plan, *b) < b->num_filters;
  });
  std::vector<const Filter*> scanned;
  const std::uint32_t words = (world.num_items + 31) / 32;
  for (std::uint32_t i = 0; i < branches_[0]->num_filters; ++i) {
    const Filter& f = plan.filters[branches_[0]->first_filter + i];
    const bool common = std::all_of(branches_.begin(), branches_.end(),
                                    [&](const Branch* b) { return has_filter(plan, *b, f); });
    if (!common) continue;
    if (f.kind == FilterKind::kUserList || f.kind == FilterKind::kPositives) {
      if (lists_.size() + 1 >= kMaxTopkSkips) continue;  // one is for the rows' own positives
      lists_.push_back(world.lists[f.table]);
      scanned.push_back(&f);
    } else if (f.kind == FilterKind::kBitmapDeny || f.kind == FilterKind::kBitmapAllow) {
      scanned.push_back(&f);
      if (eligible_.empty()) eligible_.assign(words, 0xFFFFFFFFu);
      const std::uint32_t flip = f.kind == FilterKind::kBitmapDeny ? 0xFFFFFFFFu : 0;
      for (std::uint32_t w = 0; w < words; ++w) eligible_[w] &= world.bitmaps[f.table][w] ^ flip;
    }
  }
  const auto is_scanned = [&](const Filter& f) {
    return std::any_of(scanned.begin(), scanned.end(),
                       [&](const Filter* g) { return g->kind == f.kind && g->table == f.table; });
  };
  passes_ = has_ceiling_ && std::all_of(branches_.begin(), branches_.end(), [&](const Branch* b) {
              return passes_over(plan, world, *b, is_scanned);
            });
  settles_ = has_ceiling_ && std::all_of(branches_.begin(), branches_.end(),
                                         [&](const Branch* b) { return settles(plan, world, *b); });
  // Where the last rank of one branch is within the lists of another, what is ahead of it has an
  // order; lists are no longer than the last rank of all.
  const std::uint32_t last_rank = std::min(branches_[0]->max_rank, world.num_items);
  dismisses_ =
      !scanned.empty() && std::all_of(branches_.begin(), branches_.end(), [&](const Branch* b) {
        return dismisses(plan, *b, is_scanned) &&
               std::min(b->max_rank, world.num_items) == last_rank;
      });
  if (in_order) settles_ = dismisses_ = false;
  complete_ = std::all_of(branches_.begin(), branches_.end(), [&](const Branch* b) {
    return std::all_of(plan.filters + b->first_filter,
                       plan.filters + b->first_filter + b->num_filters, [&](const Filter& f) {
                         return is_scanned(f) || (kScoreKinds & kind_bit(f.kind)) != 0 ||
                                f.kind == FilterKind::kSurvivorRank;
                       });
  });
  any_ = has_ceiling_ || !lists_.empty() || !eligible_.empty();
  double share = 1.0;
  if (!eligible_.empty()) {
    std::uint64_t passing = 0;
    for (std::uint32_t i = 0; i < world.num_items; ++i)
      passing += eligible_[i / 32] >> (i % 32) & 1;
    share = static_cast<double>(std::max<std::uint64_t>(passing, 1)) / world.num_items;
  }
  rejected_ = static_cast<std::uint32_t>(std::clamp((has_ceiling_ ? 8.0 : 1.0) / share, 1.0, 64.0));
  // As many as stand among what is wanted, so that one search does: a search again costs a scan.
  reach_ = static_cast<std::uint32_t>(
      std::clamp((has_ceiling_ && !passes_ ? 8.0 : 2.0) / share, 2.0, 4096.0));
  skipped_ = usual_length(lists_, world.num_users, world.num_items);
}

SearchGoal SearchGoals::of(const RowBatch& rows, const std::uint32_t* users, std::uint32_t wanted) {
  SearchGoal goal;
  goal.wanted = wanted;
  goal.eligible = eligible_.empty() ? nullptr : eligible_.data();
  goal.dismisses = dismisses_;
  if (has_ceiling_) {
    find_ceilings(rows);
    goal.ceiling = ceiling_.data();
    if (passes_) goal.pass_above = pass_above_.data();
    if (settles_) goal.settled_above = pass_above_.data();
  }
  const bool known = users != nullptr || rows.user != nullptr;
  if (!lists_.empty() && known && compiled_.world.num_users > 0) {
    owner_.assign(rows.num_queries, 0);
    for (std::uint32_t q = 0; q < rows.num_queries; ++q) {
      if (users != nullptr) {
        owner_[q] = users[q];
      } else if (rows.bad[q] == 0) {
        owner_[q] = rows.user[place_of(rows, q)];
      }
    }
    for (const UserLists& list : lists_)
      goal.skips[goal.num_skips++] = {list.offsets, list.values, owner_.data()};
  }
  if (passes_ && rows.positive_offsets != nullptr) {
    list_own_positives(rows);
    goal.not_dismissed = goal.num_skips;  // those of a row are rejected in that row alone
    goal.skips[goal.num_skips++] = {own_offsets_.data(), own_.data(), own_owner_.data()};
  }
  return goal;
}

/// Of the rows of a query the one that rejects most, of a row's branches the one that rejects
/// least, says what counts. What all of them reject need not be listed.
void SearchGoals::find_ceilings(const RowBatch& rows) {
  constexpr float kNone = std::numeric_limits<float>::infinity();
  ceiling_.assign(rows.num_queries, kNone);
  pass_above_.assign(rows.num_queries, -kNone);
  for (std::uint32_t i = 0; i < rows.num_rows; ++i) {
    if (rows.bad[i] != 0) continue;
    const RowContext row = row_context(compiled_.world, rows, i);
    const std::uint32_t q = query_of(rows, i);
    float ceiling = -kNone;
    for (const Branch* branch : branches_) {
      const Filter* filters = compiled_.plan.filters + branch->first_filter;
      float lowest = kNone;
      for (std::uint32_t f = 0; f < branch->num_filters; ++f)
        lowest = std::min(lowest, ceiling_of(filters[f], row));
      ceiling = std::max(ceiling, lowest);
      const std::uint32_t first = first_ceiling(compiled_.plan, *branch);
      if (first < branch->num_filters)
        pass_above_[q] = std::max(pass_above_[q], ceiling_of(filters[first], row));
    }
    ceiling_[q] = std::min(ceiling_[q], ceiling);
  }
  for (std::uint32_t q = 0; q < rows.num_queries; ++q) {
    if (pass_above_[q] < ceiling_[q]) pass_above_[q] = kNone;  // a query of bad rows only
  }
}

/// They may be known from the row alone, and are rejected as positives, not by the ceiling.
void SearchGoals::list_own_positives(const RowBatch& rows) {
  own_offsets_.assign(std::size_t{rows.num_queries} + 1, 0);
  const auto each = [&](auto&& take) {
    for (std::uint32_t i = 0; i < rows.num_rows; ++i) {
      if (rows.bad[i] != 0) continue;
      const std::uint64_t place = place_of(rows, i);
      take(query_of(rows, i), rows.positives + rows.positive_offsets[place],
           num_positives_of(rows, i));
    }
  };
  each([&](std::uint32_t q, const std::uint32_t*, std::uint32_t n) { own_offsets_[q + 1] += n; });
  for (std::uint32_t q = 0; q < rows.num_queries; ++q) own_offsets_[q + 1] += own_offsets_[q];
  own_.resize(own_offsets_.back());
  own_next_.assign(own_offsets_.begin(), own_offsets_.end() - 1);
  each([&](std::uint32_t q, const std::uint32_t* positives, std::uint32_t n) {
    std::copy(positives, positives + n, own_.begin() + static_cast<std::ptrdiff_t>(own_next_[q]));
    own_next_[q] += n;
  });
  own_owner_.resize(rows.num_queries);
  for (std::uint32_t q = 0; q < rows.num_queries; ++q) {
    own_owner_[q] = q;
    std::sort(own_.begin() + static_cast<std::ptrdiff_t>(own_offsets_[q]),
              own_.begin() + static_cast<std::ptrdiff_t>(own_offsets_[q + 1]));
  }
}

}  // namespace quarry

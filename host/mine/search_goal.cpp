// What of a recipe's filters a search may know beforehand.
#include "host/mine/search_goal.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/exclude/exclude_row.h"

namespace quarry {
namespace {

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

bool is_ceiling(const Filter& f) { return (kScoreKinds & kind_bit(f.kind)) != 0; }

}  // namespace

SearchGoals::SearchGoals(const Compiled& compiled) : compiled_(compiled) {
  const Plan& plan = compiled.plan;
  const World& world = compiled.world;
  const std::vector<const Branch*> branches = topk_branches(plan);
  if (branches.empty()) return;
  has_ceiling_ = std::all_of(branches.begin(), branches.end(), [&](const Branch* b) {
    return std::any_of(plan.filters + b->first_filter,
                       plan.filters + b->first_filter + b->num_filters, is_ceiling);
  });
  const std::uint32_t words = (world.num_items + 31) / 32;
  for (std::uint32_t i = 0; i < branches[0]->num_filters; ++i) {
    const Filter& f = plan.filters[branches[0]->first_filter + i];
    const bool common = std::all_of(branches.begin(), branches.end(),
                                    [&](const Branch* b) { return has_filter(plan, *b, f); });
    if (!common) continue;
    if (f.kind == FilterKind::kUserList || f.kind == FilterKind::kPositives) {
      if (lists_.size() < kMaxTopkSkips) lists_.push_back(world.lists[f.table]);
    } else if (f.kind == FilterKind::kBitmapDeny || f.kind == FilterKind::kBitmapAllow) {
      if (eligible_.empty()) eligible_.assign(words, 0xFFFFFFFFu);
      const std::uint32_t flip = f.kind == FilterKind::kBitmapDeny ? 0xFFFFFFFFu : 0;
      for (std::uint32_t w = 0; w < words; ++w) eligible_[w] &= world.bitmaps[f.table][w] ^ flip;
    }
  }
  any_ = has_ceiling_ || !lists_.empty() || !eligible_.empty();
  double share = 1.0;
  if (!eligible_.empty()) {
    std::uint64_t passing = 0;
    for (std::uint32_t i = 0; i < world.num_items; ++i)
      passing += eligible_[i / 32] >> (i % 32) & 1;
    share = static_cast<double>(std::max<std::uint64_t>(passing, 1)) / world.num_items;
  }
  reach_ = static_cast<std::uint32_t>(std::clamp((has_ceiling_ ? 8.0 : 2.0) / share, 2.0, 64.0));
}

SearchGoal SearchGoals::of(const RowBatch& rows, const std::uint32_t* users, std::uint32_t wanted) {
  const Plan& plan = compiled_.plan;
  SearchGoal goal;
  goal.wanted = wanted;
  goal.eligible = eligible_.empty() ? nullptr : eligible_.data();
  if (has_ceiling_) {
    constexpr float kNone = std::numeric_limits<float>::infinity();
    // Of the rows of a query the one that rejects most, of a row's branches the one that rejects
    // least.
    ceiling_.assign(rows.num_queries, kNone);
    for (std::uint32_t i = 0; i < rows.num_rows; ++i) {
      if (rows.bad[i] != 0) continue;
      const RowContext row = row_context(compiled_.world, rows, i);
      float ceiling = -kNone;
      for (const Branch* branch : topk_branches(plan))
        ceiling = std::max(ceiling, score_ceiling(plan, *branch, row));
      float& of_query = ceiling_[query_of(rows, i)];
      of_query = std::min(of_query, ceiling);
    }
    goal.ceiling = ceiling_.data();
  }
  if (!lists_.empty() && compiled_.world.num_users > 0) {
    owner_.assign(rows.num_queries, 0);
    for (std::uint32_t q = 0; q < rows.num_queries; ++q) {
      if (users != nullptr) {
        owner_[q] = users[q];
      } else if (rows.bad[q] == 0) {
        owner_[q] = rows.user[place_of(rows, q)];
      }
    }
    goal.owner = owner_.data();
    for (const UserLists& list : lists_) goal.skips[goal.num_skips++] = {list.offsets, list.values};
  }
  return goal;
}

}  // namespace quarry

// What of a recipe's filters a search may know beforehand, so that it goes as deep as a row needs.
#pragma once

#include <cstdint>
#include <vector>

#include "host/mine/compile.h"
#include "index/retriever.h"
#include "kernels/model/rows.h"

namespace quarry {

/// The filters that all topk branches have in common and that a scan can apply: lists of items by
/// user, marked items, and the lowest ceiling of margins and score windows. What it says decides
/// when a search ends and never what a row gets.
///
/// Where in every topk branch the ceiling comes before any filter that a scan cannot apply, and
/// nothing asks for raw ranks, what is above it is only counted: Candidates::passed. Where other
/// filters come before it, what is above is listed for them, in no order.
class SearchGoals {
 public:
  /// in_order: what lists may hold out of order is listed in order all the same, so that they can
  /// be merged with those of other items.
  SearchGoals(const Exec& exec, const Compiled& compiled, bool in_order = false);
  /// False if the recipe has nothing that a search could use.
  bool any() const { return any_; }
  /// True if a scan applies every filter: what counts is what survives, but for the last bits of
  /// scores.
  bool complete() const { return complete_; }
  /// Lists this many times as long as what is wanted will do for most rows.
  std::uint32_t reach() const { return reach_; }
  /// Items of their own lists that users have, at most, but for one in twenty.
  std::uint32_t skipped() const { return skipped_; }
  /// Nearest items to look at for each one that is wanted, roughly, where searches follow no goal.
  std::uint32_t rejected() const { return rejected_; }
  /// What is above every ceiling is counted and not listed.
  bool passes() const { return passes_; }
  /// Of the queries of the last batch, where passes(): what is above is passed over.
  const float* pass_above() const { return pass_above_.data(); }
  /// Of the queries of the last batch, what their rows reject above; null: nothing.
  const float* ceilings() const { return has_ceiling_ ? ceiling_.data() : nullptr; }
  /// For the queries of a batch on the CPU whose positives are scored. users: [num_queries] of each
  /// query, or null: query i is row i. Valid until the next call.
  SearchGoal of(const RowBatch& rows, const std::uint32_t* users, std::uint32_t wanted);

 private:
  void find_ceilings(const RowBatch& rows);
  void list_own_positives(const RowBatch& rows);

  const Compiled& compiled_;
  std::vector<const Branch*> branches_;  ///< the topk branches
  bool any_ = false;
  bool complete_ = false;
  bool has_ceiling_ = false;
  bool settles_ = false;    ///< what is above every ceiling need not be scored again or ordered
  bool dismisses_ = false;  ///< filters that a scan applies reject whatever the score
  bool passes_ = false;  ///< what is above every ceiling is rejected by it and need not be listed
  std::uint32_t reach_ = 1;
  std::uint32_t skipped_ = 0;
  std::uint32_t rejected_ = 1;
  std::vector<std::uint32_t> eligible_;
  std::vector<UserLists> lists_;
  std::vector<float> ceiling_, pass_above_;
  std::vector<std::uint64_t> own_offsets_, own_next_;  ///< positives of the rows of each query
  std::vector<std::uint32_t> own_, own_owner_;
  std::vector<std::uint32_t> owner_;
};

}  // namespace quarry

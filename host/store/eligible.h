// Items that an evaluation may rank against a row's positives, and uniform samples of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "host/data/tables.h"
#include "host/recipe/recipe.h"

namespace quarry {

/// What eligibility is judged by. Borrowed; null: nothing is known.
struct EligibleTables {
  std::uint32_t num_items = 0;
  const Exposure* exposure = nullptr;
  const Catalogue* catalogue = nullptr;
  const Lists* row_positives = nullptr;     ///< positives of the run's rows, by user
  std::span<const std::uint64_t> left_out;  ///< items that cannot be scored, ascending
  std::int64_t as_of = INT64_MAX;           ///< the time of rows that have none
};

struct EligibleRow {
  std::uint64_t key = 0;
  std::uint32_t user = 0;
  std::int64_t time = INT64_MAX;
  std::span<const std::uint32_t> positives;
};

/// An item is eligible for a row if the recipe's safety filters `positives`, `exposed` and `time`
/// let it through (docs/row_contract.md, section 2). The other safety filters make negatives easier
/// or safer to learn from; an evaluation that left out what they reject would be easier too.
class EligibleItems {
 public:
  EligibleItems(const Recipe& recipe, const EligibleTables& tables);

  /// Kinds of safety filters that decide, and of those that do not, as the recipe has them.
  const std::vector<std::string>& applied() const { return applied_; }
  const std::vector<std::string>& passed_over() const { return passed_over_; }

  /// The calls below are about this row from here on.
  void look_at(const EligibleRow& row);
  bool is_eligible(std::uint32_t item) const;
  /// Eligible items; no pass over the catalogue.
  std::uint64_t count() const;
  /// All of them, ascending.
  void list(std::vector<std::uint32_t>& items) const;
  /// min(m, count()) of them, every subset of that size as likely as any other, ascending: a
  /// function of seed, row key and what is eligible.
  void sample(std::uint64_t m, std::uint32_t seed, std::vector<std::uint32_t>& items);

 private:
  void exclude_user(std::uint32_t user);
  bool is_there(std::uint32_t item) const;

  EligibleTables tables_;
  std::vector<FilterSpec> exposed_;
  bool positives_ = false, time_ = false;
  std::vector<std::string> applied_, passed_over_;
  std::vector<std::int64_t> begin_, end_;    ///< [items] when an item is there, if timed
  std::vector<std::int64_t> begins_, ends_;  ///< of items that ever are, sorted
  std::vector<bool> unusable_;               ///< [items]
  EligibleRow row_;
  std::int64_t now_ = INT64_MAX;
  std::vector<std::uint32_t> excluded_;  ///< by lists, ascending
  std::vector<std::uint64_t> drawn_in_;  ///< [items] the sample that drew it last
  std::uint64_t samples_ = 0;
};

}  // namespace quarry

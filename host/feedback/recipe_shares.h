// The shares of a recipe that feedback moves, and their change in its text: numbers are replaced
// where they stand, all else stays byte by byte.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "host/recipe/recipe.h"

namespace quarry {

/// A stratum of a set, and how many slots its run asked for.
struct StratumSlots {
  std::string name;  ///< "head", or "head/new" with several attributes
  std::uint64_t requested = 0;
};

/// Shares that sum to something: of the branches, or of the cells of an attribute.
struct ShareGroup {
  enum class Unit : std::uint8_t { kCount, kMillionth };
  std::string by;  ///< "branch", or an attribute of the quota
  Unit unit = Unit::kMillionth;
  /// Shares move by this many units at a time: those with at most four decimals stay so.
  std::uint64_t grain = 1;
  std::string mode;  ///< "equal", "catalogue": the cells are not named in the recipe
  std::vector<std::pair<std::string, std::uint64_t>> shares;  ///< in units, in order
};

inline constexpr const char* kBranches = "branch";

/// What `by` may be: kBranches, and the attributes of the recipe's quota.
std::vector<std::string> share_groups(const Recipe& recipe);
/// Throws InputError, which begins with `where`, for another `by`, for one that is both
/// branch and attribute, for one share alone, for shares
/// with a schedule, and where cells cannot be told from the strata's names.
ShareGroup share_group(const Recipe& recipe, const std::string& by,
                       const std::vector<StratumSlots>& strata, const std::string& where);

/// The recipe's text with these shares, in units and in the order of the group. Only numbers that
/// differ are replaced; a word ("equal") becomes a table. Checked: the text parses, and its tree is
/// the old one but for these values.
std::string with_shares(const std::string& text, const ShareGroup& group,
                        const std::vector<std::uint64_t>& shares);

/// A share as decimals, or a count.
std::string share_text(const ShareGroup& group, std::uint64_t units);

}  // namespace quarry

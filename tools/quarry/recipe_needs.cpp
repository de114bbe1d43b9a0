// The tables that a recipe reads against those that flags give.
#include "tools/quarry/recipe_needs.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "host/mine/miner.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// The names of tables that a recipe asks for by kind.
struct RecipeNeeds {
  std::set<std::string> pairs, features, item_lists;
  bool catalogue = false;  ///< a column of the catalogue
  bool events = false;     ///< exposure or popularity
};

RecipeNeeds needs_of(const Recipe& recipe) {
  RecipeNeeds needs;
  const auto add_filters = [&](const std::vector<FilterSpec>& filters) {
    for (const FilterSpec& filter : filters) {
      switch (filter.type) {
        case FilterType::kNearDuplicate:
        case FilterType::kSimilarity:
          if (!filter.table.empty()) needs.features.insert(filter.table);
          break;
        case FilterType::kColumn:
          needs.pairs.insert(filter.table);
          break;
        case FilterType::kAllowList:
          needs.item_lists.insert(filter.table);
          break;
        case FilterType::kGroup:
        case FilterType::kOverlap:
        case FilterType::kSegment:
          needs.catalogue = true;
          break;
        case FilterType::kUniversal:
        case FilterType::kExposed:
          needs.events = true;
          break;
        default:
          break;
      }
    }
  };
  add_filters(recipe.safety);
  for (const BranchSpec& branch : recipe.branches) {
    add_filters(branch.filters);
    if (branch.source.kind == SourceKind::kRun) needs.pairs.insert(branch.source.table);
    if (branch.source.kind == SourceKind::kExposed || branch.source.kind == SourceKind::kPopularity)
      needs.events = true;
    for (const WeightSpec& weight : branch.weights) {
      if (weight.kind == WeightKind::kPairColumn) needs.pairs.insert(weight.table);
      if (weight.kind == WeightKind::kPopularity || weight.kind == WeightKind::kClass)
        needs.events = true;
    }
  }
  for (const StratumAttribute& attribute : recipe.strata) {
    if (attribute.kind != StratumAttribute::Kind::kPopularity) needs.catalogue = true;
    if (attribute.kind == StratumAttribute::Kind::kPopularity) needs.events = true;
  }
  if (!recipe.caps.empty()) needs.catalogue = true;
  return needs;
}

void require_names(const std::set<std::string>& needed, const std::vector<NamedPath>& given,
                   const std::string& flag) {
  for (const std::string& name : needed) {
    const bool found = std::any_of(given.begin(), given.end(),
                                   [&](const NamedPath& entry) { return entry.name == name; });
    if (!found)
      throw ConfigError(
          fmt::format("the recipe uses '{0}', which no flag gives: add {1} {0}=FILE", name, flag));
  }
}

}  // namespace

void check_recipe_against_flags(const RunRequest& request) {
  for (const BranchSpec& branch : request.recipe.branches)
    if (is_shared(branch.source.kind)) throw_no_batches(branch.source.kind, branch.name);
  const RecipeNeeds needs = needs_of(request.recipe);
  require_names(needs.pairs, request.pairs, "--pairs");
  require_names(needs.features, request.features, "--feature");
  require_names(needs.item_lists, request.item_lists, "--item-list");
  if (needs.catalogue && request.options.catalogue.empty()) {
    throw ConfigError(
        "the recipe uses attributes of items (groups, overlap, segments, caps or strata): add "
        "--catalogue FILE");
  }
  if (needs.events && request.options.events.empty()) {
    throw ConfigError(
        "the recipe uses exposure or popularity, which come from events: add --events FILE");
  }
}

std::vector<std::string> unused_tables(const RunRequest& request) {
  const RecipeNeeds needs = needs_of(request.recipe);
  std::vector<std::string> warnings;
  const auto judge = [&](const std::set<std::string>& needed, const std::vector<NamedPath>& given,
                         const char* flag, const char* readers) {
    for (const NamedPath& entry : given) {
      if (needed.contains(entry.name)) continue;
      warnings.push_back(fmt::format(
          "{0} {1}={2} has no effect: {3} of the recipe names '{1}'; take the flag out, or name "
          "'{1}' in the recipe",
          flag, entry.name, entry.path, readers));
    }
  };
  judge(needs.pairs, request.pairs, "--pairs", "no source, filter or weight");
  judge(needs.features, request.features, "--feature", "no filter");
  judge(needs.item_lists, request.item_lists, "--item-list", "no filter");
  return warnings;
}

}  // namespace quarry

// Filters against the tables that they read.
#include "tools/quarry/safety_inputs.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/core/errors.h"
#include "tools/quarry/progress.h"

namespace quarry {
namespace {

bool uses(const Recipe& recipe, FilterType type) {
  const auto has = [type](const std::vector<FilterSpec>& filters) {
    return std::any_of(filters.begin(), filters.end(),
                       [type](const FilterSpec& filter) { return filter.type == type; });
  };
  return has(recipe.safety) || std::any_of(recipe.branches.begin(), recipe.branches.end(),
                                           [&](const BranchSpec& b) { return has(b.filters); });
}

/// Refuses a filter that does nothing, or writes down that it does.
void inert(const RunRequest& request, std::vector<std::string>* warnings, const std::string& why,
           const std::string& remedy) {
  if (!request.options.allow_inert) {
    throw ConfigError(why + ", so it would reject nothing: " + remedy +
                      ", take the filter out of the recipe, or accept it with --allow-inert");
  }
  if (warnings != nullptr) warnings->push_back(why + ", so it rejects nothing (--allow-inert)");
}

}  // namespace

void check_safety_flags(const RunRequest& request) {
  if (request.options.catalogue.empty() && uses(request.recipe, FilterType::kTime)) {
    inert(request, nullptr, "the filter time knows no times of items, for want of a catalogue",
          "add --catalogue FILE with a column first_seen or retired");
  }
}

void check_safety_inputs(const RunRequest& request, Inputs& inputs) {
  if (uses(request.recipe, FilterType::kTime)) {
    if (!inputs.catalogue) {
      inert(request, &inputs.warnings,
            "the filter time knows no times of items, for want of a catalogue",
            "add --catalogue FILE");
    } else if (inputs.catalogue->first_seen.empty() && inputs.catalogue->retired.empty()) {
      const CatalogueColumns& columns = request.catalogue_columns;
      inert(request, &inputs.warnings,
            fmt::format("the filter time knows no times of items: {} has neither a column '{}' nor "
                        "'{}'",
                        request.options.catalogue, columns.first_seen, columns.retired),
            "add one, or name it with --catalogue-columns first_seen=..,retired=..");
    }
  }
  if (uses(request.recipe, FilterType::kPositives) && !inputs.exposure &&
      inputs.rows.new_positives().values.empty()) {
    inert(request, &inputs.warnings,
          fmt::format("the filter positives knows no positive of anyone: there are no events, and "
                      "no row of {} has an item",
                      request.options.rows),
          "add --events FILE, or a column of positives (--row-columns item=..)");
  }
}

std::string segment_warning(const RunRequest& request, std::uint64_t unknown, std::uint64_t rows) {
  if (unknown == 0 || !uses(request.recipe, FilterType::kSegment)) return "";
  return fmt::format(
      "{} of {} rows have no segment, or one that no item has; the filter segment rejects every "
      "item there",
      words_of_count(unknown), words_of_count(rows));
}

std::string kinds_warning(const Inputs& inputs) {
  if (!inputs.exposure || inputs.exposure->unnamed_kinds.empty()) return "";
  std::string kinds;
  for (const auto& [kind, count] : inputs.exposure->unnamed_kinds)
    kinds += fmt::format("{}'{}' ({})", kinds.empty() ? "" : ", ", kind, words_of_count(count));
  return "no exposure rule of the recipe names these kinds of events, which count as ambiguous "
         "exposure only: " +
         kinds;
}

}  // namespace quarry

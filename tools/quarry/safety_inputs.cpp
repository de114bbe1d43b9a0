// Filters against the tables that they read.
#include "tools/quarry/safety_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "kernels/core/errors.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/progress.h"

namespace quarry {
namespace {

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
  if (request.options.catalogue.empty() && uses_filter(request.recipe, FilterType::kTime)) {
    inert(request, nullptr, "the filter time knows no times of items, for want of a catalogue",
          "add --catalogue FILE with a column first_seen or retired");
  }
}

void check_safety_inputs(const RunRequest& request, Inputs& inputs) {
  if (uses_filter(request.recipe, FilterType::kTime)) {
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
    } else if (inputs.catalogue->first_seen.empty()) {
      inputs.warnings.push_back(fmt::format(
          "{} has no column '{}', so the filter time lets items through that came after the row; "
          "name the column with --catalogue-columns first_seen=COLUMN",
          request.options.catalogue, request.catalogue_columns.first_seen));
    }
  }
  if (uses_filter(request.recipe, FilterType::kPositives) && !inputs.exposure &&
      inputs.rows.new_positives().values.empty()) {
    inert(request, &inputs.warnings,
          fmt::format("the filter positives knows no positive of anyone: there are no events, and "
                      "no row of {} has an item",
                      request.options.rows),
          "add --events FILE, or a column of positives (--row-columns item=..)");
  }
}

std::string segment_warning(const RunRequest& request, std::uint64_t unknown, std::uint64_t rows) {
  if (unknown == 0 || !uses_filter(request.recipe, FilterType::kSegment)) return "";
  return fmt::format(
      "{} of {} rows have no segment, or one that no item has; the filter segment rejects every "
      "item there",
      words_of_count(unknown), words_of_count(rows));
}

std::array<std::uint64_t, kNumExposureClasses> pairs_by_class(const Exposure& exposure) {
  std::array<std::uint64_t, kNumExposureClasses> pairs = {};
  for (const std::uint8_t exposure_class : exposure.classes) ++pairs[exposure_class];
  return pairs;
}

std::vector<std::string> exposure_warnings(const RunRequest& request, const Inputs& inputs) {
  std::vector<std::string> warnings;
  if (!inputs.exposure) return warnings;
  const Exposure& e = *inputs.exposure;
  const std::optional<std::int64_t> window = request.recipe.exposure.window;
  std::int64_t oldest = 0;
  if (window && e.latest_event != INT64_MIN && !__builtin_sub_overflow(e.as_of, *window, &oldest) &&
      e.latest_event < oldest) {
    warnings.push_back(fmt::format(
        "the latest event is of {}, before the window of [exposure] begins ({}, by --as-of {}): "
        "nothing but positives counts as exposure; give an --as-of near the end of the events",
        time_words(e.latest_event), time_words(oldest), time_words(e.as_of)));
    return warnings;
  }
  const auto pairs = pairs_by_class(e);
  std::set<std::string> idle;
  const auto look = [&](const std::vector<FilterSpec>& filters) {
    for (const FilterSpec& filter : filters) {
      if (filter.type != FilterType::kExposed) continue;
      std::uint64_t count = 0;
      std::string names;
      for (std::uint32_t c = 0; c < kNumExposureClasses; ++c) {
        if ((filter.classes >> c & 1u) == 0) continue;
        count += pairs[c];
        names += (names.empty() ? "" : ", ") + std::string(exposure_class_name(c));
      }
      if (count == 0) idle.insert(names);
    }
  };
  look(request.recipe.safety);
  for (const BranchSpec& branch : request.recipe.branches) look(branch.filters);
  for (const std::string& names : idle) {
    warnings.push_back(fmt::format(
        "no user's event on an item makes it {}, so a filter exposed of these classes rejects "
        "nothing; see [exposure] of the recipe, if it should",
        names));
  }
  return warnings;
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

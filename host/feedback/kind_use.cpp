// Exposure classes of kinds of events, and the filters that reject them.
#include "host/feedback/kind_use.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace quarry {
namespace {

constexpr std::int64_t kForever = INT64_MAX;

/// How long the filter rejects items of the class after their last event; 0: it does not.
std::int64_t rejects_for(const FilterSpec& filter, ExposureClass exposure_class) {
  if (filter.type == FilterType::kPositives)
    return exposure_class == ExposureClass::kPositive ? kForever : 0;
  if (filter.type != FilterType::kExposed) return 0;
  const bool names = (filter.classes >> static_cast<unsigned>(exposure_class) & 1u) != 0;
  return names ? filter.max_age.value_or(kForever) : 0;
}

bool names_kind(const ExposureRule& rule, const std::string& kind) {
  return std::any_of(rule.terms.begin(), rule.terms.end(),
                     [&](const ExposureTerm& term) { return term.kind == kind; });
}

/// Whether an event of the kind alone, without a value, satisfies the rule.
bool satisfied_by(const ExposureRule& rule, const std::string& kind) {
  return std::all_of(rule.terms.begin(), rule.terms.end(), [&](const ExposureTerm& term) {
    return term.kind == kind && term.op == ExposureTerm::Op::kExists;
  });
}

}  // namespace

ClassUse use_of_class(const Recipe& recipe, ExposureClass exposure_class) {
  ClassUse use;
  // Exposure outside the window is forgotten; positives are not.
  std::int64_t least = exposure_class == ExposureClass::kPositive
                           ? kForever
                           : recipe.exposure.window.value_or(kForever);
  for (const BranchSpec& branch : recipe.branches) {
    std::int64_t longest = 0;
    for (const auto* filters : {&recipe.safety, &branch.filters}) {
      for (const FilterSpec& filter : *filters)
        longest = std::max(longest, rejects_for(filter, exposure_class));
    }
    if (longest > 0) {
      use.closed.push_back(branch.name);
      least = std::min(least, longest);
      continue;
    }
    use.open.push_back(branch.name);
    if (branch.source.kind == SourceKind::kExposed &&
        (branch.source.classes >> static_cast<unsigned>(exposure_class) & 1u) != 0)
      use.sources.push_back(branch.name);
  }
  if (least != kForever) use.expires = least;
  return use;
}

KindUse use_of_kind(const Recipe& recipe, const std::string& kind) {
  KindUse found;
  found.kind = kind;
  bool decided = false;
  for (const ExposureRule& rule : recipe.exposure.rules) {
    found.named = found.named || names_kind(rule, kind);
    if (decided || !satisfied_by(rule, kind)) continue;
    found.exposure_class = rule.exposure_class;
    decided = true;
  }
  found.use = use_of_class(recipe, found.exposure_class);
  return found;
}

const char* words_of(ExposureClass exposure_class) {
  switch (exposure_class) {
    case ExposureClass::kNonConsumption:
      return "not seen";
    case ExposureClass::kPositive:
      return "positive";
    case ExposureClass::kAversion:
      return "aversion";
    case ExposureClass::kDisinterest:
      return "disinterest";
    case ExposureClass::kAmbiguous:
      return "ambiguous";
  }
  return "unknown";
}

std::string words_of(const KindUse& kind) {
  std::string words = fmt::format("{}{}", words_of(kind.exposure_class),
                                  kind.named ? "" : " (no rule of the recipe names it)");
  const ClassUse& use = kind.use;
  if (!use.closed.empty()) words += fmt::format(": kept out of {}", fmt::join(use.closed, ", "));
  std::vector<std::string> rest;
  for (const std::string& branch : use.open) {
    if (std::find(use.sources.begin(), use.sources.end(), branch) == use.sources.end())
      rest.push_back(branch);
  }
  const char* next = use.closed.empty() ? ": " : "; ";
  if (!use.sources.empty()) {
    words += fmt::format("{}a source of negatives of {}", next, fmt::join(use.sources, ", "));
    next = "; ";
  }
  if (!rest.empty())
    words +=
        fmt::format("{}{} may pick it as if it had not been said", next, fmt::join(rest, ", "));
  if (use.expires && !use.closed.empty()) {
    constexpr double kDay = 86400;
    words += fmt::format("; for {:.3g} days", static_cast<double>(*use.expires) / kDay);
  }
  return words;
}

std::string how_to_keep_out(const KindUse& kind) {
  if (kind.named && kind.exposure_class != ExposureClass::kPositive)
    return fmt::format(
        "add {{ kind = \"exposed\", classes = [\"{}\"] }} to the filters of [safety]",
        words_of(kind.exposure_class));
  if (kind.exposure_class == ExposureClass::kPositive)
    return "add { kind = \"positives\" } to the filters of [safety]";
  return fmt::format(
      "make \"{0}\" the first rule of [exposure]: positive = [\"{0}\", ...] keeps the items out "
      "and "
      "makes them positives; ambiguous = [\"{0}\"] with {{ kind = \"exposed\", classes = "
      "[\"ambiguous\"] }} in the filters of [safety] only keeps them out",
      kind.kind);
}

}  // namespace quarry

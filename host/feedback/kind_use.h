// What a recipe makes of a kind of event: the exposure class, and which branches may still give
// items of that class as negatives.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/recipe/recipe.h"

namespace quarry {

/// Branches by what they do with items of an exposure class.
struct ClassUse {
  std::vector<std::string> closed;  ///< a filter of theirs rejects them, or one of [safety]
  std::vector<std::string> open;    ///< none does: such an item may be a negative
  std::vector<std::string>
      sources;  ///< of the open ones, those that take candidates from the class
  /// Seconds after which some branch lets them through again; nothing: never.
  std::optional<std::int64_t> expires;
  bool kept_out() const { return open.empty(); }
  /// Whether the class decides about any negative.
  bool matters() const { return !closed.empty() || !sources.empty(); }
};
ClassUse use_of_class(const Recipe& recipe, ExposureClass exposure_class);

struct KindUse {
  std::string kind;
  ExposureClass exposure_class = ExposureClass::kAmbiguous;  ///< of a pair with this event alone
  bool named = false;                                        ///< some rule has the kind in a term
  ClassUse use;
};
/// `kind` as an event without a value.
KindUse use_of_kind(const Recipe& recipe, const std::string& kind);

/// "positive", "aversion" ...
const char* words_of(ExposureClass exposure_class);
/// "aversion: kept out of hard; random may still pick it; a source of exposed".
std::string words_of(const KindUse& kind);
/// Lines that make a recipe keep items with such events from being negatives.
std::string how_to_keep_out(const KindUse& kind);

}  // namespace quarry

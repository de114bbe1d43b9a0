// What two sets say of how they were made, side by side, and what that means for their rows.
#pragma once

#include <string>
#include <vector>

#include "host/store/negative_set.h"
#include "host/store/set_diff.h"

namespace quarry {

/// One recorded fact; values as JSON text, "null" where a set does not record it.
struct Fact {
  std::string name;
  std::string a, b;
  bool same() const { return a == b; }
};

struct InputChange {
  std::string role;
  enum class Kind { kSame, kChanged, kAdded, kRemoved } kind = Kind::kSame;
  std::uint64_t bytes_a = 0, bytes_b = 0;
};
const char* words_of(InputChange::Kind kind);

struct RecordedFacts {
  std::vector<Fact> facts;  ///< seeds, model, times, shape, promise, options
  std::vector<InputChange> inputs;
  std::string recipe_diff;                      ///< unified; "" if the texts are equal
  bool recorded_a = false, recorded_b = false;  ///< whether they say how they were mined

  bool all_same() const;
  /// Null if there is no such fact.
  const Fact* find(const std::string& name) const;
};

/// `name_a`, `name_b` head the recipes' diff.
RecordedFacts facts_of(const NegativeSet& a, const NegativeSet& b, const std::string& name_a,
                       const std::string& name_b);

/// What the differences amount to, a sentence each.
std::vector<std::string> meaning_of(const RecordedFacts& facts, const SetDiff& diff);

}  // namespace quarry

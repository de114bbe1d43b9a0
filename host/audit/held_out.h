// Positives that a model is evaluated on, by user, and what the masks of a set had a right to know
// of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "host/data/tables.h"

namespace quarry {

struct HeldOut {
  /// `known`: exposure of the run; may be null.
  HeldOut(const Exposure& held_out, const Exposure* known);

  Lists all;    ///< held-out positives
  Lists fresh;  ///< those of which no event before the split was known: masks must not know them
  std::int64_t split = INT64_MAX;  ///< least time of a held-out positive
  std::uint64_t seen_events = 0;   ///< pairs of which the run knew an event at or after the split

  static std::span<const std::uint32_t> of(const Lists& lists, std::uint32_t user);
  static bool contains(const Lists& lists, std::uint32_t user, std::uint32_t item);
};

}  // namespace quarry

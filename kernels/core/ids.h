// Distinct 32-bit id types, so that an item index cannot be used as a user index.
#pragma once

#include <compare>
#include <cstdint>

namespace quarry {

/// Dense index of one kind of thing. Row algorithms work on the raw value; interfaces above them
/// use the type.
template <class Tag>
struct Id {
  std::uint32_t value = 0;
  friend constexpr auto operator<=>(Id, Id) = default;
};

using ItemId = Id<struct ItemTag>;
using UserId = Id<struct UserTag>;
using StratumId = Id<struct StratumTag>;

/// Marks an empty slot. Never a valid index: tables hold at most 2^32 - 2 rows.
inline constexpr std::uint32_t kNoItem = 0xFFFFFFFFu;

}  // namespace quarry

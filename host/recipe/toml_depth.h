// How deep a TOML text nests, found before it is parsed: the parser recurses once per level and a
// text of a few kilobytes could exhaust the stack.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace quarry::recipe_text {

/// Far more than any recipe or config needs.
inline constexpr std::size_t kDeepestLevel = 64;

/// 1-based line and column in bytes.
struct TextPlace {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
};

/// The first place where tables, lists and dotted keys nest more than kDeepestLevel levels; nothing
/// in a text that never does. Texts that are not TOML may be judged by what they look like.
std::optional<TextPlace> find_too_deep(std::string_view toml);

}  // namespace quarry::recipe_text

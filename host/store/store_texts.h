// What the small files of a store say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace quarry {

inline constexpr std::uint64_t kStoreVersion = 1;
/// Bytes that are read of a tag.
inline constexpr std::size_t kMostTag = 64;

/// store.json.
std::string store_text();
/// "v00000000000000000007".
std::string version_name(std::uint64_t number);
/// Whether a text names a version: "7", "v7", "v00000000000000000007".
bool is_version(const std::string& text, std::uint64_t* number);
/// A tag's file: its version and a hash of both names, by which damage is seen.
std::string tag_text(const std::string& name, std::uint64_t number);
/// Nothing: the text is not one of this tag.
std::optional<std::uint64_t> version_in_tag(const std::string& name, const std::string& text);

}  // namespace quarry

// A single flipped bit of a small file, found by what is known of the bytes that were there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace quarry {

/// The text with that bit of its bytes [begin, end) flipped with which `whole` holds. Nothing if
/// there is none. Takes 8 (end - begin) calls.
std::optional<std::string> unflipped(std::string text, std::size_t begin, std::size_t end,
                                     const std::function<bool(const std::string&)>& whole);

/// How many bytes may be tried where one hash is known of all of them: a second or two.
inline constexpr std::size_t kMostUnflipped = 1 << 16;

/// XXH3-64 of each 4,096 bytes of a text, as 16 hex digits: by them a flipped bit is found in a
/// text of any length.
std::vector<std::string> block_hashes(const std::string& text);
/// The text with which `xxh3_128` (32 hex digits) holds and that differs in one bit, looked for in
/// the block that `blocks` tells; without blocks, in texts of at most kMostUnflipped bytes. Nothing
/// if there is none, or if the text is whole.
/// `between` is called between any two tries, and may throw.
std::optional<std::string> unflipped(const std::string& text, const std::string& xxh3_128,
                                     const std::vector<std::string>& blocks,
                                     const std::function<void()>& between = {});

}  // namespace quarry

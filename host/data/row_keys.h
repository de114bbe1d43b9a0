// Row keys must be unique: finding repeats and numbering them. Private to host/data.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace quarry {

/// Key of the n-th repeat of a key (n = 1, 2, ... in row order): the XXH3-64 of the key and n, 8
/// bytes LE each. The first row keeps the key.
std::uint64_t numbered_key(std::uint64_t key, std::uint64_t n);

/// The smallest number that stands twice in sorted numbers.
std::optional<std::uint64_t> smallest_repeat(const std::vector<std::uint64_t>& sorted);

/// Those of sorted numbers that stand twice or more, each once, and in `rows` how often in all.
std::vector<std::uint64_t> all_repeats(const std::vector<std::uint64_t>& sorted,
                                       std::uint64_t* rows);

}  // namespace quarry

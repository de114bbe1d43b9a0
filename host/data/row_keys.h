// Row keys must be unique: finding repeats and numbering them. Private to host/data.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace quarry {

/// The first two rows (lower, higher) that share the smallest repeated key.
std::optional<std::pair<std::uint64_t, std::uint64_t>> find_repeated_key(
    const std::vector<std::uint64_t>& keys);

/// Gives the n-th repeat of a key (n = 1, 2, ... in row order) the XXH3-64 of the key and n (8
/// bytes LE each); the first keeps it. Throws InputError if that makes a key that another row has.
void number_repeated_keys(std::vector<std::uint64_t>* keys);

}  // namespace quarry

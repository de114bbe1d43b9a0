// What differs between two texts, line by line, as people and patch(1) read it.
#pragma once

#include <cstddef>
#include <string>

namespace quarry {

/// Unified diff from `a` to `b` with so many lines of context; "" if they are equal. The names
/// stand in its first two lines.
std::string unified_diff(const std::string& a, const std::string& b, const std::string& name_a,
                         const std::string& name_b, std::size_t context = 3);

}  // namespace quarry

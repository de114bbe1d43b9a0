// How many times as long random tests run as in every build: QUARRY_TEST_SCALE, which tools/test
// --full sets to 10.
#pragma once

#include <algorithm>
#include <cstdlib>

namespace quarry::test {

/// At least 1.
inline int test_scale() {
  const char* scale = std::getenv("QUARRY_TEST_SCALE");
  return scale != nullptr ? std::max(1, std::atoi(scale)) : 1;
}

}  // namespace quarry::test

// How deep a tile searches.
#pragma once

#include <cstdint>

namespace quarry {

struct SearchDepth {
  std::uint32_t plain = 0;   ///< candidates of each query where searches follow no goal
  std::uint32_t wanted = 0;  ///< else: candidates that are not sure to be rejected,
  std::uint32_t most = 0;    ///< in lists no longer than this
  bool found = false;        ///< take what searches of slices found, and search no further
};

}  // namespace quarry

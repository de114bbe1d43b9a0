// Memory that mining will take.
#include "tools/quarry/foretold_memory.h"

#include <algorithm>

namespace quarry {
namespace {

/// Column buffers of the set being written, and the block of rows being mined.
constexpr std::uint64_t kStoreBytes = 7ull << 20;

}  // namespace

ForetoldMemory foretell_memory(const LoadedMemory& loaded, const MinePlan& plan,
                               std::uint64_t seen) {
  const std::uint64_t mining = seen > 0 ? seen : loaded.now.anonymous + plan.peak_bytes;
  ForetoldMemory memory;
  memory.peak_anonymous = std::max(loaded.peak_anonymous, mining + kStoreBytes);
  memory.peak_resident = std::max(
      loaded.now.peak_resident, memory.peak_anonymous + loaded.now.resident - loaded.now.anonymous);
  return memory;
}

}  // namespace quarry

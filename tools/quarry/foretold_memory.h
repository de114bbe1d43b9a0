// What mining will take of memory, from what loading was seen to take and what the miner plans.
#pragma once

#include <cstdint>

#include "host/mine/miner.h"
#include "tools/quarry/process_memory.h"

namespace quarry {

/// Seen before a miner is made.
struct LoadedMemory {
  ProcessMemory before;              ///< before anything was; foretell_memory does not read it
  ProcessMemory now;                 ///< with the inputs
  std::uint64_t peak_anonymous = 0;  ///< so far, without mapped files
};

struct ForetoldMemory {
  std::uint64_t peak_anonymous = 0;  ///< without mapped files
  std::uint64_t peak_resident = 0;   ///< with those that loading reads through
};

/// seen: the peak without mapped files behind some tiles of this plan, FAISS's own work areas
/// included; 0: nothing was mined, or the process did other things too, and what is known without
/// that counts.
ForetoldMemory foretell_memory(const LoadedMemory& loaded, const MinePlan& plan,
                               std::uint64_t seen);

}  // namespace quarry

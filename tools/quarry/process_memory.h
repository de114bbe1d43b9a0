// What this process holds in memory, as the operating system counts it.
#pragma once

#include <cstdint>

namespace quarry {

struct ProcessMemory {
  std::uint64_t resident = 0;       ///< now, mapped files included
  std::uint64_t anonymous = 0;      ///< now, without mapped files
  std::uint64_t peak_resident = 0;  ///< since the start
};
ProcessMemory process_memory();

}  // namespace quarry

// Memory of this process from /proc.
#include "tools/quarry/process_memory.h"

#include <fstream>
#include <string>

namespace quarry {

ProcessMemory process_memory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    std::uint64_t* const target = key == "VmRSS:"     ? &memory.resident
                                  : key == "RssAnon:" ? &memory.anonymous
                                  : key == "VmHWM:"   ? &memory.peak_resident
                                                      : nullptr;
    if (target != nullptr && status >> *target) *target *= 1024;
    status.clear();
    status.ignore(4096, '\n');
  }
  return memory;
}

}  // namespace quarry

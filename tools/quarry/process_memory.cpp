// Memory of this process from /proc.
#include "tools/quarry/process_memory.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
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

MemoryWatch::MemoryWatch() {
  look();
  thread_ = std::thread([this] {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::milliseconds(4), [this] { return ended_; })) look();
  });
}

MemoryWatch::~MemoryWatch() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

std::uint64_t MemoryWatch::peak_anonymous() {
  const std::lock_guard<std::mutex> lock(mutex_);
  look();
  return peak_;
}

/// From statm, which is read fifty times faster than status.
void MemoryWatch::look() {
  static const auto page = static_cast<std::uint64_t>(std::max(sysconf(_SC_PAGESIZE), 1L));
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0, resident = 0, shared = 0;
  // The two are not counted at one moment.
  if (statm >> size >> resident >> shared && resident > shared)
    peak_ = std::max<std::uint64_t>(peak_, (resident - shared) * page);
}

}  // namespace quarry

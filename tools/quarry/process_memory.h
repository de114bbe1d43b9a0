// What this process holds in memory, as the operating system counts it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace quarry {

struct ProcessMemory {
  std::uint64_t resident = 0;       ///< now, mapped files included
  std::uint64_t anonymous = 0;      ///< now, without mapped files
  std::uint64_t peak_resident = 0;  ///< since the start
};
ProcessMemory process_memory();

/// Watches the memory without mapped files, every few milliseconds until it goes out of scope: what
/// a library takes and gives back within one call is seen too.
class MemoryWatch {
 public:
  MemoryWatch();
  ~MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;
  std::uint64_t peak_anonymous();  ///< bytes, so far

 private:
  void look();

  std::uint64_t peak_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace quarry

// Host memory.
#include <cstdlib>
#include <new>
#include <string>

#include "kernels/core/buffer.h"

namespace quarry {

template <>
void* allocate_bytes<HostSpace>(const Exec& exec, std::size_t bytes) {
  void* pointer = nullptr;
  if (exec.device == Device::kCpu && exec.allocator != nullptr) {
    pointer = exec.allocator->allocate(exec.allocator->self, bytes, exec);
  } else {
    pointer = ::operator new (bytes, std::align_val_t{64}, std::nothrow);
  }
  if (pointer == nullptr) {
    throw OutOfMemory("no host memory for " + std::to_string(bytes) +
                      " bytes; try a smaller --tile or --host-memory");
  }
  return pointer;
}

template <>
void release_bytes<HostSpace>(const Exec& exec, void* pointer, std::size_t bytes) noexcept {
  if (exec.device == Device::kCpu && exec.allocator != nullptr) {
    exec.allocator->release(exec.allocator->self, pointer, bytes, exec);
  } else {
    ::operator delete (pointer, std::align_val_t{64});
  }
}

}  // namespace quarry

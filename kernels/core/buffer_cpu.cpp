// Host memory.
#include <cstdlib>
#include <new>
#include <string>

#include "kernels/core/buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace quarry {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Arrays with whole huge pages in them; what is behind the last one lies in small ones.
bool takes_huge_pages(std::size_t bytes) { return bytes >= kHugePage; }
std::size_t alignment_of(std::size_t bytes) { return takes_huge_pages(bytes) ? kHugePage : 64; }

/// A work area is written soon after it was made: 512 page faults in one.
void ask_for_huge_pages(void* pointer, std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  if (takes_huge_pages(bytes)) madvise(pointer, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
}

}  // namespace

template <>
void* allocate_bytes<HostSpace>(const Exec& exec, std::size_t bytes) {
  void* pointer = nullptr;
  if (exec.device == Device::kCpu && exec.allocator != nullptr) {
    pointer = exec.allocator->allocate(exec.allocator->self, bytes, exec);
  } else {
    pointer = ::operator new (bytes, std::align_val_t{alignment_of(bytes)}, std::nothrow);
    if (pointer != nullptr) ask_for_huge_pages(pointer, bytes);
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
    ::operator delete (pointer, std::align_val_t{alignment_of(bytes)});
  }
}

}  // namespace quarry

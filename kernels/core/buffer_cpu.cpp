// Host memory.
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#include "kernels/core/buffer.h"

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#include <sys/mman.h>
#if defined(MADV_HUGEPAGE)
#define QUARRY_HUGE_PAGES 1
#endif
#endif

namespace quarry {
namespace {

#if defined(QUARRY_HUGE_PAGES)

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Arrays with whole huge pages in them; what is behind the last one lies in small ones.
bool is_mapped(std::size_t bytes) { return bytes >= kHugePage; }

/// A work area is written soon after it was made: 512 page faults in one. Mapped by itself, for
/// large alignments tear holes into the heap that later ones do not fit. Null where there is none.
void* map(std::size_t bytes) {
  if (bytes > SIZE_MAX - kHugePage) return nullptr;
  void* const mapped =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  constexpr std::size_t kPage = 4096;
  auto* const first = static_cast<char*>(mapped);
  const std::size_t ahead = -reinterpret_cast<std::uintptr_t>(mapped) % kHugePage;
  const std::size_t used = (bytes + kPage - 1) / kPage * kPage;
  char* const aligned = first + ahead;
  if (ahead > 0) munmap(first, ahead);
  if (ahead + used < bytes + kHugePage) munmap(aligned + used, bytes + kHugePage - ahead - used);
  madvise(aligned, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return aligned;
}
void unmap(void* pointer, std::size_t bytes) { munmap(pointer, bytes); }

#else  // the address sanitizer knows of the heap alone

bool is_mapped(std::size_t) { return false; }
void* map(std::size_t) { return nullptr; }
void unmap(void*, std::size_t) {}

#endif

}  // namespace

template <>
void* allocate_bytes<HostSpace>(const Exec& exec, std::size_t bytes) {
  void* pointer = nullptr;
  if (exec.device == Device::kCpu && exec.allocator != nullptr) {
    pointer = exec.allocator->allocate(exec.allocator->self, bytes, exec);
  } else if (is_mapped(bytes)) {
    pointer = map(bytes);
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
  } else if (is_mapped(bytes)) {
    unmap(pointer, bytes);
  } else {
    ::operator delete (pointer, std::align_val_t{64});
  }
}

}  // namespace quarry

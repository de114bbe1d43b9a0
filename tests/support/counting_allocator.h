// An allocator that counts: work areas are kept, so a second call of a size must not allocate.
#pragma once

#include <cstddef>
#include <new>

#include "kernels/core/exec.h"

namespace quarry::test {

/// Host memory. Lives as long as every Exec and buffer that uses it.
class CountingAllocator {
 public:
  CountingAllocator() = default;
  CountingAllocator(const CountingAllocator&) = delete;
  CountingAllocator& operator=(const CountingAllocator&) = delete;
  const Allocator* get() const { return &allocator_; }
  int allocations() const { return allocations_; }

 private:
  int allocations_ = 0;
  Allocator allocator_{[](void* self, std::size_t bytes, const Exec&) -> void* {
                         ++static_cast<CountingAllocator*>(self)->allocations_;
                         return ::operator new (bytes, std::align_val_t{64});
                       },
                       [](void*, void* pointer, std::size_t, const Exec&) noexcept {
                         ::operator delete (pointer, std::align_val_t{64});
                       },
                       this};
};

}  // namespace quarry::test

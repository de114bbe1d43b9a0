// An allocator that counts, for work areas are kept and a second call of a size must not allocate,
// and may refuse one allocation.
#pragma once

#include <cstddef>
#include <new>

#include "kernels/core/exec.h"

namespace quarry::test {

/// Host memory. Lives as long as every Exec and buffer that uses it.
class CountingAllocator {
 public:
  /// refused: the allocation for which there is no memory, from 0; -1: none.
  explicit CountingAllocator(int refused = -1) : refused_(refused) {}
  CountingAllocator(const CountingAllocator&) = delete;
  CountingAllocator& operator=(const CountingAllocator&) = delete;
  const Allocator* get() const { return &allocator_; }
  int allocations() const { return allocations_; }

 private:
  int allocations_ = 0;
  int refused_;
  Allocator allocator_{[](void* self, std::size_t bytes, const Exec&) -> void* {
                         auto* a = static_cast<CountingAllocator*>(self);
                         if (a->allocations_++ == a->refused_) return nullptr;
                         return ::operator new (bytes, std::align_val_t{64});
                       },
                       [](void*, void* pointer, std::size_t, const Exec&) noexcept {
                         ::operator delete (pointer, std::align_val_t{64});
                       },
                       this};
};

}  // namespace quarry::test

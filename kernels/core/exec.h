// Exec: where work runs. First parameter of everything below host/; nothing reads a global, an environment variable or
// the current device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

struct CUstream_st;

namespace quarry {

enum class Device : std::uint8_t { kCpu, kCuda };

/// Device memory comes from here; a test can refuse the n-th request. Returned pointers are aligned to 256 bytes.
struct Allocator {
  void* (*allocate)(void* self, std::size_t bytes, const struct Exec& exec);
  void (*release)(void* self, void* pointer, std::size_t bytes, const struct Exec& exec) noexcept;
  void* self;
};

/// A place to run: trivially copyable, owns nothing.
struct Exec {
  Device device = Device::kCpu;
  int threads = 1;                    ///< CPU worker threads, >= 1
  int cuda_device = 0;                ///< ordinal, for kCuda
  CUstream_st* stream = nullptr;      ///< all device work is ordered on it; never the default stream in kCuda
  void* blas = nullptr;               ///< cuBLAS handle bound to the stream, for kCuda
  const Allocator* allocator = nullptr;  ///< null: operator new / cudaMallocAsync
};

/// Runs `body(begin, end)` over [0, count) in chunks of at most `grain` on exec.threads threads, chunks handed out in
/// any order. Workers run with denormals kept (FTZ/DAZ cleared). The first exception is rethrown after all have ended.
void parallel_for(const Exec& exec, std::uint64_t count, std::uint64_t grain,
                  const std::function<void(std::uint64_t begin, std::uint64_t end)>& body);

/// Index of the calling worker in [0, exec.threads) inside parallel_for, else 0: for per-thread scratch.
int worker_index();

}  // namespace quarry

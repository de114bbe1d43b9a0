// Exec: where work runs. First parameter of everything below host/; nothing reads a global, an
// environment variable or the current device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

struct CUstream_st;

namespace quarry {

enum class Device : std::uint8_t { kCpu, kCuda };

/// Device memory comes from here; a test can refuse the n-th request. Returned pointers are aligned
/// to 256 bytes.
struct Allocator {
  void* (*allocate)(void* self, std::size_t bytes, const struct Exec& exec);
  void (*release)(void* self, void* pointer, std::size_t bytes, const struct Exec& exec) noexcept;
  void* self;
};

/// A place to run: trivially copyable, owns nothing.
struct Exec {
  Device device = Device::kCpu;
  int threads = 1;      ///< CPU worker threads, >= 1
  int cuda_device = 0;  ///< ordinal, for kCuda
  CUstream_st* stream =
      nullptr;           ///< all device work is ordered on it; never the default stream in kCuda
  void* blas = nullptr;  ///< cuBLAS handle bound to the stream, for kCuda
  const Allocator* allocator = nullptr;  ///< null: operator new / cudaMallocAsync
};

/// A callable by reference, so that a loop inside the tile loop allocates nothing.
class RangeBody {
 public:
  template <class F>
  requires(!std::is_same_v<F, RangeBody>)  // else it would win over copying
      RangeBody(F& f)  // NOLINT(google-explicit-constructor): stands in for the callable
      : self_(&f), call_([](void* self, std::uint64_t begin, std::uint64_t end) {
          (*static_cast<F*>(self))(begin, end);
        }) {}
  void operator()(std::uint64_t begin, std::uint64_t end) const { call_(self_, begin, end); }

 private:
  void* self_;
  void (*call_)(void*, std::uint64_t, std::uint64_t);
};
void parallel_ranges(const Exec& exec, std::uint64_t count, std::uint64_t grain, RangeBody body);

/// Runs `body(begin, end)` over [0, count) in chunks of at most `grain` on exec.threads threads,
/// chunks handed out in any order. Workers run with denormals kept (FTZ/DAZ cleared). The first
/// exception is rethrown after all have ended.
template <class F>
void parallel_for(const Exec& exec, std::uint64_t count, std::uint64_t grain, F&& body) {
  parallel_ranges(exec, count, grain, RangeBody(body));
}

/// Index of the calling worker in [0, exec.threads) inside parallel_for, else 0: for per-thread
/// scratch.
int worker_index();

}  // namespace quarry

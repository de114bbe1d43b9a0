// CUDA devices seen from the host: how many work, what they are, and an Exec with its stream and
// cuBLAS handle.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/exec.h"

namespace quarry {

/// Usable devices. Any error (no driver, driver too old, no GPU, a build without CUDA) counts as 0,
/// and `why` (may be null) gets the reason in words.
int cuda_device_count(std::string* why);

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  std::uint64_t total_bytes = 0, free_bytes = 0;
  int driver_version = 0;  ///< newest CUDA the driver knows: 13000 is 13.0
  int runtime_version = 0;
};
/// Throws DeviceError if there is no such device.
DeviceInfo cuda_device_info(int ordinal);

/// Device memory by cudaMalloc instead of the stream-ordered pool, so that memory checkers see each
/// array. Every request waits for the device. Lives for ever.
const Allocator* unpooled_device_memory();

/// For its life, orders the work of an Exec with a caller's stream: what was queued there before
/// comes first, what is queued there afterwards waits. Nothing to do on the CPU, or for the Exec's
/// own stream. Throws DeviceError.
class StreamOrder {
 public:
  StreamOrder(const Exec& exec, CUstream_st* caller);
  ~StreamOrder();
  StreamOrder(const StreamOrder&) = delete;
  StreamOrder& operator=(const StreamOrder&) = delete;

 private:
  Exec exec_;
  CUstream_st* caller_;
};

/// Owns the stream and the cuBLAS handle of one device; must outlive every buffer made with its
/// Exec. cuBLAS runs in fp32 without reduced precision, on a workspace of its own, so that one
/// machine gives the same bits every run.
class CudaExec {
 public:
  /// threads: for what stays on the host. Throws DeviceError.
  CudaExec(int ordinal, int threads, const Allocator* allocator = nullptr);
  ~CudaExec();
  CudaExec(CudaExec&& other) noexcept;
  CudaExec& operator=(CudaExec&& other) noexcept;
  CudaExec(const CudaExec&) = delete;
  CudaExec& operator=(const CudaExec&) = delete;

  const Exec& exec() const { return exec_; }

 private:
  void release() noexcept;
  Exec exec_;
  void* workspace_ = nullptr;
};

}  // namespace quarry

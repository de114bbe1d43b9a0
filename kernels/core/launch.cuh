// What launchers share: the device of the Exec, the size of a grid, a check after the launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/core/cuda_check.h"
#include "kernels/core/exec.h"

namespace quarry {

/// Makes the device of an Exec current for the life of the scope: a stream only takes launches from
/// its own device.
class DeviceScope {
 public:
  explicit DeviceScope(const Exec& exec) {
    QUARRY_CUDA(cudaGetDevice(&former_));
    changed_ = former_ != exec.cuda_device;
    if (changed_) QUARRY_CUDA(cudaSetDevice(exec.cuda_device));
  }
  ~DeviceScope() {
    if (changed_)
      static_cast<void>(cudaSetDevice(former_));  // a failure shows at the next checked call
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int former_ = 0;
  bool changed_ = false;
};

/// Blocks for `count` pieces of work, `per_block` each. Never more than fills any device many times
/// over: kernels stride over the rest.
inline unsigned grid_blocks(std::uint64_t count, std::uint64_t per_block) {
  constexpr std::uint64_t kMost = 65536;
  const std::uint64_t blocks = (count + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

/// Parameters of one kernel together; 4 KB holds on every device and toolkit.
inline constexpr unsigned kMaxParameterBytes = 4096;
/// Shared memory that every device gives a block without asking for more.
inline constexpr std::uint64_t kSharedBytes = 48 * 1024;

#if defined(__CUDACC__)
/// Place of this warp in the grid, and the number of warps.
__device__ inline std::uint64_t warp_of_grid() {
  return (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
}
__device__ inline std::uint64_t warps_in_grid() {
  return std::uint64_t{gridDim.x} * blockDim.x / 32;
}
#endif

}  // namespace quarry

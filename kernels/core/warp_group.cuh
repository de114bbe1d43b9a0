// WarpGroup: the 32 threads of a warp share a row; collectives are shuffles.
#pragma once

#include <cstdint>

#include "kernels/core/hd.h"

namespace quarry {

inline constexpr unsigned kWarpThreads = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;

/// The Group of kernels/core/group.h for one whole warp of a one-dimensional block. Shuffles name
/// all lanes, so every lane must reach every collective. Also declared for the host, where nvcc
/// reads the same templates but runs none.
struct WarpGroup {
  QUARRY_HD std::uint32_t rank() const {
#if defined(__CUDA_ARCH__)
    return threadIdx.x % kWarpThreads;
#else
    return 0;
#endif
  }
  QUARRY_HD std::uint32_t size() const { return kWarpThreads; }
  QUARRY_HD void sync() const {
#if defined(__CUDA_ARCH__)
    __syncwarp(kAllLanes);
#endif
  }
  QUARRY_HD std::uint32_t sum(std::uint32_t v) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_add_sync(kAllLanes, v);
#else
    return static_cast<std::uint32_t>(sum64(v));
#endif
  }
  QUARRY_HD std::uint64_t sum64(std::uint64_t v) const {
    for (unsigned w = kWarpThreads / 2; w > 0; w /= 2) v += from(v, rank() ^ w);
    return v;
  }
  QUARRY_HD std::uint64_t min(std::uint64_t v) const {
    for (unsigned w = kWarpThreads / 2; w > 0; w /= 2) {
      const std::uint64_t other = from(v, rank() ^ w);
      v = other < v ? other : v;
    }
    return v;
  }
  QUARRY_HD std::uint64_t max(std::uint64_t v) const {
    for (unsigned w = kWarpThreads / 2; w > 0; w /= 2) {
      const std::uint64_t other = from(v, rank() ^ w);
      v = other > v ? other : v;
    }
    return v;
  }
  QUARRY_HD std::uint32_t scan(std::uint32_t v, std::uint32_t* total) const {
    std::uint32_t through = v;  // inclusive
    for (unsigned w = 1; w < kWarpThreads; w *= 2) {
      const std::uint32_t before = static_cast<std::uint32_t>(from(through, rank() - w));
      if (rank() >= w) through += before;
    }
    *total = static_cast<std::uint32_t>(from(through, kWarpThreads - 1));
    return through - v;
  }
  QUARRY_HD std::uint64_t broadcast(std::uint64_t v, std::uint32_t lane) const {
    return from(v, lane);
  }

 private:
  /// The value of another lane; places outside the warp wrap around.
  template <class T>
  QUARRY_HD static T from(T v, [[maybe_unused]] std::uint32_t lane) {
#if defined(__CUDA_ARCH__)
    return __shfl_sync(kAllLanes, v, static_cast<int>(lane));
#else
    return v;
#endif
  }
};

}  // namespace quarry

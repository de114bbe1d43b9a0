// BlockGroup: all threads of a block share a row; collectives are those of CUB.
#pragma once

#include <cstdint>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include "kernels/core/hd.h"

namespace quarry {

/// The Group of kernels/core/group.h for a one-dimensional block of kThreads. Collectives share one
/// area of shared memory and end with a barrier, so they may follow each other directly. Every
/// thread must reach every collective. Also declared for the host, where nvcc reads the same
/// templates but runs none.
template <unsigned kThreads>
class BlockGroup {
  using Reduce = cub::BlockReduce<unsigned long long, kThreads>;
  using Scan = cub::BlockScan<std::uint32_t, kThreads>;

 public:
  /// One per block, in shared memory.
  struct Storage {
    union {
      typename Reduce::TempStorage reduce;
      typename Scan::TempStorage scan;
    } work;
    unsigned long long result;
  };

  QUARRY_HD explicit BlockGroup(Storage& storage) : storage_(storage) {}
  QUARRY_HD std::uint32_t rank() const {
#if defined(__CUDA_ARCH__)
    return threadIdx.x;
#else
    return 0;
#endif
  }
  QUARRY_HD std::uint32_t size() const { return kThreads; }
  QUARRY_HD void sync() const {
#if defined(__CUDA_ARCH__)
    __syncthreads();
#endif
  }
  QUARRY_HD std::uint32_t sum(std::uint32_t v) const {
    return static_cast<std::uint32_t>(sum64(v));
  }
  QUARRY_HD std::uint64_t sum64(std::uint64_t v) const { return reduce(v, Add{}); }
  QUARRY_HD std::uint64_t min(std::uint64_t v) const { return reduce(v, Lesser{}); }
  QUARRY_HD std::uint64_t max(std::uint64_t v) const { return reduce(v, Greater{}); }
  QUARRY_HD std::uint32_t scan(std::uint32_t v, std::uint32_t* total) const {
    std::uint32_t before = 0;
    *total = v;
#if defined(__CUDA_ARCH__)
    Scan(storage_.work.scan).ExclusiveSum(v, before, *total);
    __syncthreads();  // the area is free again
#endif
    return before;
  }
  QUARRY_HD std::uint64_t broadcast(std::uint64_t v, std::uint32_t lane) const {
#if defined(__CUDA_ARCH__)
    if (threadIdx.x == lane) storage_.result = v;
    return shared_result();
#else
    return v;
#endif
  }

 private:
  struct Add {
    QUARRY_HD unsigned long long operator()(unsigned long long a, unsigned long long b) const {
      return a + b;
    }
  };
  struct Lesser {
    QUARRY_HD unsigned long long operator()(unsigned long long a, unsigned long long b) const {
      return b < a ? b : a;
    }
  };
  struct Greater {
    QUARRY_HD unsigned long long operator()(unsigned long long a, unsigned long long b) const {
      return b > a ? b : a;
    }
  };

  template <class Operation>
  QUARRY_HD std::uint64_t reduce(std::uint64_t v, [[maybe_unused]] Operation operation) const {
#if defined(__CUDA_ARCH__)
    const unsigned long long all = Reduce(storage_.work.reduce).Reduce(v, operation);
    if (threadIdx.x == 0) storage_.result = all;  // CUB gives it to the first thread only
    return shared_result();
#else
    return v;
#endif
  }

#if defined(__CUDA_ARCH__)
  /// What one thread stored, for all; the second barrier lets the next collective store again.
  __device__ std::uint64_t shared_result() const {
    __syncthreads();
    const std::uint64_t result = storage_.result;
    __syncthreads();
    return result;
  }
#endif

  Storage& storage_;
};

}  // namespace quarry

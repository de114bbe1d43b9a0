// gather_queries on a GPU: a thread per number.
#include "kernels/certify/certify.h"
#include "kernels/core/launch.cuh"

namespace quarry {

constexpr unsigned kGatherThreads = 256;

__global__ void __launch_bounds__(kGatherThreads, 1)
    gather_queries_kernel(const float* from, std::uint32_t dim, const std::uint32_t* rows,
                          std::uint64_t numbers, float* to) {
  const std::uint64_t step = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < numbers;
       i += step) {
    const std::uint64_t r = i / dim;
    to[i] = from[std::uint64_t{rows[r]} * dim + (i - r * dim)];
  }
}

void gather_queries_gpu(const Exec& exec, const float* from, std::uint32_t dim,
                        const std::uint32_t* rows, std::uint32_t num_rows, float* to) {
  const std::uint64_t numbers = std::uint64_t{num_rows} * dim;
  if (numbers == 0) return;
  const DeviceScope scope(exec);
  gather_queries_kernel<<<grid_blocks(numbers, kGatherThreads), kGatherThreads, 0, exec.stream>>>(
      from, dim, rows, numbers, to);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

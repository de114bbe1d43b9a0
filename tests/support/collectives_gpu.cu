// Runs the conformance of Groups with WarpGroup and BlockGroup on a device.
#include "kernels/core/block_group.cuh"
#include "kernels/core/errors.h"
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "tests/support/collectives.h"

namespace quarry::test {

__global__ void warp_collectives_kernel(std::uint32_t* shared, Collectives* out, SortEntry* rows) {
  WarpGroup warp;
  use_collectives(warp, shared, out);
  sort_rows(warp, rows);
}

template <unsigned kThreads>
__global__ void block_collectives_kernel(std::uint32_t* shared, Collectives* out, SortEntry* rows) {
  __shared__ typename BlockGroup<kThreads>::Storage storage;
  BlockGroup<kThreads> block(storage);
  use_collectives(block, shared, out);
  sort_rows(block, rows);
}

void run_collectives(const Exec& exec, std::uint32_t width, std::uint32_t* shared, Collectives* out,
                     SortEntry* rows) {
  const DeviceScope scope(exec);
  switch (width) {
    case 32:
      warp_collectives_kernel<<<1, 32, 0, exec.stream>>>(shared, out, rows);
      break;
    case 128:
      block_collectives_kernel<128><<<1, 128, 0, exec.stream>>>(shared, out, rows);
      break;
    case 256:
      block_collectives_kernel<256><<<1, 256, 0, exec.stream>>>(shared, out, rows);
      break;
    default:
      throw ConfigError("no group of this width");
  }
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry::test

// Runs the collectives of WarpGroup and BlockGroup on a device.
#include "kernels/core/block_group.cuh"
#include "kernels/core/errors.h"
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "tests/support/collectives.h"

namespace quarry::test {

template <class Group>
__device__ void use_collectives(Group& g, Collectives* out) {
  for (std::uint32_t round = 0; round < kCollectiveRounds; ++round) {
    Collectives c;
    c.rank = g.rank();
    c.size = g.size();
    c.sum = g.sum(lane_value32(g.rank(), round));
    c.scan = g.scan(lane_value32(g.rank(), round) & 0xFFFFu, &c.scan_total);
    c.unused = 0;
    c.sum64 = g.sum64(lane_value64(g.rank(), round));
    c.min = g.min(lane_value64(g.rank(), round));
    c.max = g.max(lane_value64(g.rank(), round));
    c.broadcast = g.broadcast(lane_value64(g.rank(), round), round % g.size());
    out[g.rank() * kCollectiveRounds + round] = c;
  }
}

__global__ void warp_collectives_kernel(Collectives* out) {
  WarpGroup warp;
  use_collectives(warp, out);
}

template <unsigned kThreads>
__global__ void block_collectives_kernel(Collectives* out) {
  __shared__ typename BlockGroup<kThreads>::Storage storage;
  BlockGroup<kThreads> block(storage);
  use_collectives(block, out);
}

void run_collectives(const Exec& exec, std::uint32_t width, Collectives* out) {
  const DeviceScope scope(exec);
  switch (width) {
    case 32:
      warp_collectives_kernel<<<1, 32, 0, exec.stream>>>(out);
      break;
    case 128:
      block_collectives_kernel<128><<<1, 128, 0, exec.stream>>>(out);
      break;
    case 256:
      block_collectives_kernel<256><<<1, 256, 0, exec.stream>>>(out);
      break;
    default:
      throw ConfigError("no group of this width");
  }
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry::test

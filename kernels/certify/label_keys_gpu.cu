// label_keys on a GPU: a warp per list.
#include "kernels/certify/certify.h"
#include "kernels/certify/label_keys_row.h"
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"

namespace quarry {

constexpr unsigned kLabelThreads = 128;

__global__ void __launch_bounds__(kLabelThreads, 1)
    label_keys_kernel(const __grid_constant__ LabelArgs args) {
  WarpGroup warp;
  for (std::uint64_t l = warp_of_grid(); l < args.num_lists; l += warps_in_grid()) {
    label_keys_row(warp, args, static_cast<std::uint32_t>(l));
  }
}

void label_keys_gpu(const Exec& exec, const LabelArgs& args) {
  static_assert(sizeof(LabelArgs) <= kMaxParameterBytes);
  if (args.num_lists == 0) return;
  const DeviceScope scope(exec);
  label_keys_kernel<<<grid_blocks(args.num_lists, kLabelThreads / kWarpThreads), kLabelThreads, 0,
                      exec.stream>>>(args);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

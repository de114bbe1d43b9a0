// certify on a GPU: a block per list, a warp per candidate, keys in shared memory where they fit.
#include "kernels/certify/certify.h"
#include "kernels/certify/certify_row.h"
#include "kernels/core/block_group.cuh"
#include "kernels/core/exact_score_warp.cuh"
#include "kernels/core/launch.cuh"

namespace quarry {

constexpr unsigned kCertifyThreads = 128;
using CertifyBlock = BlockGroup<kCertifyThreads>;

/// The lanes of a warp are the accumulators of the exact score, so loads coalesce.
QUARRY_HD void score_candidates(CertifyBlock& block, const Candidate& candidate, const float* query,
                                std::uint32_t first, std::uint32_t total, std::uint64_t* keys) {
  WarpGroup warp;
  const ScoreBound& b = candidate.args.bound;
  for (std::uint32_t j = first + block.rank() / kWarpThreads; j < total;
       j += kCertifyThreads / kWarpThreads) {
    const float score = exact_score_together(warp, b.metric, query, candidate.row(j), b.dim);
    if (warp.rank() == 0) keys[j] = score_key(score, candidate.item(j));
  }
}

/// shared_area: dynamic shared memory holds the keys; else args.scratch has room for every list.
__global__ void __launch_bounds__(kCertifyThreads, 1)
    certify_kernel(const __grid_constant__ CertifyArgs args, bool shared_area) {
  extern __shared__ std::uint64_t certify_area[];
  __shared__ CertifyBlock::Storage storage;
  CertifyBlock block(storage);
  const std::uint64_t length = std::uint64_t{args.lists.depth} + args.num_heavy;
  for (std::uint32_t l = blockIdx.x; l < args.num_lists; l += gridDim.x) {
    certify_row(block, args, l, shared_area ? certify_area : args.scratch + l * length);
  }
}

void certify_gpu(const Exec& exec, const CertifyArgs& args) {
  static_assert(sizeof(CertifyArgs) + sizeof(bool) <= kMaxParameterBytes);
  if (args.num_lists == 0) return;
  const DeviceScope scope(exec);
  const std::uint64_t bytes =
      (std::uint64_t{args.lists.depth} + args.num_heavy) * sizeof(std::uint64_t);
  const bool fits = bytes + sizeof(CertifyBlock::Storage) <= kSharedBytes;
  certify_kernel<<<grid_blocks(args.num_lists, 1), kCertifyThreads, fits ? bytes : 0,
                   exec.stream>>>(args, fits);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

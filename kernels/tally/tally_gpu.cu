// tally on a GPU: a warp per row adds into its block's totals, each block once into the tile's.
#include "kernels/core/launch.cuh"
#include "kernels/core/warp_group.cuh"
#include "kernels/tally/tally.h"
#include "kernels/tally/tally_row.h"

namespace quarry {

constexpr unsigned kTallyThreads = 256;
/// Up to this many strata are added up per block first.
constexpr unsigned kBlockStrata = 64;

/// Adds to a total that other threads add to as well.
struct AddAtomically {
  QUARRY_HD void operator()(std::uint64_t* total, std::uint64_t amount) const {
#if defined(__CUDA_ARCH__)
    atomicAdd(reinterpret_cast<unsigned long long*>(total),
              static_cast<unsigned long long>(amount));
#else
    *total += amount;
#endif
  }
};

__global__ void __launch_bounds__(kTallyThreads, 1)
    tally_kernel(const __grid_constant__ Plan plan, const __grid_constant__ MergeArgs args,
                 Counters* totals, std::uint32_t num_strata) {
  constexpr unsigned kWords = sizeof(Counters) / sizeof(std::uint64_t);
  constexpr unsigned kStratumWords = kBlockStrata * sizeof(StratumCounters) / sizeof(std::uint64_t);
  __shared__ std::uint64_t block_totals[kWords];
  __shared__ std::uint64_t block_strata[kStratumWords];
  for (unsigned i = threadIdx.x; i < kWords; i += kTallyThreads) block_totals[i] = 0;
  for (unsigned i = threadIdx.x; i < kStratumWords; i += kTallyThreads) block_strata[i] = 0;
  const bool shared_strata = args.strata != nullptr && num_strata <= kBlockStrata;
  __syncthreads();
  WarpGroup warp;
  for (std::uint64_t r = warp_of_grid(); r < args.rows.num_rows; r += warps_in_grid()) {
    if (args.deepen[r] != 0) continue;
    tally_row(warp, plan, args, static_cast<std::uint32_t>(r),
              reinterpret_cast<Counters*>(block_totals), AddAtomically{});
    if (args.strata == nullptr) continue;
    tally_strata_row(warp, plan, args, static_cast<std::uint32_t>(r),
                     shared_strata ? reinterpret_cast<StratumCounters*>(block_strata) : args.strata,
                     AddAtomically{});
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < kWords; i += kTallyThreads) {
    if (block_totals[i] != 0)
      AddAtomically{}(reinterpret_cast<std::uint64_t*>(totals) + i, block_totals[i]);
  }
  const unsigned words = num_strata * (sizeof(StratumCounters) / sizeof(std::uint64_t));
  for (unsigned i = threadIdx.x; shared_strata && i < words; i += kTallyThreads) {
    if (block_strata[i] != 0)
      AddAtomically{}(reinterpret_cast<std::uint64_t*>(args.strata) + i, block_strata[i]);
  }
}

void tally_gpu(const Exec& exec, const MergeArgs& args, Counters* totals) {
  static_assert(sizeof(Plan) + sizeof(MergeArgs) + sizeof(totals) + sizeof(std::uint32_t) <=
                kMaxParameterBytes);
  static_assert(sizeof(Counters) % sizeof(std::uint64_t) == 0);
  if (args.rows.num_rows == 0) return;
  const DeviceScope scope(exec);
  // Few blocks: each ends with one addition per counter.
  constexpr unsigned kRowsPerBlock = 8 * kTallyThreads / kWarpThreads;
  const unsigned blocks = grid_blocks(args.rows.num_rows, kRowsPerBlock);
  tally_kernel<<<blocks, kTallyThreads, 0, exec.stream>>>(*args.plan, args, totals,
                                                          args.world->num_strata);
  QUARRY_CUDA(cudaGetLastError());
}

}  // namespace quarry

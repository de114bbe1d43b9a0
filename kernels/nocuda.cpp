// Launchers of builds without CUDA: they say so. Keeps `#if` away from every call site.
#include <string>

#include "kernels/admit/admit.h"
#include "kernels/certify/certify.h"
#include "kernels/core/errors.h"
#include "kernels/exclude/exclude.h"
#include "kernels/gather/gather.h"
#include "kernels/merge/merge.h"
#include "kernels/sample/sample.h"
#include "kernels/score/score.h"
#include "kernels/select/select.h"
#include "kernels/setup/setup.h"
#include "kernels/tally/tally.h"
#include "kernels/topk/topk.h"

namespace quarry {
namespace {

[[noreturn]] void no_cuda(const char* kernel) {
  throw DeviceError(
      std::string(kernel) +
      " was asked to run on a GPU, but this build has no CUDA; use --device cpu, or build with "
      "-DQUARRY_CUDA=ON");
}

}  // namespace

void admit_gpu(const Exec&, const AdmitArgs&) { no_cuda("admit"); }
void gather_gpu(const Exec&, const GatherArgs&) { no_cuda("gather"); }
void exclude_gpu(const Exec&, const ExcludeArgs&) { no_cuda("exclude"); }
void select_gpu(const Exec&, const SelectArgs&) { no_cuda("select"); }
void sample_gpu(const Exec&, const SampleArgs&) { no_cuda("sample"); }
void score_positives_gpu(const Exec&, const World&, const Plan&, const RowBatch&, float*) {
  no_cuda("score");
}
void score_lists_gpu(const Exec&, const ScoreArgs&) { no_cuda("score"); }
void merge_gpu(const Exec&, const MergeArgs&) { no_cuda("merge"); }
void tally_gpu(const Exec&, const MergeArgs&, Counters*) { no_cuda("tally"); }
void topk_gpu(const Exec&, const TopkItems&, const TopkMask&, const float*, std::uint32_t,
              std::uint32_t, TopkDeviceWorkspace&, const TopkResult&) {
  no_cuda("topk");
}
void certify_gpu(const Exec&, const CertifyArgs&) { no_cuda("certify"); }
void gather_queries_gpu(const Exec&, const float*, std::uint32_t, const std::uint32_t*,
                        std::uint32_t, float*) {
  no_cuda("gather_queries");
}
void label_keys_gpu(const Exec&, const LabelArgs&) { no_cuda("label_keys"); }

UserArrays make_user_lists_gpu(const Exec&, std::span<const PairView>, std::uint32_t) {
  no_cuda("setup");
}
PlacedArray<std::uint32_t> count_values_gpu(const Exec&, const PairView&, std::uint32_t) {
  no_cuda("setup");
}
PlacedArray<std::uint32_t> popularity_bins_gpu(const Exec&, const std::uint32_t*, std::uint32_t,
                                               std::uint32_t, std::uint32_t) {
  no_cuda("setup");
}
SpaceOrder order_space_gpu(const Exec&, const SpaceItems&) { no_cuda("setup"); }
PlacedArray<std::uint64_t> sum_weights_gpu(const Exec&, const std::uint64_t*, const std::uint32_t*,
                                           std::uint32_t) {
  no_cuda("setup");
}
PlacedArray<std::uint64_t> weights_before_gpu(const Exec&, const UserLists&, std::uint32_t,
                                              std::uint64_t, const std::uint64_t*) {
  no_cuda("setup");
}

}  // namespace quarry

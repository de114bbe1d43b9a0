// tally on the CPU: each chunk counts for itself, then adds under a lock.
#include "kernels/tally/tally.h"

#include <mutex>

#include "kernels/tally/tally_row.h"

namespace quarry {
namespace {

template <class Totals>
void add_counters(Totals* into, const Totals& from) {
  static_assert(sizeof(Totals) % sizeof(std::uint64_t) == 0);
  auto* a = reinterpret_cast<std::uint64_t*>(into);
  const auto* b = reinterpret_cast<const std::uint64_t*>(&from);
  for (std::size_t i = 0; i < sizeof(Totals) / sizeof(std::uint64_t); ++i) a[i] += b[i];
}

}  // namespace

void tally(const Exec& exec, const MergeArgs& args, Counters* totals) {
  if (exec.device == Device::kCuda) return tally_gpu(exec, args, totals);
  std::mutex mutex;
  parallel_for(exec, args.rows.num_rows, 256, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    Counters mine;
    const auto plus = [](std::uint64_t* total, std::uint64_t amount) { *total += amount; };
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      if (args.deepen[r] == 0) tally_row(solo, *args.plan, args, r, &mine, plus);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    add_counters(totals, mine);
    // Straight into the totals: a chunk's own would need memory for every stratum.
    for (auto r = static_cast<std::uint32_t>(begin); r < end && args.strata != nullptr; ++r) {
      if (args.deepen[r] == 0) tally_strata_row(solo, *args.plan, args, r, args.strata, plus);
    }
  });
}

}  // namespace quarry

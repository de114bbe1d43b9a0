// tally on the CPU: each chunk counts for itself, then adds under a lock.
#include "kernels/tally/tally.h"

#include <memory>
#include <mutex>

#include "kernels/tally/tally_row.h"

namespace quarry {
namespace {

void add_counters(Counters* into, const Counters& from) {
  static_assert(sizeof(Counters) % sizeof(std::uint64_t) == 0);
  auto* a = reinterpret_cast<std::uint64_t*>(into);
  const auto* b = reinterpret_cast<const std::uint64_t*>(&from);
  for (std::size_t i = 0; i < sizeof(Counters) / sizeof(std::uint64_t); ++i) a[i] += b[i];
}

}  // namespace

void tally(const Exec& exec, const MergeArgs& args, Counters* totals) {
  if (exec.device == Device::kCuda) return tally_gpu(exec, args, totals);
  std::mutex mutex;
  parallel_for(exec, args.rows.num_rows, 256, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    Counters mine;
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      if (args.deepen[r] != 0) continue;
      tally_row(solo, *args.plan, args, r, &mine,
                [](std::uint64_t* total, std::uint64_t amount) { *total += amount; });
    }
    const std::lock_guard<std::mutex> lock(mutex);
    add_counters(totals, mine);
  });
}

}  // namespace quarry

// gather on the CPU: rows over threads.
#include "kernels/gather/gather.h"

#include "kernels/gather/gather_row.h"

namespace quarry {

void gather(const Exec& exec, const GatherArgs& args) {
  if (exec.device == Device::kCuda) return gather_gpu(exec, args);
  parallel_for(exec, args.rows.num_rows, 64, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r)
      gather_tile_row(solo, *args.world, *args.plan, args, r);
  });
}

}  // namespace quarry

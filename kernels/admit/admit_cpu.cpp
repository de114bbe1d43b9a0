// admit on the CPU: rows over threads.
#include "kernels/admit/admit.h"

#include "kernels/admit/admit_row.h"
#include "kernels/core/group.h"

namespace quarry {

void admit(const Exec& exec, const AdmitArgs& args) {
  if (exec.device == Device::kCuda) return admit_gpu(exec, args);
  parallel_for(exec, args.rows.num_rows, 64, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r)
      admit_row(solo, *args.world, args, r);
  });
}

}  // namespace quarry

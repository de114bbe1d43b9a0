// label_keys on the CPU: lists over threads.
#include "kernels/certify/certify.h"
#include "kernels/certify/label_keys_row.h"

namespace quarry {

void label_keys(const Exec& exec, const LabelArgs& args) {
  if (exec.device == Device::kCuda) return label_keys_gpu(exec, args);
  parallel_for(exec, args.num_lists, 16, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    for (auto l = static_cast<std::uint32_t>(begin); l < end; ++l) label_keys_row(solo, args, l);
  });
}

}  // namespace quarry

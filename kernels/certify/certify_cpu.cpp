// certify on the CPU: lists over threads.
#include "kernels/certify/certify.h"

#include <algorithm>

#include "kernels/certify/certify_row.h"
#include "kernels/certify/parted_list_cpu.h"

namespace quarry {
std::uint64_t certify_scratch_size(const Exec& exec, std::uint32_t num_lists, std::uint64_t length,
                                   bool toward) {
  if (exec.device == Device::kCuda) return num_lists * length;
  return static_cast<std::uint64_t>(std::max(exec.threads, 1)) *
         (toward ? parted_list_scratch(length) : length);
}

void certify(const Exec& exec, const CertifyArgs& args) {
  if (exec.device == Device::kCuda) return certify_gpu(exec, args);
  const std::uint64_t length = std::uint64_t{args.lists.depth} + args.num_heavy;
  const bool toward = args.lists.least != nullptr;
  const std::uint64_t size = toward ? parted_list_scratch(length) : length;
  parallel_for(exec, args.num_lists, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    std::uint64_t* scratch = args.scratch + static_cast<std::uint64_t>(worker_index()) * size;
    for (auto l = static_cast<std::uint32_t>(begin); l < end; ++l) {
      if (toward) {
        certify_parted(args, l, length, scratch);
      } else {
        certify_row(solo, args, l, scratch);
      }
    }
  });
}

void gather_queries(const Exec& exec, const float* from, std::uint32_t dim,
                    const std::uint32_t* rows, std::uint32_t num_rows, float* to) {
  if (exec.device == Device::kCuda) return gather_queries_gpu(exec, from, dim, rows, num_rows, to);
  for (std::uint32_t r = 0; r < num_rows; ++r) {
    const float* row = from + std::uint64_t{rows[r]} * dim;
    std::copy(row, row + dim, to + std::uint64_t{r} * dim);
  }
}

}  // namespace quarry

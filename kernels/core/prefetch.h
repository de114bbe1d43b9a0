// Asking for memory in advance.
#pragma once

#include <cstdint>

#include "kernels/core/hd.h"

namespace quarry {

/// The first `dim` numbers of a row that is read soon: candidates lie anywhere in memory. Nothing
/// on a GPU, where other warps run meanwhile.
QUARRY_HD void prefetch_row([[maybe_unused]] const float* row, [[maybe_unused]] std::uint32_t dim) {
#if !defined(__CUDA_ARCH__)
  for (std::uint32_t i = 0; i < dim; i += 16) __builtin_prefetch(row + i);
#endif
}

}  // namespace quarry

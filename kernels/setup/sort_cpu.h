// A stable sort of numbers by 64-bit keys on several CPU threads, for setup.
#pragma once

#include <cstdint>

#include "kernels/core/buffer.h"

namespace quarry {

/// Sorts `values` (and `keys` with them) by keys ascending; equal keys keep their order. Both have
/// one size. Radix sort from the low byte up that passes over bytes in which all keys agree. Work
/// memory: 12 bytes an element.
void stable_sort_by_key(const Exec& exec, HostBuffer<std::uint64_t>& keys,
                        HostBuffer<std::uint32_t>& values);

}  // namespace quarry

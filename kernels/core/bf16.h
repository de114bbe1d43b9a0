// bf16: the upper half of a float. For first passes only; what decides is scored again in fp32.
#pragma once

#include <cstdint>

#include "kernels/core/exact_math.h"
#include "kernels/core/hd.h"

namespace quarry {

/// Nearest bf16, ties to even; NaN stays one; what is below the smallest normal float becomes zero
/// of its sign, as the processors' conversions do.
QUARRY_HD std::uint16_t to_bf16(float value) {
  const std::uint32_t bits = bits_of_float(value);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  if (magnitude < 0x00800000u) return static_cast<std::uint16_t>((bits & 0x80000000u) >> 16);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/// Exact.
QUARRY_HD float from_bf16(std::uint16_t value) { return float_of_bits(std::uint32_t{value} << 16); }

}  // namespace quarry

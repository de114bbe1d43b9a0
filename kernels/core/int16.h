// Rows as 16-bit integers times a step of their own. For first passes only; what decides is scored
// again in fp32.
#pragma once

#include <cstdint>

#include "kernels/core/exact_math.h"
#include "kernels/core/hd.h"

namespace quarry {

/// The integers of a row are as long as this, in the Euclidean norm. With what rounds each of up to
/// 2^16 of them by at most half, every sum of products of two rows is below 2^31, in any order.
inline constexpr double kInt16Norm = 32640.0;

/// squared: the row's norm, from double.
QUARRY_HD float int16_step(double squared) {
  return static_cast<float>(sqrt(squared) * (1.0 / kInt16Norm));
}
/// What the numbers of a row are multiplied by before they are rounded.
QUARRY_HD float int16_inverse(float step) { return step > 0.0f ? 1.0f / step : 0.0f; }

/// Beyond this a number is not one of a row with such a step: it is infinite, or the step is a
/// denormal's. It becomes 0, and all of it is lost.
inline constexpr float kInt16Fits = 32760.0f;

/// To the nearest integer, ties to even: the last bit of 1.5 * 2^23 is 1.
QUARRY_HD std::int32_t to_int16(float value, float inverse) {
  const float scaled = value * inverse;
  if (!(fabsf(scaled) < kInt16Fits)) return 0;
  return static_cast<std::int32_t>((scaled + 12582912.0f) - 12582912.0f);
}

}  // namespace quarry

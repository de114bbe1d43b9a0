// Arithmetic with the same bits on every compiler and device: order-preserving keys, log, exp,
// Gumbel variates. Only IEEE operations and explicit fused multiply-adds; compiled with contraction
// off (see CMakeLists.txt).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/core/hd.h"

namespace quarry {

QUARRY_HD float float_of_bits(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

QUARRY_HD std::uint32_t bits_of_float(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

QUARRY_HD bool is_finite(float value) {
  return (bits_of_float(value) & 0x7F800000u) != 0x7F800000u;
}

/// Unsigned integer with the order of the float; -0 sorts below +0, so scores are cleared of -0
/// first.
QUARRY_HD std::uint32_t ordered(float value) {
  const std::uint32_t b = bits_of_float(value);
  return b & 0x80000000u ? ~b : b ^ 0x80000000u;
}

QUARRY_HD float float_of_ordered(std::uint32_t o) {
  return float_of_bits(o & 0x80000000u ? o ^ 0x80000000u : ~o);
}

/// Unique selection key: larger is better, the smaller item wins a tie of scores.
QUARRY_HD std::uint64_t score_key(float score, std::uint32_t item) {
  return std::uint64_t{ordered(score)} << 32 | (0xFFFFFFFFu - item);
}
QUARRY_HD float score_of_key(std::uint64_t key) {
  return float_of_ordered(static_cast<std::uint32_t>(key >> 32));
}
QUARRY_HD std::uint32_t item_of_key(std::uint64_t key) {
  return 0xFFFFFFFFu - static_cast<std::uint32_t>(key);
}

/// 2 atanh(s) for |s| <= 0.172: odd polynomial (series 2 s (1 + s^2/3 + s^4/5 + ...)).
QUARRY_HD float two_atanh(float s) {
  const float z = s * s;
  float p = 0.22222222f;
  p = fmaf(p, z, 0.28571430f);
  p = fmaf(p, z, 0.4f);
  p = fmaf(p, z, 0.66666669f);
  const float t = z * s;
  return fmaf(t, p, s + s);
}

/// Natural logarithm of a positive float, subnormals included; below 2 ulp around 1e-7 relative.
/// `x <= 0` and NaN give -infinity, +infinity itself.
QUARRY_HD float exact_log(float x) {
  if (!(x > 0.0f)) return float_of_bits(0xFF800000u);
  std::uint32_t b = bits_of_float(x);
  if (b == 0x7F800000u) return x;
  int e = -127;
  if (b < 0x00800000u) {  // subnormal: made normal, which is exact
    b = bits_of_float(x * 8388608.0f);
    e = -127 - 23;
  }
  e += static_cast<int>(b >> 23);
  float m = float_of_bits((b & 0x7FFFFFu) | 0x3F800000u);
  if (m > 1.41421356f) {
    m = m * 0.5f;
    e += 1;
  }
  const float f = m - 1.0f;
  const float s = f / (f + 2.0f);
  return fmaf(static_cast<float>(e), 0.69314718f, two_atanh(s));
}

/// e^x, flushed to 0 below -87 and capped above 88 (no subnormal, no infinity): 2^k times a
/// degree-6 polynomial on the remainder after a two-part reduction by log 2.
QUARRY_HD float exact_exp(float x) {
  if (!(x > -87.0f)) return 0.0f;
  if (x > 88.0f) x = 88.0f;
  const float t =
      fmaf(x, 1.44269504f, 12582912.0f);  // rounds to the nearest integer in the low mantissa bits
  const float k = t - 12582912.0f;
  float r = fmaf(k, -0.693359375f, x);
  r = fmaf(k, 2.12194440e-4f, r);
  float p = 1.3888889e-3f;
  p = fmaf(p, r, 8.3333333e-3f);
  p = fmaf(p, r, 4.1666667e-2f);
  p = fmaf(p, r, 1.6666667e-1f);
  p = fmaf(p, r, 0.5f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  const int exponent = static_cast<int>(k);
  return p * float_of_bits(static_cast<std::uint32_t>(exponent + 127) << 23);
}

/// Standard Gumbel variate -log(-log u) from 32 random bits, u never 0 or 1; the upper tail uses
/// log1p's series in 1 - u.
QUARRY_HD float gumbel(std::uint32_t r) {
  float e;
  if (r < 0xD0000000u) {
    const float u = (static_cast<float>(r >> 8) + 0.5f) * 5.9604645e-8f;
    e = -exact_log(u);
  } else {
    const std::uint32_t q = ~r;
    const float v = (static_cast<float>(q) + 0.5f) * 2.3283064e-10f;
    e = two_atanh(v / (2.0f - v));
  }
  return -exact_log(e);
}

}  // namespace quarry

// Sharing out slots in integers: systematic rounding and the largest remainder with caps
// (docs/row_contract.md section 1; systematic sampling: Tille, Sampling Algorithms, 2006, chapter
// 7).
#pragma once

#include <cstdint>

#include "kernels/core/hd.h"

namespace quarry {

/// Slots of the part [before, after) of `total` when n slots are cut by the grid with `offset` in
/// [0, total).
QUARRY_HD std::uint32_t systematic_count(std::uint32_t n, std::uint64_t before, std::uint64_t after,
                                         std::uint64_t offset, std::uint64_t total) {
  return static_cast<std::uint32_t>((n * after + offset) / total - (n * before + offset) / total);
}

/// Shares `n` (< 2^31) among `size` strata by weight, none above its cap. out: [size]. n times a
/// weight, and a cap times the sum of weights, must fit 64 bits. Returns what could not be placed.
/// All strata that reach their cap in one round are fixed together; at most `size` rounds.
QUARRY_HD std::uint32_t largest_remainder(std::uint32_t n, std::uint32_t size,
                                          const std::uint64_t* weights, const std::uint32_t* caps,
                                          std::uint32_t* out) {
  constexpr std::uint32_t kUnfixed = 0xFFFFFFFFu;
  constexpr std::uint32_t kWaiting = 0x80000000u;
  for (std::uint32_t s = 0; s < size; ++s) out[s] = weights[s] > 0 ? kUnfixed : 0;
  std::uint64_t active = 0;
  bool fixed = true;
  while (fixed) {
    fixed = false;
    active = 0;
    for (std::uint32_t s = 0; s < size; ++s) active += out[s] == kUnfixed ? weights[s] : 0;
    std::uint32_t leaves = 0;
    for (std::uint32_t s = 0; s < size; ++s) {
      if (out[s] == kUnfixed && n * weights[s] >= caps[s] * active) {
        out[s] = caps[s];
        leaves += caps[s];
        fixed = true;
      }
    }
    n -= leaves;
  }
  if (active == 0) return n;
  // Floors first, marked as still owed a look; then one more each for the largest remainders.
  std::uint32_t placed = 0;
  for (std::uint32_t s = 0; s < size; ++s) {
    if (out[s] != kUnfixed) continue;
    const auto floor = static_cast<std::uint32_t>(n * weights[s] / active);
    placed += floor;
    out[s] = kWaiting | floor;
  }
  for (std::uint32_t extra = n - placed; extra > 0; --extra) {
    std::uint32_t best = size;
    for (std::uint32_t s = 0; s < size; ++s) {
      if ((out[s] & kWaiting) == 0) continue;
      if (best == size || n * weights[s] % active > n * weights[best] % active) best = s;
    }
    out[best] = (out[best] & ~kWaiting) + 1;
  }
  for (std::uint32_t s = 0; s < size; ++s) out[s] &= ~kWaiting;
  return 0;
}

}  // namespace quarry

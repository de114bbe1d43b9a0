// Collectives of a Group on a device, and what plain loops say they give.
#pragma once

#include <cstdint>

#include "kernels/core/exec.h"
#include "kernels/core/hd.h"

namespace quarry::test {

inline constexpr std::uint32_t kCollectiveRounds = 5;

QUARRY_HD std::uint32_t lane_value32(std::uint32_t lane, std::uint32_t round) {
  return (lane + 1) * 2654435761u + round * 40503u;
}
QUARRY_HD std::uint64_t lane_value64(std::uint32_t lane, std::uint32_t round) {
  return (std::uint64_t{lane} + 7) * 0x9E3779B97F4A7C15u ^ std::uint64_t{round} << 40;
}

/// What one lane got from a round of every collective. No padding, so that bytes can be compared.
struct Collectives {
  std::uint32_t rank, size, sum, scan, scan_total, unused;
  std::uint64_t sum64, min, max, broadcast;
  bool operator==(const Collectives&) const = default;
};

inline Collectives expected_collectives(std::uint32_t lane, std::uint32_t width,
                                        std::uint32_t round) {
  Collectives c{lane, width, 0, 0, 0, 0, 0, UINT64_MAX, 0, lane_value64(round % width, round)};
  for (std::uint32_t l = 0; l < width; ++l) {
    const std::uint64_t wide = lane_value64(l, round);
    c.sum += lane_value32(l, round);
    if (l < lane) c.scan += lane_value32(l, round) & 0xFFFFu;
    c.scan_total += lane_value32(l, round) & 0xFFFFu;
    c.sum64 += wide;
    c.min = wide < c.min ? wide : c.min;
    c.max = wide > c.max ? wide : c.max;
  }
  return c;
}

/// Builds with CUDA only. width: 32 runs WarpGroup, 128 and 256 BlockGroup. out: [width,
/// kCollectiveRounds] on the device. Stream-ordered.
void run_collectives(const Exec& exec, std::uint32_t width, Collectives* out);

}  // namespace quarry::test

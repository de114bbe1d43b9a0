// Group: the threads that work on one row, seen only through collectives, so that one algorithm
// text serves one CPU thread, a warp, a block and the test lanes.
//
// A Group has
//   rank(), size()             this lane's place and the number of lanes
//   sync()                     all lanes meet; writes before it are seen after it
//   sum(u32), sum64(u64)       total over lanes
//   min(u64), max(u64)         extreme over lanes
//   scan(u32, u32* total)      exclusive prefix sum in lane order, and the total
//   broadcast(u64, lane)       that lane's value
// Every lane must make the same collectives in the same order: a collective is a statement of its
// own, never under a condition that lanes can answer differently.
#pragma once

#include <cstdint>

#include "kernels/core/hd.h"

namespace quarry {

/// One thread is the whole group; collectives are identities that the compiler removes. The CPU
/// backend.
struct SoloGroup {
  QUARRY_HD std::uint32_t rank() const { return 0; }
  QUARRY_HD std::uint32_t size() const { return 1; }
  QUARRY_HD void sync() const {}
  QUARRY_HD std::uint32_t sum(std::uint32_t v) const { return v; }
  QUARRY_HD std::uint64_t sum64(std::uint64_t v) const { return v; }
  QUARRY_HD std::uint64_t min(std::uint64_t v) const { return v; }
  QUARRY_HD std::uint64_t max(std::uint64_t v) const { return v; }
  QUARRY_HD std::uint32_t scan(std::uint32_t v, std::uint32_t* total) const {
    *total = v;
    return 0;
  }
  QUARRY_HD std::uint64_t broadcast(std::uint64_t v, std::uint32_t) const { return v; }
};

}  // namespace quarry

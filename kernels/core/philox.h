// Philox4x32-10, a counter-based random number generator (Salmon et al., SC 2011, "Parallel random
// numbers: as easy as 1, 2, 3", section 3.3). A draw is a function of its counter, so threads,
// batches and shards cannot change it.
#pragma once

#include <cstdint>

#include "kernels/core/hd.h"

namespace quarry {

struct PhiloxKey {
  std::uint32_t seed = 0;
  std::uint32_t round = 0;
};

struct PhiloxWords {
  std::uint32_t z[4];
};

/// Ten rounds of Philox4x32 on `counter`; four independent words.
QUARRY_HD PhiloxWords philox4x32(PhiloxKey key, std::uint32_t c0, std::uint32_t c1,
                                 std::uint32_t c2, std::uint32_t c3) {
  std::uint32_t k0 = key.seed;
  std::uint32_t k1 = key.round;
  for (int i = 0; i < 10; ++i) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
    const auto hi0 = static_cast<std::uint32_t>(p0 >> 32);
    const auto hi1 = static_cast<std::uint32_t>(p1 >> 32);
    c0 = hi1 ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = hi0 ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// What a random number is for; part of the counter, so no two uses share a draw. Persisted in
/// results: never renumber.
enum class Purpose : std::uint8_t {
  kSamplingKey = 1,
  kDraw = 2,
  kEnumeration = 3,
  kBranchCounts = 4,
  kStratumTargets = 5,
  kRandomPositive = 6,
  kReplacementDraw = 7,
  kPoolDraw = 8,
  kPoolEnumeration = 9,
};

/// The words for number `n` (an item or a draw) of one purpose in one branch of one row.
QUARRY_HD PhiloxWords random_words(PhiloxKey key, std::uint64_t row_key, std::uint32_t n,
                                   std::uint32_t branch_hash, Purpose purpose) {
  return philox4x32(key, static_cast<std::uint32_t>(row_key),
                    static_cast<std::uint32_t>(row_key >> 32), n,
                    (branch_hash & 0xFFFFFF00u) | static_cast<std::uint32_t>(purpose));
}

QUARRY_HD std::uint64_t as_u64(PhiloxWords words) {
  return std::uint64_t{words.z[0]} << 32 | words.z[1];
}

/// Upper 64 bits of a * b: maps a uniform 64-bit word onto [0, b) (bias below b / 2^64, no modulo).
QUARRY_HD std::uint64_t mulhi(std::uint64_t a, std::uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#else
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
#endif
}

}  // namespace quarry

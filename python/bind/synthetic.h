// Negatives between a negative and a positive: which, and how far.
#pragma once

#include <cstdint>

#include "host/data/embeddings.h"
#include "kernels/core/philox.h"

namespace quarry {

/// The package's own purpose, far from those of the engine: docs/row_contract.md section 1.
inline constexpr Purpose kMixing{240};

/// Rows and what is mixed for them. Host memory.
struct MixRows {
  std::uint64_t num_rows = 0;
  std::uint32_t k = 0;
  const std::uint64_t* key = nullptr;               ///< [rows]
  const std::int64_t* item = nullptr;               ///< [rows, k]; below 0: empty
  const std::uint64_t* positive_offsets = nullptr;  ///< [rows + 1]
  const std::uint32_t* positives = nullptr;
};
struct MixOut {
  std::int64_t* positive = nullptr;  ///< [rows, k] -1: nothing is mixed
  float* coefficient = nullptr;      ///< [rows, k] of the positive, in [0, 1); NaN
  float* vector = nullptr;           ///< [rows, k, dim] or null: not wanted; NaN
};

/// For each negative of a row with positives: one of these, and a number, by chance of seed, round,
/// row key and item alone: words z of (kMixing, branch 0, n = item), positive
/// mulhi(z[2] << 32 | z[3], positives), coefficient (z[0] >> 8) / 2^24. The vector is
/// coefficient * positive + (1 - coefficient) * negative of the table as it is, in fp32. Throws
/// InputError for items and positives outside of `items`.
void mix(PhiloxKey key, const MixRows& rows, const MatrixView& items, int threads,
         const MixOut& out);

}  // namespace quarry

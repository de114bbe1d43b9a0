// The content hash of a set: what the engine decided, whatever the sharding (host/store/FORMAT.md).
#pragma once

#include <cstdint>
#include <string>

#include "host/store/column_file.h"

namespace quarry {

/// Streams the deciding columns of rows in order.
class ContentHash {
 public:
  explicit ContentHash(std::uint32_t k) : k_(k) {}
  /// Each pointer: [rows, k].
  void update(std::uint64_t rows, const std::uint32_t* item, const float* score,
              const std::uint32_t* stratum, const std::uint8_t* fill);
  std::string hex() const;

 private:
  std::uint32_t k_;
  std::uint64_t rows_ = 0;
  DigestStream item_, score_, stratum_, fill_;
};

}  // namespace quarry

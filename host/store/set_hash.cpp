// The content hash of a set.
#include "host/store/set_hash.h"

namespace quarry {

void ContentHash::update(std::uint64_t rows, const std::uint32_t* item, const float* score,
                         const std::uint32_t* stratum, const std::uint8_t* fill) {
  const std::uint64_t slots = rows * k_;
  item_.update(item, slots * sizeof(*item));
  score_.update(score, slots * sizeof(*score));
  stratum_.update(stratum, slots * sizeof(*stratum));
  fill_.update(fill, slots * sizeof(*fill));
  rows_ += rows;
}

std::string ContentHash::hex() const {
  DigestStream whole;
  for (const DigestStream* part : {&item_, &score_, &stratum_, &fill_}) {
    const Digest digest = part->digest();
    whole.update(digest.bytes, sizeof(digest.bytes));
  }
  whole.update(&rows_, sizeof(rows_));
  whole.update(&k_, sizeof(k_));
  return whole.digest().hex();
}

}  // namespace quarry

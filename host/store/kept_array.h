// An array beside the shards of a store: an .npy file named by what is in it, written once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quarry {

/// What the bytes are: `length` entries of `width` numbers (1: a one-dimensional array).
struct ArrayShape {
  const char* descr = "<u8";  ///< NumPy's, little-endian
  std::uint32_t bytes = 8;    ///< of a number
  std::uint64_t length = 0;
  std::uint32_t width = 1;
  std::uint64_t data_bytes() const { return length * width * bytes; }
};

/// Its entry in a manifest: path in the store, bytes of the file, hash of the numbers. JSON.
/// `folder` is made where it is missing; the draft lies at `draft`. What is there already, whole,
/// stays. Throws IoError.
std::string keep_array(const std::string& store, const std::string& draft, const void* data,
                       const ArrayShape& shape);

/// The numbers of a kept array, read and compared with its entry. Throws InputError naming the
/// file where it is missing, damaged or of another shape.
std::vector<unsigned char> read_array(const std::string& store, const std::string& entry,
                                      const ArrayShape& shape);
/// The same without keeping the numbers and whatever their number. `shape.length` is not read.
void check_array(const std::string& store, const std::string& entry);

/// Where kept arrays lie in a store.
inline constexpr const char* kArrayFolder = "bases";

}  // namespace quarry

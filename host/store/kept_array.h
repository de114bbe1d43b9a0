// Arrays beside the shards of a store, as .npy files: named by what is in them and written once, or
// named by whose they are and sealed with a hash of their own.
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
/// An array of u64 pairs whose numbers depend on how they were found, so that it has a name given
/// by the caller ([a-z0-9-]) and, as a last entry that is not in shape.length, the XXH3-128 of all
/// before. Replaces what is there. Its entry in a manifest: path and bytes.
std::string keep_sealed(const std::string& store, const std::string& draft, const std::string& name,
                        const void* data, std::uint64_t length);
/// Its numbers. Throws InputError as read_array does.
std::vector<unsigned char> read_sealed(const std::string& store, const std::string& entry,
                                       std::uint64_t length);
/// Reads an array of either kind and compares its hash.
void check_array(const std::string& store, const std::string& entry);

/// Where kept arrays lie in a store.
inline constexpr const char* kArrayFolder = "bases";

}  // namespace quarry

// Where the numbers lie in the embedding formats. Each parser reads the whole mapped file and
// trusts none of its fields. Private to host/data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "host/data/embeddings.h"

namespace quarry {

/// A [rows, dim] table at `offset` bytes from the start of the file.
struct TableLayout {
  std::uint64_t offset = 0;
  std::uint64_t rows = 0;
  std::uint64_t dim = 0;
  Dtype dtype = Dtype::kF32;
};

/// All throw InputError naming `path`, the value, the allowed range and a remedy.
TableLayout parse_npy(std::span<const std::byte> file, const std::string& path);
TableLayout parse_fbin(std::span<const std::byte> file, const std::string& path);
TableLayout parse_safetensors(std::span<const std::byte> file, const std::string& path,
                              const std::string& tensor);

/// rows in [1, 2^32 - 2], dim in [1, 65,536].
void check_shape(std::uint64_t rows, std::uint64_t dim, const std::string& path);
/// Exactly rows * dim numbers in `available` bytes.
void check_size(const TableLayout& layout, std::uint64_t available, const std::string& path);

}  // namespace quarry

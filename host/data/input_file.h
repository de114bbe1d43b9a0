// A file opened for reading, read in pieces or mapped as a whole. Private to host/data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace quarry {

/// Owns a descriptor opened read-only with close-on-exec. (tools/quarry has an InputFile: what a
/// manifest says of one.)
class OpenFile {
 public:
  /// Throws IoError naming the file and the reason. `flags` go to open(2) besides O_RDONLY.
  explicit OpenFile(const std::string& path, int flags = 0);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  /// Bytes of a regular file when it was opened; 0 for a pipe.
  std::uint64_t size() const { return size_; }
  /// Reads until `bytes` are there or the file ends; returns how many were read.
  std::size_t read(char* out, std::size_t bytes);
  /// The next read begins at this byte. Throws IoError if the file is a pipe.
  void seek(std::uint64_t byte);

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// A whole regular file in memory, read-only, unmapped at the end of its life.
class MappedFile {
 public:
  /// Throws IoError, or InputError if the file is empty.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  MappedFile() = default;
  std::span<const std::byte> bytes_;
};

/// Extension of the file name with its dot, in lower case: ".npy"; "" if there is none.
std::string extension_of(const std::string& path);

/// Of Parquet, Arrow and Feather, which the Python package converts: `quarry convert`.
bool is_arrow_extension(const std::string& extension);

/// The path with another extension.
std::string with_extension(const std::string& path, const char* extension);

}  // namespace quarry

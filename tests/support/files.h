// Files made by hand for tests: a folder that disappears, byte writers that share nothing with the
// readers.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace quarry::testing {

/// A fresh folder, removed with everything in it.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "quarry_test_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error("no temporary folder: " + pattern);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  /// Writes a file, replacing it, and returns its path.
  std::string write(const std::string& name, const std::string& content) const {
    const std::string path = path_of(name);
    // Truncating an existing file makes some file systems wait for the disk at close.
    ::unlink(path.c_str());
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    if (!out.flush()) throw std::runtime_error("cannot write " + path);
    return path;
  }

 private:
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// `bytes` low bytes of a number, lowest first.
inline std::string little_endian(std::uint64_t value, unsigned bytes) {
  std::string out;
  for (unsigned i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 255);
  return out;
}

template <class T>
std::string bytes_of_values(const std::vector<T>& values) {
  std::string out(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(out.data(), values.data(), out.size());
  return out;
}

/// A .npy file with any header text and payload; `length` replaces the true header length if it is
/// not negative.
inline std::string npy_bytes(const std::string& header, const std::string& payload, int version = 1,
                             std::int64_t length = -1) {
  const std::uint64_t claimed = length < 0 ? header.size() : static_cast<std::uint64_t>(length);
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  out += little_endian(claimed, version == 1 ? 2 : 4);
  return out + header + payload;
}

inline std::string npy_header(const std::string& descr, const std::string& shape,
                              const std::string& fortran = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }\n";
}

/// Header padded so that the payload begins at a multiple of 64 bytes plus `shift`.
inline std::string padded_npy(const std::string& descr, const std::string& shape,
                              const std::string& payload, int version = 1, unsigned shift = 0) {
  std::string header = npy_header(descr, shape);
  header.pop_back();
  const std::size_t prefix = version == 1 ? 10 : 12;
  while ((prefix + header.size() + 1) % 64 != shift) header += ' ';
  return npy_bytes(header + "\n", payload, version);
}

inline std::string fbin_bytes(std::uint32_t rows, std::uint32_t dim, const std::string& payload) {
  return little_endian(rows, 4) + little_endian(dim, 4) + payload;
}

inline std::string safetensors_bytes(const std::string& header, const std::string& payload) {
  return little_endian(header.size(), 8) + header + payload;
}

/// Fails unless `action` throws exactly an `Error` whose text holds every needle.
template <class Error, class Action>
void expect_error(Action action, const std::vector<std::string>& needles) {
  try {
    action();
  } catch (const Error& error) {
    const std::string text = error.what();
    for (const std::string& needle : needles) {
      EXPECT_NE(text.find(needle), std::string::npos) << "no \"" << needle << "\" in: " << text;
    }
    return;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another type of error: " << error.what();
    return;
  }
  ADD_FAILURE() << "nothing was thrown";
}

}  // namespace quarry::testing

// A file of data and the JSON beside it that says what it is: written aside, synced and renamed, so
// that neither is ever half of one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/store/digest.h"
#include "host/store/files.h"

namespace quarry {

/// Where the JSON on a file lies: "<path>.meta.json".
std::string sidecar_of(const std::string& path);

/// Throws IoError where `path` cannot become an export: its folder is missing or a store, something
/// lies there and is not to be replaced, or is no regular file (`folder`: no earlier export of that
/// kind).
void check_export_target(const std::string& path, bool overwrite, bool folder);

/// Throws ConfigError where `path` or its sidecar is one of `inputs`, by whatever name or link.
void check_no_input(const std::string& path, const std::vector<std::string>& inputs,
                    const std::string& flag = "--out");

/// A text without a sidecar, likewise aside with mode 0600, synced and put in its place. Throws
/// IoError.
void place_text(const std::string& path, const std::string& text, bool overwrite);

class ExportFile {
 public:
  /// Makes the file aside. Throws IoError.
  ExportFile(const std::string& path, bool overwrite);
  ~ExportFile();
  ExportFile(const ExportFile&) = delete;
  ExportFile& operator=(const ExportFile&) = delete;

  void write(std::string_view text);
  std::uint64_t bytes() const { return written_ + buffer_.size(); }
  /// Everything is written. After this the digest holds and nothing may be added.
  void close();
  std::string digest() const { return digest_.digest().hex(); }
  /// Puts the sidecar in its place, then the file.
  void publish(const std::string& sidecar);

 private:
  void flush();
  std::string path_, aside_;
  bool overwrite_;
  FileHandle file_;
  std::string buffer_;
  std::uint64_t written_ = 0;
  DigestStream digest_;
};

}  // namespace quarry

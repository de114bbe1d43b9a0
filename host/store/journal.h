// Lines that are only ever added to a file, each with the hash of its text: what a run has done so
// far, or what happened to a store.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host/store/files.h"

namespace quarry {

class Journal {
 public:
  /// Opens the file, or makes it, and drops what a killed writer left of a last line. Throws
  /// InputError where a line is damaged.
  explicit Journal(const std::string& path);
  /// Texts of the lines, oldest first.
  const std::vector<std::string>& lines() const { return lines_; }
  /// Adds a line and syncs it. `text` holds no line feed.
  void append(const std::string& text);

 private:
  std::string path_;
  FileHandle file_;
  std::uint64_t bytes_ = 0;
  std::vector<std::string> lines_;
};

/// The lines of such a file, which is left as it is; none where there is no file.
std::vector<std::string> read_journal(const std::string& path);
/// The text of such a file with flipped bits put right, one a line, as the hashes of its lines tell
/// them. Nothing where there is none, or where a line is damaged otherwise or longer than
/// kMostUnflipped. `between` is called between any two tries, and may throw.
std::optional<std::string> unflipped_journal(const std::string& text,
                                             const std::function<void()>& between = {});

}  // namespace quarry

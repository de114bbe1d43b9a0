// Which bytes a path stood for when it was opened: a file that is replaced or written while a run
// reads it is not the one that the manifest would name.
#pragma once

#include <cstdint>
#include <string>

namespace quarry {

struct FileIdentity {
  std::uint64_t device = 0, inode = 0, bytes = 0;
  std::int64_t modified_ns = 0;  ///< since 1970
  bool operator==(const FileIdentity&) const = default;
};

/// Throws IoError if there is no such file.
FileIdentity identity_of(const std::string& path);

/// Throws InputError naming the file if it is not the one it was.
void check_unchanged(const std::string& path, const FileIdentity& then);

}  // namespace quarry

// What a writer makes aside, under a name that no reader takes for anything, and puts in its place
// by a rename.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/store/files.h"

namespace quarry {

/// A file or a folder that is not in its place yet. Destroyed, it is removed; left by a writer that
/// was killed, the next writer of the same name on the same machine removes it, since the kernel
/// has dropped its lock. Those of other machines are left alone: not every file system carries
/// locks between them.
class Unfinished {
 public:
  enum class Kind : std::uint8_t { kFile, kFolder };
  /// Aside in `folder`, which must exist, for what will be called `name` there. Throws IoError.
  Unfinished(const std::string& folder, const std::string& name, Kind kind);
  ~Unfinished();
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  const std::string& path() const { return path_; }
  /// kFile: the file, for writing.
  const FileHandle& file() const { return lock_; }
  /// To `target`, in the same folder, replacing a file that is there. A file is to be synced
  /// before. Throws IoError, and stays where it is.
  void put_at(const std::string& target);

 private:
  bool make(Kind kind);

  std::string path_;  ///< "" once it is in its place
  FileHandle lock_;   ///< of the file itself, or of one in the folder
};

/// The lock in a writer's folder, which goes with it to its place.
inline constexpr const char* kWriterLock = "/WRITER";

/// How the names begin under which writers on this machine make what will be called `name`.
std::string unfinished_prefix(const std::string& name);
/// What writers of names that begin with `prefix` have not finished: at work now, or killed.
std::vector<std::string> unfinished_parts(const std::string& folder, const std::string& prefix);

}  // namespace quarry

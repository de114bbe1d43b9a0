// Identity of a file by stat.
#include "tools/quarry/file_identity.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/errors.h"

namespace quarry {

FileIdentity identity_of(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) {
    throw IoError(path + ": cannot be opened: " + std::strerror(errno) +
                  "; check the path and its permissions");
  }
  return {static_cast<std::uint64_t>(info.st_dev), static_cast<std::uint64_t>(info.st_ino),
          static_cast<std::uint64_t>(info.st_size),
          std::int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec};
}

void check_unchanged(const std::string& path, const FileIdentity& then) {
  const FileIdentity now = identity_of(path);
  if (now == then) return;
  std::string what = "it was written to";
  if (now.inode != then.inode || now.device != then.device) {
    what = "another file has taken its place";
  } else if (now.bytes != then.bytes) {
    what = "it had " + std::to_string(then.bytes) + " bytes and has " + std::to_string(now.bytes);
  }
  throw InputError(path + ": changed while it was used (" + what +
                   "), so nothing says what was mined; nothing was written. Wait until its writer "
                   "is done and run again");
}

}  // namespace quarry

// The lock of a set that is being written.
#include "host/store/set_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/store/column_file.h"
#include "kernels/core/errors.h"

namespace quarry {

namespace fs = std::filesystem;

fs::path set_folder(const std::string& path) {
  fs::path target = fs::absolute(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  if (path.empty() || !target.has_relative_path())
    throw IoError("'" + path + "' is not a name for a new folder");
  return target;
}

SetLock::SetLock(const std::string& path)
    : target_(set_folder(path)),
      file_((target_.parent_path() / ("." + target_.filename().string() + ".lock")).string()) {
  for (;;) {
    const int file =
        ::open(file_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (file < 0) {
      throw IoError(io_message(file_, "cannot make the lock file") +
                    "; check that the folder can be written");
    }
    if (::flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(file);
      throw SetLocked(target_.string() +
                      ": another run is writing this set now; wait for its end or choose another "
                      "--out");
    }
    // A file system without locks leaves only the check at the end, as without this class.
    // The file may have been removed by its last holder between the two calls: take the new one.
    struct stat held = {}, there = {};
    if (::fstat(file, &held) == 0 && ::stat(file_.c_str(), &there) == 0 &&
        held.st_ino == there.st_ino && held.st_dev == there.st_dev) {
      descriptor_ = file;
      return;
    }
    ::close(file);
  }
}

SetLock::~SetLock() {
  ::unlink(file_.c_str());
  ::close(descriptor_);
}

std::vector<std::string> SetLock::leftovers() const {
  std::vector<std::string> found;
  const std::string prefix = "." + target_.filename().string() + ".partial-";
  std::error_code error;
  for (fs::directory_iterator entry(target_.parent_path(), error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string().rfind(prefix, 0) == 0)
      found.push_back(entry->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace quarry

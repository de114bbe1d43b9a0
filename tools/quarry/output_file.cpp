// A file that is written aside and renamed.
#include "tools/quarry/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "host/store/store.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace fs = std::filesystem;

void check_not_in_store(const std::string& path, const std::string& flag) {
  const std::string folder = fs::absolute(path).parent_path().string();
  if (!Store::is_store(folder)) return;
  throw IoError(fmt::format(
      "cannot write {}: {} is a store, in which nothing else belongs; choose another {}", path,
      folder, flag));
}

OutputFile::OutputFile(const std::string& path, std::string flag)
    : path_(path), flag_(std::move(flag)) {
  if (path_.empty()) return;
  check_not_in_store(path_, flag_);
  std::error_code ignored;
  const fs::file_status there = fs::status(path_, ignored);
  if (fs::is_directory(there)) fail(EISDIR);
  if (fs::exists(there)) {
    // A rename would put a file in the place of a device, and make a read-only file writable.
    if (::access(path_.c_str(), W_OK) != 0) fail(errno);
    if (!fs::is_regular_file(there)) {
      file_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
      if (file_ < 0) fail(errno);
      return;
    }
    path_ = fs::canonical(path_, ignored).string();  // a link stays one
  }
  constexpr int kMostNames = 100;  // a killed run whose process had this number may have left one
  for (int n = 0; n < kMostNames && file_ < 0; ++n) {
    aside_ = fmt::format("{}.tmp-{}-{}", path_, ::getpid(), n);
    file_ = ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file_ < 0 && errno != EEXIST) break;
  }
  struct stat old = {};
  if (file_ >= 0 && (!fs::exists(there) || (::stat(path_.c_str(), &old) == 0 &&
                                            ::fchmod(file_, old.st_mode & 0777) == 0)))
    return;
  const int error = errno;
  if (file_ >= 0) {
    ::close(file_);
    ::unlink(aside_.c_str());
  }
  aside_.clear();
  fail(error);
}

OutputFile::~OutputFile() {
  if (file_ >= 0) ::close(file_);
  if (!aside_.empty()) ::unlink(aside_.c_str());
}

void OutputFile::write(const std::string& text) {
  if (path_.empty()) return;
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote = ::write(file_, text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) fail(errno);
    done += static_cast<std::size_t>(wrote);
  }
  if (!aside_.empty() && ::fsync(file_) != 0) fail(errno);
  if (::close(std::exchange(file_, -1)) != 0) fail(errno);
  if (aside_.empty()) return;
  if (std::rename(aside_.c_str(), path_.c_str()) != 0) fail(errno);
  aside_.clear();
}

void OutputFile::fail(int error) const {
  const std::string folder = fs::absolute(path_).parent_path().string();
  std::string remedy;
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      remedy = fmt::format("make the folder {} first", folder);
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      remedy = fmt::format("free space in {}", folder);
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      remedy = fmt::format("get the right to write in {}", folder);
      break;
    default:
      break;
  }
  throw IoError(fmt::format("cannot write {}: {}; {}choose another {}", path_, std::strerror(error),
                            remedy.empty() ? "" : remedy + " or ", flag_));
}

}  // namespace quarry

// What writers make aside.
#include "host/store/unfinished.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;

/// Of the running kernel, within which a lock tells who is alive. The host's name alone does not
/// do: pods of one shard on two nodes share it.
std::string machine_name() {
  char name[256] = {};
  std::string text = ::gethostname(name, sizeof(name) - 1) == 0 ? name : "host";
  for (char& c : text) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  return text + "-" + boot.substr(0, 8);
}

bool take_lock(const FileHandle& file) { return ::flock(file.get(), LOCK_EX | LOCK_NB) == 0; }

/// The lock of what lies at a path, whichever kind it is.
FileHandle open_lock(const std::string& path) {
  std::error_code error;
  const bool folder = fs::is_directory(fs::symlink_status(path, error));
  return FileHandle(
      ::open((folder ? path + kWriterLock : path).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
}

void remove_litter(const std::string& folder, const std::string& prefix) {
  for (const std::string& path : unfinished_parts(folder, prefix)) {
    const FileHandle lock = open_lock(path);
    std::error_code ignored;
    if (lock.get() >= 0 && take_lock(lock)) fs::remove_all(path, ignored);
  }
}

}  // namespace

Unfinished::Unfinished(const std::string& folder, const std::string& name, Kind kind) {
  const std::string prefix = unfinished_prefix(name);
  remove_litter(folder, prefix.substr(1));
  for (int n = 0; n < 1000; ++n) {
    path_ = folder + "/" + prefix + std::to_string(::getpid()) + "-" + std::to_string(n);
    if (make(kind)) return;
  }
  throw IoError(folder + ": too many unfinished outputs (.*.partial-*) lie here; delete them");
}

Unfinished::~Unfinished() {
  lock_ = FileHandle();  // NFS keeps files that are open under other names
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

/// False: another writer has the name, or one that is tidying up came in between and removes it.
/// Containers may share a machine's name and number their processes alike.
bool Unfinished::make(Kind kind) {
  std::string lock = path_;
  if (kind == Kind::kFolder) {
    if (!make_folder(path_)) return false;
    lock += kWriterLock;
  }
  try {
    lock_ = create_file(lock);
  } catch (const IoError&) {
    std::error_code error;
    if (kind == Kind::kFolder) fs::remove_all(path_, error);
    if (kind == Kind::kFolder || !fs::exists(fs::symlink_status(lock, error))) throw;
    return false;
  }
  // A file system without locks (Lustre unless mounted with them) leaves what killed writers left
  // to join --clean: nobody's lock can be taken there.
  const bool held = take_lock(lock_) || errno != EWOULDBLOCK;
  return held && ::access(lock.c_str(), F_OK) == 0;
}

void Unfinished::put_at(const std::string& target) {
  // Locked until it is in its place: before that, others take what is not locked for litter.
  try {
    rename_path(path_, target);
  } catch (const IoError&) {
    // NFS sends a request again whose answer was lost: then it is done and reported as failed.
    std::error_code error;
    if (fs::exists(fs::symlink_status(path_, error))) throw;
  }
  path_.clear();
  lock_ = FileHandle();
}

std::string unfinished_prefix(const std::string& name) {
  return "." + name + ".partial-" + machine_name() + "-";
}

std::vector<std::string> unfinished_parts(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> all;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("." + prefix) && name.find(".partial-") != std::string::npos)
      all.push_back(entry->path().string());
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace quarry

// Steps on disk and their observer.
#include "host/store/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

const std::string kNoOther;
FileObserver* the_observer = nullptr;

template <class Act>
void take(const FileStep& step, Act act) {
  if (the_observer != nullptr) the_observer->before(step);
  act();
  if (the_observer != nullptr) the_observer->after(step);
}

/// `what` for messages; `call` returns 0 for success.
template <class Call>
void take_call(const FileStep& step, const std::string& what, Call call) {
  take(step, [&] {
    if (call() != 0) throw IoError(io_message(step.path, what));
  });
}

void sync_descriptor(int fd, const std::string& path) {
  int result = 0;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);  // a signal came first; nothing has failed
  if (result != 0) throw IoError(io_message(path, "cannot sync to disk"));
}

}  // namespace

std::string io_message(const std::string& path, const std::string& what) {
  return path + ": " + what + ": " + std::strerror(errno);
}

void observe_files(FileObserver* observer) { the_observer = observer; }

FileHandle::~FileHandle() {
  if (fd_ >= 0) ::close(fd_);
}

FileHandle& FileHandle::operator=(FileHandle&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

FileHandle create_file(const std::string& path) {
  FileHandle file;
  take({FileAct::kCreate, path, kNoOther}, [&] {
    file = FileHandle(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.get() < 0) throw IoError(io_message(path, "cannot create"));
  });
  return file;
}

FileHandle open_file(const std::string& path) {
  FileHandle file(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (file.get() >= 0) return file;
  if (errno != ENOENT) throw IoError(io_message(path, "cannot open"));
  take({FileAct::kCreate, path, kNoOther}, [&] {
    file =
        FileHandle(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.get() < 0) throw IoError(io_message(path, "cannot create"));
  });
  return file;
}

void write_to(const FileHandle& file, const std::string& path, const void* data, std::size_t bytes,
              std::uint64_t offset) {
  take({FileAct::kWrite, path, kNoOther, data, bytes, offset}, [&] {
    const auto* from = static_cast<const unsigned char*>(data);
    std::size_t left = bytes;
    auto at = static_cast<off_t>(offset);
    while (left > 0) {
      const ssize_t written = ::pwrite(file.get(), from, left, at);
      if (written < 0) {
        if (errno == EINTR) continue;
        throw IoError(io_message(path, "cannot write"));
      }
      from += written;
      at += written;
      left -= static_cast<std::size_t>(written);
    }
  });
}

void truncate_file(const FileHandle& file, const std::string& path, std::uint64_t bytes) {
  take_call({FileAct::kTruncate, path, kNoOther, nullptr, 0, bytes}, "cannot shorten",
            [&] { return ::ftruncate(file.get(), static_cast<off_t>(bytes)); });
}

void sync_file(const FileHandle& file, const std::string& path) {
  take({FileAct::kSync, path, kNoOther}, [&] { sync_descriptor(file.get(), path); });
}

void close_file(FileHandle& file, const std::string& path) {
  const int fd = file.release();
  if (fd >= 0 && ::close(fd) != 0) throw IoError(io_message(path, "cannot close"));
}

bool make_folder(const std::string& path) {
  bool made = true;
  take({FileAct::kMakeFolder, path, kNoOther}, [&] {
    if (::mkdir(path.c_str(), 0700) == 0) return;
    if (errno != EEXIST) throw IoError(io_message(path, "cannot make the folder"));
    made = false;
  });
  return made;
}

void rename_path(const std::string& from, const std::string& to) {
  take_call({FileAct::kRename, from, to}, "cannot rename to " + to,
            [&] { return ::rename(from.c_str(), to.c_str()); });
}

bool link_file(const std::string& from, const std::string& to) {
  bool made = true;
  take({FileAct::kLink, from, to}, [&] {
    if (::link(from.c_str(), to.c_str()) == 0) return;
    if (errno != EEXIST) throw IoError(io_message(from, "cannot link as " + to));
    made = false;
  });
  return made;
}

void remove_path(const std::string& path) {
  take_call({FileAct::kRemove, path, kNoOther}, "cannot remove",
            [&] { return std::remove(path.c_str()) == 0 || errno == ENOENT ? 0 : -1; });
}

void remove_folder(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> inside;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error))
    inside.push_back(entry->path());
  std::sort(inside.begin(), inside.end());
  for (const fs::path& entry : inside) {
    if (fs::is_directory(fs::symlink_status(entry, error))) {
      remove_folder(entry.string());
    } else {
      remove_path(entry.string());
    }
  }
  if (fs::symlink_status(path, error).type() != fs::file_type::not_found) remove_path(path);
}

void sync_folder(const std::string& path) {
  take({FileAct::kSyncFolder, path, kNoOther}, [&] {
    const FileHandle folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() < 0) throw IoError(io_message(path, "cannot open the folder"));
    sync_descriptor(folder.get(), path);
  });
}

void write_new_file(const std::string& path, const std::string& text) {
  FileHandle file = create_file(path);
  write_to(file, path, text.data(), text.size(), 0);
  sync_file(file, path);
  close_file(file, path);
}

std::string read_text(const std::string& path, std::uint64_t most) {
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw IoError(io_message(path, "cannot open"));
  struct stat info = {};
  if (::fstat(file.get(), &info) != 0) throw IoError(io_message(path, "cannot stat"));
  if (!S_ISREG(info.st_mode) || static_cast<std::uint64_t>(info.st_size) > most)
    throw InputError(path + ": not a regular file of at most " + std::to_string(most) + " bytes");
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(io_message(path, "cannot read"));
    if (got == 0) throw InputError(path + ": shrank while it was read");
    done += static_cast<std::size_t>(got);
  }
  return text;
}

}  // namespace quarry

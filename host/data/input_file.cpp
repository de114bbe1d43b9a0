// Reading and mapping of input files by POSIX calls.
#include "host/data/input_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "host/data/message.h"

namespace quarry {
namespace {

[[noreturn]] void throw_io_error(const std::string& path, const char* action, int error) {
  throw IoError(text_of(path, ": cannot be ", action, ": ", std::strerror(error),
                        "; check the path and its permissions"));
}

struct stat status_of(int descriptor, const std::string& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw_io_error(path, "examined", errno);
  return status;
}

}  // namespace

OpenFile::OpenFile(const std::string& path, int flags) : path_(path) {
  // Non-blocking: opening a pipe would wait for its writer, deaf to every request to stop.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
  if (descriptor_ < 0) throw_io_error(path, "opened", errno);
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (!known || S_ISDIR(status.st_mode)) throw_io_error(path, "read", known ? EISDIR : EIO);
  throw IoError(text_of(path,
                        ": is not a regular file (a pipe, socket or device); inputs are read more "
                        "than once, save it to disk first"));
}

OpenFile::~OpenFile() { ::close(descriptor_); }

std::size_t OpenFile::read(char* out, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t got = ::read(descriptor_, out + done, bytes - done);
    if (got == 0) break;
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (errno != EINTR) {
      throw_io_error(path_, "read", errno);
    }
  }
  return done;
}

void OpenFile::seek(std::uint64_t byte) {
  if (::lseek(descriptor_, static_cast<off_t>(byte), SEEK_SET) < 0)
    throw_io_error(path_, "read twice", errno);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK, a pipe that nobody writes to would be waited for before it is refused.
  const OpenFile file(path, O_NONBLOCK);
  const struct stat status = status_of(file.descriptor(), path);
  if (!S_ISREG(status.st_mode)) {
    throw IoError(
        text_of(path, ": is not a regular file, so it cannot be mapped; save it to disk first"));
  }
  if (status.st_size == 0) {
    throw_input_error(path, ": is empty (0 bytes); was writing it interrupted? Write it again");
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED) throw_io_error(path, "mapped", errno);
  std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->bytes_ = {static_cast<const std::byte*>(address), size};
  // A file cut between the two looks would fault at the first touch of what is gone.
  if (status_of(file.descriptor(), path).st_size != status.st_size) {
    throw IoError(
        text_of(path, ": changes its size while it is opened; wait until its writer is done"));
  }
  return mapped;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::string extension_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos) return "";
  std::string extension = name.substr(dot);
  std::transform(extension.begin(), extension.end(), extension.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return extension;
}

bool is_arrow_extension(const std::string& extension) {
  constexpr std::array kKnown = {".parquet", ".pq", ".arrow", ".arrows", ".ipc", ".feather"};
  return std::find(kKnown.begin(), kKnown.end(), extension) != kKnown.end();
}

std::string with_extension(const std::string& path, const char* extension) {
  return path.substr(0, path.size() - extension_of(path).size()) + extension;
}

}  // namespace quarry

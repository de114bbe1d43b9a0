// Writing of .npy tables: complete under their name, or not there.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "host/data/embeddings.h"
#include "host/data/message.h"

namespace quarry {
namespace {

/// A file under a temporary name that takes its real name only when everything is on disk.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path) : path_(path) {
    static std::atomic<unsigned> counter{0};
    temporary_ = text_of(path, ".tmp.", ::getpid(), ".", counter.fetch_add(1));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail("created", errno);
  }
  ~AtomicFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!committed_) ::unlink(temporary_.c_str());
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::uint64_t bytes) {
    const char* next = static_cast<const char*>(data);
    while (bytes > 0) {
      const std::size_t piece = bytes < (std::size_t{1} << 30) ? bytes : std::size_t{1} << 30;
      const ssize_t done = ::write(descriptor_, next, piece);
      if (done < 0) {
        if (errno == EINTR) continue;
        fail("written", errno);
      }
      next += done;
      bytes -= static_cast<std::uint64_t>(done);
    }
  }
  void commit() {
    // After a failed fsync the pages count as clean although they are lost, so there is no second
    // try.
    if (::fsync(descriptor_) != 0) fail("synchronised", errno);
    const int descriptor = descriptor_;
    descriptor_ = -1;
    if (::close(descriptor) != 0) fail("closed", errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("renamed into place", errno);
    committed_ = true;
    const std::size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) fail("synchronised in its folder", errno);
    const int result = ::fsync(directory);
    const int error = errno;
    ::close(directory);
    if (result != 0) fail("synchronised in its folder", error);
  }

 private:
  [[noreturn]] void fail(const char* action, int error) const {
    // Thrown from the constructor, this leaves nothing to close.
    throw IoError(text_of(path_, ": cannot be ", action, ": ", std::strerror(error),
                          "; check that the folder exists, is writable and has space"));
  }
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  bool committed_ = false;
};

}  // namespace

void write_npy(const std::string& path, const float* data, std::uint64_t rows, std::uint32_t dim) {
  const std::string dictionary =
      text_of("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ", dim, "), }");
  // Prefix (10), dictionary, spaces and a line feed fill a multiple of 64 bytes, so that the data
  // can be mapped.
  const std::size_t total = (10 + dictionary.size() + 1 + 63) / 64 * 64;
  std::string header("\x93NUMPY", 6);
  const std::size_t length = total - 10;
  header += {'\x01', '\x00', static_cast<char>(length & 255), static_cast<char>(length >> 8)};
  header += dictionary;
  header.resize(total - 1, ' ');
  header += '\n';
  AtomicFile file(path);
  file.write(header.data(), header.size());
  file.write(data, rows * dim * sizeof(float));
  file.commit();
}

}  // namespace quarry

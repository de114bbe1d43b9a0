// Reading a small text file by POSIX calls.
#include "host/recipe/text_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

std::string read_text_file(const std::string& path, const std::string& what, std::size_t most) {
  const auto fail = [&](const std::string& why) {
    throw IoError(path + ": cannot read the " + what + ": " + why);
  };
  // Non-blocking, since opening a pipe would wait for its writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) fail(std::string(std::strerror(errno)) + "; check the path");
  struct stat info = {};
  if (::fstat(file.value, &info) != 0) fail(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) {
    fail(S_ISDIR(info.st_mode) ? "it is a folder; name the file in it"
                               : "it is not a regular file; save it to disk first");
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size > most) {
    throw ConfigError(path + ": the " + what + " is " + std::to_string(size) +
                      " bytes long; allowed up to " + std::to_string(most) + "; is this a " + what +
                      "?");
  }
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.value, text.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(std::strerror(errno));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace quarry

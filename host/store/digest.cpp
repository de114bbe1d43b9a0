// XXH3-128 digests.
#include "host/store/digest.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/core/errors.h"

namespace quarry {

std::string Digest::hex() const {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string short_digest(std::string_view text) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016" PRIx64,
                static_cast<std::uint64_t>(XXH3_64bits(text.data(), text.size())));
  return digits;
}

Digest digest_of(std::string_view text) {
  DigestStream stream;
  stream.update(text.data(), text.size());
  return stream.digest();
}

struct DigestStream::State {
  State() : xxh(XXH3_createState()) {
    if (xxh == nullptr) throw OutOfMemory("no memory for a hash state");
    XXH3_128bits_reset(xxh);
  }
  ~State() { XXH3_freeState(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  XXH3_state_t* xxh;
};

DigestStream::DigestStream() : state_(std::make_unique<State>()) {}
DigestStream::~DigestStream() = default;
DigestStream::DigestStream(DigestStream&&) noexcept = default;
DigestStream& DigestStream::operator=(DigestStream&&) noexcept = default;

void DigestStream::update(const void* data, std::size_t bytes) {
  if (bytes > 0) XXH3_128bits_update(state_->xxh, data, bytes);
}

Digest DigestStream::digest() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh));
  Digest digest;
  std::memcpy(digest.bytes, canonical.digest, sizeof(digest.bytes));
  return digest;
}

FileDigest digest_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) throw IoError(path + ": cannot open: " + std::strerror(errno));
  std::vector<unsigned char> buffer(1 << 20);
  DigestStream stream;
  FileDigest result;
  ssize_t got = 0;
  while ((got = ::read(file, buffer.data(), buffer.size())) != 0) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    stream.update(buffer.data(), static_cast<std::size_t>(got));
    result.bytes += static_cast<std::uint64_t>(got);
  }
  const int error = errno;
  ::close(file);
  if (got < 0) throw IoError(path + ": cannot read: " + std::strerror(error));
  result.digest = stream.digest();
  return result;
}

}  // namespace quarry

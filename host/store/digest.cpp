// XXH3-128 digests.
#include "host/store/digest.h"

#include <xxhash.h>

#include <cerrno>
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
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) throw IoError(path + ": cannot open: " + std::strerror(errno));
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> closer(file, &std::fclose);
  std::vector<unsigned char> buffer(1 << 20);
  DigestStream stream;
  FileDigest result;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), file)) {
    stream.update(buffer.data(), got);
    result.bytes += got;
  }
  if (std::ferror(file) != 0) throw IoError(path + ": cannot read: " + std::strerror(errno));
  result.digest = stream.digest();
  return result;
}

}  // namespace quarry

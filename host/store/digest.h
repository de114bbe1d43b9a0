// XXH3-128 digests of bytes in pieces and of whole files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace quarry {

/// 16-byte canonical XXH3-128 digest.
struct Digest {
  unsigned char bytes[16] = {};
  std::string hex() const;
  friend bool operator==(const Digest&, const Digest&) = default;
};
/// Of a text.
Digest digest_of(std::string_view text);
/// XXH3-64 of a text, 16 hex digits.
std::string short_digest(std::string_view text);
/// XXH3-128 over bytes that arrive in pieces.
class DigestStream {
 public:
  DigestStream();
  ~DigestStream();
  DigestStream(DigestStream&&) noexcept;
  DigestStream& operator=(DigestStream&&) noexcept;
  void update(const void* data, std::size_t bytes);
  Digest digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Digest of a file and its size.
struct FileDigest {
  std::uint64_t bytes = 0;
  Digest digest;
};
/// Reads the whole file once. Throws IoError.
FileDigest digest_file(const std::string& path);

}  // namespace quarry

// Search for a flipped bit.
#include "host/store/flipped_bit.h"

#include <algorithm>

#include "host/store/digest.h"

namespace quarry {
namespace {

constexpr std::size_t kBlock = 4096;

}  // namespace

std::optional<std::string> unflipped(std::string text, std::size_t begin, std::size_t end,
                                     const std::function<bool(const std::string&)>& whole) {
  for (std::size_t at = begin; at < std::min(end, text.size()); ++at) {
    const char byte = text[at];
    for (int bit = 0; bit < 8; ++bit) {
      text[at] = static_cast<char>(byte ^ (1 << bit));
      if (whole(text)) return text;
    }
    text[at] = byte;
  }
  return std::nullopt;
}

std::vector<std::string> block_hashes(const std::string& text) {
  std::vector<std::string> hashes;
  for (std::size_t at = 0; at < text.size(); at += kBlock)
    hashes.push_back(short_digest(std::string_view(text).substr(at, kBlock)));
  return hashes;
}

std::optional<std::string> unflipped(const std::string& text, const std::string& xxh3_128,
                                     const std::vector<std::string>& blocks,
                                     const std::function<void()>& between) {
  const auto whole = [&](const std::string& other) {
    if (between) between();
    return digest_of(other).hex() == xxh3_128;
  };
  if (whole(text)) return std::nullopt;
  if (blocks.empty()) {
    if (text.size() > kMostUnflipped) return std::nullopt;
    return unflipped(text, 0, text.size(), whole);
  }
  const std::vector<std::string> now = block_hashes(text);
  if (now.size() != blocks.size()) return std::nullopt;
  const auto at = static_cast<std::size_t>(
      std::mismatch(now.begin(), now.end(), blocks.begin()).first - now.begin());
  if (at == now.size()) return std::nullopt;
  const std::size_t first = at * kBlock;
  const auto block =
      unflipped(text.substr(first, kBlock), 0, kBlock, [&](const std::string& other) {
        if (between) between();
        return short_digest(other) == blocks[at];
      });
  if (!block) return std::nullopt;
  std::string mended = text;
  mended.replace(first, block->size(), *block);
  return whole(mended) ? std::optional(mended) : std::nullopt;
}

}  // namespace quarry

// Row keys by XXH3.
#define XXH_INLINE_ALL
#include "host/data/row_keys.h"

#include <xxhash.h>

#include <algorithm>
#include <string>

#include "host/data/tables.h"

namespace quarry {
namespace {

void append_u64(std::string* bytes, std::uint64_t value) {
  for (unsigned i = 0; i < 8; ++i) bytes->push_back(static_cast<char>(value >> (8 * i) & 255));
}

}  // namespace

std::uint64_t row_key_of(std::string_view user, const std::vector<std::string_view>& positives,
                         std::int64_t time) {
  std::string bytes = "u";
  bytes += user;
  bytes += '\0';
  for (const std::string_view item : positives) {
    bytes += 'i';
    bytes += item;
    bytes += '\0';
  }
  bytes += 't';
  append_u64(&bytes, static_cast<std::uint64_t>(time));
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t numbered_key(std::uint64_t key, std::uint64_t n) {
  std::string bytes;
  append_u64(&bytes, key);
  append_u64(&bytes, n);
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::optional<std::uint64_t> smallest_repeat(const std::vector<std::uint64_t>& sorted) {
  const auto found = std::adjacent_find(sorted.begin(), sorted.end());
  if (found == sorted.end()) return std::nullopt;
  return *found;
}

std::vector<std::uint64_t> all_repeats(const std::vector<std::uint64_t>& sorted,
                                       std::uint64_t* rows) {
  std::vector<std::uint64_t> repeats;
  // Counted first, so that the answer takes no more memory than it must.
  for (const bool count_only : {true, false}) {
    std::uint64_t distinct = 0;
    *rows = 0;
    for (std::size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
      while (end < sorted.size() && sorted[end] == sorted[begin]) ++end;
      if (end - begin < 2) continue;
      ++distinct;
      *rows += end - begin;
      if (!count_only) repeats.push_back(sorted[begin]);
    }
    repeats.reserve(distinct);
  }
  return repeats;
}

}  // namespace quarry

// Row keys by XXH3.
#define XXH_INLINE_ALL
#include "host/data/row_keys.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "host/data/message.h"
#include "host/data/tables.h"

namespace quarry {
namespace {

void append_u64(std::string* bytes, std::uint64_t value) {
  for (unsigned i = 0; i < 8; ++i) bytes->push_back(static_cast<char>(value >> (8 * i) & 255));
}

/// Row numbers by (key, row).
std::vector<std::uint64_t> order_by_key(const std::vector<std::uint64_t>& keys) {
  std::vector<std::uint64_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  std::sort(order.begin(), order.end(), [&](std::uint64_t a, std::uint64_t b) {
    return keys[a] != keys[b] ? keys[a] < keys[b] : a < b;
  });
  return order;
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

std::optional<std::pair<std::uint64_t, std::uint64_t>> find_repeated_key(
    const std::vector<std::uint64_t>& keys) {
  const std::vector<std::uint64_t> order = order_by_key(keys);
  const auto found =
      std::adjacent_find(order.begin(), order.end(),
                         [&](std::uint64_t a, std::uint64_t b) { return keys[a] == keys[b]; });
  if (found == order.end()) return std::nullopt;
  return std::make_pair(found[0], found[1]);
}

void number_repeated_keys(std::vector<std::uint64_t>* keys) {
  const std::vector<std::uint64_t> order = order_by_key(*keys);
  std::uint64_t repeats = 0;
  bool changed = false;
  for (std::size_t i = 1; i < order.size(); ++i) {
    // Rows of one key stand together; its first row is `repeats + 1` places back and keeps the key.
    const std::uint64_t key = (*keys)[order[i - 1 - repeats]];
    if ((*keys)[order[i]] != key) {
      repeats = 0;
      continue;
    }
    ++repeats;
    std::string bytes;
    append_u64(&bytes, key);
    append_u64(&bytes, repeats);
    (*keys)[order[i]] = XXH3_64bits(bytes.data(), bytes.size());
    changed = true;
  }
  if (!changed) return;
  if (const auto repeat = find_repeated_key(*keys)) {
    throw_input_error("rows ", repeat->first, " and ", repeat->second, " (from 0) share the key ",
                      (*keys)[repeat->first], " after numbering; change one of the keys");
  }
}

}  // namespace quarry

// Journal: "<XXH3-64 of the text, 16 hex digits> <text>\n" per line.
#include "host/store/journal.h"

#include <xxhash.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::size_t kHashDigits = 16;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;

std::string hash_of(const std::string& text) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016" PRIx64,
                static_cast<std::uint64_t>(XXH3_64bits(text.data(), text.size())));
  return digits;
}

/// Whether a last line that does not have its hash is what a writer left that was killed, or lost
/// power: it has no end, or holes where bytes never reached the disk. Anything else is damage,
/// which would be dropped without a word.
bool is_torn(const std::string& line, bool has_end) {
  if (has_end) return std::count(line.begin(), line.end(), '\0') > 1;
  const std::string text = line.substr(0, line.size() - 1);  // its end may be what was damaged
  return text.size() <= kHashDigits + 1 ||
         text.substr(0, kHashDigits) != hash_of(text.substr(kHashDigits + 1));
}

/// Whole lines of a file's text and the bytes they take.
std::pair<std::vector<std::string>, std::uint64_t> lines_of(const std::string& path,
                                                            const std::string& text) {
  std::vector<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end == std::string::npos ? end : end - at);
    const bool has_end = end != std::string::npos;
    const bool whole = has_end && line.size() > kHashDigits + 1 && line[kHashDigits] == ' ' &&
                       line.substr(0, kHashDigits) == hash_of(line.substr(kHashDigits + 1));
    if (!whole) {
      // Anything behind a torn line was written later.
      const bool last = !has_end || end + 1 == text.size();
      if (!last || !is_torn(line, has_end)) {
        throw InputError(path + ": line " + std::to_string(lines.size() + 1) +
                         " does not have the hash that it names; the file is damaged");
      }
      break;
    }
    lines.push_back(line.substr(kHashDigits + 1));
    at = end + 1;
  }
  return {std::move(lines), at};
}

}  // namespace

Journal::Journal(const std::string& path) : path_(path) {
  file_ = open_file(path);
  // Its name must last as long as its lines; whoever made it may have been killed at once.
  sync_folder(std::filesystem::path(path).parent_path().string());
  const std::string text = read_text(path, kMostBytes);
  auto [lines, bytes] = lines_of(path, text);
  lines_ = std::move(lines);
  bytes_ = bytes;
  if (bytes_ < text.size()) {
    truncate_file(file_, path_, bytes_);
    sync_file(file_, path_);
  }
}

void Journal::append(const std::string& text) {
  QUARRY_CHECK(!text.empty() && text.find('\n') == std::string::npos);
  const std::string line = hash_of(text) + " " + text + "\n";
  write_to(file_, path_, line.data(), line.size(), bytes_);
  sync_file(file_, path_);
  bytes_ += line.size();
  lines_.push_back(text);
}

std::vector<std::string> read_journal(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  return lines_of(path, read_text(path, kMostBytes)).first;
}

}  // namespace quarry

// Journal: "<XXH3-64 of the text, 16 hex digits> <text>\n" per line.
#include "host/store/journal.h"

#include <xxhash.h>

#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;

std::string hash_of(const std::string& text) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016" PRIx64,
                static_cast<std::uint64_t>(XXH3_64bits(text.data(), text.size())));
  return digits;
}

/// Whole lines of a file's text and the bytes they take.
std::pair<std::vector<std::string>, std::uint64_t> lines_of(const std::string& path,
                                                            const std::string& text) {
  std::vector<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end == std::string::npos ? end : end - at);
    const bool whole = end != std::string::npos && line.size() > 17 && line[16] == ' ' &&
                       line.substr(0, 16) == hash_of(line.substr(17));
    if (!whole) {
      // A torn last line is what a killed writer leaves; anything behind it was written later.
      const bool last = end == std::string::npos || text.find('\n', end + 1) == std::string::npos;
      if (!last || (end != std::string::npos && end + 1 < text.size())) {
        throw InputError(path + ": line " + std::to_string(lines.size() + 1) +
                         " does not have the hash that it names; the file is damaged");
      }
      break;
    }
    lines.push_back(line.substr(17));
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

// Journal: "<XXH3-64 of the text, 16 hex digits> <text>\n" per line.
#include "host/store/journal.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "host/store/digest.h"
#include "host/store/flipped_bit.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::size_t kHashDigits = 16;
constexpr std::uint64_t kMostLogBytes = std::uint64_t{1} << 30;

/// Whether a last line that does not have its hash is what a writer left that was killed, or lost
/// power: it has no end, or holes where bytes never reached the disk. Anything else is damage,
/// which would be dropped without a word.
bool is_torn(const std::string& line, bool has_end) {
  if (has_end) return std::count(line.begin(), line.end(), '\0') > 1;
  const std::string text = line.substr(0, line.size() - 1);  // its end may be what was damaged
  return text.size() <= kHashDigits + 1 ||
         text.substr(0, kHashDigits) != short_digest(text.substr(kHashDigits + 1));
}

/// Whether a whole line begins at `at`.
bool is_line_at(const std::string& text, std::size_t at) {
  const std::size_t end = text.find('\n', at);
  if (end == std::string::npos || end - at <= kHashDigits + 1) return false;
  const std::string_view line = std::string_view(text).substr(at, end - at);
  return line[kHashDigits] == ' ' &&
         line.substr(0, kHashDigits) == short_digest(line.substr(kHashDigits + 1));
}

/// The lines of a file, up to what a writer left that was killed, or to damage.
struct Lines {
  std::vector<std::string> texts;
  std::size_t bytes = 0;  ///< that they take
  bool damaged = false;
};
Lines read_lines(const std::string& text) {
  Lines lines;
  std::size_t& at = lines.bytes;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    if (!is_line_at(text, at)) {
      // Anything behind a torn line was written later.
      const bool has_end = end != std::string::npos;
      const bool last = !has_end || end + 1 == text.size();
      lines.damaged = !last || !is_torn(text.substr(at, has_end ? end - at : end), has_end);
      break;
    }
    lines.texts.push_back(text.substr(at + kHashDigits + 1, end - at - kHashDigits - 1));
    at = end + 1;
  }
  return lines;
}

Lines lines_of(const std::string& path, const std::string& text) {
  Lines lines = read_lines(text);
  if (lines.damaged) {
    throw InputError(path + ": line " + std::to_string(lines.texts.size() + 1) +
                     " does not have the hash that it names; the file is damaged");
  }
  return lines;
}

}  // namespace

Journal::Journal(const std::string& path) : path_(path) {
  file_ = open_file(path);
  // Its name must last as long as its lines; whoever made it may have been killed at once.
  sync_folder(std::filesystem::path(path).parent_path().string());
  const std::string text = read_text(path, kMostLogBytes);
  Lines lines = lines_of(path, text);
  lines_ = std::move(lines.texts);
  bytes_ = lines.bytes;
  if (bytes_ < text.size()) {
    truncate_file(file_, path_, bytes_);
    sync_file(file_, path_);
  }
}

void Journal::append(const std::string& text) {
  QUARRY_CHECK(!text.empty() && text.find('\n') == std::string::npos);
  const std::string line = short_digest(text) + " " + text + "\n";
  write_to(file_, path_, line.data(), line.size(), bytes_);
  sync_file(file_, path_);
  bytes_ += line.size();
  lines_.push_back(text);
}

std::vector<std::string> read_journal(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  return lines_of(path, read_text(path, kMostLogBytes)).texts;
}

std::optional<std::string> unflipped_journal(const std::string& text,
                                             const std::function<void()>& between) {
  std::optional<std::string> mended;
  for (;;) {
    const std::string& now = mended ? *mended : text;
    const Lines lines = read_lines(now);
    if (!lines.damaged) return mended;
    // The line's end may be what was flipped, or made.
    const std::size_t begin = lines.bytes;
    const std::size_t line_end = std::min(now.find('\n', begin), now.size() - 1) + 1;
    const std::size_t next_end = std::min(now.find('\n', line_end), now.size());
    if (line_end - begin > kMostUnflipped) return std::nullopt;
    const std::string rest = now.substr(begin, next_end - begin + 1);
    auto put_right = unflipped(rest, 0, line_end - begin, [&](const std::string& other) {
      if (between) between();
      return is_line_at(other, 0);
    });
    if (!put_right) return std::nullopt;
    mended = now.substr(0, begin) + *put_right + now.substr(begin + rest.size());
  }
}

}  // namespace quarry

// Progress lines and numbers in words.
#include "tools/quarry/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace quarry {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Progress::Progress(std::string what, std::uint64_t total)
    : what_(std::move(what)), total_(total), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (line_open_) std::fputs("\n", stderr);
}

void Progress::update(std::uint64_t done) {
  const Clock::time_point now = Clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(30000);
  if (now - last_ < pause && !(line_open_ && done == total_)) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string line = fmt::format("{} {}", words_of_count(done), what_);
  if (total_ > 0) {
    line = fmt::format("{} of {} {} ({:.0f} %)", words_of_count(done), words_of_count(total_),
                       what_, 100.0 * static_cast<double>(done) / static_cast<double>(total_));
  }
  line += fmt::format(", {} {}/s", words_of_count(static_cast<std::uint64_t>(rate)), what_);
  if (total_ > done && rate > 0) {
    line += ", " + words_of_seconds(static_cast<double>(total_ - done) / rate) + " left";
  }
  if (terminal_) {
    std::fputs(fmt::format("\r\033[K{}", line).c_str(), stderr);
    line_open_ = true;
  } else {
    std::fputs((line + "\n").c_str(), stderr);
  }
  std::fflush(stderr);
}

std::string words_of_seconds(double seconds) {
  seconds = std::max(seconds, 0.0);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string words_of_bytes(std::uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double number = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (number >= 1024 && unit + 1 < std::size(units)) {
    number /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", number, units[unit]);
}

std::string words_of_count(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string words_of_count(std::uint64_t count, const char* what) {
  return fmt::format("{} {}{}", words_of_count(count), what, count == 1 ? "" : "s");
}

}  // namespace quarry

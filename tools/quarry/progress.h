// Progress on stderr: one line that is rewritten on a terminal, a line every 30 s elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace quarry {

class Progress {
 public:
  /// `what`: the unit, e.g. "rows". `total` 0: unknown.
  Progress(std::string what, std::uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `done` so far; prints if enough time has passed since the last line.
  void update(std::uint64_t done);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  std::uint64_t total_;
  bool terminal_;
  bool line_open_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

double seconds_since(std::chrono::steady_clock::time_point start);
/// Since 1970, by this machine's clock, with its fractions.
double unix_seconds();
/// "412 ms", "3.1 s", "2 min 5 s", "1 h 12 min".
std::string words_of_seconds(double seconds);
/// "512.0 MiB".
std::string words_of_bytes(std::uint64_t bytes);
/// 1234567 as "1,234,567".
std::string words_of_count(std::uint64_t count);
/// "1 event", "1,234 events".
std::string words_of_count(std::uint64_t count, const char* what);

}  // namespace quarry

// Times and durations as text: integers, ISO 8601, "180d".
#include <charconv>
#include <chrono>

#include "host/data/field.h"
#include "host/data/message.h"
#include "host/data/table.h"

namespace quarry {
namespace {

/// The last second of the year 9999. Milliseconds since 1970 are beyond it from 1978 on, so they
/// cannot pass as seconds.
constexpr std::int64_t kMaxTime = 253402300799;

/// Takes numbers of fixed width and single characters off the front of a text; stays failed after
/// the first mismatch.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}
  unsigned digits(std::size_t width) {
    unsigned value = 0;
    for (std::size_t i = 0; i < width; ++i) {
      if (i >= rest_.size() || rest_[i] < '0' || rest_[i] > '9') {
        ok_ = false;
        return 0;
      }
      value = value * 10 + static_cast<unsigned>(rest_[i] - '0');
    }
    rest_.remove_prefix(width);
    return value;
  }
  bool accept(std::string_view any_of) {
    if (rest_.empty() || any_of.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(std::string_view any_of) { ok_ = accept(any_of) && ok_; }
  void skip_digits() {
    digits(1);
    while (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9') rest_.remove_prefix(1);
  }
  bool starts_with(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool empty() const { return rest_.empty(); }
  bool ok() const { return ok_; }
  void fail() { ok_ = false; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

/// "12:30", "12:30:00", "12:30:00.25", then "Z", "+02:00", "+0200" or "+02".
std::int64_t parse_clock(Cursor& cursor) {
  const unsigned hour = cursor.digits(2);
  cursor.expect(":");
  const unsigned minute = cursor.digits(2);
  unsigned second = 0;
  if (cursor.accept(":")) {
    second = cursor.digits(2);
    if (cursor.accept(".,")) cursor.skip_digits();
  }
  if (hour > 23 || minute > 59 || second > 59) cursor.fail();
  std::int64_t offset = 0;
  const bool behind = cursor.starts_with('-');
  if (cursor.accept("+-")) {
    const unsigned offset_hour = cursor.digits(2);
    const bool colon = cursor.accept(":");
    const unsigned offset_minute = colon || !cursor.empty() ? cursor.digits(2) : 0;
    if (offset_hour > 23 || offset_minute > 59) cursor.fail();
    offset =
        (std::int64_t{offset_hour} * 3600 + std::int64_t{offset_minute} * 60) * (behind ? -1 : 1);
  } else {
    cursor.accept("Zz");
  }
  return std::int64_t{hour} * 3600 + minute * 60 + second - offset;
}

bool parse_iso(std::string_view text, std::int64_t* seconds) {
  Cursor cursor(text);
  const unsigned year = cursor.digits(4);
  cursor.expect("-");
  const unsigned month = cursor.digits(2);
  cursor.expect("-");
  const unsigned day = cursor.digits(2);
  if (!cursor.ok()) return false;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)),
                                         std::chrono::month(month), std::chrono::day(day)};
  if (!date.ok()) return false;
  *seconds = std::int64_t{std::chrono::sys_days(date).time_since_epoch().count()} * 86400;
  if (!cursor.empty()) {
    cursor.expect("Tt ");
    *seconds += parse_clock(cursor);
  }
  return cursor.ok() && cursor.empty();
}

/// Eight digits that are a date of the years 1970 to 2099.
bool is_calendar_number(std::string_view text) {
  if (text.size() != 8) return false;
  Cursor cursor(text);
  const unsigned year = cursor.digits(4);
  const unsigned month = cursor.digits(2);
  const unsigned day = cursor.digits(2);
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)),
                                         std::chrono::month(month), std::chrono::day(day)};
  return cursor.ok() && year >= 1970 && year <= 2099 && date.ok();
}

bool is_allowed(std::int64_t seconds) { return seconds >= 0 && seconds <= kMaxTime; }

[[noreturn]] void throw_out_of_range(const std::string& value, bool negative,
                                     const std::string& where) {
  throw_input_error(where, ": time ", value,
                    negative ? " is before 1970" : " is after the year 9999", "; allowed are 0 to ",
                    kMaxTime, " seconds since 1970. ",
                    negative ? "Shift the times, or remove the row"
                             : "If these are milliseconds, divide by 1000");
}

}  // namespace

std::int64_t parse_time(std::string_view text, const std::string& where) {
  const std::string_view value = trim(text);
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  // Spreadsheets and data frames write integers with gaps as `881250949.0`; the fraction is cut as
  // in ISO texts.
  const std::string_view behind = value.substr(static_cast<std::size_t>(end - value.data()));
  const bool fraction = behind.size() > 1 && behind[0] == '.' &&
                        behind.find_first_not_of("0123456789", 1) == behind.npos;
  const bool integer = error != std::errc::invalid_argument && (behind.empty() || fraction);
  if (!integer && !parse_iso(value, &seconds)) {
    throw_input_error(where, ": time ", shown(text),
                      " is neither an integer of seconds since 1970 nor ISO 8601; write it like "
                      "1714521600, 2024-05-01 or "
                      "2024-05-01T12:30:00Z");
  }
  if (integer && !fraction && is_calendar_number(value)) {
    throw_input_error(where, ": time ", shown(text),
                      " looks like a date written as YYYYMMDD, not like seconds since 1970 (it "
                      "would lie in August or September 1970); write ",
                      value.substr(0, 4), "-", value.substr(4, 2), "-", value.substr(6, 2), ", or ",
                      value, ".0 if it is seconds");
  }
  const bool overflow = integer && error == std::errc::result_out_of_range;
  if (!overflow && is_allowed(seconds)) return seconds;
  throw_out_of_range(shown(text), overflow ? value.starts_with('-') : seconds < 0, where);
}

std::optional<std::int64_t> parse_instant(std::string_view text) {
  std::int64_t seconds = 0;
  return parse_iso(text, &seconds) ? std::optional(seconds) : std::nullopt;
}

std::int64_t check_time(std::int64_t seconds, const std::string& where) {
  if (is_allowed(seconds)) return seconds;
  throw_out_of_range(shown(std::to_string(seconds)), seconds < 0, where);
}

std::int64_t parse_duration(std::string_view text, const std::string& where) {
  const auto fail = [&](const char* why) {
    throw ConfigError(
        text_of(where, ": duration ", shown(text), " ", why,
                "; write an integer and one of s, m, h, d, w: 45s, 30m, 12h, 180d, 2w"));
  };
  std::int64_t count = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, count);
  if (error == std::errc::invalid_argument) fail("does not begin with an integer");
  if (error == std::errc::result_out_of_range) fail("is too long");
  if (count < 0) fail("is negative");
  if (last - end != 1) fail("has no single-letter unit");
  std::int64_t unit = 0;
  switch (*end) {
    case 's':
      unit = 1;
      break;
    case 'm':
      unit = 60;
      break;
    case 'h':
      unit = 3600;
      break;
    case 'd':
      unit = 86400;
      break;
    case 'w':
      unit = 7 * 86400;
      break;
    default:
      fail("has an unknown unit");
  }
  std::int64_t seconds = 0;
  if (__builtin_mul_overflow(count, unit, &seconds) || seconds > kMaxTime) fail("is too long");
  return seconds;
}

}  // namespace quarry

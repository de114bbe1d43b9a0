// Fields of table files as values.
#include "python/bind/text_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "host/data/field.h"
#include "host/data/message.h"

namespace quarry {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Thousandths of a second of a text that is a time: nothing else in it stands behind a point or a
/// comma.
std::int64_t thousandths(std::string_view time) {
  if (time.starts_with('-')) return 0;  // -0.5 is read as 0
  std::size_t at = time.find_first_of(".,");
  if (at == std::string_view::npos) return 0;
  std::int64_t sum = 0;
  for (std::int64_t scale = 100; scale > 0 && ++at < time.size() && is_digit(time[at]); scale /= 10)
    sum += (time[at] - '0') * scale;
  return sum;
}

/// All of the text, as a number. False where it is none.
template <class T>
bool parse_all(std::string_view text, T& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

[[noreturn]] void refuse(const std::string& where, std::string_view field, const char* what,
                         const char* type) {
  throw_input_error(where, ": ", shown(field), " is ", what, ", and types (--types) says ", type,
                    "; mend it, or leave the column text");
}

}  // namespace

std::string TextTable::where(std::size_t row, std::size_t slot) const {
  return text_of(where(row), ", column ", shown(columns_.at(slot)));
}

std::optional<std::int64_t> time_in(std::string_view field, const std::string& where) {
  if (field.empty()) return std::nullopt;
  return parse_time(field, where) * 1000 + thousandths(trim(field));
}

std::optional<double> number_in(std::string_view field, const std::string& where) {
  if (trim(field).empty()) return std::nullopt;
  return parse_number(field, "number", where);
}

std::optional<std::uint64_t> key_in(std::string_view field, const std::string& where) {
  if (field.empty()) return std::nullopt;
  return parse_u64(field, "row key", where);
}

std::optional<double> float_in(std::string_view field, const std::string& where) {
  if (field.empty()) return std::nullopt;
  double number = 0.0;
  if (!parse_all(trim(field), number) || !std::isfinite(number))
    refuse(where, field, "not a finite number within fp64", "float");
  return number;
}

std::optional<std::int64_t> int_in(std::string_view field, const std::string& where) {
  if (field.empty()) return std::nullopt;
  const std::string_view text = trim(field);
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  std::int64_t number = 0;
  if ((digits.starts_with('0') && text != "0") || !parse_all(text, number)) {
    refuse(where, field,
           "not a whole number from -9223372036854775808 to 9223372036854775807 without zeros in "
           "front",
           "int");
  }
  return number;
}

std::optional<std::uint8_t> bool_in(std::string_view field, const std::string& where) {
  if (field.empty()) return std::nullopt;
  std::string word(trim(field));
  std::transform(word.begin(), word.end(), word.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (word != "true" && word != "false") refuse(where, field, "neither true nor false", "bool");
  return word == "true" ? 1 : 0;
}

std::optional<std::int32_t> date_in(std::string_view field, const std::string& where) {
  if (field.empty()) return std::nullopt;
  constexpr std::size_t kDate = 10;
  const std::string_view text = trim(field);
  const auto seconds = text.size() == kDate ? parse_instant(text) : std::nullopt;
  if (!seconds) refuse(where, field, "not a date such as 2024-05-01", "date");
  return static_cast<std::int32_t>(*seconds / 86400);  // of midnight
}

std::optional<std::int64_t> instant_in(std::string_view field, const std::string& where) {
  if (field.empty()) return std::nullopt;
  const std::string_view text = trim(field);
  const auto seconds = parse_instant(text);
  return (seconds ? *seconds : parse_time(field, where)) * 1000 + thousandths(text);
}

}  // namespace quarry

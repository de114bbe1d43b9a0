// Parsing of single values, and how values appear in messages.
#include "host/data/field.h"

#include <charconv>
#include <cmath>

#include "host/data/message.h"

namespace quarry {

std::string shown(std::string_view value) {
  constexpr std::size_t kMaxShown = 60;
  constexpr char kHex[] = "0123456789abcdef";
  std::string text = "'";
  for (const char c : value.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      text += "\\x";
      text += kHex[byte >> 4];
      text += kHex[byte & 15];
    } else {
      text += c;
    }
  }
  text += value.size() > kMaxShown ? "...'" : "'";
  return text;
}

std::string at_line(const std::string& path, std::uint64_t line) {
  return text_of(path, ":", line);
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

float parse_float(std::string_view text, std::string_view what, const std::string& where) {
  const std::string_view digits = trim(text);
  double number = 0.0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool parsed = error == std::errc() && end == digits.data() + digits.size();
  const auto rounded = static_cast<float>(number);
  if (!parsed || !std::isfinite(rounded)) {
    throw_input_error(where, ": ", what, " ", shown(text),
                      " is not a finite number in [-3.4e38, 3.4e38]; write it with a decimal point "
                      "and without units, or remove the row");
  }
  return rounded;
}

std::uint64_t parse_u64(std::string_view text, std::string_view what, const std::string& where) {
  const std::string_view digits = trim(text);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw_input_error(
        where, ": ", what, " ", shown(text),
        " is not an integer in [0, 18446744073709551615]; write it in decimal digits");
  }
  return number;
}

}  // namespace quarry

// Parsing of single values, and how values appear in messages.
#include "host/data/field.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "host/data/message.h"

namespace quarry {

namespace {

/// Bytes of the valid UTF-8 character at the front of a text that is not empty; 0 if there is none.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Longer than needed, surrogates, beyond U+10FFFF.
  const unsigned second = byte(1);
  const bool wrong = (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
                     (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
  return wrong ? 0 : length;
}

}  // namespace

std::size_t find_bad_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t word = 0;
    if (at + sizeof(word) <= text.size()) {
      // Most text is ASCII.
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const std::size_t length = character_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string shown(std::string_view value) {
  constexpr std::size_t kMaxShown = 60;
  constexpr char kHex[] = "0123456789abcdef";
  std::string text = "'";
  std::size_t at = 0;
  while (at < value.size()) {
    const std::size_t length = character_length(value.substr(at));
    if (at + std::max<std::size_t>(length, 1) > kMaxShown) break;
    const auto byte = static_cast<unsigned char>(value[at]);
    // 0xC2 0x80 to 0xC2 0x9F are control characters too: terminals obey them.
    const bool control =
        byte < 0x20 || byte == 0x7F ||
        (byte == 0xC2 && length == 2 && static_cast<unsigned char>(value[at + 1]) < 0xA0);
    if (length == 0 || control) {
      for (std::size_t i = 0; i < std::max<std::size_t>(length, 1); ++i, ++at) {
        const auto escaped = static_cast<unsigned char>(value[at]);
        text += "\\x";
        text += kHex[escaped >> 4];
        text += kHex[escaped & 15];
      }
    } else {
      text += value.substr(at, length);
      at += length;
    }
  }
  text += at < value.size() ? "...'" : "'";
  return text;
}

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kNamed = 40;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kNamed; ++i) {
    text += text_of(i == 0 ? "" : ", ", shown(names[i]));
  }
  if (names.size() > kNamed) text += text_of(", ... (", names.size(), " in all)");
  return text;
}

void throw_missing_column(const std::string& where, const std::string& column,
                          const std::vector<std::string>& existing, const std::string& remedy) {
  const bool other_separator =
      existing.size() == 1 && existing[0].find_first_of(",;|\t") != std::string::npos;
  throw_input_error(
      where, ": there is no column ", shown(column), "; the columns are ", listed(existing),
      other_separator
          ? ". The file seems to have another separator: use .csv for ',' and .tsv for tabs"
          : ". Add it, or " + remedy);
}

std::string at_line(const std::string& path, std::uint64_t line) {
  return text_of(path, ":", line);
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

namespace {

[[noreturn]] void throw_no_number(const std::string& value, std::string_view what,
                                  const std::string& where) {
  throw_input_error(where, ": ", what, " ", value,
                    " is not a finite number in [-3.4e38, 3.4e38]; write it with a decimal point "
                    "and without units, or remove the row");
}

}  // namespace

double parse_number(std::string_view text, std::string_view what, const std::string& where) {
  const std::string_view digits = trim(text);
  double number = 0.0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool parsed = error == std::errc() && end == digits.data() + digits.size();
  if (!parsed || !std::isfinite(static_cast<float>(number)))
    throw_no_number(shown(text), what, where);
  return number;
}

float parse_float(std::string_view text, std::string_view what, const std::string& where) {
  return static_cast<float>(parse_number(text, what, where));
}

float check_float(double number, std::string_view what, const std::string& where) {
  const auto rounded = static_cast<float>(number);
  if (!std::isfinite(rounded)) throw_no_number(shown(text_of(number)), what, where);
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

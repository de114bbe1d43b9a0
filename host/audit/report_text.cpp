// Texts and numbers as a report shows them.
#include "host/audit/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace quarry::report {
namespace {

constexpr char32_t kBad = 0xFFFD;

/// Takes the next character off `text`; kBad for a byte that begins none.
char32_t take(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  char32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  bool good = (lead < 0x80 || (lead >= 0xC2 && lead <= 0xF4)) && length <= text.size();
  for (std::size_t i = 1; good && i < length; ++i) {
    good = (byte(i) & 0xC0) == 0x80;
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  good = good && code >= kLeast[length] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  text.remove_prefix(good ? length : 1);
  return good ? code : kBad;
}

void put(std::string& out, char32_t code) {
  const auto add = [&](char32_t bits) { out += static_cast<char>(bits); };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3F));
  } else {
    add(0xF0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3F));
    add(0x80 | (code >> 6 & 0x3F));
  }
  add(0x80 | (code & 0x3F));
}

/// Characters that change how others are read, or that HTML does not allow.
bool is_hidden(char32_t code) {
  return (code >= 0x80 && code < 0xA0) || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
}
bool is_no_character(char32_t code) {
  return (code & 0xFFFE) == 0xFFFE || (code >= 0xFDD0 && code <= 0xFDEF);
}

/// Joins the character before it: nothing is cut there.
bool is_mark(char32_t c) {
  return (c >= 0x300 && c < 0x370) || (c >= 0x1AB0 && c < 0x1B00) || (c >= 0x20D0 && c < 0x2100) ||
         (c >= 0xFE00 && c < 0xFE10) || (c >= 0x1F3FB && c <= 0x1F3FF) || c == 0x200D ||
         (c >= 0x64B && c <= 0x65F);
}

double width_of(char32_t c) {
  constexpr double kNarrow = 0.32, kUsual = 0.60, kCapital = 0.75, kWidest = 0.95, kFull = 1.25,
                   kEm = 1;
  if (is_mark(c)) return 0;
  if (c == ' ' || (c < 0x80 && std::string_view("iIjl.,:;'|!()[]/ft-").find(static_cast<char>(c)) !=
                                   std::string_view::npos))
    return kNarrow;
  if (c == 'm' || c == 'w' || c == 'M' || c == 'W' || c == '@' || c == '%') return kWidest;
  if (c >= 'A' && c <= 'Z') return kCapital;
  if (c == 0x2014 || c == 0x2026) return kEm;  // the dash and the ellipsis
  const bool sign = c >= 0x2000 && c < 0x2300;
  return c < 0x1100 || sign ? kUsual : kFull;
}

std::string grouped(std::string digits) {
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

/// "−1.2×10⁻⁹".
std::string power_words(double value, int digits) {
  constexpr const char* kRaised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  const std::string text = fmt::format("{:.{}e}", value, digits - 1);
  const std::size_t e = text.find('e');
  std::string mantissa = text.substr(0, e);
  if (mantissa.find('.') != std::string::npos) {
    mantissa.erase(mantissa.find_last_not_of('0') + 1);
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  std::string words = mantissa + "×10";
  const int power = std::stoi(text.substr(e + 1));
  if (power < 0) words += "⁻";
  for (const char digit : std::to_string(std::abs(power))) words += kRaised[digit - '0'];
  return words;
}

/// A number from 0 on with that many digits that count, whole parts never cut.
std::string magnitude_words(double value, int digits) {
  constexpr double kLeast = 1e-4, kMost = 1e15;
  if (value == 0) return "0";
  if (value < kLeast || value >= kMost) return power_words(value, digits);
  const int whole = static_cast<int>(std::floor(std::log10(value))) + 1;
  std::string text = fmt::format("{:.{}f}", value, std::clamp(digits - whole, 0, 8));
  const std::size_t point = text.find('.');
  if (point == std::string::npos) return grouped(text);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return grouped(text.substr(0, point)) + (text.size() > point ? text.substr(point) : "");
}

std::string plain_words(double value, int digits) {
  std::string words = value < 0 ? "−" : "";
  words += magnitude_words(std::fabs(value), digits);
  return words == "−0" ? "0" : words;
}

/// One that is not whole does not look so, where a few more digits can show it.
std::string number_with_rest(double value, int digits) {
  constexpr double kLarge = 1000;
  constexpr int kMostDigits = 6;
  std::string words = plain_words(value, digits);
  if (value == std::floor(value) || std::fabs(value) >= kLarge) return words;
  const auto looks_whole = [](const std::string& text) {
    return text.find('.') == std::string::npos && text.find("×") == std::string::npos;
  };
  if (!looks_whole(words)) return words;
  for (int more = digits + 1; more <= kMostDigits; ++more) {
    std::string longer = plain_words(value, more);
    if (!looks_whole(longer)) return longer;
  }
  return words;
}

std::string share_words(double share, int digits) {
  constexpr int kMostDigits = 12;
  // What is nearly all is not all.
  const auto rounds_to_all = [&] { return plain_words(std::fabs(share) * 100, digits) == "100"; };
  while (std::fabs(share) < 1 && rounds_to_all() && digits < kMostDigits) ++digits;
  return plain_words(share * 100, digits) + " %";
}

std::string duration_words(double seconds, int digits) {
  struct Scale {
    double from, seconds;
    const char* unit;
  };
  constexpr Scale kScales[] = {
      {172800, 86400, "days"}, {7200, 3600, "h"}, {120, 60, "min"}, {0, 1, "s"}};
  for (const Scale& scale : kScales) {
    if (std::fabs(seconds) >= scale.from)
      return plain_words(seconds / scale.seconds, digits) + " " + scale.unit;
  }
  return "";
}

}  // namespace

std::string visible(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const char32_t c = take(text);
    if (is_hidden(c)) {
      out += fmt::format("[U+{:04X}]", static_cast<std::uint32_t>(c));
    } else if (c < 0x20 && c != '\n' && c != '\t') {
      put(out, 0x2400 + c);
    } else {
      put(out, c == 0x7F ? 0x2421 : is_no_character(c) ? kBad : c);
    }
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : visible(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string isolated(std::string_view text) { return "<bdi>" + escaped(text) + "</bdi>"; }

std::string number_words(double value, std::string_view unit, int more_digits) {
  const int few = 3 + more_digits, usual = 4 + more_digits;
  if (unit == "share") return share_words(value, few);
  if (unit == "seconds") return duration_words(value, few);
  if (unit == "days") return plain_words(value, few) + (value == 1 ? " day" : " days");
  const std::string words = number_with_rest(value, usual);
  return unit == "bits" ? words + " bits" : words;
}

std::string datum_words(const Datum& datum, std::string_view unit, int more_digits) {
  if (datum.kind == Datum::Kind::kNone) return "–";
  if (!datum.is_number() || unit == "exact") return datum.text;
  return number_words(datum.value, unit, more_digits);
}

int digits_apart(const std::vector<const Datum*>& numbers, std::string_view unit) {
  constexpr int kMostDigits = 8;
  const auto alike = [&](int more) {
    for (const Datum* a : numbers) {
      for (const Datum* b : numbers) {
        if (a->is_number() && b->is_number() && a->value < b->value &&
            datum_words(*a, unit, more) == datum_words(*b, unit, more))
          return true;
      }
    }
    return false;
  };
  for (int more = 0; more < kMostDigits; ++more) {
    if (!alike(more)) return more;
  }
  return 0;
}

std::string date_words(double seconds) {
  constexpr double kFirst = -62135596800, kLast = 253402300799;  // years 1 to 9999
  if (!(seconds >= kFirst && seconds <= kLast)) return plain_words(seconds, 4);
  const auto whole = static_cast<std::time_t>(std::floor(seconds));
  std::tm at = {};
  ::gmtime_r(&whole, &at);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02} UTC", at.tm_year + 1900, at.tm_mon + 1,
                     at.tm_mday, at.tm_hour, at.tm_min);
}

double text_width(std::string_view text, double size) {
  double width = 0;
  while (!text.empty()) width += width_of(take(text));
  return width * size;
}

std::string elided(std::string_view text, double width, double size) {
  if (text_width(text, size) <= width) return std::string(text);
  const double room = width - text_width("…", size);
  std::string_view rest = text;
  double used = 0;
  std::size_t cut = 0;
  char32_t before = 0;
  while (!rest.empty()) {
    const std::size_t at = text.size() - rest.size();
    const char32_t c = take(rest);
    if (!is_mark(c) && before != 0x200D) cut = at;
    used += width_of(c) * size;
    if (used > room) break;
    before = c;
  }
  while (cut > 0 && text[cut - 1] == ' ') --cut;
  return std::string(text.substr(0, cut)) + "…";
}

}  // namespace quarry::report

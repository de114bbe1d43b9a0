// Texts of error messages: values shown safely, numbers and words joined. Private to host/data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kernels/core/errors.h"

namespace quarry {

/// A value from a file between quotes: control characters and bytes that are not UTF-8 as \xNN,
/// cut after 60 bytes.
std::string shown(std::string_view value);

/// The first byte that is not part of valid UTF-8 (RFC 3629), or npos.
std::size_t find_bad_utf8(std::string_view text);

/// "'a', 'b', ... (90 in all)".
std::string listed(const std::vector<std::string>& names);

/// `where` is a header that lacks `column`.
[[noreturn]] void throw_missing_column(const std::string& where, const std::string& column,
                                       const std::vector<std::string>& existing,
                                       const std::string& remedy);

/// "path:line" as editors understand it.
std::string at_line(const std::string& path, std::uint64_t line);

inline void append_part(std::string& text, std::string_view part) { text += part; }
template <class T>
requires std::is_arithmetic_v<T>
void append_part(std::string& text, T part) { text += std::to_string(part); }

/// Joins texts and numbers.
template <class... Parts>
std::string text_of(const Parts&... parts) {
  std::string text;
  (append_part(text, parts), ...);
  return text;
}

template <class... Parts>
[[noreturn]] void throw_input_error(const Parts&... parts) {
  throw InputError(text_of(parts...));
}

}  // namespace quarry

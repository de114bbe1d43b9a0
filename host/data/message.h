// Texts of error messages: values shown safely, numbers and words joined. Private to host/data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "kernels/core/errors.h"

namespace quarry {

/// A value from a file between quotes: control characters as \xNN, cut after 60 bytes.
std::string shown(std::string_view value);

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

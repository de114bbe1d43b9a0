// Single values of a text table: numbers with their allowed range. Private to host/data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quarry {

/// Without spaces and tabs at both ends: numbers may be padded, ids are taken as they are.
std::string_view trim(std::string_view text);

/// A finite number that fits fp32. Throws InputError with `what` ("value") and `where`
/// ("file.csv:7").
float parse_float(std::string_view text, std::string_view what, const std::string& where);

/// The same before it is rounded to fp32.
double parse_number(std::string_view text, std::string_view what, const std::string& where);

/// The same for a number that is one already.
float check_float(double number, std::string_view what, const std::string& where);

/// A decimal integer in [0, 2^64 - 1]. Throws InputError.
std::uint64_t parse_u64(std::string_view text, std::string_view what, const std::string& where);

/// Seconds since 1970 of an ISO 8601 date or date-time as parse_time() takes them, of any year of
/// four digits. Nothing: it is none.
std::optional<std::int64_t> parse_instant(std::string_view text);

}  // namespace quarry

// Single values of a text table: numbers with their allowed range. Private to host/data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quarry {

/// Without spaces and tabs at both ends: numbers may be padded, ids are taken as they are.
std::string_view trim(std::string_view text);

/// A finite number that fits fp32. Throws InputError with `what` ("value") and `where`
/// ("file.csv:7").
float parse_float(std::string_view text, std::string_view what, const std::string& where);

/// The same for a number that is one already.
float check_float(double number, std::string_view what, const std::string& where);

/// A decimal integer in [0, 2^64 - 1]. Throws InputError.
std::uint64_t parse_u64(std::string_view text, std::string_view what, const std::string& where);

}  // namespace quarry

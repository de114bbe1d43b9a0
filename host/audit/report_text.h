// Texts and numbers as a report shows them: escaped for HTML, rounded for people, cut to a width.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/audit/report_model.h"

namespace quarry::report {

/// As a person can see all of it: control characters as their pictures or numbers, characters that
/// turn the direction of a text around as "[U+202E]", what is no UTF-8 as U+FFFD.
std::string visible(std::string_view text);
/// The same, safe between tags and in quoted attributes.
std::string escaped(std::string_view text);
/// The same, its direction of writing its own.
std::string isolated(std::string_view text);

/// A number with few digits, its unit beside it: "22.2 %", "1,234,567", "1.2×10⁻⁹". Never shows a
/// share below 1 as 100 %, or a number that is not 0 as 0.
std::string number_words(double value, std::string_view unit, int more_digits = 0);
/// A number, a text, or "–". The unit "exact" is that of numbers whose every digit counts.
std::string datum_words(const Datum& datum, std::string_view unit, int more_digits = 0);
/// How many more digits it takes until numbers that differ look different: a value just above its
/// limit.
int digits_apart(const std::vector<const Datum*>& numbers, std::string_view unit);
/// Seconds since 1970 as "2024-05-01 12:30 UTC"; the bare number where no year of four digits has
/// it.
std::string date_words(double seconds);

/// About how wide a text is in a sans-serif face of `size` pixels; never less than it is in usual
/// ones.
double text_width(std::string_view text, double size);
/// As much of the text as fits, with "…" where some is left out. Cuts between characters.
std::string elided(std::string_view text, double width, double size);

}  // namespace quarry::report

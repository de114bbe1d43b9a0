// The shell of a report: one HTML file with style and script inside, which loads nothing.
#pragma once

#include <string>

namespace quarry::report {

/// `body` is HTML.
std::string page(const std::string& title, const std::string& body);

/// The style sheet, and the script that lets tables be sorted. The policy of the page names the
/// script by its hash (SHA-256), so no other runs.
extern const char* const kStyle;
extern const char* const kScript;
extern const char* const kScriptHash;

}  // namespace quarry::report

// The [exposure] table: which events make an item liked, disliked, ignored or unclear to a user.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "host/recipe/parts.h"

namespace quarry::recipe_text {
namespace {

bool is_kind_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == ':' || c == '/' || static_cast<unsigned char>(c) >= 0x80;
}

struct Comparison {
  std::string_view text;
  ExposureTerm::Op op;
};
// Longer operators first: "<=" must not read as "<".
constexpr Comparison kComparisons[] = {
    {"<=", ExposureTerm::Op::kLessEqual}, {">=", ExposureTerm::Op::kGreaterEqual},
    {"==", ExposureTerm::Op::kEqual},     {"<", ExposureTerm::Op::kLess},
    {">", ExposureTerm::Op::kGreater},    {"=", ExposureTerm::Op::kEqual},
};

/// One term of a rule; a text that says what is wrong with it otherwise.
std::optional<std::string> read_term(std::string_view text, ExposureTerm& term) {
  text = trimmed(text);
  std::size_t end = 0;
  while (end < text.size() && is_kind_char(text[end])) ++end;
  if (end == 0) return "a term without an event kind";
  term.kind = std::string(text.substr(0, end));
  std::string_view rest = trimmed(text.substr(end));
  if (rest.empty()) return std::nullopt;
  for (const Comparison& comparison : kComparisons) {
    if (rest.substr(0, comparison.text.size()) != comparison.text) continue;
    const std::string_view number = trimmed(rest.substr(comparison.text.size()));
    const auto read = std::from_chars(number.data(), number.data() + number.size(), term.number);
    if (number.empty() || read.ec != std::errc{} || read.ptr != number.data() + number.size() ||
        !std::isfinite(term.number)) {
      return quoted(number) + " is not a number";
    }
    term.op = comparison.op;
    return std::nullopt;
  }
  return quoted(rest) + " does not start with <, <=, =, >= or >";
}

}  // namespace

const char* class_name(ExposureClass exposure_class) {
  switch (exposure_class) {
    case ExposureClass::kNonConsumption:
      return "non_consumption";
    case ExposureClass::kPositive:
      return "positive";
    case ExposureClass::kAversion:
      return "aversion";
    case ExposureClass::kDisinterest:
      return "disinterest";
    case ExposureClass::kAmbiguous:
      return "ambiguous";
  }
  return "unknown";
}

std::uint32_t read_classes(Section& section, std::initializer_list<ExposureClass> allowed) {
  std::uint32_t classes = 0;
  std::vector<std::string> known;
  for (const ExposureClass c : allowed) known.emplace_back(class_name(c));
  for (const auto& [word, at] : section.texts("classes", Need::kRequired)) {
    const auto found = std::find(known.begin(), known.end(), word);
    if (found == known.end()) {
      section.reader().problems.add(at, "class " + quoted(word) + " in " + section.what() +
                                            "; allowed: " + joined(known) +
                                            did_you_mean(word, known));
      continue;
    }
    classes |= 1u << static_cast<unsigned>(allowed.begin()[found - known.begin()]);
  }
  return classes;
}

ExposureRules read_exposure_rules(Reader& reader, const Node& node) {
  constexpr ExposureClass kDeclarable[] = {ExposureClass::kPositive, ExposureClass::kAversion,
                                           ExposureClass::kDisinterest, ExposureClass::kAmbiguous};
  ExposureRules out;
  Section section(reader, node, "[exposure]");
  for (const ExposureClass c : kDeclarable) section.find(class_name(c));
  out.window = section.duration("window");
  section.finish();
  // Members stand in the order of the text: the first rule that matches wins.
  for (const Member& member : node.members) {
    const auto declared =
        std::find_if(std::begin(kDeclarable), std::end(kDeclarable),
                     [&](ExposureClass c) { return member.key == class_name(c); });
    if (declared == std::end(kDeclarable)) continue;
    for (const auto& [text, at] : section.texts(member.key)) {
      ExposureRule rule{*declared, {}};
      std::string_view rest = text;
      while (true) {
        const std::size_t cut = rest.find('&');
        ExposureTerm term;
        if (const auto wrong = read_term(rest.substr(0, cut), term)) {
          reader.problems.add(at, "rule " + quoted(text) + " of " + member.key + ": " + *wrong +
                                      "; try \"like\", \"rating>=4\" or \"click & dwell>=30\"");
        }
        rule.terms.push_back(std::move(term));
        if (cut == std::string_view::npos) break;
        rest.remove_prefix(cut + 1);
      }
      out.rules.push_back(std::move(rule));
    }
  }
  return out;
}

}  // namespace quarry::recipe_text

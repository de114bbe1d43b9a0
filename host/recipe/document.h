// A recipe's text as a tree that keeps declaration order and source places; hides the TOML library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quarry::recipe_text {

/// Where something was written: a line and column of the file, or the n-th override (n >= 1).
struct Place {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  std::uint32_t override_number = 0;
};

struct Member;

/// A value. Tables keep their members in the order of the text.
struct Node {
  enum class Kind : std::uint8_t { kTable, kArray, kString, kInteger, kFloat, kBoolean, kDate };
  Kind kind = Kind::kTable;
  Place at;
  std::string text;             ///< kString; kDate as written
  std::int64_t integer = 0;     ///< kInteger
  double number = 0.0;          ///< kFloat, kInteger
  bool boolean = false;         ///< kBoolean
  std::vector<Member> members;  ///< kTable
  std::vector<Node> elements;   ///< kArray

  const Node* find(std::string_view key) const;
  Node* find(std::string_view key);
};

struct Member {
  std::string key;
  Place at;
  Node value;
};

/// What the TOML parser had to say, and where.
struct SyntaxError {
  Place at;
  std::string text;
  bool too_deep = false;  ///< it may be TOML, but is not parsed
};

/// Parses TOML. Throws SyntaxError.
Node parse_document(std::string_view toml);

/// A value as on a command line: TOML if it is one (`4`, `[1, 2]`, `"ip"`, `{kind = "all"}`), else
/// the text itself. Every place in it is `at`.
Node parse_value(std::string_view text, Place at);

/// TOML text that parse_document turns into the same tree, places apart.
std::string write_document(const Node& root);

/// A value as TOML on one line; tables inline.
std::string write_value(const Node& node);

/// A value for messages: short, printable, strings in quotes.
std::string describe(const Node& node);
/// Text in quotes with unprintable bytes escaped, cut after 60 bytes.
std::string quoted(std::string_view text);
/// A number without trailing zeros.
std::string number_text(double value);

}  // namespace quarry::recipe_text

// Recipe text to tree and back; the only file that sees the TOML library.
#include "host/recipe/document.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <stdexcept>
#include <tuple>

#include "host/recipe/toml_depth.h"

namespace {
/// What the TOML library takes for a defect of its own and some malformed texts reach, e.g. `a =
/// [}`.
struct ParserAssertion : std::logic_error {
  using std::logic_error::logic_error;
};
[[noreturn]] void parser_assertion(const char* expression) { throw ParserAssertion(expression); }
}  // namespace

// The library's assertions end the process or, with NDEBUG, vanish; here they must refuse the text
// in every build. Its code differs by that, so it gets a namespace of its own: the linker must not
// mix it with other copies.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_HEADER_ONLY 1
#define TOML_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : parser_assertion(#expression))
#define toml quarry_recipe_toml
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace quarry::recipe_text {
namespace {

Place place_of(const toml::source_region& region) {
  return {static_cast<std::uint32_t>(region.begin.line),
          static_cast<std::uint32_t>(region.begin.column), 0};
}

bool comes_before(const Place& a, const Place& b) {
  return std::tie(a.line, a.column) < std::tie(b.line, b.column);
}

Node convert(const toml::node& from) {
  Node node;
  node.at = place_of(from.source());
  if (const toml::table* table = from.as_table()) {
    node.kind = Node::Kind::kTable;
    for (const auto& [key, value] : *table) {
      Member member{std::string(key.str()), place_of(key.source()), convert(value)};
      if (member.value.at.line == 0) member.value.at = member.at;  // tables made by dotted keys
      node.members.push_back(std::move(member));
    }
    // The library sorts by key; what was declared first decides, so the order is taken from the
    // text.
    std::stable_sort(node.members.begin(), node.members.end(),
                     [](const Member& a, const Member& b) { return comes_before(a.at, b.at); });
  } else if (const toml::array* array = from.as_array()) {
    node.kind = Node::Kind::kArray;
    for (const toml::node& element : *array) node.elements.push_back(convert(element));
    if (node.at.line == 0 && !node.elements.empty()) node.at = node.elements.front().at;
  } else if (const auto* text = from.as_string()) {
    node.kind = Node::Kind::kString;
    node.text = text->get();
  } else if (const auto* integer = from.as_integer()) {
    node.kind = Node::Kind::kInteger;
    node.integer = integer->get();
    node.number = static_cast<double>(node.integer);
  } else if (const auto* number = from.as_floating_point()) {
    node.kind = Node::Kind::kFloat;
    node.number = number->get();
  } else if (const auto* boolean = from.as_boolean()) {
    node.kind = Node::Kind::kBoolean;
    node.boolean = boolean->get();
  } else {
    node.kind = Node::Kind::kDate;
    std::ostringstream text_out;
    from.visit([&text_out](const auto& value) {
      if constexpr (toml::is_date<decltype(value)> || toml::is_time<decltype(value)> ||
                    toml::is_date_time<decltype(value)>) {
        text_out << value.get();
      }
    });
    node.text = text_out.str();
  }
  return node;
}

void set_places(Node& node, Place at) {
  node.at = at;
  for (Node& element : node.elements) set_places(element, at);
  for (Member& member : node.members) {
    member.at = at;
    set_places(member.value, at);
  }
}

std::string written_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04X", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string written_key(std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  return bare ? std::string(key) : written_string(key);
}

std::string written_value(const Node& node) {
  std::string out;
  switch (node.kind) {
    case Node::Kind::kString:
      return written_string(node.text);
    case Node::Kind::kInteger:
      return std::to_string(node.integer);
    case Node::Kind::kBoolean:
      return node.boolean ? "true" : "false";
    case Node::Kind::kDate:
      return node.text;
    case Node::Kind::kFloat: {
      out = number_text(node.number);
      if (std::isfinite(node.number) && out.find_first_of(".e") == std::string::npos) out += ".0";
      return out;
    }
    case Node::Kind::kArray:
      for (const Node& element : node.elements) {
        out += (out.empty() ? "" : ", ") + written_value(element);
      }
      return "[" + out + "]";
    case Node::Kind::kTable:
      for (const Member& member : node.members) {
        out += (out.empty() ? "" : ", ") + written_key(member.key) + " = " +
               written_value(member.value);
      }
      return out.empty() ? "{}" : "{ " + out + " }";
  }
  return out;
}

bool is_array_of_tables(const Node& node) {
  return node.kind == Node::Kind::kArray && !node.elements.empty() &&
         std::all_of(node.elements.begin(), node.elements.end(),
                     [](const Node& e) { return e.kind == Node::Kind::kTable; });
}

void write_members(const Node& table, std::string& out) {
  for (const Member& member : table.members) {
    out += written_key(member.key) + " = " + written_value(member.value) + "\n";
  }
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  for (const Member& member : members) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

Node* Node::find(std::string_view key) {
  return const_cast<Node*>(static_cast<const Node*>(this)->find(key));
}

Node parse_document(std::string_view toml) {
  if (const auto place = find_too_deep(toml)) {
    throw SyntaxError{{place->line, place->column, 0},
                      "tables, lists and dotted keys are nested here more than " +
                          std::to_string(kDeepestLevel) +
                          " levels deep; no recipe or config needs that many",
                      true};
  }
  try {
    const toml::table root = toml::parse(toml);
    Node node = convert(root);
    if (node.at.line == 0) node.at = {1, 1, 0};
    return node;
  } catch (const toml::parse_error& error) {
    throw SyntaxError{place_of(error.source()), std::string(error.description())};
  } catch (const ParserAssertion&) {
    throw SyntaxError{{1, 1, 0}, "a bracket or brace does not fit; check lists and tables"};
  }
}

Node parse_value(std::string_view text, Place at) {
  Node node;
  bool parsed = false;
  if (text.find('\n') == std::string_view::npos) {
    try {
      const Node root = parse_document("value = " + std::string(text));
      if (root.members.size() == 1 && root.members[0].key == "value") {
        node = root.members[0].value;
        parsed = true;
      }
    } catch (const SyntaxError&) {
      parsed = false;
    }
  }
  if (!parsed) {
    node = Node{};
    node.kind = Node::Kind::kString;
    node.text = std::string(text);
  }
  set_places(node, at);
  return node;
}

std::string write_value(const Node& node) { return written_value(node); }

std::string write_document(const Node& root) {
  std::string out;
  for (const Member& member : root.members) {
    if (member.value.kind == Node::Kind::kTable || is_array_of_tables(member.value)) continue;
    out += written_key(member.key) + " = " + written_value(member.value) + "\n";
  }
  for (const Member& member : root.members) {
    if (member.value.kind == Node::Kind::kTable) {
      out += "\n[" + written_key(member.key) + "]\n";
      write_members(member.value, out);
    } else if (is_array_of_tables(member.value)) {
      for (const Node& element : member.value.elements) {
        out += "\n[[" + written_key(member.key) + "]]\n";
        write_members(element, out);
      }
    }
  }
  return out;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const bool plain = value == std::floor(value) && std::fabs(value) < 1e15;
  const auto end =
      plain ? std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed)
            : std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, end.ptr};
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string out = "\"";
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02X", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + (text.size() > kLongest ? "…\"" : "\"");
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kTable:
      return "a table";
    case Node::Kind::kArray:
      return "a list of " + std::to_string(node.elements.size());
    case Node::Kind::kString:
      return quoted(node.text);
    case Node::Kind::kInteger:
      return std::to_string(node.integer);
    case Node::Kind::kFloat:
      return number_text(node.number);
    case Node::Kind::kBoolean:
      return node.boolean ? "true" : "false";
    case Node::Kind::kDate:
      return "the date " + node.text;
  }
  return "a value";
}

}  // namespace quarry::recipe_text

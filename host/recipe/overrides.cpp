// "dotted.key=value" texts of the command line, applied to a recipe's tree.
#include <algorithm>

#include "host/recipe/parts.h"

namespace quarry::recipe_text {
namespace {

/// Parts of a dotted path; a part may stand in double quotes. Empty if it is malformed.
std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  std::string part;
  bool quoted_part = false;
  bool was_quoted = false;
  for (const char c : path) {
    if (c == '"') {
      quoted_part = !quoted_part;
      was_quoted = true;
    } else if (c == '.' && !quoted_part) {
      if (part.empty() && !was_quoted) return {};
      parts.push_back(std::move(part));
      part.clear();
      was_quoted = false;
    } else {
      part += c;
    }
  }
  if (quoted_part || (part.empty() && !was_quoted)) return {};
  parts.push_back(std::move(part));
  return parts;
}

/// Element of a list by name, by kind, or by number from 0.
Node* find_element(Node& list, const std::string& part, std::string& wrong) {
  Node* found = nullptr;
  std::size_t matches = 0;
  std::vector<std::string> known;
  for (Node& element : list.elements) {
    std::string label = element.kind == Node::Kind::kString ? element.text : "";
    for (const char* key : {"name", "kind"}) {
      const Node* value = element.find(key);
      if (value != nullptr && value->kind == Node::Kind::kString) {
        label = value->text;
        break;
      }
    }
    known.push_back(label);
    if (label == part) {
      found = &element;
      ++matches;
    }
  }
  if (matches == 1) return found;
  if (matches > 1) {
    wrong = quoted(part) + " stands " + std::to_string(matches) +
            " times in the list; use its place, 0 to " + std::to_string(list.elements.size() - 1);
    return nullptr;
  }
  const bool digits =
      !part.empty() && part.size() < 6 &&
      std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits && std::stoul(part) < list.elements.size()) return &list.elements[std::stoul(part)];
  wrong =
      "the list has no " + quoted(part) + "; it has: " + joined(known) + did_you_mean(part, known);
  return nullptr;
}

}  // namespace

void apply_override(Node& root, const std::string& text, std::uint32_t number, Problems& problems) {
  const Place at{0, 0, number};
  const std::size_t equals = text.find('=');
  const auto path = equals == std::string::npos
                        ? std::vector<std::string>{}
                        : split_path(trimmed(std::string_view(text).substr(0, equals)));
  if (path.empty()) {
    problems.add(at, "expected dotted.key=value; try k=4 or branch.hard.source.pool=100");
    return;
  }
  const Node value = parse_value(trimmed(std::string_view(text).substr(equals + 1)), at);
  Node* node = &root;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const bool last = i + 1 == path.size();
    Node* next = nullptr;
    if (node->kind == Node::Kind::kTable) {
      next = node->find(path[i]);
      if (next == nullptr) {
        node->members.push_back({path[i], at, Node{}});
        next = &node->members.back().value;
        next->at = at;
      }
    } else if (node->kind == Node::Kind::kArray) {
      std::string wrong;
      next = find_element(*node, path[i], wrong);
      if (next == nullptr) {
        problems.add(at, wrong);
        return;
      }
    } else {
      problems.add(at, quoted(path[i - 1]) + " is " + describe(*node) + ", which has no " +
                           quoted(path[i]) + "; set the whole of it instead");
      return;
    }
    if (last) *next = value;
    node = next;
  }
}

}  // namespace quarry::recipe_text

// Typed fields of recipe tables, schedules and the collection of problems.
#include "host/recipe/section.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <tuple>

#include "kernels/core/errors.h"

namespace quarry::recipe_text {
namespace {

/// Edits between two words; swapping neighbours counts as one.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] =
          std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

bool is_number(const Node& node) {
  return node.kind == Node::Kind::kInteger || node.kind == Node::Kind::kFloat;
}

}  // namespace

void Problems::add(Place at, std::string text) { found_.emplace_back(at, std::move(text)); }

std::string Problems::where(Place at) const {
  if (at.override_number > 0) {
    return "override " + quoted(overrides_.at(at.override_number - 1));
  }
  return file_ + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

void Problems::raise() const {
  if (found_.empty()) return;
  auto sorted = found_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first.override_number, a.first.line, a.first.column) <
           std::tie(b.first.override_number, b.first.line, b.first.column);
  });
  std::string text;
  for (const auto& [at, problem] : sorted) {
    text += (text.empty() ? "" : "\n") + where(at) + ": " + problem;
  }
  throw ConfigError(text);
}

std::string Range::text() const {
  const bool above = hi >= 1e30;
  if (above && lo <= -1e30) return "any finite number";
  if (above) return (open_lo ? "more than " : "at least ") + number_text(lo);
  if (!open_lo && !open_hi) return number_text(lo) + " to " + number_text(hi);
  return std::string(open_lo ? "more than " : "from ") + number_text(lo) +
         (open_hi ? " and less than " : " up to ") + number_text(hi);
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 64)
    return "";  // no near miss, and the distance costs the product of the lengths
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const bool begins = word.size() >= 3 && candidate.compare(0, word.size(), word) == 0;
    const std::size_t distance = begins ? 1 : edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = &candidate;
    }
  }
  return best == nullptr ? "" : "; did you mean \"" + *best + "\"?";
}

std::optional<double> Reader::scheduled(const Node& node, const std::string& what,
                                        const Range& range) {
  scheduled_any = true;
  Section section(*this, node, "the schedule of " + what);
  const std::size_t before = problems.size();
  const Node* points = section.find("schedule", Need::kRequired);
  const bool step =
      section.choice<bool>("kind", {{"linear", false}, {"step", true}}).value_or(false);
  section.finish();
  if (points == nullptr) return std::nullopt;
  if (points->kind != Node::Kind::kArray || points->elements.empty()) {
    problems.add(points->at, "the schedule of " + what + " is " + describe(*points) +
                                 "; expected a list of [round, value]; try [[0, 1], [10, 5]]");
    return std::nullopt;
  }
  std::vector<std::pair<double, double>> curve;
  for (const Node& point : points->elements) {
    if (point.kind != Node::Kind::kArray || point.elements.size() != 2 ||
        point.elements[0].kind != Node::Kind::kInteger || !is_number(point.elements[1])) {
      problems.add(point.at, "a point in the schedule of " + what + " is " + describe(point) +
                                 "; expected [round, value] with an integer round and a number; "
                                 "try [[0, 1], [10, 5]]");
      continue;
    }
    const double at = point.elements[0].number;
    const double value = point.elements[1].number;
    if (at < 0 || at > 4294967295.0) {
      problems.add(point.elements[0].at, "round " + describe(point.elements[0]) +
                                             " in the schedule of " + what +
                                             "; allowed 0 to 4294967295");
    } else if (!curve.empty() && at <= curve.back().first) {
      problems.add(point.elements[0].at, "round " + describe(point.elements[0]) +
                                             " in the schedule of " + what + " does not follow " +
                                             number_text(curve.back().first) +
                                             "; rounds must ascend; sort the points");
    } else if (!std::isfinite(value) || !range.holds(value)) {
      problems.add(point.elements[1].at, what + " is " + describe(point.elements[1]) +
                                             " at round " + number_text(at) + "; allowed " +
                                             range.text());
    } else {
      curve.emplace_back(at, value);
    }
  }
  if (problems.size() != before || curve.empty()) return std::nullopt;
  if (round <= curve.front().first) return curve.front().second;
  std::size_t last = 0;
  while (last + 1 < curve.size() && curve[last + 1].first <= round) ++last;
  if (step || last + 1 == curve.size()) return curve[last].second;
  const auto [r0, v0] = curve[last];
  const auto [r1, v1] = curve[last + 1];
  return v0 + (v1 - v0) * (round - r0) / (r1 - r0);
}

std::optional<double> Reader::number(const Node& node, const std::string& what,
                                     const Range& range) {
  if (node.kind == Node::Kind::kTable) return scheduled(node, what, range);
  if (!is_number(node)) {
    problems.add(node.at,
                 what + " is " + describe(node) + "; expected a number, " + range.text() +
                     (node.kind == Node::Kind::kString ? "; write it without quotes" : ""));
    return std::nullopt;
  }
  if (!std::isfinite(node.number) || !range.holds(node.number)) {
    problems.add(node.at, what + " is " + describe(node) + "; allowed " + range.text());
    return std::nullopt;
  }
  return node.number;
}

std::optional<std::int64_t> Reader::integer(const Node& node, const std::string& what,
                                            std::int64_t lo, std::int64_t hi) {
  const Range range{static_cast<double>(lo), static_cast<double>(hi)};
  if (node.kind != Node::Kind::kTable && node.kind != Node::Kind::kInteger) {
    problems.add(node.at,
                 what + " is " + describe(node) + "; expected an integer, " + range.text() +
                     (node.kind == Node::Kind::kString ? "; write it without quotes" : ""));
    return std::nullopt;
  }
  const auto value = number(node, what, range);
  if (!value) return std::nullopt;
  return node.kind == Node::Kind::kInteger ? node.integer : std::llround(*value);
}

std::optional<std::string> Reader::text(const Node& node, const std::string& what) {
  if (node.kind != Node::Kind::kString || node.text.empty()) {
    problems.add(node.at, what + " is " + describe(node) + "; expected a text that is not empty");
    return std::nullopt;
  }
  return node.text;
}

std::optional<std::int64_t> Reader::duration(const Node& node, const std::string& what) {
  constexpr std::int64_t kLongest = 100ll * 366 * 86400;
  if (node.kind == Node::Kind::kInteger || node.kind == Node::Kind::kTable) {
    return integer(node, what, 1, kLongest);
  }
  std::int64_t count = 0;
  std::int64_t unit = 0;
  if (node.kind == Node::Kind::kString) {
    const char* end = node.text.data() + node.text.size();
    const auto read = std::from_chars(node.text.data(), end, count);
    const std::string_view rest(read.ptr, static_cast<std::size_t>(end - read.ptr));
    if (read.ec == std::errc{}) {
      if (rest == "s") unit = 1;
      if (rest == "m") unit = 60;
      if (rest == "h") unit = 3600;
      if (rest == "d") unit = 86400;
      if (rest == "w") unit = 7 * 86400;
    }
  }
  if (unit == 0 || count < 1 || count > kLongest / unit) {
    problems.add(node.at, what + " is " + describe(node) +
                              "; expected a time span of more than zero and at most 100 years: "
                              "seconds, or a count with s, m, h, d or w; try \"30d\"");
    return std::nullopt;
  }
  return count * unit;
}

Section::Section(Reader& reader, const Node& node, std::string what)
    : reader_(reader), node_(&node), what_(std::move(what)) {
  if (node.kind != Node::Kind::kTable) {
    is_table_ = false;
    reader_.problems.add(node.at, what_ + " is " + describe(node) + "; expected a table");
  }
}

std::string Section::name(std::string_view key) const {
  return what_.empty() ? std::string(key) : std::string(key) + " of " + what_;
}

const Node* Section::find(std::string_view key, Need need) {
  known_.emplace_back(key);
  const Node* node = node_->find(key);
  if (node == nullptr && need == Need::kRequired && is_table_) {
    reader_.problems.add(node_->at, (what_.empty() ? "the recipe" : what_) + " has no " +
                                        std::string(key) + "; it is required");
  }
  return node;
}

std::optional<double> Section::number(std::string_view key, const Range& range, Need need) {
  const Node* node = find(key, need);
  return node == nullptr ? std::nullopt : reader_.number(*node, name(key), range);
}

std::optional<std::int64_t> Section::integer(std::string_view key, std::int64_t lo, std::int64_t hi,
                                             Need need) {
  const Node* node = find(key, need);
  return node == nullptr ? std::nullopt : reader_.integer(*node, name(key), lo, hi);
}

std::optional<std::string> Section::text(std::string_view key, Need need) {
  const Node* node = find(key, need);
  return node == nullptr ? std::nullopt : reader_.text(*node, name(key));
}

std::optional<bool> Section::boolean(std::string_view key) {
  const Node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (node->kind != Node::Kind::kBoolean) {
    reader_.problems.add(node->at,
                         name(key) + " is " + describe(*node) + "; expected true or false");
    return std::nullopt;
  }
  return node->boolean;
}

std::optional<std::int64_t> Section::duration(std::string_view key) {
  const Node* node = find(key);
  return node == nullptr ? std::nullopt : reader_.duration(*node, name(key));
}

std::vector<std::pair<std::string, Place>> Section::texts(std::string_view key, Need need) {
  std::vector<std::pair<std::string, Place>> out;
  const Node* node = find(key, need);
  if (node == nullptr) return out;
  if (node->kind != Node::Kind::kArray || (need == Need::kRequired && node->elements.empty())) {
    reader_.problems.add(node->at, name(key) + " is " + describe(*node) +
                                       "; expected a list of texts; try " + std::string(key) +
                                       " = [\"…\"]");
    return out;
  }
  for (const Node& element : node->elements) {
    const auto word = reader_.text(element, "an entry in " + name(key));
    if (!word) continue;
    if (std::any_of(out.begin(), out.end(),
                    [&](const auto& seen) { return seen.first == *word; })) {
      reader_.problems.add(element.at,
                           quoted(*word) + " stands twice in " + name(key) + "; remove one");
      continue;
    }
    out.emplace_back(*word, element.at);
  }
  return out;
}

void Section::bad_word(const Node& node, std::string_view key,
                       const std::vector<std::string>& known) {
  const std::string hint = node.kind == Node::Kind::kString ? did_you_mean(node.text, known) : "";
  reader_.problems.add(node.at,
                       name(key) + " is " + describe(node) + "; allowed: " + joined(known) + hint);
}

void Section::finish() {
  for (const Member& member : node_->members) {
    if (std::find(known_.begin(), known_.end(), member.key) != known_.end()) continue;
    reader_.problems.add(
        member.at, "unknown key " + quoted(member.key) + " in " +
                       (what_.empty() ? "the recipe" : what_) +
                       (known_.empty() ? "; it takes no keys" : "; allowed: " + joined(known_)) +
                       did_you_mean(member.key, known_));
  }
}

std::optional<Node> with_kind(Reader& reader, const Node& node, const std::string& what) {
  if (node.kind == Node::Kind::kTable) return node;
  if (node.kind != Node::Kind::kString) {
    reader.problems.add(node.at, what + " is " + describe(node) +
                                     "; expected a kind in quotes or a table { kind = \"…\" }");
    return std::nullopt;
  }
  Node table;
  table.at = node.at;
  table.members.push_back({"kind", node.at, node});
  return table;
}

}  // namespace quarry::recipe_text

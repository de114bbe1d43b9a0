// Reading one table of a recipe: typed fields, ranges, schedules, unknown keys; problems are
// collected, not thrown.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/recipe/document.h"

namespace quarry::recipe_text {

/// All that is wrong with a recipe.
class Problems {
 public:
  Problems(std::string file, std::vector<std::string> overrides)
      : file_(std::move(file)), overrides_(std::move(overrides)) {}
  /// Text grammar: what, with the value; what is allowed; what to try.
  void add(Place at, std::string text);
  bool empty() const { return found_.empty(); }
  std::size_t size() const { return found_.size(); }
  /// Throws one ConfigError with a line per problem, in the order of the text. Does nothing if
  /// there is none.
  void raise() const;
  /// "file:line:column" or the override.
  std::string where(Place at) const;

 private:
  std::string file_;
  std::vector<std::string> overrides_;
  std::vector<std::pair<Place, std::string>> found_;
};

/// Numbers that a field takes.
struct Range {
  double lo = 0.0;
  double hi = 0.0;
  bool open_lo = false;
  bool open_hi = false;
  bool holds(double value) const {
    return (open_lo ? value > lo : value >= lo) && (open_hi ? value < hi : value <= hi);
  }
  std::string text() const;
};
inline constexpr Range kAnyNumber{-1e30, 1e30};
inline constexpr Range kNotNegative{0.0, 1e30};
inline constexpr Range kPositiveNumber{0.0, 1e30, true};
/// What the kernels divide by: not 0 as a 32-bit float either.
inline constexpr Range kDivisor{1e-37, 1e30};

enum class Need : std::uint8_t { kOptional, kRequired };

/// What every reader of a recipe shares.
struct Reader {
  Problems& problems;
  std::uint32_t round = 0;
  std::vector<std::string> warnings;
  bool scheduled_any = false;  ///< some number was read from a schedule

  /// A number, or the value of a schedule at `round`; every point of a schedule must be in range.
  std::optional<double> number(const Node& node, const std::string& what, const Range& range);
  /// An integer; scheduled values are rounded to the nearest.
  std::optional<std::int64_t> integer(const Node& node, const std::string& what, std::int64_t lo,
                                      std::int64_t hi);
  std::optional<std::string> text(const Node& node, const std::string& what);
  /// Seconds: "90d", "12h", "30m", "45s", "2w", or an integer (or schedule) of seconds; more than
  /// zero.
  std::optional<std::int64_t> duration(const Node& node, const std::string& what);

 private:
  std::optional<double> scheduled(const Node& node, const std::string& what, const Range& range);
};

/// "; did you mean X?" for a near miss, else "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);
/// Without spaces and tabs at both ends.
std::string_view trimmed(std::string_view text);
/// "a, b, c"
std::string joined(const std::vector<std::string>& words);

/// One table. Every key asked for counts as known; finish() reports the others.
class Section {
 public:
  /// `what` names the table in messages. A node that is no table is reported and reads as an empty
  /// one.
  Section(Reader& reader, const Node& node, std::string what);

  const Node* find(std::string_view key, Need need = Need::kOptional);
  std::optional<double> number(std::string_view key, const Range& range,
                               Need need = Need::kOptional);
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t lo, std::int64_t hi,
                                      Need need = Need::kOptional);
  std::optional<std::string> text(std::string_view key, Need need = Need::kOptional);
  std::optional<bool> boolean(std::string_view key);
  std::optional<std::int64_t> duration(std::string_view key);
  /// A list of distinct texts with their places, none empty; a required list has at least one.
  std::vector<std::pair<std::string, Place>> texts(std::string_view key,
                                                   Need need = Need::kOptional);
  /// One of a few words.
  template <typename T>
  std::optional<T> choice(std::string_view key,
                          std::initializer_list<std::pair<std::string_view, T>> words,
                          Need need = Need::kOptional) {
    const Node* node = find(key, need);
    if (node == nullptr) return std::nullopt;
    for (const auto& [word, value] : words) {
      if (node->kind == Node::Kind::kString && node->text == word) return value;
    }
    std::vector<std::string> known;
    for (const auto& [word, value] : words) known.emplace_back(word);
    bad_word(*node, key, known);
    return std::nullopt;
  }
  void finish();

  const std::string& what() const { return what_; }
  Place at() const { return node_->at; }
  const Node& node() const { return *node_; }
  Reader& reader() { return reader_; }
  /// Name of a field in messages.
  std::string name(std::string_view key) const;

 private:
  void bad_word(const Node& node, std::string_view key, const std::vector<std::string>& known);

  Reader& reader_;
  const Node* node_;
  std::string what_;
  std::vector<std::string> known_;
  bool is_table_ = true;
};

/// A thing with a kind: `"top"` stands for `{ kind = "top" }`. Nothing (and a problem) if it is
/// neither.
std::optional<Node> with_kind(Reader& reader, const Node& node, const std::string& what);

}  // namespace quarry::recipe_text

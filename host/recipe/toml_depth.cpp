// Levels of a TOML text by brackets, braces and dots, without recursion.
#include "host/recipe/toml_depth.h"

#include <algorithm>
#include <vector>

namespace quarry::recipe_text {
namespace {

class DepthScan {
 public:
  explicit DepthScan(std::string_view text) : text_(text) {}

  std::optional<TextPlace> run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        skip_string(c);
        line_is_blank_ = false;
        continue;
      }
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
        continue;
      }
      take(c);
      if (level() > kDeepestLevel) {
        return TextPlace{line_, static_cast<std::uint32_t>(at_ - line_begin_ + 1)};
      }
      ++at_;
    }
    return std::nullopt;
  }

 private:
  std::size_t level() const { return base_ + dots_; }

  void take(char c) {
    switch (c) {
      case '\n':
        start_line();
        return;
      case ' ':
      case '\t':
      case '\r':
        return;
      case '.':
        ++dots_;
        break;
      case '=':  // what follows lies as deep as the key leads
        base_ += dots_;
        dots_ = 0;
        break;
      case ',':
        base_ = open_.empty() ? base_ : open_.back().inside;
        dots_ = 0;
        break;
      case '[':
      case '{':
        open(c);
        break;
      case ']':
      case '}':
        close();
        break;
      default:
        break;
    }
    line_is_blank_ = false;
  }

  void open(char c) {
    // A bracket that begins a line outside of any value is a header: its keys are counted from the
    // root, and what follows lies in the table that it names.
    if (open_.empty() && line_is_blank_ && c == '[') {
      header_ = 0;
      base_ = 0;
      is_header_ = true;
    }
    open_.push_back({base_ + dots_, base_ + dots_ + 1});
    base_ = open_.back().inside;
    dots_ = 0;
  }

  void close() {
    if (open_.empty()) return;
    if (is_header_) header_ = std::max(header_, level());
    base_ = open_.back().outside;
    dots_ = 0;
    open_.pop_back();
  }

  void start_line() {
    ++line_;
    line_begin_ = at_ + 1;
    line_is_blank_ = true;
    dots_ = 0;
    is_header_ = false;
    base_ = open_.empty() ? header_ : open_.back().inside;
  }

  /// One- and three-quote strings; backslashes escape only in double quotes.
  void skip_string(char quote) {
    const bool three = text_.substr(at_, 3) == std::string_view(quote == '"' ? "\"\"\"" : "'''");
    at_ += three ? 3 : 1;
    while (at_ < text_.size()) {
      if (text_[at_] == '\n') {
        if (!three) return;  // not closed: the parser will say so
        ++line_;
        line_begin_ = at_ + 1;
      } else if (text_[at_] == '\\' && quote == '"') {
        ++at_;
        if (at_ < text_.size() && text_[at_] == '\n') continue;
      } else if (text_[at_] == quote &&
                 (!three || text_.substr(at_, 3).find_first_not_of(quote) == text_.npos)) {
        at_ += three ? 3 : 1;
        return;
      }
      ++at_;
    }
  }

  struct Level {
    std::size_t outside = 0, inside = 0;
  };
  std::string_view text_;
  std::size_t at_ = 0, line_begin_ = 0;
  std::uint32_t line_ = 1;
  std::size_t base_ = 0;    ///< levels above the key or value that is being read
  std::size_t dots_ = 0;    ///< of the key that is being read
  std::size_t header_ = 0;  ///< levels of the last [header]
  bool line_is_blank_ = true, is_header_ = false;
  std::vector<Level> open_;
};

}  // namespace

std::optional<TextPlace> find_too_deep(std::string_view toml) { return DepthScan(toml).run(); }

}  // namespace quarry::recipe_text

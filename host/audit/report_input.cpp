// JSON read for reports.
#include "host/audit/report_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/data/message.h"
#include "kernels/core/errors.h"

namespace quarry::report {
namespace {

using Json = nlohmann::json;
using Kind = JsonValue::Kind;

constexpr std::size_t kMostDepth = 32;
constexpr std::size_t kMostValues = std::size_t{4} << 20;

/// Builds the tree without recursion.
class TreeReader : public nlohmann::json_sax<Json> {
 public:
  explicit TreeReader(const std::string& file) : file_(file) {}
  JsonValue take() { return std::move(root_); }

  bool null() override { return add({}) != nullptr; }
  bool boolean(bool value) override {
    JsonValue* to = add(Kind::kBool);
    to->truth = value;
    return true;
  }
  bool number_integer(number_integer_t value) override {
    return add_number(static_cast<double>(value), std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return add_number(static_cast<double>(value), std::to_string(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    return add_number(value, text);
  }
  bool string(string_t& value) override {
    add(Kind::kText)->text = std::move(value);
    return true;
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Kind::kObject); }
  bool start_array(std::size_t) override { return open(Kind::kArray); }
  bool key(string_t& name) override {
    open_.back()->keys.push_back(std::move(name));
    return true;
  }
  bool end_object() override {
    std::vector<std::string_view> keys(open_.back()->keys.begin(), open_.back()->keys.end());
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end())
      throw InputError(
          fmt::format("{}: the key {} stands twice in one object", file_, quarry::shown(*twice)));
    open_.pop_back();
    return true;
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t at, const std::string&, const Json::exception& error) override {
    std::string words = error.what();
    const std::size_t begin = words.find("] ");
    if (begin != std::string::npos) words = words.substr(begin + 2);
    throw InputError(fmt::format(
        "{}: byte {}: is no JSON ({}); NaN and Infinity are none either; write the audit again",
        file_, at, quarry::shown(words)));
  }

 private:
  JsonValue* add(Kind kind) {
    if (++num_values_ > kMostValues)
      throw InputError(fmt::format(
          "{}: holds more than {} values, which nobody reads in a report; make the lists shorter",
          file_, kMostValues));
    JsonValue* to = &root_;
    if (!open_.empty()) to = &open_.back()->items.emplace_back();
    to->kind = kind;
    return to;
  }
  bool add_number(double value, std::string text) {
    JsonValue* to = add(Kind::kNumber);
    to->number = value;
    to->text = std::move(text);
    return true;
  }
  /// The address of an open container is safe: its parent grows only after it is closed.
  bool open(Kind kind) {
    if (open_.size() >= kMostDepth)
      throw InputError(fmt::format("{}: is nested deeper than {}; no audit is", file_, kMostDepth));
    open_.push_back(add(kind));
    return true;
  }

  const std::string& file_;
  JsonValue root_;
  std::vector<JsonValue*> open_;
  std::size_t num_values_ = 0;
};

const char* kind_words(Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "true or false";
    case Kind::kNumber:
      return "a number";
    case Kind::kText:
      return "a text";
    case Kind::kArray:
      return "an array";
    case Kind::kObject:
      return "an object";
  }
  return "?";
}

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  const auto found = std::find(keys.begin(), keys.end(), key);
  return found == keys.end() ? nullptr : &items[static_cast<std::size_t>(found - keys.begin())];
}

JsonValue parse_json(const std::string& text, const std::string& file) {
  TreeReader reader(file);
  Json::sax_parse(text, &reader);
  return reader.take();
}

Place Place::at(std::string_view key) const {
  const JsonValue* found = object().value_->find(key);
  if (found == nullptr) fail(fmt::format("has no key '{}'", key));
  return {*this, *found, key, 0};
}

bool Place::has(std::string_view key) const { return object().value_->find(key) != nullptr; }

Place Place::at(std::size_t index) const { return {*this, value_->items.at(index), {}, index}; }

const std::string& Place::text() const {
  if (kind() != Kind::kText) fail_type("a text");
  return value_->text;
}

const JsonValue& Place::number() const {
  if (kind() != Kind::kNumber) fail_type("a number");
  return *value_;
}

const JsonValue& Place::number_or_null() const {
  if (kind() != Kind::kNumber && !is_null()) fail_type("a number or null");
  return *value_;
}

bool Place::truth() const {
  if (kind() != Kind::kBool) fail_type("true or false");
  return value_->truth;
}

const Place& Place::object() const {
  if (kind() != Kind::kObject) fail_type("an object");
  return *this;
}

const Place& Place::array() const {
  if (kind() != Kind::kArray) fail_type("an array");
  return *this;
}

std::string Place::path() const {
  if (parent_ == nullptr) return "";
  std::string path = parent_->path();
  if (key_.empty()) return path + "[" + std::to_string(index_) + "]";
  if (!path.empty()) path += ".";
  return path + std::string(key_);
}

void Place::fail(const std::string& words) const {
  const std::string where = path();
  throw InputError(*file_ + ": " + (where.empty() ? "" : where + ": ") + words);
}

std::string Place::shown() const {
  switch (kind()) {
    case Kind::kText:
      return quarry::shown(value_->text);
    case Kind::kNumber:
      return value_->text;
    case Kind::kBool:
      return value_->truth ? "true" : "false";
    default:
      return kind_words(kind());
  }
}

void Place::fail_type(const char* wanted) const {
  const bool scalar = kind() != Kind::kArray && kind() != Kind::kObject && !is_null();
  fail(fmt::format("is {}{}; {} is needed there", kind_words(kind()),
                   scalar ? " (" + shown() + ")" : "", wanted));
}

}  // namespace quarry::report

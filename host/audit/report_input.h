// JSON read for reports: every number keeps the text that it has in the file, and what is wrong is
// told by file and key path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quarry::report {

struct JsonValue {
  enum class Kind : std::uint8_t { kNull, kBool, kNumber, kText, kArray, kObject };
  Kind kind = Kind::kNull;
  bool truth = false;
  double number = 0;              ///< finite
  std::string text;               ///< of a text; of a number its digits as the file has them
  std::vector<std::string> keys;  ///< of an object, one for each of `items`
  std::vector<JsonValue> items;

  /// Null where there is none.
  const JsonValue* find(std::string_view key) const;
};

/// Of the whole text. Throws InputError naming `file`: no JSON, a number that no double holds, a
/// key given twice, deeper or more than a report can be.
JsonValue parse_json(const std::string& text, const std::string& file);

/// A value and where it stands, for messages. Lives no longer than its parent.
class Place {
 public:
  Place(const std::string& file, const JsonValue& value) : file_(&file), value_(&value) {}

  const JsonValue& value() const { return *value_; }
  JsonValue::Kind kind() const { return value_->kind; }
  bool is_null() const { return kind() == JsonValue::Kind::kNull; }

  /// Of an object. Throws InputError where the key is missing.
  Place at(std::string_view key) const;
  bool has(std::string_view key) const;
  /// Of an array, at `index` below size().
  Place at(std::size_t index) const;
  std::size_t size() const { return value_->items.size(); }

  // Each throws InputError where the value is of another type.
  const std::string& text() const;
  const JsonValue& number() const;
  const JsonValue& number_or_null() const;
  bool truth() const;
  const Place& object() const;
  const Place& array() const;

  /// "sections[2].tables[0]".
  std::string path() const;
  /// Throws InputError: file, path and these words.
  [[noreturn]] void fail(const std::string& words) const;
  /// The value as a message shows it.
  std::string shown() const;

 private:
  Place(const Place& parent, const JsonValue& value, std::string_view key, std::size_t index)
      : file_(parent.file_), parent_(&parent), value_(&value), key_(key), index_(index) {}
  [[noreturn]] void fail_type(const char* wanted) const;

  const std::string* file_;
  const Place* parent_ = nullptr;
  const JsonValue* value_;
  std::string_view key_;  ///< empty: an element of an array
  std::size_t index_ = 0;
};

}  // namespace quarry::report

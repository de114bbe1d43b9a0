// Some of a run's rows, a bit each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quarry {

class RowMarks {
 public:
  RowMarks() = default;
  /// Of `rows` rows, none of which is marked.
  explicit RowMarks(std::uint64_t rows) : rows_(rows), bits_((rows + 7) / 8) {}

  std::uint64_t rows() const { return rows_; }
  std::uint64_t count() const;  ///< of the marked ones
  void mark(std::uint64_t row) { bits_[row / 8] |= static_cast<std::uint8_t>(1u << row % 8); }
  bool has(std::uint64_t row) const { return (bits_[row / 8] >> row % 8 & 1) != 0; }

  /// Marked rows that follow each other: the first, the end behind the last, and how many.
  struct Span {
    std::uint64_t first = 0, end = 0, count = 0;
  };
  /// All marked rows in spans of about as many, in order: so many spans (0: one), or one a row
  /// where there are fewer.
  std::vector<Span> split(std::uint64_t spans) const;

  /// Bytes of the bits, the first row lowest, as base64; and back. Throws InputError where the text
  /// is not that of so many rows.
  std::string text() const;
  static RowMarks from_text(const std::string& text, std::uint64_t rows);

 private:
  std::uint64_t rows_ = 0;
  std::vector<std::uint8_t> bits_;
};

}  // namespace quarry

// A table file of the program as columns: its own reader finds the fields, and what it would read
// of them is what comes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/data/table.h"

namespace quarry {

/// A batch of rows at a time: `while (table.next()) ... table.texts(0) ...`.
class TextTable {
 public:
  /// Throws as open_table().
  explicit TextTable(const std::string& path) : reader_(open_table(path)) {}

  const std::vector<std::string>& column_names() const { return reader_->column_names(); }
  /// Chooses the columns of the batches, which must be there.
  void select(const std::vector<std::string>& columns) {
    reader_->select(columns);
    columns_ = columns;
  }
  /// False at the end. Throws InputError naming file and line.
  bool next() { return reader_->next(batch_); }
  std::size_t rows() const { return batch_.num_rows; }
  /// Fields of a chosen column, valid until next().
  std::span<const std::string_view> texts(std::size_t slot) const {
    return batch_.columns.at(slot).text;
  }
  /// "path:line" of a row of the batch.
  std::string where(std::size_t row) const { return reader_->where(batch_.first_row + row, ""); }
  /// The same with the column.
  std::string where(std::size_t row, std::size_t slot) const;

 private:
  std::unique_ptr<TableReader> reader_;
  std::vector<std::string> columns_;
  TableBatch batch_;
};

/// What a field says: nothing where it says that there is no value. All throw InputError that
/// begins with `where`.
///
/// A time as parse_time() reads it, in milliseconds since 1970: finer ones are cut.
std::optional<std::int64_t> time_in(std::string_view field, const std::string& where);
/// A number as parse_float() reads it, before it is rounded to fp32; a blank field has none.
std::optional<double> number_in(std::string_view field, const std::string& where);
/// A row key.
std::optional<std::uint64_t> key_in(std::string_view field, const std::string& where);

/// What the program takes as letters, read as something else because somebody asked for it. Spaces
/// and tabs around it are left out.
///
/// A finite number of fp64.
std::optional<double> float_in(std::string_view field, const std::string& where);
/// A whole number of 64 bits; none with zeros in front, which is a code rather than a number.
std::optional<std::int64_t> int_in(std::string_view field, const std::string& where);
/// 1 for true, 0 for false, in capitals or not.
std::optional<std::uint8_t> bool_in(std::string_view field, const std::string& where);
/// Days since 1970 of a date such as 2024-05-01.
std::optional<std::int32_t> date_in(std::string_view field, const std::string& where);
/// Milliseconds since 1970 of an ISO 8601 text of any year of four digits, or as time_in().
std::optional<std::int64_t> instant_in(std::string_view field, const std::string& where);

}  // namespace quarry

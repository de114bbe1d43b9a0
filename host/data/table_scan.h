// A walk over some columns of a table, one row at a time, and what to do with ids that are not
// known. Private to host/data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/data/message.h"
#include "host/data/table.h"
#include "host/data/tables.h"

namespace quarry {

/// Usage: add the columns, then `while (scan.next()) ... scan.field(slot) ...`.
class TableScan {
 public:
  /// A column that the table does not have; its fields are empty.
  static constexpr std::size_t kAbsent = SIZE_MAX;

  explicit TableScan(const std::string& path) : reader_(open_table(path)) {}

  bool has(const std::string& column) const;
  /// Slot of a column that must exist; next() throws InputError if it does not.
  std::size_t add(const std::string& column);
  /// Slot of a column that may be missing, unless it was named by the caller (differs from
  /// `default_name`).
  std::size_t add_optional(const std::string& column, const std::string& default_name);

  bool next();
  /// Where next() goes on; nothing in the middle of a batch.
  std::optional<TableReader::Mark> mark() const;
  /// next() goes on from a mark; the columns stay as they were added.
  void seek(const TableReader::Mark& mark);
  std::string_view field(std::size_t slot) const {
    return slot == kAbsent ? std::string_view() : batch_.columns[slot].text[row_];
  }
  /// 0-based number of the current row in the table.
  std::uint64_t row() const { return batch_.first_row + row_; }
  std::uint64_t line() const { return reader_->line_of(row()); }
  std::uint64_t line_of(std::uint64_t row) const { return reader_->line_of(row); }
  /// "path:line" of the current row.
  std::string where() const { return at_line(reader_->name(), line()); }
  const std::string& name() const { return reader_->name(); }
  const std::vector<std::string>& column_names() const { return reader_->column_names(); }
  /// Rows in a table of `bytes`, guessed from the current batch.
  std::uint64_t expected_rows(std::uint64_t bytes) const;

 private:
  std::unique_ptr<TableReader> reader_;
  std::vector<std::string> columns_;
  TableBatch batch_;
  std::uint64_t row_ = 0;
  bool started_ = false;
};

/// Value of `parse(where)`; the place is made into text only if parsing fails, since that costs
/// more than most parsing.
template <class Parse>
auto parse_at(const TableScan& scan, Parse parse) {
  try {
    return parse(scan.name());
  } catch (const InputError&) {
    return parse(scan.where());
  }
}

/// A time from 1970 on (docs: parse_time in table.h) in the current row.
std::int64_t time_in(const TableScan& scan, std::size_t slot);
/// A finite fp32 number in the current row.
float number_in(const TableScan& scan, std::size_t slot, std::string_view what);

/// Counts ids without an embedding; under kReject `finish` throws, naming the first ten.
class UnknownIdLog {
 public:
  UnknownIdLog(UnknownIds policy, const std::string& path) : policy_(policy), path_(path) {}
  /// Index of the id in the current row's field; nothing, and counted, if it is unknown. An empty
  /// id throws InputError.
  std::optional<std::uint32_t> resolve(const IdMap& ids, std::string_view id, std::string_view what,
                                       const TableScan& scan);
  std::uint64_t count() const { return count_; }
  void finish() const;

 private:
  UnknownIds policy_;
  std::string path_;
  std::uint64_t count_ = 0;
  std::string named_;
};

}  // namespace quarry

// A walk over some columns of a table, one row at a time, and what to do with ids that are not
// known. Private to host/data.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/data/message.h"
#include "host/data/table.h"
#include "host/data/tables.h"

namespace quarry {

/// What a column stands for, so that a message about its absence can name the flag that maps it.
struct ColumnUse {
  std::string column;  ///< its name in the table
  std::string remedy;  ///< "map it with --event-columns user=COLUMN"
};

/// Usage: add the columns, then `while (scan.next()) ... scan.field(slot) ...`. The kind of a
/// column is checked at every access: text and integers serve as ids and words, every kind as a
/// number where its value is one.
class TableScan {
 public:
  /// A column that the table does not have; its fields are empty.
  static constexpr std::size_t kAbsent = SIZE_MAX;

  explicit TableScan(TableReader& reader) : reader_(reader) {}

  bool has(const std::string& column) const;
  /// Slot of a column that must exist; next() throws InputError with the remedy if it does not.
  std::size_t add(const std::string& column, const std::string& remedy);
  /// Slot of a column that may be missing, unless it was named by the caller (differs from
  /// `default_name`).
  std::size_t add_optional(const std::string& column, const std::string& default_name,
                           const std::string& remedy);

  bool next();
  /// Where next() goes on; nothing in the middle of a batch.
  std::optional<TableReader::Mark> mark() const;
  /// next() goes on from a mark; the columns stay as they were added.
  void seek(const TableReader::Mark& mark);
  /// The current row has nothing there: an empty text, an Arrow null, or no such column.
  bool empty(std::size_t slot) const;
  /// The same, or nothing but spaces and tabs: numbers may be padded.
  bool blank(std::size_t slot) const;
  /// Text, or an integer in decimal digits. Throws InputError for floating-point columns: how they
  /// would be written is a guess. Valid until next() or the next field() of the slot.
  std::string_view field(std::size_t slot);
  /// A time from 1970 on (docs: parse_time in table.h).
  std::int64_t time(std::size_t slot) const;
  /// A finite fp32 number.
  float number(std::size_t slot, std::string_view what) const;
  /// An integer in [0, 2^64 - 1].
  std::uint64_t unsigned_integer(std::size_t slot, std::string_view what) const;

  /// 0-based number of the current row in the table.
  std::uint64_t row() const { return batch_.first_row + row_; }
  std::uint64_t line() const { return reader_.line_of(row()); }
  std::uint64_t line_of(std::uint64_t row) const { return reader_.line_of(row); }
  const char* line_word() const { return reader_.line_word(); }
  /// "path:line" of the current row.
  std::string where(std::size_t slot = kAbsent) const;
  const std::string& name() const { return reader_.name(); }
  const std::vector<std::string>& column_names() const { return reader_.column_names(); }
  std::uint64_t expected_rows() const { return reader_.expected_rows(); }

 private:
  using Digits = std::array<char, 24>;

  bool is_valid(const ColumnView& column) const {
    const std::uint64_t bit = column.valid_offset + row_;
    return column.valid == nullptr || (column.valid[bit / 8] >> (bit % 8) & 1) != 0;
  }
  /// Of a text column in the current row.
  std::string_view text_in(const ColumnView& column) const;
  void start();
  void check_columns() const;
  void check_batch() const;
  /// Value of `parse(where)`; the place is made into text only if parsing fails, since that costs
  /// more than most parsing.
  template <class Parse>
  auto at_row(std::size_t slot, Parse parse) const {
    try {
      return parse(name());
    } catch (const InputError&) {
      return parse(where(slot));
    }
  }

  TableReader& reader_;
  std::vector<ColumnUse> columns_;
  std::vector<Digits> digits_;  ///< of integer columns, by slot
  TableBatch batch_;
  std::uint64_t row_ = 0;
  bool started_ = false;
};

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
  const char* line_word_ = "line";
  bool row_numbers_ = false;  ///< some table has no ids of its own
  struct Named {
    std::string what, id;
    std::uint64_t line;
  };
  std::vector<Named> named_;  ///< the first ids, each once, and one more than are named
};

}  // namespace quarry

// Tables as batches of columns. CSV and TSV are read here; a batch from Arrow fits the same
// interface without a copy.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quarry {

/// One column of a batch: text, or numbers already typed by the producer.
struct ColumnView {
  enum class Kind : std::uint8_t { kText, kInt64, kDouble };
  Kind kind = Kind::kText;
  std::span<const std::string_view> text;
  std::span<const std::int64_t> int64;
  std::span<const double> float64;
};

/// Rows [first_row, first_row + num_rows) of a table, valid until the next call of the producer.
struct TableBatch {
  std::uint64_t first_row = 0;  ///< 0-based data row of the table
  std::uint64_t num_rows = 0;
  std::vector<ColumnView> columns;  ///< as asked for, in that order
};

class TableReader {
 public:
  /// A place between two records.
  struct Mark {
    std::uint64_t row = 0, byte = 0, line = 1;
  };

  virtual ~TableReader() = default;
  /// Name for messages, usually the path.
  virtual const std::string& name() const = 0;
  virtual const std::vector<std::string>& column_names() const = 0;
  /// Chooses the columns that batches hold. Throws InputError naming the missing column and those
  /// that exist.
  virtual void select(const std::vector<std::string>& columns) = 0;
  /// False at the end.
  virtual bool next(TableBatch& batch) = 0;
  /// Where the next batch begins.
  virtual Mark mark() const = 0;
  /// Goes on from a place that mark() gave. Lines are known from there on.
  virtual void seek(const Mark& mark) = 0;
  /// Line of the file for a data row, for messages.
  virtual std::uint64_t line_of(std::uint64_t row) const = 0;
};

/// Opens a CSV (.csv) or TSV (.tsv, .inter, .item, .user) file with a header: quoted fields with
/// doubled quotes and line breaks, LF or CRLF, UTF-8 with or without a byte order mark; column
/// names may carry a `:type` suffix, which is cut. One pass, memory of one batch. Throws InputError
/// (no header, ragged row, unclosed quote, NUL byte, empty or repeated column name) and IoError.
std::unique_ptr<TableReader> open_table(const std::string& path);

/// Seconds since 1970 from an integer or an ISO 8601 date or date-time (`2024-05-01`,
/// `2024-05-01T12:30:00Z`, offsets, fractions cut). Throws InputError.
std::int64_t parse_time(std::string_view text, const std::string& where);
/// "180d", "12h", "30m", "45s", "2w" in seconds. Throws ConfigError.
std::int64_t parse_duration(std::string_view text, const std::string& where);

}  // namespace quarry

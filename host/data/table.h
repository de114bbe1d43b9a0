// Tables as batches of columns. CSV and TSV are read here; a batch from Arrow fits the same
// interface without a copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quarry {

/// One column of a batch, not owned: text, or numbers already typed by the producer.
struct ColumnView {
  enum class Kind : std::uint8_t {
    kText,     ///< one view per row
    kOffsets,  ///< Arrow's utf8: row r is chars[offsets[r], offsets[r + 1])
    kInt64,
    kDouble
  };
  Kind kind = Kind::kText;
  std::span<const std::string_view> text;
  std::span<const std::int32_t> offsets;  ///< [rows + 1]
  const char* chars = nullptr;
  std::span<const std::int64_t> int64;
  std::span<const double> float64;
  /// Arrow's validity bitmap: row r has a value if bit (valid_offset + r), lowest first, is set.
  /// None: every row has one. A row without a value reads as an empty field of a text file.
  const std::uint8_t* valid = nullptr;
  std::uint64_t valid_offset = 0;
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
  /// Where the next batch begins; nothing where a table can be walked only once.
  virtual std::optional<Mark> mark() const { return std::nullopt; }
  /// Goes on from a place that mark() gave. Lines are known from there on.
  virtual void seek(const Mark&) {}
  /// Line of the file for a data row, for messages; a producer without lines gives the row number.
  virtual std::uint64_t line_of(std::uint64_t row) const = 0;
  /// What line_of() counts, for messages.
  virtual const char* line_word() const { return "line"; }
  /// Where a row is, for messages: "path:line". A producer may name the column too; "": all of it.
  virtual std::string where(std::uint64_t row, std::string_view column) const;
  /// Where the names of columns are.
  virtual std::string header() const;
  /// Only records that begin at bytes [begin, end) of the file are walked from now on, which is
  /// right where no field before `begin` is quoted; messages do not know their lines. False, and
  /// nothing changes, where a table cannot be walked in parts.
  virtual bool narrow(std::uint64_t /*begin*/, std::uint64_t /*end*/) { return false; }
  /// Bytes of the file; 0 where narrow() is of no use.
  virtual std::uint64_t bytes() const { return 0; }
  /// A field of what was walked is quoted.
  virtual bool has_quotes() const { return false; }
  /// Rows of the whole table, guessed by what was read so far; 0 if there is no guess.
  virtual std::uint64_t expected_rows() const { return 0; }
};

/// Opens a CSV (.csv) or TSV (.tsv, .inter, .item, .user) file with a header: quoted fields with
/// doubled quotes and line breaks, LF or CRLF, UTF-8 with or without a byte order mark; column
/// names may carry a `:type` suffix, which is cut. One pass, memory of one batch. Throws InputError
/// (no header, ragged row, unclosed quote, NUL byte, bytes that are not UTF-8, empty or repeated
/// column name) and IoError.
std::unique_ptr<TableReader> open_table(const std::string& path);

/// Seconds since 1970 that are allowed: up to the end of the year 9999. Throws InputError.
std::int64_t check_time(std::int64_t seconds, const std::string& where);
/// Seconds since 1970 from an integer or an ISO 8601 date or date-time (`2024-05-01`,
/// `2024-05-01T12:30:00Z`, offsets, fractions cut). Throws InputError.
std::int64_t parse_time(std::string_view text, const std::string& where);
/// "180d", "12h", "30m", "45s", "2w" in seconds. Throws ConfigError.
std::int64_t parse_duration(std::string_view text, const std::string& where);

}  // namespace quarry

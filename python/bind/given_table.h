// A table in memory: columns that a caller of Python had, copied, read as files are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/data/table.h"
#include "host/data/tables.h"

namespace quarry {

/// Texts one behind the other.
struct TextList {
  std::string chars;
  std::vector<std::uint64_t> offsets{0};  ///< [texts + 1]
  std::uint64_t size() const { return offsets.size() - 1; }
  std::string_view operator[](std::uint64_t i) const {
    return {chars.data() + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i])};
  }
  /// Throws InputError, which begins with `where` and says the row, for bytes that are not UTF-8,
  /// and for a NUL byte.
  void add(std::string_view text, const std::string& where);
};

/// One column, of one of the kinds; an entry without a value reads as an empty field of a file.
struct GivenColumn {
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  enum class Kind : std::uint8_t {
    kInt64,
    kDouble,
    kText,    ///< a text per row
    kCodes,   ///< places in `text`; kNone: no value
    kRefused  ///< what no reader takes: an error once it is asked for
  };
  std::string name;
  Kind kind = Kind::kText;
  std::vector<std::int64_t> int64;
  std::vector<double> float64;
  std::vector<std::uint8_t> valid;  ///< of numbers, as in ColumnView; empty: all have a value
  std::shared_ptr<const TextList> text;
  std::vector<std::uint32_t> codes;
  std::string refusal;
};

/// Never changed once a request holds it.
struct GivenTable {
  std::string name;  ///< of the argument, for messages
  std::uint64_t rows = 0;
  std::vector<GivenColumn> columns;
  const GivenColumn* find(std::string_view column) const;
};

/// Throws InputError where a column of ids holds whole numbers and no id is one: they would be row
/// numbers, which tables do not name rows by where there are ids.
void refuse_row_numbers(const GivenTable& table, const std::string& column, const IdMap& ids,
                        const char* ids_argument);

/// Refers to what it is made from.
class GivenTableReader final : public TableReader {
 public:
  explicit GivenTableReader(const GivenTable& table);
  /// With one column more, the ids of its rows, which are the first of `ids` in their order.
  GivenTableReader(const GivenTable& table, const std::string& id_column, const IdMap& ids);

  const std::string& name() const override { return table_.name; }
  const std::vector<std::string>& column_names() const override { return names_; }
  void select(const std::vector<std::string>& columns) override;
  bool next(TableBatch& batch) override;
  std::uint64_t line_of(std::uint64_t row) const override { return row; }
  const char* line_word() const override { return "row"; }
  std::string where(std::uint64_t row, std::string_view column) const override;
  std::string header() const override { return table_.name; }
  std::uint64_t expected_rows() const override { return table_.rows; }

 private:
  ColumnView view(const GivenColumn& column, std::uint64_t count,
                  std::vector<std::string_view>& texts) const;

  const GivenTable& table_;
  const IdMap* ids_ = nullptr;
  std::vector<std::string> names_;
  std::vector<const GivenColumn*> selected_;  ///< null: the ids
  std::uint64_t at_ = 0;
  // Of the rows given last.
  std::vector<std::vector<std::string_view>> texts_;  ///< by selected column
  std::vector<std::string> id_texts_;
};

}  // namespace quarry

// Walking over tables, and the log of unknown ids.
#include "host/data/table_scan.h"

#include <algorithm>
#include <charconv>

#include "host/data/field.h"

namespace quarry {

namespace {

bool is_text(const ColumnView& column) {
  return column.kind == ColumnView::Kind::kText || column.kind == ColumnView::Kind::kOffsets;
}

}  // namespace

std::string TableReader::where(std::uint64_t row, std::string_view) const {
  return at_line(name(), line_of(row));
}

std::string TableReader::header() const { return at_line(name(), 1); }

bool TableScan::has(const std::string& column) const {
  const std::vector<std::string>& names = reader_.column_names();
  return std::find(names.begin(), names.end(), column) != names.end();
}

std::size_t TableScan::add(const std::string& column, const std::string& remedy) {
  columns_.push_back({column, remedy});
  return columns_.size() - 1;
}

std::size_t TableScan::add_optional(const std::string& column, const std::string& default_name,
                                    const std::string& remedy) {
  return column != default_name || has(column) ? add(column, remedy) : kAbsent;
}

void TableScan::check_columns() const {
  for (const ColumnUse& use : columns_) {
    if (!has(use.column))
      throw_missing_column(reader_.header(), use.column, column_names(), use.remedy);
  }
}

/// A producer that breaks its word is a defect, not bad data.
void TableScan::check_batch() const {
  QUARRY_CHECK(batch_.columns.size() == columns_.size());
  for (const ColumnView& column : batch_.columns) {
    switch (column.kind) {
      case ColumnView::Kind::kText:
        QUARRY_CHECK(column.text.size() >= batch_.num_rows);
        break;
      case ColumnView::Kind::kOffsets:
        QUARRY_CHECK(column.offsets.size() > batch_.num_rows && column.offsets[0] >= 0);
        break;
      case ColumnView::Kind::kInt64:
        QUARRY_CHECK(column.int64.size() >= batch_.num_rows);
        break;
      case ColumnView::Kind::kDouble:
        QUARRY_CHECK(column.float64.size() >= batch_.num_rows);
        break;
    }
  }
}

void TableScan::start() {
  if (started_) return;
  check_columns();
  std::vector<std::string> names;
  for (const ColumnUse& use : columns_) names.push_back(use.column);
  reader_.select(names);
  digits_.resize(columns_.size());
  started_ = true;
}

bool TableScan::next() {
  if (started_ && ++row_ < batch_.num_rows) return true;
  start();
  row_ = 0;
  // A producer may hand out batches without rows; only the end ends the walk.
  do {
    if (!reader_.next(batch_)) return false;
  } while (batch_.num_rows == 0);
  check_batch();
  return true;
}

std::optional<TableReader::Mark> TableScan::mark() const {
  if (started_ && row_ + 1 < batch_.num_rows) return std::nullopt;
  return reader_.mark();
}

void TableScan::seek(const TableReader::Mark& mark) {
  start();
  reader_.seek(mark);
  batch_ = {};
  row_ = 0;
}

std::string_view TableScan::text_in(const ColumnView& column) const {
  if (column.kind == ColumnView::Kind::kText) return column.text[row_];
  const std::int32_t begin = column.offsets[row_];
  const std::int32_t end = column.offsets[row_ + 1];
  QUARRY_CHECK(begin >= 0 && begin <= end);
  return {column.chars + begin, static_cast<std::size_t>(end - begin)};
}

bool TableScan::empty(std::size_t slot) const {
  if (slot == kAbsent) return true;
  const ColumnView& column = batch_.columns[slot];
  return !is_valid(column) || (is_text(column) && text_in(column).empty());
}

bool TableScan::blank(std::size_t slot) const {
  if (empty(slot)) return true;
  const ColumnView& column = batch_.columns[slot];
  return is_text(column) && trim(text_in(column)).empty();
}

std::string TableScan::where(std::size_t slot) const {
  return reader_.where(row(), slot == kAbsent ? std::string_view() : columns_[slot].column);
}

std::string_view TableScan::field(std::size_t slot) {
  if (empty(slot)) return {};
  const ColumnView& column = batch_.columns[slot];
  if (column.kind == ColumnView::Kind::kDouble) {
    throw_input_error(where(), ": column ", shown(columns_[slot].column),
                      " holds floating-point numbers where text or integers are allowed; cast it "
                      "to one of them");
  }
  if (column.kind != ColumnView::Kind::kInt64) return text_in(column);
  Digits& digits = digits_[slot];
  const auto written =
      std::to_chars(digits.data(), digits.data() + digits.size(), column.int64[row_]);
  return {digits.data(), static_cast<std::size_t>(written.ptr - digits.data())};
}

std::int64_t TableScan::time(std::size_t slot) const {
  return at_row(slot, [&](const std::string& where) {
    if (empty(slot)) return parse_time("", where);
    const ColumnView& column = batch_.columns[slot];
    if (column.kind == ColumnView::Kind::kInt64) return check_time(column.int64[row_], where);
    if (column.kind != ColumnView::Kind::kDouble) return parse_time(text_in(column), where);
    // Data frames keep integers with gaps as doubles; a fraction is cut, as in texts.
    const double seconds = column.float64[row_];
    constexpr double kInRange = 9e18;
    if (!(seconds > -kInRange && seconds < kInRange)) return parse_time(text_of(seconds), where);
    return check_time(static_cast<std::int64_t>(seconds), where);
  });
}

float TableScan::number(std::size_t slot, std::string_view what) const {
  return at_row(slot, [&](const std::string& where) {
    if (empty(slot)) return parse_float("", what, where);
    const ColumnView& column = batch_.columns[slot];
    if (column.kind == ColumnView::Kind::kInt64) {
      return check_float(static_cast<double>(column.int64[row_]), what, where);
    }
    if (column.kind == ColumnView::Kind::kDouble) {
      return check_float(column.float64[row_], what, where);
    }
    return parse_float(text_in(column), what, where);
  });
}

std::uint64_t TableScan::unsigned_integer(std::size_t slot, std::string_view what) const {
  return at_row(slot, [&](const std::string& where) -> std::uint64_t {
    if (empty(slot)) return parse_u64("", what, where);
    const ColumnView& column = batch_.columns[slot];
    if (column.kind == ColumnView::Kind::kInt64 && column.int64[row_] >= 0) {
      return static_cast<std::uint64_t>(column.int64[row_]);
    }
    // What is left is refused with its value.
    if (column.kind == ColumnView::Kind::kInt64)
      return parse_u64(text_of(column.int64[row_]), what, where);
    if (column.kind == ColumnView::Kind::kDouble)
      return parse_u64(text_of(column.float64[row_]), what, where);
    return parse_u64(text_in(column), what, where);
  });
}

namespace {
/// Ids that a message lists.
constexpr std::size_t kMostNamed = 10;
}  // namespace

std::optional<std::uint32_t> UnknownIdLog::resolve(const IdMap& ids, std::string_view id,
                                                   std::string_view what, const TableScan& scan) {
  if (id.empty()) {
    throw_input_error(scan.where(), ": the ", what,
                      " id is empty; give every row an id, or remove the row");
  }
  const std::optional<std::uint32_t> index = ids.find(id);
  if (index) return index;
  ++count_;
  line_word_ = scan.line_word();
  row_numbers_ = row_numbers_ || ids.are_row_numbers();
  if (policy_ == UnknownIds::kDrop) return index;
  if (named_.size() > kMostNamed) return index;  // ten, and one more that says that there are more
  const auto same = [&](const Named& one) { return one.what == what && one.id == id; };
  if (std::none_of(named_.begin(), named_.end(), same))
    named_.push_back({std::string(what), std::string(id), scan.line()});
  return index;
}

void UnknownIdLog::finish() const {
  if (policy_ == UnknownIds::kDrop || count_ == 0) return;
  std::string named;
  for (std::size_t i = 0; i < std::min<std::size_t>(named_.size(), kMostNamed); ++i) {
    const Named& one = named_[i];
    // Who a user is stays in the file: messages end up in logs.
    const std::string who = one.what == "user" ? "a user" : text_of(one.what, " ", shown(one.id));
    named += text_of(i == 0 ? "" : ", ", who, " (", line_word_, " ", one.line, ")");
  }
  if (named_.size() > kMostNamed) named += ", ...";
  throw_input_error(
      path_, ": ", count_, count_ == 1 ? " id has" : " ids have", " no embedding",
      count_ > named_.size() ? ", repeats counted: " : ": ", named,
      row_numbers_
          ? "; ids are row numbers of the embeddings where no file says otherwise: give "
            "--user-ids and --item-ids."
          : "; every id must be one of those of the embedding tables. Are the id files the "
            "right ones, and the columns?",
      " Leave such rows out with --unknown-ids drop");
}

}  // namespace quarry

// Walking over tables, and the log of unknown ids.
#include "host/data/table_scan.h"

#include <algorithm>

#include "host/data/field.h"

namespace quarry {

std::int64_t time_in(const TableScan& scan, std::size_t slot) {
  return parse_at(scan,
                  [&](const std::string& where) { return parse_time(scan.field(slot), where); });
}

float number_in(const TableScan& scan, std::size_t slot, std::string_view what) {
  return parse_at(
      scan, [&](const std::string& where) { return parse_float(scan.field(slot), what, where); });
}

bool TableScan::has(const std::string& column) const {
  const std::vector<std::string>& names = reader_->column_names();
  return std::find(names.begin(), names.end(), column) != names.end();
}

std::size_t TableScan::add(const std::string& column) {
  columns_.push_back(column);
  return columns_.size() - 1;
}

std::size_t TableScan::add_optional(const std::string& column, const std::string& default_name) {
  return column != default_name || has(column) ? add(column) : kAbsent;
}

bool TableScan::next() {
  if (started_ && ++row_ < batch_.num_rows) return true;
  if (!started_) reader_->select(columns_);
  started_ = true;
  row_ = 0;
  return reader_->next(batch_);
}

std::optional<TableReader::Mark> TableScan::mark() const {
  if (started_ && row_ + 1 < batch_.num_rows) return std::nullopt;
  return reader_->mark();
}

void TableScan::seek(const TableReader::Mark& mark) {
  if (!started_) reader_->select(columns_);
  started_ = true;
  reader_->seek(mark);
  batch_ = {};
  row_ = 0;
}

std::uint64_t TableScan::expected_rows(std::uint64_t bytes) const {
  if (batch_.num_rows < 2 || batch_.columns.empty()) return 0;
  const auto& text = batch_.columns[0].text;
  // Fields of one column lie one record apart in the reader's buffer.
  const auto covered = static_cast<double>(text.back().data() - text.front().data());
  if (covered <= 0) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(bytes) / covered *
                                    static_cast<double>(batch_.num_rows) * 1.05);
}

std::optional<std::uint32_t> UnknownIdLog::resolve(const IdMap& ids, std::string_view id,
                                                   std::string_view what, const TableScan& scan) {
  if (id.empty()) {
    throw_input_error(scan.where(), ": the ", what,
                      " id is empty; give every row an id, or remove the row");
  }
  const std::optional<std::uint32_t> index = ids.find(id);
  if (!index) {
    ++count_;
    constexpr std::uint64_t kNamed = 10;
    if (policy_ == UnknownIds::kReject && count_ <= kNamed) {
      named_ += text_of(count_ == 1 ? "" : ", ", what, " ", shown(id), " (line ", scan.line(), ")");
    } else if (policy_ == UnknownIds::kReject && count_ == kNamed + 1) {
      named_ += ", ...";
    }
  }
  return index;
}

void UnknownIdLog::finish() const {
  if (policy_ == UnknownIds::kDrop || count_ == 0) return;
  throw_input_error(path_, ": ", count_, count_ == 1 ? " id has" : " ids have",
                    " no embedding: ", named_,
                    "; every id must be one of those of the embedding tables. Are the id files the "
                    "right ones? Leave such "
                    "rows out with --unknown-ids drop");
}

}  // namespace quarry

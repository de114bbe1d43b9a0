// Reading a table in memory.
#include "python/bind/given_table.h"

#include <algorithm>

#include "host/data/message.h"

namespace quarry {
namespace {

constexpr std::uint64_t kRowsAtOnce = 4096;

/// In decimal, as files write row numbers.
bool is_whole_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

void TextList::add(std::string_view text, const std::string& where) {
  if (find_bad_utf8(text) != std::string_view::npos) {
    throw_input_error(where, ", row ", size(), ": ", shown(text),
                      " is not UTF-8; decode it as what it is");
  }
  // As in files. It also stands between the ids that a row's key is made of.
  if (text.find('\0') != std::string_view::npos) {
    throw_input_error(where, ", row ", size(), ": ", shown(text),
                      " holds a NUL byte (\\x00), which no text has; is it a damaged value, or one "
                      "of fixed width? Cut it off, or leave the row out");
  }
  chars += text;
  offsets.push_back(chars.size());
}

const GivenColumn* GivenTable::find(std::string_view column) const {
  const auto at = std::find_if(columns.begin(), columns.end(),
                               [&](const GivenColumn& one) { return one.name == column; });
  return at == columns.end() ? nullptr : &*at;
}

void refuse_row_numbers(const GivenTable& table, const std::string& column, const IdMap& ids,
                        const char* ids_argument) {
  const GivenColumn* const given = table.find(column);
  if (given == nullptr || given->kind != GivenColumn::Kind::kInt64 || given->int64.empty() ||
      ids.are_row_numbers())
    return;
  for (std::uint64_t i = 0; i < ids.size(); ++i) {
    if (is_whole_number(ids.id_of(static_cast<std::uint32_t>(i)))) return;
  }
  throw_input_error(table.name, ": column ", shown(column),
                    " holds whole numbers (row 0: ", given->int64[0], ") and none of ",
                    ids_argument,
                    " is one. Where there are ids tables name rows by them, as files do: give the "
                    "ids of these row numbers, or leave ",
                    ids_argument, " out");
}

GivenTableReader::GivenTableReader(const GivenTable& table) : table_(table) {
  for (const GivenColumn& column : table.columns) names_.push_back(column.name);
}

GivenTableReader::GivenTableReader(const GivenTable& table, const std::string& id_column,
                                   const IdMap& ids)
    : GivenTableReader(table) {
  QUARRY_CHECK(table.rows <= ids.size());
  ids_ = &ids;
  names_.push_back(id_column);
}

std::string GivenTableReader::where(std::uint64_t row, std::string_view column) const {
  return column.empty() ? text_of(name(), ": row ", row)
                        : text_of(name(), ": column ", shown(column), ", row ", row);
}

void GivenTableReader::select(const std::vector<std::string>& columns) {
  selected_.clear();
  for (const std::string& name : columns) {
    const GivenColumn* const column = table_.find(name);
    QUARRY_CHECK(column != nullptr || (ids_ != nullptr && name == names_.back()));
    if (column != nullptr && column->kind == GivenColumn::Kind::kRefused)
      throw InputError(column->refusal);
    selected_.push_back(column);
  }
  texts_.resize(selected_.size());
}

ColumnView GivenTableReader::view(const GivenColumn& column, std::uint64_t count,
                                  std::vector<std::string_view>& texts) const {
  ColumnView view;
  switch (column.kind) {
    case GivenColumn::Kind::kInt64:
      view.kind = ColumnView::Kind::kInt64;
      view.int64 = {column.int64.data() + at_, count};
      break;
    case GivenColumn::Kind::kDouble:
      view.kind = ColumnView::Kind::kDouble;
      view.float64 = {column.float64.data() + at_, count};
      break;
    case GivenColumn::Kind::kText:
      texts.clear();
      for (std::uint64_t r = at_; r < at_ + count; ++r) texts.push_back((*column.text)[r]);
      view.text = texts;
      break;
    case GivenColumn::Kind::kCodes:
      texts.clear();
      for (std::uint64_t r = at_; r < at_ + count; ++r) {
        const std::uint32_t code = column.codes[r];
        texts.push_back(code == GivenColumn::kNone ? std::string_view() : (*column.text)[code]);
      }
      view.text = texts;
      break;
    case GivenColumn::Kind::kRefused:
      QUARRY_CHECK(false);
  }
  if (!column.valid.empty()) {
    view.valid = column.valid.data();
    view.valid_offset = at_;
  }
  return view;
}

bool GivenTableReader::next(TableBatch& batch) {
  if (at_ == table_.rows) return false;
  const std::uint64_t count = std::min(kRowsAtOnce, table_.rows - at_);
  batch = {at_, count, {}};
  for (std::size_t slot = 0; slot < selected_.size(); ++slot) {
    if (selected_[slot] != nullptr) {
      batch.columns.push_back(view(*selected_[slot], count, texts_[slot]));
      continue;
    }
    id_texts_.clear();
    for (std::uint64_t r = at_; r < at_ + count; ++r)
      id_texts_.push_back(ids_->id_of(static_cast<std::uint32_t>(r)));
    texts_[slot].assign(id_texts_.begin(), id_texts_.end());
    batch.columns.emplace_back().text = texts_[slot];
  }
  at_ += count;
  return true;
}

}  // namespace quarry

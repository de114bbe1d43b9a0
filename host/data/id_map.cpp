// External ids and their indices.
#include <charconv>

#include "host/data/message.h"
#include "host/data/table_scan.h"
#include "host/data/tables.h"

namespace quarry {
namespace {

constexpr std::uint64_t kMaxIds = 0xFFFFFFFEu;

void check_count(std::uint64_t count, const std::string& what) {
  if (count > kMaxIds) {
    throw_input_error(what, ": ", count, " ids, allowed are at most ", kMaxIds,
                      "; split the table");
  }
}

}  // namespace

IdMap IdMap::identity(std::uint64_t rows) {
  check_count(rows, "row numbers");
  IdMap map;
  map.rows_ = rows;
  return map;
}

IdMap IdMap::from_ids(std::vector<std::string> ids, const std::string& what) {
  check_count(ids.size(), what);
  IdMap map;
  map.identity_ = false;
  map.rows_ = ids.size();
  map.ids_ = std::move(ids);
  map.index_.reserve(map.rows_);
  for (std::uint64_t i = 0; i < map.rows_; ++i) {
    const std::string& id = map.ids_[i];
    if (id.empty()) throw_input_error(what, ": id ", i, " (from 0) is empty; give every row an id");
    const auto [first, fresh] = map.index_.emplace(id, static_cast<std::uint32_t>(i));
    if (!fresh) {
      // Who a user is stays in the file: messages end up in logs.
      const bool names_users = what.find("user") != std::string::npos;
      throw_input_error(what, names_users ? ": an id" : ": the id " + shown(id), " stands at ",
                        first->second, " and at ", i,
                        " (from 0); an id may name one row only. Remove the repeated row");
    }
  }
  return map;
}

IdMap IdMap::from_table(const std::string& path, const std::string& column, std::uint64_t rows,
                        const std::string& what) {
  return from_table(*open_table(path), column, rows, what);
}

IdMap IdMap::from_table(TableReader& table, const std::string& column, std::uint64_t rows,
                        const std::string& what) {
  check_count(rows, what);
  TableScan scan(table);
  const std::size_t slot = scan.add(
      column, "name the column behind the file: --item-ids FILE:COLUMN, --user-ids FILE:COLUMN");
  IdMap map;
  map.identity_ = false;
  map.rows_ = rows;
  std::uint64_t count = 0;
  for (; scan.next(); ++count) {
    const std::string_view id = scan.field(slot);
    if (id.empty()) {
      throw_input_error(scan.where(), ": the id in column ", shown(column),
                        " is empty; give every row an id");
    }
    // What is beyond the table is counted for the message, not stored.
    if (count >= rows) continue;
    const auto [first, fresh] =
        map.index_.emplace(std::string(id), static_cast<std::uint32_t>(count));
    if (!fresh) {
      throw_input_error(scan.where(), ": the id ", shown(id), " stands already in line ",
                        scan.line_of(first->second),
                        "; an id may name one row only. Remove the repeated row");
    }
    map.ids_.emplace_back(id);
  }
  if (count != rows) {
    throw_input_error(scan.name(), ": column ", shown(column), " has ", count, " ids, but ", what,
                      " has ", rows,
                      " rows; there must be one id per row, in the same order. Were both files "
                      "written together?");
  }
  return map;
}

std::vector<std::string> IdMap::read_column(TableReader& table, const std::string& column) {
  TableScan scan(table);
  const std::size_t slot = scan.add(column, "name the column behind the file: FILE:COLUMN");
  std::vector<std::string> ids;
  while (scan.next()) ids.emplace_back(scan.field(slot));
  return ids;
}

std::optional<std::uint32_t> IdMap::find(std::string_view id) const {
  if (!identity_) {
    const auto found = index_.find(id);
    if (found == index_.end()) return std::nullopt;
    return found->second;
  }
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  const bool plain =
      error == std::errc() && end == id.data() + id.size() && (id.size() == 1 || id[0] != '0');
  if (!plain || number >= rows_) return std::nullopt;
  return number;
}

std::string IdMap::id_of(std::uint32_t index) const {
  QUARRY_CHECK(index < rows_);
  return identity_ ? std::to_string(index) : ids_[index];
}

}  // namespace quarry

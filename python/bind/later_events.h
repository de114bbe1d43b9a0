// Events that came after a Miner was made: columns of the caller, read as one more log.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/data/table.h"
#include "host/data/tables.h"

namespace quarry {

/// Events by row numbers of users and items. Columns of one length, but for `values`, which may be
/// empty: none of them has one.
struct LaterEvents {
  std::vector<std::uint32_t> users, items;
  std::vector<std::int64_t> times;
  std::vector<std::uint32_t> kinds;  ///< places in kind_names
  std::vector<std::string> kind_names;
  std::vector<float> values;  ///< NaN: none
  std::uint64_t size() const { return users.size(); }
};

/// Batches of events as a table with the columns that an event log has. Refers to what it is made
/// from.
class LaterEventsTable final : public TableReader {
 public:
  LaterEventsTable(const std::vector<std::shared_ptr<const LaterEvents>>& batches,
                   const EventColumns& columns, const IdMap& users, const IdMap& items);

  const std::string& name() const override { return name_; }
  const std::vector<std::string>& column_names() const override { return names_; }
  void select(const std::vector<std::string>& columns) override;
  bool next(TableBatch& batch) override;
  std::uint64_t line_of(std::uint64_t row) const override { return row; }
  std::uint64_t expected_rows() const override { return total_; }

 private:
  enum class Column : std::uint8_t { kUser, kItem, kTime, kKind, kValue };

  const std::vector<std::shared_ptr<const LaterEvents>>& batches_;
  const IdMap& users_;
  const IdMap& items_;
  std::string name_ = "update_events";
  std::vector<std::string> names_;
  std::vector<Column> meaning_;  ///< of names_
  std::vector<Column> selected_;
  std::uint64_t total_ = 0, given_ = 0;
  std::size_t batch_ = 0;
  std::uint64_t at_ = 0;
  // Of the rows given last.
  std::vector<std::string> user_text_, item_text_;
  std::vector<std::string_view> user_, item_, kind_;
  std::vector<double> value_;
  std::vector<std::uint8_t> valid_;
};

}  // namespace quarry

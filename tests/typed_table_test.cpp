// Tables from typed batches in memory, laid out as Arrow lays them out: the same result as from the
// CSV file with the same content, and the same refusals.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "host/data/table.h"
#include "host/data/tables.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

using testing::expect_error;
using testing::TempDir;

/// A column in one piece, as a record batch holds it.
struct Column {
  std::string name;
  ColumnView::Kind kind = ColumnView::Kind::kText;
  std::vector<std::string_view> text = {};
  std::vector<std::int32_t> offsets = {};
  std::string chars = {};
  std::vector<std::int64_t> int64 = {};
  std::vector<double> float64 = {};
  std::vector<std::uint8_t> valid = {};  ///< empty: all rows
  std::uint64_t valid_offset = 0;
};

Column integers(const std::string& name, std::vector<std::int64_t> values) {
  Column column{name, ColumnView::Kind::kInt64};
  column.int64 = std::move(values);
  return column;
}
Column doubles(const std::string& name, std::vector<double> values) {
  Column column{name, ColumnView::Kind::kDouble};
  column.float64 = std::move(values);
  return column;
}
Column views(const std::string& name, std::vector<std::string_view> values) {
  Column column{name, ColumnView::Kind::kText};
  column.text = std::move(values);
  return column;
}
/// Arrow's utf8 layout.
Column utf8(const std::string& name, const std::vector<std::string>& values) {
  Column column{name, ColumnView::Kind::kOffsets};
  column.offsets.push_back(0);
  for (const std::string& value : values) {
    column.chars += value;
    column.offsets.push_back(static_cast<std::int32_t>(column.chars.size()));
  }
  return column;
}
/// With Arrow nulls at some rows, the bitmap beginning at bit 3 as in a sliced array.
Column with_nulls(Column column, const std::vector<std::uint64_t>& rows) {
  column.valid.assign(8, 0xFF);
  column.valid_offset = 3;
  for (const std::uint64_t row : rows)
    column.valid[(row + 3) / 8] &= static_cast<std::uint8_t>(~(1u << ((row + 3) % 8)));
  return column;
}

/// Hands out the columns in batches of a few rows, without a copy of their values.
class MemoryTable final : public TableReader {
 public:
  MemoryTable(std::uint64_t rows, std::vector<Column> columns, std::uint64_t batch_rows = 2)
      : rows_(rows), batch_rows_(batch_rows), columns_(std::move(columns)) {
    for (const Column& column : columns_) names_.push_back(column.name);
  }
  const std::string& name() const override { return name_; }
  const std::vector<std::string>& column_names() const override { return names_; }
  void select(const std::vector<std::string>& columns) override {
    selected_.clear();
    for (const std::string& name : columns) {
      for (const Column& column : columns_)
        if (column.name == name) selected_.push_back(&column);
    }
  }
  bool next(TableBatch& batch) override {
    if (gives_empty_batch_ && at_ < rows_) {
      gives_empty_batch_ = false;
      batch = {at_, 0, std::vector<ColumnView>(selected_.size())};
      return true;
    }
    gives_empty_batch_ = true;
    const std::uint64_t count = std::min(batch_rows_, rows_ - at_);
    batch = {at_, count, {}};
    for (const Column* column : selected_) {
      ColumnView view;
      view.kind = column->kind;
      if (!column->text.empty()) view.text = std::span(column->text).subspan(at_, count);
      if (!column->offsets.empty())
        view.offsets = std::span(column->offsets).subspan(at_, count + 1);
      view.chars = column->chars.data();
      if (!column->int64.empty()) view.int64 = std::span(column->int64).subspan(at_, count);
      if (!column->float64.empty()) view.float64 = std::span(column->float64).subspan(at_, count);
      if (!column->valid.empty()) view.valid = column->valid.data();
      view.valid_offset = column->valid_offset + at_;
      batch.columns.push_back(view);
    }
    at_ += count;
    return count > 0;
  }
  std::uint64_t line_of(std::uint64_t row) const override { return row; }

 private:
  std::uint64_t rows_, batch_rows_;
  std::uint64_t at_ = 0;
  bool gives_empty_batch_ = true;
  std::vector<Column> columns_;
  std::vector<const Column*> selected_;
  std::string name_ = "batches";
  std::vector<std::string> names_;
};

const IdMap kUsers = IdMap::from_ids({"10", "u", "-3"}, "users");
const IdMap kItems = IdMap::identity(4);

ExposureRules rules() {
  ExposureRules rules;
  rules.rules.push_back(
      {ExposureClass::kPositive, {{"rate", ExposureTerm::Op::kGreaterEqual, 4.0}}});
  return rules;
}

TEST(TypedTable, EventsEqualTheCsv) {
  const TempDir dir;
  const std::string csv =
      dir.write("e.csv",
                "user,item,time,kind,value\n10,0,5,rate,5\nu,1,6,rate,\n-3,3,7,view,4.5\n"
                "u,1,1000000000,rate,4\n10,2,8,rate,-2\n");
  const Exposure want =
      read_exposure(csv, {}, rules(), kUsers, kItems, std::nullopt, UnknownIds::kReject);
  const std::vector<std::string> kinds = {"rate", "rate", "view", "rate", "rate"};
  const auto judge = [&](std::vector<Column> columns) {
    for (const std::uint64_t batch_rows : {1u, 2u, 5u}) {
      MemoryTable table(5, columns, batch_rows);
      const Exposure got =
          read_exposure(table, {}, rules(), kUsers, kItems, std::nullopt, UnknownIds::kReject);
      EXPECT_EQ(got.offsets, want.offsets);
      EXPECT_EQ(got.items, want.items);
      EXPECT_EQ(got.classes, want.classes);
      EXPECT_EQ(got.last_time, want.last_time);
      EXPECT_EQ(got.positive_time, want.positive_time);
      EXPECT_EQ(got.as_of, want.as_of);
      EXPECT_EQ(got.events, 5u);
    }
  };
  judge({utf8("user", {"10", "u", "-3", "u", "10"}), integers("item", {0, 1, 3, 1, 2}),
         integers("time", {5, 6, 7, 1000000000, 8}), utf8("kind", kinds),
         with_nulls(doubles("value", {5, NAN, 4.5, 4, -2}), {1})});
  judge({views("user", {"10", "u", "-3", "u", "10"}), utf8("item", {"0", "1", "3", "1", "2"}),
         doubles("time", {5, 6.75, 7, 1e9, 8}),
         views("kind", {"rate", "rate", "view", "rate", "rate"}),
         utf8("value", {"5", " ", "4.5", "4", "-2"})});
}

TEST(TypedTable, CatalogueRowsPairsIdsAndListsEqualTheCsv) {
  const TempDir dir;
  const Catalogue want_catalogue = read_catalogue(
      dir.write("c.csv", "item,brand,year,first_seen,title\n2,x,1999,5,A\n0,,-7,,B\n3,x,,9,\n"), {},
      kItems, UnknownIds::kReject);
  MemoryTable catalogue(
      3, {integers("item", {2, 0, 3}), with_nulls(utf8("brand", {"x", "hidden", "x"}), {1}),
          with_nulls(integers("year", {1999, -7, 5}), {2}),
          with_nulls(integers("first_seen", {5, 0, 9}), {1}), utf8("title", {"A", "B", ""})});
  const Catalogue got_catalogue = read_catalogue(catalogue, {}, kItems, UnknownIds::kReject);
  ASSERT_EQ(got_catalogue.columns.size(), 2u);
  for (std::size_t c = 0; c < 2; ++c) {
    EXPECT_EQ(got_catalogue.columns[c].codes, want_catalogue.columns[c].codes);
    EXPECT_EQ(got_catalogue.columns[c].names, want_catalogue.columns[c].names);
  }
  EXPECT_EQ(got_catalogue.first_seen, want_catalogue.first_seen);
  EXPECT_EQ(got_catalogue.titles, want_catalogue.titles);

  const PairValues want_pairs =
      read_pairs(dir.write("p.csv", "user,item,score\nu,1,0.1\n10,2,16777217\n10,0,-1e-3\n"), {},
                 kUsers, kItems, UnknownIds::kReject);
  MemoryTable pairs(3, {utf8("user", {"u", "10", "10"}), integers("item", {1, 2, 0}),
                        doubles("score", {0.1, 16777217, -1e-3})});
  const PairValues got_pairs = read_pairs(pairs, {}, kUsers, kItems, UnknownIds::kReject);
  EXPECT_EQ(got_pairs.offsets, want_pairs.offsets);
  EXPECT_EQ(got_pairs.items, want_pairs.items);
  EXPECT_EQ(got_pairs.values, want_pairs.values);

  MemoryTable list(3, {integers("item", {3, 1, 3})});
  EXPECT_EQ(read_item_list(list, "item", kItems, UnknownIds::kReject),
            (std::vector<std::uint32_t>{1, 3}));
  MemoryTable ids(3, {integers("item", {500, -7, INT64_MIN})});
  const IdMap map = IdMap::from_table(ids, "item", 3, "items");
  EXPECT_EQ(map.find("-7"), 1u);
  EXPECT_EQ(map.id_of(2), "-9223372036854775808");
}

TEST(TypedTable, WrongKindsAndValuesAreRefused) {
  const auto events = [](Column user, Column time, Column kind, Column value) {
    MemoryTable table(2, {std::move(user), integers("item", {0, 1}), std::move(time),
                          std::move(kind), std::move(value)});
    read_exposure(table, {}, rules(), kUsers, kItems, std::nullopt, UnknownIds::kReject);
  };
  const Column user = utf8("user", {"10", "u"}), time = integers("time", {5, 6});
  const Column kind = utf8("kind", {"rate", "rate"}), value = doubles("value", {1, 2});
  const auto refused = [&](Column u, Column t, Column k, Column v,
                           const std::vector<std::string>& needles) {
    expect_error<InputError>([&] { events(u, t, k, v); }, needles);
  };
  EXPECT_NO_THROW(events(user, time, kind, value));
  refused(doubles("user", {10, 3}), time, kind, value,
          {"batches:0", "'user'", "floating-point", "cast it"});
  refused(user, time, doubles("kind", {1, 2}), value, {"'kind'", "floating-point", "cast it"});
  refused(with_nulls(user, {1}), time, kind, value, {"batches:1", "user id is empty"});
  refused(integers("user", {10, 11}), time, kind, value, {"a user (line 1)", "--unknown-ids"});
  refused(user, integers("time", {5, -1}), kind, value, {"batches:1", "'-1'", "before 1970"});
  refused(user, integers("time", {5, 1714521600000}), kind, value,
          {"batches:1", "1714521600000", "divide by 1000"});
  refused(user, with_nulls(time, {0}), kind, value, {"batches:0", "time ''", "ISO 8601"});
  refused(user, doubles("time", {5, NAN}), kind, value, {"batches:1", "'nan'", "ISO 8601"});
  refused(user, doubles("time", {5, 1e300}), kind, value, {"batches:1", "time '1"});
  refused(user, doubles("time", {5, -1e18}), kind, value, {"batches:1", "before 1970"});
  refused(user, time, with_nulls(kind, {1}), value, {"batches:1", "--event-kind"});
  refused(user, time, kind, doubles("value", {1, NAN}), {"batches:1", "'nan'", "finite"});
  refused(user, time, kind, doubles("value", {-1e39, 1}), {"batches:0", "finite"});
  refused(user, time, kind, utf8("value", {"1", "x"}), {"batches:1", "'x'", "finite"});
  refused(user, time, utf8("art", {"", ""}), value,
          {"batches:1", "'kind'", "--event-columns kind="});
}

TEST(TypedTable, AProducerThatBreaksItsWordIsADefect) {
  Column cut = integers("item", {0});
  MemoryTable table(1, {cut});
  struct Short final : TableReader {
    explicit Short(TableReader& inner) : inner_(inner) {}
    const std::string& name() const override { return inner_.name(); }
    const std::vector<std::string>& column_names() const override { return inner_.column_names(); }
    void select(const std::vector<std::string>& columns) override { inner_.select(columns); }
    bool next(TableBatch& batch) override {
      const bool more = inner_.next(batch);
      if (batch.num_rows > 0) batch.num_rows += 5;
      return more;
    }
    std::uint64_t line_of(std::uint64_t row) const override { return row; }
    TableReader& inner_;
  };
  Short more_rows_than_values(table);
  EXPECT_THROW(read_item_list(more_rows_than_values, "item", kItems, UnknownIds::kReject),
               std::logic_error);
}

}  // namespace
}  // namespace quarry

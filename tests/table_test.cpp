// Tables of text, times, ids, catalogues, rows, pairs. The CSV reader is judged by random tables
// written here.
#include "host/data/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "host/data/tables.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

using testing::expect_error;
using testing::TempDir;

using Cells = std::vector<std::vector<std::string>>;

/// All rows of the chosen columns, with the line of each.
struct Content {
  Cells cells;
  std::vector<std::uint64_t> lines;
  std::uint64_t batches = 0;
};
Content read_all(TableReader& reader) {
  Content content;
  TableBatch batch;
  while (reader.next(batch)) {
    ++content.batches;
    EXPECT_EQ(batch.first_row, content.cells.size());
    for (std::uint64_t r = 0; r < batch.num_rows; ++r) {
      std::vector<std::string> row;
      for (const ColumnView& column : batch.columns) {
        EXPECT_EQ(column.kind, ColumnView::Kind::kText);
        EXPECT_EQ(column.text.size(), batch.num_rows);
        row.emplace_back(column.text[r]);
      }
      content.cells.push_back(row);
    }
  }
  for (std::uint64_t r = 0; r < content.cells.size(); ++r)
    content.lines.push_back(reader.line_of(r));
  EXPECT_FALSE(reader.next(batch));
  return content;
}

/// Cut at every byte, and in three at random.
TEST(Csv, PartsAreTheWhole) {
  const TempDir dir;
  std::mt19937 random(5);
  for (const std::string& line_break : {std::string("\n"), std::string("\r\n")}) {
    for (const bool ends : {true, false}) {
      std::string text = "user,item" + line_break;
      for (int r = 0; r < 30; ++r) {
        if (r % 7 == 3) text += line_break;
        text += std::string(random() % 5, 'u') + "," + std::to_string(random() % 1000) + line_break;
      }
      if (!ends) text.resize(text.size() - line_break.size());
      const std::string path = dir.write("t.csv", text);
      const Cells whole = read_all(*open_table(path)).cells;
      EXPECT_EQ(whole.size(), 30u);
      const auto joined = [&](const std::vector<std::uint64_t>& cuts) {
        Cells cells;
        for (std::size_t p = 0; p + 1 < cuts.size(); ++p) {
          const auto reader = open_table(path);
          EXPECT_TRUE(reader->narrow(cuts[p], cuts[p + 1]));
          TableBatch batch;
          while (reader->next(batch)) {
            for (std::uint64_t r = 0; r < batch.num_rows; ++r)
              cells.push_back(
                  {std::string(batch.columns[0].text[r]), std::string(batch.columns[1].text[r])});
          }
          EXPECT_FALSE(reader->has_quotes());
        }
        return cells;
      };
      for (std::uint64_t cut = 0; cut <= text.size(); ++cut)
        ASSERT_EQ(joined({0, cut, text.size()}), whole) << cut;
      for (int n = 0; n < 50; ++n) {
        std::vector<std::uint64_t> cuts = {0, random() % text.size(), random() % text.size(),
                                           text.size()};
        std::sort(cuts.begin(), cuts.end());
        ASSERT_EQ(joined(cuts), whole);
      }
    }
  }
  const auto quoted = open_table(dir.write("q.csv", "\"user\",item\na,b\na,\"b\"\n"));
  TableBatch batch;
  EXPECT_FALSE(quoted->has_quotes()) << "its names are no field";
  quoted->next(batch);
  EXPECT_TRUE(quoted->has_quotes());
}

TEST(Csv, ReadsQuotesLineBreaksAndMarks) {
  const TempDir dir;
  const std::string text =
      "\xEF\xBB\xBFuser_id:token,\"a \"\"b\"\"\",t\r\n"
      "u1,\"x,\"\"y\"\"\r\nz\",1\r\n"
      "\r\n"
      "\"\",plain \"inside\",\r\n"
      "u3,,\"\"\"\"";
  const auto reader = open_table(dir.write("t.csv", text));
  EXPECT_EQ(reader->column_names(), (std::vector<std::string>{"user_id", "a \"b\"", "t"}));
  const Content content = read_all(*reader);
  EXPECT_EQ(content.cells,
            (Cells{{"u1", "x,\"y\"\r\nz", "1"}, {"", "plain \"inside\"", ""}, {"u3", "", "\""}}));
  EXPECT_EQ(content.lines, (std::vector<std::uint64_t>{2, 5, 6}));
}

TEST(Csv, SelectsColumnsInAnyOrderAndTwice) {
  const TempDir dir;
  const auto reader = open_table(dir.write("t.tsv", "a\tb\tc\n1\t\"2\"\"\"\t3\n4\t5\t6\n"));
  reader->select({"c", "b", "b"});
  EXPECT_EQ(read_all(*reader).cells, (Cells{{"3", "2\"", "2\""}, {"6", "5", "5"}}));
  expect_error<InputError>([&] { reader->select({"d"}); },
                           {"t.tsv:1", "'d'", "'a', 'b', 'c'", "map it"});
}

TEST(Csv, TakesTabsByExtension) {
  const TempDir dir;
  for (const char* name : {"t.tsv", "t.inter", "t.item", "t.user", "T.TSV"}) {
    const auto reader =
        open_table(dir.write(name, "user_id:token\titem_id:token\trating:float\n1,5\t2\t3\n"));
    EXPECT_EQ(reader->column_names(), (std::vector<std::string>{"user_id", "item_id", "rating"}));
    EXPECT_EQ(read_all(*reader).cells, (Cells{{"1,5", "2", "3"}}));
  }
  EXPECT_TRUE(read_all(*open_table(dir.write("h.csv", "a,b"))).cells.empty());
}

std::string random_cell(std::mt19937& random, std::uint32_t longest) {
  static const std::vector<std::string> kPieces = {"a",    "b",  "\"", ",",        "\t", "\n",
                                                   "\r\n", "\r", " ",  "\xC3\xA9", "7",  ":"};
  std::string cell;
  for (std::uint32_t n = random() % (longest + 1); n > 0; --n)
    cell += kPieces[random() % kPieces.size()];
  return cell;
}

std::string quoted(const std::string& cell) {
  std::string out = "\"";
  for (const char c : cell) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

TEST(Csv, ReadsBackRandomTables) {
  const TempDir dir;
  std::uint64_t rows_read = 0, most_batches = 0;
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    std::mt19937 random(seed);
    // Every twentieth table is larger than the reader's buffer, so that records fall across its
    // end.
    const bool large = seed % 20 == 0;
    const char separator = random() % 2 ? ',' : '\t';
    const std::size_t num_columns = 1 + random() % 5;
    const std::size_t num_rows = large ? 15000 : random() % 30;
    const std::string end = random() % 2 ? "\r\n" : "\n";
    std::string text = random() % 2 ? "\xEF\xBB\xBF" : "";
    for (std::size_t c = 0; c < num_columns; ++c)
      text += (c ? std::string(1, separator) : "") + "c" + std::to_string(c);
    text += end;
    Cells cells;
    std::vector<std::uint64_t> lines;
    std::uint64_t line = 2;
    const auto newlines = [](const std::string& s) {
      return static_cast<std::uint64_t>(std::count(s.begin(), s.end(), '\n'));
    };
    for (std::size_t r = 0; r < num_rows; ++r) {
      if (random() % 10 == 0) {
        text += end;
        ++line;
      }
      std::vector<std::string> row;
      std::string record;
      for (std::size_t c = 0; c < num_columns; ++c) {
        const bool giant = large && random() % 20000 == 0;
        row.push_back(giant ? std::string(3u << 20, 'g') : random_cell(random, large ? 40 : 8));
        const std::string& cell = row.back();
        const bool needs_quotes =
            cell.find_first_of("\n\r" + std::string(1, separator)) != std::string::npos ||
            cell.starts_with('"') || (num_columns == 1 && cell.empty());
        if (c) record += separator;
        record += needs_quotes || random() % 4 == 0 ? quoted(cell) : cell;
      }
      lines.push_back(line);
      line += newlines(record) + 1;
      text += record;
      if (r + 1 < num_rows || random() % 2) text += end;
      cells.push_back(row);
    }
    const auto reader = open_table(dir.write(separator == ',' ? "r.csv" : "r.tsv", text));
    const Content content = read_all(*reader);
    ASSERT_EQ(content.cells.size(), cells.size()) << "seed " << seed;
    ASSERT_TRUE(content.cells == cells) << "seed " << seed;
    ASSERT_TRUE(content.lines == lines) << "seed " << seed;
    rows_read += num_rows;
    most_batches = std::max(most_batches, content.batches);
  }
  EXPECT_GT(rows_read, 250000u);
  EXPECT_GT(most_batches, 3u) << "no table was larger than a batch";
}

TEST(Time, ReadsIntegersAndIso8601) {
  const std::vector<std::pair<std::string, std::int64_t>> cases = {
      {"0", 0},
      {"881250949", 881250949},
      {" 17 ", 17},
      {"881250949.75", 881250949},
      {"1970-01-01", 0},
      {"2000-02-29", 951782400},
      {"2024-05-01", 1714521600},
      {"2024-05-01T12:30", 1714521600 + 45000},
      {"2024-05-01T12:30:15Z", 1714521600 + 45015},
      {"2024-05-01 12:30:15.999", 1714521600 + 45015},
      {"2024-05-01T12:30:15+02:00", 1714521600 + 45015 - 7200},
      {"2024-05-01T12:30:15-0530", 1714521600 + 45015 + 19800},
      {"2024-05-01T00:00:00+14", 1714521600 - 50400},
      {"9999-12-31T23:59:59Z", 253402300799},
  };
  for (const auto& [text, seconds] : cases) EXPECT_EQ(parse_time(text, "t.csv:2"), seconds) << text;
  for (const char* text : {"", "x", "-", "2024-13-01", "2023-02-29", "2024-5-1", "2024-05-01T",
                           "2024-05-01T24:00", "2024-05-01T12:60", "2024-05-01T12:30:61",
                           "2024-05-01T12:30:15+", "2024-05-01T12:30:15 +02:00", "2024-05-01Z12:00",
                           "2024-05-01T12:30:15.", "12e9", "1.", "0x10", "2024-05-01T12:30:15Zz"}) {
    expect_error<InputError>([&] { parse_time(text, "t.csv:2"); },
                             {"t.csv:2", "'" + std::string(text) + "'", "ISO 8601"});
  }
  for (const char* text :
       {"-1", "-99999999999999999999", "1969-12-31", "1970-01-01T00:00:00+01:00"}) {
    expect_error<InputError>([&] { parse_time(text, "t.csv:2"); },
                             {"t.csv:2", text, "before 1970", "0 to 253402300799"});
  }
  for (const char* text : {"1714521600000", "99999999999999999999"}) {
    expect_error<InputError>([&] { parse_time(text, "t.csv:2"); },
                             {"t.csv:2", text, "milliseconds"});
  }
}

TEST(Duration, ReadsUnits) {
  EXPECT_EQ(parse_duration("45s", "r"), 45);
  EXPECT_EQ(parse_duration("30m", "r"), 1800);
  EXPECT_EQ(parse_duration("12h", "r"), 43200);
  EXPECT_EQ(parse_duration("180d", "r"), 15552000);
  EXPECT_EQ(parse_duration("2w", "r"), 1209600);
  EXPECT_EQ(parse_duration("0d", "r"), 0);
  for (const char* text : {"", "d", "10", "10 d", "10y", "1.5d", "-1d", "10dd",
                           "99999999999999999999d", "9223372036854775807w", " 1d"}) {
    expect_error<ConfigError>([&] { parse_duration(text, "recipe.toml:7"); },
                              {"recipe.toml:7", "write an integer"});
  }
}

TEST(IdMap, IdentityKnowsPlainDecimalsOnly) {
  const IdMap map = IdMap::identity(11);
  EXPECT_EQ(map.size(), 11u);
  EXPECT_EQ(map.find("0"), 0u);
  EXPECT_EQ(map.find("10"), 10u);
  EXPECT_EQ(map.id_of(10), "10");
  for (const char* id : {"11", "-1", "+1", "01", "00", "", " 1", "1 ", "1.0", "4294967296",
                         "99999999999999999999"}) {
    EXPECT_FALSE(map.find(id)) << id;
  }
}

TEST(IdMap, TablesAndLists) {
  const TempDir dir;
  const std::string path = dir.write("ids.csv", "n,item\n1,b\n2,\"a,1\"\n3,01\n");
  const IdMap map = IdMap::from_table(path, "item", 3, "items.npy");
  EXPECT_EQ(map.size(), 3u);
  EXPECT_EQ(map.find("b"), 0u);
  EXPECT_EQ(map.find("a,1"), 1u);
  EXPECT_EQ(map.find("01"), 2u);
  EXPECT_FALSE(map.find("1"));
  EXPECT_EQ(map.id_of(1), "a,1");
  const IdMap list = IdMap::from_ids({"x", "y"}, "users");
  EXPECT_EQ(list.find("y"), 1u);
  expect_error<InputError>(
      [] {
        IdMap::from_ids({"x", "y", "x"}, "users");
      },
      {"users", "an id stands at", "0 and at 2", "Remove"});
  expect_error<InputError>([] { IdMap::from_ids({"x", ""}, "users"); }, {"users", "id 1", "empty"});
}

TEST(Catalogue, CodesFollowItemsNotTheFile) {
  const TempDir dir;
  const IdMap items = IdMap::from_ids({"a", "b", "c", "d"}, "items");
  const std::string header = "brand,item,title,first_seen,retired,kind\n";
  const std::string a = "acme,a,\"A, the first\",10,,x\n", b = ",b,B,,2001-01-01,y\n",
                    d = "zeta,d,D,12,13,x\n";
  const Catalogue one =
      read_catalogue(dir.write("c1.csv", header + a + b + d), {}, items, UnknownIds::kReject);
  const Catalogue two =
      read_catalogue(dir.write("c2.csv", header + d + b + a), {}, items, UnknownIds::kReject);
  for (const Catalogue* c : {&one, &two}) {
    ASSERT_EQ(c->columns.size(), 2u);
    ASSERT_NE(c->find("brand"), nullptr);
    EXPECT_EQ(c->find("brand")->codes, (std::vector<std::uint32_t>{1, 0, 0, 2}));
    EXPECT_EQ(c->find("brand")->names, (std::vector<std::string>{"", "acme", "zeta"}));
    EXPECT_EQ(c->find("kind")->codes, (std::vector<std::uint32_t>{1, 2, 0, 1}));
    EXPECT_EQ(c->find("title"), nullptr);
    EXPECT_EQ(c->first_seen, (std::vector<std::int64_t>{10, INT64_MIN, INT64_MIN, 12}));
    EXPECT_EQ(c->retired, (std::vector<std::int64_t>{INT64_MAX, 978307200, INT64_MAX, 13}));
    EXPECT_EQ(c->titles, (std::vector<std::string>{"A, the first", "B", "", "D"}));
  }
  const Catalogue plain = read_catalogue(dir.write("c3.csv", "id,x\na,1\nzz,5\n"), {.item = "id"},
                                         items, UnknownIds::kDrop);
  EXPECT_TRUE(plain.first_seen.empty() && plain.retired.empty() && plain.titles.empty());
  EXPECT_EQ(plain.unknown_ids, 1u);
  EXPECT_EQ(plain.find("x")->names, (std::vector<std::string>{"", "1"}));
}

TEST(Rows, ReadsAllColumns) {
  const TempDir dir;
  const IdMap users = IdMap::from_ids({"u", "v"}, "users"),
              items = IdMap::from_ids({"a", "b", "c"}, "items");
  const std::string path = dir.write("rows.csv",
                                     "row_key,user,item,time,segment\n"
                                     "18446744073709551615,v,b|a,5,s\n"
                                     "0,u,,,\n");
  const RowTable rows = read_rows(path, {}, users, items, UnknownIds::kReject, false);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows.key, (std::vector<std::uint64_t>{UINT64_MAX, 0}));
  EXPECT_EQ(rows.user, (std::vector<std::uint32_t>{1, 0}));
  EXPECT_EQ(rows.time, (std::vector<std::int64_t>{5, INT64_MAX}));
  EXPECT_EQ(rows.segment, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(rows.segment_names, (std::vector<std::string>{"s", ""}));
  EXPECT_EQ(rows.positive_offsets, (std::vector<std::uint64_t>{0, 2, 2}));
  EXPECT_EQ(rows.positives, (std::vector<std::uint32_t>{1, 0}));
  const RowTable none =
      read_rows(dir.write("none.csv", "user\n"), {}, users, items, UnknownIds::kReject, false);
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.positive_offsets, (std::vector<std::uint64_t>{0}));
}

TEST(Rows, KeysAreHashesOfIds) {
  const TempDir dir;
  const IdMap users = IdMap::from_ids({"u", "v"}, "users"),
              items = IdMap::from_ids({"a", "b", "c"}, "items");
  const RowTable rows =
      read_rows(dir.write("rows.csv", "user,item,time\nu,a|b,7\nu,b|a,7\nu,a,\nv,a,\n"), {}, users,
                items, UnknownIds::kReject, false);
  EXPECT_EQ(rows.key, (std::vector<std::uint64_t>{
                          row_key_of("u", {"a", "b"}, 7), row_key_of("u", {"b", "a"}, 7),
                          row_key_of("u", {"a"}, INT64_MAX), row_key_of("v", {"a"}, INT64_MAX)}));
  EXPECT_TRUE(rows.segment.empty());
  // Computed once with the xxhash Python package over the bytes of the header's definition.
  EXPECT_EQ(row_key_of("u1", {"a", "bc"}, 881250949), 9402705560121136411ull);
  EXPECT_EQ(row_key_of("", {}, INT64_MAX), 3002001855781893264ull);
  // Same letters in another place are another key.
  EXPECT_NE(row_key_of("ui", {"a"}, 0), row_key_of("u", {"ia"}, 0));
}

TEST(Rows, RepeatsAreRefusedOrNumbered) {
  const TempDir dir;
  const IdMap users = IdMap::identity(3), items = IdMap::identity(3);
  const std::string path = dir.write("rows.csv", "user,item,row_key\n0,0,9\n1,0,8\n2,0,9\n0,1,9\n");
  expect_error<InputError>([&] { read_rows(path, {}, users, items, UnknownIds::kReject, false); },
                           {"rows.csv:4", "9", "line 2", "--number-duplicates"});
  const RowTable rows = read_rows(path, {}, users, items, UnknownIds::kReject, true);
  EXPECT_EQ(rows.key[0], 9u);
  EXPECT_EQ(rows.key[1], 8u);
  // XXH3-64 of (9, 1) and (9, 2), 8 bytes each, from the xxhash Python package.
  EXPECT_EQ(rows.key[2], 1595008163103207093ull);
  EXPECT_EQ(rows.key[3], 17375385707528979360ull);
}

TEST(Rows, DropsUnknownIdsWithoutChangingKeys) {
  const TempDir dir;
  const IdMap users = IdMap::identity(2), items = IdMap::identity(2);
  const std::string path =
      dir.write("rows.csv", "user,item,time\n0,0|77,5\n0,78|79,6\n99,1,7\n1,,8\n");
  const RowTable rows = read_rows(path, {}, users, items, UnknownIds::kDrop, false);
  EXPECT_EQ(rows.unknown_ids, 4u);
  EXPECT_EQ(rows.user, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(rows.positives, (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(rows.positive_offsets, (std::vector<std::uint64_t>{0, 1, 1}));
  EXPECT_EQ(rows.key[0], row_key_of("0", {"0", "77"}, 5));
  expect_error<InputError>(
      [&] { read_rows(path, {}, users, items, UnknownIds::kReject, false); },
      {"rows.csv", "4 ids", "item '77' (line 2)", "a user (line 4)", "--unknown-ids drop"});
}

TEST(Rows, FromExposure) {
  const IdMap users = IdMap::from_ids({"u", "v", "w"}, "users"),
              items = IdMap::from_ids({"a", "b", "c"}, "items");
  ExposureRules rules;
  rules.rules.push_back({ExposureClass::kPositive, {{"buy", ExposureTerm::Op::kExists, 0.0}}});
  const float none = std::numeric_limits<float>::quiet_NaN();
  const Exposure exposure = classify_events({{2, 1, 9, 0, none},
                                             {0, 2, 5, 0, none},
                                             {0, 0, 4, 0, none},
                                             {0, 0, 6, 1, none},
                                             {1, 1, 3, 1, none}},
                                            {"buy", "view"}, rules, 3, 3, std::nullopt);
  const RowTable pairs = rows_from_exposure(exposure, RowsFrom::kPositives, users, items);
  EXPECT_EQ(pairs.user, (std::vector<std::uint32_t>{0, 0, 2}));
  EXPECT_EQ(pairs.positives, (std::vector<std::uint32_t>{0, 2, 1}));
  EXPECT_EQ(pairs.time, (std::vector<std::int64_t>{4, 5, 9}));
  EXPECT_EQ(pairs.positive_offsets, (std::vector<std::uint64_t>{0, 1, 2, 3}));
  EXPECT_EQ(pairs.key,
            (std::vector<std::uint64_t>{row_key_of("u", {"a"}, 4), row_key_of("u", {"c"}, 5),
                                        row_key_of("w", {"b"}, 9)}));
  const RowTable by_user = rows_from_exposure(exposure, RowsFrom::kUsers, users, items);
  EXPECT_EQ(by_user.user, (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(by_user.positives, (std::vector<std::uint32_t>{0, 2, 1}));
  EXPECT_EQ(by_user.positive_offsets, (std::vector<std::uint64_t>{0, 2, 3}));
  EXPECT_EQ(by_user.time, (std::vector<std::int64_t>{INT64_MAX, INT64_MAX}));
  EXPECT_EQ(by_user.key[0], row_key_of("u", {"a", "c"}, INT64_MAX));
}

TEST(Pairs, SortsByUserAndItem) {
  const TempDir dir;
  const IdMap users = IdMap::identity(3), items = IdMap::identity(5);
  const std::string path =
      dir.write("p.csv", "item,score,user\n4,0.5,2\n1,-1e-3,0\n0,7,2\n3, 2.25 ,0\n9,1,1\n1,1,8\n");
  const PairValues pairs = read_pairs(path, {}, users, items, UnknownIds::kDrop);
  EXPECT_EQ(pairs.offsets, (std::vector<std::uint64_t>{0, 2, 2, 4}));
  EXPECT_EQ(pairs.items, (std::vector<std::uint32_t>{1, 3, 0, 4}));
  EXPECT_EQ(pairs.values, (std::vector<float>{-1e-3f, 2.25f, 7.0f, 0.5f}));
  EXPECT_EQ(pairs.unknown_ids, 2u);
}

TEST(ItemList, IsASet) {
  const TempDir dir;
  const IdMap items = IdMap::from_ids({"a", "b", "c"}, "items");
  const std::string path = dir.write("l.tsv", "x\titem\n1\tc\n2\ta\n3\tc\n4\tq\n");
  EXPECT_EQ(read_item_list(path, "item", items, UnknownIds::kDrop),
            (std::vector<std::uint32_t>{0, 2}));
  expect_error<InputError>([&] { read_item_list(path, "item", items, UnknownIds::kReject); },
                           {"1 id has", "'q' (line 5)"});
}

TEST(UnknownIds, FirstTenAreNamedWithLines) {
  const TempDir dir;
  std::string text = "item\n0\n";
  for (int i = 0; i < 25; ++i) text += "x" + std::to_string(i) + "\n";
  const std::string path = dir.write("l.csv", text);
  try {
    read_item_list(path, "item", IdMap::identity(1), UnknownIds::kReject);
    FAIL();
  } catch (const InputError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("25 ids"), std::string::npos) << message;
    EXPECT_NE(message.find("item 'x0' (line 3)"), std::string::npos) << message;
    EXPECT_NE(message.find("item 'x9' (line 12), ..."), std::string::npos) << message;
    EXPECT_EQ(message.find("x10"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace quarry

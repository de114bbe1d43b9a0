// Malformed CSV files, id files, events and catalogues, with the stated exit code and message.
#include <gtest/gtest.h>

#include "host/data/table.h"
#include "host/data/tables.h"
#include "tests/support/bad_input.h"

namespace quarry {
namespace {

using testing::BadInputCase;
using testing::Flags;
using testing::mapped;
using testing::operator+=;
using testing::repeated;
using testing::SmallTable;

constexpr std::uint64_t kUsers = 2, kItems = 3;

/// 300,000 rows of different ids: more than the reader holds at once.
std::string many_rows() {
  std::string rows;
  for (int i = 0; i < 300000; ++i) rows += std::to_string(i) + ",x\n";
  return rows;
}

TEST(BadInput, Csv) {
  const SmallTable table = {"t", {"item", "brand"}, {{"0", "x"}, {"1", "\"y \"\"z\"\"\""}}};
  std::vector<BadInputCase> cases = container_cases(table);
  cases += std::vector<BadInputCase>{
      {"quote not closed in a large file",
       "t.csv",
       "item,brand\n0,\"" + std::string(17u << 20, 'x') + "\"",
       {":2", "longer than 16777216", "Close or remove"}},
      {"field of 17 MiB",
       "t.csv",
       "item,brand\n0,x\n1," + std::string(17u << 20, 'y'),
       {":3", "longer than 16777216", "Close or remove"}},
      {"header of 17 MiB",
       "t.csv",
       std::string(17u << 20, 'h') + "\n0,x\n",
       {":1", "longer than 16777216", "Close or remove"}},
      {"quote not closed behind a closed one",
       "t.csv",
       "item,brand\n\"0\n1\",\"z\n",
       {":3", "not closed", "close it"}},
      {"a quote alone", "t.csv", "\"", {":1", "not closed", "close it"}},
      {"a row of quotes only", "t.csv", "item,brand\n\"\"\"", {":2", "not closed", "close it"}},
      {"ragged behind the first megabyte",
       "t.csv",
       "item,brand\n" + many_rows() + "0\n",
       {":300002", "1 fields, the header has 2", "quote"}},
      {"NUL behind the first megabyte",
       "t.csv",
       "item,brand\n" + many_rows() + std::string(1, '\0'),
       {":300002", "NUL", "as UTF-8"}},
      {"Latin-1 behind the first megabyte",
       "t.csv",
       "item,brand\n" + many_rows() + "0,\xFC\n",
       {":300002", "'\\xfc'", "as UTF-8"}},
      {"upper-case .GZ", "t.CSV.GZ", table.text(), {".GZ", "not supported", "gunzip"}},
      {"Excel", "t.xlsx", "PK\x03\x04", {"'.xlsx'", ".csv (commas)", "Convert"}},
  };
  testing::BadInputSuite suite{"CSV", "--catalogue", "", "", {{"t.csv", table.text()}}, {}};
  suite.read = [](const std::string& path, const Flags&) {
    const auto reader = open_table(path);
    reader->select({"item"});
    TableBatch batch;
    while (reader->next(batch)) {
    }
  };
  expect_refused(suite, cases);
}

TEST(BadInput, Ids) {
  const SmallTable table = {"ids", {"item", "note"}, {{"0", "a"}, {"1", "b"}, {"2", "c"}}};
  std::vector<BadInputCase> cases =
      container_cases(SmallTable{"ids", {"item", "note"}, {{"0", "a"}, {"1", "b"}}});
  cases += column_cases(table, "item", "--item-ids FILE:COLUMN");
  const std::string h = "item,note\n";
  const auto twice = [&](const char* name, const std::string& content, const std::string& line,
                         const std::string& id, const std::string& first) {
    return BadInputCase{name, "ids.csv", content, {line, id, "in line " + first, "Remove"}};
  };
  const auto count = [&](const char* name, const std::string& content, const std::string& ids) {
    return BadInputCase{
        name, "ids.csv", content, {ids + " ids", "items has 3 rows", "in the same order"}};
  };
  cases += std::vector<BadInputCase>{
      twice("first and second", h + "0,a\n0,b\n1,c\n", ":3", "'0'", "2"),
      twice("first and last", h + "0,a\n1,b\n0,c\n", ":4", "'0'", "2"),
      twice("twice but for quotes", h + "0,a\n\"0\",b\n1,c\n", ":3", "'0'", "2"),
      twice("twice in CRLF", "item,note\r\n0,a\r\n1,b\r\n1,c\r\n", ":4", "'1'", "3"),
      twice("twice behind blank lines", h + "0,a\n\n\n1,b\n\n1,c\n", ":7", "'1'", "5"),
      twice("twice around a line break", h + "0,\"x\ny\"\n1,b\n0,c\n", ":5", "'0'", "2"),
      twice("long and twice", h + std::string(900, 'l') + ",a\n" + std::string(900, 'l') + ",b\n",
            ":3", std::string(60, 'l') + "...'", "2"),
      twice("escape sequence twice", h + "\x1B[2J,a\n\x1B[2J,b\n", ":3", "'\\x1b[2J'", "2"),
      twice("accents twice", h + "\xC3\xA9,a\n\xC3\xA9,b\n", ":3", "'\xC3\xA9'", "2"),
      {"empty first id", "ids.csv", h + ",a\n1,b\n2,c\n", {":2", "is empty", "give every row"}},
      {"empty last id", "ids.csv", h + "0,a\n1,b\n,c\n", {":4", "is empty", "give every row"}},
      {"empty quotes for an id", "ids.csv", h + "\"\",a\n", {":2", "is empty", "give every row"}},
      {"empty id beyond the table",
       "ids.csv",
       h + "0,a\n1,b\n2,c\n,d\n",
       {":5", "is empty", "give every row"}},
      count("header only", h, "0"),
      count("one id", h + "0,a\n", "1"),
      count("one too few", h + "0,a\n1,b\n", "2"),
      count("one too many", h + "0,a\n1,b\n2,c\n3,d\n", "4"),
      count("a repeated one too many", h + "0,a\n1,b\n2,c\n2,c\n", "4"),
      count("very many", h + repeated("0,a\n", 1).append("1,b\n2,c\n") + repeated("x,y\n", 2000),
            "2003"),
      count("a blank line for an id in one column", "item\n0\n\n2\n", "2"),
      {"the header is an id",
       "ids.csv",
       "0\n1\n2\n",
       {":1", "no column 'item'", "--item-ids FILE"}},
  };
  testing::BadInputSuite suite{
      "ids", "--item-ids", "", ":item", {{"ids.csv", table.text()}, {"i.csv", "item\n0\n1\n2"}},
      {}};
  suite.read = [](const std::string& path, const Flags&) {
    IdMap::from_table(path, "item", kItems, "items");
  };
  expect_refused(suite, cases);
}

TEST(BadInput, Events) {
  const SmallTable table = {"events",
                            {"user", "item", "time", "kind", "value"},
                            {{"0", "0", "5", "rate", "5"}, {"1", "1", "6", "rate", "4"}}};
  const std::string flag = "--event-columns";
  std::vector<BadInputCase> cases = container_cases(table);
  for (const std::string& column : table.columns) {
    // A log need not have values, unless its column is named.
    if (column != "value") cases += column_cases(table, column, flag + " " + column + "=COLUMN");
    cases.push_back(mapped_case(table, column, flag));
  }
  cases += id_cases(table, "user", "user");
  cases += id_cases(table, "item", "item");
  cases += time_cases(table, "time");
  std::string others = "0,70,5,rate,5\n";  // the first one twice, eleven more
  for (int item = 70; item < 82; ++item) others += "0," + std::to_string(item) + ",5,rate,5\n";
  cases += number_cases(table, "value");
  cases += std::vector<BadInputCase>{
      {"no time at all", "events.csv", table.with(1, "time", ""), {":3", "time ''", "ISO 8601"}},
      {"time of spaces",
       "events.csv",
       table.with(0, "time", "  "),
       {":2", "time '  '", "ISO 8601"}},
      {"empty kind", "events.csv", table.with(1, "kind", ""), {":3", "'kind'", "--event-kind"}},
      {"no kind column",
       "events.csv",
       "user,item,time,value\n0,0,5,5\n",
       {":1", "no column 'kind'", "kind=COLUMN, or give every event one kind with --event-kind"}},
      {"user and item unknown",
       "events.csv",
       table.with(0, "user", "8").append("1,7,5,rate,5\n"),
       {"a user (line 2), item '7' (line 4)", "2 ids have", "--unknown-ids drop"}},
      {"more unknown ids than are named",
       "events.csv",
       table.text() + others,
       {"13 ids have", "repeats counted: item '70' (line 4), item '71' (line 6)",
        "item '79' (line 14), ...;", "--unknown-ids drop"}},
      {"unknown behind blank lines and line breaks",
       "events.csv",
       table.header() + "\n0,0,5,\"ra\nte\",5\n\n3,0,5,rate,5\n",
       {"a user (line 6)", "1 id has", "--unknown-ids drop"}},
      {"bad value of a kind that no rule names",
       "events.csv",
       table.text() + "0,0,5,look,much\n",
       {":4", "'much'", "finite number"}},
  };
  testing::BadInputSuite suite{"events",
                               "--events",
                               "",
                               "",
                               {{"events.csv", table.text()},
                                {"e.tsv", "\xEF\xBB\xBF" + table.text('\t', "\r\n")},
                                {"v.csv", table.with(1, "value", "  ")}},
                               {}};
  suite.read = [&](const std::string& path, const Flags& flags) {
    ExposureRules rules;
    rules.rules.push_back(
        {ExposureClass::kPositive, {{"rate", ExposureTerm::Op::kGreaterEqual, 4.0}}});
    const EventColumns columns = {mapped(flags, flag, "user"),
                                  mapped(flags, flag, "item"),
                                  mapped(flags, flag, "time"),
                                  mapped(flags, flag, "kind"),
                                  mapped(flags, flag, "value"),
                                  false,
                                  ""};
    read_exposure(path, columns, rules, IdMap::identity(kUsers), IdMap::identity(kItems),
                  std::nullopt, UnknownIds::kReject);
  };
  expect_refused(suite, cases);
}

TEST(BadInput, Catalogue) {
  const SmallTable table = {"items",
                            {"item", "brand", "first_seen", "retired", "title"},
                            {{"0", "x", "5", "", "A"}, {"1", "y", "", "2024-01-01", "B"}}};
  const std::string flag = "--catalogue-columns";
  std::vector<BadInputCase> cases = container_cases(table);
  cases += column_cases(table, "item", flag + " item=COLUMN");
  for (const char* key : {"item", "first_seen", "retired", "title"})
    cases.push_back(mapped_case(table, key, flag));
  cases += id_cases(table, "item", "item");
  cases += time_cases(table, "first_seen");
  cases += time_cases(table, "retired");
  cases += std::vector<BadInputCase>{
      {"first_seen of spaces",
       "items.csv",
       table.with(1, "first_seen", " "),
       {":3", "time ' '", "ISO 8601"}},
      {"item twice",
       "items.csv",
       table.with(1, "item", "0"),
       {":3", "'0'", "in line 2", "Remove the repeated row"}},
      {"item twice but for quotes",
       "items.csv",
       table.text() + "\"1\",z,,,C\n",
       {":4", "'1'", "in line 3", "Remove the repeated row"}},
      {"item twice far apart",
       "items.csv",
       table.header() + "0,a,,,\"A\n\nA\"\n\n2,b,,,B\n0,c,,,C\n",
       {":7", "'0'", "in line 2", "Remove the repeated row"}},
      {"unknown and known mixed",
       "items.csv",
       table.text() + "9,a,,,\n2,b,,,\n8,c,,,\n",
       {"item '9' (line 4), item '8' (line 6)", "2 ids have", "--unknown-ids drop"}},
  };
  testing::BadInputSuite suite{
      "catalogue", "--catalogue", "", "", {{"items.csv", table.text()}, {"h.csv", "item,brand\n"}},
      {}};
  suite.read = [&](const std::string& path, const Flags& flags) {
    const CatalogueColumns columns = {mapped(flags, flag, "item"),
                                      mapped(flags, flag, "first_seen"),
                                      mapped(flags, flag, "retired"), mapped(flags, flag, "title")};
    read_catalogue(path, columns, IdMap::identity(kItems), UnknownIds::kReject);
  };
  expect_refused(suite, cases);
}

}  // namespace
}  // namespace quarry

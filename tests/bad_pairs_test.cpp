// Malformed training rows, pair tables and item lists, with the stated exit code and message.
#include <gtest/gtest.h>

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

TEST(BadInput, Rows) {
  const SmallTable table = {"rows",
                            {"row_key", "user", "item", "time", "segment"},
                            {{"7", "0", "1", "5", "a"}, {"8", "1", "2", "6", "b"}}};
  const std::string flag = "--row-columns", csv = "rows.csv";
  std::vector<BadInputCase> cases = container_cases(table);
  cases += column_cases(table, "user", flag + " user=COLUMN");
  for (const std::string& key : table.columns) cases.push_back(mapped_case(table, key, flag));
  cases += id_cases(table, "user", "user");
  // An empty item field is a row without positives.
  for (const BadInputCase& c : id_cases(table, "item", "item")) {
    if (c.name.find("empty") == std::string::npos) cases.push_back(c);
  }
  cases += time_cases(table, "time");
  for (const char* key :
       {"", " ", "abc", "-1", "1.0", "1e3", "0x7", "+7", "7 8", "18446744073709551616",
        "99999999999999999999999", "nan", "7.", "1'000", "\xEF\xBC\x97"}) {
    cases.push_back({std::string("row key ") + key,
                     csv,
                     table.with(1, "row_key", key),
                     {":3", std::string("row key '") + key + "'", "[0, 18446744073709551615]",
                      "decimal digits"}});
  }
  const auto positives = [&](const std::string& field, const std::string& needle,
                             const std::string& remedy) {
    return BadInputCase{"positives " + field,
                        csv,
                        table.with(1, "item", field),
                        {needle[0] == 'i' && remedy[0] == '-' ? "1 id has" : ":3", needle, remedy}};
  };
  cases += std::vector<BadInputCase>{
      positives("1|", "item id is empty", "remove the row"),
      positives("|1", "item id is empty", "remove the row"),
      positives("0||1", "item id is empty", "remove the row"),
      positives("|", "item id is empty", "remove the row"),
      positives("1|1", "item '1' stands twice", "once"),
      positives("2|0|2", "item '2' stands twice", "once"),
      positives("0|1|2|0|1", "item '0' stands twice", "once"),
      positives("1|9", "item '9' (line 3)", "--unknown-ids drop"),
      positives("1;2", "item '1;2' (line 3)", "--unknown-ids drop"),
      positives("\"1,2\"", "item '1,2' (line 3)", "--unknown-ids drop"),
      positives("[1]", "item '[1]' (line 3)", "--unknown-ids drop"),
      {"key twice",
       csv,
       table.with(1, "row_key", "7"),
       {":3", "row key 7", "in line 2", "--number-duplicates"}},
      {"key twice but for spaces",
       csv,
       table.with(1, "row_key", " 7 "),
       {":3", "row key 7", "in line 2", "--number-duplicates"}},
      {"key twice but for zeros",
       csv,
       table.with(1, "row_key", "007"),
       {":3", "row key 7", "in line 2", "--number-duplicates"}},
      {"largest key twice",
       csv,
       table.header() + "18446744073709551615,0,,,\n1,0,,,\n18446744073709551615,1,,,\n",
       {":4", "row key 18446744073709551615", "in line 2", "--number-duplicates"}},
      {"key thrice: the first pair is named",
       csv,
       table.header() + "3,0,,,\n3,0,,,\n3,1,,,\n",
       {":3", "row key 3", "in line 2", "--number-duplicates"}},
      {"same user, positives and time",
       csv,
       "user,item,time\n0,1|2,5\n1,1,5\n0,1|2,5\n",
       {":4", "(of user, positives and time)", "in line 2", "--number-duplicates"}},
      {"same user and nothing else",
       csv,
       "user\n1\n0\n1\n",
       {":4", "(of user, positives and time)", "in line 2", "--number-duplicates"}},
      {"same time in two spellings",
       csv,
       "user,time\n0,86400\n0,1970-01-02\n",
       {":3", "(of user, positives and time)", "in line 2", "--number-duplicates"}},
      {"more unknown ids than are named",
       csv,
       table.text() + "9,1,4|5|6|7|8|9|10|11|12|13|14,5,a\n",
       {"11 ids have", "item '13' (line 4), ...;", "--unknown-ids drop"}},
  };
  testing::BadInputSuite suite{
      "rows",
      "--rows",
      "",
      "",
      {{"rows.csv", table.text()}, {"r.tsv", table.text('\t', "\r\n")}, {"u.csv", "user\n0\n1"}},
      {}};
  suite.read = [&](const std::string& path, const Flags& flags) {
    const RowColumns columns = {mapped(flags, flag, "row_key"), mapped(flags, flag, "user"),
                                mapped(flags, flag, "item"), mapped(flags, flag, "time"),
                                mapped(flags, flag, "segment")};
    read_rows(path, columns, IdMap::identity(kUsers), IdMap::identity(kItems), UnknownIds::kReject,
              false);
  };
  expect_refused(suite, cases);
}

TEST(BadInput, Pairs) {
  const SmallTable table = {
      "pairs", {"user", "item", "score"}, {{"0", "1", "0.5"}, {"1", "2", "-1e3"}}};
  const std::string flag = "--pair-columns", csv = "pairs.csv";
  std::vector<BadInputCase> cases = container_cases(table);
  for (const std::string& column : table.columns) {
    const std::string key = column == "score" ? "value" : column;
    cases += column_cases(table, column, flag + " " + key + "=COLUMN");
    cases.push_back(mapped_case(table, key, flag));
  }
  cases += id_cases(table, "user", "user");
  cases += id_cases(table, "item", "item");
  cases += number_cases(table, "score");
  const auto twice = [&](const char* name, const std::string& content, const std::string& line,
                         const std::string& pair, const std::string& first) {
    return BadInputCase{name, csv, content, {line, pair, "in line " + first, "Remove one of"}};
  };
  const std::string h = table.header();
  cases += std::vector<BadInputCase>{
      {"value is empty", csv, table.with(0, "score", ""), {":2", "value ''", "remove the row"}},
      {"value of spaces", csv, table.with(0, "score", "  "), {":2", "value '  '", "finite"}},
      {"value just beyond fp32",
       csv,
       table.with(0, "score", "3.4028236e38"),
       {":2", "'3.4028236e38'", "finite"}},
      twice("pair twice", h + "0,1,2\n0,1,2\n", ":3", "the user with item '1'", "2"),
      twice("pair twice with other values", h + "0,1,2\n0,1,3\n", ":3", "the user with item '1'",
            "2"),
      twice("pair twice far apart", h + "0,2,2\n1,1,2\n0,0,1\n\n0,2,3\n", ":6",
            "the user with item '2'", "2"),
      twice("two pairs twice: the smaller is named", h + "1,1,2\n0,0,2\n1,1,1\n0,0,3\n", ":5",
            "the user with item '0'", "3"),
      twice("pair twice but for quotes", h + "\"1\",1,2\n1,\"1\",2\n", ":3",
            "the user with item '1'", "2"),
      {"bad value beside an unknown user",
       csv,
       table.text() + "5,1,good\n",
       {":4", "value 'good'", "finite"}},
      {"more unknown ids than are named",
       csv,
       h + repeated("8,9,1\n", 6),
       {"12 ids have", "repeats counted: a user (line 2), item '9' (line 2);",
        "--unknown-ids drop"}},
  };
  testing::BadInputSuite suite{
      "pairs", "--pairs", "teacher=", "", {{csv, table.text()}, {"h.csv", h}}, {}};
  suite.read = [&](const std::string& path, const Flags& flags) {
    const std::string value = mapped(flags, flag, "value");
    const PairColumns columns = {mapped(flags, flag, "user"), mapped(flags, flag, "item"),
                                 value == "value" ? "score" : value};
    read_pairs(path, columns, IdMap::identity(kUsers), IdMap::identity(kItems),
               UnknownIds::kReject);
  };
  expect_refused(suite, cases);
}

TEST(BadInput, ItemLists) {
  const SmallTable table = {"list", {"item", "note"}, {{"0", "a"}, {"1", "b"}}};
  std::vector<BadInputCase> cases = container_cases(table);
  cases += column_cases(table, "item", "--item-list NAME=FILE:COLUMN");
  cases += id_cases(table, "item", "item");
  const std::string h = table.header();
  cases += std::vector<BadInputCase>{
      {"unknown in the last line without an end",
       "list.csv",
       table.text() + "3,c",
       {"item '3' (line 4)", "1 id has", "--unknown-ids drop"}},
      {"unknown in CRLF lines",
       "list.csv",
       table.text(',', "\r\n") + "3,c\r\n",
       {"item '3' (line 4)", "1 id has", "--unknown-ids drop"}},
      {"unknown behind blank lines",
       "list.csv",
       h + "\n\n5,c\n",
       {"item '5' (line 4)", "1 id has", "--unknown-ids drop"}},
      {"unknown twice",
       "list.csv",
       h + "7,a\n7,b\n",
       {"2 ids have", "repeats counted: item '7' (line 2);", "--unknown-ids drop"}},
      {"more unknown ids than are named",
       "list.csv",
       h + repeated("70,a\n", 11),
       {"11 ids have", "repeats counted: item '70' (line 2);", "--unknown-ids drop"}},
      {"several in a field",
       "list.csv",
       h + "0|1,a\n",
       {"item '0|1' (line 2)", "1 id has", "--unknown-ids drop"}},
      {"the header is an item",
       "list.csv",
       "0\n1\n",
       {":1", "no column 'item'", "--item-list NAME"}},
  };
  testing::BadInputSuite suite{"item lists",
                               "--item-list",
                               "allowed=",
                               ":item",
                               {{"list.csv", table.text()}, {"l.csv", "item\n0\n0\n"}},
                               {}};
  suite.read = [](const std::string& path, const Flags&) {
    read_item_list(path, "item", IdMap::identity(kItems), UnknownIds::kReject);
  };
  expect_refused(suite, cases);
}

}  // namespace
}  // namespace quarry

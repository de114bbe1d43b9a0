// Malformed tables, ids, events, catalogues, rows and pairs, with the stated error and message.
#include <gtest/gtest.h>

#include "host/data/table.h"
#include "host/data/tables.h"
#include "kernels/core/errors.h"
#include "tests/support/bad_input.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

using testing::BadInputCase;
using testing::expect_error;
using testing::expect_refused;
using testing::repeated;
using testing::TempDir;

TEST(BadInput, Csv) {
  const std::string gz = "\x1F\x8B\x08";
  const std::vector<BadInputCase> cases = {
      {"empty file", "t.csv", "", {":1", "no header", "name the columns"}},
      {"only a byte order mark", "t.csv", "\xEF\xBB\xBF", {":1", "no header"}},
      {"blank first line", "t.csv", "\na,b\n", {":1", "no header"}},
      {"empty column name", "t.csv", "a,,c\n1,2,3\n", {":1", "column 2", "name every column"}},
      {"only a type", "t.tsv", "a\t:token\n", {":1", "column 2"}},
      {"column twice", "t.csv", "a,b,a\n1,2,3\n", {":1", "'a'", "rename"}},
      {"column twice but for its type", "t.csv", "a:token,a:float\n", {":1", "'a'", "rename"}},
      {"too few fields", "t.csv", "a,b\n1,2\n3\n", {":3", "1 fields, the header has 2", "quote"}},
      {"too many fields", "t.csv", "a,b\n1,2,3\n", {":2", "3 fields, the header has 2", "quote"}},
      {"too many fields after a break", "t.csv", "a,b\n\"x\ny\",2\n1,2,3\n", {":4", "3 fields"}},
      {"unclosed quote", "t.csv", "a,b\n1,2\n3,\"x\n4,5\n", {":3", "not closed", "close it"}},
      {"unclosed quote on a later line", "t.csv", "a,b\n\"x\ny\",\"z\n", {":3", "not closed"}},
      {"unclosed quote in the header", "t.csv", "a,\"b\n1,2\n", {":1", "not closed"}},
      {"unclosed quote in a large file",
       "t.csv",
       "a,b\n1,\"" + std::string(17u << 20, 'x') + "\"",
       {":2", "longer than 16777216", "quote"}},
      {"text behind a quote",
       "t.csv",
       "a,b\n\"x\"y,2\n",
       {":2", "closing quote", "'y'", "double the quotes"}},
      {"space behind a quote", "t.csv", "a,b\n\"x\" ,2\n", {":2", "closing quote"}},
      {"NUL byte", "t.csv", std::string("a,b\n1,2\n3,x\0y\n", 15), {":3", "NUL", "UTF-8"}},
      {"NUL byte in quotes", "t.csv", std::string("a,b\n1,\"\n\0\"\n", 12), {":3", "NUL", "UTF-8"}},
      {"NUL byte in the header", "t.csv", std::string("a\0,b\n", 5), {":1", "NUL"}},
      {"lone carriage return", "t.csv", "a,b\r1,2\r", {":1", "carriage return", "LF or CRLF"}},
      {"UTF-16",
       "t.csv",
       std::string("\xFF\xFE"
                   "a\0",
                   4),
       {":1", "UTF-16", "UTF-8"}},
      {"gzip bytes", "t.csv", gz, {":1", "gzip", "gunzip"}},
      {"gzip extension", "t.csv.gz", gz, {".gz", "gunzip"}},
      {"Parquet", "t.parquet", "PAR1", {"'.parquet'", ".csv", "Convert"}},
      {"very many columns", "t.csv", "c" + repeated(",c", 4096), {":1", "4097", "4096"}},
  };
  expect_refused(cases, [](const std::string& path) {
    const auto reader = open_table(path);
    TableBatch batch;
    while (reader->next(batch)) {
    }
  });
  const TempDir dir;
  expect_error<IoError>([&] { open_table(dir.path_of("none.csv")); }, {"none.csv", "No such file"});
  std::filesystem::create_directory(dir.path_of("d.csv"));
  expect_error<IoError>([&] { open_table(dir.path_of("d.csv")); }, {"d.csv", "directory"});
}

TEST(BadInput, Ids) {
  const std::vector<BadInputCase> cases = {
      {"missing column", "i.csv", "id,x\na,1\n", {":1", "'item'", "'id', 'x'", "Map"}},
      {"other separator", "i.csv", "item;x\na;1\n", {":1", "'item;x'", "separator"}},
      {"empty id", "i.csv", "item,x\na,1\n,2\nb,3\n", {":3", "empty"}},
      {"duplicate id", "i.csv", "item\na\nb\na\n", {":4", "'a'", "line 2", "Remove"}},
      {"too few ids", "i.csv", "item\na\nb\n", {"2 ids", "3 rows", "same order"}},
      {"too many ids", "i.csv", "item\na\nb\nc\nd\ne\n", {"5 ids", "3 rows"}},
      {"header only", "i.csv", "item\n", {"0 ids", "3 rows"}},
      {"empty file", "i.csv", "", {":1", "no header"}},
  };
  expect_refused(cases,
                 [](const std::string& path) { IdMap::from_table(path, "item", 3, "items.npy"); });
}

ExposureRules rating_rules() {
  ExposureRules rules;
  rules.rules.push_back(
      {ExposureClass::kPositive, {{"rate", ExposureTerm::Op::kGreaterEqual, 4.0}}});
  return rules;
}

TEST(BadInput, Events) {
  const std::string h = "user,item,time,kind,value\n";
  const std::vector<BadInputCase> cases = {
      {"no user column",
       "e.csv",
       "item,time,kind,value\n",
       {":1", "'user'", "'item', 'time', 'kind', 'value'"}},
      {"no item column", "e.csv", "user,time,kind,value\n", {":1", "'item'"}},
      {"no time column", "e.csv", "user,item,kind,value\n", {":1", "'time'"}},
      {"no kind column", "e.csv", "user,item,time,value\n", {":1", "'kind'"}},
      {"no value column", "e.csv", "user,item,time,kind\n", {":1", "'value'"}},
      {"empty user", "e.csv", h + "0,0,1,rate,5\n,0,1,rate,5\n", {":3", "user id is empty"}},
      {"empty item", "e.csv", h + "0,,1,rate,5\n", {":2", "item id is empty"}},
      {"empty kind", "e.csv", h + "0,0,1,,5\n", {":2", "kind", "empty"}},
      {"empty time", "e.csv", h + "0,0,,rate,5\n", {":2", "time ''", "ISO 8601"}},
      {"bad time", "e.csv", h + "0,0,yesterday,rate,5\n", {":2", "'yesterday'", "ISO 8601"}},
      {"negative time",
       "e.csv",
       h + "0,0,3,rate,5\n0,0,-3,rate,5\n",
       {":3", "'-3'", "before 1970", "0 to"}},
      {"milliseconds",
       "e.csv",
       h + "0,0,1714521600000,rate,5\n",
       {":2", "1714521600000", "divide by 1000"}},
      {"overflowing time",
       "e.csv",
       h + "0,0,123456789012345678901234567890,rate,5\n",
       {":2", "0 to 253402300799"}},
      {"bad date", "e.csv", h + "0,0,2023-02-29,rate,5\n", {":2", "'2023-02-29'"}},
      {"value is text", "e.csv", h + "0,0,1,rate,good\n", {":2", "'good'", "finite number"}},
      {"value is NaN", "e.csv", h + "0,0,1,rate,nan\n", {":2", "'nan'", "finite number"}},
      {"value is infinite", "e.csv", h + "0,0,1,rate,-inf\n", {":2", "'-inf'", "finite number"}},
      {"value overflows fp32", "e.csv", h + "0,0,1,rate,1e39\n", {":2", "'1e39'", "3.4e38"}},
      {"value with a comma",
       "e.tsv",
       "user\titem\ttime\tkind\tvalue\n0\t0\t1\trate\t4,5\n",
       {":2", "'4,5'", "decimal point"}},
      {"unknown user",
       "e.csv",
       h + "0,0,1,rate,5\n9,0,1,rate,5\n",
       {"user '9' (line 3)", "--unknown-ids drop"}},
      {"unknown item",
       "e.csv",
       h + "0,00,1,rate,5\n",
       {"item '00' (line 2)", "--unknown-ids drop"}},
      {"ragged", "e.csv", h + "0,0,1,rate\n", {":2", "4 fields"}},
      {"control characters are shown", "e.csv", h + "0,0,1\x1B[2J,rate,5\n", {":2", "'1\\x1b[2J'"}},
      {"long values are cut",
       "e.csv",
       h + "0,0," + std::string(500, 'z') + ",rate,5\n",
       {":2", std::string(60, 'z') + "...'"}},
  };
  expect_refused(cases, [](const std::string& path) {
    read_exposure(path, {}, rating_rules(), IdMap::identity(2), IdMap::identity(2), std::nullopt,
                  UnknownIds::kReject);
  });
}

TEST(BadInput, Catalogue) {
  const std::vector<BadInputCase> cases = {
      {"no item column", "c.csv", "id,brand\n", {":1", "'item'"}},
      {"duplicate item", "c.csv", "item,brand\n0,x\n1,y\n0,x\n", {":4", "'0'", "line 2", "Remove"}},
      {"unknown item",
       "c.csv",
       "item,brand\n0,x\n7,y\n",
       {"item '7' (line 3)", "--unknown-ids drop"}},
      {"empty item", "c.csv", "item,brand\n,x\n", {":2", "item id is empty"}},
      {"bad first_seen", "c.csv", "item,first_seen\n0,soon\n", {":2", "'soon'", "ISO 8601"}},
      {"negative retired", "c.csv", "item,retired\n0,5\n1,-5\n", {":3", "'-5'", "before 1970"}},
      {"ragged", "c.csv", "item,brand\n0\n", {":2", "1 fields"}},
      {"empty file", "c.csv", "", {":1", "no header"}},
  };
  expect_refused(cases, [](const std::string& path) {
    read_catalogue(path, {}, IdMap::identity(2), UnknownIds::kReject);
  });
  const TempDir dir;
  const std::string path = dir.write("c.csv", "item,brand\n");
  expect_error<InputError>(
      [&] { read_catalogue(path, {.title = "name"}, IdMap::identity(2), UnknownIds::kReject); },
      {path, "'name'", "'brand'"});
}

TEST(BadInput, Rows) {
  const std::vector<BadInputCase> cases = {
      {"no user column", "r.csv", "item\n0\n", {":1", "'user'"}},
      {"empty user", "r.csv", "user,item\n,0\n", {":2", "user id is empty"}},
      {"unknown user", "r.csv", "user,item\n0,0\n5,0\n", {"user '5' (line 3)"}},
      {"unknown positive", "r.csv", "user,item\n0,0|5\n", {"item '5' (line 2)"}},
      {"empty positive", "r.csv", "user,item\n0,0||1\n", {":2", "item id is empty"}},
      {"trailing bar", "r.csv", "user,item\n0,0|\n", {":2", "item id is empty"}},
      {"positive twice", "r.csv", "user,item\n0,1|0|1\n", {":2", "'1'", "once"}},
      {"bad key", "r.csv", "user,row_key\n0,abc\n", {":2", "'abc'", "18446744073709551615"}},
      {"empty key", "r.csv", "user,row_key\n0,\n", {":2", "row key ''"}},
      {"negative key", "r.csv", "user,row_key\n0,-1\n", {":2", "'-1'"}},
      {"overflowing key",
       "r.csv",
       "user,row_key\n0,18446744073709551616\n",
       {":2", "18446744073709551616"}},
      {"fractional key", "r.csv", "user,row_key\n0,1.0\n", {":2", "'1.0'", "decimal digits"}},
      {"duplicate key",
       "r.csv",
       "user,row_key\n0,3\n1,4\n1,3\n",
       {":4", "3", "line 2", "--number-duplicates"}},
      {"duplicate row",
       "r.csv",
       "user,item,time\n0,1,2\n0,1,2\n",
       {":3", "line 2", "--number-duplicates"}},
      {"bad time", "r.csv", "user,time\n0,noon\n", {":2", "'noon'"}},
      {"negative time", "r.csv", "user,time\n0,-1\n", {":2", "before 1970"}},
      {"empty file", "r.csv", "", {":1", "no header"}},
  };
  expect_refused(cases, [](const std::string& path) {
    read_rows(path, {}, IdMap::identity(2), IdMap::identity(2), UnknownIds::kReject, false);
  });
  const TempDir dir;
  const std::string path = dir.write("r.csv", "user,item\n0,1\n");
  expect_error<InputError>(
      [&] {
        read_rows(path, {.time = "ts"}, IdMap::identity(2), IdMap::identity(2), UnknownIds::kReject,
                  false);
      },
      {path, "'ts'", "'user', 'item'"});
}

TEST(BadInput, PairsAndLists) {
  const std::string h = "user,item,score\n";
  const std::vector<BadInputCase> cases = {
      {"no value column", "p.csv", "user,item\n", {":1", "'score'"}},
      {"duplicate pair",
       "p.csv",
       h + "0,1,2\n1,1,2\n0,0,1\n0,1,3\n",
       {":5", "'0'", "'1'", "line 2", "Remove"}},
      {"NaN", "p.csv", h + "0,1,NaN\n", {":2", "'NaN'", "finite"}},
      {"infinite", "p.csv", h + "0,0,1\n0,1,inf\n", {":3", "'inf'", "finite"}},
      {"overflow", "p.csv", h + "0,1,-3.5e38\n", {":2", "'-3.5e38'"}},
      {"empty value", "p.csv", h + "0,1,\n", {":2", "value ''"}},
      {"text", "p.csv", h + "0,1,0.5x\n", {":2", "'0.5x'"}},
      {"unknown user", "p.csv", h + "4,1,1\n", {"user '4' (line 2)"}},
      {"unknown item", "p.csv", h + "0,4,1\n", {"item '4' (line 2)"}},
      {"empty file", "p.csv", "", {":1", "no header"}},
  };
  expect_refused(cases, [](const std::string& path) {
    read_pairs(path, {}, IdMap::identity(2), IdMap::identity(2), UnknownIds::kReject);
  });
  const std::vector<BadInputCase> lists = {
      {"no column", "l.csv", "id\n0\n", {":1", "'item'", "'id'"}},
      {"empty id", "l.csv", "item\n\"\"\n", {":2", "item id is empty"}},
      {"unknown item", "l.csv", "item\n0\n2\n", {"item '2' (line 3)"}},
  };
  expect_refused(lists, [](const std::string& path) {
    read_item_list(path, "item", IdMap::identity(2), UnknownIds::kReject);
  });
}

}  // namespace
}  // namespace quarry

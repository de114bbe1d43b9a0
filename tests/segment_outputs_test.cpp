// Tables of a model's outputs: what is read, and malformed ones with the place and remedy that the
// message must name.
#include "host/data/segment_outputs.h"

#include <gtest/gtest.h>

#include "kernels/core/errors.h"
#include "tests/support/bad_input.h"

namespace quarry {
namespace {

using testing::BadInputCase;
using testing::operator+=;

testing::SmallTable small_table() {
  return {"outputs",
          {"by", "segment", "negatives", "loss", "confusions", "predicted", "observed"},
          {{"branch", "hard", "5000", "0.75", "10", "0.25", "0.5"},
           {"branch", "random", "900", "", "0", "", ""}}};
}

TEST(SegmentOutputs, ReadsWhatIsThere) {
  const testing::TempDir folder;
  for (const auto& [name, text] : {std::pair{"o.csv", small_table().text()},
                                   std::pair{"o.tsv", small_table().text('\t', "\r\n")}}) {
    const SegmentOutputs outputs = read_segment_outputs(folder.write(name, text));
    ASSERT_EQ(outputs.lines.size(), 2u);
    const SegmentOutput& a = outputs.lines[0];
    EXPECT_EQ(a.by + "/" + a.segment, "branch/hard");
    EXPECT_EQ(a.negatives, 5000u);
    EXPECT_EQ(a.loss, 0.75);
    EXPECT_EQ(a.confusions, 10u);
    EXPECT_EQ(a.predicted, 0.25);
    EXPECT_EQ(a.observed, 0.5);
    const SegmentOutput& b = outputs.lines[1];
    EXPECT_EQ(b.line, 3u);
    EXPECT_FALSE(b.loss || b.predicted || b.observed);
    EXPECT_EQ(b.confusions, 0u);
    EXPECT_TRUE(outputs.passed_over.empty());
  }
  // Any order, spaces around numbers, double precision, columns that mean nothing here.
  const SegmentOutputs outputs = read_segment_outputs(folder.write(
      "p.csv", "loss,epoch,segment,by,negatives\n 0.1234567890123 ,3,\"\",size, 7 \n"));
  EXPECT_EQ(outputs.lines[0].loss, 0.1234567890123);
  EXPECT_EQ(outputs.lines[0].segment, "");
  EXPECT_EQ(outputs.lines[0].negatives, 7u);
  EXPECT_EQ(outputs.passed_over, std::vector<std::string>{"epoch"});
}

TEST(SegmentOutputs, RefusesWhatIsMalformed) {
  const testing::SmallTable table = small_table();
  const std::string csv = "outputs.csv";
  std::vector<BadInputCase> cases;
  for (const BadInputCase& c : container_cases(table)) {
    if (c.place == testing::Place::kFile || c.place == testing::Place::kNothing) cases.push_back(c);
  }
  const auto field = [&](const char* column, const std::string& value, const char* allowed) {
    cases.push_back({std::string(column) + " " + value,
                     csv,
                     table.with(0, column, value),
                     {":2", std::string(column) + " is ", allowed}});
  };
  for (const char* value : {"-1", "-0.5", "nan", "inf", "-inf", "1e999", "x", "0.5x", "1,5",
                            "0x1p3", "--1", "+", "1e", "\xEF\xBC\x91"})
    field("loss", value[1] == ',' ? "\"1,5\"" : value, "from 0 to 1e300");
  for (const char* value : {"-1", "1.5", "1e3", "", " ", "x", "+7", "7 8", "9007199254740993",
                            "99999999999999999999999", "nan"})
    field("negatives", value, "an integer from 0 to 2^53");
  for (const char* value : {"-1", "1.5", "x", "nan"})
    field("confusions", value, "an integer from 0 up to");
  for (const char* value : {"-0.01", "1.01", "x", "nan", "50%"}) {
    field("predicted", value, "from 0 to 1");
    field("observed", value, "from 0 to 1");
  }
  cases += std::vector<BadInputCase>{
      {"more confusions than negatives",
       csv,
       table.with(0, "confusions", "5001"),
       {":2", "5001 of 5000", "no more than there are"}},
      {"predicted alone", csv, table.with(0, "observed", ""), {":2", "observed is empty", "both"}},
      {"observed alone", csv, table.with(0, "predicted", ""), {":2", "predicted is empty", "both"}},
      {"no by", csv, table.with(1, "by", ""), {":3", "by is empty", "branch"}},
      {"a segment twice",
       csv,
       table.with(1, "segment", "hard"),
       {":3", "'hard' of 'branch'", "line 2", "remove one"}},
      {"no figure", csv, "by,segment,negatives\nbranch,hard,5\n", {":1", "says nothing", "loss"}},
      {"no negatives", csv, "by,segment,loss\nbranch,hard,5\n", {":1", "negatives"}},
      {"no segment", csv, "by,negatives,loss\nbranch,5,5\n", {":1", "segment"}},
      {"no column by", csv, "segment,negatives,loss\nhard,5,5\n", {":1", "by"}},
      {"no observed",
       csv,
       "by,segment,negatives,predicted\nbranch,hard,5,0.5\n",
       {":1", "observed", "leave out predicted"}},
      {"no predicted",
       csv,
       "by,segment,negatives,observed\nbranch,hard,5,0.5\n",
       {":1", "predicted", "leave out observed"}},
      {"no line", csv, table.header(), {"no line", "nothing to go by"}},
  };
  for (const BadInputCase& c : cases) {
    const testing::TempDir folder;
    std::string path = folder.path_of(c.file);
    if (c.place == testing::Place::kFile) path = folder.write(c.file, c.content);
    std::string words;
    try {
      read_segment_outputs(path);
    } catch (const InputError& error) {
      EXPECT_EQ(c.code, 3) << c.name;
      words = error.what();
    } catch (const IoError& error) {
      EXPECT_EQ(c.code, 5) << c.name;
      words = error.what();
    }
    EXPECT_NE(words.find(path), std::string::npos) << c.name << ": " << words;
    for (const std::string& needle : c.needles)
      EXPECT_NE(words.find(needle), std::string::npos) << c.name << ": " << needle << "\n" << words;
  }
  EXPECT_GE(cases.size(), 60u);
}

}  // namespace
}  // namespace quarry

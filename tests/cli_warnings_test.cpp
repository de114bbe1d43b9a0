// What a run says of itself though it may go on: warnings on stderr and in the manifest.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/store/negative_set.h"
#include "tests/support/cli.h"

namespace quarry {
namespace {

using namespace test;
using Json = nlohmann::ordered_json;

TEST_F(CliTest, ALogOfKindsOnlyIsMinedWithAWarning) {
  std::string recipe = read_file("recipe.toml");
  recipe.replace(recipe.find("[\"like\"]"), 8, "[\"like\", \"rating>=4\"]");
  write_file("recipe.toml", recipe);
  write_file("plain.csv",
             "user,item,time,kind\n0,1,100,like\n1,2,100,like\n1,3,110,rating\n1,2,120,view\n");
  Args args = without(mine_args("set"), "--events");
  args.insert(args.end(), {"--events", path("plain.csv")});
  const Result r = run(args);
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("no column 'value'"), std::string::npos) << r.err;
  // The set holds what its rows are: the like, and its time, not that of the view.
  const NegativeSet set = NegativeSet::open(path("set"), true);
  ASSERT_EQ(set.rows(), 2u);
  EXPECT_EQ(set.row(1).time, 100);
  ASSERT_EQ(set.row(1).positives.size(), 1u);
  EXPECT_EQ(set.row(1).positives[0], 2u);
  // Without a positive either, the words say why.
  write_file("plain.csv", "user,item,time,kind\n0,1,100,Like\n");
  args.push_back("--overwrite");
  const Result none = run(args);
  EXPECT_EQ(none.code, 3) << none.err;
  for (const char* words : {"no event is positive", "without a column 'value'", "'Like'", "--rows"})
    EXPECT_NE(none.err.find(words), std::string::npos) << none.err;
}

TEST_F(CliTest, ShortSetsAreWarnedOf) {
  const auto warned = [&](const Args& more, const std::vector<std::string>& words) {
    const Result r = run(mine_args("set", more));
    ASSERT_EQ(r.code, 0) << r.err;
    const std::string warnings =
        Json::parse(read_file("set/manifest.json"))["run"]["warnings"].dump();
    for (const std::string& word : words) {
      EXPECT_NE(r.err.find(word), std::string::npos) << word << " is not in " << r.err;
      EXPECT_NE(warnings.find(word), std::string::npos) << word << " is not in " << warnings;
    }
    fs::remove_all(path("set"));
  };
  ASSERT_EQ(run(mine_args("full")).err.find("warning"), std::string::npos) << read_file("stderr");
  warned({"--set", "k=130", "--set", "branch.hard.source.pool=80"},
         {"k is 130 and there are only 120 items", "of 10,400 slots are filled", "max_rank"});
  // With replacement an item may be there twice.
  write_file("recipe.toml",
             "name = \"r\"\nk = 130\n[exposure]\npositive = [\"like\"]\naversion = "
             "[\"dislike\"]\n[safety]\nfilters = [\"positives\"]\n[[branch]]\nname = \"random\"\n"
             "source = \"uniform\"\nselect = \"sample_replacement\"\n");
  EXPECT_EQ(run(mine_args("repeated")).err.find("warning"), std::string::npos)
      << read_file("stderr");
  // A list of one item that every candidate must be in.
  write_file("recipe.toml",
             "name = \"r\"\nk = 3\n[safety]\nfilters = [\"positives\", { kind = \"allow_list\", "
             "list = \"few\" }]\n[[branch]]\nname = \"random\"\nsource = \"uniform\"\n");
  write_file("rows.csv", "user,item\n1,3\n2,4\n");
  write_file("few.csv", "item\n7\n");
  const Args few = {"--rows", path("rows.csv"), "--item-list", "few=" + path("few.csv")};
  warned(few,
         {"only 33.33 % of 6 slots are filled; 100 % of the empty ones have the code exhausted",
          "the filter allow_list", "rejected most", "loosen the filters"});
  write_file("rows.csv", "user,item\n1,7\n");
  warned(few, {"THE SET IS EMPTY: none of 3 slots is filled", "rejected most"});
}

TEST_F(CliTest, TablesThatTheRecipeDoesNotReadAreWarnedOf) {
  write_file("list.csv", "item\n1\n");
  write_file("pairs.csv", "user,item,score\n1,2,0.5\n");
  const Result r = run(
      mine_args("set", {"--feature", "look=" + path("items.npy"), "--item-list",
                        "shop=" + path("list.csv"), "--pairs", "teacher=" + path("pairs.csv")}));
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* flag : {"--feature look=", "--item-list shop=", "--pairs teacher="})
    EXPECT_NE(r.err.find(std::string("warning: ") + flag), std::string::npos) << flag << r.err;
  EXPECT_EQ(Json::parse(read_file("set/manifest.json"))["run"]["warnings"].size(), 3u);
}

TEST_F(CliTest, ExposureIsCountedAndItsGapsAreNamed) {
  std::string recipe = read_file("recipe.toml");
  const std::string old = "{ kind = \"positives\" }";
  recipe.replace(recipe.find(old), old.size(),
                 old + ", { kind = \"exposed\", classes = [\"ambiguous\"] }");
  recipe.replace(recipe.find("[safety]"), 8, "window = \"1d\"\n[safety]");
  write_file("recipe.toml", recipe);
  // Every user likes two items and dislikes one; nothing is ambiguous.
  const Result now = run(mine_args("now"));
  ASSERT_EQ(now.code, 0) << now.err;
  EXPECT_NE(now.err.find("no user's event on an item makes it ambiguous"), std::string::npos)
      << now.err;
  const Json pairs =
      Json::parse(NegativeSet::open(path("now"), false).manifest_json())["run"]["events"]["pairs"];
  EXPECT_EQ(pairs["aversion"], 40);
  EXPECT_EQ(pairs["positive"], 80);
  EXPECT_EQ(pairs["ambiguous"], 0);
  const Result late = run(mine_args("late", {"--as-of", "2024-01-01"}));
  ASSERT_EQ(late.code, 0) << late.err;
  EXPECT_NE(late.err.find("nothing but positives counts as exposure"), std::string::npos)
      << late.err;
  expect(mine_args("again"), 0, "80 positive, 40 aversion");
}

TEST_F(CliTest, BranchesThatGiveLittleAndRowsWithoutPositivesAreNamed) {
  write_file("recipe.toml", R"(name = "poor"
k = 4
[exposure]
positive = ["like"]
aversion = ["dislike"]
[safety]
filters = ["positives"]
[[branch]]
name = "seen"
share = 0.5
source = { kind = "exposed", classes = ["aversion"], max_age = "1s" }
[[branch]]
name = "near"
share = 0.5
source = { kind = "topk", pool = 20 }
filters = [{ kind = "relative_margin", ratio = 0.9 }]
)");
  std::string rows = "user,item\n1,\n";
  for (int user = 2; user < 12; ++user) rows += std::to_string(user) + ",3\n";
  write_file("rows.csv", rows);
  Args args = mine_args("set", {"--rows", path("rows.csv"), "--as-of", "2024-01-01"});
  const Result r = run(args);
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("branch 'seen' gave 0 of the 22 negatives that"), std::string::npos)
      << r.err;
  EXPECT_NE(r.err.find("1 of 11 rows have no positive"), std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("branch 'near' gave"), std::string::npos) << r.err;
  args.front() = "plan";
  const auto out = std::find(args.begin(), args.end(), "--out");
  args.erase(out, out + 2);
  expect(args, 0, "gave 0 of the 22 negatives of the 11 rows tried that");
  // By chance none of the few of one row need be a branch's.
  args.front() = "mine";
  args.insert(args.end(), {"--limit-rows", "1", "--set", "branch.seen.share=0.1", "--set",
                           "branch.near.share=0.9", "--out", path("one")});
  const Result one = run(args);
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(one.err.find("' gave "), std::string::npos) << one.err;
  // Inputs that give the row another positive are not those of the set.
  write_file("rows.csv", "user,item,row_key\n1,,7\n2,3,8\n");
  ASSERT_EQ(run(mine_args("keyed", {"--rows", path("rows.csv")})).code, 0);
  write_file("rows.csv", "user,item,row_key\n1,,7\n2,4,8\n");
  expect({"explain", path("keyed"), "--row", "1", "--item", "9"}, 3, "other positives");
}

TEST_F(CliTest, FlagsWithoutTheirFileAreNamed) {
  const Result r = run(mine_args(
      "set", {"--row-columns", "item=x", "--pair-columns", "value=v", "--number-duplicates"}));
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* flag : {"--row-columns has no effect without --rows",
                           "--pair-columns has no effect without --pairs",
                           "--number-duplicates has no effect without --rows"})
    EXPECT_NE(r.err.find(flag), std::string::npos) << r.err;
  expect(mine_args("set", {"--event-kind", "like", "--event-columns", "kind=what"}), 2,
         "give one of the two");
}

TEST_F(CliTest, SegmentsThatNoItemHasAreCounted) {
  write_file("recipe.toml",
             "name = \"r\"\nk = 2\n[exposure]\npositive = [\"like\"]\n[safety]\nfilters = "
             "[\"positives\", { kind = \"segment\", column = \"seller\" }]\n"
             "[[branch]]\nname = \"random\"\nsource = \"uniform\"\n");
  write_file("rows.csv", "user,item,segment\n1,3,S1\n2,4,S99\n3,5,S99\n");
  expect(mine_args("set", {"--rows", path("rows.csv")}), 0, "2 of 3 rows have no segment");
}

TEST_F(CliTest, KindsThatNoRuleNamesAreReported) {
  write_file("events.csv",
             read_file("events.csv") + "1,5,1500,look,\n2,6,1500,look,\n3,7,1500,peek,\n");
  const Result r = run(mine_args("set"));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("'look' (2), 'peek' (1)"), std::string::npos) << r.err;
  const Json run_facts = Json::parse(NegativeSet::open(path("set"), false).manifest_json())["run"];
  EXPECT_EQ(run_facts["events"]["kinds_no_rule_names"][0]["kind"], "look");
  EXPECT_EQ(run_facts["events"]["kinds_no_rule_names"][0]["events"], 2);
}

}  // namespace
}  // namespace quarry

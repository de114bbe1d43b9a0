// The quarry program as its users meet it: exit codes, messages, JSON.
#include <limits>
#include <nlohmann/json.hpp>

#include "host/store/negative_set.h"
#include "tests/support/cli.h"

namespace quarry {
namespace {

using namespace test;
using Json = nlohmann::ordered_json;

TEST_F(CliTest, HelpVersionAndUsageErrors) {
  expect({"--help"}, 0, "mine");
  expect({"mine", "--help"}, 0, "--recipe");
  expect({"--version"}, 0, "quarry 0.");
  expect({}, 2, "verbs are mine, plan");
  expect({"dig"}, 2, "dig");
  expect({"mine", "--no-such-flag"}, 2, "--no-such-flag");
  expect({"mine", "--seed", "minus one"}, 2, "--seed");
  expect({"mine", "--k", "20"}, 2, "--set k=N");
  EXPECT_EQ(run({"show", path("set"), "--keys", "7"}).err.find("--set k=N"), std::string::npos);
}

TEST_F(CliTest, UsageErrorsNameRangeAndRemedy) {
  for (const Args& args : {Args{}, Args{"mine", "--no-such-flag"}, Args{"mine", "--seed"},
                           Args{"bench", "--repetitions", "0"}, Args{"show"}}) {
    const Result r = run(args);
    EXPECT_EQ(r.code, 2);
    EXPECT_EQ(r.err.rfind("quarry: usage: ", 0), 0u) << r.err;
    EXPECT_NE(r.err.find("--help"), std::string::npos) << r.err;
  }
  expect({"mine", "--seed", "4294967296"}, 2, "from 0 to 4294967295");
  expect({"bench", "--repetitions", "0"}, 2, "1");
}

/// Texts of a few kilobytes that nest far deeper than a stack is high.
std::vector<std::string> deep_texts() {
  std::string dotted = "a", header = "[a", tables = "a = ", lists = "a = ";
  for (int i = 0; i < 30000; ++i) {
    dotted += ".a";
    header += ".a";
    tables += "{ a = ";
    lists += "[";
  }
  // Deep only in the sum of a header, a key and tables.
  std::string sum = "[a";
  for (int i = 0; i < 30; ++i) sum += ".a";
  sum += "]\nb";
  for (int i = 0; i < 30; ++i) sum += ".b";
  sum += " = { c.c.c.c = 1 }";
  return {dotted + " = 1\n", header + "]\nb = 1\n", tables, lists, sum};
}

TEST_F(CliTest, DeeplyNestedTextsAreRefused) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  const std::string manifest = read_file("set/manifest.json");
  for (const std::string& text : deep_texts()) {
    write_file("deep.toml", text);
    Args args = without(mine_args("deep"), "--recipe");
    args.insert(args.end(), {"--recipe", path("deep.toml")});
    expect(args, 2, "64 levels");
    expect({"mine", "--config", path("deep.toml")}, 2, "64 levels");
    Json json = Json::parse(manifest);
    json["run"]["recipe"]["text"] = text;
    write_file("set/manifest.json", json.dump());
    expect({"show", path("set")}, 3, "64 levels");
    expect({"explain", path("set"), "--row", "0", "--item", "1"}, 3, "64 levels");
  }
  write_file("set/manifest.json", manifest);
  expect(mine_args("deep", {"--set", "branch.hard.source=" + deep_texts()[2].substr(0, 60000)}), 2,
         "");
  // Brackets in strings and comments are no levels.
  const std::string brackets(100, '[');
  write_file("recipe.toml", read_file("recipe.toml") + "# " + brackets + "\n");
  expect(mine_args("shallow"), 0, "wrote");
}

TEST_F(CliTest, RecipesAndConfigsAreSmallRegularFiles) {
  ASSERT_EQ(::mkfifo(path("pipe.toml").c_str(), 0600), 0);
  fs::create_directory(path("folder.toml"));
  write_file("large.toml", std::string((1 << 20) + 1, '#'));
  const std::vector<std::pair<std::string, std::pair<int, std::string>>> cases = {
      {path("pipe.toml"), {5, "not a regular file"}}, {path("folder.toml"), {5, "it is a folder"}},
      {"/dev/zero", {5, "not a regular file"}},       {path("large.toml"), {2, "bytes long"}},
      {path("none.toml"), {5, "none.toml"}},
  };
  for (const auto& [file, expected] : cases) {
    Args args = without(mine_args("set"), "--recipe");
    args.insert(args.end(), {"--recipe", file});
    expect(args, expected.first, expected.second);
    expect({"mine", "--config", file}, expected.first, expected.second);
  }
}

TEST_F(CliTest, DoctorAlwaysSucceeds) {
  const Result r = run({"doctor", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  const Json json = Json::parse(r.out);
  EXPECT_GE(json["cpu"]["threads"], 1);
  EXPECT_TRUE(json["faiss"].contains("self_test_passed"));
  EXPECT_FALSE(json["gpu"]["words"].get<std::string>().empty());
  expect({"doctor"}, 0, "exact scores use");
}

/// In a build with CUDA on a machine without a GPU, and in one without CUDA.
TEST_F(CliTest, ADeviceThatIsNotThereIsSaid) {
  const Json gpu = Json::parse(run({"doctor", "--json"}).out)["gpu"];
  if (gpu["devices"] > 0) GTEST_SKIP() << "this machine has a GPU";
  const bool built = gpu["built_with_cuda"];
  const char* words = built ? "no usable CUDA device" : "this build has no CUDA";
  for (const char* device : {"cuda", "cuda:0", "cuda:1,0"}) {
    const Result r = run(mine_args("set", {"--device", device}));
    EXPECT_EQ(r.code, 7) << device << ": " << r.err;
    EXPECT_NE(r.err.find(words), std::string::npos) << r.err;
    EXPECT_NE(r.err.find("use --device auto or cpu"), std::string::npos) << r.err;
    EXPECT_FALSE(fs::exists(path("set")));
  }
  const Result cpu = run(mine_args("cpu", {"--device", "cpu"}));
  ASSERT_EQ(cpu.code, 0) << cpu.err;
  EXPECT_EQ(cpu.err.find("CUDA"), std::string::npos) << cpu.err;
  const Result chosen = run(mine_args("auto", {"--device", "auto"}));
  ASSERT_EQ(chosen.code, 0) << chosen.err;
  EXPECT_EQ(chosen.err.find("running on the CPU") != std::string::npos, built) << chosen.err;
  EXPECT_EQ(NegativeSet::open(path("auto"), false).content_hash(),
            NegativeSet::open(path("cpu"), false).content_hash());
  expect({"doctor"}, 0, words);
}

/// OpenBLAS takes a processor it does not know for its oldest; the program asks for better kernels,
/// and leaves a user's own choice alone.
TEST_F(CliTest, BlasRunsKernelsOfThisProcessor) {
  const auto blas = [this] {
    const Result r = run({"doctor", "--json"});
    EXPECT_EQ(r.code, 0) << r.err;
    return Json::parse(r.out)["blas"].get<std::string>();
  };
  const char* former = std::getenv("OPENBLAS_CORETYPE");
  const std::string kept = former != nullptr ? former : "";
  ::unsetenv("OPENBLAS_CORETYPE");
  const std::string chosen = blas();
  ::setenv("OPENBLAS_CORETYPE", "Prescott", 1);
  const std::string asked = blas();
  former != nullptr ? ::setenv("OPENBLAS_CORETYPE", kept.c_str(), 1)
                    : ::unsetenv("OPENBLAS_CORETYPE");
  if (chosen.find("DYNAMIC_ARCH") == std::string::npos) GTEST_SKIP() << chosen;
  EXPECT_NE(asked.find("Prescott"), std::string::npos) << asked;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    for (const char* old : {"Prescott", "Nehalem", "Sandybridge", "Barcelona"})
      EXPECT_EQ(chosen.find(old), std::string::npos) << chosen;
  }
#endif
}

TEST_F(CliTest, RecipesAreListedAndShown) {
  expect({"recipes"}, 0, "balanced");
  expect({"recipes", "list"}, 0, "balanced");
  expect({"recipes", "show", "balanced"}, 0, "[[branch]]");
  expect({"recipes", "show", "unbalanced"}, 2, "known are");
  expect({"recipes"}, 0, "by batches alone (quarry.Miner of Python, Miner::mine_batch):");
  expect({"recipes", "show", "mns"}, 0, "quarry.Miner(items, \"mns\")");
  expect({"recipes", "show", "bns"}, 0, "not run by the miner");
  const Result r = run({"recipes", "list", "--json"});
  ASSERT_EQ(r.code, 0);
  EXPECT_GT(Json::parse(r.out).size(), 5u);
}

TEST_F(CliTest, FlagsAndRecipeAreCheckedBeforeDataIsRead) {
  const Args good = mine_args("set");
  for (const char* flag : {"--items", "--users", "--recipe", "--out"}) {
    expect(without(good, flag), 2, flag);
  }
  expect(without(good, "--events"), 2, "--rows");
  expect({"mine", "--users", path("users.npy")}, 2,
         "--items, --recipe, --out, (--events or --rows) are required");
  expect(without(good, "--catalogue"), 2, "--catalogue");
  // The items do not exist either: the flag is what is reported.
  Args bad = without(good, "--items");
  bad.insert(bad.end(), {"--items", path("missing.npy"), "--shard", "3/3"});
  expect(bad, 2, "--shard");
  const std::pair<Args, const char*> cases[] = {
      {{"--shard", "1"}, "--shard"},
      {{"--host-memory", "lots"}, "--host-memory"},
      {{"--recall", "0"}, "--recall: must be above 0 and at most 1"},
      {{"--recall", "-0.5"}, "--recall: must be above 0 and at most 1"},
      {{"--recall", "1.01"}, "--recall: must be above 0 and at most 1"},
      {{"--recall", "95"}, "--recall: must be above 0 and at most 1"},
      {{"--recall", "nan"}, "--recall: must be above 0 and at most 1"},
      {{"--recall", "inf"}, "--recall: must be above 0 and at most 1"},
      {{"--recall", "95%"}, "is not a number"},
      {{"--recall", "0,95"}, "is not a number"},
      {{"--recall", ""}, "--recall"},
      {{"--recall-rows", "-1"}, "from 0 to 4294967295"},
      {{"--recall-rows", "65537"}, "--recall-rows: at most 65536"},
      {{"--host-memory", "1"}, "holds no row"},
      {{"--device", "cuda:0x"}, "--device"},
      {{"--device", "tpu"}, "--device"},
      {{"--as-of", "yesterday"}, "--as-of"},
      {{"--bad-rows", "ignore"}, "--bad-rows"},
      {{"--unknown-ids", "keep"}, "--unknown-ids"},
      {{"--rows-from", "events"}, "--rows-from"},
      {{"--event-columns", "who=user"}, "keys are"},
      {{"--pairs", "teacher"}, "NAME=FILE"},
      {{"--set", "k=0"}, "k"},
      {{"--set", "no.such.key=1"}, "no"},
      {{"--rows", "x.csv", "--rows-from", "users"}, "exclude"},
  };
  for (const auto& [more, words] : cases) expect(mine_args("set", more), 2, words);
  EXPECT_FALSE(fs::exists(path("set")));
}

TEST_F(CliTest, MinesShowsAndExplains) {
  const Result mined = run(mine_args("set", {"--json", "--seed", "3"}));
  ASSERT_EQ(mined.code, 0) << mined.err;
  const Json json = Json::parse(mined.out);
  const NegativeSet set = NegativeSet::open(path("set"), true);
  EXPECT_EQ(set.rows(), 2 * kUsers);  // two likes each
  EXPECT_EQ(json["content_hash"], set.content_hash());
  const Json run_facts = Json::parse(set.manifest_json())["run"];
  EXPECT_EQ(run_facts["seed"], 3);
  EXPECT_EQ(run_facts["inputs"][0]["path"], "../items.npy");
  EXPECT_EQ(run_facts["latest_event"], 1000 + (kUsers - 1) * 10 + 2);
  const Json& fill = run_facts["fill"];
  std::uint64_t missing = 0;
  for (const auto& [code, count] : fill["missing"].items()) missing += count.get<std::uint64_t>();
  EXPECT_EQ(fill["requested"].get<std::uint64_t>(), fill["emitted"].get<std::uint64_t>() + missing);
  EXPECT_NE(mined.err.find("branch 'hard'"), std::string::npos) << mined.err;

  expect({"show", path("set"), "--row", "0", "--verify"}, 0, "Film no. ");
  const Result shown = run({"show", path("set"), "--user", "5", "--json"});
  ASSERT_EQ(shown.code, 0) << shown.err;
  EXPECT_EQ(Json::parse(shown.out)["shown"][0]["user"], "5");
  expect({"show", path("set"), "--row", "100000"}, 3, "there is no row");
  expect({"show", path("nowhere")}, 5, "nowhere: cannot be opened");
  expect({"show", "--hash", path("nowhere")}, 5, "nowhere: cannot be opened");
  expect({"explain", path("nowhere"), "--row", "0", "--item", "1"}, 5, "nowhere: cannot be opened");
  fs::create_directory(path("empty"));
  expect({"show", path("empty")}, 3, "not a finished negative set");
  expect({"show", path("items.npy")}, 3, "this is a file");
  expect({"show", path("set"), "--hash"}, 0, set.content_hash());

  const NegativeSet::Row row = set.row(0);
  ASSERT_GT(row.count, 0);
  const Args about = {"explain", path("set"), "--row", "0", "--json", "--item"};
  Args picked = about;
  picked.push_back(std::to_string(row.item[0]));
  const Result why = run(picked);
  ASSERT_EQ(why.code, 0) << why.err;
  EXPECT_EQ(Json::parse(why.out)["slot"], 0);
  EXPECT_EQ(Json::parse(why.out)["same_as_set"], true) << why.err;
  Args own = about;
  own.push_back("0");  // user 0 likes item 0
  const Json own_json = Json::parse(run(own).out);
  EXPECT_TRUE(own_json["slot"].is_null());
  for (const Json& branch : own_json["branches"])
    EXPECT_EQ(branch["rejected_by"], "positives") << branch.dump();
  Args disliked = about;
  disliked.push_back("62");  // user 0 dislikes item 62
  EXPECT_EQ(Json::parse(run(disliked).out)["branches"][0]["filters"][2]["rejects"], true);
  expect({"explain", path("set"), "--row", "0", "--item", "nothing"}, 3,
         "there is no item 'nothing'");
  expect({"explain", path("set"), "--item", "0"}, 2, "--row");
}

/// What a run was is written in its set; a flag that says otherwise would be lost, or a lie.
TEST_F(CliTest, ShowAndExplainTakeNoFlagsOfTheRun) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  const Args facts[] = {{"--seed", "5"},        {"--recipe", "balanced"}, {"--set", "k=3"},
                        {"--limit-rows", "1"},  {"--shard", "0/2"},       {"--rows-from", "users"},
                        {"--as-of", "1"},       {"--device", "cpu"},      {"--recall", "0.5"},
                        {"--host-memory", "1"}, {"--allow-inert"},        {"--overwrite"},
                        {"--out", "x"}};
  const auto with = [](Args args, const Args& more) {
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  const Args show = {"show", path("set")};
  const Args explain = {"explain", path("set"), "--row", "0", "--item", "1"};
  for (const Args& more : facts) {
    expect(with(show, more), 2, more[0]);
    expect(with(explain, more), 2, more[0]);
  }
  expect(with(show, {"--retriever", "exact"}), 2, "--retriever");  // nothing is searched
  expect(with(show, {"--hash", "--n", "3"}), 2, "--n has no effect");
  expect(with(show, {"--hash", "--items", path("items.npy")}), 2, "--items has no effect");
  expect(with(show, {"--events", path("events.csv"), "--threads", "1"}), 0, "Film no.");
  expect(with(explain, {"--retriever", "exact", "--items", path("items.npy")}), 0, "exact score");
}

TEST_F(CliTest, ShardsAndTilesGiveTheSameSet) {
  ASSERT_EQ(run(mine_args("whole")).code, 0);
  const std::string hash = NegativeSet::open(path("whole"), false).content_hash();
  Args joined = {"show", "--hash"};
  for (const char* shard : {"0/3", "1/3", "2/3"}) {
    const std::string name = std::string("part") + shard[0];
    ASSERT_EQ(run(mine_args(name, {"--shard", shard, "--tile", "7"})).code, 0);
    joined.push_back(path(name));
  }
  EXPECT_EQ(run(joined).out, hash + "\n");
  Args threads = without(mine_args("tiles", {"--tile", "1", "--rows-per-shard", "9"}), "--threads");
  threads.insert(threads.end(), {"--threads", "2"});
  ASSERT_EQ(run(threads).code, 0);
  EXPECT_EQ(NegativeSet::open(path("tiles"), true).content_hash(), hash);
  ASSERT_EQ(run(mine_args("other", {"--seed", "1"})).code, 0);
  EXPECT_NE(NegativeSet::open(path("other"), true).content_hash(), hash);
}

TEST_F(CliTest, BadDataIsNamed) {
  Args missing = without(mine_args("set"), "--items");
  missing.insert(missing.end(), {"--items", path("missing.npy")});
  expect(missing, 5, "missing.npy");
  write_file("events.csv", "user,item,time,kind,value\n0,9999,5,like,\n");
  expect(mine_args("set"), 3, "events.csv");
  write_file("events.csv", "user,item,time,kind,value\n0,1,5,look,\n");
  expect(mine_args("set"), 3, "no row can be made");
  write_file("users.npy", "not numpy");
  expect(mine_args("set"), 3, "users.npy");
  EXPECT_FALSE(fs::exists(path("set")));
  EXPECT_EQ(partial_folders(), 0);
}

TEST_F(CliTest, BadEmbeddingRowsAreRejectedOrDropped) {
  std::vector<float> users(std::size_t{kUsers} * kDim, 1.0f);
  users[4 * kDim] = std::numeric_limits<float>::quiet_NaN();
  write_npy(path("users.npy"), users.data(), kUsers, kDim);
  expect(mine_args("set"), 3, "users.npy");
  std::vector<float> items(std::size_t{kItems} * kDim);
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = std::sin(0.7f * static_cast<float>(i));
  items[50 * kDim + 3] = std::numeric_limits<float>::infinity();
  write_npy(path("items.npy"), items.data(), kItems, kDim);
  expect(mine_args("set", {"--bad-rows", "drop", "--tile", "5"}), 0, "bad_row");
  const NegativeSet set = NegativeSet::open(path("set"), true);
  ASSERT_EQ(set.rows(), 2 * kUsers);
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const NegativeSet::Row row = set.row(r);
    const bool bare = r == 75;  // item 50 was its only positive
    EXPECT_EQ(row.count == 0, row.user == 4 || bare) << r;
    for (std::uint32_t j = 0; j < row.count; ++j) EXPECT_NE(row.item[j], 50u);
    if (row.user == 4) {
      EXPECT_EQ(row.fill[0], static_cast<std::uint8_t>(FillCode::kBadRow));
    }
  }
  const Json fill = Json::parse(set.manifest_json())["run"]["fill"];
  EXPECT_EQ(fill["missing"]["bad_row"], 15);
}

TEST_F(CliTest, ARowWithoutAnyUsablePositiveIsABadRow) {
  // User 0 likes items 0 and 31; 31 cannot be scored.
  std::vector<float> items(std::size_t{kItems} * kDim);
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = std::sin(0.7f * static_cast<float>(i));
  items[31 * kDim] = std::numeric_limits<float>::quiet_NaN();
  write_npy(path("items.npy"), items.data(), kItems, kDim);
  ASSERT_EQ(run(mine_args("set", {"--bad-rows", "drop"})).code, 0) << read_file("stderr");
  const NegativeSet set = NegativeSet::open(path("set"), true);
  ASSERT_EQ(set.rows(), 2 * kUsers);
  EXPECT_GT(set.row(0).count, 0);
  EXPECT_EQ(set.row(1).count, 0);
  EXPECT_EQ(set.row(1).fill[0], static_cast<std::uint8_t>(FillCode::kBadRow));
  const Json json = Json::parse(set.manifest_json())["run"];
  EXPECT_GE(json["dropped"]["bad_rows"], 1);
  EXPECT_EQ(json["fill"]["missing"]["bad_row"], 5 * json["dropped"]["bad_rows"].get<int>());
  const Result r = run({"explain", path("set"), "--row", "1", "--item", "5", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(Json::parse(r.out)["fill"], "bad_row");
}

TEST_F(CliTest, FiltersThatKnowNothingAreRefused) {
  const std::string recipe = read_file("recipe.toml");
  const auto with_safety = [&](const std::string& filters) {
    std::string text = recipe;
    const std::string old = "{ kind = \"positives\" }, { kind = \"group\", column = \"seller\" }";
    text.replace(text.find(old), old.size(), filters);
    write_file("recipe.toml", text);
  };
  // time: without a catalogue, and with one that has no times.
  with_safety("{ kind = \"positives\" }, { kind = \"time\" }");
  expect(without(mine_args("set"), "--catalogue"), 2, "time");
  expect(mine_args("set"), 2, "first_seen");
  EXPECT_FALSE(fs::exists(path("set")));
  const Result allowed = run(mine_args("set", {"--allow-inert"}));
  ASSERT_EQ(allowed.code, 0) << allowed.err;
  EXPECT_NE(allowed.err.find("rejects nothing (--allow-inert)"), std::string::npos) << allowed.err;
  const Json warnings =
      Json::parse(NegativeSet::open(path("set"), false).manifest_json())["run"]["warnings"];
  EXPECT_NE(warnings.dump().find("--allow-inert"), std::string::npos) << warnings;
  expect({"show", path("set")}, 0, "Film no.");
  // exposed without events; positives that nobody knows.
  write_file("rows.csv", "user\n1\n2\n");
  Args rows = without(mine_args("rows", {"--rows", path("rows.csv")}), "--events");
  with_safety("{ kind = \"positives\" }, { kind = \"exposed\", classes = [\"ambiguous\"] }");
  expect(rows, 2, "--events");
  write_file("recipe.toml",
             "name = \"r\"\nk = 2\n[safety]\nfilters = [\"positives\"]\n"
             "[[branch]]\nname = \"random\"\nsource = \"uniform\"\n");
  expect(rows, 2, "knows no positive");
  rows.push_back("--allow-inert");
  expect(rows, 0, "knows no positive");
  write_file("rows.csv", "user,item\n1,3\n2,\n");
  rows.back() = "--overwrite";
  expect(rows, 0, "wrote");
}

TEST_F(CliTest, FeaturesThatCannotBeComparedAreRefusedWithARemedyThatHelps) {
  std::string recipe = read_file("recipe.toml");
  const std::string old = "{ kind = \"positives\" }";
  recipe.replace(recipe.find(old), old.size(),
                 old + ", { kind = \"near_duplicate\", cosine = 0.9, table = \"text\" }");
  write_file("recipe.toml", recipe);
  std::vector<float> vectors(std::size_t{kItems} * 2, 1.0f);
  vectors[3] = std::nanf("");
  write_npy(path("text.npy"), vectors.data(), kItems, 2);
  const Args args = mine_args("set", {"--feature", "text=" + path("text.npy")});
  const Result r = run(args);
  EXPECT_EQ(r.code, 3) << r.err;
  for (const char* words : {"text.npy", "row 1 (element 1 is NaN)", "make them zeros"})
    EXPECT_NE(r.err.find(words), std::string::npos) << r.err;
  vectors[2] = vectors[3] = 0.0f;
  write_npy(path("text.npy"), vectors.data(), kItems, 2);
  expect(args, 0, "wrote");
}

TEST_F(CliTest, ExplainSaysTheBoundOfARelativeColumn) {
  std::string recipe = read_file("recipe.toml");
  const std::string old = "{ kind = \"exposed\", classes = [\"aversion\"] }";
  recipe.replace(recipe.find(old), old.size(),
                 "{ kind = \"column\", table = \"teacher\", relative = 0.75 }");
  write_file("recipe.toml", recipe);
  std::string teacher = "user,item,score\n";
  for (std::uint32_t i = 0; i < kItems; ++i)
    teacher += "0," + std::to_string(i) + "," + (i == 5 ? "-1" : "-2") + "\n";
  write_file("teacher.csv", teacher);
  ASSERT_EQ(run(mine_args("set", {"--pairs", "teacher=" + path("teacher.csv")})).code, 0);
  expect({"explain", path("set"), "--row", "0", "--item", "5"}, 0,
         "value -1 in 'teacher', bound -2.5 by the least of the positives, -2");
}

TEST_F(CliTest, ShowSurvivesASetOfAnyNumbers) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  fs::path shard;
  for (const auto& entry : fs::directory_iterator(path("set")))
    if (entry.is_directory()) shard = entry.path();
  for (const char* column :
       {"user", "item", "positive", "time", "stratum", "raw_rank", "count", "branch", "fill"}) {
    const std::string file = "set/" + shard.filename().string() + "/" + column + ".npy";
    std::string bytes = read_file(file);
    std::fill(bytes.begin() + 128, bytes.end(), '\xFF');
    write_file(file, bytes);
    EXPECT_EQ(run({"show", path("set"), "--row", "0"}).code, 0) << column;
    EXPECT_EQ(run({"show", path("set"), "--row", "0", "--json"}).code, 0) << column;
  }
  const Result none = run({"show", path("set"), "--n", "0", "--json"});
  EXPECT_EQ(Json::parse(none.out)["shown"], Json::array());
}

TEST_F(CliTest, WhatUnknownIdsCostIsCounted) {
  write_file("rows.csv", "user,item\n1,3\n2,4|9999\n7777,5\n3,8888\n");
  write_file("list.csv", "item\n1\n5555\n");
  write_file("pairs.csv", "user,item,score\n1,2,0.5\n1,9999,0.5\n");
  write_file("catalogue.csv", read_file("catalogue.csv") + "9999,Gone,S1\n");
  const Result r =
      run(mine_args("set", {"--rows", path("rows.csv"), "--unknown-ids", "drop", "--item-list",
                            "all=" + path("list.csv"), "--pairs", "t=" + path("pairs.csv")}));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("left out for unknown ids: 2 rows, 1 positives"), std::string::npos)
      << r.err;
  const Json dropped =
      Json::parse(NegativeSet::open(path("set"), false).manifest_json())["run"]["dropped"];
  EXPECT_EQ(dropped["rows"], 2);
  EXPECT_EQ(dropped["row_positives"], 1);
  EXPECT_EQ(dropped["catalogue"], 1);
  EXPECT_EQ(dropped["pairs"], 1);
  EXPECT_EQ(dropped["lists"], 1);
}

TEST_F(CliTest, DatesWithoutDashesAreNotSeconds) {
  write_file("events.csv", "user,item,time,kind,value\n0,1,20240501,like,\n");
  expect(mine_args("set"), 3, "write 2024-05-01");
  expect(mine_args("set", {"--as-of", "20240501"}), 2, "YYYYMMDD");
  write_file("events.csv", "user,item,time,kind,value\n0,1,20240501.0,like,\n");
  expect(mine_args("set"), 0, "wrote");
}

TEST_F(CliTest, ConfigFilesAreOverriddenByFlags) {
  write_file("run.toml", "items = '" + path("items.npy") + "'\nusers = '" + path("users.npy") +
                             "'\nevents = '" + path("events.csv") + "'\ncatalogue = '" +
                             path("catalogue.csv") + "'\nrecipe = '" + path("recipe.toml") +
                             "'\nseed = 5\nthreads = 1\nset = ['k=3']\n[event-columns]\nuser = "
                             "'user'\nitem = 'item'\n");
  ASSERT_EQ(run({"mine", "--config", path("run.toml"), "--seed", "6", "--out", path("set")}).code,
            0)
      << read_file("stderr");
  const NegativeSet set = NegativeSet::open(path("set"), false);
  EXPECT_EQ(set.k(), 3u);
  EXPECT_EQ(Json::parse(set.manifest_json())["run"]["seed"], 6);
  write_file("bad.toml", "seed = 5\nthread = 1\n");
  expect({"mine", "--config", path("bad.toml")}, 2, "bad.toml:2:");
  expect({"mine", "--config", path("bad.toml")}, 2, "did you mean 'threads'");
  write_file("worse.toml", "seed = \n");
  expect({"mine", "--config", path("worse.toml")}, 2, "worse.toml:1:");
  expect({"mine", "--config", path("missing.toml")}, 5, "missing.toml");
  // One file for plan and mine: plan leaves alone what only mine takes.
  write_file("both.toml", read_file("run.toml").substr(0, read_file("run.toml").find("[event")) +
                              "out = 'x'\noverwrite = true\nrows-per-shard = 9\n");
  expect({"plan", "--config", path("both.toml"), "--probe-seconds", "0"}, 0, "rows");
  expect({"plan", "--config", path("bad.toml")}, 2, "bad.toml:2:");
}

TEST_F(CliTest, PlanMinesNothing) {
  Args args = without(mine_args("set"), "--out");
  args[0] = "plan";
  args.insert(args.end(), {"--probe-seconds", "0.05", "--json"});
  const Result r = run(args);
  ASSERT_EQ(r.code, 0) << r.err;
  const Json plan = Json::parse(r.out);
  EXPECT_EQ(plan["rows"], 2 * kUsers);
  EXPECT_GT(plan["memory"]["peak_resident_bytes"], 0);
  EXPECT_GT(plan["probe"]["rows_per_second"], 0);
  EXPECT_EQ(partial_folders(), 0);
}

TEST_F(CliTest, ShowSaysWhatTheRowIsFor) {
  write_file("catalogue.csv", "item,title,seller\n0,\"Zero\x1b[2J\x07\",S1\n31,Thirty-one,S2\n");
  ASSERT_EQ(run(mine_args("set")).code, 0) << read_file("stderr");
  const Result words = run({"show", path("set"), "--row", "0"});
  ASSERT_EQ(words.code, 0) << words.err;
  EXPECT_NE(words.out.find("positive 0 Zero\\x1B[2J\\x07, at 1970-01-01 00:16:40"),
            std::string::npos)
      << words.out;
  EXPECT_EQ(words.out.find('\x1b'), std::string::npos);
  const Result json = run({"show", path("set"), "--row", "1", "--json"});
  ASSERT_EQ(json.code, 0) << json.err;
  EXPECT_EQ(Json::parse(json.out)["shown"][0]["positives"][0]["item"], "31");
  EXPECT_EQ(Json::parse(json.out)["shown"][0]["time"], 1001);
  const Result hash = run({"show", path("set"), "--hash", "--json"});
  EXPECT_EQ(Json::parse(hash.out)["content_hash"],
            NegativeSet::open(path("set"), false).content_hash());
  // A draw has no rank: its window is not judged.
  expect({"explain", path("set"), "--row", "0", "--item", "62"}, 0, "passes ");
}

}  // namespace
}  // namespace quarry

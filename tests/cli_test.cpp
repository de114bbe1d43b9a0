// The quarry program as its users meet it: exit codes, messages, JSON, and an orderly end when it
// is stopped.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "host/data/embeddings.h"
#include "host/store/negative_set.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Args = std::vector<std::string>;

struct Result {
  int code = -1;
  std::string out, err;
};

class CliTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kUsers = 40, kItems = 120, kDim = 8;

  void SetUp() override {
    const char* program = std::getenv("QUARRY_PROGRAM");
    program_ = program != nullptr ? program : std::string(QUARRY_BINARY_DIR) + "/quarry";
    ASSERT_TRUE(fs::exists(program_))
        << program_ << " is not built; QUARRY_PROGRAM names the program";
    std::string pattern = (fs::temp_directory_path() / "quarry-cli-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    write_data(kUsers);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void write_file(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
  }

  std::string read_file(const std::string& name) const {
    std::ifstream file(path(name));
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  /// Vectors that differ in every element, three events per user, titles and a seller per item.
  void write_data(std::uint32_t users) {
    const auto table = [](std::uint32_t rows, float phase) {
      std::vector<float> data(std::size_t{rows} * kDim);
      for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = std::sin(phase + 0.7f * static_cast<float>(i));
      return data;
    };
    write_npy(path("items.npy"), table(kItems, 0.1f).data(), kItems, kDim);
    write_npy(path("users.npy"), table(users, 0.4f).data(), users, kDim);
    std::string events = "user,item,time,kind,value\n";
    for (std::uint32_t u = 0; u < users; ++u) {
      for (std::uint32_t j = 0; j < 3; ++j) {
        events += std::to_string(u) + "," + std::to_string((u * 7 + j * 31) % kItems) + "," +
                  std::to_string(1000 + u * 10 + j) + "," + (j == 2 ? "dislike" : "like") + ",\n";
      }
    }
    write_file("events.csv", events);
    std::string catalogue = "item,title,seller\n";
    for (std::uint32_t i = 0; i < kItems; ++i) {
      catalogue += std::to_string(i) + ",\"Film no. " + std::to_string(i) + "\",S" +
                   std::to_string(i % 9) + "\n";
    }
    write_file("catalogue.csv", catalogue);
    write_file("recipe.toml", R"(name = "small"
k = 5
metric = "ip"
[exposure]
positive = ["like"]
aversion = ["dislike"]
[safety]
filters = [{ kind = "positives" }, { kind = "group", column = "seller" }]
[[branch]]
name = "hard"
share = 0.6
source = { kind = "topk", pool = 20, max_rank = 100 }
filters = [{ kind = "exposed", classes = ["aversion"] }]
select = { kind = "sample", weight = { kind = "softmax", tau = 0.5 } }
[[branch]]
name = "random"
share = 0.4
source = { kind = "uniform" }
)");
  }

  Args mine_args(const std::string& out, const Args& more = {}) const {
    Args args = {"mine",
                 "--items",
                 path("items.npy"),
                 "--users",
                 path("users.npy"),
                 "--events",
                 path("events.csv"),
                 "--catalogue",
                 path("catalogue.csv"),
                 "--recipe",
                 path("recipe.toml"),
                 "--threads",
                 "1",
                 "--out",
                 path(out)};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  /// The same command without one flag and its value.
  static Args without(Args args, const std::string& flag) {
    const auto at = std::find(args.begin(), args.end(), flag);
    if (at != args.end()) args.erase(at, at + 2);
    return args;
  }

  pid_t start(const Args& args) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    std::vector<char*> argv = {const_cast<char*>(program_.c_str())};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    const int out = ::open(path("stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = ::open(path("stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(out, 1);
    ::dup2(err, 2);
    ::execv(program_.c_str(), argv.data());
    ::_exit(127);
  }

  Result finish(pid_t child) const {
    int status = 0;
    Result result;
    if (::waitpid(child, &status, 0) == child && WIFEXITED(status))
      result.code = WEXITSTATUS(status);
    result.out = read_file("stdout");
    result.err = read_file("stderr");
    return result;
  }

  Result run(const Args& args) const { return finish(start(args)); }

  void expect(const Args& args, int code, const std::string& words) const {
    const Result r = run(args);
    EXPECT_EQ(r.code, code) << r.err << r.out;
    EXPECT_NE((r.err + r.out).find(words), std::string::npos)
        << "'" << words << "' is not in: " << r.err << r.out;
  }

  /// Names in the folder that begin like an unfinished set.
  int partial_folders() const {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().filename().string().find(".partial-") != std::string::npos) ++count;
    }
    return count;
  }

  std::string program_;
  fs::path folder_;
};

TEST_F(CliTest, HelpVersionAndUsageErrors) {
  expect({"--help"}, 0, "mine");
  expect({"mine", "--help"}, 0, "--recipe");
  expect({"--version"}, 0, "quarry 0.");
  expect({}, 2, "subcommand");
  expect({"dig"}, 2, "dig");
  expect({"mine", "--no-such-flag"}, 2, "--no-such-flag");
  expect({"mine", "--seed", "minus one"}, 2, "--seed");
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

TEST_F(CliTest, RecipesAreListedAndShown) {
  expect({"recipes"}, 0, "balanced");
  expect({"recipes", "list"}, 0, "balanced");
  expect({"recipes", "show", "balanced"}, 0, "[[branch]]");
  expect({"recipes", "show", "unbalanced"}, 2, "known are");
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
  expect(without(good, "--catalogue"), 2, "--catalogue");
  // The items do not exist either: the flag is what is reported.
  Args bad = without(good, "--items");
  bad.insert(bad.end(), {"--items", path("missing.npy"), "--shard", "3/3"});
  expect(bad, 2, "--shard");
  const std::pair<Args, const char*> cases[] = {
      {{"--shard", "1"}, "--shard"},
      {{"--host-memory", "lots"}, "--host-memory"},
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
  expect({"show", path("nowhere")}, 3, "no such negative set");
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

TEST_F(CliTest, AnExistingSetIsKept) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  expect(mine_args("set"), 5, "--overwrite");
  expect(mine_args("set", {"--overwrite"}), 0, "set.old");
  EXPECT_TRUE(fs::exists(path("set.old/manifest.json")));
  expect(mine_args("no/such/folder"), 5, "--out");
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
    EXPECT_EQ(row.count == 0, row.user == 4) << r;
    for (std::uint32_t j = 0; j < row.count; ++j) EXPECT_NE(row.item[j], 50u);
    if (row.user == 4) {
      EXPECT_EQ(row.fill[0], static_cast<std::uint8_t>(FillCode::kBadRow));
    }
  }
  const Json fill = Json::parse(set.manifest_json())["run"]["fill"];
  EXPECT_EQ(fill["missing"]["bad_row"], 10);
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

TEST_F(CliTest, AStoppedRunLeavesNothing) {
  write_data(60000);  // long enough to be stopped in the middle, one row per tile
  for (const int signal : {SIGTERM, SIGINT}) {
    const pid_t child = start(mine_args("set", {"--tile", "1"}));
    for (int i = 0; i < 6000 && partial_folders() == 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(partial_folders(), 1) << "the run did not begin to write";
    const auto sent = std::chrono::steady_clock::now();
    ::kill(child, signal);
    const Result r = finish(child);
    EXPECT_LT(std::chrono::steady_clock::now() - sent, std::chrono::seconds(5));
    EXPECT_EQ(r.code, 75) << r.err;
    EXPECT_NE(r.err.find("stopped"), std::string::npos) << r.err;
    EXPECT_FALSE(fs::exists(path("set")));
    EXPECT_EQ(partial_folders(), 0);
  }
}

}  // namespace
}  // namespace quarry

// The quarry program and its files and streams: what it will not read or overwrite, and an orderly
// end when it is stopped or loses its output.
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "index/retriever.h"
#include "tests/support/cli.h"

namespace quarry {
namespace {

using namespace test;
using Json = nlohmann::ordered_json;

TEST_F(CliTest, LostOutputIsAnError) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  const std::string set = path("set");
  for (const Args& args :
       {Args{"--help"}, Args{"mine", "--help"}, Args{"--version"}, Args{"recipes"},
        Args{"recipes", "show", "balanced"}, Args{"doctor"}, Args{"show", set},
        Args{"show", set, "--json"}, Args{"show", set, "--hash"},
        Args{"explain", set, "--row", "0", "--item", "1"}, mine_args("full", {"--json"})}) {
    const Result r = finish(start(args, "/dev/full"));
    EXPECT_EQ(r.code, 5) << args.front() << ": " << r.err;
    EXPECT_NE(r.err.find("standard output"), std::string::npos) << args.front() << ": " << r.err;
  }
}

TEST_F(CliTest, AClosedStandardOutputIsNotAnInput) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  const std::string before = read_file("items.npy");
  const std::string command = "'" + program_ + "' show '" + path("set") + "' >&- 2>/dev/null";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 5);
  EXPECT_EQ(read_file("items.npy"), before);
}

TEST_F(CliTest, AReaderThatHasEnoughHearsNothing) {
  // `true` is gone long before the first word is written.
  const std::string command = "(sleep 0.5; '" + program_ + "' recipes show balanced 2> '" +
                              path("err") + "'; echo $? > '" + path("code") + "') | true";
  ASSERT_EQ(std::system(command.c_str()), 0);
  for (int i = 0; i < 2000 && read_file("code").empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(read_file("code"), "5\n");
  EXPECT_EQ(read_file("err"), "");
}

TEST_F(CliTest, AnExistingSetIsKept) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  expect(mine_args("set"), 5, "--overwrite");
  expect(mine_args("set", {"--overwrite"}), 0, "set.old");
  EXPECT_TRUE(fs::exists(path("set.old/manifest.json")));
  expect(mine_args("no/such/folder"), 5, "--out");
}

TEST_F(CliTest, ShowWarnsOfChangedFiles) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  EXPECT_EQ(run({"show", path("set")}).err, "");
  std::string catalogue = read_file("catalogue.csv");
  catalogue.replace(catalogue.find("Film no. 7"), 10, "Film no. 8");
  write_file("catalogue.csv", catalogue);
  expect({"show", path("set")}, 0, "catalogue.csv: has other content");
  write_file("catalogue.csv", catalogue + "\n");
  const Result r = run({"show", path("set"), "--json"});
  EXPECT_NE(r.err.find("bytes, had"), std::string::npos) << r.err;
  EXPECT_EQ(Json::parse(r.out)["changed_inputs"].size(), 1u);
}

TEST_F(CliTest, ShowChecksTheFilesThatItUses) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  fs::rename(path("catalogue.csv"), path("moved.csv"));
  const Args moved = {"show", path("set"), "--json", "--catalogue", path("moved.csv")};
  Result r = run(moved);
  EXPECT_EQ(r.code, 0);
  EXPECT_EQ(r.err, "") << "the file that is gone is not in use";
  EXPECT_EQ(Json::parse(r.out)["changed_inputs"].size(), 0u);
  std::string other = read_file("moved.csv");
  other.replace(other.find("Film no. 7"), 10, "Film no. 8");
  write_file("moved.csv", other);
  r = run(moved);
  EXPECT_EQ(r.code, 0);
  EXPECT_NE(r.err.find("moved.csv: has other content"), std::string::npos) << r.err;
  // A recorded file that is gone costs the names; one that is asked for must be there.
  const Result untitled = run({"show", path("set"), "--json"});
  EXPECT_NE(untitled.err.find("titles are not shown"), std::string::npos) << untitled.err;
  EXPECT_EQ(Json::parse(untitled.out)["shown"][0]["user"], "0");
  fs::rename(path("users.npy"), path("elsewhere.npy"));
  const Result nameless = run({"show", path("set"), "--json"});
  EXPECT_NE(nameless.err.find("ids and titles are not shown"), std::string::npos) << nameless.err;
  EXPECT_TRUE(Json::parse(nameless.out)["shown"][0]["user"].is_null());
  EXPECT_EQ(Json::parse(nameless.out)["shown"][0]["user_index"], 0);
  fs::rename(path("elsewhere.npy"), path("users.npy"));
  expect({"show", path("set"), "--catalogue", path("none.csv")}, 5, "none.csv");
  expect({"show", path("set"), "--catalogue", path("moved.csv"), "--events", path("items.npy")}, 3,
         "items.npy");
}

TEST_F(CliTest, ShowWorksWhereTheSetWasNotMined) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  Json manifest = Json::parse(read_file("set/manifest.json"));
  manifest["run"]["options"]["device"] = "cuda:0";
  write_file("set/manifest.json", manifest.dump());
  expect({"show", path("set")}, 0, "Film no.");
  expect({"explain", path("set"), "--row", "0", "--item", "1"}, 0, "exact score");
  Json damaged = manifest;
  damaged["run"]["recipe"]["text"] = "k = 0";
  write_file("set/manifest.json", damaged.dump());
  expect({"show", path("set")}, 3, "manifest.json");
  damaged = manifest;
  damaged["run"]["options"]["tile"] = "many";
  write_file("set/manifest.json", damaged.dump());
  expect({"show", path("set")}, 3, "'tile'");
  damaged = manifest;
  damaged["run"]["options"]["unknown-ids"] = "keep";
  write_file("set/manifest.json", damaged.dump());
  expect({"show", path("set")}, 3, "--unknown-ids");
}

TEST_F(CliTest, PathsNeedNotBeUtf8) {
  const std::string odd = path("odd\xff.csv");
  fs::copy_file(path("events.csv"), odd);
  Args args = without(mine_args("set", {"--json"}), "--events");
  args.insert(args.end(), {"--events", odd});
  const Result r = run(args);
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(Json::accept(r.out));
}

TEST_F(CliTest, InputsAreRegularFiles) {
  ASSERT_EQ(::mkfifo(path("pipe.csv").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo(path("pipe.npy").c_str(), 0600), 0);
  Args args = without(mine_args("set"), "--events");
  args.insert(args.end(), {"--events", path("pipe.csv")});
  expect(args, 5, "not a regular file");
  args = without(mine_args("set"), "--items");
  args.insert(args.end(), {"--items", path("pipe.npy")});
  expect(args, 5, "not a regular file");
  expect({"train-demo", "--events", path("pipe.csv"), "--out", path("model")}, 5,
         "not a regular file");
}

TEST_F(CliTest, ManyShardsAreRefused) {
  write_data(2100);
  expect(mine_args("set", {"--rows-per-shard", "1"}), 2, "give 2 or more");
  EXPECT_FALSE(fs::exists(path("set")));
}

TEST_F(CliTest, InputsThatChangeWhileMiningAreRefused) {
  write_data(60000);
  const auto begin = [&] {
    const pid_t child = start(mine_args("set", {"--tile", "1"}));
    for (int i = 0; i < 6000 && partial_folders() == 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return child;
  };
  pid_t child = begin();
  fs::last_write_time(path("users.npy"), fs::file_time_type::clock::now());
  Result r = finish(child);
  EXPECT_EQ(r.code, 3) << r.err;
  EXPECT_NE(r.err.find("users.npy: changed while"), std::string::npos) << r.err;
  EXPECT_EQ(partial_folders(), 0);
  // Cut: what is gone cannot be read any more.
  child = begin();
  fs::resize_file(path("users.npy"), 4096);
  r = finish(child);
  EXPECT_TRUE(r.code == 5 || r.code == 3) << r.code << r.err;
  EXPECT_NE(r.err.find("users.npy: "), std::string::npos) << r.err;
  EXPECT_FALSE(fs::exists(path("set")));
}

TEST_F(CliTest, OneWriterPerSet) {
  write_data(60000);
  const pid_t child = start(mine_args("set", {"--tile", "1"}));
  for (int i = 0; i < 6000 && partial_folders() == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  write_file("small.csv", "user,item,time,kind,value\n0,1,5,like,\n");
  Args second = without(mine_args("set"), "--events");
  second.insert(second.end(), {"--events", path("small.csv")});
  expect(second, 4, "another run is writing this set");
  ::kill(child, SIGKILL);
  finish(child);
  // The kernel drops the lock of a killed run; its folder is named.
  EXPECT_EQ(partial_folders(), 1);
  expect(second, 0, "left from a run that was killed");
  EXPECT_FALSE(fs::exists(path(".set.lock")));
}

TEST_F(CliTest, SetsAreForTheirOwnerOnly) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  const auto others = fs::perms::group_all | fs::perms::others_all;
  EXPECT_EQ(fs::status(path("set")).permissions() & others, fs::perms::none);
  for (const auto& entry : fs::recursive_directory_iterator(path("set")))
    EXPECT_EQ(entry.status().permissions() & others, fs::perms::none) << entry.path();
}

TEST_F(CliTest, BenchKeepsStandardOutputForOneReader) {
  Args args = {"bench", "--synth-users", "50", "--synth-items", "200", "--synth-dim",
               "8",     "--repetitions", "1",  "--threads",     "1"};
  args.insert(args.end(), {"--json", "--out", path("bench.json")});
  const Result r = run(args);
  ASSERT_EQ(r.code, 0) << r.err;
  const Json json = Json::parse(r.out);
  EXPECT_EQ(json, Json::parse(read_file("bench.json")));
  EXPECT_TRUE(json["machine"]["load_average_at_start"].is_number()) << json["machine"];
  EXPECT_TRUE(json["retrievers"][0]["share_of_gemm_limit"].is_number());
  EXPECT_NE(r.err.find("rows/s"), std::string::npos);
  Args random = args;
  random.insert(random.end(), {"--recipe", "random"});
  EXPECT_TRUE(Json::parse(run(random).out)["retrievers"][0]["share_of_gemm_limit"].is_null());
  args.back() = path("no/such/folder.json");
  expect(args, 5, "--out");
}

TEST_F(CliTest, BenchKeepsTheFormerMeasurementsUntilItHasNewOnes) {
  write_file("bench.json", "precious");
  std::string words = "trap '' XFSZ; ulimit -f 1; exec '" + program_ + "' bench --repetitions 1";
  const Args mine = mine_args("set");
  for (auto at = mine.begin() + 1; *at != "--out"; ++at) words += " '" + *at + "'";
  words += " --out '" + path("bench.json") + "' > /dev/null 2> '" + path("err") + "'";
  const auto files = std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  EXPECT_EQ(WEXITSTATUS(std::system(("sh -c \"" + words + "\"").c_str())), 5);
  EXPECT_NE(read_file("err").find("bench.json: File too large; free space in " + folder_.string()),
            std::string::npos)
      << read_file("err");
  EXPECT_EQ(read_file("bench.json"), "precious");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), files + 1)
      << "err is new, and nothing else";
}

TEST_F(CliTest, AStoppedRunLeavesNothing) {
  write_data(60000);  // long enough to be stopped in the middle, one row per tile
  // Under nohup the program would inherit that a hang-up is ignored, and keep it so.
  const auto former = ::signal(SIGHUP, SIG_DFL);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
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
  ::signal(SIGHUP, former);
}

/// OpenBLAS asks forever for memory that a limit denies it, also when the process ends.
TEST_F(CliTest, ALimitOnAddressSpaceEndsARunWithItsCode) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers map more than any limit";
#endif
  // The second ends before an index is built: in the self-test of FAISS.
  std::vector<std::string> runs = {"ulimit -v 320000 && exec timeout -s KILL 60 " + program_ +
                                   " mine --retriever exact --threads 2"};
  if (faiss_info().present) {
    runs.push_back("ulimit -v 180000 && exec timeout -s KILL 60 " + program_ +
                   " mine --retriever IVF4,Flat --threads 1");
  }
  for (const std::string& run : runs) {
    const std::string command = run + " --items " + path("items.npy") + " --users " +
                                path("users.npy") + " --events " + path("events.csv") +
                                " --recipe nv-perc --out " + path("short") + " 2> " +
                                path("short.txt");
    const int status = std::system(("sh -c '" + command + "'").c_str());
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 6) << run << ": " << read_file("short.txt");
    EXPECT_NE(read_file("short.txt").find("out of memory"), std::string::npos)
        << read_file("short.txt");
  }
  EXPECT_FALSE(fs::exists(path("short")));
}

}  // namespace
}  // namespace quarry

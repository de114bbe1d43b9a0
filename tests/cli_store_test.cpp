// quarry mine --store, log, tag, verify, prune as their users meet them: what is mined is what
// --out gives, runs go on after a kill at any step on disk, two writers, messages.
#include <sys/file.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "host/store/negative_set.h"
#include "tests/support/cli.h"

namespace quarry {
namespace {

using namespace test;
using Json = nlohmann::ordered_json;

class CliStoreTest : public CliTest {
 protected:
  Args store_args(const Args& more = {}) const {
    Args args = without(mine_args("unused"), "--out");
    for (const Args& part : {Args{"--store", path("store"), "--rows-per-shard", "24"}, more})
      args.insert(args.end(), part.begin(), part.end());
    return args;
  }
  Json json_of(Args args, int code = 0) const {
    args.emplace_back("--json");
    const Result r = run(args);
    EXPECT_EQ(r.code, code) << r.err;
    return Json::parse(r.out, nullptr, false);
  }
  /// A run with a variable of the environment; -1 is the exit code of one that was killed.
  Result run_with(const std::string& name, const std::string& value, const Args& args) const {
    ::setenv(name.c_str(), value.c_str(), 1);
    const pid_t child = start(args);
    ::unsetenv(name.c_str());
    return finish(child);
  }
  /// Of `run` in a manifest all that does not tell of time and the process.
  static Json lasting(Json run) {
    for (const char* key : {"command_line", "seconds", "rows_per_second", "peak_memory", "memory"})
      run.erase(key);
    run["search"] = nullptr;  // says what searching cost, and how rows fell into tiles
    run.erase("tiles");
    run["options"].erase("store");
    return run;
  }
};

TEST_F(CliStoreTest, MinesWhatOutGivesAndNamesVersions) {
  ASSERT_EQ(run(mine_args("set")).code, 0);
  const std::string hash = NegativeSet::open(path("set"), true).content_hash();
  const Json first = json_of(store_args({"--model", "two-tower-3", "--tag", "nightly"}));
  EXPECT_EQ(first["version"], 1);
  EXPECT_EQ(first["content_hash"], hash);
  EXPECT_EQ(first["shards"], 4);  // 80 rows
  expect(store_args({"--model", "two-tower-3"}), 0, "nothing to mine");
  const Json second =
      json_of(store_args({"--seed", "7", "--parent", "nightly", "--note", "again"}));
  EXPECT_EQ(second["version"], 2);
  EXPECT_NE(second["content_hash"], hash);

  const Json log = json_of({"log", path("store")});
  ASSERT_EQ(log["versions"].size(), 2u);
  EXPECT_EQ(log["versions"][0]["tags"], Json({"nightly"}));
  EXPECT_EQ(log["versions"][1]["tags"], Json({"latest"}));
  EXPECT_EQ(log["versions"][1]["parents"], Json({1}));
  EXPECT_EQ(log["versions"][0]["model"], "two-tower-3");
  expect({"log", path("store")}, 0, "nightly");
  expect({"show", path("store") + "@nightly", "--row", "3"}, 0, "row 3");
  expect({"show", path("store") + "@9"}, 3, "versions go from 1 to 2");
  expect({"verify", path("store")}, 0, "2 of 2 whole");
  expect({"verify", path("store") + "@v1"}, 0, "1 of 1 whole");
  expect({"tag", path("store"), "good", "nightly"}, 0, "");
  expect({"tag", path("store"), "v3", "1"}, 2, "no name for a tag");
  expect({"prune", path("store"), "--keep", "1", "--dry-run"}, 0, "would remove 0 versions");
  expect({"tag", path("store"), "good", "--remove"}, 0, "");
  expect({"tag", path("store"), "nightly", "2"}, 0, "");
  expect({"prune", path("store"), "--keep", "1"}, 0, "removed 1 versions");
  expect({"verify", path("store")}, 0, "1 of 1 whole");
  expect({"log", path("nowhere")}, 3, "no store");
  expect(store_args({"--tag", "a/b"}), 2, "no name for a tag");
  // What was asked for last is what latest means.
  json_of(store_args({"--model", "two-tower-3"}));
  json_of(store_args({"--seed", "7"}));
  const Json back = json_of(store_args({"--model", "two-tower-3"}));
  EXPECT_EQ(back["was_there"], true);
  expect({"show", path("store"), "--json"}, 0, back["content_hash"].get<std::string>());
}

TEST_F(CliStoreTest, RowsThatDidNotChangeAreThoseOfOtherVersions) {
  json_of(store_args());
  write_file("events.csv", read_file("events.csv") + "39,5,5000,like,\n");
  const Json next = json_of(store_args());
  EXPECT_EQ(next["version"], 2);
  EXPECT_EQ(next["shards_shared"], 3) << "only the last shard has rows of user 39";
}

TEST_F(CliStoreTest, AKilledRunGoesOnAndEndsAsIfItHadNotBeen) {
  const Json whole = json_of(store_args());
  const char* scale = std::getenv("QUARRY_TEST_SCALE");
  const int stride = scale != nullptr && std::atoi(scale) >= 10 ? 2 : 19;
  int kills = 0, resumed = 0;
  for (int step = 1;; step += stride) {
    fs::remove_all(path("store"));
    const std::string at = std::to_string(step) + (step % 2 == 0 ? "+" : "");
    const Result r = run_with("QUARRY_CRASH_AT", at, store_args());
    if (r.code == 0) break;
    ASSERT_EQ(r.code, -1) << r.err;
    ++kills;
    if (fs::exists(path("store/store.json"))) {
      ASSERT_EQ(run({"verify", path("store")}).code, 0) << "killed at step " << at;
    }
    const Json again = json_of(store_args());
    ASSERT_EQ(again["version"], 1) << "killed at step " << at;
    ASSERT_EQ(again["content_hash"], whole["content_hash"]);
    ASSERT_EQ(lasting(again["run"]).dump(), lasting(whole["run"]).dump()) << "killed at " << at;
    resumed += again["shards_resumed"].get<int>();
    ASSERT_EQ(json_of({"log", path("store")})["versions"].size(), 1u);
    ASSERT_EQ(run({"verify", path("store")}).code, 0);
    ASSERT_EQ(json_of({"prune", path("store"), "--dry-run"})["shards"].size(), 0u)
        << "a shard that no version has";
  }
  std::printf("%d kills, %d shards taken over\n", kills, resumed);
  EXPECT_GT(kills, 20);
  EXPECT_GT(resumed, kills);
}

/// Shards of inputs that changed in the middle must not be gone on from with the old ones.
TEST_F(CliStoreTest, NothingOfARunWhoseInputsChangedStays) {
  const std::string before = read_file("users.npy");
  const Json whole = json_of(store_args());
  fs::remove_all(path("store"));
  const int steps = 150;  // the second shard is being written
  ASSERT_EQ(run_with("QUARRY_CRASH_AT", std::to_string(steps), store_args()).code, -1);
  std::string changed = before;
  changed[200] = static_cast<char>(changed[200] ^ 1);
  write_file("users.npy", changed);
  const Json other = json_of(store_args());
  EXPECT_EQ(other["shards_resumed"], 0) << "they are of other vectors";
  write_file("users.npy", before);
  EXPECT_EQ(json_of(store_args())["content_hash"], whole["content_hash"]);
}

TEST_F(CliStoreTest, AFailingDiskIsToldByExitCode5) {
  for (const char* at : {"1:28", "9:5", "60:28", "200:30", "400:5", "440:28"}) {
    fs::remove_all(path("store"));
    const Result r = run_with("QUARRY_FAIL_AT", at, store_args());
    EXPECT_EQ(r.code, 5) << at << r.err;
    EXPECT_NE(r.err.find("planted"), std::string::npos) << r.err;
    EXPECT_EQ(json_of(store_args())["version"], 1) << at;
    EXPECT_EQ(run({"verify", path("store")}).code, 0);
  }
}

TEST_F(CliStoreTest, ASecondWriterIsRefusedAndNamesExcludeEachOther) {
  json_of(store_args());
  const int lock = ::open(path("store/LOCK").c_str(), O_RDWR);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  expect(store_args({"--seed", "3"}), 4, "another run is writing this store");
  expect({"prune", path("store")}, 4, "another run");
  ::close(lock);
  expect(store_args({"--out", path("set")}), 2, "exclude each other");
  expect(mine_args("set", {"--model", "m"}), 2, "--store");
  expect(store_args({"--parent", "none"}), 3, "no tag 'none'");
}

TEST_F(CliStoreTest, DamageIsNamed) {
  json_of(store_args());
  const fs::path shard = *fs::directory_iterator(path("store/shards"));
  const fs::path column = shard / "item.npy";
  std::fstream file(column, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(150);
  file.put('\x55');
  file.close();
  expect({"verify", path("store")}, 3, "item.npy");
  const Json mended = json_of(store_args());
  EXPECT_EQ(mended["repaired"], true);
  EXPECT_EQ(mended["version"], 1);
  expect({"verify", path("store")}, 0, "1 of 1 whole");
  std::fstream again(column, std::ios::binary | std::ios::in | std::ios::out);
  again.seekp(150);
  again.put('\x55');
  again.close();
  expect({"show", path("store"), "--verify"}, 3, "item.npy");
}

}  // namespace
}  // namespace quarry

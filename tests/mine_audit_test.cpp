// The audit at the end of quarry mine: what is told without being asked for, and what ends the run
// with exit code 8.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "host/store/store.h"
#include "tests/support/audit_world.h"

namespace quarry {
namespace {

using namespace test;

class MineAuditTest : public AuditWorldTest {
 protected:
  void SetUp() override {
    AuditWorldTest::SetUp();
    as_of_ = synth(1, 250);
    write_file("audited.toml", kAuditRecipe);
  }
  Result mine(const std::string& out, const Args& more = {}) {
    fs::remove_all(path(out));
    return run(mine_shop(out, as_of_, more));
  }
  static bool says(const Result& r, const std::string& words) {
    return r.err.find(words) != std::string::npos;
  }
};

TEST_F(MineAuditTest, IsToldInShortAndInFullWhereAskedFor) {
  const Result short_words = mine("set");
  EXPECT_EQ(short_words.code, 0) << short_words.err;
  EXPECT_TRUE(says(short_words, "PASS: of ")) << short_words.err;
  EXPECT_FALSE(says(short_words, "pass  leak.positives")) << short_words.err;
  const Result full = mine("set", {"--audit"});
  EXPECT_EQ(full.code, 0) << full.err;
  EXPECT_TRUE(says(full, "pass  leak.positives")) << full.err;
  const Result none = mine("set", {"--no-audit"});
  EXPECT_EQ(none.code, 0) << none.err;
  EXPECT_FALSE(says(none, "gates were checked") || says(none, "PASS")) << none.err;
  for (const char* config : {"no-audit = true\n", "audit = false\n"}) {
    write_file("run.toml", config);
    EXPECT_FALSE(says(mine("set", {"--config", path("run.toml")}), "PASS: of ")) << config;
    EXPECT_TRUE(says(mine("set", {"--config", path("run.toml"), "--audit"}), "PASS: of "))
        << "the command line counts: " << config;
  }
  write_file("run.toml", "audit = true\n");
  EXPECT_TRUE(says(mine("set", {"--config", path("run.toml")}), "pass  leak.positives"));
  EXPECT_FALSE(says(mine("set", {"--config", path("run.toml"), "--no-audit"}), "PASS: of "));
  const Result odd = mine("set", {"--no-audit", "--audit-held-out", shop("heldout.csv")});
  EXPECT_EQ(odd.code, 2);
  EXPECT_TRUE(says(odd, "--no-audit")) << odd.err;
}

TEST_F(MineAuditTest, OtherGatesEndWith8WhereAskedAlone) {
  write_file("gates.toml", "[diversity.effective_items]\nlimit = 1000\n");
  const Args strict = {"--audit-gates", path("gates.toml")};
  const Result told = mine("set", strict);
  EXPECT_EQ(told.code, 0) << told.err;
  EXPECT_TRUE(says(told, "FAIL: of ") && says(told, "FAIL  diversity.effective_items") &&
              says(told, "with --audit the exit code would be 8"))
      << told.err;
  EXPECT_TRUE(fs::exists(path("set/manifest.json")));
  Args asked = strict;
  asked.emplace_back("--audit");
  EXPECT_EQ(mine("set", asked).code, 8);
  EXPECT_TRUE(fs::exists(path("set/manifest.json"))) << "it is there to be looked at";
}

TEST_F(MineAuditTest, ALeakEndsWith8UnaskedFor) {
  synth(1, 600);
  std::string later = read_file("shop/heldout.csv");
  later.erase(0, later.find('\n') + 1);
  write_file("shop/events.csv", read_file("shop/events.csv") + later);
  as_of_.clear();
  const Result r = mine("set", {"--audit-held-out", shop("heldout.csv")});
  EXPECT_EQ(r.code, 8) << r.err;
  EXPECT_TRUE(says(r, "FAIL  leak.held_out_events") && says(r, "FAIL  leak.future_mask")) << r.err;
  EXPECT_FALSE(says(r, "with --audit the exit code")) << r.err;
}

TEST_F(MineAuditTest, TheSameCommandSaysTheSameAgain) {
  synth(1, 600);
  std::string later = read_file("shop/heldout.csv");
  later.erase(0, later.find('\n') + 1);
  write_file("shop/events.csv", read_file("shop/events.csv") + later);
  Args args = mine_shop("unused", "");
  const auto out = std::find(args.begin(), args.end(), "--out");
  args.erase(out, out + 2);
  args.insert(args.end(), {"--store", path("store")});
  EXPECT_EQ(run(args).code, 0) << "without held-out events nothing is known";
  args.insert(args.end(), {"--audit-held-out", shop("heldout.csv")});
  EXPECT_EQ(run(args).code, 8);
  EXPECT_EQ(run(args).code, 8);
  // A store that another writes meanwhile is read all the same.
  const StoreLock lock(path("store"));
  EXPECT_EQ(run(args).code, 4) << "mine itself waits for nobody";
}

TEST_F(MineAuditTest, StoppedItsSetIsCompleteAndTheRunDone) {
  int stopped = 0;
  for (int i = 0; i < 10; ++i) {
    fs::remove_all(path("set"));
    const pid_t child = start(mine_shop("set", as_of_));
    while (!fs::exists(path("set/manifest.json")) && ::waitpid(child, nullptr, WNOHANG) == 0) {
    }
    ::usleep(static_cast<useconds_t>(1000 * i));
    ::kill(child, SIGINT);
    const Result r = finish(child);
    EXPECT_EQ(r.code, 0) << r.err;
    stopped += says(r, "note: not audited: stopped; ") ? 1 : 0;
    EXPECT_EQ(run({"verify", path("set")}).code, 0);
  }
  EXPECT_GT(stopped, 0) << "no audit was met";
  // Whoever asked for an audit has not got it.
  for (int i = 0; i < 10; ++i) {
    fs::remove_all(path("set"));
    const pid_t child = start(mine_shop("set", as_of_, {"--audit"}));
    while (!fs::exists(path("set/manifest.json")) && ::waitpid(child, nullptr, WNOHANG) == 0) {
    }
    ::kill(child, SIGINT);
    const Result r = finish(child);
    EXPECT_TRUE(r.code == 0 || (r.code == 75 && says(r, "set is complete"))) << r.code << r.err;
  }
}

TEST_F(MineAuditTest, WhatWasNamedMustBeReadable) {
  write_file("other.csv", "who,what\n1,2\n");
  const Result r = mine("set", {"--audit-held-out", path("other.csv")});
  EXPECT_EQ(r.code, 3) << r.err;
  EXPECT_TRUE(says(r, "other.csv:1")) << r.err;
  EXPECT_EQ(mine("set", {"--audit-held-out", path("none.csv")}).code, 5);
}

TEST_F(MineAuditTest, OnlyAnAuditThatIsAskedForIsLogged) {
  const auto audits = [&] {
    int count = 0;
    for (const std::string& event : Store::open(path("store")).events())
      count += Json::parse(event)["event"] == "audit" ? 1 : 0;
    return count;
  };
  Args args = mine_shop("unused", as_of_);
  const auto out = std::find(args.begin(), args.end(), "--out");
  args.erase(out, out + 2);
  args.insert(args.end(), {"--store", path("store")});
  ASSERT_EQ(run(args).code, 0);
  // No policy takes it for the audit that it asks for.
  ASSERT_EQ(run({"policy", path("store"), "--set", "latest_needs=audit"}).code, 0);
  args.insert(args.end(), {"--seed", "2"});
  ASSERT_EQ(run(args).code, 0);
  EXPECT_EQ(audits(), 0);
  EXPECT_EQ(Store::open(path("store")).tags().at("latest"), 1u);
  args.emplace_back("--audit");
  ASSERT_EQ(run(args).code, 0);
  EXPECT_EQ(audits(), 1);
  EXPECT_EQ(Store::open(path("store")).tags().at("latest"), 2u);
}

}  // namespace
}  // namespace quarry

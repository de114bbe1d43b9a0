// Flipped bits of what a store keeps beside its shards: put right, byte for byte, whatever happens
// meanwhile; and nothing else is touched.
#include "host/store/mend_records.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "host/store/decisions.h"
#include "host/store/digest.h"
#include "host/store/flipped_bit.h"
#include "host/store/journal.h"
#include "host/store/set_lock.h"
#include "tests/support/files.h"
#include "tests/support/store_world.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using testing::read_bytes;
using testing::write_version;
using Files = std::map<std::string, std::string>;

class MendRecordsTest : public testing::StoreTest {
 protected:
  /// Two versions, tags, decisions, a policy and a run that was stopped.
  void SetUp() override {
    StoreTest::SetUp();
    if (HasFatalFailure()) return;
    store_ = path("store");
    write_version(store_, 1);
    write_version(store_, 2);
    Store store = Store::open(store_);
    Policy policy = parse_policy("approval,audit");
    set_policy_part(policy, "audit_gates=leak.positives,leak.future_mask");
    write_policy(store, policy);
    record_decision(store, 1, true, "ada", "seen");
    record_kpis(store, 2, {parse_kpi("recall@20=0.222")});
    store.tag("best", 2);
    testing::StopAt stop(150);
    observe_files(&stop);
    EXPECT_THROW(write_version(store_, 3), testing::Stopped);
    observe_files(nullptr);
    for (const auto& entry : fs::recursive_directory_iterator(store_)) {
      const std::string name = fs::relative(entry.path(), store_).string();
      const bool data = name.starts_with("shards/") || name.starts_with("bases/") ||
                        name.find(".part/") != std::string::npos || name == "LOCK";
      if (entry.is_regular_file() && !data) records_[name] = read_bytes(entry.path().string());
    }
  }

  void put(const std::string& name, const std::string& text) const {
    std::ofstream(fs::path(store_) / name, std::ios::binary | std::ios::trunc) << text;
  }
  static std::string flipped(std::string text, std::size_t bit) {
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    return text;
  }
  /// The files that were put right.
  std::vector<std::string> mend() const {
    std::vector<std::string> files;
    mend_records(store_, {[&](const std::string& file) { files.push_back(file); }, {}});
    return files;
  }
  std::string now(const std::string& name) const {
    return read_bytes((fs::path(store_) / name).string());
  }
  /// Whether the bits of store.json tell a format of a later program.
  static bool is_other_format(const std::string& text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    return json.is_object() && json.value("format", "") == "quarry.store" &&
           json.contains("format_version") && json["format_version"].is_number() &&
           json["format_version"] > 1;
  }

  std::string store_;
  Files records_;
};

TEST_F(MendRecordsTest, AnyFlippedBitIsFoundAndPutRight) {
  std::vector<std::string> names;
  for (const auto& [name, text] : records_) names.push_back(name);
  ASSERT_EQ(names.size(), 10u) << "store.json, log, policy, 4 tags, 2 versions and a journal";
  std::mt19937 random(1);
  std::size_t bits = 0, other_formats = 0;
  for (const auto& [name, text] : records_) {
    // Of large files some, at random.
    const std::size_t all = text.size() * 8;
    const std::size_t some = testing::full_scale() ? 4000 : 150;
    const std::size_t tried = name == "store.json" ? all : std::min(all, some);
    for (std::size_t i = 0; i < tried; ++i) {
      const std::size_t bit = tried == all ? i : random() % all;
      const std::string damaged = flipped(text, bit);
      put(name, damaged);
      const std::string where = name + " bit " + std::to_string(bit);
      if (name == "store.json" && is_other_format(damaged)) {
        EXPECT_THROW(mend(), InputError) << where;
        EXPECT_EQ(now(name), damaged);
        put(name, text);
        ++other_formats;
        continue;
      }
      // A journal is of a run, which reads it when it goes on.
      const bool is_journal = name.ends_with("/journal");
      if (is_journal) {
        EXPECT_THROW(read_journal(store_ + "/" + name), InputError) << where;
      } else {
        std::string words;
        try {
          for (const std::string& damage : Store::open(store_).verify({})) words += damage;
        } catch (const InputError& error) {
          words = error.what();
        }
        EXPECT_NE(words.find(name), std::string::npos) << where << ": '" << words << "'";
      }
      EXPECT_EQ(mend(), std::vector<std::string>{store_ + "/" + name}) << where;
      ASSERT_EQ(now(name), text) << where;
      ++bits;
    }
  }
  EXPECT_EQ(other_formats, 3u) << "3, 5 and 9";
  EXPECT_GT(bits, 1000u);
  EXPECT_TRUE(mend().empty());
  EXPECT_TRUE(Store::open(store_).verify({}).empty());
  std::printf("%zu flipped bits put right\n", bits);
}

TEST_F(MendRecordsTest, AFlippedBitInEachFileAndEachLineIsPutRightAtOnce) {
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    for (const auto& [name, text] : records_) {
      if (name == "store.json") continue;
      std::string damaged = text;
      if (name == "log") {
        for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
          const std::size_t end = text.find('\n', at);
          damaged = flipped(damaged, at * 8 + random() % ((end - at) * 8));
        }
      } else {
        damaged = flipped(text, random() % (text.size() * 8));
      }
      put(name, damaged);
    }
    EXPECT_EQ(mend().size(), records_.size() - 1);
    for (const auto& [name, text] : records_) ASSERT_EQ(now(name), text) << name;
  }
}

TEST_F(MendRecordsTest, WhatIsNotAFlippedBitStaysAsItIs) {
  for (const auto& [name, text] : records_) {
    const std::size_t last = text.size() * 8 - 1;
    for (const std::string& damaged :
         {flipped(flipped(text, 3), 12), flipped(flipped(text, last - 20), last - 30),
          text.substr(0, text.size() / 2) + text.substr(text.size() / 2 + 1), text + "x",
          std::string("x")}) {
      put(name, damaged);
      try {
        EXPECT_TRUE(mend().empty()) << name;
      } catch (const InputError& error) {
        EXPECT_EQ(name, "store.json") << error.what();
      }
      EXPECT_EQ(now(name), damaged) << name;
      put(name, text);
    }
  }
  // A policy that was changed by hand is no damage.
  put("policy.toml", "latest_needs = [\"approval\"]\n");
  EXPECT_TRUE(mend().empty());
  EXPECT_TRUE(Store::open(store_).verify({}).empty());
  // What a killed writer left of a last line is dropped by the next writer.
  put("log", records_["log"] + "0123456789abcdef {\"ev");
  EXPECT_TRUE(mend().empty());
}

TEST_F(MendRecordsTest, VersionsOfBeforeBlocksWereRecordedAreMendedByTheirHash) {
  std::string log;
  std::istringstream lines(records_["log"]);
  for (std::string line; std::getline(lines, line);) {
    auto event = nlohmann::ordered_json::parse(line.substr(17));
    event.erase("blocks_xxh3_64");
    log += event.dump() + "\n";
  }
  fs::remove(store_ + "/log");
  {
    Journal journal(store_ + "/log");
    std::istringstream texts(log);
    for (std::string text; std::getline(texts, text);) journal.append(text);
  }
  const std::string name = "versions/v00000000000000000002.json";
  for (const std::size_t bit : {0u, 999u, 9999u}) {
    put(name, flipped(records_[name], bit));
    EXPECT_EQ(mend().size(), 1u);
    EXPECT_EQ(now(name), records_[name]);
  }
}

TEST_F(MendRecordsTest, AKillAtAnyStepOrOneThatFailsLeavesOneOrTheOther) {
  const std::string log = flipped(records_["log"], 1000);
  const std::string tag = flipped(records_["tags/best"], 100);
  const auto damage = [&] {
    put("log", log);
    put("tags/best", tag);
  };
  const auto one_or_the_other = [&] {
    EXPECT_TRUE(now("log") == log || now("log") == records_["log"]);
    EXPECT_TRUE(now("tags/best") == tag || now("tags/best") == records_["tags/best"]);
    mend();
    for (const auto& [name, text] : records_) EXPECT_EQ(now(name), text) << name;
  };
  const std::uint64_t steps = testing::stop_at_each_step([&](std::uint64_t) { damage(); },
                                                         [&] { mend(); }, one_or_the_other);
  EXPECT_GE(steps, 4u);
  for (std::uint64_t step = 1; step <= steps; ++step) {
    damage();
    testing::FailAt fail(step, ENOSPC);
    observe_files(&fail);
    EXPECT_THROW(mend(), IoError) << step;
    observe_files(nullptr);
    one_or_the_other();
  }
}

TEST_F(MendRecordsTest, OwnerModeAndWhatLiesOutsideStay) {
  const fs::path log = fs::path(store_) / "log";
  fs::permissions(log, fs::perms(0640));
  put("log", flipped(records_["log"], 77));
  struct stat before, after;
  ASSERT_EQ(::stat(log.c_str(), &before), 0);
  EXPECT_EQ(mend().size(), 1u);
  ASSERT_EQ(::stat(log.c_str(), &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_uid, before.st_uid);
  EXPECT_EQ(after.st_ino, before.st_ino) << "mended where it lies";
  // Not by way of links.
  fs::create_directories(path("elsewhere"));
  std::string journal;
  for (const auto& [name, text] : records_) {
    if (name.ends_with("/journal")) journal = text;
  }
  const std::string damaged = flipped(journal, 99);
  std::ofstream(path("elsewhere/journal"), std::ios::binary) << damaged;
  fs::create_directory_symlink(path("elsewhere"), store_ + "/work/linked");
  EXPECT_TRUE(mend().empty());
  EXPECT_EQ(read_bytes(path("elsewhere/journal")), damaged);
}

TEST_F(MendRecordsTest, LongLinesDoNotStandInTheWayOfOthers) {
  Store store = Store::open(store_);
  store.record(R"({"event": "short"})");
  store.record(R"({"event": "long", "text": ")" + std::string(100'000, 'x') + "\"}");
  store.record(R"({"event": "short"})");
  const std::string log = now("log");
  const std::size_t before = log.find("\"long\"") - 40;  // in the line before it
  const std::size_t behind = log.size() - 20;
  put("log", flipped(flipped(log, before * 8), behind * 8));
  EXPECT_EQ(mend().size(), 1u);
  EXPECT_EQ(now("log"), log);
  const std::string in_it = flipped(log, (log.find("xxx") + 500) * 8);
  put("log", in_it);
  EXPECT_TRUE(mend().empty()) << "too long to be searched";
  EXPECT_EQ(now("log"), in_it);
}

TEST_F(MendRecordsTest, TheSearchCanBeStopped) {
  put("log", flipped(records_["log"], 1000));
  int tries = 0;
  EXPECT_THROW(mend_records(store_, {{},
                                     [&] {
                                       if (++tries == 100) throw Cancelled("stopped");
                                     }}),
               Cancelled);
  EXPECT_EQ(tries, 100);
  EXPECT_EQ(mend().size(), 1u);
}

TEST_F(MendRecordsTest, AWriterAtWorkIsNotDisturbed) {
  const StoreLock lock(store_);
  EXPECT_TRUE(mend().empty()) << "nothing to do";
  put("tags/best", flipped(records_["tags/best"], 5));
  EXPECT_THROW(mend(), SetLocked);
}

TEST(FlippedBit, IsFoundInTextsOfAnyLengthByTheirBlocks) {
  std::mt19937 random(3);
  for (const std::size_t size : {1u, 4095u, 4096u, 4097u, 3'000'000u}) {
    std::string text(size, '\0');
    for (char& byte : text) byte = static_cast<char>(random());
    const std::string hash = digest_of(text).hex();
    const auto blocks = block_hashes(text);
    EXPECT_EQ(blocks.size(), (size + 4095) / 4096);
    EXPECT_EQ(unflipped(text, hash, blocks), std::nullopt) << "it is whole";
    for (int i = 0; i < 5; ++i) {
      std::string damaged = text;
      const std::size_t bit = random() % (size * 8);
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      EXPECT_EQ(unflipped(damaged, hash, blocks), text);
    }
    EXPECT_EQ(unflipped(text + "x", hash, blocks), std::nullopt);
  }
}

}  // namespace
}  // namespace quarry

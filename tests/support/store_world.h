// A small store of versions made by hand, and what may happen to its writers: an end at any step, a
// step that fails.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/store/kept_array.h"
#include "host/store/shard_writer.h"
#include "host/store/store_run.h"
#include "host/store/version_basis.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry::testing {

namespace fs = std::filesystem;

inline bool full_scale() {
  const char* scale = std::getenv("QUARRY_TEST_SCALE");
  return scale != nullptr && std::atoi(scale) >= 10;
}

constexpr std::uint32_t kK = 3;
constexpr std::uint64_t kShards = 2, kRowsPerShard = 7;

inline SetSchema schema() {
  SetSchema schema;
  schema.k = kK;
  schema.branches = {"hard"};
  schema.strata = {"all"};
  schema.num_items = 100;
  return schema;
}

/// Rows whose numbers follow from their place and a seed.
inline NegativeBatch batch_of(std::uint64_t first, std::uint32_t rows, std::uint32_t seed) {
  NegativeBatch b;
  b.first_row = first;
  b.num_rows = rows;
  b.k = kK;
  b.num_branches = 1;
  for (std::uint32_t r = 0; r < rows; ++r) {
    const auto row = static_cast<std::uint32_t>(first) + r;
    b.count.push_back(kK);
    b.positive_min.push_back(2.0f);
    b.certified.push_back(1);
    b.kappa.push_back(0.5f);
    for (std::uint32_t j = 0; j < kK; ++j) {
      b.item.push_back((row * 7 + j + seed) % 100);
      b.score.push_back(1.0f / static_cast<float>(1 + row + j));
      b.branch.push_back(0);
      b.raw_rank.push_back(j + 1);
      b.survivor_rank.push_back(j + 1);
      b.stratum.push_back(0);
      b.logq.push_back(-1.5f);
      b.fill.push_back(0);
    }
  }
  return b;
}

/// What a version stands on, as a manifest says it: arrays beside the shards.
inline std::string basis_of(const Store& store, const StoreRun& run) {
  const std::vector<ItemBasis> items = {{1, 2}, {3, 4}};
  const std::vector<std::uint32_t> popularity = {5, 6};
  const auto keep = [&](const void* data, const ArrayShape& shape) {
    return nlohmann::json::parse(keep_array(store.path(), run.draft_file(), data, shape));
  };
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& [number, shard] : run.done())
    rows.push_back(nlohmann::json::parse(shard.about).at("basis"));
  return nlohmann::json{
      {"exact", true},
      {"as_of", 9},
      {"common", nlohmann::json::object()},
      {"num_items", items.size()},
      {"items", keep(items.data(), {"<u8", 8, items.size(), 2})},
      {"snapshot",
       {{"num_items", popularity.size()},
        {"as_of", 9},
        {"positive_users", nullptr},
        {"popularity", keep(popularity.data(), {"<u4", 4, popularity.size(), 1})}}},
      {"rows", rows}}
      .dump();
}

/// A run into the store, as mining makes one: shards that are complete are not made again. Returns
/// the version.
inline std::uint64_t write_version(const std::string& path, std::uint32_t seed) {
  const Store store = Store::create(path);
  const StoreLock lock(store.path());
  StoreRun run(store, "run" + std::to_string(seed), schema());
  if (const auto there = run.version_there()) {
    run.complete(*there, {"mine"});
    return *there;
  }
  run.begin(false);
  for (std::uint64_t n = 0; n < kShards; ++n) {
    if (run.done().contains(n)) continue;
    ShardWriter writer(run.part_folder(), schema());
    const std::uint64_t first = n * kRowsPerShard;
    // The first shard is that of every seed.
    const NegativeBatch batch = batch_of(first, kRowsPerShard, n == 0 ? 0 : seed);
    std::vector<std::uint64_t> keys;
    for (std::uint64_t r = 0; r < kRowsPerShard; ++r) keys.push_back(first + r);
    writer.append(batch, {keys.data()}, 0, kRowsPerShard, nullptr);
    const ShardFacts facts = writer.finish();
    const std::vector<RowBasis> stands_on(kRowsPerShard, RowBasis{first, n});
    const std::string rows = keep_rows(store, run.draft_file(),
                                       std::to_string(seed) + "-" + std::to_string(n), stands_on);
    run.keep(n, first, facts, R"({"rows": 7, "basis": )" + rows + "}");
  }
  return run.commit(kShards * kRowsPerShard, R"({"seed": 1})",
                    R"({"model": "m", "basis": )" + basis_of(store, run) + "}", {"mine"});
}

/// A store in memory, where syncing takes no time.
class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* memory = "/dev/shm";
    const fs::path base =
        ::access(memory, W_OK) == 0 ? fs::path(memory) : fs::temp_directory_path();
    std::string pattern = (base / "quarry-store-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    observe_files(nullptr);
    fs::remove_all(folder_);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  fs::path folder_;
};

/// What the store must be in whatever happened: nothing, or versions that are whole.
inline void expect_whole(const std::string& path, std::uint64_t most_versions) {
  if (!Store::is_store(path)) return;
  const Store store = Store::open(path);
  const std::vector<std::string> damages = store.verify({});
  EXPECT_TRUE(damages.empty()) << damages.front();
  EXPECT_LE(store.versions().size(), most_versions);
}

struct Stopped {};

/// Stops before a step, as a process that is killed there leaves the disk.
class StopAt final : public FileObserver {
 public:
  explicit StopAt(std::uint64_t step) : at_(step) {}
  void before(const FileStep& step) override {
    if (stopped_) throw Stopped{};  // what destructors would still do
    if (++steps_ != at_) return;
    stopped_ = true;
    // Half of a write reaches the file.
    if (step.act == FileAct::kWrite && step.bytes > 1) {
      const FileHandle file = FileHandle(::open(step.path.c_str(), O_WRONLY));
      const ssize_t written =
          ::pwrite(file.get(), step.data, step.bytes / 2, static_cast<off_t>(step.offset));
      EXPECT_EQ(written, static_cast<ssize_t>(step.bytes / 2));
    }
    throw Stopped{};
  }
  std::uint64_t steps() const { return steps_; }

 private:
  std::uint64_t at_, steps_ = 0;
  bool stopped_ = false;
};

/// Runs `act` and stops it at each step in turn; `after` looks at what is left. Returns the steps
/// of an undisturbed run.
inline std::uint64_t stop_at_each_step(const std::function<void(std::uint64_t)>& prepare,
                                       const std::function<void()>& act,
                                       const std::function<void()>& after) {
  for (std::uint64_t step = 1;; ++step) {
    prepare(step);
    StopAt stop(step);
    observe_files(&stop);
    bool stopped = false;
    try {
      act();
    } catch (const Stopped&) {
      stopped = true;
    }
    observe_files(nullptr);
    after();
    if (!stopped) return stop.steps();
    if (::testing::Test::HasFailure()) {
      ADD_FAILURE() << "stopped at step " << step;
      return 0;
    }
  }
}

/// Makes a step fail, as a disk does.
class FailAt final : public FileObserver {
 public:
  FailAt(std::uint64_t step, int with) : at_(step), with_(with) {}
  void before(const FileStep& step) override {
    if (++steps_ != at_) return;
    errno = with_;
    throw IoError(io_message(step.path, "planted"));
  }

 private:
  std::uint64_t at_, steps_ = 0;
  int with_;
};

}  // namespace quarry::testing

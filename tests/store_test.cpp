// The store under kills at every step on disk, failing steps, lost writes and damage. Rows are made
// here; what `quarry mine --store` adds is in cli_store_test.cpp.
#include "host/store/store.h"

#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "tests/support/store_world.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using namespace testing;

void prune_all(const std::string& path) {
  Store store = Store::open(path);
  const StoreLock lock(store.path());
  store.prune(store.to_prune(1, false));
}

/// Files under a folder and their bytes, but for times and hashes of what holds times.
std::map<std::string, std::string> contents(const std::string& path) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    const std::string name = fs::relative(entry.path(), path).string();
    if (!entry.is_regular_file() || name == "log" || name.rfind("versions/v", 0) == 0) {
      all[name] = "";
      continue;
    }
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    all[name] = text.str();
  }
  return all;
}

/// Names of the files that only one of them has, or that differ.
std::string differing(const std::map<std::string, std::string>& a,
                      const std::map<std::string, std::string>& b) {
  std::string names;
  for (const auto& [name, text] : a) {
    const auto found = b.find(name);
    if (found == b.end() || found->second != text) names += name + " ";
  }
  for (const auto& [name, text] : b) {
    if (!a.contains(name)) names += name + " ";
  }
  return names;
}

TEST_F(StoreTest, AKillAtAnyStepOfARunLosesNothingAndTheRunGoesOn) {
  write_version(path("whole"), 1);
  const auto expected = contents(path("whole"));
  const std::uint64_t steps =
      stop_at_each_step([&](std::uint64_t) { fs::remove_all(path("store")); },
                        [&] { write_version(path("store"), 1); },
                        [&] {
                          expect_whole(path("store"), 1);
                          EXPECT_EQ(write_version(path("store"), 1), 1u);
                          expect_whole(path("store"), 1);
                          EXPECT_EQ(differing(contents(path("store")), expected), "")
                              << "not what an undisturbed run leaves";
                          const Store store = Store::open(path("store"));
                          EXPECT_EQ(store.resolve("mine"), 1u);
                          EXPECT_EQ(store.resolve("latest"), 1u);
                        });
  std::printf("%llu steps\n", static_cast<unsigned long long>(steps));
  EXPECT_GT(steps, 200u);
}

TEST_F(StoreTest, AKillAtAnyStepOfPruningLeavesVersionsWhole) {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) write_version(path("made"), seed);
  Store::open(path("made")).tag("kept", 1);
  const std::uint64_t steps = stop_at_each_step(
      [&](std::uint64_t) {
        fs::remove_all(path("store"));
        fs::copy(path("made"), path("store"), fs::copy_options::recursive);
      },
      [&] { prune_all(path("store")); },
      [&] {
        expect_whole(path("store"), 3);
        // What half of a pruning left must not stand in the way of the same rows.
        fs::remove_all(path("again"));
        fs::copy(path("store"), path("again"), fs::copy_options::recursive);
        write_version(path("again"), 2);
        expect_whole(path("again"), 4);
        prune_all(path("store"));
        const Store store = Store::open(path("store"));
        EXPECT_EQ(store.versions(), (std::vector<std::uint64_t>{1, 3}));
        expect_whole(path("store"), 2);
        // The first shard of all, and one more of each version.
        EXPECT_EQ(std::distance(fs::directory_iterator(path("store/shards")), {}), 3);
        EXPECT_EQ(write_version(path("store"), 4), 4u) << "a number is not given twice";
      });
  EXPECT_GT(steps, 20u);
}

TEST_F(StoreTest, AStepThatFailsIsToldAndLeavesTheStoreWhole) {
  const int reasons[] = {ENOSPC, EIO, EROFS, EACCES};
  std::uint64_t failed = 0;
  for (std::uint64_t step = 1;; ++step) {
    fs::remove_all(path("store"));
    FailAt fail(step, reasons[step % 4]);
    observe_files(&fail);
    bool told = false;
    try {
      write_version(path("store"), 1);
    } catch (const IoError& error) {
      told = true;
      EXPECT_NE(std::string(error.what()).find(std::strerror(reasons[step % 4])),
                std::string::npos);
    }
    observe_files(nullptr);
    if (!told) break;
    ++failed;
    expect_whole(path("store"), 1);
    EXPECT_EQ(write_version(path("store"), 1), 1u);
    expect_whole(path("store"), 1);
    if (HasFailure()) {
      FAIL() << "step " << step;
    }
  }
  EXPECT_GT(failed, 200u);
}

/// What a disk holds, and what of it would survive if the power went: bytes of files that were
/// synced, names of folders that were.
class Disk {
 public:
  explicit Disk(const std::string& root) : root_(root) { nodes_.push_back({true, {}, {}, "", ""}); }

  void take(const FileStep& step) {
    const auto name = [](const std::string& path) { return fs::path(path).filename().string(); };
    switch (step.act) {
      case FileAct::kCreate:
      case FileAct::kMakeFolder:
        if (find(step.path) >= 0) return;  // a folder that was there
        nodes_.push_back({step.act == FileAct::kMakeFolder, {}, {}, "", ""});
        parent(step.path).names[name(step.path)] = static_cast<int>(nodes_.size()) - 1;
        return;
      case FileAct::kWrite: {
        std::string& text = node(step.path).text;
        if (text.size() < step.offset + step.bytes) text.resize(step.offset + step.bytes);
        text.replace(step.offset, step.bytes, static_cast<const char*>(step.data), step.bytes);
        return;
      }
      case FileAct::kTruncate:
        node(step.path).text.resize(step.offset);
        return;
      case FileAct::kSync:
        node(step.path).synced_text = node(step.path).text;
        return;
      case FileAct::kSyncFolder:
        if (find(step.path) >= 0) node(step.path).synced_names = node(step.path).names;
        return;
      case FileAct::kRename: {
        const int moved = find(step.path);
        parent(step.path).names.erase(name(step.path));
        parent(step.other).names[name(step.other)] = moved;
        return;
      }
      case FileAct::kLink:
        parent(step.other).names.emplace(name(step.other), find(step.path));
        return;
      case FileAct::kRemove:
        if (find(step.path) >= 0) parent(step.path).names.erase(name(step.path));
        return;
    }
  }

  /// How much of what was not synced is there.
  enum class Lost { kNames, kBytes, kPartOfBytes };
  void put(const std::string& to, Lost lost) const { put_folder(0, to, lost); }

 private:
  struct Node {
    bool folder;
    std::map<std::string, int> names, synced_names;
    std::string text, synced_text;
  };

  int find(const std::string& path) const {
    int at = 0;
    for (const fs::path& part : fs::path(path).lexically_relative(root_)) {
      if (part == ".") continue;
      const auto found = nodes_[static_cast<std::size_t>(at)].names.find(part.string());
      if (found == nodes_[static_cast<std::size_t>(at)].names.end()) return -1;
      at = found->second;
    }
    return at;
  }
  Node& node(const std::string& path) {
    const int at = find(path);
    EXPECT_GE(at, 0) << path;
    return nodes_[static_cast<std::size_t>(std::max(at, 0))];
  }
  Node& parent(const std::string& path) { return node(fs::path(path).parent_path().string()); }

  void put_folder(int at, const std::string& to, Lost lost) const {
    const Node& folder = nodes_[static_cast<std::size_t>(at)];
    fs::create_directory(to);
    for (const auto& [name, inside] : lost == Lost::kNames ? folder.synced_names : folder.names) {
      const Node& node = nodes_[static_cast<std::size_t>(inside)];
      if (node.folder) {
        put_folder(inside, to + "/" + name, lost);
        continue;
      }
      std::string text = node.synced_text;
      if (lost == Lost::kPartOfBytes && node.text != text)
        text = node.text.substr(0, std::max(text.size(), node.text.size() / 512 * 512));
      std::ofstream(to + "/" + name, std::ios::binary) << text;
    }
  }

  std::string root_;
  std::vector<Node> nodes_;
};

class Recorder final : public FileObserver {
 public:
  /// Looks at the disk after every step.
  Recorder(Disk& disk, std::function<void()> look) : disk_(disk), look_(std::move(look)) {}
  void after(const FileStep& step) override {
    disk_.take(step);
    observe_files(nullptr);
    look_();
    observe_files(this);
  }

 private:
  Disk& disk_;
  std::function<void()> look_;
};

TEST_F(StoreTest, PowerThatGoesAtAnyStepLosesNoVersionAndTheRunGoesOn) {
  Disk disk(folder_.string());
  std::uint64_t step = 0, states = 0;
  std::uint64_t committed = 0;  // versions that write_version has returned
  const std::uint64_t stride = full_scale() ? 1 : 3;
  Recorder recorder(disk, [&] {
    if (++step % stride != 0) return;
    for (const Disk::Lost lost :
         {Disk::Lost::kNames, Disk::Lost::kBytes, Disk::Lost::kPartOfBytes}) {
      const fs::path after = fs::path(folder_.string() + "-after");
      fs::remove_all(after);
      disk.put(after.string(), lost);
      const std::string store = (after / "store").string();
      expect_whole(store, 2);
      if (committed > 0) {
        ASSERT_TRUE(Store::is_store(store)) << "step " << step;
        ASSERT_GE(Store::open(store).versions().size(), committed) << "step " << step;
        std::uint64_t told = 0;
        for (const std::string& event : Store::open(store).events())
          told += event.find("\"event\":\"version\"") != std::string::npos ? 1 : 0;
        ASSERT_GE(told, committed) << "step " << step;
      }
      write_version(store, 1);
      write_version(store, 2);
      expect_whole(store, 2);
      EXPECT_EQ(Store::open(store).versions().size(), 2u);
      ++states;
      fs::remove_all(after);
      ASSERT_FALSE(HasFailure()) << "step " << step << ", kind " << static_cast<int>(lost);
    }
  });
  observe_files(&recorder);
  for (std::uint32_t seed : {1u, 2u}) {
    write_version(path("store"), seed);
    ++committed;
  }
  observe_files(nullptr);
  std::printf("%llu states after %llu steps, 0 that cannot be gone on from\n",
              static_cast<unsigned long long>(states), static_cast<unsigned long long>(step));
  EXPECT_GT(states, full_scale() ? 1000u : 150u);
}

/// Records, and stops behind a step.
class RecordTo final : public FileObserver {
 public:
  RecordTo(Disk& disk, std::uint64_t last) : disk_(disk), last_(last) {}
  void before(const FileStep&) override {
    if (steps_ == last_) throw Stopped{};
  }
  void after(const FileStep& step) override {
    ++steps_;
    disk_.take(step);
  }

 private:
  Disk& disk_;
  std::uint64_t last_, steps_ = 0;
};

TEST_F(StoreTest, PowerThatGoesAfterAKilledRunHasGoneOnLosesNothing) {
  const fs::path after = fs::path(folder_.string() + "-after");
  bool stopped = true;
  for (std::uint64_t step = 1; stopped; ++step) {
    fs::remove_all(path("store"));
    Disk disk(folder_.string());
    stopped = false;
    RecordTo first(disk, step);
    observe_files(&first);
    try {
      write_version(path("store"), 1);
    } catch (const Stopped&) {
      stopped = true;
    }
    RecordTo rest(disk, ~std::uint64_t{0});
    observe_files(&rest);
    EXPECT_EQ(write_version(path("store"), 1), 1u);
    observe_files(nullptr);
    fs::remove_all(after);
    disk.put(after.string(), Disk::Lost::kNames);
    const std::string store = (after / "store").string();
    ASSERT_TRUE(Store::is_store(store)) << "killed after step " << step;
    expect_whole(store, 1);
    ASSERT_EQ(Store::open(store).versions().size(), 1u) << "killed after step " << step;
    ASSERT_EQ(Store::open(store).tags().size(), 2u) << "killed after step " << step;
    ASSERT_FALSE(Store::open(store).events().empty()) << "killed after step " << step;
    ASSERT_FALSE(HasFailure()) << "killed after step " << step;
  }
  fs::remove_all(after);
}

TEST_F(StoreTest, AnyFlippedBitIsFoundAndItsFileNamed) {
  write_version(path("store"), 1);
  write_version(path("store"), 2);
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path("store"))) {
    if (entry.is_regular_file() && entry.file_size() > 0) files.push_back(entry.path());
  }
  std::mt19937 random(1);
  const int flips = full_scale() ? 1000 : 200;
  for (int i = 0; i < flips; ++i) {
    const fs::path& file = files[random() % files.size()];
    const auto at = static_cast<std::streamoff>(random() % fs::file_size(file));
    const char bit = static_cast<char>(1 << random() % 8);
    const auto flip = [&] {
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      stream.seekg(at);
      const char byte = static_cast<char>(stream.get() ^ bit);
      stream.seekp(at);
      stream.put(byte);
    };
    flip();
    std::string words;
    try {
      for (const std::string& damage : Store::open(path("store")).verify({})) words += damage;
    } catch (const InputError& error) {
      words = error.what();
    }
    const std::string name = fs::relative(file, path("store")).string();
    EXPECT_NE(words.find(name), std::string::npos)
        << name << " byte " << at << ": '" << words << "'";
    flip();
  }
  EXPECT_TRUE(Store::open(path("store")).verify({}).empty());
}

TEST_F(StoreTest, ALastLineOfTheLogIsDroppedWhereItIsTornAndNamedWhereItIsDamaged) {
  write_version(path("store"), 1);
  const fs::path log = path("store/log");
  std::ostringstream stream;
  stream << std::ifstream(log, std::ios::binary).rdbuf();
  const std::string text = stream.str();
  const auto events_of = [&](const std::string& changed) {
    std::ofstream(log, std::ios::binary) << changed;
    return Store::open(path("store")).events().size();
  };
  const std::size_t all = events_of(text);
  ASSERT_GT(all, 1u);
  const std::size_t begin = text.find_last_of('\n', text.size() - 2) + 1;
  for (std::size_t bit = begin * 8; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    EXPECT_THROW(events_of(flipped), InputError) << "bit " << bit % 8 << " of byte " << bit / 8;
  }
  for (std::size_t size = begin; size < text.size(); ++size)
    EXPECT_EQ(events_of(text.substr(0, size)), all - 1) << "cut short at byte " << size;
  // A sector of it that never reached the disk, though the next one did.
  std::string holed = text;
  std::fill(holed.begin() + static_cast<std::ptrdiff_t>(begin) + 20, holed.end() - 10, '\0');
  EXPECT_EQ(events_of(holed), all - 1);
}

TEST_F(StoreTest, AShardThatIsDamagedIsReplacedByTheSameRows) {
  write_version(path("store"), 1);
  for (const auto& entry : fs::directory_iterator(path("store/shards"))) {
    // A byte of another value; nothing else tells.
    std::fstream item(entry.path() / "item.npy", std::ios::binary | std::ios::in | std::ios::out);
    item.seekp(140);
    item.put('\x7F');
  }
  EXPECT_FALSE(Store::open(path("store")).verify({}).empty());
  write_version(path("store"), 2);  // has a shard in common
  const Store store = Store::open(path("store"));
  EXPECT_NO_THROW(store.read(2, true));
  // A header alone.
  for (const auto& entry : fs::directory_iterator(path("store/shards"))) {
    std::fstream score(entry.path() / "score.npy", std::ios::binary | std::ios::in | std::ios::out);
    score.seekp(20);
    score.put('x');
  }
  write_version(path("store"), 3);
  EXPECT_NO_THROW(store.read(3, true));
}

TEST_F(StoreTest, ADamagedTagOrAStrayFileStopsNothingElse) {
  write_version(path("store"), 1);
  Store store = Store::open(path("store"));
  store.tag("good", 1);
  std::ofstream(path("store/tags/good")) << "x";
  std::ofstream(path("store/tags/good~")) << "x";
  EXPECT_THROW(store.resolve("good"), InputError);
  EXPECT_EQ(store.resolve("latest"), 1u);
  EXPECT_EQ(store.resolve("1"), 1u);
  EXPECT_TRUE(store.verify(1).empty()) << "the version is whole";
  EXPECT_EQ(write_version(path("store"), 2), 2u);
  EXPECT_THROW(store.to_prune(1, false), InputError) << "who knows what the tag kept";
  store.tag("good", 2);
  EXPECT_EQ(store.resolve("good"), 2u);
  EXPECT_TRUE(store.verify({}).empty());
  fs::rename(path("store/versions"), path("away"));
  EXPECT_THROW(Store::open(path("store")), InputError) << "all shards would be pruned";
}

TEST_F(StoreTest, OneWriterAtATime) {
  write_version(path("store"), 1);
  const StoreLock lock(path("store"));
  EXPECT_THROW(write_version(path("store"), 2), SetLocked);
  EXPECT_EQ(Store::open(path("store")).versions().size(), 1u);
}

TEST_F(StoreTest, VersionsShareShardsAndNamesAreChecked) {
  write_version(path("store"), 1);
  write_version(path("store"), 2);
  Store store = Store::open(path("store"));
  EXPECT_EQ(std::distance(fs::directory_iterator(path("store/shards")), {}), 3);
  store.tag("good", 1);
  EXPECT_EQ(store.resolve("good"), 1u);
  EXPECT_EQ(store.resolve("v2"), 2u);
  EXPECT_EQ(store.resolve("2"), 2u);
  EXPECT_EQ(store.read(1, true).rows(), kShards * kRowsPerShard);
  for (const char* name : {"", "7", "v7", ".hidden", "a/b", "a b"})
    EXPECT_THROW(store.tag(name, 1), ConfigError) << name;
  EXPECT_THROW(store.resolve("3"), InputError);
  EXPECT_THROW(store.resolve("better"), InputError);
  EXPECT_THROW(Store::open(path("nowhere")), InputError);
  fs::create_directory(path("other"));
  std::ofstream(path("other/file")) << "text";
  EXPECT_THROW(Store::create(path("other")), IoError);
  store.remove_tag("good");
  EXPECT_THROW(store.remove_tag("good"), InputError);
}

TEST_F(StoreTest, TheStoreOfTheFirstFormatIsRead) {
  const std::string made = std::string(QUARRY_SOURCE_DIR) + "/tests/stores/format_1";
  const Store store = Store::open(made);
  EXPECT_EQ(store.versions(), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(store.resolve("mine"), 2u);
  EXPECT_TRUE(store.verify({}).empty());
  const NegativeSet set = store.read(2, true);
  EXPECT_EQ(set.rows(), kShards * kRowsPerShard);
  EXPECT_EQ(set.row(9).item[1], (9 * 7 + 1 + 2) % 100u);
}

}  // namespace
}  // namespace quarry

// Synthetic data and the demonstration trainer: planted cases are there, nothing depends on
// threads, training learns.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "host/data/embeddings.h"
#include "kernels/core/errors.h"
#include "kernels/core/exact_score.h"
#include "tools/demo/bpr_trainer.h"
#include "tools/demo/synthetic.h"

namespace quarry::demo {
namespace {

namespace fs = std::filesystem;

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "quarry_demo_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

SyntheticOptions small_world() {
  SyntheticOptions options;
  options.num_users = 3000;
  options.num_items = 4000;
  options.dim = 33;
  options.seed = 7;
  return options;
}

TEST(Synthetic, PlantedItemsAreWhatTheySay) {
  const SyntheticWorld world(small_world());
  const std::uint32_t dim = world.options().dim;
  std::vector<float> vectors(std::size_t{4000} * dim);
  world.item_vectors(0, 4000, vectors.data());
  std::uint32_t exact = 0;
  std::uint32_t near = 0;
  std::uint32_t cold = 0;
  std::uint32_t retired = 0;
  for (std::uint32_t i = 0; i < 4000; ++i) {
    const SyntheticItem& item = world.items()[i];
    const float* x = &vectors[std::size_t{i} * dim];
    EXPECT_NEAR(exact_dot_host(x, x, dim), 1.0f, 1e-5f);
    const float* y = &vectors[std::size_t{item.original} * dim];
    if (item.role == ItemRole::kExactCopy) {
      ++exact;
      EXPECT_TRUE(std::equal(x, x + dim, y));
      EXPECT_EQ(item.group, world.items()[item.original].group);
    } else if (item.role == ItemRole::kNearCopy) {
      ++near;
      EXPECT_GT(exact_dot_host(x, y, dim), 0.98f);
      EXPECT_FALSE(std::equal(x, x + dim, y));
    } else if (item.role == ItemRole::kCold) {
      ++cold;
      EXPECT_GE(item.first_seen, world.log_end() - 86400);
    } else if (item.role == ItemRole::kRetired) {
      ++retired;
      EXPECT_GT(item.retired, item.first_seen);
      EXPECT_LT(item.retired, world.log_end());
    }
  }
  // Binomial(4000, .005 / .005 / .03 / .03): six standard deviations.
  EXPECT_NEAR(exact, 20, 27);
  EXPECT_GT(exact, 0u);
  EXPECT_NEAR(near, 20, 27);
  EXPECT_GT(near, 0u);
  EXPECT_NEAR(cold, 120, 65);
  EXPECT_NEAR(retired, 120, 65);
}

TEST(Synthetic, EventsRespectTheCatalogueAndTheEndOfTheLog) {
  SyntheticOptions options = small_world();
  options.leak_share = 0.25;
  const SyntheticWorld world(options);
  std::vector<SyntheticEvent> events;
  std::vector<std::uint32_t> count(options.num_items, 0);
  std::uint64_t log = 0;
  std::uint64_t held_out = 0;
  std::uint64_t leaked = 0;
  for (std::uint32_t u = 0; u < options.num_users; ++u) {
    world.user_events(u, events);
    std::vector<std::uint32_t> seen;
    for (const SyntheticEvent& event : events) {
      const SyntheticItem& item = world.items()[event.item];
      EXPECT_LE(item.first_seen, event.time);
      EXPECT_LT(event.time, item.retired);
      EXPECT_NE(item.role, ItemRole::kExactCopy);
      EXPECT_NE(item.role, ItemRole::kNearCopy);
      EXPECT_EQ(event.held_out, event.time > world.log_end());
      EXPECT_TRUE(event.held_out || !event.leaked);
      EXPECT_TRUE(event.held_out || item.role != ItemRole::kCold);
      seen.push_back(event.item);
      ++count[event.item];
      (event.held_out ? held_out : log) += 1;
      leaked += event.leaked ? 1 : 0;
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
  }
  EXPECT_GT(log, 50'000u);
  EXPECT_NEAR(static_cast<double>(leaked) / static_cast<double>(held_out), 0.25, 0.03);
  std::sort(count.rbegin(), count.rend());
  const std::uint64_t head = std::accumulate(count.begin(), count.begin() + 400, std::uint64_t{0});
  EXPECT_GT(head * 2, log);  // a tenth of the items takes more than half of the events
}

TEST(Synthetic, PositivesScoreAboveTheRest) {
  const SyntheticWorld world(small_world());
  const std::uint32_t dim = world.options().dim;
  std::vector<float> items(std::size_t{4000} * dim);
  world.item_vectors(0, 4000, items.data());
  std::vector<float> user(dim);
  std::vector<SyntheticEvent> events;
  double liked = 0;
  double other = 0;
  std::uint32_t n = 0;
  for (std::uint32_t u = 0; u < 300; ++u) {
    world.user_vectors(u, u + 1, user.data());
    world.user_events(u, events);
    for (const SyntheticEvent& event : events) {
      if (!event.held_out) continue;
      liked += exact_dot_host(user.data(), &items[std::size_t{event.item} * dim], dim);
      other += exact_dot_host(user.data(),
                              &items[std::size_t{(event.item * 7919u + u) % 4000u} * dim], dim);
      ++n;
    }
  }
  ASSERT_GT(n, 500u);
  EXPECT_GT(liked / n, other / n + 0.3);
}

TEST(Synthetic, FilesAreTheSameBytesForAnyThreadsAndOtherOnesForAnotherSeed) {
  const TemporaryFolder folder;
  SyntheticOptions options = small_world();
  Exec one;
  Exec four;
  four.threads = 4;
  const SyntheticFiles a =
      write_synthetic(one, SyntheticWorld(options), VectorFormat::kNpy, folder / "a", {});
  const SyntheticFiles b =
      write_synthetic(four, SyntheticWorld(options), VectorFormat::kNpy, folder / "b", {});
  options.seed = 8;
  write_synthetic(one, SyntheticWorld(options), VectorFormat::kNpy, folder / "c", {});
  ASSERT_EQ(a.paths.size(), 6u);
  EXPECT_EQ(a.bytes, b.bytes);
  for (const std::string name :
       {"items.npy", "users.npy", "events.csv", "heldout.csv", "catalogue.csv", "planted.csv"}) {
    const std::string bytes = content(folder / ("a/" + name));
    EXPECT_FALSE(bytes.empty()) << name;
    EXPECT_EQ(bytes, content(folder / ("b/" + name))) << name;
    EXPECT_NE(bytes, content(folder / ("c/" + name))) << name;
  }
}

TEST(Synthetic, VectorFilesOpenWithTheirShapeInBothFormats) {
  const TemporaryFolder folder;
  const SyntheticWorld world(small_world());
  Exec exec;
  write_synthetic(exec, world, VectorFormat::kNpy, folder / "npy", {});
  write_synthetic(exec, world, VectorFormat::kFbin, folder / "fbin", {});
  std::vector<float> expected(33);
  world.user_vectors(2999, 3000, expected.data());
  for (const std::string& path : {folder / "npy/users.npy", folder / "fbin/users.fbin"}) {
    const Embeddings table = Embeddings::open(path);
    EXPECT_EQ(table.view().rows, 3000u);
    EXPECT_EQ(table.view().dim, 33u);
    std::vector<float> last(33);
    prepare_rows(table.view(), 2999, 3000, false, last.data());
    EXPECT_EQ(last, expected);
  }
}

TEST(Synthetic, SizesThatCannotBeMadeAreNamed) {
  SyntheticOptions options = small_world();
  options.num_items = 3;
  EXPECT_THROW(SyntheticWorld{options}, ConfigError);
  options = small_world();
  options.duplicate_share = 0.9;
  EXPECT_THROW(SyntheticWorld{options}, ConfigError);
  options = small_world();
  options.leak_share = -1;
  EXPECT_THROW(SyntheticWorld{options}, ConfigError);
}

/// Two blocks of users that like two blocks of items; the last item of each block is held out.
struct Blocks {
  std::vector<Positive> train;
  std::vector<Positive> held_out;
  Blocks() {
    for (std::uint32_t u = 0; u < 60; ++u) {
      for (std::uint32_t i = 0; i < 20; ++i) {
        const std::uint32_t item = (u % 2) * 20 + i;
        if (i == u % 20) {
          held_out.push_back({u, item});
        } else if ((u * 31 + i * 17) % 4 != 0) {
          train.push_back({u, item});
        }
      }
    }
  }
};

class Trainer : public testing::TestWithParam<Metric> {};

TEST_P(Trainer, LearnsBlocksAndRepeatsItself) {
  const Blocks data;
  BprOptions options;
  options.dim = 16;
  options.metric = GetParam();
  options.epochs = 40;
  FactorModel untrained = initial_model(60, 40, options);
  FactorModel model = untrained;
  FactorModel again = untrained;
  train_bpr(data.train, nullptr, options, model, {});
  train_bpr(data.train, nullptr, options, again, {});
  EXPECT_EQ(model.items, again.items);
  EXPECT_EQ(model.users, again.users);
  const ItemLists known = ItemLists::from_pairs(data.train, 60);
  const ItemLists truth = ItemLists::from_pairs(data.held_out, 60);
  const double before = full_ranking(untrained, known, truth).ndcg10;
  const RankingQuality after = full_ranking(model, known, truth);
  EXPECT_EQ(after.users, 60u);
  EXPECT_LT(before, 0.4);
  EXPECT_GT(after.ndcg10, 0.45);
  EXPECT_GE(after.hit10, 0.95);  // about six items of the block are unknown to each user

  options.seed = 1;
  FactorModel other = initial_model(60, 40, options);
  train_bpr(data.train, nullptr, options, other, {});
  EXPECT_NE(other.items, model.items);
}

TEST_P(Trainer, VectorsKeepTheirForm) {
  const Blocks data;
  BprOptions options;
  options.dim = 16;
  options.metric = GetParam();
  options.epochs = 5;
  FactorModel model = initial_model(60, 40, options);
  train_bpr(data.train, nullptr, options, model, {});
  for (std::uint32_t u = 0; u < 60; ++u) {
    const float* x = &model.users[u * 16];
    if (GetParam() == Metric::kCosine) {
      EXPECT_NEAR(exact_dot_host(x, x, 16), 1.0f, 1e-4f);
    } else {
      EXPECT_EQ(x[15], 1.0f);  // the coordinate that carries the item bias
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Metrics, Trainer, testing::Values(Metric::kInnerProduct, Metric::kCosine));

TEST(TrainerWithMinedNegatives, PushesTheMinedItemsDown) {
  const Blocks data;
  BprOptions options;
  options.dim = 16;
  options.epochs = 30;
  options.mined_share = 1.0f;
  MinedNegatives mined;
  mined.offsets.push_back(0);
  for (std::size_t p = 0; p < data.train.size(); ++p) {
    mined.items.push_back(data.train[p].user % 2 == 0 ? 39 : 0);  // an item of the other block
    mined.offsets.push_back(mined.items.size());
  }
  FactorModel model = initial_model(60, 40, options);
  train_bpr(data.train, &mined, options, model, {});
  for (std::uint32_t u = 0; u < 60; u += 2) {
    std::uint32_t below = 0;
    for (std::uint32_t i = 0; i < 40; ++i) below += model.score(u, i) < model.score(u, 39) ? 1 : 0;
    EXPECT_EQ(below, 0u) << "user " << u;
  }
}

TEST(Ranking, CountsHeldOutByRankOnAKnownOrder) {
  FactorModel model;
  model.dim = 1;
  model.users = {1.0f};
  for (std::uint32_t i = 0; i < 50; ++i) model.items.push_back(50.0f - static_cast<float>(i));
  const ItemLists known = ItemLists::from_pairs({{0, 0}, {0, 1}}, 1);  // ranks then start at item 2
  const ItemLists truth = ItemLists::from_pairs({{0, 2}, {0, 12}, {0, 49}}, 1);
  const std::vector<RankBucket> buckets = held_out_by_rank(model, known, truth);
  ASSERT_EQ(buckets.size(), 4u);  // 1-10, 11-30, 31-50, all
  EXPECT_EQ(buckets[0].held_out, 1u);
  EXPECT_EQ(buckets[0].candidates, 10u);
  EXPECT_EQ(buckets[1].held_out, 1u);
  EXPECT_EQ(buckets[1].candidates, 20u);
  EXPECT_EQ(buckets[2].held_out, 1u);
  EXPECT_EQ(buckets[2].candidates, 18u);
  EXPECT_EQ(buckets[3].candidates, 48u);
  EXPECT_EQ(buckets[3].held_out, 3u);
  const RankingQuality quality = full_ranking(model, known, truth);
  const double ideal = 1.0 + 1.0 / std::log2(3.0) + 0.5;
  EXPECT_NEAR(quality.ndcg10, 1.0 / ideal, 1e-12);  // one of three in the first ten, at rank 1
}

TEST(TrainerInput, WithoutPositivesSaysSo) {
  BprOptions options;
  FactorModel model = initial_model(2, 2, options);
  EXPECT_THROW(train_bpr({}, nullptr, options, model, {}), InputError);
}

/// The chain of tools/quickstart on made-up data: synth, mine, check, train on what was mined.
class Chain : public testing::Test {
 protected:
  void SetUp() override {
    const char* program = std::getenv("QUARRY_PROGRAM");
    program_ = program != nullptr ? program : std::string(QUARRY_BINARY_DIR) + "/quarry";
    ASSERT_TRUE(fs::exists(program_)) << program_ << " is not built; QUARRY_PROGRAM names it";
    if (std::system("python3 -c 'import tomllib' >/dev/null 2>&1") != 0) {
      GTEST_SKIP() << "tools/check_set needs Python 3.11";
    }
    data_ = folder_ / "data";
    ASSERT_EQ(quarry("synth --users 300 --items 800 --dim 16 --out " + data_), 0);
    ASSERT_EQ(quarry("mine --items " + data_ + "/items.npy --users " + data_ +
                     "/users.npy --events " + data_ + "/events.csv --catalogue " + data_ +
                     "/catalogue.csv --as-of 1631536000 --recipe balanced --out " + set()),
              0);
  }
  std::string set() const { return data_ + "/negatives"; }
  int run(const std::string& command) {
    const int status = std::system((command + " >" + (folder_ / "words") + " 2>&1").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int quarry(const std::string& arguments) { return run(program_ + " " + arguments); }
  int check() {
    return run("python3 -B " QUARRY_SOURCE_DIR "/tools/check_set " + set() + " --heldout " + data_ +
               "/heldout.csv");
  }
  std::string words() const { return content(folder_ / "words"); }

  TemporaryFolder folder_;
  std::string program_, data_;
};

TEST_F(Chain, AMinedSetPassesTheIndependentCheck) {
  EXPECT_EQ(check(), 0) << words();
  EXPECT_NE(words().find("nothing wrong"), std::string::npos) << words();
  EXPECT_NE(words().find("held out"), std::string::npos);
}

TEST_F(Chain, SetsOfOtherRecipesPassTheIndependentCheckToo) {
  // Draw places as raw ranks, shares that follow a schedule, weighted draws.
  for (const std::string recipe : {"warp", "realhns --round 9", "pns"}) {
    ASSERT_EQ(quarry("mine --overwrite --items " + data_ + "/items.npy --users " + data_ +
                     "/users.npy --events " + data_ + "/events.csv --catalogue " + data_ +
                     "/catalogue.csv --as-of 1631536000 --out " + set() + " --recipe " + recipe),
              0)
        << words();
    EXPECT_EQ(check(), 0) << recipe << ": " << words();
  }
}

TEST_F(Chain, TheCheckNamesEveryPlantedFault) {
  EXPECT_EQ(run("python3 -B " QUARRY_SOURCE_DIR "/tests/check_set_corruptions.py " + program_ +
                " " QUARRY_SOURCE_DIR "/tools/check_set " + data_ + " " + (folder_ / "")),
            0)
      << words();
  EXPECT_NE(words().find("faults planted, 0 not found"), std::string::npos) << words();
}

TEST_F(Chain, TheCheckFindsARepeatedItem) {
  for (const auto& shard : fs::directory_iterator(set())) {
    if (!shard.is_directory()) continue;
    std::fstream items(shard.path() / "item.npy", std::ios::in | std::ios::out | std::ios::binary);
    std::uint32_t first = 0;
    items.seekg(128);
    items.read(reinterpret_cast<char*>(&first), 4);
    items.seekp(132);
    items.write(reinterpret_cast<const char*>(&first), 4);
  }
  EXPECT_EQ(check(), 1) << words();
  EXPECT_NE(words().find("twice"), std::string::npos) << words();
}

TEST_F(Chain, TheCheckFindsItemsFromTheFuture) {
  // The set stays; the catalogue now says that every item came after the end of the log.
  std::istringstream before(content(data_ + "/catalogue.csv"));
  std::ofstream after(data_ + "/catalogue.csv");
  std::string line;
  std::getline(before, line);
  after << line << '\n';
  while (std::getline(before, line)) {
    const std::size_t begin = line.find(',', line.find(',') + 1) + 1;
    after << line.substr(0, begin) << "1900000000" << line.substr(line.find(',', begin)) << '\n';
  }
  after.close();
  EXPECT_EQ(check(), 1) << words();
  EXPECT_NE(words().find("breaks the filter time"), std::string::npos) << words();
}

TEST_F(Chain, TrainingTakesAMinedSetAndRepeatsItself) {
  const std::string common = "train-demo --events " + data_ + "/events.csv --catalogue " + data_ +
                             "/catalogue.csv --as-of 1631536000 --positive purchase --positive like"
                             " --dim 16 --epochs 3 --heldout " +
                             data_ + "/heldout.csv";
  ASSERT_EQ(quarry(common + " --out " + (folder_ / "plain")), 0) << words();
  EXPECT_NE(words().find("NDCG@10"), std::string::npos) << words();
  const std::string mined = common + " --negatives " + set();
  ASSERT_EQ(quarry(mined + " --out " + (folder_ / "a")), 0) << words();
  EXPECT_NE(words().find(" 0 without any"), std::string::npos) << words();
  ASSERT_EQ(quarry(mined + " --out " + (folder_ / "b")), 0) << words();
  EXPECT_EQ(content(folder_ / "a/items.npy"), content(folder_ / "b/items.npy"));
  // Fewer positives than the set was mined for: their rows are found all the same.
  const std::string likes = "train-demo --events " + data_ + "/events.csv --catalogue " + data_ +
                            "/catalogue.csv --as-of 1631536000 --positive like --dim 16 --epochs 1"
                            " --negatives " +
                            set();
  ASSERT_EQ(quarry(likes + " --out " + (folder_ / "c")), 0) << words();
  const std::string told = words();
  const std::size_t at = told.find("negatives: ") + 11;
  const std::string pairs = told.substr(at, told.find(' ', at) - at);
  EXPECT_NE(told.find(", " + pairs + " with a row of their own, 0 without any"), std::string::npos)
      << told;
  EXPECT_NE(content(folder_ / "a/items.npy"), content(folder_ / "plain/items.npy"));
}

TEST_F(Chain, TrainingRefusesASetOfOtherTables) {
  const std::string common = "train-demo --events " + data_ +
                             "/events.csv --as-of 1631536000"
                             " --positive purchase --positive like --dim 16 --epochs 1 --out " +
                             (folder_ / "model") + " --negatives " + set();
  // Without the catalogue the items are others: those that have events, in another order.
  EXPECT_EQ(quarry(common), 3) << words();
  EXPECT_NE(words().find("was mined over other items"), std::string::npos) << words();
  // The same ids, but other positives: no row is one of theirs.
  EXPECT_EQ(
      quarry("train-demo --events " + data_ + "/events.csv --catalogue " + data_ +
             "/catalogue.csv --as-of 1631536000 --positive dislike --dim 16 --epochs 1 --out " +
             (folder_ / "model") + " --negatives " + set()),
      3)
      << words();
  EXPECT_NE(words().find("no row has a positive of these events"), std::string::npos) << words();
}

TEST_F(Chain, BadArgumentsHaveTheirExitCodes) {
  EXPECT_EQ(quarry("synth --users 10 --items 3 --out " + (folder_ / "x")), 2);
  EXPECT_EQ(quarry("synth --out " + data_), 5) << words();  // there is something already
  EXPECT_EQ(quarry("train-demo --events " + data_ + "/events.csv --positive 'like>=x' --out " +
                   (folder_ / "x")),
            2);
  EXPECT_EQ(quarry("train-demo --events " + data_ + "/events.csv --positive sold --out " +
                   (folder_ / "x")),
            3);
  EXPECT_NE(words().find("--positive"), std::string::npos) << words();
}

}  // namespace
}  // namespace quarry::demo

// What must not matter, over a million rows (at QUARRY_TEST_SCALE 10 or more; else 20,000): the
// order of lines of events and of candidates, items appended last that nobody may get, powers of
// two on all scores. The recipes are lighter than those of order_test and invariance_test.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/files.h"
#include "tests/support/mined.h"

namespace quarry {
namespace {

constexpr std::uint32_t kClusters = 41, kOfCluster = 48;  // item c + 41 n is of cluster c
constexpr std::uint32_t kItems = kClusters * kOfCluster;
constexpr std::uint32_t kDim = 16;
constexpr std::uint32_t kPositives = 40;  // of a user, all of one cluster, a row each
constexpr std::int64_t kDay = 86400;
const MinerOptions kOptions{.exec = {.threads = 2}, .seed = 11};

constexpr const char* kRecipe = R"(
name = "light"
k = 5
[exposure]
positive = ["like"]
aversion = ["dislike"]
[safety]
filters = ["positives", { kind = "exposed", classes = ["ambiguous"] }, "time"]
[[branch]]
name = "hard"
share = 0.4
source = { kind = "topk", pool = 30 }
filters = [
  { kind = "exposed", classes = ["aversion"] },
  { kind = "relative_margin", ratio = 0.9, against = "min" },
]
[[branch]]
name = "listed"
share = 0.2
source = { kind = "run", table = "listed" }
select = "top1_sample"
[[branch]]
name = "popular"
share = 0.2
source = "popularity^0.5"
[[branch]]
name = "random"
share = 0.2
source = "uniform"
)";

std::uint32_t num_users() {
  const char* scale = std::getenv("QUARRY_TEST_SCALE");
  return (scale != nullptr && std::atoi(scale) >= 10 ? 1000000 : 20000) / kPositives;
}

std::uint32_t mixed(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

/// A table's lines in some order.
class Lines {
 public:
  void add(std::string line) { lines_.push_back(std::move(line)); }
  void shuffle(std::uint32_t seed) {
    for (std::size_t i = lines_.size(); i > 1; --i)
      std::swap(lines_[i - 1], lines_[mixed(seed + static_cast<std::uint32_t>(i)) % i]);
  }
  std::string text(const std::string& header) const {
    std::string text = header + "\n";
    for (const std::string& line : lines_) text += line + "\n";
    return text;
  }

 private:
  std::vector<std::string> lines_;
};

/// Users who liked kPositives items of a cluster each, saw and disliked some of the next; and
/// everything that they are mined with.
class World {
 public:
  World() : users_(std::size_t{num_users()} * kDim), items_(std::size_t{kItems} * kDim) {
    const auto fill = [](std::vector<float>& rows, std::uint32_t salt) {
      const auto random = [](std::size_t i, std::uint32_t from) {
        return static_cast<float>(mixed(static_cast<std::uint32_t>(i) + from) >> 8) * 0x1p-23f -
               1.0f;
      };
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::size_t centre = i / kDim % kClusters * kDim + i % kDim;
        rows[i] = random(centre, 1u << 29) + 0.5f * random(i, salt);
      }
    };
    fill(users_, 1u << 30);
    fill(items_, 1u << 31);
    for (std::uint32_t u = 0; u < num_users(); ++u) {
      // Item j of the n-th cluster from the user's.
      const auto item_of = [u](std::uint32_t n, std::uint32_t j) {
        return (u + n) % kClusters + kClusters * ((mixed(u) + 5 * j) % kOfCluster);
      };
      for (std::uint32_t j = 0; j < kPositives + 20; ++j) {
        const std::uint32_t item = item_of(j < kPositives ? 0 : 1, j);
        const char* kind = j < kPositives ? "like" : j % 2 == 0 ? "view" : "dislike";
        events_.add(std::to_string(u) + "," + std::to_string(item) + "," +
                    std::to_string(100 * kDay + mixed(u * 131 + j) % (50 * kDay)) + "," + kind);
      }
      for (std::uint32_t j = 0; j < 15; ++j) {
        run_.add(std::to_string(u) + "," + std::to_string(item_of(2, j)) + "," +
                 std::to_string(j / 2));
      }
    }
    catalogue_.first_seen.assign(kItems, 0);
    for (std::uint32_t i = 0; i < kItems; i += 7) catalogue_.first_seen[i] = 120 * kDay;
    catalogue_.retired.assign(kItems, INT64_MAX);
    recipe_ = parse_recipe(kRecipe, "light.toml", 0);
    read();
  }

  /// Reads both tables from files.
  void read() {
    const testing::TempDir dir;
    const IdMap users = IdMap::identity(num_users()), items = IdMap::identity(kItems);
    exposure_ = read_exposure(dir.write("events.csv", events_.text("user,item,time,kind")), {},
                              recipe_.exposure, users, items, std::nullopt, UnknownIds::kReject);
    listed_ = read_pairs(dir.write("run.csv", run_.text("user,item,score")), {}, users, items,
                         UnknownIds::kReject);
    rows_ = rows_from_exposure(exposure_, RowsFrom::kPositives, users, items);
    if (snapshot_.num_items == 0) snapshot_ = make_snapshot(exposure_, kItems);
  }
  void shuffle(std::uint32_t seed) {
    events_.shuffle(seed);
    run_.shuffle(seed + 1);
  }
  /// Items that were retired before the first row, and score above everything for half of the
  /// users.
  void append_retired(std::uint32_t count) {
    items_.insert(items_.end(), std::size_t{count} * kDim, 50.0f);
    catalogue_.first_seen.insert(catalogue_.first_seen.end(), count, 0);
    catalogue_.retired.insert(catalogue_.retired.end(), count, 90 * kDay);
    exposure_.item_count.insert(exposure_.item_count.end(), count, 0);
  }
  void scale(float users, float items) {
    for (float& x : users_) x *= users;
    for (float& x : items_) x *= items;
  }
  test::Mined mine() {
    MinerInputs in;
    in.users = {users_.data(), num_users(), kDim, Dtype::kF32};
    in.items = {items_.data(), items_.size() / kDim, kDim, Dtype::kF32};
    in.exposure = &exposure_;
    in.catalogue = &catalogue_;
    in.rows = &rows_;
    in.pairs["listed"] = &listed_;
    in.snapshot = &snapshot_;
    return test::mine_all(recipe_, in, test::view_of(rows_), kOptions);
  }

 private:
  std::vector<float> users_, items_;
  Lines events_, run_;
  Recipe recipe_;
  Exposure exposure_;
  Catalogue catalogue_;
  PairValues listed_;
  RowTable rows_;
  Snapshot snapshot_;
};

class MillionRows : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    World world;
    before_ = std::make_unique<test::Mined>(world.mine());
    const Counters& c = before_->report.counters;
    ASSERT_EQ(before_->all.num_rows, num_users() * kPositives);
    for (std::uint32_t b = 0; b < 4; ++b) EXPECT_GT(c.branch[b].picked, c.rows / 2) << b;
    for (std::uint32_t f = 0; f < 5; ++f) EXPECT_GT(c.branch[0].rejected[f], 0u) << f;
  }
  static void TearDownTestSuite() { before_.reset(); }
  static inline std::unique_ptr<test::Mined> before_;
};

TEST_F(MillionRows, AreTheSameInAnyOrderOfEventsAndCandidates) {
  World world;
  world.shuffle(3);
  world.read();
  EXPECT_EQ(test::difference(*before_, world.mine()), "");
  std::printf("%u rows\n", before_->all.num_rows);
}

TEST_F(MillionRows, DoNotSeeMaskedItemsThatAreAppended) {
  constexpr std::uint32_t kMasked = 7;
  World world;
  world.append_retired(kMasked);
  test::Mined after = world.mine();
  // Behind the new items a place in the full ranking is later by their number.
  std::uint64_t later = 0;
  for (std::size_t at = 0; at < after.all.item.size(); ++at) {
    if (after.all.branch[at] != 0) continue;
    const std::uint32_t moved = after.all.raw_rank[at] - before_->all.raw_rank[at];
    ASSERT_TRUE(moved == 0 || moved == kMasked) << "slot " << at;
    later += moved != 0;
    after.all.raw_rank[at] = before_->all.raw_rank[at];
  }
  EXPECT_GT(later, before_->all.num_rows / 4);
  for (std::uint64_t r = 0; r < after.all.num_rows; ++r)
    ASSERT_EQ(test::row_difference(before_->all, r, after.all, r), "") << "row " << r;
  EXPECT_EQ(after.report.counters.emitted, before_->report.counters.emitted);
  std::printf("%u rows, %llu negatives behind the masked items\n", after.all.num_rows,
              static_cast<unsigned long long>(later));
}

TEST_F(MillionRows, AreTheSameForScoresTimesAPowerOfTwo) {
  World world;
  world.scale(0x1p7f, 0x1p-2f);
  test::Mined after = world.mine();
  for (float& x : after.all.score) x *= 0x1p-5f;
  for (float& x : after.all.positive_min) x *= 0x1p-5f;
  EXPECT_EQ(test::difference(*before_, after), "");
  std::printf("%u rows\n", after.all.num_rows);
}

}  // namespace
}  // namespace quarry

// The CUDA backend against the CPU backend, bit for bit: each kernel on random problems, top-k, the
// exact retriever and the whole miner. The same comparisons run with several CPU threads, so the
// harness itself is exercised everywhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "host/mine/miner.h"
#include "host/mine/placement.h"
#include "index/retriever.h"
#include "kernels/core/device.h"
#include "kernels/topk/topk.h"
#include "tests/support/collectives.h"
#include "tests/support/kernel_stages.h"
#include "tests/support/problems.h"
#include "tests/support/retrieval_cases.h"
#include "tests/support/setup_cases.h"

namespace quarry {
namespace {

/// What is compared with one CPU thread.
class Backend : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (on_cuda()) {
      std::string why;
      if (cuda_device_count(&why) == 0) GTEST_SKIP() << "no CUDA device: " << why;
      device_ = std::make_unique<CudaExec>(0, 2);
      exec_ = device_->exec();
    } else {
      exec_.threads = 3;
    }
  }
  static bool on_cuda() { return std::string(GetParam()) == "cuda"; }

  std::unique_ptr<CudaExec> device_;
  Exec exec_;
};

INSTANTIATE_TEST_SUITE_P(Against, Backend, ::testing::Values("threads", "cuda"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Backend, EveryKernelGivesTheBitsOfOneThread) {
  const std::uint64_t problems = on_cuda() ? 1000 : 100;
  std::uint64_t compared = 0;
  int wrong = 0;
  for (std::uint64_t n = 0; n < problems && wrong < 3; ++n) {
    const auto p = test::make_problem(n);
    std::vector<test::Record> expected;
    try {
      expected = test::run_kernels(*p, Exec{});
    } catch (const ConfigError&) {
      continue;  // infeasible on purpose
    }
    const std::string why = test::difference(expected, test::run_kernels(*p, exec_));
    EXPECT_EQ(why, "") << test::describe(*p);
    wrong += !why.empty();
    ++compared;
  }
  if (wrong == 0) {
    EXPECT_GT(compared, problems / 2);
  }
}

TEST(KernelStages, AChangedBitAndAMissingStageAreSeen) {
  // Draw branches alone have few stages: take the first problem with more.
  std::vector<test::Record> expected;
  for (std::uint64_t n = 0; n < 20 && expected.size() < 30; ++n) {
    expected = test::run_kernels(*test::make_problem(n), Exec{});
  }
  ASSERT_GE(expected.size(), 30u);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    std::vector<test::Record> changed = expected;
    changed[i].bytes.back() ^= 1;
    EXPECT_EQ(test::difference(expected, changed).find(expected[i].name), 0u);
  }
  std::vector<test::Record> shorter = expected;
  shorter.pop_back();
  EXPECT_NE(test::difference(expected, shorter), "");
  EXPECT_EQ(test::difference(expected, expected), "");
}

TEST_P(Backend, EverySetupOperationGivesTheNumbersOfOneThread) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const test::SetupCase c = test::setup_case(seed);
    ASSERT_EQ(test::difference(test::setup_on(c, Exec{}), test::setup_on(c, exec_)), "")
        << "seed " << seed << ": " << test::describe(c);
  }
  const test::SetupCase large = test::large_setup_case();
  EXPECT_EQ(test::difference(test::setup_on(large, Exec{}), test::setup_on(large, exec_)), "");
}

/// All columns and counters of a run, or the error it ended with.
std::string mined(const test::Problem& p, const Exec& exec) {
  MinerOptions options;
  options.exec = exec;
  options.seed = p.seed;
  options.round = p.round;
  options.tile_rows = static_cast<std::uint32_t>(p.number % 4);
  std::string bytes;
  const auto append = [&](const auto& column) {
    bytes.append(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(column[0]));
  };
  try {
    Miner miner(p.recipe, p.inputs, options);
    miner.mine(p.rows_view, [&](const NegativeBatch& b) {
      for (const auto* column : {&b.item, &b.raw_rank, &b.survivor_rank, &b.stratum})
        append(*column);
      for (const auto* column : {&b.score, &b.logq, &b.kappa, &b.positive_min}) append(*column);
      for (const auto* column : {&b.branch, &b.fill, &b.certified}) append(*column);
      append(b.count);
    });
    const Counters& counters = miner.report().counters;
    bytes.append(reinterpret_cast<const char*>(&counters), sizeof counters);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return bytes;
}

TEST_P(Backend, TheMinerGivesTheBitsOfOneThread) {
  const std::uint64_t problems = on_cuda() ? 1000 : 100;
  int wrong = 0;
  for (std::uint64_t n = 0; n < problems && wrong < 3; ++n) {
    const auto p = test::make_problem(n);
    const bool same = mined(*p, Exec{}) == mined(*p, exec_);
    EXPECT_TRUE(same) << test::describe(*p);
    wrong += !same;
  }
}

/// Lists of topk on host memory, keys of a row sorted.
struct Lists {
  std::vector<std::uint64_t> keys;
  std::vector<std::uint32_t> count;
  std::vector<float> cut;
  std::vector<std::uint8_t> left_out;
  bool operator==(const Lists&) const = default;
};

struct TopkCase {
  std::uint32_t num_items, dim, rows, k;
  bool masked;
};

Lists found(const TopkCase& c, TopkScoring scoring, const Exec& exec) {
  test::Rng rng{c.num_items + c.k};
  const auto table = [&](std::size_t n) {  // sums of such products are exact in any order
    std::vector<float> values(n);
    for (float& v : values) v = static_cast<float>(rng.in(0, 8)) / 4.0f - 1.0f;
    return values;
  };
  const std::vector<float> items = table(std::size_t{c.num_items} * c.dim);
  const std::vector<float> queries = table(std::size_t{c.rows} * c.dim);
  std::vector<std::uint32_t> eligible((c.num_items + 31) / 32);
  for (std::uint32_t& word : eligible) word = static_cast<std::uint32_t>(rng.next());
  std::vector<std::uint64_t> offsets{0};
  std::vector<std::uint32_t> exclusions;
  for (std::uint32_t r = 0; r < c.rows; ++r) {
    for (std::uint32_t i = 0; i < c.num_items; ++i) {
      if (rng.chance(r % 4 == 0 ? 60 : 2)) exclusions.push_back(i);
    }
    offsets.push_back(exclusions.size());
  }
  Placement placement(exec);
  TopkItems scored{.num_items = c.num_items, .dim = c.dim, .scoring = scoring};
  scored.rows = placement.borrow(items.data(), items.size());
  TopkMask mask;
  if (c.masked) {
    mask.eligible = placement.borrow(eligible.data(), eligible.size());
    mask.exclusion_offsets = placement.borrow(offsets.data(), offsets.size());
    mask.exclusions = placement.borrow(exclusions.data(), exclusions.size());
  }
  TileArray<std::uint64_t> keys;
  TileArray<std::uint32_t> count;
  TileArray<float> cut;
  TileArray<std::uint8_t> left_out;
  keys.resize(exec, std::size_t{c.rows} * c.k);
  count.resize(exec, c.rows);
  cut.resize(exec, c.rows);
  left_out.resize(exec, c.rows);
  const TopkResult out{keys.at(exec), count.at(exec), cut.at(exec), left_out.at(exec)};
  const float* q = placement.borrow(queries.data(), queries.size());
  TopkWorkspace workspace;
  TopkDeviceWorkspace device_workspace;
  if (exec.device == Device::kCuda) {
    topk_gpu(exec, scored, mask, q, c.rows, c.k, device_workspace, out);
  } else {
    topk(exec, scored, mask, q, c.rows, c.k, workspace, out);
  }
  keys.pull(exec);
  count.pull(exec);
  cut.pull(exec);
  left_out.pull(exec);
  synchronize(exec);
  Lists lists;
  for (std::uint32_t r = 0; r < c.rows; ++r) {
    lists.count.push_back(count.host()[r]);
    lists.left_out.push_back(left_out.host()[r]);
    lists.cut.push_back(left_out.host()[r] != 0 ? cut.host()[r] : 0.0f);
    const std::uint64_t* row = keys.host() + std::size_t{r} * c.k;
    lists.keys.insert(lists.keys.end(), row, row + count.host()[r]);
    std::sort(lists.keys.end() - count.host()[r], lists.keys.end());
  }
  return lists;
}

TEST_P(Backend, TopkFindsTheSameLists) {
  for (const TopkCase& c :
       {TopkCase{1, 1, 1, 1, false}, TopkCase{31, 3, 5, 40, true}, TopkCase{4097, 24, 33, 10, true},
        TopkCase{9000, 33, 7, 3000, true}, TopkCase{9000, 8, 70, 1, false}}) {
    for (const TopkScoring scoring : {TopkScoring::kBlas, TopkScoring::kCanonical}) {
      EXPECT_EQ(found(c, scoring, Exec{}), found(c, scoring, exec_))
          << c.num_items << " items, dim " << c.dim << ", " << c.rows << " rows, k " << c.k
          << ", scoring " << static_cast<int>(scoring);
    }
  }
}

/// All that a search of `t` writes; queries and results in the memory of exec.device.
test::Found searched(const test::Tables& t, std::uint32_t k, const Exec& exec, SearchStats* stats) {
  const std::size_t places = std::size_t{t.num_queries} * k;
  Placement placement(exec);
  TileArray<std::uint32_t> items, count;
  TileArray<float> scores;
  TileArray<std::uint8_t> complete, certified;
  items.resize(exec, places);
  scores.resize(exec, places);
  std::fill_n(items.host(), places, test::kUntouched);
  std::fill_n(scores.host(), places, -7.0f);
  items.push(exec);
  scores.push(exec);
  count.resize(exec, t.num_queries);
  complete.resize(exec, t.num_queries);
  certified.resize(exec, t.num_queries);
  const auto retriever = make_exact_retriever(t.view());
  retriever->search(
      exec, placement.borrow(t.queries.data(), t.queries.size()), t.num_queries, k,
      {items.at(exec), scores.at(exec), count.at(exec), complete.at(exec), certified.at(exec)});
  *stats = retriever->stats();
  items.pull(exec);
  scores.pull(exec);
  count.pull(exec);
  complete.pull(exec);
  certified.pull(exec);
  synchronize(exec);
  test::Found f;
  f.items.assign(items.host(), items.host() + places);
  f.scores.assign(scores.host(), scores.host() + places);
  f.count.assign(count.host(), count.host() + t.num_queries);
  f.complete.assign(complete.host(), complete.host() + t.num_queries);
  f.certified.assign(certified.host(), certified.host() + t.num_queries);
  return f;
}

/// Ties that widen, one heavy item, lists longer than shared memory holds, all items.
TEST_P(Backend, TheExactRetrieverFindsTheSameLists) {
  for (const test::Data data : test::kAllData) {
    for (const Metric metric : test::kMetrics) {
      const test::Tables t = test::make_tables(data, metric, 8000, 20, 20, 5);
      for (const std::uint32_t k : {1u, 64u, 7000u, 8005u}) {
        SearchStats expected_stats, stats;
        const test::Found expected = searched(t, k, Exec{}, &expected_stats);
        const test::Found found = searched(t, k, exec_, &stats);
        const std::string what = std::string(test::name_of(data)) + ", " + test::name_of(metric) +
                                 ", k " + std::to_string(k);
        ASSERT_EQ(found.items, expected.items) << what;
        ASSERT_EQ(found.scores, expected.scores) << what;
        ASSERT_EQ(found.count, expected.count) << what;
        ASSERT_EQ(found.complete, expected.complete) << what;
        ASSERT_EQ(found.certified, expected.certified) << what;
        if (data == test::Data::kGaussian && k == 64) {
          EXPECT_EQ(stats.fallback, 0u) << "the device's products keep the bound";
        }
      }
    }
  }
}

/// Suites that need a device and have no CPU counterpart.
class Cuda : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda_device_count(&why) == 0) GTEST_SKIP() << "no CUDA device: " << why;
    device_ = std::make_unique<CudaExec>(0, 1);
  }
  std::unique_ptr<CudaExec> device_;
};

#if defined(QUARRY_HAS_CUDA)
TEST_F(Cuda, CollectivesAndRowSortsOfWarpAndBlockEqualPlainLoops) {
  const std::vector<SortEntry> sorted = test::expected_rows();
  for (const std::uint32_t width : {32u, 128u, 256u}) {
    std::vector<test::Collectives> seen(std::size_t{width} * test::kCollectiveRounds);
    std::vector<SortEntry> rows(sorted.size());
    DeviceBuffer<std::uint32_t> shared(device_->exec(), width);
    DeviceBuffer<test::Collectives> out(device_->exec(), seen.size());
    DeviceBuffer<SortEntry> device_rows(device_->exec(), rows.size());
    test::run_collectives(device_->exec(), width, shared.data(), out.data(), device_rows.data());
    copy_to_host(device_->exec(), seen.data(), out.data(), seen.size() * sizeof(seen[0]));
    copy_to_host(device_->exec(), rows.data(), device_rows.data(), rows.size() * sizeof(rows[0]));
    synchronize(device_->exec());
    for (std::uint32_t lane = 0; lane < width; ++lane) {
      for (std::uint32_t round = 0; round < test::kCollectiveRounds; ++round) {
        ASSERT_EQ(seen[std::size_t{lane} * test::kCollectiveRounds + round],
                  test::expected_collectives(lane, width, round))
            << "width " << width << " lane " << lane << " round " << round;
      }
    }
    ASSERT_EQ(test::first_difference(rows, sorted), sorted.size()) << "width " << width;
  }
}
#endif

TEST_F(Cuda, CopiesComeBack) {
  for (const Allocator* allocator :
       {static_cast<const Allocator*>(nullptr), unpooled_device_memory()}) {
    const CudaExec device(0, 1, allocator);
    std::vector<std::uint32_t> sent(1000);
    std::iota(sent.begin(), sent.end(), 7u);
    std::vector<std::uint32_t> back(sent.size());
    DeviceBuffer<std::uint32_t> buffer(device.exec(), sent.size());
    copy_to_device(device.exec(), buffer.data(), sent.data(), sent.size() * sizeof(std::uint32_t));
    copy_to_host(device.exec(), back.data(), buffer.data(), sent.size() * sizeof(std::uint32_t));
    synchronize(device.exec());
    EXPECT_EQ(sent, back);
    fill_device(device.exec(), buffer.data(), 0xFF, sent.size() * sizeof(std::uint32_t));
    copy_to_host(device.exec(), back.data(), buffer.data(), sent.size() * sizeof(std::uint32_t));
    synchronize(device.exec());
    EXPECT_EQ(back, std::vector<std::uint32_t>(sent.size(), 0xFFFFFFFFu));
  }
}

TEST_F(Cuda, TooMuchMemoryIsOutOfMemoryAndTheDeviceStaysUsable) {
  const DeviceInfo info = cuda_device_info(0);
  DeviceBuffer<std::uint8_t> buffer;
  try {
    buffer.resize(device_->exec(), info.total_bytes * 4);
    FAIL() << "more memory than the device has was given";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(info.total_bytes * 4)),
              std::string::npos)
        << error.what();
  }
  buffer.resize(device_->exec(), 4096);
  synchronize(device_->exec());
  EXPECT_NE(buffer.data(), nullptr);
}

TEST_F(Cuda, RefusedMemoryMakesTilesSmallerNotResultsDifferent) {
  struct Refusing {
    int left;
    static void* allocate(void* self, std::size_t bytes, const Exec& exec) {
      auto* refusing = static_cast<Refusing*>(self);
      if (refusing->left-- == 0) return nullptr;
      const Allocator* all = unpooled_device_memory();
      return all->allocate(all->self, bytes, exec);
    }
    static void release(void*, void* pointer, std::size_t bytes, const Exec& exec) noexcept {
      const Allocator* all = unpooled_device_memory();
      all->release(all->self, pointer, bytes, exec);
    }
  };
  const auto p = test::make_problem(4);  // tiles of the engine's choice
  const std::string expected = mined(*p, Exec{});
  int refused = 0;
  for (int n = 0; n < 200; ++n) {
    Refusing refusing{n};
    const Allocator allocator{Refusing::allocate, Refusing::release, &refusing};
    Exec exec = device_->exec();
    exec.allocator = &allocator;
    try {
      EXPECT_EQ(mined(*p, exec), expected) << "request " << n;
    } catch (const OutOfMemory&) {
      ++refused;  // memory that does not depend on the tile
    }
    if (refusing.left > 0) break;  // the run asks for fewer than n
  }
  EXPECT_GT(refused, 0);
}

TEST(WithoutADevice, EveryUseSaysSo) {
  std::string why;
  if (cuda_device_count(&why) > 0) GTEST_SKIP() << "there is a CUDA device";
  EXPECT_FALSE(why.empty());
  EXPECT_EQ(cuda_device_count(nullptr), 0);
  EXPECT_THROW(CudaExec(0, 1), DeviceError);
  EXPECT_THROW(cuda_device_info(0), DeviceError);
  Exec exec;
  exec.device = Device::kCuda;
  DeviceBuffer<float> buffer;
  EXPECT_THROW(buffer.resize(exec, 10), DeviceError);
  EXPECT_EQ(buffer.data(), nullptr);
}

}  // namespace
}  // namespace quarry

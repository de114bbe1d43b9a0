// The whole miner on lanes: every width and schedule gives the CPU backend's bits, and planted
// mistakes are caught.
#include <gtest/gtest.h>

#include <cstring>

#include "host/mine/miner.h"
#include "tests/support/problems.h"
#if !defined(QUARRY_HAS_CUDA)
#include "tests/support/lane_device.h"
#endif

namespace quarry {
namespace {

#if defined(QUARRY_HAS_CUDA)

TEST(Lanes, RunInBuildsWithoutCuda) {
  GTEST_SKIP() << "this build launches on a GPU; lanes run in CPU builds";
}

#else

/// Every byte of the rows of a problem, and the counters.
std::string mined(const test::Problem& p, Device device) {
  MinerOptions options;
  options.seed = p.seed;
  options.round = p.round;
  options.exec.device = device;
  options.tile_rows = 3;
  Miner miner(p.recipe, p.inputs, options);
  std::string bytes;
  const auto add = [&](const auto& column) {
    bytes.append(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(column[0]));
  };
  miner.mine(p.rows_view, [&](const NegativeBatch& b) {
    add(b.item);
    add(b.score);
    add(b.branch);
    add(b.raw_rank);
    add(b.survivor_rank);
    add(b.stratum);
    add(b.logq);
    add(b.fill);
    add(b.kappa);
    add(b.count);
  });
  const Counters& c = miner.report().counters;
  bytes.append(reinterpret_cast<const char*>(&c), sizeof c);
  add(miner.report().strata);
  return bytes;
}

struct Setting {
  std::uint32_t width;
  test::Schedule schedule;
};

class LanesEqualSolo : public ::testing::TestWithParam<Setting> {};

TEST_P(LanesEqualSolo, OnRandomProblems) {
  const int scale =
      std::getenv("QUARRY_TEST_SCALE") != nullptr ? std::atoi(std::getenv("QUARRY_TEST_SCALE")) : 1;
  // Wide groups cost a fiber switch per lane and collective: fewer problems there.
  int problems = (GetParam().width >= 128 ? 20 : GetParam().width >= 32 ? 60 : 150) * scale;
#if defined(__SANITIZE_THREAD__)
  problems /= 2;  // a race is one under every schedule and at any width
#endif
  lane_device().width = GetParam().width;
  lane_device().schedule = GetParam().schedule;
  lane_device().certified_lists = 0;
  for (int n = 0; n < problems; ++n) {
    const auto number = static_cast<std::uint64_t>(n) * 7 + GetParam().width;
    const auto p = n % 8 == 5 ? test::make_starved_pool(number) : test::make_problem(5000 + number);
    lane_device().seed = static_cast<std::uint64_t>(n);
    const std::string solo = mined(*p, Device::kCpu);
    const std::uint64_t before = lane_device().launches;
    const std::string lanes = mined(*p, Device::kCuda);
    ASSERT_TRUE(solo == lanes) << "problem " << p->number << ", " << GetParam().width << " lanes\n"
                               << test::describe(*p);
    if (p->rows_view.num_rows > 0) {
      ASSERT_GT(lane_device().launches, before) << "no lane ran";
    }
  }
  EXPECT_GT(lane_device().certified_lists, 0u) << "no search was certified by lanes";
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const std::uint32_t width : {1u, 2u, 3u, 32u, 128u}) {
    for (const test::Schedule schedule : test::kSchedules) all.push_back({width, schedule});
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(WidthsAndSchedules, LanesEqualSolo, ::testing::ValuesIn(settings()),
                         [](const ::testing::TestParamInfo<Setting>& info) {
                           return std::to_string(info.param.width) + "lanes_schedule" +
                                  std::to_string(static_cast<int>(info.param.schedule));
                         });

#endif

}  // namespace
}  // namespace quarry

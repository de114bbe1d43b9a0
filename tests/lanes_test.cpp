// The whole miner on lanes: every width and schedule gives the CPU backend's bits. Planted mistakes
// are group_test's and tools/mutate's.
#include <gtest/gtest.h>

#include <cstring>

#include "host/mine/miner.h"
#include "tests/support/problems.h"
#include "tests/support/worlds.h"
#if !defined(QUARRY_HAS_CUDA)
#include "tests/support/lane_device.h"
#include "tests/support/scale.h"
#endif

namespace quarry {
namespace {

#if defined(QUARRY_HAS_CUDA)

TEST(Lanes, RunInBuildsWithoutCuda) {
  GTEST_SKIP() << "this build launches on a GPU; lanes run in CPU builds";
}

#else

/// Every byte of the rows, and the counters.
std::string mined(const Recipe& recipe, const MinerInputs& inputs, const RowsView& rows,
                  MinerOptions options, Device device) {
  options.exec.device = device;
  options.tile_rows = 3;
  Miner miner(recipe, inputs, options);
  std::string bytes;
  const auto add = [&](const auto& column) {
    bytes.append(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(column[0]));
  };
  miner.mine(rows, [&](const NegativeBatch& b) {
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

std::string mined(const test::Problem& p, Device device) {
  return mined(p.recipe, p.inputs, p.rows_view, {.seed = p.seed, .round = p.round}, device);
}

struct Setting {
  std::uint32_t width;
  test::Schedule schedule;
};

class LanesEqualSolo : public ::testing::TestWithParam<Setting> {};

TEST_P(LanesEqualSolo, OnRandomProblems) {
  // Wide groups cost a fiber switch per lane and collective: fewer problems there.
  int problems = (GetParam().width >= 128  ? 20
                  : GetParam().width >= 32 ? 60
                                           : 150) *
                 test::test_scale();
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

/// Draws hardly ever hit what is allowed, and most of that is of one seller, of whom a row takes
/// one: what the first pass of the enumeration kept is refused, and a second pass follows.
TEST_P(LanesEqualSolo, WhereCapsRefuseWhatAnEnumerationKept) {
  lane_device().width = GetParam().width;
  lane_device().schedule = GetParam().schedule;
  const Recipe recipe = parse_recipe(R"(
name = "passes"
k = 12
metric = "ip"
[safety]
filters = [{ kind = "positives" }, { kind = "allow_list", list = "few" }]
[[branch]]
name = "random"
share = 1.0
source = { kind = "uniform" }
[quota]
cap = [{ column = "seller", per_row = 1 }]
)",
                                     "passes.toml", 0);
  const auto w = test::make_world(
      {.users = 2, .items = 8000, .dim = 4, .rows_per_user = 2, .events_per_user = 4});
  CatalogueColumn* seller = nullptr;
  for (CatalogueColumn& column : w->catalogue.columns) {
    if (column.name == "seller") seller = &column;
  }
  ASSERT_NE(seller, nullptr);
  std::vector<std::uint32_t>& few = w->inputs.item_lists["few"];
  for (std::uint32_t i = 0; i < 70; ++i) {
    few.push_back(100 * i + 7);
    seller->codes[few.back()] = i < 58 ? 1 : i - 30;
  }
  const std::string solo = mined(recipe, w->inputs, w->rows_view, {.seed = 4}, Device::kCpu);
  EXPECT_TRUE(mined(recipe, w->inputs, w->rows_view, {.seed = 4}, Device::kCuda) == solo);
  Miner miner(recipe, w->inputs, {.seed = 4});
  miner.mine(w->rows_view, [](const NegativeBatch& b) {
    for (std::uint32_t r = 0; r < b.num_rows; ++r) EXPECT_EQ(b.count[r], 12);
  });
  EXPECT_EQ(miner.report().counters.branch[0].enumerated_rows, 4u);
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

// Conformance of every Group the tests can run: collectives against plain loops, row sorting, and
// planted bugs that the lanes must catch.
#include "kernels/core/group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "tests/support/collectives.h"
#include "tests/support/lanes.h"

namespace quarry {
namespace {

using test::Collectives;
using test::LaneError;
using test::LaneGroup;
using test::Lanes;
using test::Schedule;

constexpr std::uint32_t kWidths[] = {1, 2, 3, 32, 128};

/// Calls `test` with every width and schedule.
template <class Test>
void for_each_lanes(const Test& test) {
  for (const std::uint32_t width : kWidths) {
    for (const Schedule schedule : test::kSchedules) {
      for (std::uint64_t seed = 0; seed < (schedule == Schedule::kInOrder ? 1 : 3); ++seed) {
        SCOPED_TRACE("width " + std::to_string(width) + " schedule " +
                     std::to_string(static_cast<int>(schedule)) + " seed " + std::to_string(seed));
        Lanes lanes(width, schedule, seed);
        test(lanes);
      }
    }
  }
}

/// The collectives of a group of this width, as `run` leaves them.
template <class Run>
void expect_plain_loops(std::uint32_t width, const Run& run) {
  std::vector<Collectives> seen(std::size_t{width} * test::kCollectiveRounds);
  std::vector<std::uint32_t> shared(width);
  run(shared.data(), seen.data());
  for (std::uint32_t lane = 0; lane < width; ++lane) {
    for (std::uint32_t round = 0; round < test::kCollectiveRounds; ++round) {
      ASSERT_EQ(seen[std::size_t{lane} * test::kCollectiveRounds + round],
                test::expected_collectives(lane, width, round))
          << "lane " << lane << " round " << round;
    }
  }
}

TEST(Group, SoloCollectivesEqualPlainLoops) {
  expect_plain_loops(1, [](std::uint32_t* shared, Collectives* out) {
    SoloGroup g;
    test::use_collectives(g, shared, out);
  });
}

TEST(Group, LaneCollectivesEqualPlainLoops) {
  for_each_lanes([](Lanes& lanes) {
    expect_plain_loops(lanes.width(), [&](std::uint32_t* shared, Collectives* out) {
      lanes.run([&](LaneGroup& g) { test::use_collectives(g, shared, out); });
    });
  });
}

TEST(Group, SortRowGivesOneOrderForEveryWidth) {
  const std::vector<SortEntry> expected = test::expected_rows();
  std::vector<SortEntry> rows(expected.size());
  SoloGroup solo;
  test::sort_rows(solo, rows.data());
  ASSERT_EQ(test::first_difference(rows, expected), expected.size());
  for (std::uint32_t l = 0; l < test::kSortLengths; ++l) {
    for (std::uint32_t r = 0; r < test::kSortKeyRanges; ++r) {
      const std::uint32_t n = test::sort_length(l);
      const std::uint32_t key_range = test::sort_key_range(r);
      for (const std::uint32_t width : kWidths) {
        if (n == 1025 && key_range != 5 && width > 3) continue;  // one wide long case is enough
        for (const Schedule schedule : test::kSchedules) {
          std::vector<SortEntry> row(n + 1);
          Lanes lanes(width, schedule, n);
          lanes.run([&](LaneGroup& g) { test::sort_one_row(g, n, key_range, row.data()); });
          ASSERT_EQ(test::first_difference(row, test::expected_row(n, key_range)), n + 1)
              << "n " << n << " key range " << key_range << " width " << width;
        }
      }
    }
  }
}

/// The text of the LaneError that the run ends with, "" if it ends well.
std::string error_of(Lanes& lanes, const std::function<void(LaneGroup&)>& body) {
  try {
    lanes.run(body);
  } catch (const LaneError& e) {
    return e.what();
  }
  return "";
}

TEST(PlantedBugs, CollectiveUnderAConditionIsCaught) {
  for (const Schedule schedule : test::kSchedules) {
    Lanes lanes(32, schedule, 1);
    const std::string text = error_of(lanes, [](LaneGroup& g) {
      std::uint32_t v = 0;
      if (g.rank() % 2 == 0) {
        v = g.sum(1);
      } else {
        v = g.sum(2);
      }
      (void)v;
    });
    EXPECT_NE(text.find("divergence"), std::string::npos) << text;
    EXPECT_NE(text.find("lane 31 waits in sum"), std::string::npos) << text;
  }
}

TEST(PlantedBugs, DifferentOperationOnOneLineIsCaught) {
  Lanes lanes(2, Schedule::kInOrder, 0);
  const std::string text =
      error_of(lanes, [](LaneGroup& g) { g.rank() == 0 ? g.min(1) : g.max(1); });
  EXPECT_NE(text.find("divergence"), std::string::npos) << text;
}

TEST(PlantedBugs, LaneThatLeavesEarlyIsCaught) {
  for (const Schedule schedule : test::kSchedules) {
    Lanes lanes(3, schedule, 0);
    const std::string text = error_of(lanes, [](LaneGroup& g) {
      g.sync();
      if (g.rank() == 1) return;
      g.sync();
    });
    EXPECT_NE(text.find("deadlock"), std::string::npos) << text;
    EXPECT_NE(text.find("lane 1 has ended"), std::string::npos) << text;
  }
}

TEST(PlantedBugs, BroadcastFromDifferentOrAbsentLanesIsCaught) {
  Lanes lanes(3, Schedule::kInOrder, 0);
  EXPECT_NE(error_of(lanes, [](LaneGroup& g) { g.broadcast(1, g.rank()); }).find("source lanes"),
            std::string::npos);
  EXPECT_NE(error_of(lanes, [](LaneGroup& g) { g.broadcast(1, 3); }).find("source lanes"),
            std::string::npos);
}

/// Lane 0 writes, all read; correct only with the sync.
std::uint32_t stale_reads(Lanes& lanes, bool with_sync) {
  std::uint32_t shared = 0;
  std::vector<std::uint32_t> stale(lanes.width());
  lanes.run([&](LaneGroup& g) {
    g.sync();
    if (g.rank() == 0) shared = 1;
    if (with_sync) g.sync();
    stale[g.rank()] = shared != 1;
  });
  return std::accumulate(stale.begin(), stale.end(), 0u);
}

/// A shared counter is overwritten for the next round before all have read it.
std::uint32_t early_writes(Schedule schedule, bool with_sync) {
  Lanes lanes(8, schedule, 0);
  std::uint32_t shared = 0;
  std::vector<std::uint32_t> bad(lanes.width());
  lanes.run([&](LaneGroup& g) {
    for (std::uint32_t round = 1; round <= 3; ++round) {
      if (g.rank() == 0) shared = round;
      g.sync();
      bad[g.rank()] += shared != round;
      if (with_sync) g.sync();
    }
  });
  return std::accumulate(bad.begin(), bad.end(), 0u);
}

/// Lane 0 writes, then all meet in a sum, which is no sync(): right by every schedule here, wrong
/// on a GPU.
std::uint32_t reads_behind_a_sum(bool with_sync) {
  Lanes lanes(4, Schedule::kInOrder, 0);
  std::uint32_t shared = 0;
  std::vector<std::uint32_t> stale(lanes.width());
  lanes.run([&](LaneGroup& g) {
    if (g.rank() == 0) shared = 1;
    g.sum(1);
    if (with_sync) g.sync();
    stale[g.rank()] = shared != 1;
  });
  return std::accumulate(stale.begin(), stale.end(), 0u);
}

#if defined(__SANITIZE_THREAD__)

/// Ends the process as the race detector ends it: 66 after a report.
void expect_race(const std::function<void()>& body) {
  EXPECT_EXIT(
      {
        body();
        std::exit(0);
      },
      ::testing::ExitedWithCode(66), "data race");
}

TEST(PlantedBugs, MissingSyncIsARaceUnderEverySchedule) {
  for (const Schedule schedule : test::kSchedules) {
    expect_race([&] {
      Lanes lanes(8, schedule, 0);
      stale_reads(lanes, false);
    });
    expect_race([&] { early_writes(schedule, false); });
  }
  expect_race([] { reads_behind_a_sum(false); });
}

TEST(PlantedBugs, WithTheSyncThereIsNoRace) {
  for (const Schedule schedule : test::kSchedules) {
    Lanes lanes(8, schedule, 0);
    EXPECT_EQ(stale_reads(lanes, true), 0u);
    EXPECT_EQ(early_writes(schedule, true), 0u);
  }
  EXPECT_EQ(reads_behind_a_sum(true), 0u);
}

#else

TEST(PlantedBugs, MissingSyncBeforeASharedReadIsSeenByStarving) {
  Lanes in_order(32, Schedule::kInOrder, 0);
  EXPECT_EQ(stale_reads(in_order, false), 0u);  // why one schedule is not enough
  Lanes starving(32, Schedule::kStarving, 0);
  EXPECT_EQ(stale_reads(starving, false), 31u);
  Lanes fixed(32, Schedule::kStarving, 0);
  EXPECT_EQ(stale_reads(fixed, true), 0u);
}

TEST(PlantedBugs, MissingSyncBeforeASharedWriteIsSeen) {
  EXPECT_EQ(early_writes(Schedule::kStarving, false), 0u);  // the writer always comes last: hidden
  EXPECT_GT(early_writes(Schedule::kInOrder, false), 0u);
  EXPECT_EQ(early_writes(Schedule::kInOrder, true), 0u);
}

TEST(PlantedBugs, SumInPlaceOfASyncIsSeenByTheRaceDetectorOnly) {
  EXPECT_EQ(reads_behind_a_sum(false), 0u);  // the preset cpu-tsan condemns it
}

#endif

TEST(Lanes, ExceptionOfALaneUnwindsTheOthersAndIsRethrown) {
  struct Flag {
    std::atomic<std::uint32_t>& alive;
    explicit Flag(std::atomic<std::uint32_t>& a) : alive(a) { ++alive; }
    ~Flag() { --alive; }
  };
  std::atomic<std::uint32_t> alive = 0;
  Lanes lanes(32, Schedule::kRandom, 5);
  EXPECT_THROW(lanes.run([&](LaneGroup& g) {
    const Flag flag(alive);
    g.sync();
    if (g.rank() == 7) throw std::runtime_error("lane 7");
    g.sync();
  }),
               std::runtime_error);
  EXPECT_EQ(alive, 0u);
  std::atomic<std::uint32_t> ran = 0;
  lanes.run([&](LaneGroup& g) {  // the group can be used again
    g.sync();
    ++ran;
  });
  EXPECT_EQ(ran, 32u);
}

}  // namespace
}  // namespace quarry

// Conformance of every Group the tests can run: collectives against plain loops, row sorting, and
// planted bugs that the lanes must catch.
#include "kernels/core/group.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/core/sort_row.h"
#include "tests/support/lanes.h"

namespace quarry {
namespace {

using test::LaneError;
using test::LaneGroup;
using test::Lanes;
using test::Schedule;

constexpr std::uint32_t kWidths[] = {1, 2, 3, 32, 128};

/// What one lane got from a round of every collective.
struct Seen {
  std::uint32_t rank, size, sum, scan, scan_total;
  std::uint64_t sum64, min, max, broadcast;
  bool operator==(const Seen&) const = default;
};

std::uint32_t value32(std::uint32_t lane, std::uint32_t round) {
  return (lane + 1) * 2654435761u + round * 40503u;
}
std::uint64_t value64(std::uint32_t lane, std::uint32_t round) {
  return (std::uint64_t{lane} + 7) * 0x9E3779B97F4A7C15u ^ (std::uint64_t{round} << 40);
}

template <class Group>
Seen use_collectives(Group& g, std::uint32_t round) {
  Seen s;
  s.rank = g.rank();
  s.size = g.size();
  s.sum = g.sum(value32(g.rank(), round));
  g.sync();
  s.scan = g.scan(value32(g.rank(), round) & 0xFFFFu, &s.scan_total);
  s.sum64 = g.sum64(value64(g.rank(), round));
  s.min = g.min(value64(g.rank(), round));
  s.max = g.max(value64(g.rank(), round));
  s.broadcast = g.broadcast(value64(g.rank(), round), round % g.size());
  return s;
}

Seen expected(std::uint32_t lane, std::uint32_t width, std::uint32_t round) {
  Seen s{lane, width, 0, 0, 0, 0, UINT64_MAX, 0, value64(round % width, round)};
  for (std::uint32_t l = 0; l < width; ++l) {
    s.sum += value32(l, round);
    if (l < lane) s.scan += value32(l, round) & 0xFFFFu;
    s.scan_total += value32(l, round) & 0xFFFFu;
    s.sum64 += value64(l, round);
    s.min = std::min(s.min, value64(l, round));
    s.max = std::max(s.max, value64(l, round));
  }
  return s;
}

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

TEST(Group, SoloCollectivesEqualPlainLoops) {
  SoloGroup g;
  for (std::uint32_t round = 0; round < 5; ++round)
    EXPECT_EQ(use_collectives(g, round), expected(0, 1, round));
}

TEST(Group, LaneCollectivesEqualPlainLoops) {
  for_each_lanes([](Lanes& lanes) {
    constexpr std::uint32_t kRounds = 5;
    std::vector<Seen> seen(lanes.width() * kRounds);
    lanes.run([&](LaneGroup& g) {
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        const Seen s = use_collectives(g, round);
        seen[g.rank() * kRounds + round] = s;
      }
    });
    for (std::uint32_t lane = 0; lane < lanes.width(); ++lane) {
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        ASSERT_EQ(seen[lane * kRounds + round], expected(lane, lanes.width(), round))
            << lane << " " << round;
      }
    }
  });
}

TEST(Group, WritesBeforeSyncAreSeenAfterIt) {
  for_each_lanes([](Lanes& lanes) {
    std::vector<std::uint32_t> shared(lanes.width());
    std::vector<std::uint32_t> wrong(lanes.width());
    lanes.run([&](LaneGroup& g) {
      for (std::uint32_t round = 1; round <= 4; ++round) {
        shared[g.rank()] = round * 1000 + g.rank();
        g.sync();
        for (std::uint32_t l = 0; l < g.size(); ++l)
          wrong[g.rank()] += shared[l] != round * 1000 + l;
        g.sync();
      }
    });
    EXPECT_EQ(wrong, std::vector<std::uint32_t>(lanes.width(), 0));
  });
}

std::vector<SortEntry> entries(std::uint32_t n, std::uint64_t key_range) {
  std::vector<SortEntry> out(n);
  std::uint64_t state = n * 77 + key_range;
  for (std::uint32_t i = 0; i < n; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    // Items are distinct and not in index order; extreme keys and many ties on purpose.
    out[i] = {key_range == 0 ? state : (state >> 33) % key_range, (i * 7919u) % 1000003u, i};
    if (i % 50 == 3) out[i].key = i % 100 == 3 ? 0 : UINT64_MAX;
  }
  return out;
}

std::vector<std::uint32_t> indices(const std::vector<SortEntry>& sorted) {
  std::vector<std::uint32_t> out;
  for (const SortEntry& e : sorted) out.push_back(e.index);
  return out;
}

TEST(Group, SortRowGivesOneOrderForEveryWidth) {
  for (const std::uint32_t n : {0u, 1u, 2u, 3u, 31u, 32u, 33u, 65u, 100u, 1025u}) {
    for (const std::uint64_t key_range : {0u, 1u, 5u}) {
      SCOPED_TRACE("n " + std::to_string(n) + " key range " + std::to_string(key_range));
      std::vector<SortEntry> solo = entries(n, key_range);
      SoloGroup g;
      sort_row(g, solo.data(), n);
      std::vector<SortEntry> plain = entries(n, key_range);
      std::sort(plain.begin(), plain.end(), [](const SortEntry& a, const SortEntry& b) {
        return std::tuple(~a.key, a.item) < std::tuple(~b.key, b.item);
      });
      ASSERT_EQ(indices(solo), indices(plain));
      for (const std::uint32_t width : kWidths) {
        if (n == 1025 && key_range != 5 && width > 3) continue;  // one wide long case is enough
        for (const Schedule schedule : test::kSchedules) {
          std::vector<SortEntry> row = entries(n, key_range);
          row.push_back({42, 42, 42});  // an entry behind the row must stay
          Lanes lanes(width, schedule, n);
          lanes.run([&](LaneGroup& lane) { sort_row(lane, row.data(), n); });
          ASSERT_EQ(row.back().index, 42u);
          row.pop_back();
          ASSERT_EQ(indices(row), indices(plain)) << "width " << width;
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
  std::uint32_t stale = 0;
  lanes.run([&](LaneGroup& g) {
    g.sync();
    if (g.rank() == 0) shared = 1;
    if (with_sync) g.sync();
    stale += shared != 1;
  });
  return stale;
}

TEST(PlantedBugs, MissingSyncBeforeASharedReadIsSeenByStarving) {
  Lanes in_order(32, Schedule::kInOrder, 0);
  EXPECT_EQ(stale_reads(in_order, false), 0u);  // why one schedule is not enough
  Lanes starving(32, Schedule::kStarving, 0);
  EXPECT_EQ(stale_reads(starving, false), 31u);
  Lanes fixed(32, Schedule::kStarving, 0);
  EXPECT_EQ(stale_reads(fixed, true), 0u);
}

/// A shared counter is overwritten for the next round before all have read it.
TEST(PlantedBugs, MissingSyncBeforeASharedWriteIsSeen) {
  const auto wrong = [](Schedule schedule, std::uint64_t seed) {
    Lanes lanes(8, schedule, seed);
    std::uint32_t shared = 0;
    std::uint32_t bad = 0;
    lanes.run([&](LaneGroup& g) {
      for (std::uint32_t round = 1; round <= 3; ++round) {
        if (g.rank() == 0) shared = round;
        g.sync();
        bad += shared != round;
      }
    });
    return bad;
  };
  EXPECT_EQ(wrong(Schedule::kStarving, 0), 0u);  // the writer always comes last: hidden here
  EXPECT_GT(wrong(Schedule::kInOrder, 0), 0u);
}

TEST(Lanes, ExceptionOfALaneUnwindsTheOthersAndIsRethrown) {
  struct Flag {
    std::uint32_t& alive;
    explicit Flag(std::uint32_t& a) : alive(a) { ++alive; }
    ~Flag() { --alive; }
  };
  std::uint32_t alive = 0;
  Lanes lanes(32, Schedule::kRandom, 5);
  EXPECT_THROW(lanes.run([&](LaneGroup& g) {
    const Flag flag(alive);
    g.sync();
    if (g.rank() == 7) throw std::runtime_error("lane 7");
    g.sync();
  }),
               std::runtime_error);
  EXPECT_EQ(alive, 0u);
  std::uint32_t ran = 0;
  lanes.run([&](LaneGroup& g) {  // the group can be used again
    g.sync();
    ++ran;
  });
  EXPECT_EQ(ran, 32u);
}

}  // namespace
}  // namespace quarry

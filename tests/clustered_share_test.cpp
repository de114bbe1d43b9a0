// The error of a review's share by users: by hand, against sums over pairs of verdicts, and how
// often intervals hold the truth where verdicts come by users.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "host/audit/metrics.h"
#include "host/feedback/clustered_share.h"

namespace quarry {
namespace {

std::vector<StratumCount> counts(const std::vector<std::uint64_t>& populations,
                                 const std::vector<JudgedUnit>& units) {
  std::vector<StratumCount> strata;
  for (const std::uint64_t n : populations) strata.push_back({n, 0, 0});
  for (const JudgedUnit& unit : units) {
    ++strata[unit.stratum].judged;
    strata[unit.stratum].hits += unit.hit ? 1 : 0;
  }
  return strata;
}

ClusteredShare clustered(const std::vector<std::uint64_t>& populations,
                         const std::vector<JudgedUnit>& units) {
  const auto strata = counts(populations, units);
  return clustered_share(strata, stratified_share(strata), units);
}

TEST(ClusteredShare, ByHand) {
  // Three users with two verdicts each, all alike: sums (2 x 2/3, -2/3, -2/3) / 6, squares 6 / 81,
  // times 0.94 x 3 / 2. Independent: 0.94 x 2 / 9 / 5.
  const std::vector<JudgedUnit> alike = {{0, 7, true},  {0, 7, true},  {0, 8, false},
                                         {0, 8, false}, {0, 9, false}, {0, 9, false}};
  const ClusteredShare all = clustered({100}, alike);
  EXPECT_EQ(all.clusters, 3u);
  EXPECT_EQ(all.most, 2u);
  ASSERT_TRUE(all.standard_error && all.design_effect && all.interval);
  EXPECT_NEAR(*all.standard_error, std::sqrt(0.94 * 1.5 * 6 / 81), 1e-12);
  EXPECT_NEAR(*all.design_effect, 2.5, 1e-12);
  // Effective size 2 / 9 over the variance, times (1.95996 / 4.30265)^2 for 2 degrees of freedom:
  // 2.1277 x 0.20750 = 0.44149. Centre (1/3 + 4.35051) / 9.70103, half width 0.47081.
  EXPECT_NEAR(all.interval->low, 0.48282 - 0.47081, 2e-5);
  EXPECT_NEAR(all.interval->high, 0.48282 + 0.47081, 2e-5);
  EXPECT_FALSE(all.upper.has_value());
}

TEST(ClusteredShare, OneVerdictAUserIsTheStratifiedError) {
  std::vector<JudgedUnit> units;
  for (std::uint64_t u = 0; u < 15; ++u)
    units.push_back({u < 10 ? 0u : 1u, u, u == 3 || u == 11 || u == 12});
  const ClusteredShare once = clustered({80, 20}, units);
  EXPECT_EQ(once.clusters, 15u);
  EXPECT_EQ(once.most, 1u);
  EXPECT_FALSE(once.standard_error || once.design_effect || once.interval || once.upper);
  // One user twice, in a cell without hits: the formula then gives what the other gives.
  std::vector<JudgedUnit> apart = units;
  for (std::uint64_t u = 0; u < 4; ++u) apart.push_back({2, 100 + u / 2, false});
  const auto strata = counts({80, 20, 40}, apart);
  const StratifiedShare independent = stratified_share(strata);
  const ClusteredShare twice = clustered_share(strata, independent, apart);
  ASSERT_TRUE(twice.standard_error.has_value());
  EXPECT_NEAR(*twice.standard_error, *independent.standard_error, 1e-12);
  EXPECT_NEAR(*twice.design_effect, 1, 1e-12);
  EXPECT_LT(twice.interval->low, independent.interval->low) << "Student's for 18 - 3";
}

TEST(ClusteredShare, IsTheSumOverPairsOfOneUser) {
  std::mt19937_64 chance(3);
  for (int round = 0; round < 200; ++round) {
    const std::vector<std::uint64_t> populations = {60, 400, 25};
    std::vector<JudgedUnit> units;
    for (std::uint64_t i = 0; i < 60; ++i) {
      const auto h = static_cast<std::uint32_t>(chance() % 3);
      units.push_back({h, i < 12 ? i : chance() % 12, chance() % 4 == 0});
    }
    const auto strata = counts(populations, units);
    if (strata[2].judged >= 25) continue;
    const StratifiedShare independent = stratified_share(strata);
    const ClusteredShare all = clustered_share(strata, independent, units);
    ASSERT_TRUE(all.standard_error.has_value());
    double variance = 0;
    for (const JudgedUnit& a : units) {
      for (const JudgedUnit& b : units) {
        if (a.cluster != b.cluster) continue;
        double product = 1;
        for (const JudgedUnit* unit : {&a, &b}) {
          const StratumCount& h = strata[unit->stratum];
          double users = 0;
          for (std::uint64_t u = 0; u < 12; ++u) {
            bool there = false;
            for (const JudgedUnit& c : units)
              there = there || (c.cluster == u && c.stratum == unit->stratum);
            users += there ? 1 : 0;
          }
          const double n = h.judged, population = h.population;
          product *= population / 485 / n * std::sqrt((1 - n / population) * users / (users - 1)) *
                     ((unit->hit ? 1 : 0) - h.hits / n);
        }
        variance += product;
      }
    }
    EXPECT_NEAR(*all.standard_error * *all.standard_error, variance, 1e-14);
    EXPECT_NEAR(*all.design_effect, variance / std::pow(*independent.standard_error, 2), 1e-9);
    const double wider = std::max(variance, std::pow(*independent.standard_error, 2));
    const double size = *independent.share * (1 - *independent.share) / wider;
    // 12 users less 3 strata: t of 9 degrees is 2.262157163, (1.959963985 / t)^2 this.
    const Interval expected = wilson_of_share(*independent.share, size * 0.7506727206);
    EXPECT_NEAR(all.interval->low, expected.low, 1e-6);
    EXPECT_NEAR(all.interval->high, expected.high, 1e-6);
  }
}

TEST(ClusteredShare, WhatIsNotKnownIsNotSaid) {
  const std::vector<JudgedUnit> one_user = {
      {0, 1, true}, {0, 1, false}, {1, 2, true}, {1, 3, false}};
  const ClusteredShare lone = clustered({50, 50}, one_user);
  EXPECT_EQ(lone.strata_of_one, 1u);
  EXPECT_FALSE(lone.standard_error || lone.interval || lone.design_effect);
  // Of a cell that is judged as a whole nothing is estimated, whoever its users are.
  const std::vector<JudgedUnit> whole = {
      {0, 1, true}, {0, 1, false}, {1, 2, true}, {1, 3, false}, {1, 3, false}};
  const ClusteredShare rest = clustered({2, 50}, whole);
  EXPECT_EQ(rest.clusters, 2u);
  EXPECT_EQ(rest.strata_of_one, 0u);
  ASSERT_TRUE(rest.standard_error.has_value());
  // 50/52 of sqrt(47/50 x 2) x 2/9 of each user, with two signs.
  EXPECT_NEAR(*rest.standard_error, std::sqrt(2) * 50 / 52 * std::sqrt(47.0 / 50 * 2) * 2 / 9,
              1e-12);
  EXPECT_EQ(clustered({5}, {{0, 1, true}, {0, 1, false}, {0, 2, false}, {0, 2, true}, {0, 3, true}})
                .clusters,
            0u);
  const ClusteredShare none = clustered({90}, {{0, 1, false}, {0, 1, false}, {0, 2, false}});
  EXPECT_FALSE(none.standard_error.has_value());
  EXPECT_NEAR(*none.upper, 1 - std::sqrt(0.05), 1e-12) << "two users";
  EXPECT_FALSE(clustered({90}, {{0, 1, true}}).standard_error.has_value());
}

TEST(ClusteredShare, StudentsQuantiles) {
  // Tables of t, 0.025 and 0.005 above.
  const double known[][2] = {{1, 12.706204736},  {2, 4.302652730},   {3, 3.182446305},
                             {5, 2.570581836},   {10, 2.228138852},  {30, 2.042272456},
                             {200, 1.971896224}, {1000, 1.962339081}};
  for (const auto& [df, t] : known)
    EXPECT_NEAR(student_quantile(static_cast<std::uint64_t>(df), 0.025), t, 1e-8) << df;
  EXPECT_NEAR(student_quantile(4, 0.005), 4.604094871, 1e-8);
  EXPECT_NEAR(student_quantile(201, 0.025), student_quantile(200, 0.025), 2e-4);
  EXPECT_NEAR(student_quantile(1u << 30, 0.025), 1.959963985, 1e-8);
}

/// A set whose users differ in how often their negatives are false, two cells, and draws of it.
struct World {
  static constexpr std::uint64_t kUsers = 400, kSlots = 20;  // 10 of each cell
  std::vector<std::uint8_t> hit = std::vector<std::uint8_t>(kUsers * kSlots);
  double share = 0;

  explicit World(std::mt19937_64& chance) {
    for (std::uint64_t u = 0; u < kUsers; ++u) {
      // Shares of a user: 0.02, or now and then 0.7.
      const double of_user = uniform(chance) < 0.2 ? 0.7 : 0.02;
      for (std::uint64_t s = 0; s < kSlots; ++s) {
        const bool is = uniform(chance) < of_user * (s % 2 == 0 ? 1 : 0.6);
        hit[u * kSlots + s] = is ? 1 : 0;
        share += is ? 1 : 0;
      }
    }
    share /= static_cast<double>(hit.size());
  }
  static double uniform(std::mt19937_64& chance) {
    return static_cast<double>(chance() >> 11) * 0x1p-53;
  }
  JudgedUnit unit(std::uint64_t place) const {
    return {static_cast<std::uint32_t>(place % 2), place / kSlots, hit[place] != 0};
  }
};

/// The first `count` of a shuffle.
std::vector<std::uint64_t> draw(std::uint64_t of, std::uint64_t count, std::mt19937_64& chance) {
  std::vector<std::uint64_t> all(of);
  for (std::uint64_t i = 0; i < of; ++i) all[i] = i;
  for (std::uint64_t i = 0; i < count; ++i) std::swap(all[i], all[i + chance() % (of - i)]);
  all.resize(count);
  return all;
}

struct Coverage {
  double independent = 0, by_user = 0, effect = 0;
};
Coverage coverage(
    const std::function<std::vector<JudgedUnit>(const World&, std::mt19937_64&)>& judge) {
  constexpr int kRounds = 3000;
  std::mt19937_64 chance(11);
  Coverage held;
  for (int round = 0; round < kRounds; ++round) {
    const World world(chance);
    const std::vector<JudgedUnit> units = judge(world, chance);
    const auto strata = counts({World::kUsers * 10, World::kUsers * 10}, units);
    const StratifiedShare independent = stratified_share(strata);
    const ClusteredShare by_user = clustered_share(strata, independent, units);
    const auto holds = [&](const std::optional<Interval>& interval) {
      return interval && interval->low <= world.share && world.share <= interval->high ? 1 : 0;
    };
    held.independent += holds(independent.interval);
    held.by_user += holds(by_user.interval ? by_user.interval : independent.interval);
    held.effect += by_user.design_effect.value_or(1);
  }
  return {held.independent / kRounds, held.by_user / kRounds, held.effect / kRounds};
}

TEST(ClusteredShare, IntervalsHoldTheTruthWhereVerdictsComeByUsers) {
  // Of 40 users three or four negatives of each cell were judged, of the others none.
  const Coverage users = coverage([](const World& world, std::mt19937_64& chance) {
    std::vector<JudgedUnit> units;
    for (const std::uint64_t u : draw(World::kUsers, 40, chance)) {
      for (const std::uint64_t s : draw(World::kSlots, 7, chance))
        units.push_back(world.unit(u * World::kSlots + s));
    }
    return units;
  });
  std::printf("by users: independent %.3f, linearised %.3f, design effect %.2f\n",
              users.independent, users.by_user, users.effect);
  EXPECT_LT(users.independent, 0.85);
  EXPECT_GE(users.by_user, 0.93);
  EXPECT_LE(users.by_user, 0.98) << "no wider than it must be";
  EXPECT_GT(users.effect, 2);
  // Drawn one by one, as the sample is, both hold.
  const Coverage slots = coverage([](const World& world, std::mt19937_64& chance) {
    std::vector<JudgedUnit> units;
    for (const std::uint64_t place : draw(World::kUsers * World::kSlots, 280, chance))
      units.push_back(world.unit(place));
    return units;
  });
  std::printf("one by one: independent %.3f, linearised %.3f, design effect %.2f\n",
              slots.independent, slots.by_user, slots.effect);
  EXPECT_GE(slots.independent, 0.93);
  EXPECT_GE(slots.by_user, 0.93);
  EXPECT_LT(slots.effect, 1.5);
}

}  // namespace
}  // namespace quarry

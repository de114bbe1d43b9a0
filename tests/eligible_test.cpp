// Evaluation candidates: eligibility against loops over the rules, samples against chance.
#include "host/store/eligible.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

namespace quarry {
namespace {

constexpr std::uint32_t kUsers = 6, kItems = 40;

FilterSpec filter_of(FilterType type, const char* text, std::uint32_t classes = 0) {
  FilterSpec filter;
  filter.type = type;
  filter.kind_text = text;
  filter.classes = classes;
  return filter;
}

/// A small world at random.
struct World {
  Exposure exposure;
  Catalogue catalogue;
  Lists rows;
  std::vector<std::uint64_t> left_out;

  explicit World(std::mt19937& random) {
    exposure.as_of = 100;
    exposure.offsets.push_back(0);
    rows.offsets.push_back(0);
    for (std::uint32_t u = 0; u < kUsers; ++u) {
      for (std::uint32_t i = 0; i < kItems; ++i) {
        if (random() % 5 == 0) {
          exposure.items.push_back(i);
          exposure.classes.push_back(static_cast<std::uint8_t>(1 + random() % 4));
          exposure.last_time.push_back(static_cast<std::int64_t>(random() % 100));
        } else if (random() % 9 == 0) {
          rows.values.push_back(i);
        }
      }
      exposure.offsets.push_back(exposure.items.size());
      rows.offsets.push_back(rows.values.size());
    }
    for (std::uint32_t i = 0; i < kItems; ++i) {
      catalogue.first_seen.push_back(random() % 4 == 0 ? INT64_MIN
                                                       : static_cast<std::int64_t>(random() % 120));
      catalogue.retired.push_back(random() % 2 == 0 ? INT64_MAX
                                                    : static_cast<std::int64_t>(random() % 120));
      if (random() % 12 == 0) left_out.push_back(i);
    }
  }
  EligibleTables tables() const {
    EligibleTables t;
    t.num_items = kItems;
    t.exposure = &exposure;
    t.catalogue = &catalogue;
    t.row_positives = &rows;
    t.left_out = left_out;
    t.as_of = exposure.as_of;
    return t;
  }
};

/// The rules one by one, for one item.
bool allowed(const World& w, const Recipe& recipe, const EligibleRow& row, std::uint32_t item) {
  if (std::find(w.left_out.begin(), w.left_out.end(), item) != w.left_out.end()) return false;
  for (const std::uint32_t positive : row.positives) {
    if (positive == item) return false;
  }
  const std::int64_t now = row.time == INT64_MAX ? w.exposure.as_of : row.time;
  for (const FilterSpec& filter : recipe.safety) {
    if (filter.type == FilterType::kTime &&
        (w.catalogue.first_seen[item] > now ||
         (w.catalogue.retired[item] != INT64_MAX && w.catalogue.retired[item] <= now)))
      return false;
    for (std::uint64_t at = w.exposure.offsets[row.user]; at < w.exposure.offsets[row.user + 1];
         ++at) {
      if (w.exposure.items[at] != item) continue;
      if (filter.type == FilterType::kPositives && w.exposure.classes[at] == 1) return false;
      if (filter.type == FilterType::kExposed &&
          (filter.classes & 1u << w.exposure.classes[at]) != 0 &&
          (!filter.max_age || w.exposure.last_time[at] >= w.exposure.as_of - *filter.max_age))
        return false;
    }
    for (std::uint64_t at = w.rows.offsets[row.user];
         filter.type == FilterType::kPositives && at < w.rows.offsets[row.user + 1]; ++at) {
      if (w.rows.values[at] == item) return false;
    }
  }
  return true;
}

Recipe random_recipe(std::mt19937& random) {
  Recipe recipe;
  if (random() % 4 != 0) recipe.safety.push_back(filter_of(FilterType::kPositives, "positives"));
  for (int n = 0; n < 2; ++n) {
    if (random() % 2 == 0) continue;
    FilterSpec exposed = filter_of(FilterType::kExposed, "exposed", random() % 32);
    if (random() % 2 == 0) exposed.max_age = static_cast<std::int64_t>(random() % 110);
    recipe.safety.push_back(exposed);
  }
  if (random() % 2 == 0) recipe.safety.push_back(filter_of(FilterType::kTime, "time"));
  recipe.safety.push_back(filter_of(FilterType::kGroup, "group"));
  return recipe;
}

TEST(Eligible, IsWhatTheRulesSayItemByItem) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const World world(random);
    const Recipe recipe = random_recipe(random);
    EligibleItems eligible(recipe, world.tables());
    EXPECT_EQ(eligible.passed_over(), std::vector<std::string>{"group"});
    for (std::uint32_t user = 0; user < kUsers; ++user) {
      const std::vector<std::uint32_t> positives = {static_cast<std::uint32_t>(random() % kItems),
                                                    static_cast<std::uint32_t>(random() % kItems)};
      EligibleRow row{user * 7 + 1, user, static_cast<std::int64_t>(random() % 130), positives};
      if (random() % 3 == 0) row.time = INT64_MAX;
      eligible.look_at(row);
      std::vector<std::uint32_t> wanted, found, drawn;
      for (std::uint32_t item = 0; item < kItems; ++item) {
        const bool may = allowed(world, recipe, row, item);
        if (may) wanted.push_back(item);
        ASSERT_EQ(eligible.is_eligible(item), may) << "seed " << seed << ", item " << item;
      }
      eligible.list(found);
      ASSERT_EQ(found, wanted) << "seed " << seed;
      ASSERT_EQ(eligible.count(), wanted.size()) << "seed " << seed;
      const std::uint64_t m = random() % 50;
      eligible.sample(m, seed, drawn);
      ASSERT_EQ(drawn.size(), std::min<std::uint64_t>(m, wanted.size()));
      ASSERT_TRUE(std::is_sorted(drawn.begin(), drawn.end()));
      ASSERT_EQ(std::set<std::uint32_t>(drawn.begin(), drawn.end()).size(), drawn.size());
      ASSERT_TRUE(std::includes(wanted.begin(), wanted.end(), drawn.begin(), drawn.end()));
    }
  }
}

/// Rows that have no time in a run without an end of events: items that are never retired are
/// there.
TEST(Eligible, WithoutAnyTimeOnlyRetiredItemsAreMissing) {
  std::mt19937 random(1);
  World world(random);
  world.exposure.as_of = INT64_MAX;
  Recipe recipe;
  recipe.safety.push_back(filter_of(FilterType::kTime, "time"));
  EligibleItems eligible(recipe, world.tables());
  eligible.look_at({1, 0, INT64_MAX, {}});
  std::vector<std::uint32_t> found;
  eligible.list(found);
  EXPECT_EQ(eligible.count(), found.size());
  for (const std::uint32_t item : found) EXPECT_EQ(world.catalogue.retired[item], INT64_MAX);
  EXPECT_GT(found.size(), 5u);
}

double chi_square(const std::map<std::uint32_t, std::uint64_t>& seen, std::size_t cells,
                  double expected) {
  double sum = 0;
  for (const auto& [cell, count] : seen)
    sum += std::pow(static_cast<double>(count) - expected, 2) / expected;
  return sum + static_cast<double>(cells - seen.size()) * expected;
}

/// Counts of items in samples without replacement vary less than those of single draws: divided by
/// (1 - m / cells) cells / (cells - 1) their chi-square has cells - 1 degrees of freedom.
void expect_uniform(std::uint64_t m, std::uint32_t cells, std::uint32_t all_items) {
  Recipe recipe;
  EligibleTables tables;
  tables.num_items = all_items;
  std::vector<std::uint64_t> left_out;
  for (std::uint32_t i = 0; i < all_items - cells; ++i) left_out.push_back(i);
  tables.left_out = left_out;
  EligibleItems eligible(recipe, tables);
  constexpr std::uint64_t kRows = 20000;
  std::map<std::uint32_t, std::uint64_t> singles, pairs;
  std::vector<std::uint32_t> items;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    eligible.look_at({row * 0x9E3779B97F4A7C15u, 0, INT64_MAX, {}});
    eligible.sample(m, 11, items);
    ASSERT_EQ(items.size(), m);
    for (std::size_t i = 0; i < items.size(); ++i) {
      ++singles[items[i]];
      for (std::size_t j = i + 1; j < items.size(); ++j) ++pairs[items[i] * all_items + items[j]];
    }
  }
  const double n = static_cast<double>(cells);
  const double expected = static_cast<double>(kRows * m) / n;
  const double scale = (1 - static_cast<double>(m) / n) * n / (n - 1);
  const double freedom = n - 1;
  const double normal =
      (chi_square(singles, cells, expected) / scale - freedom) / std::sqrt(2 * freedom);
  EXPECT_LT(std::fabs(normal), 4) << "m " << m << ", " << cells << " eligible";
  // Pairs of items: no two are drawn together more often than others.
  const double all_pairs = n * (n - 1) / 2;
  const double each = static_cast<double>(kRows * m * (m - 1) / 2) / all_pairs;
  double worst = 0;
  for (const auto& [pair, count] : pairs)
    worst = std::max(worst, std::fabs(static_cast<double>(count) - each) / std::sqrt(each));
  EXPECT_LT(worst, 5) << "m " << m;
  EXPECT_EQ(pairs.size(), static_cast<std::size_t>(all_pairs));
}

TEST(Eligible, SamplesAreUniformByDrawsAndByEnumeration) {
  expect_uniform(5, 40, 40);   // by draws
  expect_uniform(12, 30, 40);  // most of what is eligible
  expect_uniform(3, 6, 2000);  // few are eligible: the draws rarely suffice
}

TEST(Eligible, SamplesDependOnSeedAndKeyAlone) {
  Recipe recipe;
  EligibleTables tables;
  tables.num_items = 1000;
  const auto draw = [&](std::vector<std::uint64_t> keys, std::uint32_t seed) {
    EligibleItems eligible(recipe, tables);
    std::map<std::uint64_t, std::vector<std::uint32_t>> all;
    for (const std::uint64_t key : keys) {
      eligible.look_at({key, 0, INT64_MAX, {}});
      eligible.sample(20, seed, all[key]);
    }
    return all;
  };
  const auto forward = draw({1, 2, 3, std::uint64_t{1} << 40}, 5);
  EXPECT_EQ(forward, draw({std::uint64_t{1} << 40, 3, 2, 1}, 5));
  EXPECT_NE(forward.at(1), forward.at(2));
  EXPECT_NE(forward.at(1), draw({1}, 6).at(1));
  EXPECT_NE(forward.at(std::uint64_t{1} << 40), draw({0}, 5).at(0)) << "the key's high half counts";
}

}  // namespace
}  // namespace quarry

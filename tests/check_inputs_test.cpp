// Malformed tables given through the library: each is refused when the Miner is made, by name,
// place and value, before anything is read or written out of bounds.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "host/mine/check_inputs.h"
#include "host/mine/miner.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

using testing::expect_error;
using Break = std::function<void(test::TestWorld&)>;

struct Case {
  const char* name;
  Break break_it;
  std::vector<std::string> needles;
};

constexpr std::uint32_t kFar = 4'000'000'000u;

/// A small world with every table, and a recipe that reads many of them.
std::unique_ptr<test::TestWorld> whole_world() {
  test::WorldShape shape;
  shape.users = 6;
  shape.items = 40;
  shape.dim = 4;
  auto w = test::make_world(shape);
  w->inputs.pairs["teacher"] = &w->pairs;
  w->inputs.features["text"] = w->inputs.items;
  w->inputs.item_lists["shelf"] = {1, 2, 3};
  return w;
}

Recipe recipe_of(const std::string& name) { return load_recipe(name, 0); }

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"no items", [](auto& w) { w.inputs.items.rows = 0; }, {"item table is empty"}},
      {"items without numbers",
       [](auto& w) { w.inputs.items.data = nullptr; },
       {"MinerInputs.items", "40 rows but no data"}},
      {"items without dimensions",
       [](auto& w) { w.inputs.items.dim = 0; },
       {"MinerInputs.items", "0 dimensions"}},
      {"too many items",
       [](auto& w) { w.inputs.items.rows = std::uint64_t{1} << 32; },
       {"MinerInputs.items", "4294967296 rows", "4,294,967,294"}},
      {"an unknown number type",
       [](auto& w) { w.inputs.items.dtype = static_cast<Dtype>(9); },
       {"MinerInputs.items", "number type 9", "f32, f16 and bf16"}},
      {"users of another model",
       [](auto& w) { w.inputs.users.dim = 3; },
       {"user vectors have 3", "4", "same model"}},
      {"users without numbers",
       [](auto& w) { w.inputs.users.data = nullptr; },
       {"MinerInputs.users", "no data"}},

      {"exposure of fewer users",
       [](auto& w) { w.exposure.offsets.pop_back(); },
       {"exposure.offsets", "6 entries", "needs 7", "users"}},
      {"no offsets",
       [](auto& w) { w.exposure.offsets.clear(); },
       {"exposure.offsets", "0 entries"}},
      {"offsets from 1",
       [](auto& w) { w.exposure.offsets[0] = 1; },
       {"exposure.offsets", "begins with 1"}},
      {"decreasing offsets",
       [](auto& w) {
         w.exposure.offsets[2] = 0;
         w.exposure.offsets[1] = 5;
       },
       {"exposure.offsets", "[2] = 0 after 5", "running sums"}},
      {"an offset far behind the end",
       [](auto& w) { w.exposure.offsets[3] = std::uint64_t{1} << 60; },
       {"exposure.offsets", "[4] = ", "after 1152921504606846976"}},
      {"the last offset",
       [](auto& w) { w.exposure.offsets.back() += 3; },
       {"exposure.offsets", "ends with", "values"}},
      {"an exposed item",
       [](auto& w) { w.exposure.items[5] = kFar; },
       {"exposure.items", "1 bad value", "[5] = 4000000000", "0 to 39", "Map ids"}},
      {"the first item outside",
       [](auto& w) { w.exposure.items[w.exposure.offsets[1] - 1] = 40; },
       {"exposure.items", "= 40", "0 to 39"}},
      {"unsorted items",
       [](auto& w) { std::swap(w.exposure.items[0], w.exposure.items[1]); },
       {"exposure.items", "[1] = ", "user 0", "Sort"}},
      {"an item twice",
       [](auto& w) { w.exposure.items[1] = w.exposure.items[0]; },
       {"exposure.items", "user 0", "merge repeats"}},
      {"fewer classes",
       [](auto& w) { w.exposure.classes.pop_back(); },
       {"exposure.classes", "one per pair"}},
      {"a class",
       [](auto& w) { w.exposure.classes[2] = 9; },
       {"exposure.classes", "[2] = 9", "0 to 4"}},
      {"fewer times",
       [](auto& w) { w.exposure.last_time.clear(); },
       {"exposure.last_time", "0 entries"}},
      {"a time after as_of",
       [](auto& w) { w.exposure.last_time[1] = w.exposure.as_of + 1; },
       {"exposure.last_time", "[1] = 200001", "as_of = 200000"}},
      {"fewer positive times",
       [](auto& w) { w.exposure.positive_time.pop_back(); },
       {"exposure.positive_time", "one per pair"}},
      {"counts of fewer items",
       [](auto& w) { w.exposure.item_count.pop_back(); },
       {"exposure.item_count", "39 entries", "40"}},

      {"short first_seen",
       [](auto& w) { w.catalogue.first_seen.resize(10); },
       {"catalogue.first_seen", "10 entries", "needs 40"}},
      {"long retired",
       [](auto& w) { w.catalogue.retired.push_back(0); },
       {"catalogue.retired", "41 entries"}},
      {"short titles",
       [](auto& w) { w.catalogue.titles.resize(3); },
       {"catalogue.titles", "3 entries"}},
      {"a short column",
       [](auto& w) { w.catalogue.columns[1].codes.resize(7); },
       {"catalogue.columns['category'].codes", "7 entries"}},
      {"a column without names",
       [](auto& w) { w.catalogue.columns[0].names.clear(); },
       {"catalogue.columns['group'].codes", "[0] = ", "codes below 0"}},
      {"a code without a name",
       [](auto& w) { w.catalogue.columns[0].codes[4] = 4000; },
       {"catalogue.columns['group'].codes", "[4] = 4000", "codes below 40"}},

      {"rows without users",
       [](auto& w) { w.rows.user.pop_back(); },
       {"rows.user", "17 entries", "18"}},
      {"a user of a row",
       [](auto& w) { w.rows.user[7] = kFar; },
       {"rows.user", "[7] = 4000000000", "users 0 to 5"}},
      {"a positive of a row",
       [](auto& w) { w.rows.positives[0] = kFar; },
       {"rows.positives", "[0] = 4000000000", "0 to 39"}},
      {"offsets of positives",
       [](auto& w) { w.rows.positive_offsets.pop_back(); },
       {"rows.positive_offsets", "18 entries", "19"}},
      {"decreasing offsets of positives",
       [](auto& w) { w.rows.positive_offsets[2] = 0; },
       {"rows.positive_offsets", "[2] = 0 after 1"}},
      {"times of rows", [](auto& w) { w.rows.time.resize(2); }, {"rows.time", "2 entries"}},
      {"segments of rows",
       [](auto& w) { w.rows.segment.resize(2); },
       {"rows.segment", "2 entries"}},

      {"pairs of fewer users",
       [](auto& w) { w.pairs.offsets.pop_back(); },
       {"pairs['teacher'].offsets", "6 entries"}},
      {"an item of a pair",
       [](auto& w) { w.pairs.items.back() = kFar; },
       {"pairs['teacher'].items", "= 4000000000"}},
      {"unsorted pairs",
       [](auto& w) { std::swap(w.pairs.items[0], w.pairs.items[1]); },
       {"pairs['teacher'].items", "user 0"}},
      {"fewer values",
       [](auto& w) { w.pairs.values.pop_back(); },
       {"pairs['teacher'].values", "one per pair"}},
      {"a value that is none",
       [](auto& w) { w.pairs.values[3] = std::nanf(""); },
       {"pairs['teacher'].values", "[3] = nan", "finite"}},
      {"a short feature table",
       [](auto& w) { w.inputs.features["text"].rows = 12; },
       {"features['text']", "12 rows for 40 items"}},
      {"a feature table without numbers",
       [](auto& w) { w.inputs.features["text"].data = nullptr; },
       {"features['text']", "no data"}},
      {"an item of a list",
       [](auto& w) { w.inputs.item_lists["shelf"].push_back(kFar); },
       {"item_lists['shelf']", "[3] = 4000000000", "0 to 39"}},
      {"many items of a list",
       [](auto& w) { w.inputs.item_lists["shelf"].assign(25, 40); },
       {"item_lists['shelf']", "25 bad values", "[0] = 40", "[9] = 40, ...;"}},
  };
  return all;
}

TEST(CheckInputs, WholeTablesPass) {
  const auto w = whole_world();
  EXPECT_NO_THROW(check_inputs(w->inputs));
  EXPECT_NO_THROW(Miner(recipe_of("random"), w->inputs, {}));
}

TEST(CheckInputs, EveryBreachIsNamed) {
  ASSERT_GE(cases().size(), 30u);
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const auto w = whole_world();
    c.break_it(*w);
    expect_error<InputError>([&] { check_inputs(w->inputs); }, c.needles);
    // Threads find the same, and no Miner is made.
    Exec two;
    two.threads = 2;
    expect_error<InputError>([&] { check_inputs(w->inputs, two); }, c.needles);
    expect_error<InputError>([&] { Miner(recipe_of("random"), w->inputs, {}); }, c.needles);
  }
}

TEST(CheckInputs, Snapshots) {
  const auto w = whole_world();
  Snapshot s = make_snapshot(w->exposure, 40);
  w->inputs.snapshot = &s;
  EXPECT_NO_THROW(check_inputs(w->inputs));
  s.num_items = 41;
  expect_error<InputError>([&] { check_inputs(w->inputs); }, {"snapshot.num_items", "41 for 40"});
  s.num_items = 30;  // ten items are newer
  s.popularity.resize(30);
  EXPECT_NO_THROW(check_inputs(w->inputs));
  s.popularity.resize(29);
  expect_error<InputError>([&] { check_inputs(w->inputs); },
                           {"snapshot.popularity", "29 entries", "30", "to 40"});
  s.popularity.resize(41);
  expect_error<InputError>([&] { check_inputs(w->inputs); }, {"snapshot.popularity", "41"});
}

TEST(CheckInputs, PositivesOfRowsThatAreNotHeld) {
  const auto w = whole_world();
  Lists lists;
  w->inputs.row_positives = &lists;
  EXPECT_NO_THROW(check_inputs(w->inputs));  // none at all
  lists = {{0, 1, 1, 1, 1, 1, 2}, {5, kFar}};
  expect_error<InputError>([&] { check_inputs(w->inputs); },
                           {"row_positives.values", "[1] = 4000000000"});
  lists = {{0, 1, 1}, {5}};
  expect_error<InputError>([&] { check_inputs(w->inputs); },
                           {"row_positives.offsets", "3 entries", "needs 7"});
}

TEST(CheckInputs, WhatIsLegal) {
  const auto w = whole_world();
  w->catalogue.first_seen[3] = 100;
  w->catalogue.retired[3] = 50;  // never there
  w->catalogue.first_seen[4] = INT64_MIN;
  w->inputs.pairs["absent"] = nullptr;
  EXPECT_NO_THROW(check_inputs(w->inputs));
  w->catalogue.first_seen.clear();
  w->catalogue.retired.clear();
  EXPECT_NO_THROW(check_inputs(w->inputs));
}

/// Columns that no filter reads do not count towards the 64 that a recipe may read.
TEST(CheckInputs, UnusedColumnsAreFree) {
  const auto w = whole_world();
  for (int i = 0; i < 100; ++i) {
    CatalogueColumn column = w->catalogue.columns[0];
    column.name = "unused" + std::to_string(i);
    w->catalogue.columns.push_back(std::move(column));
  }
  EXPECT_NO_THROW(Miner(recipe_of("random"), w->inputs, {}));
}

}  // namespace
}  // namespace quarry

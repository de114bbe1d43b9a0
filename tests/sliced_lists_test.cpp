// Items searched in slices: what is mined from the slices' lists is what one search of all items
// gives, for random recipes and worlds; and the lists on disk.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "host/store/slice_file.h"
#include "host/store/unfinished.h"
#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"
#include "tests/support/files.h"
#include "tests/support/mined.h"
#include "tests/support/oracle.h"
#include "tests/support/problems.h"
#include "tests/support/scale.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The lists of one slice, kept.
struct Kept {
  std::vector<std::uint64_t> row_key, list_end, keys;
  std::vector<std::uint32_t> row_list, passed;
  std::vector<float> pass_above;
  std::vector<std::uint8_t> complete;

  void take(const FoundLists& lists, const std::uint64_t* key) {
    const auto first = static_cast<std::uint32_t>(list_end.size());
    for (std::uint32_t r = 0; r < lists.num_rows; ++r) {
      row_key.push_back(key[r]);
      row_list.push_back(first + (lists.query != nullptr ? lists.query[r] : r));
    }
    for (std::uint32_t q = 0; q < lists.num_queries; ++q) {
      for (std::uint32_t j = 0; j < lists.count[q]; ++j) {
        const std::size_t at = std::size_t{q} * lists.stride + j;
        keys.push_back(score_key(lists.scores[at], lists.items[at]));
      }
      list_end.push_back(keys.size());
      complete.push_back(lists.complete[q]);
      passed.push_back(lists.passed != nullptr ? lists.passed[q] : 0);
      pass_above.push_back(lists.pass_above != nullptr ? lists.pass_above[q] : kInfinity);
    }
  }
  SliceLists view() const {
    return {row_key,       row_list.data(),   list_end.data(), complete.data(),
            passed.data(), pass_above.data(), keys.data()};
  }
};

std::vector<ItemSlice> random_slices(test::Rng& rng, std::uint32_t items, std::uint32_t wished) {
  std::vector<std::uint32_t> bounds = {0, items};
  for (std::uint32_t i = 1; i < wished; ++i)
    bounds.push_back(static_cast<std::uint32_t>(rng.in(0, items - 1) / 32 * 32));
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  std::vector<ItemSlice> slices;
  for (std::size_t i = 1; i < bounds.size(); ++i) slices.push_back({bounds[i - 1], bounds[i]});
  return slices;
}

struct Sliced {
  test::Mined mined;
  std::uint64_t lists = 0, incomplete = 0, passed = 0;
};

/// Every slice searched with threads and tiles of its own, then mined.
Sliced mine_sliced(const test::Problem& p, std::uint64_t number) {
  test::Rng rng{number * 77 + 5};
  MinerOptions options{.seed = p.seed, .round = p.round, .retriever = "exact"};
  std::vector<Kept> kept;
  Sliced sliced;
  for (const ItemSlice slice : random_slices(rng, static_cast<std::uint32_t>(p.inputs.items.rows),
                                             static_cast<std::uint32_t>(rng.in(2, 5)))) {
    options.exec.threads = static_cast<int>(rng.in(1, 3));
    options.tile_rows = static_cast<std::uint32_t>(rng.chance(50) ? rng.in(1, 3) : rng.in(1, 70));
    options.slice = slice;
    Miner miner(p.recipe, p.inputs, options);
    Kept& lists = kept.emplace_back();
    miner.find(p.rows_view, [&](const FoundLists& found, std::uint64_t first) {
      lists.take(found, p.rows_view.key + first);
    });
    sliced.lists += lists.list_end.size();
    sliced.incomplete += static_cast<std::uint64_t>(
        std::count(lists.complete.begin(), lists.complete.end(), std::uint8_t{0}));
    sliced.passed += std::accumulate(lists.passed.begin(), lists.passed.end(), std::uint64_t{0});
    for (std::size_t l = 0; l < lists.list_end.size(); ++l) {
      const auto list = lists.view().list(static_cast<std::uint32_t>(l));
      EXPECT_TRUE(std::is_sorted(list.rbegin(), list.rend()));
      for (const std::uint64_t key : list) {
        EXPECT_GE(item_of_key(key), slice.first);
        EXPECT_LT(item_of_key(key), slice.end);
      }
    }
  }
  std::vector<SliceLists> views;
  for (const Kept& lists : kept) views.push_back(lists.view());
  options.slice.reset();
  options.found = std::make_shared<SlicedLists>(views);
  options.exec.threads = static_cast<int>(rng.in(1, 3));
  options.tile_rows = static_cast<std::uint32_t>(rng.in(1, 200));
  sliced.mined = test::mine_all(p.recipe, p.inputs, p.rows_view, options);
  return sliced;
}

bool searches(const Recipe& recipe) {
  return std::any_of(recipe.branches.begin(), recipe.branches.end(),
                     [](const auto& b) { return b.source.kind == SourceKind::kTopk; });
}

TEST(SlicedLists, WhatIsMinedOfSlicesIsWhatOneSearchGives) {
  std::uint64_t rows = 0, lists = 0, incomplete = 0, again = 0, served = 0, problems = 0,
                passed = 0;
  for (std::uint64_t number = 1; number <= 150ull * test::test_scale(); ++number) {
    const auto p = number % 3 == 0
                       ? test::make_scanned(number)
                       : test::make_problem(number, number % 3 == 1 ? test::ProblemSize::kLarge
                                                                    : test::ProblemSize::kSmall);
    if (!searches(p->recipe) || p->inputs.items.rows < 33) continue;
    const Sliced sliced = mine_sliced(*p, number);
    const test::Mined whole = test::mine_all(
        p->recipe, p->inputs, p->rows_view,
        {.exec = {.threads = 2}, .seed = p->seed, .round = p->round, .retriever = "exact"});
    ASSERT_EQ(test::difference(sliced.mined, whole), "") << number << "\n" << describe(*p);
    rows += p->rows_view.num_rows;
    lists += sliced.lists;
    incomplete += sliced.incomplete;
    again += sliced.mined.report.deepened_rows;
    ++problems;
    passed += sliced.passed;
    served += sliced.mined.report.search.queries == 0 ? 1 : 0;
    EXPECT_LE(sliced.mined.report.search.queries, sliced.mined.report.deepened_rows);
  }
  // Lists that end before their slice, problems that they were enough for, rows that they were not.
  EXPECT_GT(incomplete, lists / 10);
  EXPECT_GT(served, problems / 4);
  EXPECT_GT(again, 0u);
  EXPECT_GT(passed, lists);
  std::printf(
      "%s\n",
      fmt::format(
          "{} rows of {} problems, {} of which no search was made for; {} lists of slices, {} "
          "not all of it; {} rows searched again",
          rows, problems, served, lists, incomplete, again)
          .c_str());
}

TEST(SlicedLists, RowsOfAUserThatTilesPartedKeepTheirOwnCeilings) {
  constexpr const char* kMargin = R"(
name = "margin"
k = 8
[safety]
filters = [{ kind = "positives" }]
[[branch]]
name = "hard"
source = { kind = "topk", pool = 20 }
filters = [{ kind = "relative_margin", ratio = 0.6, against = "min" }]
)";
  const Recipe recipe = parse_recipe(kMargin, "margin.toml", 0);
  const auto w = test::make_world(
      {.users = 40, .items = 2000, .dim = 12, .rows_per_user = 5, .ties = false, .seed = 4});
  const RowsView rows = test::view_of(w->rows);
  MinerOptions options{.exec = {.threads = 1}, .seed = 3, .retriever = "exact"};
  const test::Mined whole = test::mine_all(recipe, w->inputs, rows, options);
  std::vector<Kept> kept(2);
  for (std::uint32_t s = 0; s < 2; ++s) {
    options.slice = s == 0 ? ItemSlice{0, 992} : ItemSlice{992, 2000};
    options.tile_rows = 3 + s;  // of five rows of a user some stand in each tile
    Miner miner(recipe, w->inputs, options);
    miner.find(rows, [&](const FoundLists& found, std::uint64_t first) {
      kept[s].take(found, rows.key + first);
    });
    EXPECT_GT(std::accumulate(kept[s].passed.begin(), kept[s].passed.end(), 0u), 100u);
  }
  options.slice.reset();
  options.tile_rows = 64;
  options.found = std::make_shared<SlicedLists>(std::vector{kept[0].view(), kept[1].view()});
  const test::Mined sliced = test::mine_all(recipe, w->inputs, rows, options);
  EXPECT_EQ(test::difference(sliced, whole), "");
  EXPECT_GT(sliced.report.search.queries, 0u);
}

/// Items by score, then number, of a slice; brute force.
std::vector<std::uint32_t> nearest(const std::vector<float>& items, std::uint32_t dim,
                                   const float* query, ItemSlice slice) {
  std::vector<std::pair<float, std::uint32_t>> all;
  for (std::uint32_t i = slice.first; i < slice.end; ++i) {
    const std::vector<float> item(items.begin() + i * dim, items.begin() + (i + 1) * dim);
    all.emplace_back(-oracle::dot(std::vector<float>(query, query + dim), item), i);
  }
  std::sort(all.begin(), all.end());
  std::vector<std::uint32_t> order;
  for (const auto& [score, item] : all) order.push_back(item);
  return order;
}

TEST(SliceRetriever, ReadsNoOtherRowsAndCountsWhatTheGoalSays) {
  constexpr std::uint32_t kItems = 3000, kDim = 24, kQueries = 80, kMost = 400, kWanted = 40;
  test::Rng rng{3};
  const auto number = [&rng] { return static_cast<float>(rng.in(0, 2000)) / 1000.0f - 1.0f; };
  std::vector<float> items(kItems * kDim), queries(kQueries * kDim);
  for (float& x : items) x = number();
  for (float& x : queries) x = number();
  for (const ItemSlice slice :
       {ItemSlice{0, 1024}, ItemSlice{1024, 2976}, ItemSlice{2976, kItems}}) {
    std::vector<float> own = items;
    for (std::uint32_t i = 0; i < kItems; ++i) {
      if (i >= slice.first && i < slice.end) continue;
      std::fill_n(own.begin() + i * kDim, kDim, std::numeric_limits<float>::quiet_NaN());
    }
    const auto retriever = make_slice_retriever({own.data(), kItems, kDim}, slice);
    const std::uint32_t most = std::min(kMost, slice.size());
    std::vector<std::uint32_t> found(kQueries * kMost), count(kQueries);
    std::vector<float> scores(kQueries * kMost);
    std::vector<std::uint8_t> complete(kQueries), certified(kQueries);
    const SearchResult out{found.data(), scores.data(), count.data(), complete.data(),
                           certified.data()};
    retriever->search({.threads = 2}, queries.data(), kQueries, kMost, out);
    for (std::uint32_t q = 0; q < kQueries; ++q) {
      const auto order = nearest(items, kDim, queries.data() + q * kDim, slice);
      ASSERT_EQ(count[q], most);
      EXPECT_EQ(complete[q], slice.size() <= kMost ? 1 : 0);
      EXPECT_TRUE(std::equal(order.begin(), order.begin() + most, found.begin() + q * kMost));
    }
    // A list skips one half of the items for every other query, bits two of seven; lists go on
    // until kWanted of the others are in them.
    std::vector<std::uint32_t> eligible((kItems + 31) / 32), skipped, owner(kQueries);
    for (std::uint32_t i = 0; i < kItems; ++i) {
      if (i % 7 > 1) eligible[i / 32] |= 1u << i % 32;
      if (i % 2 == 0) skipped.push_back(i);
    }
    const std::vector<std::uint64_t> offsets = {0, 0, skipped.size()};
    for (std::uint32_t q = 0; q < kQueries; ++q) owner[q] = q % 2;
    SearchGoal goal;
    goal.wanted = kWanted;
    goal.eligible = eligible.data();
    goal.num_skips = 1;
    goal.skips[0] = {offsets.data(), skipped.data(), owner.data()};
    retriever->search_toward({.threads = 1}, queries.data(), kQueries, kMost, goal, out);
    for (std::uint32_t q = 0; q < kQueries; ++q) {
      const auto order = nearest(items, kDim, queries.data() + q * kDim, slice);
      const auto counts = [&](std::uint32_t i) {
        return i % 7 > 1 && (owner[q] == 0 || i % 2 != 0);
      };
      ASSERT_TRUE(std::equal(order.begin(), order.begin() + count[q], found.begin() + q * kMost));
      const auto counting = std::count_if(order.begin(), order.begin() + count[q], counts);
      const auto in_all = std::count_if(order.begin(), order.end(), counts);
      EXPECT_GE(counting, std::min<std::ptrdiff_t>(kWanted, in_all)) << q;
    }
  }
}

/// A list of row 42, of a slice.
Kept kept(std::vector<std::pair<float, std::uint32_t>> list, bool complete,
          std::uint32_t passed = 0, float pass_above = kInfinity) {
  Kept k;
  k.row_key = {42};
  k.row_list = {0};
  for (const auto& [score, item] : list) k.keys.push_back(score_key(score, item));
  k.list_end = {k.keys.size()};
  k.complete = {complete ? std::uint8_t{1} : std::uint8_t{0}};
  k.passed = {passed};
  k.pass_above = {pass_above};
  return k;
}

struct Merged {
  std::vector<std::uint32_t> items;
  bool complete;
  std::uint32_t passed = 0;
  bool operator==(const Merged&) const = default;
};

Merged merged(std::vector<SliceLists> slices, std::uint32_t most) {
  const SlicedLists lists(std::move(slices));
  const std::uint32_t row = lists.row(42);
  std::vector<std::uint32_t> items(lists.room(row, most));
  std::vector<float> scores(items.size());
  const MergedList list = lists.merge(row, most, items.data(), scores.data());
  EXPECT_LE(list.count, items.size());
  EXPECT_TRUE(std::is_sorted(scores.rbegin() + (items.size() - list.count), scores.rend()));
  items.resize(list.count);
  return {items, list.complete, list.passed};
}

TEST(SlicedLists, AListIsUsedAsFarAsEverySliceGoes) {
  // Slice 0 ends at 0.5, slice 1 at 0.7 with more behind it, slice 2 has nothing more.
  const Kept a = kept({{0.9f, 1}, {0.7f, 9}, {0.5f, 2}}, false);
  const Kept b = kept({{0.8f, 40}, {0.7f, 33}}, false);
  const Kept c = kept({{0.95f, 70}, {0.1f, 65}}, true);
  const Kept nothing = kept({}, false), none = kept({}, true);
  EXPECT_EQ(merged({a.view(), b.view(), c.view()}, 9), (Merged{{70, 1, 40, 9, 33}, false}));
  EXPECT_EQ(merged({a.view(), b.view(), c.view()}, 2), (Merged{{70, 1}, false}));
  EXPECT_EQ(merged({c.view(), none.view()}, 9), (Merged{{70, 65}, true}));
  EXPECT_EQ(merged({c.view()}, 1), (Merged{{70}, false}));
  EXPECT_EQ(merged({c.view(), nothing.view()}, 9), (Merged{{}, false}));
}

TEST(SlicedLists, WhatWasPassedOverAddsUpWhereAllOfItIsAheadOfTheEnd) {
  // Slice 0 passed over three items above 0.8, slice 1 two above 0.75.
  const Kept a = kept({{0.79f, 1}, {0.5f, 2}}, false, 3, 0.8f);
  const Kept b = kept({{0.9f, 41}, {0.6f, 40}}, false, 2, 0.75f);
  EXPECT_EQ(merged({a.view(), b.view()}, 9), (Merged{{41, 1, 40}, false, 5}));
  // Cut above the lower of both: slice 1's two may be behind it.
  EXPECT_EQ(merged({a.view(), b.view()}, 2), (Merged{{}, false, 0}));
  EXPECT_EQ(merged({a.view(), b.view()}, 3), (Merged{{41, 1, 40}, false, 5}));
  // A list that ended above its own bound counted too few.
  const Kept early = kept({{0.95f, 70}, {0.85f, 71}}, false, 1, 0.8f);
  EXPECT_EQ(merged({a.view(), early.view()}, 9), (Merged{{}, false, 0}));
  // All items of both slices, listed or passed over.
  const Kept whole = kept({{0.7f, 1}}, true, 3, 0.8f), other = kept({}, true, 4, 0.1f);
  EXPECT_EQ(merged({whole.view(), other.view()}, 9), (Merged{{1}, true, 7}));
}

TEST(SlicedLists, RowsAreFoundInAnyOrderAndNowhereElse) {
  Kept a, b;
  for (Kept* k : {&a, &b}) {
    k->row_key = {7, 42, 5};
    k->row_list = {0, 1, 1};
    k->keys = {score_key(1.0f, 10), score_key(2.0f, 20)};
    k->list_end = {1, 2};
    k->complete = {1, 1};
    k->passed = {0, 0};
    k->pass_above = {kInfinity, kInfinity};
  }
  b.row_key = {42, 5, 7};
  b.row_list = {1, 0, 0};
  b.keys = {score_key(1.0f, 64), score_key(2.0f, 65)};
  const SlicedLists lists({a.view(), b.view()});
  EXPECT_EQ(merged({a.view(), b.view()}, 9), (Merged{{20, 65}, true}));
  EXPECT_TRUE(SlicedLists({a.view()}).share_lists(lists.row(42), lists.row(5)));
  EXPECT_FALSE(lists.share_lists(lists.row(42), lists.row(5)));
  EXPECT_FALSE(lists.share_lists(lists.row(7), lists.row(42)));
  EXPECT_THROW(lists.row(43), InputError);
  Kept other = b;
  other.row_key[0] = 43;
  EXPECT_THROW(SlicedLists({a.view(), other.view()}), InputError);
  other.row_key = {42, 42, 7};
  EXPECT_THROW(SlicedLists({other.view()}), InputError);
  EXPECT_THROW(SlicedLists({a.view(), other.view()}), InputError);
}

TEST(SliceFile, IsThereWholeOrNotAtAll) {
  const testing::TempDir dir;
  const std::vector<std::uint32_t> query = {1, 0, 1}, items = {5, 3, 0, 8}, count = {2, 1};
  const std::vector<float> scores = {0.5f, -0.25f, 0.0f, 7.0f};
  const std::vector<std::uint8_t> complete = {0, 1};
  const std::vector<std::uint64_t> key = {100, 7, 1ull << 60};
  // List 0 is {5, 3}, list 1 {0}.
  const std::vector<std::uint32_t> passed = {0, 4};
  const std::vector<float> above = {kInfinity, 0.5f};
  const FoundLists found{3,
                         2,
                         2,
                         query.data(),
                         items.data(),
                         scores.data(),
                         count.data(),
                         complete.data(),
                         passed.data(),
                         above.data()};
  const ItemSlice slice{0, 32};
  const std::string path = dir.path() + "/lists";
  {
    SliceFileWriter writer(dir.path(), "lists");
    writer.append(found, key.data());
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  for (int turn = 0; turn < 2; ++turn) {  // a second one takes the place of the first
    SliceFileWriter writer(dir.path(), "lists");
    writer.append(found, key.data());
    EXPECT_EQ(std::filesystem::exists(path), turn == 1);
    writer.append(found, key.data());
    writer.commit("{\"about\": 1}");
  }
  {
    const SliceFile file(path, slice);
    const SliceLists& lists = file.lists();
    EXPECT_EQ(file.about(), "{\"about\": 1}");
    EXPECT_EQ(file.entries(), 6u);
    ASSERT_EQ(lists.row_key.size(), 6u);
    EXPECT_TRUE(std::equal(key.begin(), key.end(), lists.row_key.begin()));
    EXPECT_EQ(lists.row_list[0], 1u);
    EXPECT_EQ(lists.row_list[4], 2u);  // of the second lists: 2 + 0
    ASSERT_EQ(lists.list(2).size(), 2u);
    EXPECT_EQ(item_of_key(lists.list(2)[1]), 3u);
    EXPECT_EQ(score_of_key(lists.list(2)[1]), -0.25f);
    EXPECT_EQ(lists.list(3).size(), 1u);
    EXPECT_EQ(lists.complete[3], 1);
    EXPECT_EQ(lists.passed[3], 4u);
    EXPECT_EQ(lists.pass_above[3], 0.5f);
    EXPECT_EQ(lists.pass_above[2], kInfinity);
    EXPECT_THROW(SliceFile(path, {0, 5}), InputError);  // item 5 is of another slice
    EXPECT_THROW(SliceFile(path, {1, 32}), InputError);
  }
  const std::string whole = testing::read_bytes(path);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 16);
    dir.write("lists", flipped);
    EXPECT_THROW(SliceFile(path, slice), InputError) << at;
  }
  for (std::size_t length = 1; length < whole.size(); length += 7) {
    dir.write("lists", whole.substr(0, length));
    EXPECT_THROW(SliceFile(path, slice), InputError) << length;
  }
}

TEST(SliceFile, WritersOfOneNameDoNotDisturbEachOther) {
  const testing::TempDir dir;
  const std::vector<std::uint32_t> items = {5, 4}, wrong = {4, 5}, count = {2};
  const std::vector<float> scores = {0.5f, 0.5f};
  const std::vector<std::uint8_t> complete = {1};
  const std::uint64_t key = 1;
  const auto lists = [&](const std::vector<std::uint32_t>& of) {
    return FoundLists{1, 1, 2, nullptr, of.data(), scores.data(), count.data(), complete.data()};
  };
  SliceFileWriter one(dir.path(), "lists"), two(dir.path(), "lists");  // of one process, as of two
  one.append(lists(wrong), &key);
  two.append(lists(wrong), &key);
  one.commit("{}");
  EXPECT_EQ(SliceFile(dir.path_of("lists"), {0, 32}).entries(), 2u);
  two.commit("{}");
  EXPECT_EQ(SliceFile(dir.path_of("lists"), {0, 32}).entries(), 2u);
  dir.write(".lists.partial-elsewhere-1-0", "of another machine");
  std::string own = unfinished_prefix("lists") + "99999-0";
  dir.write(own, "of a writer that was killed");
  SliceFileWriter three(dir.path(), "lists");
  EXPECT_FALSE(std::filesystem::exists(dir.path_of(own)));
  EXPECT_TRUE(std::filesystem::exists(dir.path_of(".lists.partial-elsewhere-1-0")));
  three.append(lists(items), &key);  // the larger item of two equal scores first
  three.commit("{}");
  EXPECT_THROW(SliceFile(dir.path_of("lists"), {0, 32}), InputError);
}

}  // namespace
}  // namespace quarry

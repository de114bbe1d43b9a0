// Items searched in slices: what is mined from the slices' lists is what one search of all items
// gives, for random recipes and worlds; and the lists on disk.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "host/store/slice_file.h"
#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"
#include "tests/support/files.h"
#include "tests/support/mined.h"
#include "tests/support/oracle.h"
#include "tests/support/problems.h"

namespace quarry {
namespace {

int test_scale() {
  const char* scale = std::getenv("QUARRY_TEST_SCALE");
  return scale != nullptr ? std::max(1, std::atoi(scale)) : 1;
}

/// The lists of one slice, kept.
struct Kept {
  std::vector<std::uint64_t> row_key, list_end, keys;
  std::vector<std::uint32_t> row_list;
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
    }
  }
  SliceLists view() const {
    return {row_key, row_list.data(), list_end.data(), complete.data(), keys.data()};
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
  std::uint64_t lists = 0, longest = 0, incomplete = 0;
};

/// Every slice searched with threads and tiles of its own, then mined.
Sliced mine_sliced(const test::Problem& p, std::uint64_t number) {
  test::Rng rng{number * 77 + 5};
  MinerOptions options{.seed = p.seed, .round = p.round, .retriever = "exact"};
  std::vector<Kept> kept;
  SearchDepth depth;
  Sliced sliced;
  for (const ItemSlice slice : random_slices(rng, static_cast<std::uint32_t>(p.inputs.items.rows),
                                             static_cast<std::uint32_t>(rng.in(2, 5)))) {
    options.exec.threads = static_cast<int>(rng.in(1, 3));
    options.tile_rows = static_cast<std::uint32_t>(rng.in(1, 70));
    options.slice = slice;
    Miner miner(p.recipe, p.inputs, options);
    Kept& lists = kept.emplace_back();
    miner.find(p.rows_view, [&](const FoundLists& found, std::uint64_t first) {
      lists.take(found, p.rows_view.key + first);
    });
    sliced.lists += lists.list_end.size();
    sliced.incomplete += static_cast<std::uint64_t>(
        std::count(lists.complete.begin(), lists.complete.end(), std::uint8_t{0}));
    depth = miner.first_search();
    for (std::size_t l = 0; l < lists.list_end.size(); ++l) {
      for (const std::uint64_t key : lists.view().list(static_cast<std::uint32_t>(l))) {
        EXPECT_GE(item_of_key(key), slice.first);
        EXPECT_LT(item_of_key(key), slice.end);
      }
    }
  }
  std::vector<SliceLists> views;
  for (const Kept& lists : kept) views.push_back(lists.view());
  options.slice.reset();
  options.found = std::make_shared<SlicedLists>(views, depth);
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
  std::uint64_t rows = 0, lists = 0, incomplete = 0, again = 0, served = 0, problems = 0;
  for (std::uint64_t number = 1; number <= 150ull * test_scale(); ++number) {
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
    served += sliced.mined.report.search.queries == 0 ? 1 : 0;
    EXPECT_LE(sliced.mined.report.search.queries, sliced.mined.report.deepened_rows);
  }
  // Lists that end before their slice, problems that they were enough for, rows that they were not.
  EXPECT_GT(incomplete, lists / 10);
  EXPECT_GT(served, problems / 4);
  EXPECT_GT(again, 0u);
  std::printf(
      "%s\n",
      fmt::format(
          "{} rows of {} problems, {} of which no search was made for; {} lists of slices, {} "
          "not all of it; {} rows searched again",
          rows, problems, served, lists, incomplete, again)
          .c_str());
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

TEST(SlicedLists, AListIsUsedAsFarAsEverySliceGoes) {
  // Slice 0 ends at 0.5, slice 1 at 0.7 with more behind it, slice 2 has nothing more.
  const auto kept = [](std::vector<std::pair<float, std::uint32_t>> list, bool complete) {
    Kept k;
    k.row_key = {42};
    k.row_list = {0};
    for (const auto& [score, item] : list) k.keys.push_back(score_key(score, item));
    k.list_end = {k.keys.size()};
    k.complete = {complete ? std::uint8_t{1} : std::uint8_t{0}};
    return k;
  };
  const Kept a = kept({{0.9f, 1}, {0.7f, 9}, {0.5f, 2}}, false);
  const Kept b = kept({{0.8f, 40}, {0.7f, 33}}, false);
  const Kept c = kept({{0.95f, 70}, {0.1f, 65}}, true);
  const Kept nothing = kept({}, false), none = kept({}, true);
  const auto merged = [](std::vector<SliceLists> slices, std::uint32_t most) {
    std::vector<std::uint64_t> keys;
    const bool complete = SlicedLists(std::move(slices), {}).merge(42, most, keys);
    std::vector<std::uint32_t> items;
    for (const std::uint64_t key : keys) items.push_back(item_of_key(key));
    return std::pair{items, complete};
  };
  using Items = std::vector<std::uint32_t>;
  EXPECT_EQ(merged({a.view(), b.view(), c.view()}, 9), (std::pair{Items{70, 1, 40, 9, 33}, false}));
  EXPECT_EQ(merged({a.view(), b.view(), c.view()}, 2), (std::pair{Items{70, 1}, false}));
  EXPECT_EQ(merged({c.view(), none.view()}, 9), (std::pair{Items{70, 65}, true}));
  EXPECT_EQ(merged({c.view()}, 1), (std::pair{Items{70}, false}));
  EXPECT_EQ(merged({c.view(), nothing.view()}, 9), (std::pair{Items{}, false}));
  std::vector<std::uint64_t> keys;
  EXPECT_THROW(SlicedLists({a.view()}, {}).merge(43, 9, keys), InputError);
  Kept other = a;
  other.row_key = {43};
  EXPECT_THROW(SlicedLists({a.view(), other.view()}, {}), InputError);
  other.row_key = {42, 42};
  other.row_list = {0, 0};
  EXPECT_THROW(SlicedLists({other.view()}, {}), InputError);
  EXPECT_TRUE(SlicedLists({a.view()}, {50, 30, 0}).serves({50, 30, 99}));
  EXPECT_FALSE(SlicedLists({a.view()}, {50, 30, 0}).serves({51, 30, 99}));
  EXPECT_FALSE(SlicedLists({a.view()}, {50, 30, 0}).serves({50, 31, 99}));
}

TEST(SliceFile, IsThereWholeOrNotAtAll) {
  const testing::TempDir dir;
  const std::vector<std::uint32_t> query = {1, 0, 1}, items = {5, 3, 0, 8}, count = {2, 1};
  const std::vector<float> scores = {0.5f, -0.25f, 0.0f, 7.0f};
  const std::vector<std::uint8_t> complete = {0, 1};
  const std::vector<std::uint64_t> key = {100, 7, 1ull << 60};
  // List 0 is {5, 3}, list 1 {0}.
  const FoundLists found{
      3, 2, 2, query.data(), items.data(), scores.data(), count.data(), complete.data()};
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
    const SliceFile file(path);
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
  }
  const std::string whole = testing::read_bytes(path);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 16);
    dir.write("lists", flipped);
    EXPECT_THROW(SliceFile{path}, InputError) << at;
  }
  for (std::size_t length = 1; length < whole.size(); length += 7) {
    dir.write("lists", whole.substr(0, length));
    EXPECT_THROW(SliceFile{path}, InputError) << length;
  }
}

}  // namespace
}  // namespace quarry

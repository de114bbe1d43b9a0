// Candidates that the rows of a batch share: what a search of all items finds among them, for any
// tile and thread count, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "host/mine/compile.h"
#include "host/mine/shared_pools.h"
#include "kernels/core/errors.h"
#include "tests/support/oracle.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

constexpr std::uint32_t kK = 5;

std::string recipe_text(const std::string& source, const std::string& filter,
                        const std::string& select) {
  return "name = \"x\"\nk = 5\nmetric = \"ip\"\n[safety]\nfilters = [\"positives\", \"time\"" +
         filter +
         "]\n[[branch]]\nname = \"shared\"\nshare = 1\nfilters = [{ kind = \"absolute_margin\", "
         "margin = 0.5 }]\nsource = " +
         source + "\nselect = " + select + "\n";
}
Recipe recipe_of(const std::string& source, const std::string& filter, const std::string& select) {
  return parse_recipe(recipe_text(source, filter, select), "test", 0);
}

struct Mined {
  std::vector<std::uint32_t> item = std::vector<std::uint32_t>(kRows * kK);
  std::vector<float> score = std::vector<float>(kRows * kK);
  std::vector<float> logq = std::vector<float>(kRows * kK);
  std::vector<std::uint16_t> count = std::vector<std::uint16_t>(kRows);
  static constexpr std::uint32_t kRows = 90;

  void from(Miner& miner, RowsView rows, const SharedPool* pool) {
    rows.pools = pool;
    ASSERT_EQ(rows.num_rows, kRows);
    miner.mine_batch(
        rows,
        {.item = item.data(), .score = score.data(), .logq = logq.data(), .count = count.data()});
  }
};

class SharedPools : public ::testing::Test {
 protected:
  SharedPools() : w_(test::make_world({.users = 30, .items = 400, .learned = true})) {
    for (std::uint32_t item = 1; item < 400; item += 3) list_.push_back(item);
    w_->inputs.item_lists["pool"] = list_;
    pool_ = {list_.data(), static_cast<std::uint32_t>(list_.size())};
  }
  std::unique_ptr<test::TestWorld> w_;
  std::vector<std::uint32_t> list_;
  SharedPool pool_;
};

TEST_F(SharedPools, GiveWhatASearchFindsAmongThem) {
  for (const char* source : {"\"batch\"", "{ kind = \"queue\", depth = 7 }"}) {
    for (const std::uint32_t tile : {0u, 7u}) {
      for (const int threads : {1, 2}) {
        const MinerOptions options{.exec = {.threads = threads}, .seed = 3, .tile_rows = tile};
        Mined searched, shared;
        Miner search(
            recipe_of("\"all\"", ", { kind = \"allow_list\", list = \"pool\" }", "\"top\""),
            w_->inputs, options);
        searched.from(search, w_->rows_view, nullptr);
        Miner miner(recipe_of(source, "", "\"top\""), w_->inputs, options);
        shared.from(miner, w_->rows_view, &pool_);
        EXPECT_EQ(shared.item, searched.item);
        EXPECT_EQ(shared.count, searched.count);
        std::uint32_t filled = 0;
        for (const std::uint16_t count : shared.count) filled += count;
        EXPECT_GT(filled, Mined::kRows * kK / 2);
        for (std::size_t slot = 0; slot < shared.item.size(); ++slot) {
          if (shared.item[slot] == kNoItem) continue;
          EXPECT_EQ(shared.score[slot], searched.score[slot]);
        }
      }
    }
  }
}

TEST_F(SharedPools, AreSampledAlikeForAnyTile) {
  const Recipe recipe = recipe_of("{ kind = \"batch\", pool = 40 }", "", "\"sample\"");
  Mined first;
  for (const std::uint32_t tile : {0u, 1u, 13u}) {
    Miner miner(recipe, w_->inputs, {.exec = {.threads = 2}, .seed = 3, .tile_rows = tile});
    Mined mined;
    mined.from(miner, w_->rows_view, &pool_);
    if (tile == 0) first = mined;
    EXPECT_EQ(mined.item, first.item);
    for (std::size_t slot = 0; slot < mined.item.size(); ++slot) {
      if (mined.item[slot] == kNoItem) continue;
      EXPECT_TRUE(std::binary_search(list_.begin(), list_.end(), mined.item[slot]));
      EXPECT_GE(mined.logq[slot], std::log(5.0f / 40.0f) - 1e-5f);
    }
  }
}

/// First difference of rows and counters from the oracle, "" if there is none.
std::string judge(const Recipe& recipe, const test::TestWorld& w, const RowsView& rows,
                  const MinerOptions& options) {
  oracle::Oracle oracle(recipe, w.inputs, options.seed, options.round);
  std::vector<oracle::Row> wanted;
  for (std::uint64_t r = 0; r < rows.num_rows; ++r) wanted.push_back(oracle.mine(rows, r));
  Miner miner(recipe, w.inputs, options);
  std::string text;
  miner.mine(rows, [&](const NegativeBatch& batch) {
    for (std::uint32_t r = 0; r < batch.num_rows && text.empty(); ++r) {
      text = oracle::difference(wanted[batch.first_row + r], batch, r);
      if (!text.empty()) text = "row " + std::to_string(batch.first_row + r) + ", " + text;
    }
  });
  const std::size_t branches = recipe.branches.size();
  if (text.empty()) text = oracle::difference(oracle.counters, miner.report().counters, branches);
  return text;
}

/// Pools of thousands that tie, of which filters leave nearly all, few or none, in tiles and by
/// several threads.
TEST(LongSharedPools, AreWhatTheOracleSays) {
  const auto w = test::make_world({.users = 12, .items = 2900, .dim = 6, .ties = true});
  std::vector<std::uint32_t> few = {0, 511, 512, 513, 1700, 2400, 2899};
  w->inputs.item_lists["few"] = few;
  w->inputs.item_lists["some"] = {};
  for (std::uint32_t item = 0; item < 2900; item += 1 + item % 5)
    w->inputs.item_lists["some"].push_back(item);
  std::vector<std::uint32_t> list;
  for (std::uint32_t item = 0; item < 2900; ++item)
    if (item % 11 != 3) list.push_back(item);
  RowsView rows = w->rows_view;
  ASSERT_EQ(rows.num_rows, 36u);
  const char* filters[] = {
      "",
      ", { kind = \"allow_list\", list = \"few\" }",
      ", { kind = \"allow_list\", list = \"some\" }",
      ", { kind = \"score\", hi = 1.25 }, { kind = \"exposed\", classes = [\"aversion\"] }",
      ", { kind = \"score\", lo = 1.0e9 }",
      ", { kind = \"group\", column = \"category\" }",
      ", { kind = \"overlap\", columns = [\"category\"], min_equal = 1 }"};
  const char* pools[] = {"", ", pool = 5", ", pool = 20", ", pool = 900", ", pool = 2700"};
  const char* selects[] = {"\"top\"", "\"sample\"", "{ kind = \"top\", by = \"rank\" }",
                           "{ kind = \"top1_sample\" }"};
  int n = 0, of_survivors = 0;
  for (const char* filter : filters) {
    for (const char* pool : pools) {
      const std::string source = std::string("{ kind = \"batch\"") + pool + " }";
      const Recipe recipe = recipe_of(source, filter, selects[n++ % 4]);
      const std::uint32_t count = n % 3 == 0 ? 700 : static_cast<std::uint32_t>(list.size());
      const SharedPool shared{list.data() + n, count - 50};
      rows.pools = &shared;
      const MinerOptions options{.exec = {.threads = 1 + n % 3},
                                 .seed = 3,
                                 .tile_rows = static_cast<std::uint32_t>(n % 2 * 7)};
      EXPECT_EQ(judge(recipe, *w, rows, options), "") << source << filter << selects[(n - 1) % 4];
      const auto compiled = compile(recipe, w->inputs, {}, 3, 0);
      const Branch& branch = compiled->plan.branches[0];
      of_survivors += pool_lists(*compiled, {}, branch, shared.count).whole ? 0 : 1;
    }
  }
  EXPECT_GE(of_survivors * 2, n);
}

/// A pool whose vectors are not gathered into one table, and one that stands in one place among the
/// items: the work areas stay far below what a table would take.
TEST(LargeSharedPools, TakeNoTableOfTheirVectors) {
  constexpr std::uint32_t kItems = 30000, kDim = 600, kRows = 9;
  std::vector<float> items(std::size_t{kItems} * kDim), queries(std::size_t{kRows} * kDim);
  test::Words words(7);
  const auto number = [&words] { return static_cast<float>(words.next() % 255) / 64.0f - 2.0f; };
  for (float& x : items) x = number();
  for (float& x : queries) x = number();
  Recipe recipe = parse_recipe(
      "name = \"x\"\nk = 5\nmetric = \"ip\"\n[safety]\nallow_positives = true\n[[branch]]\n"
      "name = \"shared\"\nsource = \"batch\"\nselect = \"top\"\n",
      "test", 0);
  MinerInputs inputs;
  inputs.items = {items.data(), kItems, kDim, Dtype::kF32};
  Snapshot snapshot;
  snapshot.popularity.assign(kItems, 0);
  snapshot.num_items = kItems;
  inputs.snapshot = &snapshot;
  std::vector<std::uint64_t> key(kRows);
  for (std::uint32_t r = 0; r < kRows; ++r) key[r] = r;
  for (const std::uint32_t step : {1u, 2u}) {
    std::vector<std::uint32_t> list;
    for (std::uint32_t item = 40; item < kItems; item += step) list.push_back(item);
    const SharedPool pool{list.data(), static_cast<std::uint32_t>(list.size())};
    RowsView rows;
    rows.num_rows = kRows;
    rows.key = key.data();
    rows.queries = queries.data();
    rows.pools = &pool;
    Miner miner(recipe, inputs, {.exec = {.threads = 2}, .seed = 1});
    std::vector<std::uint32_t> found(kRows * kK), raw_rank(kRows * kK);
    miner.mine_batch(rows, {.item = found.data(), .raw_rank = raw_rank.data()});
    for (std::uint32_t r = 0; r < kRows; ++r) {
      std::vector<std::pair<float, std::uint32_t>> all;
      const auto vector_at = [](const std::vector<float>& from, std::size_t row) {
        const auto first = from.begin() + static_cast<std::ptrdiff_t>(row * kDim);
        return std::vector<float>(first, first + kDim);
      };
      for (const std::uint32_t item : list)
        all.emplace_back(-oracle::dot(vector_at(queries, r), vector_at(items, item)), item);
      std::partial_sort(all.begin(), all.begin() + kK, all.end());
      for (std::uint32_t j = 0; j < kK; ++j) {
        EXPECT_EQ(found[r * kK + j], all[j].second) << step << " " << r;
        EXPECT_EQ(raw_rank[r * kK + j], j + 1);
      }
    }
    EXPECT_LT(miner.plan(kRows).tile_bytes, 16u << 20);  // a table of half the items: 36 MB
  }
}

TEST_F(SharedPools, AreRefusedWhereTheyAreWrong) {
  Miner miner(recipe_of("\"batch\"", "", "\"top\""), w_->inputs, {});
  Mined mined;
  const auto refuse = [&](const std::vector<std::uint32_t>& items) {
    const SharedPool pool{items.data(), static_cast<std::uint32_t>(items.size())};
    EXPECT_THROW(mined.from(miner, w_->rows_view, &pool), InputError);
  };
  refuse({3, 2});
  refuse({2, 2});
  refuse({2, 400});
  EXPECT_THROW(mined.from(miner, w_->rows_view, nullptr), ConfigError);
  EXPECT_THROW(miner.mine(w_->rows_view, [](const NegativeBatch&) {}), ConfigError);
  const SharedPool nothing;
  mined.from(miner, w_->rows_view, &nothing);
  EXPECT_EQ(mined.count, std::vector<std::uint16_t>(Mined::kRows, 0));
  mined.from(miner, w_->rows_view, &pool_);
  EXPECT_NE(mined.count, std::vector<std::uint16_t>(Mined::kRows, 0));
}

TEST(SetRound, MinesAsAMinerOfThatRound) {
  const auto w = test::make_world({.users = 30, .items = 400});
  const Recipe recipe = recipe_of("{ kind = \"topk\", pool = 60 }", "", "\"sample\"");
  Miner miner(recipe, w->inputs, {.seed = 3, .round = 1});
  for (const std::uint32_t round : {4u, 1u, 9u}) {
    Miner fresh(recipe, w->inputs, {.seed = 3, .round = round});
    Mined wanted, got;
    wanted.from(fresh, w->rows_view, nullptr);
    miner.set_round(round);
    got.from(miner, w->rows_view, nullptr);
    EXPECT_EQ(got.item, wanted.item);
    Mined before;
    before.from(miner, w->rows_view, nullptr);
    EXPECT_EQ(before.item, wanted.item);
  }
  const Recipe scheduled =
      recipe_of("{ kind = \"topk\", pool = { schedule = [[0, 60], [9, 90]] } }", "", "\"sample\"");
  EXPECT_TRUE(scheduled.has_schedules);
  EXPECT_FALSE(recipe.has_schedules);
  Miner other(scheduled, w->inputs, {});
  EXPECT_THROW(other.set_round(2), ConfigError);
}

}  // namespace
}  // namespace quarry

// A miner made after another one of the same inputs: whatever the two recipes share, it mines what
// a new miner does, and what both look up is there once.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "host/mine/compile.h"
#include "kernels/core/errors.h"
#include "tests/support/mined.h"
#include "tests/support/problem_parts.h"
#include "tests/support/scale.h"

namespace quarry {
namespace {

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

/// Chains of random recipes over one world, each miner made after the last one, or after the one
/// before it: places of lists, spaces and tables differ from recipe to recipe.
TEST(LaterRecipes, MineWhatNewMinersDo) {
  const char* retrievers[] = {"auto", "exact-int8", "exact-bf16", "Flat"};
  int mined = 0, refused = 0, wrong = 0;
  for (int n = 0; n < 60 * test::test_scale() && wrong < 3; ++n) {
    const auto p =
        test::make_problem(static_cast<std::uint64_t>(9000 + n),
                           n % 8 == 7 ? test::ProblemSize::kLarge : test::ProblemSize::kSmall);
    test::Rng rng{static_cast<std::uint64_t>(n) * 104729 + 5};
    MinerOptions options;
    options.seed = p->seed;
    options.round = p->round;
    options.exec.threads = 1 + n % 2;
    options.retriever = retrievers[n % (faiss_info().present ? 4 : 3)];
    std::vector<std::unique_ptr<Miner>> miners;
    for (std::uint32_t later = 0; later < 5; ++later) {
      options.round = p->round + later;
      if (later > 0 && !rng.chance(10)) {  // else the same one
        p->recipe = {};
        test::fill_recipe(rng, *p);
      }
      if (rng.chance(25)) p->recipe.metric = static_cast<Metric>(rng.in(0, 2));
      std::unique_ptr<Miner> next;
      bool as_deep = false;
      const std::string refusal = error_of([&] {
        if (miners.empty()) {
          next = std::make_unique<Miner>(p->recipe, p->inputs, options);
        } else {
          const Miner& former = *miners[miners.size() - (rng.chance(30) ? miners.size() : 1)];
          next = std::make_unique<Miner>(p->recipe, former, options.round);
          as_deep = rng.chance(50);
          if (as_deep) next->begin_as(former);
        }
      });
      std::unique_ptr<Miner> fresh;
      ASSERT_EQ(refusal,
                error_of([&] { fresh = std::make_unique<Miner>(p->recipe, p->inputs, options); }))
          << test::describe(*p);
      if (!refusal.empty()) {
        ++refused;
        continue;
      }
      if (rng.chance(30)) miners.clear();  // what is shared outlives who made it
      const test::Mined got = test::mine_all(*next, p->recipe, p->rows_view);
      const test::Mined wanted = test::mine_all(*fresh, p->recipe, p->rows_view);
      const std::string why = test::difference(got, wanted);
      EXPECT_EQ(why, "") << "recipe " << later << "\n" << test::describe(*p);
      if (!as_deep) {
        EXPECT_EQ(got.report.search.queries, wanted.report.search.queries);
        EXPECT_EQ(got.report.search.certified, wanted.report.search.certified);
      }
      wrong += !why.empty();
      ++mined;
      miners.push_back(std::move(next));
    }
  }
  std::printf("%d recipes mined, %d refused\n", mined, refused);
  EXPECT_GE(mined, 180 * test::test_scale());
}

/// Searches of a shared index count for the miner that makes them.
TEST(LaterRecipes, SearchesAreCountedByMiner) {
  const auto p = test::make_problem(7, test::ProblemSize::kLarge);
  p->recipe.branches.resize(1);
  BranchSpec& branch = p->recipe.branches[0];
  branch.source = {};
  branch.source.kind = SourceKind::kTopk;
  branch.source.pool = 40;
  p->recipe.backfill.clear();
  MinerOptions options;
  options.retriever = "exact-fp32";
  Miner first(p->recipe, p->inputs, options);
  const test::Mined a = test::mine_all(first, p->recipe, p->rows_view);
  ASSERT_GT(a.report.search.queries, 0u);
  Miner second(p->recipe, first, options.round);
  EXPECT_EQ(second.report().search.queries, 0u);
  const test::Mined b = test::mine_all(second, p->recipe, p->rows_view);
  EXPECT_EQ(test::difference(a, b), "");
  EXPECT_EQ(b.report.search.queries, a.report.search.queries);
  EXPECT_EQ(b.report.search.certified, a.report.search.certified);
  EXPECT_EQ(first.report().search.queries, a.report.search.queries);
}

Recipe curriculum(std::uint32_t round) {
  return parse_recipe(R"(name = "curriculum"
k = { schedule = [[0, 3], [4, 6]] }
metric = "ip"
[safety]
filters = ["positives", { kind = "exposed", classes = ["ambiguous"], max_age = { schedule = [[0, 500], [4, 9000]] } }]
[strata]
popularity = { bins = { schedule = [[0, 2], [4, 6]] } }
[quota]
by = "popularity"
shares = "equal"
[[branch]]
name = "hard"
share = 0.25
source = { kind = "topk", pool = { schedule = [[0, 30], [4, 10]] } }
select = { kind = "sample", weight = { kind = "softmax", tau = { schedule = [[0, 4.0], [4, 0.5]] } } }
[[branch]]
name = "seen"
share = 0.5
source = { kind = "exposed", classes = ["aversion", "disinterest"], max_age = { schedule = [[0, 100], [4, 9999]] } }
select = { kind = "sample" }
[[branch]]
name = "drawn"
share = 0.25
source = { kind = "popularity", beta = { schedule = [[0, 0.25], [4, 1.0]] } }
select = { kind = "sample" }
)",
                      "curriculum.toml", round);
}

/// A recipe whose every number changes with the round: each is that of a fresh miner, in any order.
TEST(LaterRecipes, RoundsOfSchedules) {
  int worlds = 0, differ = 0;
  for (std::uint64_t n = 0; worlds < 40 * test::test_scale(); ++n) {
    const auto p = test::make_problem(500 + n);
    if (p->inputs.exposure == nullptr || p->inputs.users.rows == 0) continue;
    ++worlds;
    std::unique_ptr<Miner> miner;
    std::unique_ptr<Compiled> compiled;
    for (const std::uint32_t round : {0u, 1u, 2u, 4u, 1u, 3u, 0u}) {
      const Recipe recipe = curriculum(round);
      MinerOptions options;
      options.seed = p->seed;
      options.round = round;
      miner = miner ? std::make_unique<Miner>(recipe, *miner, round)
                    : std::make_unique<Miner>(recipe, p->inputs, options);
      const test::Mined got = test::mine_all(*miner, recipe, p->rows_view);
      const test::Mined wanted = test::mine_all(recipe, p->inputs, p->rows_view, options);
      EXPECT_EQ(test::difference(got, wanted), "")
          << "round " << round << " of " << test::describe(*p);
      compiled = compile(recipe, p->inputs, {}, p->seed, round, compiled.get());
      const auto fresh = compile(recipe, p->inputs, {}, p->seed, round);
      for (int b = 0; b < 3; ++b)
        EXPECT_EQ(compiled->plan.branches[b].capacity, fresh->plan.branches[b].capacity);
      EXPECT_EQ(compiled->placement.host_bytes(), fresh->placement.host_bytes());
      Recipe other = recipe;
      other.safety.pop_back();
      differ +=
          !test::difference(got, test::mine_all(other, p->inputs, p->rows_view, options)).empty();
    }
  }
  EXPECT_GE(differ, worlds) << "ages hardly matter";
}

/// For ThreadSanitizer, too.
TEST(LaterRecipes, MadeWhileTheFormerMines) {
  std::unique_ptr<test::Problem> p;
  for (std::uint64_t n = 500; p == nullptr || p->inputs.exposure == nullptr; ++n)
    p = test::make_problem(n, test::ProblemSize::kLarge);
  MinerOptions options;
  options.exec.threads = 2;
  const Recipe recipe = curriculum(0);
  const test::Mined wanted = test::mine_all(recipe, p->inputs, p->rows_view, options);
  Miner first(recipe, p->inputs, options);
  std::atomic<bool> stop = false;
  // A small batch takes fewer threads for as long as it lasts.
  RowsView few = p->rows_view;
  few.num_rows = 1;
  const auto k = recipe.k;
  std::vector<std::uint32_t> items(k);
  Picks out;
  out.item = items.data();
  std::thread mines([&] {
    while (!stop) first.mine_batch(few, out);
  });
  std::vector<std::unique_ptr<Miner>> later;
  for (const std::uint32_t round : {1u, 2u, 4u, 0u})
    later.push_back(std::make_unique<Miner>(curriculum(round), first, round));
  stop = true;
  mines.join();
  later.back()->begin_as(first);
  EXPECT_EQ(test::difference(test::mine_all(*later.back(), recipe, p->rows_view), wanted), "");
}

Recipe pool_of(int pool) {
  return parse_recipe(R"(name = "pool"
k = 2
metric = "ip"
[safety]
filters = ["positives"]
[[branch]]
name = "hard"
share = 1
source = { kind = "topk", pool = )" +
                          std::to_string(pool) + R"( }
filters = [{ kind = "absolute_margin", margin = 0.1 }]
select = { kind = "sample" }
)",
                      "pool.toml", 0);
}

/// What a former has not learned changes nothing, however much longer the lists are.
TEST(LaterRecipes, BeginAsNewOnesWhereNothingWasLearned) {
  const auto p = test::make_problem(7, test::ProblemSize::kLarge);
  MinerOptions options;
  Miner first(pool_of(2), p->inputs, options);
  Miner later(pool_of(300), first, 0);
  later.begin_as(first);
  Miner fresh(pool_of(300), p->inputs, options);
  EXPECT_EQ(later.plan(64).depth, fresh.plan(64).depth);
  EXPECT_EQ(later.plan(64).tile_rows, fresh.plan(64).tile_rows);
}

/// An index is not built again where the later recipe searches it alike, and is where it may not.
TEST(LaterRecipes, IndexesOfFaissAreSharedWhereSearchesAreAsDeep) {
  if (!faiss_info().present) GTEST_SKIP() << "no FAISS";
  const auto p = test::make_problem(7, test::ProblemSize::kLarge);
  const auto builds = [&](const char* index, int pool, int later_pool) {
    MinerOptions options;
    options.retriever = index;
    const Miner first(pool_of(pool), p->inputs, options);
    EXPECT_GT(first.plan(1).build_seconds, 0);
    Miner later(pool_of(later_pool), first, 0);
    const test::Mined wanted =
        test::mine_all(pool_of(later_pool), p->inputs, p->rows_view, options);
    EXPECT_EQ(test::difference(test::mine_all(later, pool_of(later_pool), p->rows_view), wanted),
              "");
    return later.plan(1).build_seconds > 0;
  };
  EXPECT_FALSE(builds("Flat", 5, 60));
  EXPECT_FALSE(builds("HNSW16,Flat", 20, 20));
  EXPECT_TRUE(builds("HNSW16,Flat", 5, 60));
  EXPECT_FALSE(builds("IVF16,Flat", 20, 20));
}

Recipe everything(const char* tau) {
  const std::string text = std::string(R"(name = "all"
k = 4
metric = "cosine"
[safety]
filters = ["positives", { kind = "exposed", classes = ["ambiguous", "aversion"] }]
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 20 }
filters = [{ kind = "near_duplicate", cosine = 0.99 }, { kind = "group", column = "group" }]
select = { kind = "sample", weight = { kind = "softmax", tau = )") +
                           tau + R"( } }
[[branch]]
name = "drawn"
share = 0.5
source = { kind = "popularity", beta = 0.75 }
select = { kind = "sample" }
)";
  return parse_recipe(text, "all.toml", 0);
}

TEST(LaterRecipes, ShareWhatBothLookUp) {
  std::unique_ptr<test::Problem> p;
  for (std::uint64_t n = 0; p == nullptr || p->inputs.exposure == nullptr ||
                            p->inputs.catalogue == nullptr || p->inputs.items.rows < 20;
       ++n)
    p = test::make_problem(n);
  const Recipe before = everything("4.0"), after = everything("0.5");
  const auto a = compile(before, p->inputs, {}, 1, 0);
  const auto b = compile(after, p->inputs, {}, 1, 1, a.get());
  const auto fresh = compile(after, p->inputs, {}, 1, 1);
  EXPECT_EQ(b->host_items, a->host_items);
  EXPECT_NE(b->host_items, fresh->host_items);
  for (int list = 0; list < 3; ++list) {
    ASSERT_NE(a->world.lists[list].offsets, nullptr);
    EXPECT_EQ(b->world.lists[list].offsets, a->world.lists[list].offsets);
  }
  EXPECT_EQ(b->world.columns, a->world.columns);
  EXPECT_EQ(b->world.draws[0].item_at, a->world.draws[0].item_at);
  EXPECT_EQ(b->world.draws[0].excluded_before, a->world.draws[0].excluded_before);
  EXPECT_EQ(b->placement.host_bytes(), fresh->placement.host_bytes());
  EXPECT_EQ(b->prepared_bytes, fresh->prepared_bytes);
  EXPECT_NE(b->plan.weights[0].a, a->plan.weights[0].a);
}

}  // namespace
}  // namespace quarry

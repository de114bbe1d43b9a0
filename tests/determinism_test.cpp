// One result whatever the execution: tiles, threads, shards and retrievers, for every named recipe
// that the miner runs, on catalogues large enough that searches are proven, not brute force.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/support/scale.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

struct Execution {
  std::uint32_t tile_rows;
  int threads;
  std::uint32_t shards;
  const char* retriever;
};

constexpr std::uint32_t kTiles[] = {1, 7, 64, 1024};
constexpr const char* kRetrievers[] = {"exact-bf16", "exact-int8", "Flat"};

/// All 48.
std::vector<Execution> every_execution() {
  std::vector<Execution> all;
  for (const std::uint32_t tile : kTiles) {
    for (const int threads : {1, 2}) {
      for (const std::uint32_t shards : {1u, 3u}) {
        for (const char* retriever : kRetrievers) all.push_back({tile, threads, shards, retriever});
      }
    }
  }
  return all;
}

/// Twelve of them, in which every two values of two settings meet.
std::vector<Execution> covering_executions() {
  std::vector<Execution> some;
  for (std::size_t t = 0; t < std::size(kTiles); ++t) {
    for (std::size_t r = 0; r < std::size(kRetrievers); ++r) {
      // A tile size meets every retriever; threads and shards alternate, the latter by other turns,
      // so that all of them meet in pairs too.
      some.push_back({kTiles[t], static_cast<int>((t + r) % 2) + 1, (t / 2 + r) % 2 == 0 ? 1u : 3u,
                      kRetrievers[r]});
    }
  }
  return some;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // ten times slower: the covering executions do
#else
constexpr bool kSanitized = false;
#endif

bool long_run() { return test::test_scale() > 1; }

/// Recipes that get every execution in every run: one that samples from a search, one that draws.
bool is_representative(const std::string& name) { return name == "nv-sample" || name == "dns"; }

std::vector<Execution> executions(const std::string& recipe) {
  const bool all = !kSanitized && (long_run() || is_representative(recipe));
  std::vector<Execution> chosen = all ? every_execution() : covering_executions();
  if (!faiss_info().present)
    std::erase_if(chosen, [](const Execution& e) { return std::string(e.retriever) == "Flat"; });
  return chosen;
}

struct Mined {
  std::string bytes;  ///< ids, scores, strata and fill codes in row order
  std::uint64_t tiles = 0;
  SearchStats search;
};

Mined mined(const Recipe& recipe, const test::TestWorld& w, const Execution& e) {
  MinerOptions options;
  options.seed = 3;
  options.exec.threads = e.threads;
  options.tile_rows = e.tile_rows;
  options.retriever = e.retriever;
  Mined result;
  std::string& bytes = result.bytes;
  for (std::uint32_t s = 0; s < e.shards; ++s) {
    Miner miner(recipe, w.inputs, options);
    const std::uint64_t n = w.rows_view.num_rows;
    const std::uint64_t first = n * s / e.shards;
    // One column after the other for each row keeps the bytes independent of how rows fall into
    // tiles.
    miner.mine(part_of(w.rows_view, first, n * (s + 1) / e.shards - first, w.inputs.items.dim),
               [&](const NegativeBatch& b) {
                 for (std::uint32_t r = 0; r < b.num_rows; ++r) {
                   const auto row = [&](const auto& column) {
                     bytes.append(
                         reinterpret_cast<const char*>(column.data() + std::size_t{r} * b.k),
                         b.k * sizeof(column[0]));
                   };
                   row(b.item);
                   row(b.score);
                   row(b.stratum);
                   row(b.fill);
                 }
               });
    result.tiles += miner.report().tiles;
    result.search.queries += miner.report().search.queries;
    result.search.certified += miner.report().search.certified;
    result.search.fallback += miner.report().search.fallback;
  }
  return result;
}

/// FNV-1a, to name a result in one word.
std::uint64_t hash_of(const std::string& bytes) {
  std::uint64_t h = 0xCBF29CE484222325u;
  for (const char c : bytes) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return h;
}

/// Some branch searches less than half of the catalogue, so the search can be proven.
bool has_provable_search(const Recipe& recipe, std::uint32_t items) {
  for (const BranchSpec& b : recipe.branches) {
    if (b.source.kind == SourceKind::kTopk && !b.source.all && b.source.pool < items / 2)
      return true;
  }
  return false;
}

/// Large enough that searches are proven rather than brute force; where a recipe ranks every item
/// anyway a larger catalogue only costs time.
std::uint32_t catalogue_size(const Recipe& recipe) {
  return has_provable_search(recipe, 1600) ? 1600 : 800;
}

class EveryRecipe : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryRecipe, GivesOneResultUnderEveryExecution) {
  const Recipe recipe = load_recipe(GetParam(), 0);
  const std::uint32_t num_items = catalogue_size(recipe);
  for (const bool ties : {false, true}) {
    const auto w = test::make_world(
        {.users = 280, .items = num_items, .dim = 12, .rows_per_user = 4, .ties = ties});
    test::satisfy(*w, recipe);
    const Mined first = mined(recipe, *w, {1024, 1, 1, "exact"});
    ASSERT_FALSE(first.bytes.empty());
    EXPECT_GT(first.tiles, 1u);
    // A result without a single negative would make every execution agree for nothing.
    std::size_t picked = 0;
    const std::size_t row_bytes = recipe.k * std::size_t{13};
    for (std::size_t row = 0; row < first.bytes.size(); row += row_bytes) {
      for (std::size_t i = 0; i < recipe.k; ++i)
        picked += first.bytes.compare(row + 4 * i, 4, "\xFF\xFF\xFF\xFF") != 0;
    }
    EXPECT_GT(picked, w->rows.size() * recipe.k / 20) << "hardly a negative at all";
    std::uint64_t certified = 0;
    std::uint64_t certified_by_faiss = 0;
    const std::vector<Execution> chosen = executions(GetParam());
    for (const Execution& e : chosen) {
      const Mined other = mined(recipe, *w, e);
      EXPECT_TRUE(other.bytes == first.bytes)
          << (ties ? "ties, " : "") << "tile " << e.tile_rows << ", threads " << e.threads
          << ", shards " << e.shards << ", " << e.retriever;
      EXPECT_GT(other.tiles, 1u);
      (std::string_view(e.retriever) == "Flat" ? certified_by_faiss : certified) +=
          other.search.certified;
    }
    if (has_provable_search(recipe, num_items)) {
      EXPECT_GT(certified, 0u) << "every search was brute force";
      if (faiss_info().present) {
        EXPECT_GT(certified_by_faiss, 0u) << "every search by FAISS was brute force";
      }
    }
    std::printf("%016llx  %-8s %-16s %2zu executions, certified %llu of %llu searches\n",
                static_cast<unsigned long long>(hash_of(first.bytes)), ties ? "ties" : "plain",
                GetParam().c_str(), chosen.size() + 1,
                static_cast<unsigned long long>(first.search.certified),
                static_cast<unsigned long long>(first.search.queries));
  }
}

TEST(Executions, TheFewCoverEveryPairOfSettings) {
  const std::vector<Execution> few = covering_executions();
  for (const Execution& x : every_execution()) {
    const auto meets = [&](const auto& alike) {
      return std::any_of(few.begin(), few.end(), alike);
    };
    const auto same = [](const char* a, const char* b) { return std::string(a) == b; };
    EXPECT_TRUE(meets(
        [&](const Execution& e) { return e.tile_rows == x.tile_rows && e.threads == x.threads; }));
    EXPECT_TRUE(meets(
        [&](const Execution& e) { return e.tile_rows == x.tile_rows && e.shards == x.shards; }));
    EXPECT_TRUE(meets([&](const Execution& e) {
      return e.tile_rows == x.tile_rows && same(e.retriever, x.retriever);
    }));
    EXPECT_TRUE(
        meets([&](const Execution& e) { return e.threads == x.threads && e.shards == x.shards; }));
    EXPECT_TRUE(meets([&](const Execution& e) {
      return e.threads == x.threads && same(e.retriever, x.retriever);
    }));
    EXPECT_TRUE(meets([&](const Execution& e) {
      return e.shards == x.shards && same(e.retriever, x.retriever);
    }));
  }
}

std::vector<std::string> runnable() {
  std::vector<std::string> names;
  for (const NamedRecipe& recipe : named_recipes()) {
    if (recipe.over_tables()) names.push_back(recipe.name);
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(Named, EveryRecipe, ::testing::ValuesIn(runnable()),
                         [](const ::testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace quarry

// One result whatever the execution: tiles, threads, shards and retrievers, for every named recipe
// that the miner runs.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/support/worlds.h"

namespace quarry {
namespace {

struct Execution {
  std::uint32_t tile_rows;
  int threads;
  std::uint32_t shards;
  const char* retriever;
};

std::vector<Execution> executions() {
  std::vector<Execution> all;
  const bool faiss = faiss_info().present;
  for (const std::uint32_t tile : {1u, 7u, 64u, 1024u}) {
    for (const int threads : {1, 2}) {
      for (const std::uint32_t shards : {1u, 3u}) {
        all.push_back({tile, threads, shards, "exact"});
        if (faiss) all.push_back({tile, threads, shards, "Flat"});
      }
    }
  }
  return all;
}

/// Rows [first, last) of a view; offsets stay absolute.
RowsView slice(const RowsView& rows, std::uint64_t first, std::uint64_t last) {
  RowsView part = rows;
  part.num_rows = last - first;
  part.key += first;
  part.user += first;
  part.time += first;
  if (part.segment != nullptr) part.segment += first;
  part.positive_offsets += first;
  return part;
}

/// ids, scores, strata and fill codes in row order.
std::string mined(const Recipe& recipe, const test::TestWorld& w, const Execution& e) {
  MinerOptions options;
  options.seed = 3;
  options.exec.threads = e.threads;
  options.tile_rows = e.tile_rows;
  options.retriever = e.retriever;
  std::string bytes;
  for (std::uint32_t s = 0; s < e.shards; ++s) {
    Miner miner(recipe, w.inputs, options);
    const std::uint64_t n = w.rows_view.num_rows;
    // One column after the other for each row keeps the bytes independent of how rows fall into
    // tiles.
    miner.mine(
        slice(w.rows_view, n * s / e.shards, n * (s + 1) / e.shards), [&](const NegativeBatch& b) {
          for (std::uint32_t r = 0; r < b.num_rows; ++r) {
            const auto row = [&](const auto& column) {
              bytes.append(reinterpret_cast<const char*>(column.data() + std::size_t{r} * b.k),
                           b.k * sizeof(column[0]));
            };
            row(b.item);
            row(b.score);
            row(b.stratum);
            row(b.fill);
          }
        });
  }
  return bytes;
}

class EveryRecipe : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryRecipe, GivesOneResultUnderEveryExecution) {
  const Recipe recipe = load_recipe(GetParam(), 0);
  for (const bool ties : {false, true}) {
    const auto w =
        test::make_world({.users = 8, .items = 240, .dim = 12, .rows_per_user = 4, .ties = ties});
    test::satisfy(*w, recipe);
    const std::string first = mined(recipe, *w, {1, 1, 1, "exact"});
    ASSERT_FALSE(first.empty());
    // A result without a single negative would make every execution agree for nothing.
    std::size_t picked = 0;
    const std::size_t row_bytes = recipe.k * std::size_t{13};
    for (std::size_t row = 0; row < first.size(); row += row_bytes) {
      for (std::size_t i = 0; i < recipe.k; ++i)
        picked += first.compare(row + 4 * i, 4, "\xFF\xFF\xFF\xFF") != 0;
    }
    EXPECT_GT(picked, recipe.k) << "hardly a negative at all";
    for (const Execution& e : executions()) {
      EXPECT_TRUE(mined(recipe, *w, e) == first)
          << (ties ? "ties, " : "") << "tile " << e.tile_rows << ", threads " << e.threads
          << ", shards " << e.shards << ", " << e.retriever;
    }
  }
}

std::vector<std::string> runnable() {
  std::vector<std::string> names;
  for (const NamedRecipe& recipe : named_recipes()) {
    if (!recipe.toml.empty()) names.push_back(recipe.name);
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

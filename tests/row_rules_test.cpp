// Single rules of docs/row_contract.md, each in a case where it alone decides.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "host/mine/miner.h"
#include "tests/support/oracle.h"

namespace quarry {
namespace {

/// A small catalogue without events, whose rows bring their own positives; one branch.
struct Small {
  static constexpr std::uint32_t kRows = 8;
  std::uint32_t num_items;
  std::vector<float> items, users;
  Exposure exposure;
  Catalogue catalogue;
  RowTable rows;
  PairValues run;
  MinerInputs inputs;
  RowsView view;
  Recipe recipe;

  explicit Small(std::uint32_t n) : num_items(n) {
    items.resize(std::size_t{n} * 2);
    for (std::uint32_t i = 0; i < n; ++i) {
      items[2 * i] = static_cast<float>(i % 7) - 3.0f;
      items[2 * i + 1] = static_cast<float>(i % 5) * 0.5f + 0.25f;
    }
    users.assign(std::size_t{kRows} * 2, 1.0f);
    exposure.as_of = 10;
    exposure.offsets.assign(kRows + 1, 0);
    exposure.item_count.assign(n, 0);
    run.offsets.push_back(0);
    rows.positive_offsets.push_back(0);
    for (std::uint32_t r = 0; r < kRows; ++r) {
      rows.key.push_back(r * 77 + 1);
      rows.user.push_back(r);
      rows.time.push_back(INT64_MAX);
      rows.positives.push_back(r % n);
      rows.positives.push_back((r + n / 2) % n);
      rows.positive_offsets.push_back(rows.positives.size());
      for (std::uint32_t i = 0; i < n; ++i) {
        run.items.push_back(i);
        run.values.push_back(static_cast<float>(i % 3));
      }
      run.offsets.push_back(run.items.size());
    }
    CatalogueColumn group{"group", {}, {""}};
    for (std::uint32_t i = 0; i < n; ++i) group.codes.push_back(1 + i / 2);
    for (std::uint32_t i = 0; i <= n / 2; ++i) group.names.push_back(std::to_string(i));
    catalogue.columns.push_back(group);
    inputs.items = {items.data(), n, 2, Dtype::kF32};
    inputs.users = {users.data(), kRows, 2, Dtype::kF32};
    inputs.exposure = &exposure;
    inputs.catalogue = &catalogue;
    inputs.pairs["run"] = &run;
    view.num_rows = kRows;
    view.key = rows.key.data();
    view.user = rows.user.data();
    view.positive_offsets = rows.positive_offsets.data();
    view.positives = rows.positives.data();
    recipe.name = "small";
    recipe.k = 4;
    recipe.share_sum = 1;
    recipe.branches.resize(1);
    BranchSpec& b = recipe.branches[0];
    b.name = "only";
    b.share = 1;
    b.source.pool = b.source.max_rank = n;
    b.source.draws = n;
    b.source.table = "run";
    b.source.classes = 30;
    recipe.backfill = {0};
  }
  Small(const Small&) = delete;
  Small& operator=(const Small&) = delete;

  BranchSpec& branch() { return recipe.branches[0]; }

  /// The rows that the engine makes, which the oracle must make as well.
  NegativeBatch mine() {
    oracle::Oracle judge(recipe, inputs, 3, 0);
    MinerOptions options;
    options.seed = 3;
    options.tile_rows = kRows;
    Miner miner(recipe, inputs, options);
    NegativeBatch out;
    miner.mine(view, [&](const NegativeBatch& batch) { out = batch; });
    for (std::uint64_t r = 0; r < kRows; ++r)
      EXPECT_EQ(oracle::difference(judge.mine(view, r), out, r), "") << "row " << r;
    EXPECT_EQ(oracle::difference(judge.counters, miner.report().counters, 1), "");
    return out;
  }
};

FilterSpec filter(FilterType type) {
  FilterSpec f;
  f.type = type;
  f.kind_text = "filter";
  return f;
}

/// Positives that only the call knows: the miner was made without rows and without events.
TEST(OwnPositives, AreNoNegativesOfTheirRowFromAnySource) {
  for (const SourceKind source : {SourceKind::kTopk, SourceKind::kUniform, SourceKind::kPopularity,
                                  SourceKind::kPool, SourceKind::kRun, SourceKind::kNear}) {
    Small w(12);
    w.recipe.k = 10;
    w.branch().source.kind = source;
    w.branch().select = source == SourceKind::kNear ? SelectKind::kTopByRank : SelectKind::kSample;
    const auto emitted = [&] {
      const NegativeBatch batch = w.mine();
      std::uint32_t own = 0;
      for (std::uint32_t r = 0; r < Small::kRows; ++r) {
        EXPECT_GE(batch.count[r], 10) << "ten others are there";
        for (std::uint32_t j = 0; j < batch.count[r]; ++j) {
          const std::uint32_t item = batch.item[std::size_t{r} * batch.k + j];
          own += item == w.rows.positives[2 * r] || item == w.rows.positives[2 * r + 1];
        }
      }
      return own;
    };
    EXPECT_GT(emitted(), 0u) << "without the filter they come, source " << static_cast<int>(source);
    w.recipe.safety = {filter(FilterType::kPositives)};
    EXPECT_EQ(emitted(), 0u) << "source " << static_cast<int>(source);
  }
}

TEST(OwnPositives, BringTheirGroup) {
  Small w(12);
  FilterSpec group = filter(FilterType::kGroup);
  group.column = "group";
  w.recipe.safety = {group};
  w.recipe.k = 12;
  const NegativeBatch batch = w.mine();
  for (std::uint32_t r = 0; r < Small::kRows; ++r) {
    std::set<std::uint32_t> groups = {w.rows.positives[2 * r] / 2, w.rows.positives[2 * r + 1] / 2};
    EXPECT_EQ(batch.count[r], 12 - 2 * groups.size());
    for (std::uint32_t j = 0; j < batch.count[r]; ++j)
      EXPECT_EQ(groups.count(batch.item[std::size_t{r} * batch.k + j] / 2), 0u);
  }
}

}  // namespace
}  // namespace quarry

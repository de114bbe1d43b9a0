// Problems whose rows share candidates: pools of every size, with and without what makes the order
// of all of them matter.
#include <algorithm>

#include "tests/support/problem_parts.h"

namespace quarry::test {
namespace {

/// Ascending items, each once: some that rows have as positives, and others.
std::vector<std::uint32_t> shared_items(Rng& rng, const Problem& p) {
  const auto num_items = static_cast<std::uint32_t>(p.inputs.items.rows);
  const std::uint32_t percents[] = {3, 20, 60, 95, 100};
  const std::uint32_t percent = percents[rng.in(0, 4)];
  std::vector<bool> taken(num_items);
  for (std::uint32_t i = 0; i < num_items; ++i) taken[i] = rng.chance(percent);
  for (const std::uint32_t item : p.rows.positives) taken[item] = taken[item] || rng.chance(50);
  std::vector<std::uint32_t> items;
  for (std::uint32_t i = 0; i < num_items; ++i)
    if (taken[i]) items.push_back(i);
  return items;
}

}  // namespace

std::unique_ptr<Problem> make_shared_pools(std::uint64_t number) {
  auto p = make_problem(9000 + number, number % 3 == 2 ? ProblemSize::kLarge : ProblemSize::kSmall);
  Rng rng{number * 15485863 + 3};
  Recipe& r = p->recipe;
  if (rng.chance(60)) r.quota.reset();
  if (rng.chance(60)) r.caps.clear();
  for (BranchSpec& b : r.branches) {
    const bool drawn =
        b.source.kind == SourceKind::kUniform || b.source.kind == SourceKind::kPopularity;
    p->pool_items.emplace_back();
    if (&b != r.branches.data() && (drawn || rng.chance(40))) continue;
    b.source = {};
    b.source.kind = rng.chance(50) ? SourceKind::kBatch : SourceKind::kQueue;
    b.source.depth = 10;
    if (rng.chance(50)) {
      const bool few = rng.chance(70);
      b.source.pool = static_cast<std::uint32_t>(rng.in(1, few ? 30 : p->inputs.items.rows + 1));
    }
    if (drawn) b.select = SelectKind::kTop;
    if (b.select == SelectKind::kTop) b.weights.clear();
    if (rng.chance(50)) {  // ranks ask for all candidates in order
      std::erase_if(b.filters, [](const FilterSpec& f) { return f.type == FilterType::kRank; });
    }
    p->pool_items.back() = shared_items(rng, *p);
  }
  for (const auto& items : p->pool_items)
    p->pools.push_back({items.data(), static_cast<std::uint32_t>(items.size())});
  p->rows_view.pools = p->pools.data();
  return p;
}

}  // namespace quarry::test

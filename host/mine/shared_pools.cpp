// Candidates that the rows of a batch share.
#include "host/mine/shared_pools.h"

#include <algorithm>

#include "host/mine/deepen.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// In the lists, scores and orders of a tile (Tile::BranchWork).
constexpr std::uint64_t kBytesPerCandidate = 40;

}  // namespace

void throw_no_batches(SourceKind source, const std::string& branch) {
  const std::string kind = source == SourceKind::kBatch ? "batch" : "queue";
  throw ConfigError(
      "branch '" + branch + "' takes its candidates from the " +
      (source == SourceKind::kBatch ? "rows mined together with a row" : "rows mined before it") +
      " (source " + kind +
      "), which a run over a table does not have; mine by batches (quarry.Miner of Python, "
      "Miner::mine_batch), or use another source");
}

void require_pools(const RowsView& rows, const Miner::State& s) {
  const Compiled& compiled = *s.compiled;
  for (std::uint32_t b = 0; b < compiled.plan.num_branches; ++b) {
    const SourceKind source = compiled.plan.branches[b].source;
    if (!is_shared(source)) continue;
    if (rows.pools == nullptr) throw_no_batches(source, compiled.branch_names[b]);
    const SharedPool& pool = rows.pools[b];
    for (std::uint32_t i = 0; i < pool.count; ++i) {
      if (pool.items[i] < compiled.world.num_items && (i == 0 || pool.items[i - 1] < pool.items[i]))
        continue;
      throw InputError("the pool of branch '" + compiled.branch_names[b] + "': entry " +
                       std::to_string(i) + " is " + std::to_string(pool.items[i]) +
                       "; items below " + std::to_string(compiled.world.num_items) +
                       " are needed, ascending and each once");
    }
  }
}

SharedLists pool_lists(const Compiled& compiled, const Exec& exec, const Branch& branch,
                       std::uint32_t count) {
  if (!lists_by_blocks(exec, count)) return {count, true};
  return shared_lists(compiled.plan, branch, count);
}

std::uint32_t rows_with_pools(const Miner::State& s, const RowsView& rows) {
  std::uint64_t candidates = 0;
  for (std::uint32_t b = 0; b < s.compiled->plan.num_branches; ++b) {
    const Branch& branch = s.compiled->plan.branches[b];
    if (!is_shared(branch.source)) continue;
    candidates += pool_lists(*s.compiled, s.exec, branch, rows.pools[b].count).length;
  }
  if (candidates == 0) return s.tile_rows;
  const std::uint64_t bytes = Tile::row_bytes(*s.compiled, s.depth) +
                              s.compiled->plan.num_branches * sizeof(SharedRest) +
                              kBytesPerCandidate * candidates;
  const std::uint64_t budget = std::max(s.run_bytes, kLeastRunBytes);
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(budget / bytes, 1, std::max(s.tile_rows, 1u)));
}

}  // namespace quarry

// Tables for probabilities of picks.
#include "host/audit/odds_tables.h"

#include <xxhash.h>

#include <algorithm>
#include <map>

#include "host/audit/log_weight.h"
#include "host/audit/tally.h"
#include "kernels/core/exact_math.h"

namespace quarry {

bool draws_items(const BranchSpec& b) {
  return b.source.kind == SourceKind::kUniform || b.source.kind == SourceKind::kPopularity;
}
bool samples_by_keys(const BranchSpec& b) {
  return !draws_items(b) &&
         (b.select == SelectKind::kSample || b.select == SelectKind::kTop1Sample);
}
bool is_sampled_branch(const BranchSpec& b) {
  return draws_items(b) || samples_by_keys(b) || b.select == SelectKind::kSampleReplacement;
}

OddsTables::OddsTables(const JudgeTables& tables, const WantedStrata* wanted, bool with_kappas)
    : t(tables), strata(wanted), kappas(with_kappas) {
  for (std::size_t b = 0; b < t.recipe.branches.size(); ++b) add(b);
  for (const CapSpec& cap : t.recipe.caps) caps.push_back(t.column(cap.column));
}

void OddsTables::add(std::size_t b) {
  const BranchSpec& branch = t.recipe.branches[b];
  const double expected = static_cast<double>(t.recipe.k) * static_cast<double>(branch.share) /
                          static_cast<double>(t.recipe.share_sum);
  log_expected.push_back(exact_log(static_cast<float>(expected)));
  branch_hash.push_back(
      static_cast<std::uint32_t>(XXH3_64bits(branch.name.data(), branch.name.size())));
  DrawTable& table = draws.emplace_back();
  if (!draws_items(branch)) return;
  const auto items = static_cast<std::ptrdiff_t>(t.snapshot_items);
  table.weight.assign(t.snapshot_items, 1);
  if (branch.source.kind == SourceKind::kPopularity && items > 0) {
    const auto begin = t.frozen_popularity.begin();
    const std::uint32_t most = *std::max_element(begin, begin + items);
    std::map<std::uint32_t, std::uint64_t> of_count;
    for (std::uint32_t i = 0; i < t.snapshot_items; ++i) {
      std::uint64_t& weight = of_count[t.frozen_popularity[i]];
      if (weight == 0) {
        weight = draw_weight_of(t.frozen_popularity[i], most, t.snapshot_items, branch.source.beta);
      }
      table.weight[i] = weight;
    }
  }
  for (const std::uint64_t weight : table.weight) table.total += weight;
  for (const FilterSpec* f : filters_of(t.recipe, b))
    table.timed = table.timed || f->type == FilterType::kTime;
  table.timed = table.timed && t.in.catalogue != nullptr && !t.in.catalogue->first_seen.empty();
}

}  // namespace quarry

// Counts of one final row: examined, rejected by filter, picked by branch, missing by code.
#pragma once

#include "kernels/core/group.h"
#include "kernels/exclude/exclude_row.h"
#include "kernels/merge/merge.h"
#include "kernels/select/select_row.h"

namespace quarry {

/// `add(counter, amount)` adds to a 64-bit total; lanes add apart, so it is atomic where lanes
/// share totals.
template <class Group, class Add>
QUARRY_HD void tally_strata_row(Group& g, const Plan& plan, const MergeArgs& args, std::uint32_t r,
                                StratumCounters* strata, Add add) {
  const std::uint64_t at = place_of(args.rows, r) * plan.k;
  for (std::uint32_t i = g.rank(); i < plan.k; i += g.size())
    add(&strata[args.out.stratum[at + i]].slots[args.out.fill[at + i]], 1);
}

template <class Group, class Add>
QUARRY_HD void tally_row(Group& g, const Plan& plan, const MergeArgs& args, std::uint32_t r,
                         Counters* totals, Add add) {
  const std::uint64_t place = place_of(args.rows, r);
  const std::uint64_t at = place * plan.k;
  const std::uint32_t num_positives = num_positives_of(args.rows, r);
  if (g.rank() == 0) {
    add(&totals->rows, 1);
    add(&totals->requested, plan.k);
    add(&totals->emitted, args.out.count[place]);
  }
  for (std::uint32_t i = g.rank(); i < plan.k; i += g.size()) {
    const std::uint8_t code = args.out.fill[at + i];
    if (code == 0) {
      add(&totals->branch[args.out.branch[at + i]].picked, 1);
    } else {
      add(&totals->missing[code], 1);
    }
  }
  if (is_bad(args.rows, r)) return;
  for (std::uint32_t b = 0; b < plan.num_branches; ++b) {
    const Branch& branch = plan.branches[b];
    BranchCounters* c = &totals->branch[b];
    if (is_draw(branch)) {
      const DrawTally& t = args.tallies[std::uint64_t{r} * plan.num_branches + b];
      if (g.rank() == 0) {
        add(&c->examined, t.examined);
        add(&c->repeats, t.repeats);
        add(&c->refused, t.refused);
        add(&c->enumerated_rows, t.enumerated);
        add(&c->unscored, t.unscored);
      }
      for (std::uint32_t f = g.rank(); f < branch.num_filters; f += g.size())
        add(&c->rejected[f], t.rejected[f]);
    } else {
      const std::uint8_t* reasons = args.reasons[b] + r * args.candidates[b].stride;
      const std::uint32_t cut = args.order[b].cut[r];
      const Candidates& candidates = args.candidates[b];
      const std::uint32_t passed =
          candidates.passed != nullptr ? candidates.passed[list_of(branch, args.rows, r)] : 0;
      if (g.rank() == 0) {
        add(&c->examined, std::uint64_t{cut} + passed);
        if (passed > 0) add(&c->rejected[first_ceiling(plan, branch)], passed);
        add(&c->pool, args.order[b].pool_size[r]);
      }
      for (std::uint32_t j = g.rank(); j < cut; j += g.size()) {
        if (reasons[j] == kUnscored) {
          add(&c->unscored, 1);
        } else if (reasons[j] != 0) {
          add(&c->rejected[reasons[j] - 1], 1);
        }
      }
    }
    if (g.rank() == 0 && num_positives == 0) {
      bool relative = false;
      for (std::uint32_t f = 0; f < branch.num_filters; ++f) {
        relative = relative || needs_positive(plan.filters[branch.first_filter + f].kind);
      }
      if (relative) add(&c->inert_rows, 1);
    }
  }
}

}  // namespace quarry

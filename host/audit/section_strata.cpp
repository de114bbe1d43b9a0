// Quotas and caps; how hard the negatives are.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "host/audit/work.h"

namespace quarry {
namespace {

void judge_quota(AuditWork& w, ReportSection& section) {
  const Counts& c = w.tally.counts;
  const std::vector<double>& wanted = w.strata->share;
  Table table{"strata.quota",
              "Strata",
              "Wanted shares of [quota], shares of the filled slots, and slots that stayed empty.",
              Chart{"grouped_bar", "stratum", {"wanted", "share"}, false},
              {{"stratum", "Stratum", false, ""},
               {"wanted", "Wanted", true, "share"},
               {"share", "Share", true, "share"},
               {"slots", "Filled", true, "count"},
               {"short", "Short", true, "count"}},
              {}};
  double slots_off = 0, filled_off = 0;
  std::string slots_where = "none", filled_where = "none";
  const std::uint64_t all_slots =
      c.rows * w.set.k() - c.missing[static_cast<std::size_t>(FillCode::kBadRow)];
  const std::uint64_t rows = all_slots / std::max(1u, w.set.k());
  for (std::size_t s = 0; s < wanted.size(); ++s) {
    const std::uint64_t* slots = &c.slots[s * kNumFillCodes];
    std::uint64_t missing = 0;
    for (std::uint32_t code = 1; code < kNumFillCodes; ++code) {
      if (code != static_cast<std::uint32_t>(FillCode::kBadRow)) missing += slots[code];
    }
    const double tolerance =
        4 * rounding_deviation(wanted[s], rows, w.set.k()) / std::max(1.0, number(all_slots));
    const auto beyond = [&](double share, double& most, std::string& where) {
      const double off = std::max(0.0, std::fabs(share - wanted[s]) - tolerance - 1e-12);
      if (off > most) {
        most = off;
        where = w.set.schema().strata[s];
      }
    };
    beyond(share_of(slots[0] + missing, all_slots), slots_off, slots_where);
    beyond(share_of(slots[0], c.emitted), filled_off, filled_where);
    if (wanted[s] > 0 || slots[0] + missing > 0) {
      table.rows.push_back({w.set.schema().strata[s], wanted[s], share_of(slots[0], c.emitted),
                            number(slots[0]), number(missing)});
    }
  }
  section.tables.push_back(std::move(table));
  if (w.recipe.quota->redistribute) {
    w.gates.not_checked("strata.quota", "The quota redistributes; strata.filled speaks for it.");
  } else {
    w.gates.judge("strata.quota", slots_off,
                  fmt::format("The worst stratum ({}) is {} beyond rounding.", slots_where,
                              words_of(slots_off)));
  }
  w.gates.judge("strata.filled", filled_off,
                fmt::format("The worst stratum ({}) is {} beyond rounding.", filled_where,
                            words_of(filled_off)));
  w.gates.judge("strata.items", number(c.wrong_stratum),
                fmt::format("{} of {} negatives stand in a stratum that is not theirs.",
                            c.wrong_stratum, c.emitted));
}

bool has_margin(const BranchSpec& branch, const Recipe& recipe) {
  const auto least = [](const FilterSpec& f) {
    return (f.type == FilterType::kRelativeMargin || f.type == FilterType::kAbsoluteMargin) &&
           f.against == PositiveScore::kMin &&
           (f.type == FilterType::kRelativeMargin ? f.bound <= 1 : f.bound >= 0);
  };
  return std::any_of(branch.filters.begin(), branch.filters.end(), least) ||
         std::any_of(recipe.safety.begin(), recipe.safety.end(), least);
}

void judge_margin(AuditWork& w) {
  const Counts& c = w.tally.counts;
  std::uint64_t below = 0, all = 0;
  for (std::size_t b = 0; b < w.recipe.branches.size(); ++b) {
    if (!has_margin(w.recipe.branches[b], w.recipe)) continue;
    below += c.below_gap[b];
    all += c.with_gap[b];
  }
  if (all == 0) {
    w.gates.not_checked("hardness.margin",
                        "No negative is of a branch with a margin against the least positive.");
    return;
  }
  w.gates.judge(
      "hardness.margin", share_of(below, all),
      fmt::format("{} of {} negatives under a margin score above their positive.", below, all));
}

}  // namespace

void audit_strata(AuditWork& w) {
  if (w.recipe.caps.empty()) {
    w.gates.not_checked("strata.caps", "The recipe has no cap.");
  } else {
    w.gates.judge("strata.caps", number(w.tally.counts.rows_above_cap),
                  fmt::format("{} of {} rows are above a cap.", w.tally.counts.rows_above_cap,
                              w.tally.counts.rows));
  }
  if (w.strata == nullptr) {
    for (const char* gate : {"strata.quota", "strata.filled", "strata.items"})
      w.gates.not_checked(gate, "The recipe has no quota.");
    return;
  }
  ReportSection section{
      "strata", "Quotas", "Shares of strata against what the recipe asks for.", {}, {}};
  judge_quota(w, section);
  w.sections.push_back(std::move(section));
}

void audit_hardness(AuditWork& w) {
  judge_margin(w);
  const Counts& c = w.tally.counts;
  const Samples& s = w.samples;
  ReportSection section{
      "hardness",
      "Hardness",
      "How near the negatives come to the positives: gaps on a sample of rows, rank "
      "quantiles on all.",
      {},
      {}};
  std::uint64_t with_gap = 0, below = 0, ranked = 0, sum = 0;
  for (std::size_t b = 0; b < c.picked.size(); ++b) {
    with_gap += c.with_gap[b], below += c.below_gap[b];
    ranked += c.ranked[b], sum += c.quantile_sum[b];
  }
  const auto optional = [](double value) {
    return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
  };
  const double mean_x = ranked > 0 ? number(sum) / 0x1p32 / number(ranked) : std::nan("");
  section.metrics = {{"hardness.median_gap",
                      "Median gap",
                      optional(quantile_of_sorted(s.gaps, 0.5)),
                      {},
                      {},
                      "score",
                      "Least positive score less the negative's, on the sampled rows.",
                      ""},
                     {"hardness.below_zero",
                      "Above their positive",
                      share_of(below, with_gap),
                      {},
                      {},
                      "share",
                      "Negatives with gap < 0, over those with a positive.",
                      ""},
                     {"hardness.mean_quantile",
                      "Mean rank quantile",
                      optional(mean_x),
                      {},
                      {},
                      "share",
                      "Mean of x = raw rank / items over ranked negatives; DNS(1, 8) has 0.11.",
                      "methods: hardness is a rank quantile"}};
  Table gaps{"hardness.gap",
             "Deciles of the gap",
             "Least positive score less the negative's; sampled rows.",
             Chart{"line", "decile", {"gap"}, false},
             {{"decile", "Decile", true, "share"}, {"gap", "Gap", true, "score"}},
             {}};
  for (int d = 0; d <= 10 && !s.gaps.empty(); ++d)
    gaps.rows.push_back({d / 10.0, quantile_of_sorted(s.gaps, d / 10.0)});
  Table quantiles{"hardness.quantile",
                  "Rank quantiles",
                  "Ranked negatives by x = raw rank / items; half a decade a bin.",
                  Chart{"bar", "from", {"negatives"}, true},
                  {{"from", "From x", true, "share"}, {"negatives", "Negatives", true, "count"}},
                  {}};
  for (std::uint32_t bin = 0; bin < kQuantileBins; ++bin) {
    std::uint64_t n = 0;
    for (std::size_t b = 0; b < c.picked.size(); ++b) n += c.quantiles[b * kQuantileBins + bin];
    quantiles.rows.push_back({quantile_bin_edge(bin), number(n)});
  }
  Table branches{"hardness.by_branch",
                 "By branch",
                 "Gaps below zero and mean quantile by branch.",
                 {},
                 {{"branch", "Branch", false, ""},
                  {"below_zero", "Gap < 0", true, "share"},
                  {"mean_quantile", "Mean x", true, "share"}},
                 {}};
  for (std::size_t b = 0; b < c.picked.size(); ++b) {
    branches.rows.push_back(
        {w.set.schema().branches[b],
         c.with_gap[b] > 0 ? Cell(share_of(c.below_gap[b], c.with_gap[b])) : Cell(),
         c.ranked[b] > 0 ? Cell(number(c.quantile_sum[b]) / 0x1p32 / number(c.ranked[b]))
                         : Cell()});
  }
  section.tables = {std::move(gaps), std::move(quantiles), std::move(branches)};
  w.sections.push_back(std::move(section));
}

}  // namespace quarry

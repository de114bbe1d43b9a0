// Leaks: negatives that the recipe or common sense forbids, judged again from the inputs.
#include <fmt/format.h>

#include <array>

#include "host/audit/work.h"

namespace quarry {
namespace {

/// The gate that speaks for a filter.
const char* gate_of(const FilterSpec& filter) {
  switch (filter.type) {
    case FilterType::kExposed:
      return "leak.exposed";
    case FilterType::kGroup:
      return "leak.group";
    case FilterType::kNearDuplicate:
    case FilterType::kSimilarity:
      return "leak.near_duplicate";
    case FilterType::kTime:
      return "leak.time";
    case FilterType::kPositives:
      return "leak.positives";
    default:
      return "leak.filters";
  }
}

struct GateSum {
  bool asked = false;  ///< the recipe has such a filter
  std::uint64_t judged = 0, rejected = 0;
  std::string branch;  ///< the first with a rejected one
};

GateSum sum_of(const AuditWork& w, std::string_view gate) {
  GateSum sum;
  for (std::size_t b = 0; b < w.recipe.branches.size(); ++b) {
    const auto filters = filters_of(w.recipe, b);
    for (std::size_t f = 0; f < filters.size(); ++f) {
      if (gate_of(*filters[f]) != gate) continue;
      sum.asked = true;
      const FilterCount& count = w.tally.counts.filters[b * w.tally.num_filters + f];
      sum.judged += count.judged;
      sum.rejected += count.rejected;
      if (count.rejected > 0 && sum.branch.empty()) sum.branch = w.recipe.branches[b].name;
    }
  }
  return sum;
}

void judge_filters(AuditWork& w) {
  struct Named {
    const char* gate;
    const char* kind;
  };
  constexpr std::array<Named, 5> kGates = {{{"leak.exposed", "exposed"},
                                            {"leak.group", "group"},
                                            {"leak.near_duplicate", "near_duplicate or similarity"},
                                            {"leak.time", "time"},
                                            {"leak.filters", "margin, score, rank or list"}}};
  for (const Named& named : kGates) {
    const GateSum sum = sum_of(w, named.gate);
    if (!sum.asked) {
      w.gates.not_checked(named.gate, fmt::format("The recipe has no filter {}.", named.kind));
    } else if (sum.rejected == 0) {
      w.gates.judge(named.gate, 0, fmt::format("None of {} verdicts rejects.", sum.judged));
    } else {
      w.gates.judge(named.gate, number(sum.rejected),
                    fmt::format("{} of {} verdicts reject; branch '{}' has the first.",
                                sum.rejected, sum.judged, sum.branch));
    }
  }
}

void judge_sets(AuditWork& w) {
  const FutureSets sets = future_sets(w.facts);
  if (sets.later) {
    w.gates.judge("leak.future_sets", number(*sets.later), sets.why);
  } else {
    w.gates.not_checked("leak.future_sets", sets.why);
  }
}

Table filter_table(const AuditWork& w) {
  Table table{"leak.by_filter",
              "Filters judged again",
              "Every negative under every filter of [safety] and of its branch, from the inputs. "
              "Not judged: segments, and ranks of items that were drawn.",
              {},
              {{"branch", "Branch", false, ""},
               {"filter", "Filter", false, ""},
               {"judged", "Judged", true, "count"},
               {"rejected", "Rejected", true, "count"}},
              {}};
  for (std::size_t b = 0; b < w.recipe.branches.size(); ++b) {
    const auto filters = filters_of(w.recipe, b);
    for (std::size_t f = 0; f < filters.size(); ++f) {
      const FilterCount& count = w.tally.counts.filters[b * w.tally.num_filters + f];
      table.rows.push_back({w.recipe.branches[b].name, filter_name(*filters[f]),
                            number(count.judged), number(count.rejected)});
    }
  }
  return table;
}

void judge_exposure(AuditWork& w, ReportSection& section) {
  if (w.judge.in.exposure == nullptr) {
    w.gates.not_checked("exposure.share", "No events: --events makes it checkable.");
    return;
  }
  const Counts& c = w.tally.counts;
  Table table{"leak.by_class",
              "Negatives by what the user did",
              "Class of the pair by the recipe's [exposure] rules, up to as_of.",
              Chart{"stacked_bar",
                    "branch",
                    {"not_exposed", "positive", "aversion", "disinterest", "ambiguous"},
                    false},
              {{"branch", "Branch", false, ""}},
              {}};
  constexpr const char* kIds[kNumExposureClasses] = {"not_exposed", "positive", "aversion",
                                                     "disinterest", "ambiguous"};
  for (std::uint32_t e = 0; e < kNumExposureClasses; ++e)
    table.columns.push_back({kIds[e], class_name(e), true, "count"});
  std::array<std::uint64_t, kNumExposureClasses> all = {};
  for (std::size_t b = 0; b < c.picked.size(); ++b) {
    std::vector<Cell> row = {w.set.schema().branches[b]};
    for (std::uint32_t e = 0; e < kNumExposureClasses; ++e) {
      const std::uint64_t n = c.classes[b * kNumExposureClasses + e];
      all[e] += n;
      row.emplace_back(number(n));
    }
    table.rows.push_back(std::move(row));
  }
  section.tables.push_back(std::move(table));
  const std::uint64_t disliked = all[static_cast<std::size_t>(ExposureClass::kAversion)] +
                                 all[static_cast<std::size_t>(ExposureClass::kDisinterest)];
  const double share = share_of(disliked, c.emitted);
  section.metrics.push_back({"exposure.share",
                             "Seen and not liked",
                             share,
                             {},
                             {},
                             "share",
                             "Negatives of class aversion or disinterest over all; at most 0.1 is "
                             "recommended.",
                             "methods: exposure-only -57 % NDCG@10, 10 % mix -3 %"});
  w.gates.judge("exposure.share", share,
                fmt::format("{} of {} negatives are aversion or disinterest{}.", disliked,
                            c.emitted, share > 0.1 ? "; more than the recommended tenth" : ""));
}

}  // namespace

void audit_leaks(AuditWork& w) {
  const Counts& c = w.tally.counts;
  ReportSection section{
      "leaks",
      "Leaks",
      "Negatives that are known to be wrong: every one is judged again from events, "
      "catalogue and embeddings.",
      {},
      {}};
  section.metrics.push_back({"leak.positives",
                             "Positives among the negatives",
                             number(c.positives),
                             {},
                             {},
                             "count",
                             "Negatives that are positives of the row or of its user.",
                             "docs/row_contract.md section 2"});
  w.gates.judge("leak.positives", number(c.positives),
                c.positives == 0
                    ? fmt::format("None of {} negatives is a positive.", c.emitted)
                    : fmt::format("{} of {} negatives are positives.", c.positives, c.emitted));
  judge_filters(w);
  judge_sets(w);
  section.tables.push_back(filter_table(w));
  judge_exposure(w, section);
  w.sections.push_back(std::move(section));
}

}  // namespace quarry

// Fill: full rows, missing slots by reason, and whether columns and counters agree.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "host/audit/pick_odds.h"
#include "host/audit/work.h"
#include "host/store/fill_names.h"

namespace quarry {
namespace {

struct Disagreement {
  std::uint64_t count = 0;
  std::string first;
  void compare(const std::string& what, std::uint64_t manifest, std::uint64_t columns) {
    if (manifest == columns) return;
    if (count++ == 0) {
      first =
          fmt::format("{} is {} in the manifest and {} in the columns", what, manifest, columns);
    }
  }
};

Disagreement compare_counters(const AuditWork& w) {
  const Counts& c = w.tally.counts;
  const ManifestFacts& m = w.facts;
  Disagreement d;
  d.compare("rows", m.rows, c.rows);
  d.compare("requested", m.requested, c.rows * w.set.k());
  d.compare("emitted", m.emitted, c.emitted);
  std::uint64_t missing = 0;
  for (std::uint32_t code = 1; code < kNumFillCodes; ++code) {
    const auto found = m.missing.find(fill_code_name(code));
    const std::uint64_t recorded = found != m.missing.end() ? found->second : 0;
    d.compare(fmt::format("missing by {}", fill_code_name(code)), recorded, c.missing[code]);
    missing += recorded;
  }
  d.compare("requested less missing", m.requested - missing, m.emitted);
  for (std::size_t b = 0; b < m.branches.size() && b < c.picked.size(); ++b)
    d.compare("picked by " + m.branches[b].name, m.branches[b].picked, c.picked[b]);
  // Rows without a usable embedding never reached the miner that counts strata.
  const auto& names = w.set.schema().strata;
  for (std::size_t s = 0; s < names.size(); ++s) {
    const std::uint64_t* slots = &c.slots[s * kNumFillCodes];
    std::uint64_t requested = 0;
    for (std::uint32_t code = 0; code < kNumFillCodes; ++code) {
      if (code != static_cast<std::uint32_t>(FillCode::kBadRow)) requested += slots[code];
    }
    const auto found = m.strata.find(names[s]);
    const StratumFacts recorded = found != m.strata.end() ? found->second : StratumFacts{};
    d.compare("slots of stratum " + names[s], recorded.requested, requested);
    d.compare("filled slots of stratum " + names[s], recorded.emitted, slots[0]);
  }
  return d;
}

/// Shares of the branches among the filled slots, against those of the recipe.
void judge_branches(AuditWork& w) {
  const Counts& c = w.tally.counts;
  const std::uint64_t slots = c.rows * w.set.k();
  if (c.emitted == 0) {
    w.gates.not_checked("fill.branches", "The set has no negative.");
    return;
  }
  // Of empty slots nobody knows whose they are.
  const double empty = share_of(slots - std::min(slots, c.emitted), slots);
  double most = 0, tolerance_there = 0;
  std::string where = "none";
  for (std::size_t b = 0; b < c.picked.size(); ++b) {
    const double wanted = share_of(w.recipe.branches[b].share, w.recipe.share_sum);
    const double tolerance =
        4 * rounding_deviation(wanted, c.rows, w.set.k()) / number(slots) + empty;
    const double off = std::fabs(share_of(c.picked[b], c.emitted) - wanted) - tolerance - 1e-12;
    if (off <= most) continue;
    most = off, tolerance_there = tolerance;
    where = w.set.schema().branches[b];
  }
  w.gates.judge("fill.branches", most,
                fmt::format("The worst branch ({}) is {} beyond rounding and empty slots ({}).",
                            where, words_of(most), words_of(tolerance_there)));
}

void judge_columns(AuditWork& w) {
  const Counts& c = w.tally.counts;
  const auto all = [&](std::uint64_t bad, const char* what) {
    return bad == 0 ? fmt::format("None of {} {}.", c.emitted, what)
                    : fmt::format("{} of {} {}.", bad, c.emitted, what);
  };
  w.gates.judge(
      "fill.slot_order", number(c.disordered + c.odd_codes),
      fmt::format("{} of {} rows have slots that contradict their count.", c.disordered, c.rows));
  w.gates.judge("fill.repeats", number(c.repeats), all(c.repeats, "negatives repeat another"));
  w.gates.judge("fill.item_range", number(c.out_of_range),
                all(c.out_of_range, "negatives lie outside the item table"));
  w.gates.judge("fill.users", number(c.no_user),
                fmt::format("{} of {} rows have a user outside the table of {}.", c.no_user, c.rows,
                            w.judge.in.users.rows));
  w.gates.judge(
      "fill.row_keys", number(w.tally.repeated_keys),
      fmt::format("{} of {} rows repeat the key of another.", w.tally.repeated_keys, c.rows));
  w.gates.judge("fill.ranks", number(c.odd_ranks),
                all(c.odd_ranks, "negatives have ranks that contradict each other"));
  judge_branches(w);
  w.gates.judge("fill.finite_scores", number(c.not_finite),
                all(c.not_finite, "scores are not finite"));
  const Samples& s = w.samples;
  w.gates.judge("fill.exact_scores", number(s.wrong_scores + s.wrong_positive_min + s.wrong_gaps),
                fmt::format("Of {} numbers of {} rows {} scores, {} least positive scores and {} "
                            "gaps differ.",
                            s.numbers, s.rows, s.wrong_scores, s.wrong_positive_min, s.wrong_gaps));
  if (w.facts.set.promise == "cpu_gpu_identical") {
    w.gates.judge("search.certified", number(c.uncertified),
                  fmt::format("{} of {} rows are not certified.", c.uncertified, c.rows));
  } else {
    w.gates.not_checked("search.certified",
                        "The set does not promise the answers of an exact search.");
  }
}

void judge_odds(AuditWork& w) {
  const OddsResult r = check_odds(w.set, w.judge, w.strata, w.settings, w.exec, w.in.stop);
  if (!r.why_not.empty()) {
    w.gates.not_checked("fill.logq", r.why_not);
    w.gates.not_checked("fill.kappa", r.why_not);
    return;
  }
  const auto judge = [&](const char* gate, const char* what, std::uint64_t wrong, std::uint64_t of,
                         const std::string& first) {
    w.gates.judge(gate, number(wrong),
                  fmt::format("{} of {} {} of {} rows differ{}.", wrong, of, what, r.rows,
                              first.empty() ? "" : "; first: " + first));
  };
  judge("fill.logq", "probabilities", r.wrong_logqs, r.logqs, r.first_logq);
  if (r.why_not_kappa.empty()) {
    judge("fill.kappa", "thresholds", r.wrong_kappas, r.kappas, r.first_kappa);
  } else {
    w.gates.not_checked("fill.kappa", r.why_not_kappa);
  }
}

}  // namespace

void audit_fill(AuditWork& w) {
  const Counts& c = w.tally.counts;
  const std::uint64_t slots = c.rows * w.set.k();
  ReportSection section{"fill",
                        "Fill",
                        "How many of the slots hold a negative, and why the others are empty.",
                        {},
                        {}};
  const Interval full = wilson(c.full_rows, c.rows);
  section.metrics = {{"fill.rows", "Rows", number(c.rows), {}, {}, "count", "Rows of the set.", ""},
                     {"fill.full_rows", "Full rows", share_of(c.full_rows, c.rows), full.low,
                      full.high, "share", "Rows with k negatives over all rows.", ""},
                     {"fill.slots",
                      "Filled slots",
                      share_of(c.emitted, slots),
                      {},
                      {},
                      "share",
                      "Filled slots over rows times k.",
                      ""},
                     {"fill.certified",
                      "Certified rows",
                      share_of(c.rows - c.uncertified, c.rows),
                      {},
                      {},
                      "share",
                      "Rows whose search is proven equal to brute force.",
                      "host/store/FORMAT.md"}};
  Table reasons{"fill.by_reason",
                "Slots by reason",
                "Fill codes of docs/row_contract.md section 4.",
                Chart{"bar", "reason", {"slots"}, false},
                {{"reason", "Reason", false, ""},
                 {"slots", "Slots", true, "count"},
                 {"share", "Share", true, "share"}},
                {}};
  reasons.rows.push_back({std::string("filled"), number(c.emitted), share_of(c.emitted, slots)});
  for (std::uint32_t code = 1; code < kNumFillCodes; ++code)
    reasons.rows.push_back({std::string(fill_code_name(code)), number(c.missing[code]),
                            share_of(c.missing[code], slots)});
  Table branches{
      "fill.by_branch",
      "Negatives by branch",
      "Filled slots by the branch that gave them; wanted shares are those of the recipe, "
      "before backfill.",
      Chart{"grouped_bar", "branch", {"wanted", "share"}, false},
      {{"branch", "Branch", false, ""},
       {"wanted", "Wanted", true, "share"},
       {"share", "Share", true, "share"},
       {"negatives", "Negatives", true, "count"}},
      {}};
  for (std::size_t b = 0; b < c.picked.size(); ++b) {
    branches.rows.push_back({w.set.schema().branches[b],
                             share_of(w.recipe.branches[b].share, w.recipe.share_sum),
                             share_of(c.picked[b], c.emitted), number(c.picked[b])});
  }
  section.tables = {std::move(reasons), std::move(branches)};
  w.gates.judge("fill.slots", share_of(c.emitted, slots),
                fmt::format("{} of {} slots are filled, {} of {} rows are full.", c.emitted, slots,
                            c.full_rows, c.rows));
  if (w.facts.has_counters) {
    const Disagreement d = compare_counters(w);
    w.gates.judge("fill.accounting", number(d.count),
                  d.count == 0 ? std::string("All counters of the manifest agree.")
                               : fmt::format("{} counters disagree; first: {}.", d.count, d.first));
  } else {
    w.gates.not_checked("fill.accounting", "The manifest has no counters.");
  }
  judge_columns(w);
  judge_odds(w);
  w.sections.push_back(std::move(section));
}

void audit_rejections(AuditWork& w) {
  if (w.facts.branches.empty()) return;
  ReportSection section{
      "rejections",
      "Rejections",
      "What the filters rejected while the set was mined, by the manifest's counters: "
      "each candidate under the first filter that rejects it.",
      {},
      {}};
  Table funnel{"rejections.funnel",
               "Rejected candidates",
               "Candidates of a branch up to its cut (docs/row_contract.md section 2), by branch "
               "and filter.",
               Chart{"funnel", "filter", {"rejected"}, true},
               {{"branch", "Branch", false, ""},
                {"filter", "Filter", false, ""},
                {"rejected", "Rejected", true, "count"},
                {"share", "Of examined", true, "share"}},
               {}};
  Table branches{"rejections.branches",
                 "Candidates by branch",
                 "Examined candidates, those in the pool, and negatives picked.",
                 Chart{"grouped_bar", "branch", {"examined", "pool", "picked"}, true},
                 {{"branch", "Branch", false, ""},
                  {"examined", "Examined", true, "count"},
                  {"pool", "Pool", true, "count"},
                  {"picked", "Picked", true, "count"}},
                 {}};
  for (const BranchFacts& b : w.facts.branches) {
    branches.rows.push_back({b.name, number(b.examined), number(b.pool), number(b.picked)});
    if (b.unscored > 0) {
      funnel.rows.push_back({b.name, std::string("score not finite"), number(b.unscored),
                             share_of(b.unscored, b.examined)});
    }
    for (const auto& [filter, rejected] : b.rejected)
      funnel.rows.push_back({b.name, filter, number(rejected), share_of(rejected, b.examined)});
  }
  section.tables = {std::move(funnel), std::move(branches)};
  w.sections.push_back(std::move(section));
}

}  // namespace quarry

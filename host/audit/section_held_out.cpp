// False negatives: held-out positives among the negatives, and whether they are fewer than they can
// be by chance.
#include <fmt/format.h>

#include <cmath>

#include "host/audit/matched.h"
#include "host/audit/work.h"

namespace quarry {
namespace {

constexpr const char* kHeldOutFlag = "--held-out FILE makes it checkable.";

std::vector<TableColumn> rate_columns(const char* first) {
  return {{"band", first, false, ""},
          {"negatives", "Negatives", true, "count"},
          {"held_out", "Held out", true, "count"},
          {"rate", "Rate", true, "share"},
          {"low", "Low", true, "share"},
          {"high", "High", true, "share"},
          {"lift", "Lift", true, "ratio"}};
}

std::vector<Cell> rate_row(const std::string& name, const HeldOutCount& count, double base) {
  const double rate = share_of(count.hits, count.negatives);
  const Interval interval = wilson(count.hits, count.negatives);
  return {name,
          number(count.negatives),
          number(count.hits),
          rate,
          interval.low,
          interval.high,
          base > 0 ? Cell(rate / base) : Cell()};
}

void add_rates(AuditWork& w, ReportSection& section) {
  const Counts& c = w.tally.counts;
  HeldOutCount all;
  for (const HeldOutCount& count : c.by_band) {
    all.negatives += count.negatives;
    all.hits += count.hits;
  }
  const double base = c.rows > 0 ? number(c.held_out_chances) / number(c.rows) /
                                       static_cast<double>(w.judge.num_items)
                                 : 0;
  const Interval interval = wilson(all.hits, all.negatives);
  section.metrics.push_back({"false_negatives.rate", "Held-out positives among the negatives",
                             share_of(all.hits, all.negatives), interval.low, interval.high,
                             "share",
                             "Negatives that are held-out positives of the row's user; "
                             "95 % by Wilson.",
                             "Wilson, JASA 1927"});
  section.metrics.push_back({"false_negatives.base",
                             "Base rate",
                             base,
                             {},
                             {},
                             "share",
                             "The same for an item drawn uniformly: held-out positives per row "
                             "over items.",
                             ""});
  Table ranks{"false_negatives.by_rank",
              "By rank",
              "Rate by the raw rank of the negative; lift over the base rate.",
              Chart{"bar", "band", {"rate"}, false},
              rate_columns("Rank"),
              {}};
  for (std::uint32_t band = 0; band < kRankBands; ++band) {
    if (c.by_band[band].negatives > 0)
      ranks.rows.push_back(rate_row(rank_band_name(band), c.by_band[band], base));
  }
  Table branches{"false_negatives.by_branch",
                 "By branch",
                 "Rate by the branch that picked.",
                 Chart{"bar", "band", {"rate"}, false},
                 rate_columns("Branch"),
                 {}};
  for (std::size_t b = 0; b < c.by_branch.size(); ++b)
    branches.rows.push_back(rate_row(w.set.schema().branches[b], c.by_branch[b], base));
  section.tables.push_back(std::move(ranks));
  section.tables.push_back(std::move(branches));
}

/// What leak.future_mask could not look at, and whether that is so much that it warns.
struct Blind {
  std::string words;
  bool warns = false;
};

Blind blind_spots(const AuditWork& w, const ColumnCount& columns) {
  Blind blind;
  const std::uint64_t pairs = w.held_out->all.values.size();
  const std::uint64_t left_out = pairs - w.held_out->fresh.values.size();
  if (left_out > 0) {
    blind.words = fmt::format(
        " {} of {} held-out positives are left out: the events hold something of them before the "
        "split.",
        left_out, pairs);
    if (left_out * 2 > pairs) {
      blind.words += " More than half: are the times of the events coarser than the held-out ones?";
      blind.warns = true;
    }
  }
  if (columns.filters.empty()) return blind;
  const double held_out = share_of(columns.held_out_rejected, columns.held_out);
  const double others = share_of(columns.others_rejected, columns.others);
  blind.words += fmt::format(
      " Not comparable: what the column filter on {} knows (it rejects {} of the held-out items "
      "that the other filters let through, and {} of the others).",
      columns.filters, words_of(held_out), words_of(others));
  blind.warns = blind.warns || (held_out > 0.5 && held_out > 2 * others);
  return blind;
}

/// Adds to the gate what was not looked at; a pass, or a gate not checked, becomes a warning.
void tell_blind_spots(const AuditWork& w, const Blind& blind, Gate& gate) {
  const GateRule& rule = w.gates.config().rule("leak.future_mask");
  gate.why += blind.words;
  if (!blind.warns || rule.severity == Severity::kOff || gate.status == GateStatus::kFail) return;
  gate.status = GateStatus::kWarn;
  gate.what_to_do = rule.what_to_do;
}

void add_matched(AuditWork& w, ReportSection& section) {
  const MatchedResult r =
      compare_matched(w.set, w.judge, *w.held_out, w.strata, w.settings, w.exec, w.in.stop);
  const MatchedTest& t = r.test;
  std::string why = r.why_not;
  if (why.empty() && t.expected < w.settings.matched_expected) {
    why = fmt::format(
        "Not enough power: {} held-out positives are expected among the negatives of "
        "{} rows, at least {} are needed; more held-out events help.",
        words_of(t.expected), r.rows, words_of(w.settings.matched_expected));
    if (r.rows < r.users && number(r.rows) < w.settings.matched_rows) {
      why += fmt::format(
          " There are {} users to compare, and settings.matched_work ({}) is used up: raise it.",
          r.users, words_of(w.settings.matched_work));
    }
  }
  const Blind blind = blind_spots(w, r.columns);
  if (!why.empty()) {
    if (blind.warns) {
      Gate& gate = w.gates.decide("leak.future_mask", 1, true, why);
      gate.value.reset();  // nothing was compared
      tell_blind_spots(w, blind, gate);
    } else {
      w.gates.not_checked("leak.future_mask", why + blind.words);
    }
    w.gates.not_checked("leak.held_out_excess", why);
    return;
  }
  const double ratio = static_cast<double>(t.observed) / t.expected;
  const std::string seen = fmt::format(
      "{} held-out positives among the negatives of {} rows, {} expected at their "
      "ranks (sd {}).",
      t.observed, r.rows, words_of(t.expected), words_of(std::sqrt(t.variance)));
  tell_blind_spots(w, blind, w.gates.judge("leak.future_mask", t.p_few, seen));
  const double limit = w.gates.config().rule("leak.held_out_excess").high;
  w.gates.decide("leak.held_out_excess", ratio, ratio <= limit || t.p_many >= 1e-3, seen);
  section.metrics.push_back({"false_negatives.against_expected",
                             "Observed over expected",
                             ratio,
                             {},
                             {},
                             "ratio",
                             "Held-out positives among the negatives over those "
                             "expected in cells of row, branch, rank and stratum.",
                             "Mantel and Haenszel, JNCI 1959"});
  Table table{"false_negatives.matched",
              "Observed and expected at equal rank",
              "Sampled rows, one a user: held-out positives that a branch could have picked, those "
              "it picked, and those expected if it did not know them; by survivor rank.",
              Chart{"grouped_bar", "band", {"expected", "observed"}, false},
              {{"band", "Survivor rank", false, ""},
               {"held_out", "Held out", true, "count"},
               {"expected", "Expected", true, "count"},
               {"observed", "Observed", true, "count"}},
              {}};
  for (const MatchedBand& band : r.bands) {
    if (band.held_out > 0)
      table.rows.push_back({band.name, band.held_out, band.expected, number(band.observed)});
  }
  section.tables.push_back(std::move(table));
}

}  // namespace

void audit_held_out(AuditWork& w) {
  if (w.held_out == nullptr) {
    for (const char* gate : {"leak.held_out_events", "leak.held_out_rows", "leak.future_mask",
                             "leak.held_out_excess", "leak.test_near_duplicates"})
      w.gates.not_checked(gate, kHeldOutFlag);
    return;
  }
  const Counts& c = w.tally.counts;
  const std::uint64_t pairs = w.held_out->all.values.size();
  ReportSection section{
      "false_negatives",
      "False negatives",
      "Negatives that the user turned out to like: some are unavoidable, and none at "
      "all is a sign that the masks knew them.",
      {},
      {}};
  section.metrics.push_back({"false_negatives.pairs",
                             "Held-out positives",
                             number(pairs),
                             {},
                             {},
                             "count",
                             "Pairs of known users and items.",
                             ""});
  add_rates(w, section);
  if (w.judge.in.exposure != nullptr) {
    w.gates.judge(
        "leak.held_out_events", number(w.held_out->seen_events),
        fmt::format("Of {} held-out positives {} have an event in the recorded events at or "
                    "after the split ({}, the least held-out time).",
                    pairs, w.held_out->seen_events, iso_time(w.held_out->split)));
  } else {
    w.gates.not_checked("leak.held_out_events", "No events: --events makes it checkable.");
  }
  w.gates.judge("leak.held_out_rows", number(c.held_out_rows),
                fmt::format("{} positives of rows are held-out positives without an earlier event.",
                            c.held_out_rows));
  add_matched(w, section);
  const Samples& s = w.samples;
  w.gates.judge("leak.test_near_duplicates", share_of(s.near_held_out, s.negatives),
                fmt::format("{} of {} sampled negatives nearly copy a held-out positive.",
                            s.near_held_out, s.negatives));
  w.sections.push_back(std::move(section));
}

}  // namespace quarry

// Calibration of a model's scores; age of the set.
#include <fmt/format.h>

#include <cmath>

#include "host/audit/work.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

constexpr std::uint64_t kFewCases = 500;

struct Sums {
  std::uint64_t cases = 0;
  double scores = 0, labels = 0, variance = 0;
  void add(const ScoredLabel& c) {
    ++cases;
    scores += c.weight * c.score;
    labels += c.weight * c.label;
    variance += c.weight * c.weight * c.score * (1 - c.score);
  }
};

/// A kept negative stands for 1 / rate of them, and the score is brought back to the whole.
ScoredLabel corrected(const ScoreTable& scores, std::uint64_t i) {
  const double rate = scores.rate[i];
  return {undo_downsampling(scores.score[i], rate), scores.label[i] != 0 ? 1.0 : 1 / rate,
          static_cast<double>(scores.label[i])};
}

void add_bands(const AuditWork& w, ReportSection& section) {
  const ScoreTable& scores = *w.in.scores;
  Sums bands[10];
  for (std::uint64_t i = 0; i < scores.size(); ++i) {
    if (scores.item[i] < w.popularity_decile.size())
      bands[w.popularity_decile[scores.item[i]]].add(corrected(scores, i));
  }
  Table table{"calibration.popularity",
              "By popularity of the item",
              "Sum of scores over sum of labels, by decile of popularity (10: most).",
              Chart{"bar", "decile", {"ratio"}, false},
              {{"decile", "Decile", true, ""},
               {"cases", "Cases", true, "count"},
               {"ratio", "Ratio", true, "ratio"}},
              {}};
  for (int d = 0; d < 10; ++d) {
    if (bands[d].cases > 0) {
      table.rows.push_back(
          {d + 1.0, number(bands[d].cases),
           bands[d].labels > 0 ? Cell(bands[d].scores / bands[d].labels) : Cell()});
    }
  }
  section.tables.push_back(std::move(table));
}

void judge_large(AuditWork& w, const Sums& all) {
  if (all.labels <= 0) {
    w.gates.not_checked("calibration.large", "No case has the label 1.");
    return;
  }
  if (all.cases < kFewCases) {
    w.gates.not_checked("calibration.large",
                        fmt::format("{} cases are too few; {} are needed.", all.cases, kFewCases));
    return;
  }
  const double ratio = all.scores / all.labels;
  const GateRule& rule = w.gates.config().rule("calibration.large");
  const double off = std::fabs(all.scores - all.labels);
  const bool passes =
      (ratio >= rule.low && ratio <= rule.high) || off <= 3 * std::sqrt(all.variance);
  w.gates.decide("calibration.large", ratio, passes,
                 fmt::format("Scores sum to {}, labels to {} over {} cases.", words_of(all.scores),
                             words_of(all.labels), all.cases));
}

}  // namespace

void audit_calibration(AuditWork& w) {
  if (w.in.scores == nullptr) {
    for (const char* gate : {"calibration.ece", "calibration.large"})
      w.gates.not_checked(gate, "--scores FILE makes it checkable.");
    return;
  }
  const ScoreTable& scores = *w.in.scores;
  std::vector<ScoredLabel> cases;
  Sums all;
  for (std::uint64_t i = 0; i < scores.size(); ++i) {
    cases.push_back(corrected(scores, i));
    all.add(cases.back());
  }
  const auto bins = calibration_bins(cases, static_cast<unsigned>(w.settings.calibration_bins));
  const double error = calibration_error(bins);
  ReportSection section{
      "calibration",
      "Calibration",
      "Whether the model's probabilities come true, after the correction for negatives "
      "that were left out.",
      {},
      {}};
  section.metrics = {
      {"calibration.cases",
       "Cases",
       number(scores.size()),
       {},
       {},
       "count",
       "Rows of --scores.",
       ""},
      {"calibration.ece",
       "Expected calibration error",
       error,
       {},
       {},
       "probability",
       "sum n_b / n |labels_b - scores_b| over bins of equal mass.",
       "Naeini et al., AAAI 2015"},
      {"calibration.brier",
       "Brier score",
       brier(cases),
       {},
       {},
       "ratio",
       "Mean of (score - label)^2.",
       "Brier 1950"},
      {"calibration.large",
       "Scores over labels",
       all.labels > 0 ? std::optional<double>(all.scores / all.labels) : std::nullopt,
       {},
       {},
       "ratio",
       "sum q / sum y with q = p / (p + (1 - p) / w).",
       "He et al., ADKDD 2014"}};
  Table table{"calibration.bins",
              "Reliability",
              "Mean score and share of ones in bins of about equal mass.",
              Chart{"line", "score", {"label"}, false},
              {{"bin", "Bin", true, ""},
               {"cases", "Cases", true, "count"},
               {"score", "Mean score", true, "probability"},
               {"label", "Share of ones", true, "probability"}},
              {}};
  for (std::size_t b = 0; b < bins.size(); ++b)
    table.rows.push_back({number(b + 1), number(bins[b].cases), bins[b].scores / bins[b].weight,
                          bins[b].labels / bins[b].weight});
  section.tables.push_back(std::move(table));
  if (!scores.item.empty()) add_bands(w, section);
  if (scores.size() < kFewCases) {
    w.gates.not_checked("calibration.ece", fmt::format("{} cases are too few; {} are needed.",
                                                       scores.size(), kFewCases));
  } else {
    w.gates.judge("calibration.ece", error,
                  fmt::format("The error is {} over {} cases in {} bins.", words_of(error),
                              scores.size(), bins.size()));
  }
  judge_large(w, all);
  w.sections.push_back(std::move(section));
}

void audit_staleness(AuditWork& w) {
  constexpr double kDay = 86400;
  if (!w.in.now) {
    w.gates.not_checked("staleness.age", "--now TIME makes it checkable; no clock is read.");
    return;
  }
  // An as_of after the last event makes no event newer.
  std::optional<std::int64_t> as_of = w.facts.latest_event;
  if (w.facts.as_of) as_of = std::min(*w.facts.as_of, as_of.value_or(INT64_MAX));
  ReportSection section{"staleness", "Staleness", "How old the set is at --now.", {}, {}};
  if (as_of) {
    const double age = static_cast<double>(*w.in.now - *as_of) / kDay;
    section.metrics.push_back({"staleness.age",
                               "Age of the events",
                               age,
                               {},
                               {},
                               "days",
                               "From the earlier of as_of and the latest event seen to --now.",
                               ""});
    Gate& gate = w.gates.judge(
        "staleness.age", age,
        fmt::format("The events end at {}, {} days {} {}.", iso_time(*as_of),
                    words_of(std::fabs(age)), age < 0 ? "after" : "before", iso_time(*w.in.now)));
    if (age < 0 && gate.status == GateStatus::kPass) {
      gate.status = GateStatus::kWarn;
      gate.what_to_do = "Events of the future: check --now and the times of the events.";
    }
  } else {
    w.gates.not_checked("staleness.age", "The manifest records neither as_of nor latest event.");
  }
  if (w.facts.set.created) {
    section.metrics.push_back({"staleness.set_age",
                               "Age of the set",
                               (static_cast<double>(*w.in.now) - *w.facts.set.created) / kDay,
                               {},
                               {},
                               "days",
                               "From the version's creation to --now.",
                               ""});
  }
  if (!section.metrics.empty()) w.sections.push_back(std::move(section));
}

}  // namespace quarry

// Cohorts of users and groups of items: who is taught what as negative.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "host/audit/work.h"

namespace quarry {
namespace {

constexpr std::uint64_t kFewPositives = 50;  ///< groups of items with fewer say nothing
constexpr std::uint32_t kFewUsers = 5;       ///< items liked by fewer are no cohort's

const std::uint32_t* counts_of(const AuditWork& w, const std::vector<std::uint32_t>& all,
                               std::size_t cohort) {
  return all.data() + cohort * w.judge.num_items;
}

std::uint64_t sum(const std::uint32_t* counts, std::uint32_t n) {
  std::uint64_t all = 0;
  for (std::uint32_t i = 0; i < n; ++i) all += counts[i];
  return all;
}

/// Column with the worst ratio of D_g, and a table of all of them.
void judge_disparity(AuditWork& w, ReportSection& section) {
  Table table{
      "cohorts.disparity",
      "Exposure disparity",
      "D_g: share of the negatives on a value over its share of the rows' positives; values "
      "with at least 50 positives.",
      Chart{"bar", "value", {"disparity"}, false},
      {{"column", "Column", false, ""},
       {"value", "Value", false, ""},
       {"negatives", "Negatives", true, "share"},
       {"positives", "Positives", true, "share"},
       {"disparity", "D", true, "ratio"}},
      {}};
  double worst = 2;
  bool beyond_noise = false;  ///< some column's interval lies below the limit as a whole
  const double limit = w.gates.config().rule("cohorts.disparity").low;
  std::string words;
  const Catalogue* catalogue = w.judge.in.catalogue;
  for (std::size_t c = 0; catalogue != nullptr && c < catalogue->columns.size(); ++c) {
    const CatalogueColumn& column = catalogue->columns[c];
    if (number(column.names.size()) > w.settings.attribute_values + 1) continue;
    const auto negatives = counts_by_code(column, w.tally.negatives);
    const auto positives = counts_by_code(column, w.tally.positives);
    std::uint64_t all_n = 0, all_p = 0;
    for (std::size_t v = 0; v < negatives.size(); ++v) all_n += negatives[v], all_p += positives[v];
    double least = INFINITY, most = 0;
    std::string low, high;
    std::size_t low_at = 0, high_at = 0, values = 0;
    for (std::size_t v = 1; v < negatives.size(); ++v) {
      if (positives[v] < kFewPositives || all_n == 0) continue;
      const double d = share_of(negatives[v], all_n) / share_of(positives[v], all_p);
      table.rows.push_back({column.name, column.names[v], share_of(negatives[v], all_n),
                            share_of(positives[v], all_p), d});
      ++values;
      if (d < least) least = d, low = column.names[v], low_at = v;
      if (d > most) most = d, high = column.names[v], high_at = v;
    }
    if (low == high || most == 0) continue;
    const double high_end = disparity_high(
        {negatives[low_at], positives[low_at], negatives[high_at], positives[high_at]}, values);
    const bool is_beyond = high_end < limit;
    // What is beyond noise comes before what is only far off.
    if (is_beyond < beyond_noise || (is_beyond == beyond_noise && least / most >= worst)) continue;
    beyond_noise = is_beyond;
    worst = least / most;
    words = fmt::format(
        "{}: D is {} for '{}' and {} for '{}'; the interval of their ratio ends at "
        "{}{}.",
        column.name, words_of(least), low, words_of(most), high, words_of(high_end),
        is_beyond ? "" : ", so that chance may explain it");
  }
  section.tables.push_back(std::move(table));
  if (worst > 1) {
    w.gates.not_checked("cohorts.disparity",
                        "No catalogue column has two values with 50 positives each.");
  } else {
    w.gates.decide("cohorts.disparity", worst, !beyond_noise, words);
  }
}

void judge_suppression(AuditWork& w, ReportSection& section) {
  const std::uint32_t n = w.judge.num_items;
  const Cohorts& cohorts = *w.cohorts;
  Table table{"cohorts.suppression",
              "Items of a cohort as negatives",
              "Items with at least 5 positive users, of which the cohort makes cohort_share or "
              "more: their rate among the negatives of its users and of all others.",
              Chart{"grouped_bar", "cohort", {"own", "others"}, false},
              {{"cohort", "Cohort", false, ""},
               {"items", "Items", true, "count"},
               {"own", "Own users", true, "share"},
               {"others", "Other users", true, "share"},
               {"ratio", "Ratio", true, "ratio"},
               {"low", "Low", true, "ratio"},
               {"high", "High", true, "ratio"}},
              {}};
  std::vector<std::uint64_t> users(cohorts.names.size(), 0);
  for (const std::uint32_t c : cohorts.of_user) ++users[c];
  double worst = -1;
  std::string words;
  const Exposure* e = w.judge.in.exposure;
  for (std::size_t c = 1; e != nullptr && c < cohorts.names.size(); ++c) {
    if (share_of(users[c], cohorts.of_user.size()) >= w.settings.cohort_share) continue;
    std::vector<std::uint32_t> audience(n, 0);
    for (std::size_t u = 0; u + 1 < e->offsets.size() && u < cohorts.of_user.size(); ++u) {
      if (cohorts.of_user[u] != c) continue;
      for (std::uint64_t i = e->offsets[u]; i < e->offsets[u + 1]; ++i) {
        if (e->classes[i] == static_cast<std::uint8_t>(ExposureClass::kPositive))
          ++audience[e->items[i]];
      }
    }
    std::uint64_t items = 0, own = 0, others = 0;
    const std::uint32_t* negatives = counts_of(w, w.tally.cohort_negatives, c);
    for (std::uint32_t i = 0; i < n; ++i) {
      if (w.judge.popularity[i] < kFewUsers ||
          audience[i] < w.settings.cohort_share * w.judge.popularity[i])
        continue;
      ++items, own += negatives[i], others += w.tally.negatives[i] - negatives[i];
    }
    const std::uint64_t all_own = sum(negatives, n);
    const std::uint64_t all_others = sum(w.tally.negatives.data(), n) - all_own;
    if (items == 0 || all_own == 0 || all_others == 0) continue;
    const Interval interval = ratio_interval(own, all_own, others, all_others);
    const double other_rate = share_of(others, all_others);
    table.rows.push_back({cohorts.names[c], number(items), share_of(own, all_own), other_rate,
                          others > 0 ? Cell(share_of(own, all_own) / other_rate) : Cell(),
                          interval.low, interval.high});
    if (interval.low <= worst) continue;
    worst = interval.low;
    words = fmt::format(
        "Cohort '{}': {} of the negatives of its users are its own items, {} of "
        "those of others.",
        cohorts.names[c], words_of(share_of(own, all_own)), words_of(other_rate));
  }
  section.tables.push_back(std::move(table));
  if (worst < 0) {
    w.gates.not_checked("cohorts.suppression",
                        "No minority cohort has items of its own (cohort_share, 5 users).");
  } else {
    w.gates.judge("cohorts.suppression", worst, words);
  }
}

void add_overlap(AuditWork& w, ReportSection& section) {
  const std::uint32_t n = w.judge.num_items;
  const std::size_t cohorts = w.cohorts->names.size();
  Table table{"cohorts.overlap",
              "Negatives of one cohort and positives of another",
              "Sum over items of the smaller of the item's share of A's negatives and of B's "
              "positives: 1 means that A is taught against exactly what B likes.",
              {},
              {{"negatives_of", "Negatives of", false, ""},
               {"positives_of", "Positives of", false, ""},
               {"overlap", "Overlap", true, "share"}},
              {}};
  for (std::size_t a = 1; a < cohorts; ++a) {
    const std::uint32_t* negatives = counts_of(w, w.tally.cohort_negatives, a);
    const std::uint64_t all_n = sum(negatives, n);
    for (std::size_t b = 1; b < cohorts; ++b) {
      const std::uint32_t* positives = counts_of(w, w.tally.cohort_positives, b);
      const std::uint64_t all_p = sum(positives, n);
      if (all_n == 0 || all_p == 0) continue;
      double overlap = 0;
      for (std::uint32_t i = 0; i < n; ++i)
        overlap += std::min(share_of(negatives[i], all_n), share_of(positives[i], all_p));
      table.rows.push_back({w.cohorts->names[a], w.cohorts->names[b], overlap});
    }
  }
  section.tables.push_back(std::move(table));
}

}  // namespace

double disparity_high(const std::array<std::uint64_t, 4>& counts, std::uint64_t values) {
  double log_ratio = 0, variance = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double n = number(counts[i]) + 0.5;
    log_ratio += (i == 0 || i == 3 ? 1 : -1) * std::log(n);
    variance += 1 / n;
  }
  // The least and the largest of the values are one of so many pairs.
  const double pairs = std::max(1.0, number(values) * (number(values) - 1) / 2);
  return std::exp(log_ratio + normal_quantile(0.025 / pairs) * std::sqrt(variance));
}

void audit_cohorts(AuditWork& w) {
  if (w.cohorts == nullptr) {
    for (const char* gate : {"cohorts.disparity", "cohorts.suppression"})
      w.gates.not_checked(gate, "--cohorts FILE:COLUMN makes it checkable.");
    return;
  }
  ReportSection section{
      "cohorts",
      "Cohorts",
      fmt::format("Groups of users; those of fewer than {} users with rows are merged "
                  "into \"other\", which is left out if it is smaller still.",
                  words_of(w.settings.cohort_users)),
      {},
      {}};
  Table groups{"cohorts.groups",
               "Cohorts",
               "Negatives and positives of the cohort's rows.",
               Chart{"bar", "cohort", {"negatives"}, false},
               {{"cohort", "Cohort", false, ""},
                {"negatives", "Negatives", true, "count"},
                {"positives", "Positives", true, "count"}},
               {}};
  for (std::size_t c = 1; c < w.cohorts->names.size(); ++c) {
    groups.rows.push_back(
        {w.cohorts->names[c],
         number(sum(counts_of(w, w.tally.cohort_negatives, c), w.judge.num_items)),
         number(sum(counts_of(w, w.tally.cohort_positives, c), w.judge.num_items))});
  }
  section.metrics.push_back({"cohorts.count",
                             "Cohorts shown",
                             number(groups.rows.size()),
                             {},
                             {},
                             "count",
                             "After merging.",
                             "k-anonymity, Sweeney 2002"});
  section.tables.push_back(std::move(groups));
  judge_disparity(w, section);
  judge_suppression(w, section);
  add_overlap(w, section);
  w.sections.push_back(std::move(section));
}

}  // namespace quarry

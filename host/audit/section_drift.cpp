// Drift against a baseline: distributions, single items, rows kept.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <unordered_map>

#include "host/audit/matched.h"
#include "host/audit/work.h"
#include "kernels/core/exec.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

constexpr const char* kBaselineFlag = "--baseline SET makes it checkable.";

/// Slots of a set by item; items outside the table are left out.
std::vector<std::uint32_t> items_of(const NegativeSet& set, std::uint32_t num_items,
                                    const Exec& exec) {
  std::vector<std::uint32_t> counts(num_items, 0);
  parallel_for(exec, set.rows(), 1024, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t r = begin; r < end; ++r) {
      const NegativeSet::Row row = set.row(r);
      for (std::uint32_t j = 0; j < row.count; ++j) {
        if (row.item[j] < num_items) {
          std::atomic_ref<std::uint32_t>(counts[row.item[j]])
              .fetch_add(1, std::memory_order_relaxed);
        }
      }
    }
  });
  return counts;
}

/// Filled slots by the names of strata.
std::map<std::string, std::uint64_t> strata_of(const NegativeSet& set) {
  const auto& names = set.schema().strata;
  std::vector<std::uint64_t> counts(names.size(), 0);
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const NegativeSet::Row row = set.row(r);
    for (std::uint32_t j = 0; j < row.count; ++j) {
      if (row.stratum[j] < counts.size()) ++counts[row.stratum[j]];
    }
  }
  std::map<std::string, std::uint64_t> by_name;
  for (std::size_t s = 0; s < names.size(); ++s) by_name[names[s]] += counts[s];
  return by_name;
}

/// Counts of sorted values in bins that are deciles of the sorted reference.
std::vector<std::uint64_t> decile_counts(const std::vector<float>& values,
                                         const std::vector<float>& reference) {
  std::vector<std::uint64_t> counts(10, 0);
  std::size_t before = 0;
  for (std::size_t bin = 0; bin < 10; ++bin) {
    std::size_t end = values.size();
    if (bin < 9) {
      const auto edge =
          static_cast<float>(quantile_of_sorted(reference, static_cast<double>(bin + 1) / 10));
      end = static_cast<std::size_t>(std::upper_bound(values.begin(), values.end(), edge) -
                                     values.begin());
    }
    counts[bin] = end - before;
    before = end;
  }
  return counts;
}

struct Drift {
  std::string what;
  double value = 0, js = 0;
  PsiNull null;
};

Drift drift_of(std::string what, const std::vector<std::uint64_t>& now,
               const std::vector<std::uint64_t>& then, double tail) {
  return {std::move(what), psi(now, then), jensen_shannon(now, then), psi_null(now, then, tail)};
}

void judge(AuditWork& w, const char* gate, const Drift& d) {
  const double limit = w.gates.config().rule(gate).high;
  const bool drifts = d.value > limit && d.value > d.null.limit;
  Gate& judged =
      w.gates.decide(gate, d.value, !drifts,
                     fmt::format("PSI of {} is {}; without drift {} on average and {} once in {}.",
                                 d.what, words_of(d.value), words_of(d.null.mean),
                                 words_of(d.null.limit), words_of(1 / w.settings.drift_tail)));
  if (judged.status == GateStatus::kPass && d.value > w.settings.drift_warn &&
      d.value > d.null.limit) {
    judged.status = GateStatus::kWarn;
    judged.what_to_do = w.gates.config().rule(gate).what_to_do;
  }
}

std::vector<std::uint64_t> by_popularity(const AuditWork& w,
                                         const std::vector<std::uint32_t>& counts) {
  std::vector<std::uint64_t> deciles(10, 0);
  for (std::uint32_t i = 0; i < counts.size(); ++i) deciles[w.popularity_decile[i]] += counts[i];
  return deciles;
}

Drift strata_drift(const AuditWork& w) {
  std::vector<std::uint64_t> now, then;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> both;
  for (const auto& [name, count] : strata_of(w.set)) both[name].first = count;
  for (const auto& [name, count] : strata_of(*w.in.baseline)) both[name].second = count;
  for (const auto& [name, counts] : both) {
    now.push_back(counts.first);
    then.push_back(counts.second);
  }
  return drift_of("strata", now, then, w.settings.drift_tail);
}

void judge_attributes(AuditWork& w, const std::vector<std::uint32_t>& then, ReportSection& section,
                      std::vector<Drift>& all) {
  const Drift* worst = nullptr;
  std::vector<Drift> found;
  if (w.judge.in.catalogue != nullptr) {
    for (const CatalogueColumn& column : w.judge.in.catalogue->columns) {
      if (column.names.size() < 2 || number(column.names.size() - 1) > w.settings.attribute_values)
        continue;
      const auto a = counts_by_code(column, w.tally.negatives);
      const auto b = counts_by_code(column, then);
      found.push_back(drift_of("column " + column.name, a, b, w.settings.drift_tail));
      Table table{"drift.attribute." + column.name,
                  column.name,
                  "Shares of the negatives now and in the baseline.",
                  Chart{"grouped_bar", "value", {"now", "baseline"}, false},
                  {{"value", column.name, false, ""},
                   {"now", "Now", true, "share"},
                   {"baseline", "Baseline", true, "share"}},
                  {}};
      std::uint64_t sum_a = 0, sum_b = 0;
      for (std::size_t v = 0; v < a.size(); ++v) sum_a += a[v], sum_b += b[v];
      for (std::size_t v = 0; v < a.size(); ++v) {
        if (a[v] + b[v] > 0)
          table.rows.push_back({v == 0 ? std::string("(empty)") : column.names[v],
                                share_of(a[v], sum_a), share_of(b[v], sum_b)});
      }
      section.tables.push_back(std::move(table));
    }
  }
  for (const Drift& d : found) {
    if (worst == nullptr || d.value > worst->value) worst = &d;
  }
  if (worst == nullptr) {
    w.gates.not_checked("drift.attributes",
                        "No catalogue column with few enough values (attribute_values).");
  } else {
    judge(w, "drift.attributes", *worst);
  }
  all.insert(all.end(), found.begin(), found.end());
}

void judge_spikes(AuditWork& w, const std::vector<std::uint32_t>& then) {
  const std::vector<std::uint32_t>& now = w.tally.negatives;
  std::uint64_t n = 0, m = 0;
  for (std::size_t i = 0; i < now.size(); ++i) n += now[i], m += then[i];
  std::vector<std::uint32_t> spikes;
  const double critical = normal_quantile(0.001 / std::max(1.0, number(now.size())));
  for (std::uint32_t i = 0; i < now.size() && n > 0 && m > 0; ++i) {
    const double p = now[i] / number(n);
    const double q = then[i] / number(m);
    const double pooled = (number(now[i]) + number(then[i])) / (number(n) + number(m));
    const double sd = std::sqrt(pooled * (1 - pooled) * (1 / number(n) + 1 / number(m)));
    if (p > 3 * std::max(q, 1 / number(m)) && sd > 0 && (p - q) / sd > critical)
      spikes.push_back(i);
  }
  w.gates.judge(
      "drift.spikes", number(spikes.size()),
      fmt::format("{} of {} items became much more frequent.", spikes.size(), now.size()));
  std::sort(spikes.begin(), spikes.end(), [&](std::uint32_t a, std::uint32_t b) {
    return now[a] != now[b] ? now[a] > now[b] : a < b;
  });
  const auto most = static_cast<std::size_t>(w.settings.list_items);
  if (spikes.size() > most) spikes.resize(most);
  Table list{"spikes",
             "Items that became much more frequent",
             "Share more than 3 times the baseline's, by a two-proportion test over all items.",
             {},
             item_columns({{"now", "Now", true, "count"}, {"baseline", "Baseline", true, "count"}}),
             {}};
  for (const std::uint32_t i : spikes) {
    list.rows.push_back({number(i), item_text(w.in, i, false),
                         w.in.item_title ? w.in.item_title(i) : "", number(now[i]),
                         number(then[i])});
  }
  w.lists.push_back(std::move(list));
}

std::vector<std::uint32_t> sorted_items(const NegativeSet::Row& row) {
  std::vector<std::uint32_t> items(row.item, row.item + row.count);
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
  return items;
}

/// Of sampled rows whose keys are in both sets, how much of their items is.
void judge_churn(AuditWork& w, ReportSection& section) {
  const NegativeSet& then = *w.in.baseline;
  const double rows = number(std::max<std::uint64_t>(1, std::max(w.set.rows(), then.rows())));
  const double share = w.settings.sample_rows / rows;
  const std::uint64_t below =
      share >= 1 ? UINT64_MAX : static_cast<std::uint64_t>(share * 18446744073709551615.0);
  std::unordered_map<std::uint64_t, std::uint64_t> row_of;
  for (std::uint64_t r = 0; r < then.rows(); ++r) {
    const std::uint64_t key = then.row(r).row_key;
    if (sample_hash(key) <= below) row_of[key] = r;
  }
  double sum = 0;
  std::uint64_t both = 0;
  for (std::uint64_t r = 0; r < w.set.rows(); ++r) {
    const NegativeSet::Row row = w.set.row(r);
    const auto found = row_of.find(row.row_key);
    if (found == row_of.end()) continue;
    const auto a = sorted_items(row);
    const auto b = sorted_items(then.row(found->second));
    if (a.empty() && b.empty()) continue;
    std::vector<std::uint32_t> common;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
    sum += number(common.size()) / number(a.size() + b.size() - common.size());
    ++both;
  }
  if (both == 0) {
    w.gates.not_checked("drift.churn", "No row of the baseline has the key of one in the set.");
    return;
  }
  const double kept = sum / number(both);
  section.metrics.push_back({"drift.kept",
                             "Kept negatives",
                             kept,
                             {},
                             {},
                             "share",
                             "Mean Jaccard index of the items of rows with equal keys; churn is 1 "
                             "less this.",
                             "Jaccard 1912"});
  // Other chance picks other items: almost none kept is odd only where seed and round are the same.
  const SetFacts old = manifest_facts(then, "").set;
  const bool same_chance = old.seed == w.facts.set.seed && old.round == w.facts.set.round;
  const GateRule& rule = w.gates.config().rule("drift.churn");
  w.gates.decide("drift.churn", kept, kept <= rule.high && (kept >= rule.low || !same_chance),
                 fmt::format("Of the negatives of {} rows with equal keys {} are kept{}.", both,
                             words_of(kept),
                             same_chance ? "" : " (other seed or round: a low share is no alarm)"));
}

/// Why an item number does not mean the same item in both sets; empty: it does.
std::string other_items(const AuditWork& w) {
  const ManifestFacts then = manifest_facts(*w.in.baseline, "");
  if (then.item_ids != w.facts.item_ids) {
    return "The baseline has other item ids (input item-ids): numbers of items do not mean the "
           "same "
           "items.";
  }
  const std::uint32_t now_items = w.set.schema().num_items;
  const std::uint32_t then_items = w.in.baseline->schema().num_items;
  if (now_items != then_items) {
    return fmt::format(
        "The baseline has {} items and the set {}: numbers of items may not mean the "
        "same items.",
        then_items, now_items);
  }
  return "";
}

bool has_negatives(const NegativeSet& set) {
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    if (set.row(r).count > 0) return true;
  }
  return false;
}

/// What compares the sets item by item.
void compare_items(AuditWork& w, ReportSection& section, std::vector<Drift>& all) {
  const std::string why_not = other_items(w);
  if (!why_not.empty()) {
    for (const char* gate : {"drift.popularity", "drift.attributes", "drift.churn", "drift.spikes"})
      w.gates.not_checked(gate, why_not);
    return;
  }
  const std::vector<std::uint32_t> then = items_of(*w.in.baseline, w.judge.num_items, w.exec);
  all.insert(all.begin(), drift_of("popularity", by_popularity(w, w.tally.negatives),
                                   by_popularity(w, then), w.settings.drift_tail));
  judge(w, "drift.popularity", all.front());
  judge_attributes(w, then, section, all);
  std::uint64_t common = 0, either = 0;
  for (std::size_t i = 0; i < then.size(); ++i) {
    common += then[i] > 0 && w.tally.negatives[i] > 0 ? 1 : 0;
    either += then[i] > 0 || w.tally.negatives[i] > 0 ? 1 : 0;
  }
  section.metrics.push_back({"drift.item_overlap",
                             "Overlap of items",
                             share_of(common, either),
                             {},
                             {},
                             "share",
                             "Items negative somewhere in both sets over those in "
                             "either.",
                             "Jaccard 1912"});
  judge_churn(w, section);
  judge_spikes(w, then);
}

}  // namespace

void audit_drift(AuditWork& w) {
  if (w.in.baseline == nullptr) {
    for (const GateRule& rule : w.gates.config().rules) {
      if (rule.id.rfind("drift.", 0) == 0) w.gates.not_checked(rule.id, kBaselineFlag);
    }
    return;
  }
  if (!has_negatives(w.set) || !has_negatives(*w.in.baseline)) {
    for (const GateRule& rule : w.gates.config().rules) {
      if (rule.id.rfind("drift.", 0) == 0) w.gates.not_checked(rule.id, kNoNegative);
    }
    return;
  }
  ReportSection section{"drift", "Drift", "What has changed since the baseline.", {}, {}};
  const Samples old =
      sample_set(*w.in.baseline, nullptr, nullptr, 1, w.settings.sample_rows, w.exec, w.in.stop);
  const double tail = w.settings.drift_tail;
  std::vector<Drift> all;
  const auto values = [&](const char* gate, const char* what, const std::vector<float>& a,
                          const std::vector<float>& b) {
    if (a.empty() || b.empty()) {
      w.gates.not_checked(gate, "One of the sets has no such numbers.");
      return;
    }
    all.push_back(drift_of(what, decile_counts(a, b), decile_counts(b, b), tail));
    judge(w, gate, all.back());
  };
  values("drift.quantile", "rank quantiles", w.samples.quantiles, old.quantiles);
  values("drift.score", "scores", w.samples.scores, old.scores);
  all.push_back(strata_drift(w));
  judge(w, "drift.strata", all.back());
  compare_items(w, section, all);
  Table table{"drift.psi",
              "Drift by what is compared",
              "Population stability index, its mean and 0.999 point without drift, and the "
              "Jensen-Shannon divergence in bits.",
              Chart{"bar", "what", {"psi"}, false},
              {{"what", "What", false, ""},
               {"psi", "PSI", true, "psi"},
               {"null_mean", "Mean without drift", true, "psi"},
               {"limit", "Limit without drift", true, "psi"},
               {"js", "JS", true, "bits"}},
              {}};
  for (const Drift& d : all)
    table.rows.push_back({d.what, d.value, d.null.mean, d.null.limit, d.js});
  section.tables.insert(section.tables.begin(), std::move(table));
  w.sections.push_back(std::move(section));
}

}  // namespace quarry

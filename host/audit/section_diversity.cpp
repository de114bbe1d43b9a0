// Diversity: hubs, coverage, concentration, attributes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/audit/work.h"

namespace quarry {
namespace {

constexpr std::uint64_t kFewRows = 20;  ///< fewer say nothing of hubs

/// Items that neither an allow list nor `universal` keeps out of every row.
std::vector<bool> eligible_items(const AuditWork& w) {
  std::vector<bool> eligible(w.judge.num_items, true);
  for (const FilterSpec& f : w.recipe.safety) {
    for (std::uint32_t i = 0; i < w.judge.num_items; ++i) {
      if (f.type == FilterType::kAllowList) {
        const auto marks = w.judge.allowed.find(f.table);
        if (marks != w.judge.allowed.end() && !marks->second[i]) eligible[i] = false;
      }
      if (f.type == FilterType::kUniversal && w.judge.is_universal(i, f.bound)) eligible[i] = false;
    }
  }
  return eligible;
}

struct Spread {
  std::uint64_t eligible = 0, used = 0, tail = 0, tail_used = 0, draws = 0;
  std::uint32_t top = 0;  ///< most frequent negative
};

Spread spread_of(const AuditWork& w, const std::vector<bool>& eligible) {
  Spread s;
  const std::vector<std::uint32_t>& n = w.tally.negatives;
  for (std::uint32_t i = 0; i < n.size(); ++i) {
    s.draws += n[i];
    if (n[i] > n[s.top]) s.top = i;
    if (!eligible[i]) continue;
    const bool tail = w.popularity_decile[i] < 5;
    ++s.eligible, s.tail += tail ? 1 : 0;
    if (n[i] == 0) continue;
    ++s.used, s.tail_used += tail ? 1 : 0;
  }
  return s;
}

void judge_spread(AuditWork& w, const Spread& s, double effective) {
  const std::vector<std::uint32_t>& n = w.tally.negatives;
  const std::string top =
      fmt::format("Item {} (index {}) is a negative of {} of {} rows.",
                  item_text(w.in, s.top, true), s.top, n[s.top], w.tally.counts.rows);
  // In a small catalogue every item is in many rows.
  const double hub = share_of(n[s.top], w.tally.counts.rows);
  const double chance = 3 * share_of(w.set.k(), s.eligible);
  if (w.tally.counts.rows < kFewRows) {
    w.gates.not_checked("diversity.hub", fmt::format("Fewer than {} rows.", kFewRows));
  } else {
    w.gates.decide("diversity.hub", hub,
                   hub <= std::max(chance, w.gates.config().rule("diversity.hub").high), top);
  }
  const double random = expected_distinct(s.eligible, s.draws);
  const double ratio = random > 0 ? effective / random : 0;
  Gate& spread =
      w.gates.judge("diversity.effective_items", ratio,
                    fmt::format("{} effective items; {} uniform draws would meet {}. Warns below "
                                "a ratio of {}.",
                                words_of(effective), s.draws, words_of(random),
                                words_of(w.settings.effective_warn)));
  if (spread.status == GateStatus::kPass && ratio < w.settings.effective_warn) {
    spread.status = GateStatus::kWarn;
    spread.what_to_do = w.gates.config().rule("diversity.effective_items").what_to_do;
  }
  const double tail_random = expected_distinct(s.eligible, s.draws) * share_of(s.tail, s.eligible);
  w.gates.judge("diversity.tail", tail_random > 0 ? number(s.tail_used) / tail_random : 1,
                fmt::format("{} of {} items of the less popular half are a negative somewhere.",
                            s.tail_used, s.tail));
  std::vector<std::uint32_t> used;
  for (const std::uint32_t count : n) {
    if (count > 0) used.push_back(count);
  }
  std::sort(used.begin(), used.end());
  const double common =
      used.empty() ? 5 : std::max(5.0, number(used[(used.size() - 1) * 99 / 100]));
  w.gates.judge("diversity.spike", number(n[s.top]) / common,
                fmt::format("{} The item at the 99th percentile has {}.", top, words_of(common)));
  if (w.samples.distance_pairs > 0) {
    const double mean = w.samples.distance_sum / number(w.samples.distance_pairs);
    w.gates.judge("diversity.intra_row", mean,
                  fmt::format("Mean of 1 - cosine over {} pairs is {}.", w.samples.distance_pairs,
                              words_of(mean)));
  } else {
    w.gates.not_checked("diversity.intra_row", "No sampled row has two negatives.");
  }
}

void add_figures(AuditWork& w, ReportSection& section, const Spread& s, double effective) {
  const std::vector<std::uint64_t> negatives = widened(w.tally.negatives);
  const std::vector<std::uint64_t> positives = widened(w.tally.positives);
  const double random = expected_distinct(s.eligible, s.draws);
  const double entropy_nats = entropy(negatives);
  const auto plain = [&](const char* id, const char* name, double value, const char* unit,
                         const char* definition, const char* source) {
    section.metrics.push_back({id, name, value, {}, {}, unit, definition, source});
  };
  plain("diversity.coverage", "Coverage", share_of(s.used, s.eligible), "share",
        "Eligible items that are a negative somewhere, over eligible items.", "");
  plain("diversity.random_coverage", "Coverage of random draws",
        s.eligible > 0 ? random / number(s.eligible) : 0, "share",
        "1 - (1 - 1/N)^n: the same for n uniform draws.", "");
  plain("diversity.tail_coverage", "Coverage of the tail half", share_of(s.tail_used, s.tail),
        "share", "The same among the less popular half of the items.", "");
  plain("diversity.entropy", "Entropy", entropy_nats / std::log(2.0), "bits",
        "- sum p log2 p over items' shares of the negatives.", "");
  plain("diversity.effective_items", "Effective items", effective, "count", "exp(entropy).",
        "Hill, Ecology 1973");
  plain("diversity.gini", "Gini of negatives", gini(negatives), "ratio",
        "sum (2i - N - 1) x_(i) / (N sum x), items that never occur included.", "Gini 1912");
  plain("diversity.gini_positives", "Gini of positives", gini(positives), "ratio",
        "The same for the rows' positives.", "Gini 1912");
  plain("diversity.top_percent", "Share of the top 1 %", top_share(negatives, 0.01), "share",
        "Negatives that are one of the hundredth of items that occur most.", "");
  if (w.samples.distance_pairs > 0) {
    plain("diversity.intra_row", "Diversity within a row",
          w.samples.distance_sum / number(w.samples.distance_pairs), "ratio",
          "Mean of 1 - cosine over pairs of negatives of sampled rows.", "Ziegler et al. 2005");
  }
}

void add_tables(AuditWork& w, ReportSection& section) {
  Table deciles{"diversity.popularity",
                "Popularity",
                "Shares by decile of items in the order of their positives up to as_of (10: most).",
                Chart{"grouped_bar", "decile", {"negatives", "positives"}, false},
                {{"decile", "Decile", true, ""},
                 {"negatives", "Negatives", true, "share"},
                 {"positives", "Positives", true, "share"},
                 {"catalogue", "Catalogue", true, "share"}},
                {}};
  std::uint64_t n[10] = {}, p[10] = {}, c[10] = {}, all_n = 0, all_p = 0;
  for (std::uint32_t i = 0; i < w.judge.num_items; ++i) {
    const std::uint32_t d = w.popularity_decile[i];
    n[d] += w.tally.negatives[i], p[d] += w.tally.positives[i], ++c[d];
    all_n += w.tally.negatives[i], all_p += w.tally.positives[i];
  }
  for (int d = 0; d < 10; ++d)
    deciles.rows.push_back(
        {d + 1.0, share_of(n[d], all_n), share_of(p[d], all_p), share_of(c[d], w.judge.num_items)});
  section.tables.push_back(std::move(deciles));
  if (w.judge.in.catalogue == nullptr) return;
  for (const CatalogueColumn& column : w.judge.in.catalogue->columns) {
    if (column.names.size() < 2 || number(column.names.size() - 1) > w.settings.attribute_values)
      continue;
    Table table{"diversity.attribute." + column.name,
                column.name,
                "Shares of negatives, of the rows' positives and of the catalogue by value.",
                Chart{"grouped_bar", "value", {"negatives", "positives", "catalogue"}, false},
                {{"value", column.name, false, ""},
                 {"negatives", "Negatives", true, "share"},
                 {"positives", "Positives", true, "share"},
                 {"catalogue", "Catalogue", true, "share"}},
                {}};
    const auto negatives = counts_by_code(column, w.tally.negatives);
    const auto positives = counts_by_code(column, w.tally.positives);
    const auto items = counts_by_code(column, std::vector<std::uint32_t>(w.judge.num_items, 1));
    for (std::size_t v = 0; v < items.size(); ++v) {
      if (items[v] == 0) continue;
      table.rows.push_back({v == 0 ? std::string("(empty)") : column.names[v],
                            share_of(negatives[v], all_n), share_of(positives[v], all_p),
                            share_of(items[v], w.judge.num_items)});
    }
    section.tables.push_back(std::move(table));
  }
}

void add_list(AuditWork& w, const char* id, const char* title, std::string definition,
              std::vector<std::uint32_t> items) {
  const auto most = static_cast<std::size_t>(w.settings.list_items);
  if (items.size() > most) items.resize(most);
  Table list{id,
             title,
             std::move(definition),
             {},
             item_columns({{"rows", "Rows", true, "count"},
                           {"share", "Of rows", true, "share"},
                           {"users", "Positive users", true, "count"}}),
             {}};
  for (const std::uint32_t i : items) {
    list.rows.push_back({number(i), item_text(w.in, i, false),
                         w.in.item_title ? w.in.item_title(i) : "", number(w.tally.negatives[i]),
                         share_of(w.tally.negatives[i], w.tally.counts.rows),
                         number(w.judge.popularity[i])});
  }
  w.lists.push_back(std::move(list));
}

void add_lists(AuditWork& w, const std::vector<bool>& eligible) {
  std::vector<std::uint32_t> order(w.judge.num_items);
  std::iota(order.begin(), order.end(), 0u);
  const auto by = [&](const std::vector<std::uint32_t>& counts) {
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return counts[a] != counts[b] ? counts[a] > counts[b] : a < b;
    });
  };
  by(w.tally.negatives);
  std::vector<std::uint32_t> hubs, always, never;
  for (const std::uint32_t i : order) {
    const double share = share_of(w.tally.negatives[i], w.tally.counts.rows);
    if (share >= w.settings.hub_rows) hubs.push_back(i);
    if (share >= w.settings.always_rows) always.push_back(i);
  }
  by(w.judge.popularity);
  for (const std::uint32_t i : order) {
    if (eligible[i] && w.tally.negatives[i] == 0 && w.judge.popularity[i] > 0 &&
        w.popularity_decile[i] == 9)
      never.push_back(i);
  }
  add_list(w, "hubs", "Hubs",
           fmt::format("Items that are a negative of at least {} of the rows.",
                       words_of(w.settings.hub_rows)),
           std::move(hubs));
  add_list(w, "always", "Negative for almost every row",
           fmt::format("Items that are a negative of at least {} of the rows.",
                       words_of(w.settings.always_rows)),
           std::move(always));
  add_list(w, "never", "Popular and never a negative",
           "Eligible items of the most popular tenth that are a negative of no row, most popular "
           "first.",
           std::move(never));
}

}  // namespace

void audit_diversity(AuditWork& w) {
  const std::vector<bool> eligible = eligible_items(w);
  const Spread s = spread_of(w, eligible);
  if (s.draws == 0) {
    for (const GateRule& rule : w.gates.config().rules) {
      if (rule.id.rfind("diversity.", 0) == 0) w.gates.not_checked(rule.id, kNoNegative);
    }
    return;
  }
  ReportSection section{
      "diversity",
      "Diversity",
      "Whether the negatives are spread over the catalogue or collapse onto a few "
      "items.",
      {},
      {}};
  const double effective = s.draws > 0 ? std::exp(entropy(widened(w.tally.negatives))) : 0;
  add_figures(w, section, s, effective);
  add_tables(w, section);
  judge_spread(w, s, effective);
  add_lists(w, eligible);
  w.sections.push_back(std::move(section));
}

}  // namespace quarry

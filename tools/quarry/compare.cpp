// quarry compare: alternative sets side by side.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/audit/compare_audits.h"
#include "host/store/decisions.h"
#include "host/store/fill_names.h"
#include "host/store/set_diff.h"
#include "kernels/core/errors.h"
#include "tools/quarry/audit_run.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct CompareArgs {
  std::vector<std::string> sets, audits;
  bool audit_now = false;
  bool json = false;
};

/// Negatives, as pairs of row and item, in both of two sets, over those in either.
struct PairOverlap {
  std::size_t a = 0, b = 0;
  std::uint64_t both = 0, either = 0;
};

struct Pools {
  std::vector<AuditDocument> documents;
  std::vector<NegativeSet> sets;  ///< empty: audits alone
  std::vector<PairOverlap> overlaps;
};

/// What a set says by itself, in the place of metrics of an audit that it lacks.
void add_own_figures(const NegativeSet& set, AuditDocument& document) {
  std::uint64_t filled = 0, full = 0;
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const std::uint16_t count = set.row(r).count;
    filled += count;
    full += count == set.k() ? 1 : 0;
  }
  const auto add = [&](const char* id, const char* name, const char* unit,
                       std::optional<double> value, Direction direction) {
    AuditFigure figure;
    figure.id = id;
    figure.name = name;
    figure.unit = unit;
    figure.value = value;
    figure.direction = direction;
    const auto same = [id](const AuditFigure& other) { return other.id == id; };
    if (std::none_of(document.metrics.begin(), document.metrics.end(), same))
      document.metrics.push_back(std::move(figure));
  };
  const auto rows = static_cast<double>(set.rows());
  add("set.rows", "rows", "count", rows, Direction::kNone);
  add("set.k", "negatives per row", "count", static_cast<double>(set.k()), Direction::kNone);
  if (set.rows() == 0) return;
  add("set.filled_slots", "filled slots", "share",
      static_cast<double>(filled) / (rows * static_cast<double>(set.k())),
      Direction::kHigherIsBetter);
  add("set.full_rows", "full rows", "share", static_cast<double>(full) / rows,
      Direction::kHigherIsBetter);
}

void add_kpis(const std::string& named, AuditDocument& document) {
  std::string folder, reference;
  if (!split_reference(named, &folder, &reference)) return;
  const Store store = Store::open(folder);
  const auto states = version_states(store);
  const auto found = states.find(store.resolve(reference));
  if (found != states.end()) document.kpis = found->second.kpis;
}

PairOverlap overlap_of(const Pools& pools, std::size_t a, std::size_t b, const Context& context) {
  DiffOptions options;
  options.rows = options.items = 0;
  options.stop = context.stop;
  const SetDiff diff = diff_sets(pools.sets[a], pools.sets[b], options);
  std::uint64_t filled = 0;
  for (const SlotCount& count : diff.fill) {
    if (count.name == fill_code_name(0)) filled = count.a + count.b;
  }
  const std::uint64_t both = diff.overlap ? diff.overlap->kept : 0;
  return {a, b, both, filled - both};
}

Pools load(const CompareArgs& args, const Context& context) {
  const std::size_t count = std::max(args.sets.size(), args.audits.size());
  if (count < 2)
    throw ConfigError(
        "name at least two: sets or STORE@VERSION, audits by --audit FILE, or both in the same "
        "order");
  if (!args.sets.empty() && !args.audits.empty() && args.sets.size() != args.audits.size())
    throw ConfigError(fmt::format(
        "{} sets and {} audits: give an --audit for each set, in the same order, or for none",
        args.sets.size(), args.audits.size()));
  if (args.audit_now && (args.sets.empty() || !args.audits.empty()))
    throw ConfigError("--audit-now audits the sets that are named; leave --audit out");
  Pools pools;
  for (std::size_t i = 0; i < count; ++i) {
    AuditDocument document;
    if (args.audit_now)
      document = audit_document(
          report::parse_audit(audit_json_of(args.sets[i], context), "audit of " + args.sets[i]),
          "audit of " + args.sets[i]);
    if (!args.audits.empty())
      document = audit_document(report::read_audit(args.audits[i]), args.audits[i]);
    if (!args.sets.empty()) {
      NegativeSet set = open_set(args.sets[i], false);
      if (!document.content_hash.empty() && document.content_hash != set.content_hash())
        throw InputError(
            fmt::format("{}: is the audit of a set with the content hash {}, {} has {}",
                        document.name, document.content_hash, args.sets[i], set.content_hash()));
      document.name = args.sets[i];
      document.content_hash = set.content_hash();
      add_own_figures(set, document);
      add_kpis(args.sets[i], document);
      pools.sets.push_back(std::move(set));
    }
    pools.documents.push_back(std::move(document));
  }
  for (std::size_t a = 0; a < pools.sets.size(); ++a) {
    for (std::size_t b = a + 1; b < pools.sets.size(); ++b)
      pools.overlaps.push_back(overlap_of(pools, a, b, context));
  }
  return pools;
}

std::optional<double> share_of(const PairOverlap& overlap) {
  if (overlap.either == 0) return std::nullopt;
  return static_cast<double>(overlap.both) / static_cast<double>(overlap.either);
}

Json number_or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json lines_json(const std::vector<ComparedFigure>& lines, bool gates) {
  Json all = Json::array();
  for (const ComparedFigure& line : lines) {
    Json values = Json::array();
    for (std::size_t d = 0; d < line.values.size(); ++d) {
      Json value = {{"value", number_or_null(line.values[d])}};
      if (gates) {
        value["status"] = line.statuses[d].empty() ? Json(nullptr) : Json(line.statuses[d]);
      } else {
        value["low"] = number_or_null(line.lows[d]);
        value["high"] = number_or_null(line.highs[d]);
      }
      value["best"] = static_cast<bool>(line.best[d]);
      values.push_back(std::move(value));
    }
    const char* const direction = line.direction == Direction::kHigherIsBetter  ? "higher"
                                  : line.direction == Direction::kLowerIsBetter ? "lower"
                                                                                : nullptr;
    all.push_back({{"id", line.id},
                   {"name", line.name},
                   {"unit", line.unit},
                   {"direction", direction != nullptr ? Json(direction) : Json(nullptr)},
                   {"values", std::move(values)}});
  }
  return all;
}

Json to_json(const Pools& pools, const AuditComparison& comparison) {
  Json compared = Json::array();
  for (const AuditDocument& document : pools.documents) {
    compared.push_back(
        {{"name", document.name},
         {"content_hash",
          document.content_hash.empty() ? Json(nullptr) : Json(document.content_hash)},
         {"verdict", document.verdict.empty() ? Json(nullptr) : Json(document.verdict)}});
  }
  Json overlaps = Json::array();
  for (const PairOverlap& overlap : pools.overlaps) {
    overlaps.push_back({{"a", overlap.a},
                        {"b", overlap.b},
                        {"both", overlap.both},
                        {"either", overlap.either},
                        {"jaccard", number_or_null(share_of(overlap))}});
  }
  return {{"compared", std::move(compared)},
          {"gates", lines_json(comparison.gates, true)},
          {"metrics", lines_json(comparison.metrics, false)},
          {"kpis", lines_json(comparison.kpis, false)},
          {"overlap", std::move(overlaps)}};
}

/// A table whose columns are as wide as they must be.
std::string table_of(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c)
      text += c == 0 ? fmt::format("{:<{}}", row[c], widths[c])
                     : fmt::format("  {:>{}}", row[c], widths[c]);
    text += '\n';
  }
  return text;
}

void add_lines(const std::vector<ComparedFigure>& lines,
               std::vector<std::vector<std::string>>& rows) {
  for (const ComparedFigure& line : lines) {
    std::vector<std::string> row = {printable(line.id)};
    for (std::size_t d = 0; d < line.values.size(); ++d) {
      std::string cell = line.values[d] ? fmt::format("{:.6g}", *line.values[d]) : "-";
      if (!line.statuses[d].empty()) cell = printable(line.statuses[d]) + " " + cell;
      row.push_back(cell + (line.best[d] ? "*" : " "));
    }
    rows.push_back(std::move(row));
  }
}

std::string to_words(const Pools& pools, const AuditComparison& comparison) {
  std::vector<std::vector<std::string>> rows = {{""}};
  std::vector<std::string> verdicts = {"verdict"};
  bool audited = false;
  for (const AuditDocument& document : pools.documents) {
    rows.front().push_back(printable(document.name) + " ");
    verdicts.push_back((document.verdict.empty() ? "-" : printable(document.verdict)) + " ");
    audited = audited || !document.verdict.empty();
  }
  if (audited) rows.push_back(std::move(verdicts));
  add_lines(comparison.gates, rows);
  add_lines(comparison.metrics, rows);
  add_lines(comparison.kpis, rows);
  std::string words = table_of(rows) + "* best, where better is known\n";
  for (const PairOverlap& overlap : pools.overlaps) {
    const auto share = share_of(overlap);
    words += fmt::format("negatives in both {} and {}: {} of those in either\n",
                         printable(pools.documents[overlap.a].name),
                         printable(pools.documents[overlap.b].name),
                         share ? fmt::format("{:.2f} %", 100 * *share) : "none");
  }
  return words;
}

int run_compare(const CompareArgs& args, const Context& context) {
  const Pools pools = load(args, context);
  const AuditComparison comparison = compare_audits(pools.documents);
  if (args.json) {
    std::puts(
        to_json(pools, comparison).dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    std::fputs(to_words(pools, comparison).c_str(), stdout);
  }
  return 0;
}

}  // namespace

void add_compare(CLI::App& app, Context& context) {
  auto args = std::make_shared<CompareArgs>();
  CLI::App* verb = app.add_subcommand(
      "compare", "put alternative sets side by side: gates, metrics, figures, what they share");
  verb->add_option("sets", args->sets, "folders of sets, or STORE@VERSION");
  verb->add_option("--audit", args->audits,
                   "JSON of quarry audit, for each set in the same order; or audits alone")
      ->allow_extra_args(false);
  verb->add_flag("--audit-now", args->audit_now,
                 "audit each set from the inputs that it records, and compare these audits");
  verb->add_flag("--json", args->json, "JSON on stdout");
  verb->callback(
      [&context, args] { context.run = [&context, args] { return run_compare(*args, context); }; });
}

}  // namespace quarry

// The history of a store as one HTML file.
#include "host/audit/report_history.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "host/audit/report_chart.h"
#include "host/audit/report_history_parts.h"
#include "host/audit/report_page.h"
#include "host/audit/report_parts.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

using State = HistoryVersion::State;

std::string name_of(const HistoryVersion& version) { return "v" + std::to_string(version.number); }

Datum kpi_of(const HistoryVersion& version, const std::string& name) {
  const auto found = version.kpis.find(name);
  return found == version.kpis.end() ? Datum{} : found->second;
}

const char* state_words(State state) {
  return state == State::kPruned ? "pruned" : state == State::kDamaged ? "damaged" : "";
}

std::string joined(const std::vector<std::string>& parts) {
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string counted(std::size_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

/// For the navigation.
std::string link(const std::string& id, const std::string& name) {
  return "<li><a href=\"#" + id + "\">" + isolated(name) + "</a></li>";
}

/// Tags are names that people gave; what `latest` and `approved` mean anyone may know.
std::string tags_for(const std::string& tags, HistoryAudience audience) {
  if (audience == HistoryAudience::kOwn) return tags;
  std::string shown;
  for (const char* tag : {"approved", "latest"}) {
    const std::string all = ", " + tags + ",";
    if (all.find(std::string(" ") + tag + ",") != std::string::npos)
      shown += (shown.empty() ? "" : ", ") + std::string(tag);
  }
  return shown;
}

/// Newest first, the columns that tell something of a version before those that identify it.
Table table_of_versions(const History& history, HistoryAudience audience) {
  const bool own = audience == HistoryAudience::kOwn;
  Table table;
  table.title = "Versions";
  const auto add = [&](const Column& column, const std::function<Datum(const HistoryVersion&)>& get,
                       bool always = false) {
    std::vector<Datum> cells;
    for (auto v = history.versions.rbegin(); v != history.versions.rend(); ++v)
      cells.push_back(get(*v));
    const bool tells = std::any_of(cells.begin(), cells.end(), [](const Datum& datum) {
      return datum.kind != Datum::Kind::kNone;
    });
    if (!tells && !always) return;
    table.columns.push_back(column);
    for (std::size_t row = 0; row < cells.size(); ++row)
      table.rows[row].push_back(std::move(cells[row]));
  };
  const auto add_text = [&](const char* id, const auto& get) {
    add({id, id, "", false}, [&](const HistoryVersion& v) { return text_datum(get(v)); });
  };
  table.rows.resize(history.versions.size());
  add({"version", "version", "exact", true}, [](const auto& v) { return number_datum(v.number); });
  add(
      {"created", "created", "", true}, [](const auto& v) { return v.created; }, true);
  add_text("tags", [&](const auto& v) { return tags_for(v.tags, audience); });
  add_text("state", [](const auto& v) { return std::string(state_words(v.state)); });
  add_text("decision", [](const auto& v) { return v.decision; });
  add_text("audit", [](const auto& v) { return v.verdict; });
  add_text("lacks", [](const auto& v) { return joined(v.lacks); });
  add(
      {"rows", "rows", "count", true}, [](const auto& v) { return v.rows; }, true);
  add(
      {"k", "k", "count", true}, [](const auto& v) { return v.k; }, true);
  if (own) {
    add_text("recipe", [](const auto& v) { return v.recipe; });
    add_text("model", [](const auto& v) { return v.model; });
    add_text("note", [](const auto& v) { return v.note; });
  }
  add_text("content hash", [](const auto& v) { return v.content_hash.substr(0, kHashDigits); });
  return table;
}

/// Newest first.
Table table_of_kpis(const History& history) {
  Table table;
  table.title = "KPIs of each version";
  table.columns = {{"version", "version", "exact", true}};
  for (const std::string& kpi : history.kpis)
    table.columns.push_back({"kpi:" + kpi, kpi, "", true});
  for (auto v = history.versions.rbegin(); v != history.versions.rend(); ++v) {
    if (v->kpis.empty()) continue;
    table.rows.push_back({number_datum(v->number)});
    for (const std::string& kpi : history.kpis) table.rows.back().push_back(kpi_of(*v, kpi));
  }
  return table;
}

std::string kpis_html(const History& history, std::size_t left_out) {
  if (history.kpis.empty() && left_out == 0) return "";
  std::string html =
      "<section id=\"kpis\"><h2>KPIs</h2>\n<p>Values that quarry log kpi attached; the newest of "
      "each name counts.</p>\n";
  if (left_out > 0)
    html += fmt::format(
        "<p class=\"dim\">Left out: {} of which the name might tell more than a figure "
        "does.</p>\n",
        counted(left_out, "KPI", "KPIs"));
  if (history.kpis.empty()) return html + "</section>\n";
  std::string charts;
  for (const std::string& kpi : history.kpis) {
    charts += line_over_versions(history, kpi, isolated(kpi), "", [&](const HistoryVersion& v) {
      Metric metric;
      metric.value = kpi_of(v, kpi);
      return metric;
    });
  }
  if (!charts.empty()) html += "<div class=\"charts\">" + charts + "</div>\n";
  return html + "<div class=\"table\">" + table_html(table_of_kpis(history), TableFit::kFolds) +
         "</div></section>\n";
}

Metric metric_of(const HistoryVersion& version, const std::string& id) {
  const auto found = version.metrics.find(id);
  return found == version.metrics.end() ? Metric{} : found->second;
}

/// Metrics of one section: lines, and a table with a row per audited version, newest first: a
/// history grows downward, and paper is no wider.
std::string section_html(const History& history, const std::vector<const HistoryMetric*>& metrics,
                         std::size_t index) {
  Table table;
  table.title = metrics[0]->section + ": metrics of each version";
  table.columns = {{"version", "version", "exact", true}};
  std::string charts;
  for (const HistoryMetric* m : metrics) {
    table.columns.push_back({"metric:" + m->id, m->name, m->unit, true});
    charts +=
        line_over_versions(history, m->name, defined(isolated(m->name), m->definition, m->source),
                           m->unit, [&](const HistoryVersion& v) { return metric_of(v, m->id); });
  }
  for (auto v = history.versions.rbegin(); v != history.versions.rend(); ++v) {
    if (v->verdict.empty()) continue;
    table.rows.push_back({number_datum(v->number)});
    for (const HistoryMetric* m : metrics) table.rows.back().push_back(metric_of(*v, m->id).value);
  }
  std::string html =
      fmt::format("<section id=\"m{}\"><h2>{}</h2>\n", index, isolated(metrics[0]->section));
  if (!charts.empty()) html += "<div class=\"charts\">" + charts + "</div>\n";
  return html + "<div class=\"table\">" + table_html(table, TableFit::kFolds) +
         "</div></section>\n";
}

/// Of all sections, whose heads go into `links`.
std::string metrics_html(const History& history, std::string* links) {
  std::string html;
  std::size_t index = 0;
  for (std::size_t begin = 0; begin < history.metrics.size();) {
    std::vector<const HistoryMetric*> some;
    std::size_t end = begin;
    for (; end < history.metrics.size() &&
           history.metrics[end].section == history.metrics[begin].section;
         ++end)
      some.push_back(&history.metrics[end]);
    *links += link("m" + std::to_string(index), some[0]->section);
    html += section_html(history, some, index++);
    begin = end;
  }
  return html;
}

std::string footer_html(const LeftOut& left_out) {
  std::vector<std::string> names;
  if (left_out.kpis > 0) names.push_back(counted(left_out.kpis, "KPI", "KPIs"));
  if (left_out.kinds > 0)
    names.push_back(counted(left_out.kinds, "kind of events", "kinds of events"));
  const std::string more =
      names.empty() ? "" : fmt::format("; for their names also {}", fmt::join(names, " and "));
  return "<footer>Public excerpt: left out are notes, tags, names, reasons, models and recipes" +
         more + ".</footer>\n";
}

std::string history_for(const History& history, HistoryAudience audience, const LeftOut& left_out) {
  std::string head = "<header><h1>History of a store of negative sets</h1>\n";
  const std::size_t count = history.versions.size();
  head +=
      fmt::format("<p>{} version{}, newest first.</p></header>\n", count, count == 1 ? "" : "s");
  std::string body, links;
  const auto add = [&](const char* id, const char* name, const std::string& html) {
    if (!html.empty()) links += link(id, name);
    body += html;
  };
  add("versions", "Versions",
      count == 0 ? ""
                 : "<section id=\"versions\"><h2>Versions</h2>\n" +
                       table_html(table_of_versions(history, audience), TableFit::kFolds) +
                       "</section>\n");
  if (count == 0) body += "<p class=\"dim\">No version yet.</p>\n";
  add("policy", "What latest means", policy_html(history.policy));
  add("kpis", "KPIs", kpis_html(history, left_out.kpis));
  add("reviews", "Reviews", reviews_html(history));
  add("feedback", "Feedback", feedback_html(history, audience));
  add("decisions", "Decisions", decisions_html(history, audience));
  add("audits", "Recorded audits", audits_html(history));
  body += metrics_html(history, &links);
  if (audience == HistoryAudience::kPublic) body += footer_html(left_out);
  return page("History of a store of negative sets",
              head + "<nav aria-label=\"Sections\"><ul>" + links + "</ul></nav>\n" + body);
}

}  // namespace

Datum text_datum(const std::string& text) {
  return text.empty() ? Datum{} : Datum{Datum::Kind::kText, 0, text};
}

Datum number_datum(std::uint64_t number) {
  return {Datum::Kind::kNumber, static_cast<double>(number), std::to_string(number)};
}

std::string line_over_versions(const History& history, const std::string& title,
                               const std::string& head_html, const std::string& unit,
                               const std::function<Metric(const HistoryVersion&)>& get) {
  Table table;
  table.title = title;
  table.columns = {{"version", "version", "", false},
                   {"value", title, unit, true},
                   {"low", "low", unit, true},
                   {"high", "high", unit, true}};
  table.chart = Chart{ChartKind::kLine, 0, {1}, false};
  std::size_t numbers = 0;
  bool intervals = false;
  for (const HistoryVersion& version : history.versions) {
    const Metric metric = get(version);
    if (!metric.value.is_number()) continue;
    ++numbers;
    intervals = intervals || metric.low.is_number();
    table.rows.push_back({text_datum(name_of(version)), metric.value, metric.low, metric.high});
  }
  if (numbers < 2) return "";
  if (!intervals) {
    table.columns.resize(2);
    for (auto& row : table.rows) row.resize(2);
  }
  return "<div><h3>" + head_html + "</h3>" + chart_figure(table) + "</div>\n";
}

std::string history_html(const History& history) {
  return history_for(history, HistoryAudience::kOwn, {});
}

std::string public_history_html(const History& history) {
  LeftOut left_out;
  const History shown = public_part(history, &left_out);
  return history_for(shown, HistoryAudience::kPublic, left_out);
}

}  // namespace quarry::report

// The history of a store as one HTML file.
#include "host/audit/report_history.h"

#include <fmt/format.h>

#include <algorithm>

#include "host/audit/report_chart.h"
#include "host/audit/report_page.h"
#include "host/audit/report_parts.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

using State = HistoryVersion::State;

constexpr std::size_t kHashDigits = 12;

enum class HistoryAudience : bool { kOwn, kPublic };

Datum text_datum(const std::string& text) {
  return text.empty() ? Datum{} : Datum{Datum::Kind::kText, 0, text};
}

Datum number_datum(std::uint64_t number) {
  return {Datum::Kind::kNumber, static_cast<double>(number), std::to_string(number)};
}

std::string name_of(const HistoryVersion& version) { return "v" + std::to_string(version.number); }

Datum kpi_of(const HistoryVersion& version, const std::string& name) {
  const auto found = version.kpis.find(name);
  return found == version.kpis.end() ? Datum{} : found->second;
}

const char* state_words(State state) {
  return state == State::kPruned ? "pruned" : state == State::kDamaged ? "damaged" : "";
}

/// Columns that tell nothing are left out.
template <class Tells>
bool any_version(const History& history, Tells tells) {
  return std::any_of(history.versions.begin(), history.versions.end(), tells);
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

/// Newest first.
Table table_of_versions(const History& history, HistoryAudience audience) {
  const bool own = audience == HistoryAudience::kOwn;
  const bool states = any_version(history, [](const auto& v) { return v.state != State::kWhole; });
  const bool verdicts = any_version(history, [](const auto& v) { return !v.verdict.empty(); });
  const bool decisions = any_version(history, [](const auto& v) { return !v.decision.empty(); });
  const bool models = own && any_version(history, [](const auto& v) { return !v.model.empty(); });
  const bool notes = own && any_version(history, [](const auto& v) { return !v.note.empty(); });
  Table table;
  table.title = "Versions";
  table.columns = {{"version", "version", "exact", true},
                   {"created", "created", "", true},
                   {"rows", "rows", "count", true},
                   {"k", "k", "count", true}};
  const auto add = [&](bool wanted, const char* id) {
    if (wanted) table.columns.push_back({id, id, "", false});
  };
  add(own, "recipe");
  add(models, "model");
  add(true, "tags");
  add(states, "state");
  add(decisions, "decision");
  add(verdicts, "audit");
  for (const std::string& kpi : history.kpis)
    table.columns.push_back({"kpi:" + kpi, kpi, "", true});
  add(notes, "note");
  add(true, "content hash");
  for (auto v = history.versions.rbegin(); v != history.versions.rend(); ++v) {
    std::vector<Datum> row = {number_datum(v->number), v->created, v->rows, v->k};
    const auto cell = [&](bool wanted, const std::string& text) {
      if (wanted) row.push_back(text_datum(text));
    };
    cell(own, v->recipe);
    cell(models, v->model);
    cell(true, tags_for(v->tags, audience));
    cell(states, state_words(v->state));
    cell(decisions, v->decision);
    cell(verdicts, v->verdict);
    for (const std::string& kpi : history.kpis) row.push_back(kpi_of(*v, kpi));
    cell(notes, v->note);
    cell(true, v->content_hash.substr(0, kHashDigits));
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// A line over the versions that have a number; "" where fewer than two do.
template <class Get>
std::string line_over_versions(const History& history, const std::string& title,
                               const std::string& head_html, const std::string& unit, Get get) {
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

std::string kpis_html(const History& history) {
  if (history.kpis.empty()) return "";
  std::string charts;
  for (const std::string& kpi : history.kpis) {
    charts += line_over_versions(history, kpi, isolated(kpi), "", [&](const HistoryVersion& v) {
      Metric metric;
      metric.value = kpi_of(v, kpi);
      return metric;
    });
  }
  if (charts.empty()) charts = "<p class=\"dim\">No KPI has values of two versions yet.</p>\n";
  return "<section id=\"kpis\"><h2>KPIs over versions</h2>\n<p>Values that quarry log kpi "
         "attached; the newest of "
         "each.</p>\n<div class=\"charts\">" +
         charts + "</div></section>\n";
}

Metric metric_of(const HistoryVersion& version, const std::string& id) {
  const auto found = version.metrics.find(id);
  return found == version.metrics.end() ? Metric{} : found->second;
}

/// Metrics of one section: lines, and a table with a column per audited version.
std::string section_html(const History& history, const std::vector<const HistoryMetric*>& metrics,
                         std::size_t index) {
  Table table;
  table.title = metrics[0]->section + ": metrics of each version";
  table.columns = {{"metric", "metric", "", false}};
  std::vector<const HistoryVersion*> audited;
  for (const HistoryVersion& v : history.versions) {
    if (v.verdict.empty()) continue;
    audited.push_back(&v);
    table.columns.push_back({name_of(v), name_of(v), "", true});
  }
  std::string charts, rows;
  for (const HistoryMetric* m : metrics) {
    charts +=
        line_over_versions(history, m->name, defined(isolated(m->name), m->definition, m->source),
                           m->unit, [&](const HistoryVersion& v) { return metric_of(v, m->id); });
    rows += "<tr><td>" + isolated(m->name) + "</td>";
    for (const HistoryVersion* v : audited)
      rows += cell_html(metric_of(*v, m->id).value, {"", "", m->unit, true});
    rows += "</tr>\n";
  }
  std::string html =
      fmt::format("<section id=\"m{}\"><h2>{}</h2>\n", index, isolated(metrics[0]->section));
  if (!charts.empty()) html += "<div class=\"charts\">" + charts + "</div>\n";
  return html + "<div class=\"table\">" + table_frame(table, rows) + "</div></section>\n";
}

std::string metrics_html(const History& history) {
  std::string html;
  std::size_t index = 0;
  for (std::size_t begin = 0; begin < history.metrics.size();) {
    std::vector<const HistoryMetric*> some;
    std::size_t end = begin;
    for (; end < history.metrics.size() &&
           history.metrics[end].section == history.metrics[begin].section;
         ++end)
      some.push_back(&history.metrics[end]);
    html += section_html(history, some, index++);
    begin = end;
  }
  return html;
}

/// A table whose rows stand on a phone as one line per cell.
std::string stacked_table(const Table& table) {
  std::string html = "<table class=\"gates\"><thead><tr>";
  for (const Column& column : table.columns)
    html += "<th scope=\"col\">" + isolated(column.name) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) {
      const Column& column = table.columns[c];
      const bool none = row[c].kind == Datum::Kind::kNone;
      html += fmt::format(
          "<td data-head=\"{}\"{}>{}</td>", escaped(column.name), none ? " class=\"void\"" : "",
          column.unit == "time" ? date_span(row[c]) : datum_span(row[c], column.unit));
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table>\n";
}

/// Newest first.
std::string decisions_html(const History& history, HistoryAudience audience) {
  if (history.decisions.empty()) return "";
  const bool own = audience == HistoryAudience::kOwn;
  Table table;
  table.title = "Decisions";
  table.columns = {{"version", "version", "exact", true},
                   {"time", "time", "time", true},
                   {"decision", "decision", "", false}};
  if (own) {
    table.columns.push_back({"by", "by", "", false});
    table.columns.push_back({"reason", "reason", "", false});
  }
  for (auto d = history.decisions.rbegin(); d != history.decisions.rend(); ++d) {
    std::vector<Datum> row = {number_datum(d->version), d->time,
                              text_datum(d->approved ? "approved" : "rejected")};
    if (own) {
      row.push_back(text_datum(d->by));
      row.push_back(text_datum(d->reason));
    }
    table.rows.push_back(std::move(row));
  }
  return "<section id=\"decisions\"><h2>Decisions</h2>\n<p>All that were made, newest first; the "
         "newest on a version counts.</p>\n" +
         stacked_table(table) + "</section>\n";
}

/// Newest first.
std::string audits_html(const History& history) {
  if (history.audits.empty()) return "";
  Table table;
  table.title = "Recorded audits";
  table.columns = {
      {"version", "version", "exact", true}, {"time", "time", "time", true},
      {"verdict", "verdict", "", false},     {"checked", "gates checked", "count", true},
      {"failed", "failed", "", false},       {"warned", "warned", "", false},
      {"limits", "limits", "", false}};
  for (auto a = history.audits.rbegin(); a != history.audits.rend(); ++a)
    table.rows.push_back({number_datum(a->version), a->time, text_datum(a->verdict),
                          a->has_gates ? number_datum(a->num_checked) : Datum{},
                          text_datum(a->failed), text_datum(a->warned),
                          text_datum(a->limits.substr(0, kHashDigits))});
  return "<section id=\"audits\"><h2>Recorded audits</h2>\n<p>Newest first; the newest of a "
         "version "
         "counts. Audits whose limits have the same hash judged by the same limits and "
         "severities.</p>\n" +
         stacked_table(table) + "</section>\n";
}

std::string history_for(const History& history, HistoryAudience audience) {
  std::string body = "<header><h1>History of a store of negative sets</h1>\n";
  const std::size_t count = history.versions.size();
  body +=
      fmt::format("<p>{} version{}, newest first.</p></header>\n", count, count == 1 ? "" : "s");
  if (count == 0) return page("History", body + "<p class=\"dim\">No version yet.</p>\n");
  body += "<section id=\"versions\"><h2>Versions</h2>\n" +
          table_html(table_of_versions(history, audience)) + "</section>\n";
  body += decisions_html(history, audience) + audits_html(history);
  body += kpis_html(history) + metrics_html(history);
  if (audience == HistoryAudience::kPublic)
    body +=
        "<footer>Public excerpt: notes, tags, names, reasons, models and recipes are left "
        "out.</footer>\n";
  return page("History of a store of negative sets", body);
}

}  // namespace

std::string history_html(const History& history) {
  return history_for(history, HistoryAudience::kOwn);
}

std::string public_history_html(const History& history) {
  return history_for(history, HistoryAudience::kPublic);
}

}  // namespace quarry::report

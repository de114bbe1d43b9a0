// An audit's report as JSON, Prometheus text and words.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "host/audit/report.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

Json number_json(std::optional<double> value) {
  if (!value || !std::isfinite(*value)) return nullptr;
  // Counts are written as whole numbers.
  if (*value == std::floor(*value) && std::fabs(*value) < 9e15)
    return static_cast<std::int64_t>(*value);
  return *value;
}

Json cell_json(const Cell& cell) {
  if (const double* value = std::get_if<double>(&cell)) return number_json(*value);
  if (const std::string* text = std::get_if<std::string>(&cell)) return *text;
  return nullptr;
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json set_json(const SetFacts& s) {
  return {{"name", s.name},
          {"version", number_json(s.version)},
          {"content_hash", s.content_hash},
          {"rows", s.rows},
          {"k", s.k},
          {"num_items", s.num_items},
          {"recipe", s.recipe},
          {"recipe_hash", s.recipe_hash},
          {"model", s.model},
          {"created", number_json(s.created)},
          {"seed", s.seed},
          {"round", s.round},
          {"as_of", text_or_null(s.as_of)},
          {"retriever", s.retriever},
          {"promise", s.promise}};
}

Json gate_json(const Gate& g) {
  Json limit = g.op == "in" ? Json::array({number_json(g.low), number_json(g.high)})
                            : number_json(g.op == ">=" ? g.low : g.high);
  return {{"id", g.id},
          {"title", g.title},
          {"status", gate_status_name(g.status)},
          {"value", number_json(g.value)},
          {"unit", g.unit},
          {"op", g.op},
          {"limit", std::move(limit)},
          {"why", g.why},
          {"what_to_do", g.what_to_do},
          {"definition", g.definition},
          {"source", g.source}};
}

Json metric_json(const Figure& m) {
  return {{"id", m.id},
          {"name", m.name},
          {"value", number_json(m.value)},
          {"low", number_json(m.low)},
          {"high", number_json(m.high)},
          {"unit", m.unit},
          {"definition", m.definition},
          {"source", m.source}};
}

Json columns_json(const std::vector<TableColumn>& columns) {
  Json out = Json::array();
  for (const TableColumn& c : columns)
    out.push_back({{"id", c.id},
                   {"name", c.name},
                   {"type", c.number ? "number" : "text"},
                   {"unit", text_or_null(c.unit)}});
  return out;
}

Json rows_json(const Table& table) {
  Json out = Json::array();
  for (const auto& row : table.rows) {
    Json cells = Json::array();
    for (const Cell& cell : row) cells.push_back(cell_json(cell));
    out.push_back(std::move(cells));
  }
  return out;
}

Json table_json(const Table& t) {
  Json chart = nullptr;
  if (t.chart) {
    chart = {
        {"kind", t.chart->kind}, {"x", t.chart->x}, {"y", t.chart->y}, {"log_x", t.chart->log_x}};
  }
  return {{"id", t.id},
          {"title", t.title},
          {"definition", t.definition},
          {"chart", std::move(chart)},
          {"columns", columns_json(t.columns)},
          {"rows", rows_json(t)}};
}

/// A label's value: backslash, quote and line break are escaped.
std::string label(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string value_text(double value) {
  if (value == std::floor(value) && std::fabs(value) < 9e15)
    return fmt::format("{}", static_cast<std::int64_t>(value));
  return fmt::format("{}", value);
}

std::string limit_words(const Gate& g) {
  if (g.op == "in") return fmt::format("{} to {}", value_text(g.low), value_text(g.high));
  return g.op + " " + value_text(g.op == ">=" ? g.low : g.high);
}

}  // namespace

std::string audit_to_json(const AuditReport& report) {
  Json out = {{"format", "quarry.audit"},
              {"format_version", 1},
              {"verdict", report.failed() ? "fail" : "pass"},
              {"set", set_json(report.set)},
              {"baseline", report.baseline ? set_json(*report.baseline) : Json(nullptr)}};
  out["gates"] = Json::array();
  for (const Gate& gate : report.gates) out["gates"].push_back(gate_json(gate));
  out["sections"] = Json::array();
  for (const ReportSection& s : report.sections) {
    Json metrics = Json::array();
    for (const Figure& m : s.metrics) metrics.push_back(metric_json(m));
    Json tables = Json::array();
    for (const Table& t : s.tables) tables.push_back(table_json(t));
    out["sections"].push_back({{"id", s.id},
                               {"title", s.title},
                               {"intro", s.intro},
                               {"metrics", std::move(metrics)},
                               {"tables", std::move(tables)}});
  }
  out["lists"] = Json::array();
  for (const Table& list : report.lists) {
    out["lists"].push_back({{"id", list.id},
                            {"title", list.title},
                            {"definition", list.definition},
                            {"columns", columns_json(list.columns)},
                            {"rows", rows_json(list)}});
  }
  out["settings"] = Json::object();
  for (const auto& [name, value] : report.settings) out["settings"][name] = cell_json(value);
  return out.dump(1, ' ', false, Json::error_handler_t::replace);
}

std::string audit_to_prometheus(const AuditReport& report) {
  const std::string set = label(report.set.name);
  std::string out = fmt::format(
      "# HELP quarry_audit_failed 1 if a gate has failed.\n# TYPE quarry_audit_failed gauge\n"
      "quarry_audit_failed{{set=\"{}\"}} {}\n",
      set, report.failed() ? 1 : 0);
  out +=
      "# HELP quarry_audit_gate Status of a gate: 0 pass, 1 warn, 2 fail, 3 not checked.\n"
      "# TYPE quarry_audit_gate gauge\n";
  for (const Gate& g : report.gates)
    out += fmt::format("quarry_audit_gate{{set=\"{}\",gate=\"{}\"}} {}\n", set, label(g.id),
                       static_cast<int>(g.status));
  out +=
      "# HELP quarry_audit_gate_value What the gate compares with its limit.\n"
      "# TYPE quarry_audit_gate_value gauge\n";
  for (const Gate& g : report.gates) {
    if (g.value && std::isfinite(*g.value)) {
      out += fmt::format("quarry_audit_gate_value{{set=\"{}\",gate=\"{}\"}} {}\n", set, label(g.id),
                         value_text(*g.value));
    }
  }
  out += "# HELP quarry_audit_metric A figure of the set.\n# TYPE quarry_audit_metric gauge\n";
  for (const ReportSection& s : report.sections) {
    for (const Figure& m : s.metrics) {
      if (m.value && std::isfinite(*m.value)) {
        out += fmt::format("quarry_audit_metric{{set=\"{}\",metric=\"{}\",unit=\"{}\"}} {}\n", set,
                           label(m.id), label(m.unit), value_text(*m.value));
      }
    }
  }
  return out;
}

std::string audit_to_words(const AuditReport& report, bool only_raised) {
  std::string out;
  int count[4] = {};
  for (const Gate& g : report.gates) {
    ++count[static_cast<int>(g.status)];
    if (only_raised && g.status != GateStatus::kWarn && g.status != GateStatus::kFail) continue;
    const char* mark = g.status == GateStatus::kPass   ? "pass"
                       : g.status == GateStatus::kWarn ? "WARN"
                       : g.status == GateStatus::kFail ? "FAIL"
                                                       : "-   ";
    out += fmt::format("{}  {:<26} ", mark, g.id);
    if (g.status != GateStatus::kNotChecked && g.value)
      out += fmt::format("{:.6g} (limit {}): ", *g.value, limit_words(g));
    out += g.why + "\n";
    if (!g.what_to_do.empty()) out += "        " + g.what_to_do + "\n";
  }
  return fmt::format("{}: of {} gates {} were checked: {} pass, {} warn, {} fail\n{}",
                     report.failed() ? "FAIL" : "PASS", report.gates.size(),
                     count[0] + count[1] + count[2], count[0], count[1], count[2], out);
}

}  // namespace quarry

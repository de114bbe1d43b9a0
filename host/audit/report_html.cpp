// The report of an audit as one HTML file.
#include "host/audit/report_html.h"

#include <fmt/format.h>

#include "host/audit/report_page.h"
#include "host/audit/report_parts.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

constexpr GateStatus kWorstFirst[] = {GateStatus::kFail, GateStatus::kWarn, GateStatus::kPass,
                                      GateStatus::kNotChecked};

enum class Audience : bool { kOwn, kPublic };

/// A name that may be shown: in public none that is a path.
std::string name_for(const std::string& name, Audience audience) {
  const bool path = name.find_first_of("/\\") != std::string::npos;
  return audience == Audience::kPublic && path ? "" : name;
}

/// Gates and metrics of the audit before.
class Before {
 public:
  explicit Before(const Audit* audit) : audit_(audit) {}
  const Gate* gate(const Gate& now) const { return audit_ ? audit_->find_gate(now.id) : nullptr; }
  const Metric* metric(const Metric& now) const {
    const Metric* then = audit_ != nullptr ? audit_->find_metric(now.id) : nullptr;
    return then != nullptr && then->unit == now.unit ? then : nullptr;
  }
  bool any() const { return audit_ != nullptr; }

 private:
  const Audit* audit_;
};

/// "my-set, version 7: 1,000 rows of 10 negatives".
std::string identity_line(const SetFacts& set, Audience audience) {
  std::string line;
  const std::string name = name_for(set.name, audience);
  if (!name.empty()) line += "<b>" + isolated(name) + "</b>, ";
  if (set.version.is_number()) line += "version " + datum_span(set.version, "exact") + ", ";
  line += datum_span(set.rows, "count") + " rows of " + datum_span(set.k, "count") + " negatives";
  const std::string recipe = name_for(set.recipe, audience), model = name_for(set.model, audience);
  if (!recipe.empty()) line += ", recipe " + isolated(recipe);
  if (!model.empty()) line += ", model " + isolated(model);
  if (!set.content_hash.empty())
    line += ", content hash <code>" + escaped(set.content_hash.substr(0, 12)) + "</code>";
  return line;
}

std::string facts_list(const SetFacts& set, Audience audience) {
  std::string html = "<dl class=\"facts\">";
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty() && value != "–") html += fmt::format("<dt>{}</dt><dd>{}</dd>", name, value);
  };
  const auto add_text = [&](const char* name, const std::string& text) {
    const std::string shown = name_for(text, audience);
    if (!shown.empty()) add(name, isolated(shown));
  };
  const auto add_number = [&](const char* name, const Datum& number, const char* unit = "count") {
    if (number.is_number()) add(name, datum_span(number, unit));
  };
  add_text("name", set.name);
  add_number("version", set.version, "exact");
  add_number("rows", set.rows);
  add_number("negatives per row (k)", set.k);
  add_number("items", set.num_items);
  add_text("recipe", set.recipe);
  add_text("recipe hash", set.recipe_hash);
  add_text("model", set.model);
  add("created", date_span(set.created));
  add_text("as of", set.as_of);
  add_number("seed", set.seed, "exact");
  add_number("round", set.round);
  add_text("retriever", set.retriever);
  add_text("promise", set.promise);
  add_text("content hash", set.content_hash);
  return html + "</dl>\n";
}

/// Links to the gates that fail, then to those that warn.
std::string open_gates(const Audit& audit) {
  std::string html;
  for (const GateStatus status : {GateStatus::kFail, GateStatus::kWarn}) {
    for (std::size_t i = 0; i < audit.gates.size(); ++i) {
      if (audit.gates[i].status == status)
        html += fmt::format("<li>{} <a href=\"#g{}\">{}</a></li>", badge(status), i,
                            isolated(audit.gates[i].title));
    }
  }
  return html.empty() ? "" : "<ul class=\"open\">" + html + "</ul>\n";
}

std::string verdict_html(const Audit& audit, const Audit* before, Audience audience) {
  const char* word = audit.pass ? "pass" : "fail";
  std::string html = fmt::format(
      "<header class=\"verdict {}\">\n<h1><span class=\"word\"><span "
      "aria-hidden=\"true\">{}</span> {}</span>Audit of a "
      "negative set</h1>\n",
      word, audit.pass ? "✓" : "✕", audit.pass ? "Pass" : "Fail");
  html += "<p>" + identity_line(audit.set, audience) + "</p>\n<ul class=\"counts\">";
  const auto counts = audit.count_gates();
  for (const GateStatus status : kWorstFirst) {
    const std::size_t count = counts[static_cast<std::size_t>(status)];
    if (count > 0) html += "<li>" + badge(status, std::to_string(count) + " ") + "</li>";
  }
  html += "</ul>\n" + open_gates(audit) +
          "<details><summary>All that identifies the set</summary>" +
          facts_list(audit.set, audience) + "</details>\n";
  if (audit.baseline) {
    html += "<details><summary>Drift is measured against " +
            identity_line(*audit.baseline, audience) + "</summary>" +
            facts_list(*audit.baseline, audience) + "</details>\n";
  }
  if (before != nullptr)
    html += fmt::format("<p>Beside it the values of an earlier audit ({}): {}.</p>\n",
                        before->pass ? "passed" : "failed", identity_line(before->set, audience));
  return html + "</header>\n";
}

std::string limit_html(const Gate& gate, int digits) {
  if (gate.limit.empty()) return "–";
  const std::string first = datum_span(gate.limit[0], gate.unit, digits);
  if (gate.limit.size() == 2) return first + " to " + datum_span(gate.limit[1], gate.unit, digits);
  return (gate.op == "<=" ? "≤ " : "≥ ") + first;
}

int digits_of(const Gate& gate) {
  std::vector<const Datum*> numbers = {&gate.value};
  for (const Datum& end : gate.limit) numbers.push_back(&end);
  return digits_apart(numbers, gate.unit);
}

/// Units that number_words() does not write itself.
std::string unit_words(const std::string& unit) {
  for (const char* written :
       {"share", "count", "ratio", "seconds", "days", "bits", "score", "rank"}) {
    if (unit == written) return "";
  }
  return unit.empty() ? "" : " <span class=\"dim\">" + escaped(unit) + "</span>";
}

std::string void_class(bool is_void) { return is_void ? " class=\"void\"" : ""; }

std::string gate_row(const Gate& gate, std::size_t index, const Gate* then, Audience audience) {
  std::string html = fmt::format("<tr id=\"g{}\"><td>{}", index, badge(gate.status));
  if (then != nullptr)
    html += fmt::format("<div class=\"was\">was {}</div>", status_words(then->status));
  html += "</td><td><div class=\"title\">" +
          defined(isolated(gate.title), gate.definition, gate.source) + "</div><div class=\"id\">" +
          escaped(gate.id) + "</div>";
  if (audience == Audience::kPublic) return html + "</td></tr>\n";
  const int digits = digits_of(gate);
  if (!gate.why.empty()) html += "<div class=\"why\">" + isolated(gate.why) + "</div>";
  html += "</td><td data-head=\"value\"" +
          std::string(gate.value.is_number() ? "" : " class=\"void\"") + ">" +
          datum_span(gate.value, gate.unit, digits) +
          (gate.value.is_number() ? unit_words(gate.unit) : "");
  if (then != nullptr && then->unit == gate.unit)
    html += "<div class=\"was\">was " + datum_span(then->value, then->unit) + "</div>";
  html += "</td><td data-head=\"limit\"" + void_class(gate.limit.empty()) + ">" +
          limit_html(gate, digits);
  html += "</td><td class=\"do" + std::string(gate.what_to_do.empty() ? " void" : "") +
          "\" data-head=\"what to do\">" +
          (gate.what_to_do.empty() ? "" : isolated(gate.what_to_do));
  return html + "</td></tr>\n";
}

std::string gates_html(const Audit& audit, const Before& before, Audience audience) {
  std::string html = "<section id=\"gates\"><h2>Gates</h2>\n";
  if (audit.gates.empty()) return html + "<p class=\"dim\">No gates.</p></section>\n";
  html +=
      "<table class=\"gates\"><thead><tr><th scope=\"col\">status</th><th scope=\"col\">gate</th>";
  if (audience == Audience::kOwn)
    html +=
        "<th scope=\"col\">value</th><th scope=\"col\">limit</th><th scope=\"col\">what to do</th>";
  html += "</tr></thead><tbody>\n";
  for (std::size_t i = 0; i < audit.gates.size(); ++i)
    html += gate_row(audit.gates[i], i, before.gate(audit.gates[i]), audience);
  return html + "</tbody></table></section>\n";
}

std::string metric_html(const Metric& metric, const Metric* then) {
  const int digits = digits_apart({&metric.value, &metric.low, &metric.high}, metric.unit);
  std::string html = "<div class=\"metric\"><div class=\"name\">" +
                     defined(isolated(metric.name), metric.definition, metric.source) +
                     "</div><div class=\"value\">" + datum_span(metric.value, metric.unit, digits) +
                     unit_words(metric.unit) + "</div>";
  if (metric.low.is_number() || metric.high.is_number()) {
    html += "<div class=\"range\">95 %: " + datum_span(metric.low, metric.unit, digits) + " to " +
            datum_span(metric.high, metric.unit, digits) + "</div>";
  }
  if (then != nullptr)
    html += "<div class=\"was\">was " + datum_span(then->value, then->unit) + "</div>";
  return html + "</div>\n";
}

std::string section_html(const Section& section, std::size_t index, const Before& before,
                         Audience audience) {
  const bool own = audience == Audience::kOwn;
  if (!own && section.metrics.empty()) return "";
  std::string html =
      fmt::format("<section id=\"s{}\"><h2>{}</h2>\n", index, isolated(section.title));
  if (own && !section.intro.empty()) html += "<p>" + isolated(section.intro) + "</p>\n";
  if (!section.metrics.empty()) {
    html += "<div class=\"metrics\">\n";
    for (const Metric& metric : section.metrics) html += metric_html(metric, before.metric(metric));
    html += "</div>\n";
  }
  if (own) {
    for (const Table& table : section.tables) html += table_block(table);
  }
  return html + "</section>\n";
}

std::string lists_html(const std::vector<Table>& lists) {
  if (lists.empty()) return "";
  std::string html = "<section id=\"lists\"><h2>Lists</h2>\n";
  for (const Table& list : lists) html += table_block(list);
  return html + "</section>\n";
}

std::string settings_html(const Audit& audit) {
  if (audit.settings.empty()) return "";
  std::string html =
      "<section id=\"settings\"><h2>Settings</h2>\n<p>Thresholds and options in force.</p>\n<dl "
      "class=\"facts\">";
  for (const auto& [key, values] : audit.settings) {
    html += "<dt>" + isolated(key) + "</dt><dd>";
    for (std::size_t i = 0; i < values.size(); ++i)
      html += (i > 0 ? ", " : "") + datum_span(values[i], "");
    html += "</dd>";
  }
  return html + "</dl></section>\n";
}

/// Definitions in one place: for paper, and for whoever reads rather than points.
std::string definitions_html(const Audit& audit, Audience audience) {
  std::string html;
  const auto add = [&](const std::string& name, const std::string& definition,
                       const std::string& source) {
    if (definition.empty() && source.empty()) return;
    html += "<dt>" + isolated(name) + "</dt><dd>" + isolated(definition);
    if (!source.empty()) html += " <span class=\"dim\">Source: " + isolated(source) + "</span>";
    html += "</dd>";
  };
  for (const Gate& gate : audit.gates) add(gate.title, gate.definition, gate.source);
  for (const Section& section : audit.sections) {
    for (const Metric& metric : section.metrics) add(metric.name, metric.definition, metric.source);
    if (audience != Audience::kOwn) continue;  // which has no tables
    for (const Table& table : section.tables) add(table.title, table.definition, "");
  }
  if (audience == Audience::kOwn) {
    for (const Table& list : audit.lists) add(list.title, list.definition, "");
  }
  if (html.empty()) return "";
  return "<section id=\"definitions\"><h2>Definitions</h2>\n<dl class=\"facts defs\">" + html +
         "</dl></section>\n";
}

std::string navigation(const Audit& audit, Audience audience, bool has_definitions) {
  const bool own = audience == Audience::kOwn;
  std::string html = "<nav aria-label=\"Sections\"><ul><li><a href=\"#gates\">Gates</a></li>";
  for (std::size_t i = 0; i < audit.sections.size(); ++i) {
    if (own || !audit.sections[i].metrics.empty())
      html += fmt::format("<li><a href=\"#s{}\">{}</a></li>", i, isolated(audit.sections[i].title));
  }
  if (own && !audit.lists.empty()) html += "<li><a href=\"#lists\">Lists</a></li>";
  if (own && !audit.settings.empty()) html += "<li><a href=\"#settings\">Settings</a></li>";
  if (has_definitions) html += "<li><a href=\"#definitions\">Definitions</a></li>";
  return html + "</ul></nav>\n";
}

std::string report_for(const Audit& audit, const Audit* baseline, Audience audience) {
  const Before before(baseline);
  const bool own = audience == Audience::kOwn;
  const std::string definitions = definitions_html(audit, audience);
  std::string body = verdict_html(audit, baseline, audience) +
                     navigation(audit, audience, !definitions.empty()) +
                     gates_html(audit, before, audience);
  for (std::size_t i = 0; i < audit.sections.size(); ++i)
    body += section_html(audit.sections[i], i, before, audience);
  if (own) body += lists_html(audit.lists) + settings_html(audit);
  body += definitions;
  if (!own)
    body += "<footer>Public excerpt: tables, lists, settings and findings are left out.</footer>\n";
  const std::string name = name_for(audit.set.name, audience);
  return page(
      (audit.pass ? "Pass: audit" : "Fail: audit") + (name.empty() ? std::string() : " of " + name),
      body);
}

}  // namespace

std::string audit_html(const Audit& audit, const Audit* baseline) {
  return report_for(audit, baseline, Audience::kOwn);
}

std::string public_audit_html(const Audit& audit, const Audit* baseline) {
  return report_for(audit, baseline, Audience::kPublic);
}

}  // namespace quarry::report

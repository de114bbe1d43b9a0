// The parts of a report that audits and histories share.
#include "host/audit/report_parts.h"

#include <fmt/format.h>

#include "host/audit/report_chart.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

constexpr struct {
  const char* symbol;
  const char* words;
} kStatuses[kNumGateStatuses] = {{"✓", "pass"}, {"!", "warn"}, {"✕", "fail"}, {"○", "not checked"}};

/// Times stand in columns of this unit or name.
bool is_date(const Column& column) { return column.unit == "time" || column.id == "created"; }

/// Of fewer columns all fit a phone; more than the latter do not fit a page of A4.
constexpr std::size_t kFoldsFrom = 3, kMostOnPaper = 8;
/// A table with so many rows is no longer than a few screens of a phone when it is folded.
constexpr std::size_t kFewRows = 12;

/// Ids as "diversity.attribute.category" may be broken behind their parts.
std::string head_cell(const Column& column) {
  std::string name;
  for (const char c : escaped(column.name)) {
    name += c;
    if (c == '.' || c == '_') name += "<wbr>";
  }
  return fmt::format("<th scope=\"col\"{}><bdi>{}</bdi></th>", column.number ? " class=\"n\"" : "",
                     name);
}

/// `head`: "" or head_of_cell().
std::string headed_cell(const Datum& datum, const Column& column, const std::string& head) {
  const char* side = column.number ? "n" : "";
  if (datum.kind == Datum::Kind::kNone)
    return fmt::format("<td class=\"{} none\"{}>–</td>", side, head);
  if (!datum.is_number()) return fmt::format("<td{}>{}</td>", head, isolated(datum.text));
  const std::string words =
      is_date(column) ? date_words(datum.value) : datum_words(datum, column.unit);
  return fmt::format("<td class=\"n\"{}{}>{}</td>", head, data_value(datum), words);
}

}  // namespace

std::string data_value(const Datum& number) {
  return number.is_number() ? fmt::format(" data-value=\"{0}\" title=\"{0}\"", number.text) : "";
}

std::string datum_span(const Datum& datum, std::string_view unit, int more_digits) {
  if (datum.kind == Datum::Kind::kText) return isolated(datum.text);
  if (!datum.is_number()) return "<span class=\"none\">–</span>";
  return fmt::format("<span{}>{}</span>", data_value(datum), datum_words(datum, unit, more_digits));
}

std::string date_span(const Datum& seconds) {
  if (!seconds.is_number()) return "–";
  return fmt::format("<span{}>{}</span>", data_value(seconds), date_words(seconds.value));
}

std::string cell_html(const Datum& datum, const Column& column) {
  return headed_cell(datum, column, "");
}

std::string head_of_cell(const Column& column) {
  return " data-head=\"" + escaped(column.name) + "\"";
}

std::string named_cell(const Datum& datum, const Column& column) {
  return headed_cell(datum, column, head_of_cell(column));
}

std::string table_frame(const Table& table, const std::string& rows, TableFit fit) {
  const bool folds = fit == TableFit::kFolds && table.columns.size() >= kFoldsFrom;
  std::string box = "scroll", classes = "sort";
  if (folds && table.rows.size() <= kFewRows) box += " whole";
  if (folds) classes += " fold";
  if (folds && table.columns.size() > kMostOnPaper) classes += " wide";
  std::string html = "<div class=\"" + box + "\" tabindex=\"0\" role=\"group\" aria-label=\"" +
                     escaped(table.title) + "\"><table class=\"" + classes + "\"><thead><tr>";
  for (const Column& column : table.columns) html += head_cell(column);
  return html + "</tr></thead><tbody>\n" + rows + "</tbody></table></div>\n";
}

std::string table_html(const Table& table, TableFit fit) {
  std::string rows;
  for (const auto& row : table.rows) {
    rows += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) {
      const Column& column = table.columns[c];
      rows += fit == TableFit::kFolds ? named_cell(row[c], column) : cell_html(row[c], column);
    }
    rows += "</tr>\n";
  }
  return table_frame(table, rows, fit);
}

std::string table_block(const Table& table) {
  const std::string rows =
      table.rows.empty() ? "<p class=\"dim\">No rows.</p>\n" : table_html(table);
  return "<div class=\"table\"><h3>" + defined(isolated(table.title), table.definition, "") +
         "</h3>\n<div class=\"pair\">" + (table.rows.empty() ? "" : chart_figure(table)) + rows +
         "</div></div>\n";
}

std::string defined(const std::string& name, const std::string& definition,
                    const std::string& source, const std::string& more_html) {
  if (definition.empty() && source.empty() && more_html.empty()) return name;
  std::string html = "<details class=\"def\"><summary title=\"" + escaped(definition) + "\">" +
                     name + "</summary><div class=\"body\">";
  if (!definition.empty()) html += "<div>" + isolated(definition) + "</div>";
  if (!source.empty()) html += "<div>Source: " + isolated(source) + "</div>";
  return html + more_html + "</div></details>";
}

const char* status_words(GateStatus status) {
  return kStatuses[static_cast<std::size_t>(status)].words;
}

std::string badge(GateStatus status, const std::string& before) {
  const auto& look = kStatuses[static_cast<std::size_t>(status)];
  return fmt::format("<span class=\"status {}\"><i aria-hidden=\"true\">{}</i>{}{}</span>",
                     gate_status_name(status), look.symbol, before, look.words);
}

}  // namespace quarry::report

// What an audit found: gates, sections of figures and tables, lists of items. Written as JSON
// (docs/audit.md), Prometheus text and words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace quarry {

enum class GateStatus : std::uint8_t { kPass, kWarn, kFail, kNotChecked };
const char* gate_status_name(GateStatus status);

struct Gate {
  std::string id, title;
  GateStatus status = GateStatus::kNotChecked;
  std::optional<double> value;
  std::string unit;
  std::string op;            ///< "<=", ">=" or "in"
  double low = 0, high = 0;  ///< the limit; low alone counts for ">=", high alone for "<="
  std::string why;           ///< one sentence: what was seen, or why it was not checked
  std::string what_to_do;    ///< for warn and fail
  std::string definition, source;
};

struct Figure {
  std::string id, name;
  std::optional<double> value, low, high;  ///< low, high: 95 % interval
  std::string unit;
  std::string definition, source;
};

using Cell = std::variant<std::monostate, double, std::string>;  ///< monostate: nothing there
struct TableColumn {
  std::string id, name;
  bool number = true;
  std::string unit;  ///< "": none
};
struct Chart {
  std::string kind, x;
  std::vector<std::string> y;
  bool log_x = false;
};
struct Table {
  std::string id, title, definition;
  std::optional<Chart> chart;
  std::vector<TableColumn> columns;
  std::vector<std::vector<Cell>> rows;
};

struct ReportSection {
  std::string id, title, intro;
  std::vector<Figure> metrics;
  std::vector<Table> tables;
};

/// What a set is, for a reader who does not have it.
struct SetFacts {
  std::string name;
  std::optional<double> version, created;
  std::string content_hash, recipe, recipe_hash, model, as_of, retriever, promise;
  std::uint64_t rows = 0, k = 0, num_items = 0, seed = 0, round = 0;
};

struct AuditReport {
  SetFacts set;
  std::optional<SetFacts> baseline;
  std::vector<Gate> gates;
  std::vector<ReportSection> sections;
  std::vector<Table> lists;  ///< items to look at: index, external id, title, figures
  std::vector<std::pair<std::string, Cell>> settings;

  bool failed() const;  ///< some gate has failed
};

/// The JSON of docs/audit.md; numbers that are not finite become null. The bytes depend on the
/// report alone.
std::string audit_to_json(const AuditReport& report);
/// Prometheus text exposition: verdict, status and value of every gate, every metric.
std::string audit_to_prometheus(const AuditReport& report);
/// Verdict and gates (all, or those that warn or fail), one line each; what to do under the latter.
std::string audit_to_words(const AuditReport& report, bool only_raised = false);

}  // namespace quarry

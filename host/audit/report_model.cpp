// An audit from its JSON, checked.
#include "host/audit/report_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "host/audit/report_input.h"
#include "host/data/message.h"
#include "host/store/files.h"
#include "kernels/core/errors.h"

namespace quarry::report {
namespace {

using Kind = JsonValue::Kind;

constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;
constexpr const char* kFormat = "quarry.audit";
constexpr const char* kStatusNames[kNumGateStatuses] = {"pass", "warn", "fail", "not_checked"};
constexpr std::pair<const char*, ChartKind> kChartKinds[] = {
    {"bar", ChartKind::kBar},
    {"line", ChartKind::kLine},
    {"grouped_bar", ChartKind::kGroupedBar},
    {"stacked_bar", ChartKind::kStackedBar},
    {"funnel", ChartKind::kFunnel}};

Datum datum_of(const JsonValue& value) {
  if (value.kind == Kind::kNumber) return {Datum::Kind::kNumber, value.number, value.text};
  if (value.kind == Kind::kText) return {Datum::Kind::kText, 0, value.text};
  if (value.kind == Kind::kBool) return {Datum::Kind::kText, 0, value.truth ? "true" : "false"};
  return {};
}

Datum number_or_null(const Place& place) { return datum_of(place.number_or_null()); }
Datum number(const Place& place) { return datum_of(place.number()); }
std::string text_or_null(const Place& place) {
  return place.is_null() ? std::string() : place.text();
}

/// Reads each element of an array.
template <class Read>
auto all_of(const Place& array, Read read) {
  std::vector<decltype(read(array))> all;
  array.array();
  all.reserve(array.size());
  for (std::size_t i = 0; i < array.size(); ++i) all.push_back(read(array.at(i)));
  return all;
}

/// No id stands twice in `array`.
template <class Element>
void check_unique(const Place& array, const std::vector<Element>& all) {
  std::set<std::string> seen;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!seen.insert(all[i].id).second)
      array.at(i).fail(fmt::format("the id {} stands twice", shown(all[i].id)));
  }
}

SetFacts read_set(const Place& set) {
  SetFacts facts;
  facts.name = set.at("name").text();
  facts.version = number_or_null(set.at("version"));
  facts.content_hash = set.at("content_hash").text();
  facts.rows = number(set.at("rows"));
  facts.k = number(set.at("k"));
  facts.num_items = number(set.at("num_items"));
  facts.recipe = text_or_null(set.at("recipe"));
  facts.recipe_hash = text_or_null(set.at("recipe_hash"));
  facts.model = text_or_null(set.at("model"));
  facts.created = number_or_null(set.at("created"));
  facts.seed = number_or_null(set.at("seed"));
  facts.round = number_or_null(set.at("round"));
  facts.as_of = text_or_null(set.at("as_of"));
  facts.retriever = text_or_null(set.at("retriever"));
  facts.promise = text_or_null(set.at("promise"));
  return facts;
}

GateStatus read_status(const Place& place) {
  const auto* found = std::find(std::begin(kStatusNames), std::end(kStatusNames), place.text());
  if (found == std::end(kStatusNames))
    place.fail("is " + place.shown() + "; pass, warn, fail and not_checked are known");
  return static_cast<GateStatus>(found - std::begin(kStatusNames));
}

std::vector<Datum> read_limit(const Place& place) {
  if (place.is_null()) return {};
  if (place.kind() != Kind::kArray) return {number(place)};
  std::vector<Datum> ends = all_of(place, [](const Place& end) { return number(end); });
  if (ends.size() != 2) place.fail(fmt::format("has {} numbers; a range has 2", ends.size()));
  if (ends[0].value > ends[1].value) place.fail("ends below its beginning");
  return ends;
}

Gate read_gate(const Place& place) {
  Gate gate;
  gate.id = place.at("id").text();
  gate.title = place.at("title").text();
  gate.status = read_status(place.at("status"));
  gate.value = number_or_null(place.at("value"));
  gate.unit = text_or_null(place.at("unit"));
  gate.op = place.at("op").text();
  if (gate.op != "<=" && gate.op != ">=" && gate.op != "in")
    place.at("op").fail("is " + place.at("op").shown() + "; <=, >= and in are known");
  gate.limit = read_limit(place.at("limit"));
  if (!gate.limit.empty() && (gate.op == "in") != (gate.limit.size() == 2))
    place.at("limit").fail("does not go with 'op': 'in' takes a range, <= and >= one number");
  gate.why = text_or_null(place.at("why"));
  gate.what_to_do = text_or_null(place.at("what_to_do"));
  gate.definition = text_or_null(place.at("definition"));
  gate.source = text_or_null(place.at("source"));
  return gate;
}

Metric read_metric(const Place& place) {
  Metric metric;
  metric.id = place.at("id").text();
  metric.name = place.at("name").text();
  metric.value = number_or_null(place.at("value"));
  metric.low = number_or_null(place.at("low"));
  metric.high = number_or_null(place.at("high"));
  if (metric.low.is_number() && metric.high.is_number() && metric.low.value > metric.high.value)
    place.at("low").fail("is above 'high'");
  metric.unit = text_or_null(place.at("unit"));
  if (place.has("direction")) {
    metric.direction = text_or_null(place.at("direction"));
    if (!metric.direction.empty() && metric.direction != "higher" && metric.direction != "lower")
      place.at("direction")
          .fail("is " + place.at("direction").shown() + "; higher, lower and null are known");
  }
  metric.definition = text_or_null(place.at("definition"));
  metric.source = text_or_null(place.at("source"));
  return metric;
}

Column read_column(const Place& place) {
  Column column;
  column.id = place.at("id").text();
  column.name = place.at("name").text();
  const Place type = place.at("type");
  if (type.text() != "text" && type.text() != "number")
    type.fail("is " + type.shown() + "; text and number are known");
  column.number = type.text() == "number";
  if (place.has("unit")) column.unit = text_or_null(place.at("unit"));
  return column;
}

std::size_t column_named(const Place& place, const Table& table) {
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    if (table.columns[c].id == place.text()) return c;
  }
  place.fail("the table has no column " + place.shown());
}

Chart read_chart(const Place& place, const Table& table) {
  Chart chart;
  const Place kind = place.at("kind");
  const auto* known = std::find_if(std::begin(kChartKinds), std::end(kChartKinds),
                                   [&](const auto& entry) { return kind.text() == entry.first; });
  if (known == std::end(kChartKinds))
    kind.fail("is " + kind.shown() + "; bar, line, grouped_bar, stacked_bar and funnel are known");
  chart.kind = known->second;
  chart.x = column_named(place.at("x"), table);
  const Place y = place.at("y");
  chart.y = all_of(y, [&](const Place& entry) {
    const std::size_t column = column_named(entry, table);
    if (!table.columns[column].number) entry.fail("is a column of texts; numbers can be drawn");
    return column;
  });
  if (chart.y.empty()) y.fail("names no column");
  if (place.has("log_x")) chart.log_x = place.at("log_x").truth();
  return chart;
}

/// A row has a value of the right type for each column.
std::vector<Datum> read_row(const Place& row, const Table& table) {
  row.array();
  if (row.size() != table.columns.size())
    row.fail(fmt::format("has {} values, the table {} columns", row.size(), table.columns.size()));
  std::vector<Datum> cells;
  cells.reserve(row.size());
  for (std::size_t c = 0; c < row.size(); ++c) {
    const Place cell = row.at(c);
    if (table.columns[c].number) {
      cells.push_back(number_or_null(cell));
    } else {
      if (!cell.is_null()) cell.text();
      cells.push_back(datum_of(cell.value()));
    }
  }
  return cells;
}

Table read_table(const Place& place) {
  Table table;
  table.id = place.at("id").text();
  table.title = place.at("title").text();
  table.definition = text_or_null(place.at("definition"));
  const Place columns = place.at("columns");
  table.columns = all_of(columns, read_column);
  if (table.columns.empty()) columns.fail("is empty; a table has a column");
  check_unique(columns, table.columns);
  table.rows = all_of(place.at("rows"), [&](const Place& row) { return read_row(row, table); });
  if (place.has("chart") && !place.at("chart").is_null())
    table.chart = read_chart(place.at("chart"), table);
  return table;
}

Section read_section(const Place& place) {
  Section section;
  section.id = place.at("id").text();
  section.title = place.at("title").text();
  section.intro = text_or_null(place.at("intro"));
  section.metrics = all_of(place.at("metrics"), read_metric);
  check_unique(place.at("metrics"), section.metrics);
  section.tables = all_of(place.at("tables"), read_table);
  check_unique(place.at("tables"), section.tables);
  return section;
}

std::vector<Datum> read_setting(const Place& place) {
  if (place.kind() == Kind::kObject) place.fail("is an object; settings are flat");
  if (place.kind() != Kind::kArray) return {datum_of(place.value())};
  return all_of(place, [](const Place& entry) {
    if (entry.kind() == Kind::kArray || entry.kind() == Kind::kObject)
      entry.fail("is nested; settings are flat");
    return datum_of(entry.value());
  });
}

void check_format(const Place& root) {
  const Place format = root.at("format");
  if (format.text() != kFormat)
    format.fail("is " + format.shown() + ", not " + kFormat + "; quarry audit writes such a file");
  const Place version = root.at("format_version");
  if (version.number().number != 1)
    version.fail("is " + version.shown() + "; this program reads 1 only");
}

bool read_verdict(const Place& place, const Audit& audit) {
  if (place.text() != "pass" && place.text() != "fail")
    place.fail("is " + place.shown() + "; pass and fail are known");
  const bool pass = place.text() == "pass";
  const std::size_t failed = audit.count_gates()[static_cast<std::size_t>(GateStatus::kFail)];
  if (pass != (failed == 0))
    place.fail(fmt::format("is '{}', but {} of the gates fail", place.text(), failed));
  return pass;
}

}  // namespace

const char* gate_status_name(GateStatus status) {
  return kStatusNames[static_cast<std::size_t>(status)];
}

std::optional<std::size_t> Table::number_column(const std::string& column) const {
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (columns[c].id == column && columns[c].number) return c;
  }
  return {};
}

std::array<std::size_t, kNumGateStatuses> Audit::count_gates() const {
  std::array<std::size_t, kNumGateStatuses> counts = {};
  for (const Gate& gate : gates) ++counts[static_cast<std::size_t>(gate.status)];
  return counts;
}

const Gate* Audit::find_gate(const std::string& id) const {
  for (const Gate& gate : gates) {
    if (gate.id == id) return &gate;
  }
  return nullptr;
}

const Metric* Audit::find_metric(const std::string& id) const {
  for (const Section& section : sections) {
    for (const Metric& metric : section.metrics) {
      if (metric.id == id) return &metric;
    }
  }
  return nullptr;
}

Audit parse_audit(const std::string& text, const std::string& file) {
  const JsonValue json = parse_json(text, file);
  const Place root(file, json);
  check_format(root);
  Audit audit;
  audit.set = read_set(root.at("set"));
  if (!root.at("baseline").is_null()) audit.baseline = read_set(root.at("baseline"));
  audit.gates = all_of(root.at("gates"), read_gate);
  check_unique(root.at("gates"), audit.gates);
  audit.pass = read_verdict(root.at("verdict"), audit);
  audit.sections = all_of(root.at("sections"), read_section);
  check_unique(root.at("sections"), audit.sections);
  audit.lists = all_of(root.at("lists"), read_table);
  check_unique(root.at("lists"), audit.lists);
  const Place settings = root.at("settings");
  for (const std::string& key : settings.object().value().keys)
    audit.settings.emplace_back(key, read_setting(settings.at(key)));
  return audit;
}

Audit read_audit(const std::string& path) { return parse_audit(read_text(path, kMostBytes), path); }

}  // namespace quarry::report

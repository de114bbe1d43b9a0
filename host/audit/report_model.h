// An audit as its JSON has it (format quarry.audit), checked.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace quarry::report {

/// Null, a number with its text in the file, or a text.
struct Datum {
  enum class Kind : std::uint8_t { kNone, kNumber, kText };
  Kind kind = Kind::kNone;
  double value = 0;
  std::string text;

  bool is_number() const { return kind == Kind::kNumber; }
};

enum class GateStatus : std::uint8_t { kPass, kWarn, kFail, kNotChecked };
constexpr std::size_t kNumGateStatuses = 4;

/// What was audited, or the set that it was compared with.
struct SetFacts {
  std::string name, content_hash, recipe, recipe_hash, model, as_of, retriever, promise;
  Datum version, rows, k, num_items, created, seed, round;
};

struct Gate {
  std::string id, title, unit, op, why, what_to_do, definition, source;
  GateStatus status = GateStatus::kNotChecked;
  Datum value;
  std::vector<Datum> limit;  ///< none, one, or the ends of a range
};

struct Metric {
  std::string id, name, unit, definition, source;
  std::string direction;   ///< "higher", "lower": which is better; "" where it is not said
  Datum value, low, high;  ///< the ends of the 95 % interval
};

enum class ChartKind : std::uint8_t { kBar, kLine, kGroupedBar, kStackedBar, kFunnel };
struct Chart {
  ChartKind kind = ChartKind::kBar;
  std::size_t x = 0;           ///< a column
  std::vector<std::size_t> y;  ///< columns of numbers
  bool log_x = false;
};

struct Column {
  std::string id, name, unit;
  bool number = false;
};

struct Table {
  std::string id, title, definition;
  std::optional<Chart> chart;
  std::vector<Column> columns;
  std::vector<std::vector<Datum>> rows;

  /// Column of numbers of that id.
  std::optional<std::size_t> number_column(const std::string& column) const;
};

struct Section {
  std::string id, title, intro;
  std::vector<Metric> metrics;
  std::vector<Table> tables;
};

struct Audit {
  bool pass = false;
  SetFacts set;
  std::optional<SetFacts> baseline;
  std::vector<Gate> gates;
  std::vector<Section> sections;
  std::vector<Table> lists;
  std::vector<std::pair<std::string, std::vector<Datum>>> settings;

  std::array<std::size_t, kNumGateStatuses> count_gates() const;
  const Gate* find_gate(const std::string& id) const;
  const Metric* find_metric(const std::string& id) const;
};

/// "pass", "warn", "fail", "not_checked": as the JSON has it.
const char* gate_status_name(GateStatus status);

/// From the text of a file. Throws InputError naming `file` and key path.
Audit parse_audit(const std::string& text, const std::string& file);
/// At most 256 MiB. Throws InputError, IoError.
Audit read_audit(const std::string& path);

}  // namespace quarry::report

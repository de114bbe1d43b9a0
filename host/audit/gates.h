// The gates of an audit: what each compares, its limit and whether it fails or warns, and the file
// that changes them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/audit/report.h"

namespace quarry {

enum class Severity : std::uint8_t { kOff, kWarn, kFail };

struct GateRule {
  std::string id, title, unit, op;
  double low = 0, high = 0;  ///< as in Gate
  Severity severity = Severity::kFail;
  std::string what_to_do, definition, source;
  std::optional<double> fail;  ///< beyond it a gate that warns fails: no noise or taste explains it
};

/// Numbers beside the gates: how much is looked at, and where lists begin.
struct AuditSettings {
  double sample_rows = 20000;     ///< rows whose scores, gaps and items are looked at one by one
  double matched_rows = 2048;     ///< rows ranked in full for the held-out comparison, one a user
  double matched_work = 2e10;     ///< multiplications (and comparisons) that this may take
  double odds_rows = 256;         ///< rows whose probabilities and thresholds are computed again
  double odds_work = 2e9;         ///< multiplications (and comparisons) that this may take
  double matched_expected = 10;   ///< hits that must be expected for the comparison to have power
  double near_duplicate = 0.98;   ///< cosine, where the recipe has no such filter
  double hub_rows = 0.1;          ///< share of rows from which an item is listed as a hub
  double always_rows = 0.9;       ///< share of rows from which it is in almost every row
  double list_items = 50;         ///< longest list
  double cohort_users = 20;       ///< smaller groups are merged into "other"
  double cohort_share = 0.5;      ///< of an item's positives, that make it a cohort's item
  double attribute_values = 200;  ///< catalogue columns with more values have no share table
  double effective_warn = 0.2;    ///< diversity.effective_items warns below, above its limit
  double drift_warn = 0.1;        ///< PSI from which drift warns, below the gate's limit
  double drift_tail = 0.001;      ///< of the distribution of PSI without drift
  double calibration_bins = 15;
};

struct GateConfig {
  std::vector<GateRule> rules;
  AuditSettings settings;
  const GateRule& rule(std::string_view id) const;
};

GateConfig default_gates();
/// The defaults, changed by a TOML text: under `[leak.positives]` `limit = 0`, `severity = "warn"`,
/// under `[settings]` `sample_rows = 5000`. Throws ConfigError with line and column for unknown
/// keys, wrong types and numbers out of range. `file` names the text in messages.
GateConfig parse_gates(std::string_view toml, const std::string& file);
/// TOML that parse_gates turns into the same configuration, with what each gate says as comments.
std::string gates_to_toml(const GateConfig& config);
/// Name and value of each setting and limit, for the report.
std::vector<std::pair<std::string, Cell>> settings_of(const GateConfig& config);

/// XXH3-128 over settings_of(): equal where no severity, limit or setting differs.
std::string hash_of_settings(const std::vector<std::pair<std::string, Cell>>& settings);

/// Judges values by the rules and collects the gates.
class GateKeeper {
 public:
  explicit GateKeeper(const GateConfig& config) : config_(config) {}
  /// Adds the gate, judged by its limit. `why` says what was seen. Returns its place.
  Gate& judge(std::string_view id, double value, std::string why);
  /// Adds the gate as decided by the caller (pass or not), for limits that are not the value alone.
  Gate& decide(std::string_view id, double value, bool passes, std::string why);
  void not_checked(std::string_view id, std::string why);
  const GateConfig& config() const { return config_; }
  /// The gates in the order of the rules. Those that nobody judged are not checked.
  std::vector<Gate> take();

 private:
  Gate make(std::string_view id) const;
  const GateConfig& config_;
  std::vector<Gate> gates_;
};

}  // namespace quarry

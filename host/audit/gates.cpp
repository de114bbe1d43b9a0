// Gate configurations as TOML, and judging.
#include "host/audit/gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "host/recipe/document.h"
#include "host/recipe/section.h"
#include "host/store/digest.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using recipe_text::Node;
using recipe_text::Range;
using recipe_text::Section;

struct Setting {
  const char* name;
  double AuditSettings::*member;
  Range range;
  const char* what;
};
const std::vector<Setting>& settings() {
  constexpr double kMany = 4294967294.0;
  static const std::vector<Setting> all = {
      {"sample_rows", &AuditSettings::sample_rows, {1, kMany}, "rows looked at one by one"},
      {"matched_rows",
       &AuditSettings::matched_rows,
       {1, kMany},
       "rows ranked in full for the held-out comparison, one a user"},
      {"matched_work",
       &AuditSettings::matched_work,
       {1e6, 1e15},
       "multiplications that this may take, similarity filters included"},
      {"odds_rows",
       &AuditSettings::odds_rows,
       {1, kMany},
       "rows whose probabilities and thresholds are computed again"},
      {"odds_work",
       &AuditSettings::odds_work,
       {1e6, 1e15},
       "multiplications that this may take, similarity filters included"},
      {"matched_expected",
       &AuditSettings::matched_expected,
       {1, 1e9},
       "expected hits below which it is not checked"},
      {"near_duplicate",
       &AuditSettings::near_duplicate,
       {0, 1, true},
       "cosine, where the recipe has no such filter"},
      {"hub_rows", &AuditSettings::hub_rows, {0, 1, true}, "share of rows that makes a hub"},
      {"always_rows",
       &AuditSettings::always_rows,
       {0, 1, true},
       "share of rows that is almost every row"},
      {"list_items", &AuditSettings::list_items, {1, 10000}, "longest list"},
      {"cohort_users",
       &AuditSettings::cohort_users,
       {20, kMany},
       "smaller groups are merged into \"other\""},
      {"cohort_share",
       &AuditSettings::cohort_share,
       {0, 1, true},
       "of an item's positives that make it a cohort's"},
      {"attribute_values",
       &AuditSettings::attribute_values,
       {2, 10000},
       "columns with more values have no share table"},
      {"effective_warn",
       &AuditSettings::effective_warn,
       {0, 1},
       "ratio below which diversity.effective_items warns"},
      {"drift_warn", &AuditSettings::drift_warn, {0, 100}, "PSI from which drift warns"},
      {"drift_tail",
       &AuditSettings::drift_tail,
       {0, 0.5, true},
       "of the distribution of PSI without drift"},
      {"calibration_bins", &AuditSettings::calibration_bins, {2, 1000}, "bins of equal mass"}};
  return all;
}

const char* severity_name(Severity severity) {
  switch (severity) {
    case Severity::kOff:
      return "off";
    case Severity::kWarn:
      return "warn";
    case Severity::kFail:
      return "fail";
  }
  return "";
}

void read_rule(recipe_text::Reader& reader, const Node& node, GateRule& rule) {
  Section section(reader, node, "gate " + rule.id);
  const auto severity = section.choice<Severity>(
      "severity", {{"off", Severity::kOff}, {"warn", Severity::kWarn}, {"fail", Severity::kFail}});
  if (severity) rule.severity = *severity;
  if (rule.op == "in") {
    rule.low = section.number("low", recipe_text::kAnyNumber).value_or(rule.low);
    rule.high = section.number("high", recipe_text::kAnyNumber).value_or(rule.high);
    if (rule.low > rule.high) {
      reader.problems.add(node.at, "gate " + rule.id + " allows nothing: low " +
                                       recipe_text::number_text(rule.low) + " is above high " +
                                       recipe_text::number_text(rule.high) + "; swap them");
    }
  } else {
    double& limit = rule.op == ">=" ? rule.low : rule.high;
    limit = section.number("limit", recipe_text::kNotNegative).value_or(limit);
    const auto fail = section.number("fail", recipe_text::kNotNegative);
    // Who says "warn", or a limit beyond it, does not mean the default.
    const bool limit_beyond =
        rule.fail && (rule.op == ">=" ? *rule.fail > limit : *rule.fail < limit);
    if (fail || severity == Severity::kWarn || limit_beyond) rule.fail = fail;
    if (fail && (rule.op == ">=" ? *fail > limit : *fail < limit)) {
      reader.problems.add(node.at, "gate " + rule.id + " would fail before it warns: fail " +
                                       recipe_text::number_text(*fail) + ", limit " +
                                       recipe_text::number_text(limit) + "; swap them");
    }
  }
  section.finish();
}

/// The tables of gates: `[leak.positives]` is the key positives in the table leak.
void read_rules(recipe_text::Reader& reader, Section& root, GateConfig& config) {
  std::vector<std::string> groups;
  for (const GateRule& rule : config.rules) {
    const std::string group = rule.id.substr(0, rule.id.find('.'));
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  for (const std::string& group : groups) {
    const Node* node = root.find(group);
    if (node == nullptr) continue;
    Section section(reader, *node, "the gates " + group);
    for (GateRule& rule : config.rules) {
      if (rule.id.rfind(group + ".", 0) != 0) continue;
      if (const Node* gate = section.find(rule.id.substr(group.size() + 1)))
        read_rule(reader, *gate, rule);
    }
    section.finish();
  }
}

}  // namespace

const char* gate_status_name(GateStatus status) {
  switch (status) {
    case GateStatus::kPass:
      return "pass";
    case GateStatus::kWarn:
      return "warn";
    case GateStatus::kFail:
      return "fail";
    case GateStatus::kNotChecked:
      return "not_checked";
  }
  return "";
}

const GateRule& GateConfig::rule(std::string_view id) const {
  const auto found =
      std::find_if(rules.begin(), rules.end(), [&](const GateRule& r) { return r.id == id; });
  QUARRY_CHECK(found != rules.end());
  return *found;
}

GateConfig parse_gates(std::string_view toml, const std::string& file) {
  GateConfig config = default_gates();
  recipe_text::Problems problems(file, {});
  Node tree;
  try {
    tree = recipe_text::parse_document(toml);
  } catch (const recipe_text::SyntaxError& error) {
    problems.add(error.at, (error.too_deep ? "" : "this is not TOML: ") + error.text);
    problems.raise();
  }
  recipe_text::Reader reader{problems, 0, {}};
  Section root(reader, tree, "the gates file");
  read_rules(reader, root, config);
  if (const Node* node = root.find("settings")) {
    Section section(reader, *node, "settings");
    for (const Setting& s : settings()) {
      if (const auto value = section.number(s.name, s.range)) config.settings.*s.member = *value;
    }
    section.finish();
  }
  root.finish();
  problems.raise();
  return config;
}

std::string gates_to_toml(const GateConfig& config) {
  std::string out =
      "# Gates of quarry audit: severity is \"fail\" (exit code 8), \"warn\" or \"off\".\n";
  for (const GateRule& rule : config.rules) {
    out += "\n[" + rule.id + "]  # " + rule.title + ", " + rule.unit + "\n# " + rule.definition +
           "\nseverity = \"" + severity_name(rule.severity) + "\"\n";
    if (rule.op == "in") {
      out += "low = " + recipe_text::number_text(rule.low) +
             "\nhigh = " + recipe_text::number_text(rule.high) + "\n";
    } else {
      out += "limit = " + recipe_text::number_text(rule.op == ">=" ? rule.low : rule.high) +
             "  # " + (rule.op == ">=" ? "at least" : "at most") + "\n";
      if (rule.fail)
        out += "fail = " + recipe_text::number_text(*rule.fail) + "  # beyond it a warning fails\n";
    }
  }
  out += "\n[settings]\n";
  for (const Setting& s : settings()) {
    out += std::string(s.name) + " = " + recipe_text::number_text(config.settings.*s.member) +
           "  # " + s.what + "\n";
  }
  return out;
}

std::vector<std::pair<std::string, Cell>> settings_of(const GateConfig& config) {
  std::vector<std::pair<std::string, Cell>> out;
  for (const GateRule& rule : config.rules) {
    out.emplace_back(rule.id + ".severity", std::string(severity_name(rule.severity)));
    if (rule.op == "in") {
      out.emplace_back(rule.id + ".low", rule.low);
      out.emplace_back(rule.id + ".high", rule.high);
    } else {
      out.emplace_back(rule.id + ".limit", rule.op == ">=" ? rule.low : rule.high);
      if (rule.fail) out.emplace_back(rule.id + ".fail", *rule.fail);
    }
  }
  for (const Setting& s : settings())
    out.emplace_back(std::string("settings.") + s.name, config.settings.*s.member);
  return out;
}

std::string hash_of_settings(const std::vector<std::pair<std::string, Cell>>& settings) {
  DigestStream stream;
  const auto add = [&](const std::string& text) {
    stream.update(text.data(), text.size());
    stream.update("\n", 1);
  };
  for (const auto& [name, value] : settings) {
    add(name);
    const double* number = std::get_if<double>(&value);
    add(number != nullptr ? recipe_text::number_text(*number) : std::get<std::string>(value));
  }
  return stream.digest().hex();
}

Gate GateKeeper::make(std::string_view id) const {
  const GateRule& rule = config_.rule(id);
  Gate gate;
  gate.id = rule.id;
  gate.title = rule.title;
  gate.unit = rule.unit;
  gate.op = rule.op;
  gate.low = rule.low;
  gate.high = rule.high;
  gate.definition = rule.definition;
  if (rule.fail)
    gate.definition += fmt::format(" Fails {} {}.", rule.op == ">=" ? "below" : "above",
                                   recipe_text::number_text(*rule.fail));
  gate.source = rule.source;
  return gate;
}

Gate& GateKeeper::judge(std::string_view id, double value, std::string why) {
  const GateRule& rule = config_.rule(id);
  const bool above = rule.op == "<=" || value >= rule.low;
  const bool below = rule.op == ">=" || value <= rule.high;
  return decide(id, value, std::isfinite(value) && above && below, std::move(why));
}

Gate& GateKeeper::decide(std::string_view id, double value, bool passes, std::string why) {
  const GateRule& rule = config_.rule(id);
  Gate gate = make(id);
  gate.value = value;
  gate.why = std::move(why);
  const bool gross = rule.fail && (rule.op == ">=" ? value < *rule.fail : value > *rule.fail);
  gate.status = passes                                      ? GateStatus::kPass
                : rule.severity == Severity::kFail || gross ? GateStatus::kFail
                                                            : GateStatus::kWarn;
  if (!passes) gate.what_to_do = rule.what_to_do;
  if (gross && rule.severity == Severity::kWarn)
    gate.why += fmt::format(" It fails {} {}.", rule.op == ">=" ? "below" : "above",
                            recipe_text::number_text(*rule.fail));
  if (rule.severity == Severity::kOff) {
    gate.status = GateStatus::kNotChecked;
    gate.why = "Turned off by --gates. " + gate.why;
    gate.what_to_do.clear();
  }
  gates_.push_back(std::move(gate));
  return gates_.back();
}

void GateKeeper::not_checked(std::string_view id, std::string why) {
  Gate gate = make(id);
  gate.why = std::move(why);
  gates_.push_back(std::move(gate));
}

std::vector<Gate> GateKeeper::take() {
  std::vector<Gate> ordered;
  for (const GateRule& rule : config_.rules) {
    const auto found =
        std::find_if(gates_.begin(), gates_.end(), [&](const Gate& g) { return g.id == rule.id; });
    if (found != gates_.end()) {
      ordered.push_back(std::move(*found));
    } else {
      ordered.push_back(make(rule.id));
      ordered.back().why = "Nothing in this set or its inputs makes it checkable.";
    }
  }
  gates_.clear();
  return ordered;
}

}  // namespace quarry

// Reading audits and lining their figures up.
#include "host/audit/compare_audits.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// Walks an audit and names the place where it is not one.
class AuditReader {
 public:
  explicit AuditReader(const std::string& where) : where_(where) {}

  [[noreturn]] void fail(const std::string& place, const std::string& what) const {
    throw InputError(where_ + ": " + place + " " + what + "; it is no audit that quarry writes");
  }
  const Json& at(const Json& json, const std::string& place, const char* key) const {
    if (!json.is_object() || !json.contains(key)) fail(place + "." + key, "is missing");
    return json[key];
  }
  const Json& list(const Json& json, const std::string& place, const char* key) const {
    const Json& found = at(json, place, key);
    if (!found.is_array()) fail(place + "." + key, "must be a list");
    return found;
  }
  std::string text(const Json& json, const std::string& place, const char* key) const {
    const Json& found = at(json, place, key);
    if (!found.is_string()) fail(place + "." + key, "must be text");
    return found.get<std::string>();
  }
  /// Null, or left out: nothing.
  std::optional<double> number(const Json& json, const std::string& place, const char* key) const {
    if (!json.contains(key) || json[key].is_null()) return std::nullopt;
    if (!json[key].is_number() || !std::isfinite(json[key].get<double>()))
      fail(place + "." + key, "must be a number or null");
    return json[key].get<double>();
  }

  AuditFigure figure(const Json& json, const std::string& place, const char* name) const {
    AuditFigure figure;
    figure.id = text(json, place, "id");
    figure.name = text(json, place, name);
    figure.unit =
        json.contains("unit") && json["unit"].is_string() ? text(json, place, "unit") : "";
    figure.value = number(json, place, "value");
    figure.low = number(json, place, "low");
    figure.high = number(json, place, "high");
    figure.direction = direction(json, place);
    return figure;
  }

 private:
  /// Said outright ("direction"), or by what a gate limits.
  Direction direction(const Json& json, const std::string& place) const {
    const auto value_of = [&](const char* key) {
      return json.contains(key) && !json[key].is_null() ? text(json, place, key) : std::string();
    };
    const std::string said = value_of("direction");
    const std::string op = value_of("op");
    if (said == "higher" || (said.empty() && op == ">=")) return Direction::kHigherIsBetter;
    if (said == "lower" || (said.empty() && op == "<=")) return Direction::kLowerIsBetter;
    return Direction::kNone;
  }
  std::string where_;
};

bool better(Direction direction, double a, double b) {
  return direction == Direction::kHigherIsBetter ? a > b : a < b;
}

void mark_best(ComparedFigure& figure) {
  figure.best.assign(figure.values.size(), false);
  if (figure.direction == Direction::kNone) return;
  std::optional<double> best, worst;
  std::size_t known = 0;
  for (const std::optional<double>& value : figure.values) {
    if (!value) continue;
    ++known;
    if (!best || better(figure.direction, *value, *best)) best = value;
    if (!worst || better(figure.direction, *worst, *value)) worst = value;
  }
  if (known < 2 || *best == *worst) return;
  for (std::size_t d = 0; d < figure.values.size(); ++d) figure.best[d] = figure.values[d] == best;
}

ComparedFigure& line_of(std::vector<ComparedFigure>& lines, const AuditFigure& figure,
                        std::size_t documents) {
  const auto found = std::find_if(lines.begin(), lines.end(),
                                  [&](const ComparedFigure& line) { return line.id == figure.id; });
  if (found != lines.end()) return *found;
  ComparedFigure line;
  line.id = figure.id;
  line.name = figure.name;
  line.unit = figure.unit;
  line.direction = figure.direction;
  line.values.resize(documents);
  line.lows.resize(documents);
  line.highs.resize(documents);
  line.statuses.resize(documents);
  lines.push_back(std::move(line));
  return lines.back();
}

void line_up(std::vector<ComparedFigure>& lines, const std::vector<AuditFigure>& figures,
             std::size_t document, std::size_t documents) {
  for (const AuditFigure& figure : figures) {
    ComparedFigure& line = line_of(lines, figure, documents);
    line.values[document] = figure.value;
    line.lows[document] = figure.low;
    line.highs[document] = figure.high;
    line.statuses[document] = figure.status;
    if (line.direction == Direction::kNone) line.direction = figure.direction;
  }
}

}  // namespace

AuditDocument parse_audit(const std::string& text, const std::string& where) {
  const AuditReader reader(where);
  const Json root = Json::parse(text, nullptr, false);
  if (root.is_discarded() || !root.is_object()) reader.fail("it", "is not a JSON object");
  if (reader.text(root, "audit", "format") != "quarry.audit")
    reader.fail("format", "is not quarry.audit");
  if (reader.at(root, "audit", "format_version") != 1)
    throw InputError(where + ": format_version is " + root["format_version"].dump() +
                     ", this program reads 1");
  AuditDocument document;
  document.name = where;
  document.verdict = reader.text(root, "audit", "verdict");
  const Json& set = reader.at(root, "audit", "set");
  if (set.is_object() && set.contains("content_hash") && set["content_hash"].is_string())
    document.content_hash = set["content_hash"].get<std::string>();
  for (const Json& gate : reader.list(root, "audit", "gates")) {
    AuditFigure figure = reader.figure(gate, "gates", "title");
    figure.status = reader.text(gate, "gates", "status");
    document.gates.push_back(std::move(figure));
  }
  for (const Json& section : reader.list(root, "audit", "sections")) {
    for (const Json& metric : reader.list(section, "sections", "metrics"))
      document.metrics.push_back(reader.figure(metric, "metrics", "name"));
  }
  return document;
}

Direction direction_of_kpi(const std::string& name) {
  static constexpr const char* kHigher[] = {"recall", "ndcg",      "mrr", "hit",     "auc",
                                            "map",    "precision", "ctr", "accuracy"};
  static constexpr const char* kLower[] = {"loss", "rmse", "mae", "latency"};
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  // A whole word: recall@20 and recall-tail, not recalls.
  const auto begins = [&lower](const std::string& word) {
    if (lower.rfind(word, 0) != 0) return false;
    const char next = lower.size() > word.size() ? lower[word.size()] : '@';
    return next < 'a' || next > 'z';
  };
  if (std::any_of(std::begin(kHigher), std::end(kHigher), begins))
    return Direction::kHigherIsBetter;
  if (std::any_of(std::begin(kLower), std::end(kLower), begins)) return Direction::kLowerIsBetter;
  return Direction::kNone;
}

AuditComparison compare_audits(const std::vector<AuditDocument>& documents) {
  AuditComparison comparison;
  for (std::size_t d = 0; d < documents.size(); ++d) {
    line_up(comparison.gates, documents[d].gates, d, documents.size());
    line_up(comparison.metrics, documents[d].metrics, d, documents.size());
    std::vector<AuditFigure> kpis;
    for (const auto& [name, value] : documents[d].kpis) {
      AuditFigure figure;
      figure.id = figure.name = name;
      figure.value = value;
      figure.direction = direction_of_kpi(name);
      kpis.push_back(std::move(figure));
    }
    line_up(comparison.kpis, kpis, d, documents.size());
  }
  for (auto* lines : {&comparison.gates, &comparison.metrics, &comparison.kpis}) {
    for (ComparedFigure& line : *lines) mark_best(line);
  }
  return comparison;
}

}  // namespace quarry

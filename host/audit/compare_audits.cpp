// Lining figures of audits up.
#include "host/audit/compare_audits.h"

#include <algorithm>

namespace quarry {
namespace {

std::optional<double> value_of(const report::Datum& datum) {
  return datum.is_number() ? std::optional(datum.value) : std::nullopt;
}

AuditFigure figure_of(const report::Gate& gate) {
  AuditFigure figure;
  figure.id = gate.id;
  figure.name = gate.title;
  figure.unit = gate.unit;
  figure.status = report::gate_status_name(gate.status);
  figure.value = value_of(gate.value);
  figure.direction = gate.op == ">="   ? Direction::kHigherIsBetter
                     : gate.op == "<=" ? Direction::kLowerIsBetter
                                       : Direction::kNone;
  return figure;
}

AuditFigure figure_of(const report::Metric& metric) {
  AuditFigure figure;
  figure.id = metric.id;
  figure.name = metric.name;
  figure.unit = metric.unit;
  figure.value = value_of(metric.value);
  figure.low = value_of(metric.low);
  figure.high = value_of(metric.high);
  figure.direction = metric.direction == "higher"  ? Direction::kHigherIsBetter
                     : metric.direction == "lower" ? Direction::kLowerIsBetter
                                                   : Direction::kNone;
  return figure;
}

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

AuditDocument audit_document(const report::Audit& audit, const std::string& name) {
  AuditDocument document;
  document.name = name;
  document.verdict = audit.pass ? "pass" : "fail";
  document.content_hash = audit.set.content_hash;
  for (const report::Gate& gate : audit.gates) document.gates.push_back(figure_of(gate));
  for (const report::Section& section : audit.sections) {
    for (const report::Metric& metric : section.metrics)
      document.metrics.push_back(figure_of(metric));
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

// Audits of several sets side by side: every gate, metric and figure, and which set does best where
// better is known.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/audit/report_model.h"

namespace quarry {

enum class Direction : std::uint8_t { kNone, kHigherIsBetter, kLowerIsBetter };

/// A figure of an audit: a metric of a section, or a gate's value.
struct AuditFigure {
  std::string id, name, unit;
  std::string status;  ///< of a gate; "" of a metric
  std::optional<double> value, low, high;
  Direction direction = Direction::kNone;
};

/// What is compared of one set. An audit gives gates and metrics (format quarry.audit, 1); a
/// store's log gives kpis.
struct AuditDocument {
  std::string name;          ///< heads its column
  std::string verdict;       ///< "pass", "fail"; "" without an audit
  std::string content_hash;  ///< of the set audited; "" if the audit does not say
  std::vector<AuditFigure> gates, metrics;
  std::vector<std::pair<std::string, double>> kpis;
};

/// Of gates the limit says what is better, of metrics their "direction".
AuditDocument audit_document(const report::Audit& audit, const std::string& name);

/// One line of the comparison; all vectors: [documents].
struct ComparedFigure {
  std::string id, name, unit;
  Direction direction = Direction::kNone;
  std::vector<std::optional<double>> values, lows, highs;
  std::vector<std::string> statuses;  ///< of gates; "" where an audit has no such gate
  /// The best values, all that are equal; none without a direction, with fewer than two values, or
  /// where all are equal.
  std::vector<bool> best;
};

struct AuditComparison {
  std::vector<ComparedFigure> gates, metrics, kpis;  ///< in the order of first appearance
};
AuditComparison compare_audits(const std::vector<AuditDocument>& documents);

/// Of figures that are measured elsewhere, by the beginning of their names: recall@20, ndcg, loss.
Direction direction_of_kpi(const std::string& name);

}  // namespace quarry

// The history of a store as one HTML file: its versions with what was measured on each, as a table
// and as lines over the versions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "host/audit/report_model.h"
#include "host/store/store.h"

namespace quarry::report {

/// What a person decided on a version.
struct HistoryDecision {
  std::uint64_t version = 0;
  bool approved = false;
  Datum time;
  std::string by, reason;
};

/// An audit that the log records.
struct HistoryAudit {
  std::uint64_t version = 0;
  Datum time;
  std::string verdict;
  bool has_gates = false;         ///< older lines do not say which they checked
  std::uint64_t num_checked = 0;  ///< gates
  std::string warned, failed;     ///< their ids
  std::string limits;             ///< hash; "": not recorded
};

struct HistoryVersion {
  enum class State : std::uint8_t { kWhole, kPruned, kDamaged };
  std::uint64_t number = 0;
  State state = State::kPruned;
  Datum created, rows, k;
  std::string recipe, model, note, content_hash, tags;
  std::map<std::string, Datum> kpis;      ///< by name; the newest value of each
  std::string verdict;                    ///< "": no audit
  std::string decision;                   ///< the newest: "approved", "rejected"; "": none
  std::map<std::string, Metric> metrics;  ///< of its audit, by id
};

/// A metric's place in the page, and its words.
struct HistoryMetric {
  std::string id, name, unit, definition, source, section;
};

struct History {
  std::vector<HistoryVersion> versions;    ///< ascending
  std::vector<HistoryDecision> decisions;  ///< in the order of the log
  std::vector<HistoryAudit> audits;        ///< likewise
  std::vector<std::string> kpis;           ///< in the order of their first event
  std::vector<HistoryMetric> metrics;      ///< in the order of the newest audit that has each
};

/// Versions of the store and those that its log tells of alone (pruned), values from events of type
/// "kpi", "audit", "approve" and "reject" and from `audits`, which go before events. Throws
/// InputError where an audit is of another set than the version it is given for. Sentences on what
/// cannot be read go into `notes`.
History read_history(const Store& store, const std::map<std::uint64_t, Audit>& audits,
                     std::vector<std::string>* notes);

/// Equal histories give equal bytes.
std::string history_html(const History& history);

/// What may be shown to anyone: of versions their number, dates, rows, k, state, verdicts,
/// decisions, hash, KPIs and metrics, and whether they are `latest` or `approved`. Notes, other
/// tags, names of models, recipes and deciders, and their reasons are left out.
std::string public_history_html(const History& history);

}  // namespace quarry::report

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

struct HistoryVersion {
  enum class State : std::uint8_t { kWhole, kPruned, kDamaged };
  std::uint64_t number = 0;
  State state = State::kPruned;
  Datum created, rows, k;
  std::string recipe, model, note, content_hash, tags;
  std::map<std::string, Datum> kpis;      ///< by name; the newest value of each
  std::string verdict;                    ///< "": no audit
  std::map<std::string, Metric> metrics;  ///< of its audit, by id
};

/// A metric's place in the page, and its words.
struct HistoryMetric {
  std::string id, name, unit, definition, source, section;
};

struct History {
  std::vector<HistoryVersion> versions;  ///< ascending
  std::vector<std::string> kpis;         ///< in the order of their first event
  std::vector<HistoryMetric> metrics;    ///< in the order of the newest audit that has each
};

/// Versions of the store and those that its log tells of alone (pruned), values from events of type
/// "kpi" and "audit" and from `audits`, which go before events. Throws InputError where an audit is
/// of another set than the version it is given for. Sentences on what cannot be read go into
/// `notes`.
History read_history(const Store& store, const std::map<std::uint64_t, Audit>& audits,
                     std::vector<std::string>* notes);

/// Equal histories give equal bytes.
std::string history_html(const History& history);

}  // namespace quarry::report

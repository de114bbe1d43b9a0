// The history of a store as one HTML file: its versions with what was measured on each and what
// people and audits said of them, as tables and as lines over the versions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/audit/report_model.h"
#include "host/store/decisions.h"
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

/// An import of experts' verdicts. What an older line lacks is none.
struct HistoryReview {
  std::uint64_t version = 0;
  Datum time;
  Datum reviewers, false_negatives, confirmed, unsure, not_judged;  ///< the last four: negatives
  Datum share, low, high;                                           ///< of false negatives
  Datum upper, standard_error;
  Datum covered, population;  ///< negatives that the share speaks of, and all
  Datum agreement, alpha;
};

/// An import of users' wishes.
struct HistoryFeedback {
  std::uint64_t version = 0;
  Datum time;
  std::string events;                                ///< hash of the log that was made of it
  std::vector<std::string> files;                    ///< hashes, sorted
  std::vector<std::pair<std::string, Datum>> kinds;  ///< events by kind
};

/// What a model's losses moved in a recipe.
struct HistoryModelFeedback {
  std::uint64_t version = 0;
  Datum time, segments, changed, negatives;
  std::string recipe;  ///< hash of the changed one; "": nothing changes
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
  std::vector<std::string> lacks;         ///< what the policy asks for and it has not
  std::map<std::string, Metric> metrics;  ///< of its audit, by id
};

/// A metric's place in the page, and its words.
struct HistoryMetric {
  std::string id, name, unit, definition, source, section;
};

struct History {
  std::vector<HistoryVersion> versions;              ///< ascending
  std::vector<HistoryDecision> decisions;            ///< in the order of the log
  std::vector<HistoryAudit> audits;                  ///< likewise
  std::vector<HistoryReview> reviews;                ///< likewise
  std::vector<HistoryFeedback> feedback;             ///< likewise; of the same wishes the newest
  std::vector<HistoryModelFeedback> model_feedback;  ///< likewise
  Policy policy;                                     ///< in force
  std::vector<std::string> kpis;                     ///< in the order of their first event
  std::vector<HistoryMetric> metrics;  ///< in the order of the newest audit that has each
};

/// Versions of the store and those that its log tells of alone (pruned), what the log says of them
/// and `audits`, which go before its events. Throws InputError where an audit is of another set
/// than the version it is given for, or the policy is not understood. Sentences on what else cannot
/// be read go into `notes`.
History read_history(const Store& store, const std::map<std::uint64_t, Audit>& audits,
                     std::vector<std::string>* notes);

/// Equal histories give equal bytes.
std::string history_html(const History& history);

/// What may be shown to anyone: of versions their number, dates, rows, k, state, verdicts,
/// decisions, hash, metrics, and whether they are `latest` or `approved`; the policy; figures of
/// reviews and feedback; KPIs and kinds of events whose names are is_public_name(). Notes, other
/// tags, names of models, recipes and deciders, and their reasons are left out.
std::string public_history_html(const History& history);

/// Looks like the name of a figure or a kind, as "recall@20", and not like a path, an address, a
/// date or an id: docs/report.md has the rule.
bool is_public_name(std::string_view name);

}  // namespace quarry::report

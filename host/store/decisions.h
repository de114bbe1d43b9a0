// What people and audits said of a store's versions, kept in its log, and the policy that says
// which of it a version needs before the tag `latest` may mean it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/store/policy.h"
#include "host/store/store.h"

namespace quarry {

/// Writes the file and logs it. `latest` stays where it is. The caller holds the lock. Throws
/// ConfigError for gates or limits of an audit that is not needed.
void write_policy(Store& store, const Policy& policy);
struct Decision {
  bool approved = false;
  std::string by, reason;
  std::int64_t time = 0;
  std::uint64_t order = 0;  ///< place in the log
};

/// What experts said of a sample of a version's negatives. Of what is not known there is nothing.
struct ReviewFacts {
  std::vector<std::string> files;  ///< XXH3-128 of the files with verdicts
  std::string events;              ///< and of the log of events that was made of them
  std::uint64_t false_negatives = 0, confirmed = 0, unsure = 0, not_judged = 0;  ///< negatives
  std::uint64_t reviewers = 0;
  std::optional<double> share, standard_error;  ///< of false negatives among `covered`
  std::optional<double> low, high;              ///< 95 % interval of the share
  std::optional<double> agreement, alpha;
  std::optional<double> upper;  ///< bound of the share where none is false
  /// Negatives of the version, and of those in strata with verdicts, for which the share speaks.
  std::optional<std::uint64_t> population, covered;
};
/// What users said of items of a version.
struct FeedbackFacts {
  std::vector<std::string> files;  ///< XXH3-128 of the files with records
  std::string events;              ///< and of the log of events that was made of them
  std::vector<std::pair<std::string, std::uint64_t>> kinds;  ///< events by kind
};

/// What was proposed for the recipe of a version by what a model made of its negatives.
struct ModelFeedback {
  std::string outputs_hash;  ///< XXH3-128 of the file
  std::string recipe_hash;   ///< of the changed recipe; "": nothing changes
  std::uint64_t segments = 0, changed = 0, negatives = 0;
};

/// The newest that was said counts.
struct VersionState {
  std::optional<Decision> decision;                  ///< nothing: pending
  std::optional<bool> audit_passed;                  ///< nothing: no audit
  std::map<std::string, std::string> audit_gates;    ///< "pass", "warn", "fail"; none: not checked
  std::string audit_limits;                          ///< "": of before they were recorded
  std::vector<std::pair<std::string, double>> kpis;  ///< by name
  std::optional<ReviewFacts> review;                 ///< with a share, where any has one
  std::vector<FeedbackFacts> feedback;  ///< the newest of each log of events and of the same files
  std::optional<ModelFeedback> model_feedback;
};
/// Of all versions that the log speaks of. Throws InputError where the log is damaged.
std::map<std::uint64_t, VersionState> version_states(const Store& store);

/// What the policy asks for and the version has not, in words: "approval", "an audit", "gate
/// leak.future_mask (not checked)". A rejected version lacks nothing by that.
std::vector<std::string> lacks(const Policy& policy, const VersionState& state);
/// Has what the policy asks for, and is not rejected.
bool has_what_it_needs(const Policy& policy, const VersionState& state);
/// Whether a commit of this version moves `latest` to it: always without a policy; with one, if it
/// is the newest version that has what it needs.
bool may_be_latest(const Store& store, std::uint64_t version);

// Each adds an event to the log, then moves the tags that follow from the log. The caller holds the
// lock. Where the process is killed in between, the next of them moves the tags.

/// The tag `approved` means the version that was approved last and not rejected since; where there
/// is none it is removed. Under a policy `latest` means the newest version that has what it needs.
/// Where none has, it stays (it is of before the policy) until its own version is rejected, fails
/// an audit that is needed, or loses what it had: then it is removed. Throws InputError where there
/// is no such version, ConfigError for a name or a reason that is empty, too long or holds control
/// characters.
void record_decision(Store& store, std::uint64_t version, bool approved, const std::string& by,
                     const std::string& reason);
/// Figures of an audit by the ids of its metrics; nothing: it has none.
using AuditFigures = std::vector<std::pair<std::string, std::optional<double>>>;
/// What an audit looked at, beside its verdict.
struct AuditFacts {
  AuditFigures figures;
  std::vector<std::pair<std::string, std::string>> gates;  ///< those checked: id, pass, warn, fail
  std::string limits;   ///< hash of every limit, severity and setting in force
  std::string options;  ///< hash of the further files and times that it was given
};
/// `quarry audit` found that all gates pass, or that one failed.
void record_audit(Store& store, std::uint64_t version, bool passed, const AuditFacts& facts = {});

/// A figure of a version that was measured elsewhere, such as recall@20 of the model that was
/// trained on it.
struct Kpi {
  std::string name;
  double value = 0;
};
/// "recall@20=0.222". Throws ConfigError for a name or a number that is none.
Kpi parse_kpi(const std::string& text);
/// Throws InputError where there is no such version.
void record_kpis(Store& store, std::uint64_t version, const std::vector<Kpi>& kpis);

/// Each adds a line to the log and moves no tag. Throws InputError where there is no such version.
void record_review(Store& store, std::uint64_t version, const ReviewFacts& facts);
void record_feedback(Store& store, std::uint64_t version, const FeedbackFacts& facts);
/// Throws InputError where there is no such version.
void record_model_feedback(Store& store, std::uint64_t version, const ModelFeedback& feedback);

/// Throws ConfigError for tags that only decisions move: `approved`, and `latest` under a policy.
void check_free_tag(const Store& store, const std::string& tag);
/// A sentence for each tag that does not mean what the log says, as a killed process leaves them.
std::vector<std::string> tags_behind(const Store& store);

}  // namespace quarry

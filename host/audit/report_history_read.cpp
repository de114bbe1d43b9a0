// The history of a store from its versions, its log and audits.
#include <fmt/format.h>

#include <algorithm>

#include "host/audit/report_history.h"
#include "host/audit/report_input.h"
#include "host/data/message.h"
#include "kernels/core/errors.h"

namespace quarry::report {
namespace {

using Kind = JsonValue::Kind;

std::string text_at(const JsonValue* object, const char* key) {
  const JsonValue* found = object != nullptr ? object->find(key) : nullptr;
  return found != nullptr && found->kind == Kind::kText ? found->text : "";
}

Datum number_at(const JsonValue& object, const char* key) {
  const JsonValue* found = object.find(key);
  if (found == nullptr || found->kind != Kind::kNumber) return {};
  return {Datum::Kind::kNumber, found->number, found->text};
}

/// What a reader of this version knows of a key that older lines lack.
Datum number_if_there(const Place& event, const char* key) {
  if (!event.has(key)) return {};
  const JsonValue& value = event.at(key).number_or_null();
  if (value.kind != Kind::kNumber) return {};
  return {Datum::Kind::kNumber, value.number, value.text};
}

Datum count_in(const Place& event, const char* key) {
  const JsonValue& value = event.at(key).number();
  return {Datum::Kind::kNumber, value.number, value.text};
}

/// What a manifest says of its version.
void read_manifest(const Store& store, HistoryVersion& version) {
  const JsonValue manifest =
      parse_json(store.manifest(version.number), store.version_file(version.number));
  const JsonValue* about = manifest.find("store");
  const JsonValue* run = manifest.find("run");
  version.created = number_at(manifest, "created");
  version.rows = number_at(manifest, "rows");
  version.k = number_at(manifest, "k");
  version.content_hash = text_at(&manifest, "content_hash");
  version.recipe = text_at(run != nullptr ? run->find("recipe") : nullptr, "name");
  version.model = text_at(about, "model");
  version.note = text_at(about, "note");
  version.state = HistoryVersion::State::kWhole;
}

/// Fills a history event by event.
class Builder {
 public:
  explicit Builder(std::map<std::uint64_t, HistoryVersion>& versions) : versions_(versions) {}

  /// Throws InputError where the event does not say what one of its type says.
  void add_event(const Place& event) {
    if (!event.has("event") || event.at("event").kind() != Kind::kText) return;
    const std::string& type = event.at("event").text();
    if (type == "version") at_version(event);
    if (type == "kpi") add_kpi(event);
    if (type == "audit") add_audit_event(event);
    if (type == "approve" || type == "reject") add_decision(event, type == "approve");
    if (type == "review") add_review(event);
    if (type == "feedback") add_feedback(event);
    if (type == "model_feedback") add_model_feedback(event);
  }

  void add_audit(HistoryVersion& version, const Audit& audit) {
    version.verdict = audit.pass ? "pass" : "fail";
    version.metrics.clear();
    for (const Section& section : audit.sections) {
      for (const Metric& metric : section.metrics) version.metrics[metric.id] = metric;
    }
  }

  /// By what the log says: files that were given as audits are not recorded.
  void judge(const Policy& policy) {
    if (policy == Policy{}) return;
    for (auto& [number, version] : versions_) {
      if (version.state == HistoryVersion::State::kWhole)
        version.lacks = quarry::lacks(policy, states_[number]);
    }
  }

  void move_into(History& history) {
    history.kpis = std::move(kpis_);
    history.decisions = std::move(decisions_);
    history.audits = std::move(audits_);
    history.reviews = std::move(reviews_);
    history.feedback = std::move(feedback_);
    history.model_feedback = std::move(model_feedback_);
  }

 private:
  HistoryVersion& at_version(const Place& event) {
    const Place place = event.at("version");
    const double number = place.number().number;
    if (!(number >= 1 && number < 0x1p53 &&
          number == static_cast<double>(static_cast<std::uint64_t>(number))))
      place.fail("is " + place.shown() + "; versions are whole numbers from 1");
    HistoryVersion& version = versions_[static_cast<std::uint64_t>(number)];
    version.number = static_cast<std::uint64_t>(number);
    return version;
  }

  void add_kpi(const Place& event) {
    const std::string& name = event.at("name").text();
    const JsonValue& value = event.at("value").number();
    HistoryVersion& version = at_version(event);
    if (std::find(kpis_.begin(), kpis_.end(), name) == kpis_.end()) kpis_.push_back(name);
    version.kpis[name] = {Datum::Kind::kNumber, value.number, value.text};
  }

  void add_audit_event(const Place& event) {
    const std::string& verdict = event.at("verdict").text();
    if (verdict != "pass" && verdict != "fail")
      event.at("verdict").fail("is " + event.at("verdict").shown() + "; pass and fail are known");
    std::map<std::string, Metric> metrics;
    const Place given = event.at("metrics");
    for (const std::string& id : given.object().value().keys) {
      const JsonValue& value = given.at(id).number_or_null();
      Metric& metric = metrics[id];
      metric.id = id;
      if (value.kind == Kind::kNumber)
        metric.value = {Datum::Kind::kNumber, value.number, value.text};
    }
    HistoryAudit audit;
    audit.time = number_at(event.value(), "time");
    audit.verdict = verdict;
    audit.limits = text_at(&event.value(), "limits_xxh3_128");
    std::map<std::string, std::string> gates;
    if (event.has("gates")) add_gates(event.at("gates").object(), audit, gates);
    HistoryVersion& version = at_version(event);
    VersionState& state = states_[version.number];
    state.audit_passed = verdict == "pass";
    state.audit_gates = std::move(gates);
    state.audit_limits = audit.limits;
    audit.version = version.number;
    audits_.push_back(std::move(audit));
    version.verdict = verdict;
    version.metrics = std::move(metrics);  // the newest audit is the one that counts
  }

  static void add_gates(const Place& gates, HistoryAudit& audit,
                        std::map<std::string, std::string>& statuses) {
    audit.has_gates = true;
    for (const std::string& id : gates.value().keys) {
      const std::string& status = statuses[id] = gates.at(id).text();
      ++audit.num_checked;
      std::string* list = status == "warn"   ? &audit.warned
                          : status == "fail" ? &audit.failed
                                             : nullptr;
      if (list != nullptr) *list += (list->empty() ? "" : ", ") + id;
    }
  }

  void add_decision(const Place& event, bool approved) {
    HistoryDecision decision;
    decision.approved = approved;
    decision.time = number_at(event.value(), "time");
    decision.by = text_at(&event.value(), "by");
    decision.reason = text_at(&event.value(), "reason");
    HistoryVersion& version = at_version(event);
    version.decision = approved ? "approved" : "rejected";
    decision.version = version.number;
    states_[version.number].decision = Decision{approved, decision.by, decision.reason, 0, 0};
    decisions_.push_back(std::move(decision));
  }

  void add_review(const Place& event) {
    HistoryReview review;
    review.time = number_at(event.value(), "time");
    review.reviewers = count_in(event, "reviewers");
    review.false_negatives = count_in(event, "false_negatives");
    review.confirmed = count_in(event, "confirmed");
    review.unsure = count_in(event, "unsure");
    review.not_judged = count_in(event, "not_judged");
    review.share = number_if_there(event, "share");
    review.low = number_if_there(event, "low");
    review.high = number_if_there(event, "high");
    review.upper = number_if_there(event, "upper");
    review.standard_error = number_if_there(event, "standard_error");
    review.covered = number_if_there(event, "covered");
    review.population = number_if_there(event, "population");
    review.agreement = number_if_there(event, "agreement");
    review.alpha = number_if_there(event, "alpha");
    review.version = at_version(event).number;
    reviews_.push_back(std::move(review));
  }

  void add_feedback(const Place& event) {
    HistoryFeedback feedback;
    feedback.time = number_at(event.value(), "time");
    feedback.events = event.at("events").text();
    const Place files = event.at("files").array();
    for (std::size_t i = 0; i < files.size(); ++i) feedback.files.push_back(files.at(i).text());
    std::sort(feedback.files.begin(), feedback.files.end());
    const Place kinds = event.at("kinds").object();
    for (const std::string& kind : kinds.value().keys)
      feedback.kinds.emplace_back(kind, count_in(kinds, kind.c_str()));
    feedback.version = at_version(event).number;
    // The same wishes again, as quarry log counts them.
    std::erase_if(feedback_, [&](const HistoryFeedback& other) {
      return other.version == feedback.version &&
             (other.events == feedback.events || other.files == feedback.files);
    });
    feedback_.push_back(std::move(feedback));
  }

  void add_model_feedback(const Place& event) {
    HistoryModelFeedback feedback;
    feedback.time = number_at(event.value(), "time");
    feedback.segments = count_in(event, "segments");
    feedback.changed = count_in(event, "changed");
    feedback.negatives = count_in(event, "negatives");
    feedback.recipe = text_at(&event.value(), "recipe_xxh3_128");
    feedback.version = at_version(event).number;
    model_feedback_.push_back(std::move(feedback));
  }

  std::map<std::uint64_t, HistoryVersion>& versions_;
  std::vector<std::string> kpis_;
  std::vector<HistoryDecision> decisions_;
  std::vector<HistoryAudit> audits_;
  std::vector<HistoryReview> reviews_;
  std::vector<HistoryFeedback> feedback_;
  std::vector<HistoryModelFeedback> model_feedback_;
  std::map<std::uint64_t, VersionState> states_;  ///< what a policy asks about
};

void check_same_set(const HistoryVersion& version, const Audit& audit, const Store& store) {
  if (version.content_hash.empty() || version.content_hash == audit.set.content_hash) return;
  throw InputError(fmt::format(
      "{}: the audit given for version {} is of another set: its content hash is {}, the version's "
      "{}; give the audit of this version",
      store.path(), version.number, shown(audit.set.content_hash), version.content_hash));
}

/// Words of every metric, from the newest audit file that has it.
std::vector<HistoryMetric> metrics_of(const std::map<std::uint64_t, HistoryVersion>& versions,
                                      const std::map<std::uint64_t, Audit>& audits) {
  std::vector<HistoryMetric> metrics;
  const auto known = [&](const std::string& id) {
    return std::any_of(metrics.begin(), metrics.end(), [&](const auto& m) { return m.id == id; });
  };
  for (auto entry = audits.rbegin(); entry != audits.rend(); ++entry) {
    for (const Section& section : entry->second.sections) {
      for (const Metric& m : section.metrics) {
        if (!known(m.id))
          metrics.push_back({m.id, m.name, m.unit, m.definition, m.source, section.title});
      }
    }
  }
  for (auto entry = versions.rbegin(); entry != versions.rend(); ++entry) {
    for (const auto& [id, unused] : entry->second.metrics) {
      if (!known(id)) metrics.push_back({id, id, "", "", "", id.substr(0, id.find('.'))});
    }
  }
  // Metrics of a section stand together, wherever they were first seen.
  std::vector<std::string> sections;
  for (const HistoryMetric& m : metrics) {
    if (std::find(sections.begin(), sections.end(), m.section) == sections.end())
      sections.push_back(m.section);
  }
  std::stable_sort(metrics.begin(), metrics.end(), [&](const auto& a, const auto& b) {
    return std::find(sections.begin(), sections.end(), a.section) <
           std::find(sections.begin(), sections.end(), b.section);
  });
  return metrics;
}

}  // namespace

History read_history(const Store& store, const std::map<std::uint64_t, Audit>& audits,
                     std::vector<std::string>* notes) {
  std::map<std::uint64_t, HistoryVersion> versions;
  for (const std::uint64_t number : store.versions()) {
    HistoryVersion& version = versions[number];
    version.number = number;
    version.state = HistoryVersion::State::kDamaged;
    try {
      read_manifest(store, version);
    } catch (const InputError& error) {
      notes->emplace_back(error.what());
    }
  }
  for (const auto& [tag, number] : store.tags(notes)) {
    std::string& tags = versions[number].tags;
    versions[number].number = number;
    tags += (tags.empty() ? "" : ", ") + tag;
  }
  Builder builder(versions);
  std::size_t line = 0;
  for (const std::string& text : store.events()) {
    const std::string where = fmt::format("{}/log: event {}", store.path(), ++line);
    try {
      const JsonValue event = parse_json(text, where);
      builder.add_event(Place(where, event));
    } catch (const InputError& error) {
      notes->emplace_back(error.what());
    }
  }
  for (const auto& [number, audit] : audits) {
    check_same_set(versions.at(number), audit, store);
    builder.add_audit(versions.at(number), audit);
  }
  History history;
  history.policy = read_policy(store);
  builder.judge(history.policy);
  builder.move_into(history);
  history.metrics = metrics_of(versions, audits);
  for (auto& [number, version] : versions) history.versions.push_back(std::move(version));
  return history;
}

}  // namespace quarry::report

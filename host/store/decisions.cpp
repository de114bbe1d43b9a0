// Approvals, audits and figures in a store's log, and the tags that follow from them.
#include "host/store/decisions.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/store/digest.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kApproved = "approved";
constexpr const char* kLatest = "latest";
constexpr std::size_t kMostWords = 1000;
constexpr std::size_t kMostName = 64;
constexpr const char* kInputsGate = "inputs.unchanged";

void check_words(const std::string& what, const std::string& text) {
  const bool control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  const bool blank = text.find_first_not_of(' ') == std::string::npos;
  if (blank) throw ConfigError(what + " is empty; say who decides and why, they stay in the log");
  if (control || text.size() > kMostWords)
    throw ConfigError(what + " must be one line of at most " + std::to_string(kMostWords) +
                      " bytes without control characters");
}

void check_version(const Store& store, std::uint64_t version) {
  const std::vector<std::uint64_t> there = store.versions();
  if (!std::binary_search(there.begin(), there.end(), version))
    throw InputError(store.path() + ": has no version " + std::to_string(version));
}

Json or_null(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

std::optional<double> number_in(const Json& event, const char* key) {
  const Json& value = event.at(key);
  return value.is_null() ? std::nullopt : std::optional(value.get<double>());
}

ReviewFacts review_in(const Json& event) {
  ReviewFacts facts;
  facts.files = event.at("files").get<std::vector<std::string>>();
  facts.events = event.at("events").get<std::string>();
  facts.false_negatives = event.at("false_negatives").get<std::uint64_t>();
  facts.confirmed = event.at("confirmed").get<std::uint64_t>();
  facts.unsure = event.at("unsure").get<std::uint64_t>();
  facts.not_judged = event.at("not_judged").get<std::uint64_t>();
  facts.reviewers = event.at("reviewers").get<std::uint64_t>();
  facts.share = number_in(event, "share");
  facts.standard_error = number_in(event, "standard_error");
  facts.agreement = number_in(event, "agreement");
  facts.alpha = number_in(event, "alpha");
  // Events of before they were recorded do not have these.
  if (event.contains("upper")) facts.upper = number_in(event, "upper");
  if (event.contains("low")) facts.low = number_in(event, "low");
  if (event.contains("high")) facts.high = number_in(event, "high");
  if (event.contains("population")) facts.population = event.at("population").get<std::uint64_t>();
  if (event.contains("covered")) facts.covered = event.at("covered").get<std::uint64_t>();
  return facts;
}

FeedbackFacts feedback_in(const Json& event) {
  FeedbackFacts facts;
  facts.files = event.at("files").get<std::vector<std::string>>();
  facts.events = event.at("events").get<std::string>();
  for (const auto& [kind, count] : event.at("kinds").items())
    facts.kinds.emplace_back(kind, count.get<std::uint64_t>());
  return facts;
}

ModelFeedback model_feedback_in(const Json& event) {
  ModelFeedback feedback;
  feedback.outputs_hash = event.at("outputs_xxh3_128").get<std::string>();
  const Json& recipe = event.at("recipe_xxh3_128");
  if (!recipe.is_null()) feedback.recipe_hash = recipe.get<std::string>();
  feedback.segments = event.at("segments").get<std::uint64_t>();
  feedback.changed = event.at("changed").get<std::uint64_t>();
  feedback.negatives = event.at("negatives").get<std::uint64_t>();
  return feedback;
}

/// Throws InputError where an event is not what this program writes.
void take_event(const Json& event, std::uint64_t order,
                std::map<std::uint64_t, VersionState>& states) {
  const std::string kind = event.value("event", "");
  if (kind != "approve" && kind != "reject" && kind != "audit" && kind != "kpi" &&
      kind != "review" && kind != "feedback" && kind != "model_feedback")
    return;
  VersionState& state = states[event.at("version").get<std::uint64_t>()];
  if (kind == "kpi") {
    const std::string name = event.at("name").get<std::string>();
    const double value = event.at("value").get<double>();
    const auto at = std::find_if(state.kpis.begin(), state.kpis.end(),
                                 [&](const auto& kpi) { return kpi.first == name; });
    if (at != state.kpis.end()) {
      at->second = value;
    } else {
      state.kpis.emplace_back(name, value);
    }
  } else if (kind == "audit") {
    state.audit_passed = event.at("verdict").get<std::string>() == "pass";
    state.audit_gates.clear();  // the newest audit counts, whatever earlier ones looked at
    if (event.contains("gates"))
      state.audit_gates = event.at("gates").get<std::map<std::string, std::string>>();
    state.audit_limits = event.value("limits_xxh3_128", "");
  } else if (kind == "review") {
    // Where all were unsure nothing is known that an earlier review did not say.
    ReviewFacts facts = review_in(event);
    if (facts.share || !state.review || !state.review->share) state.review = std::move(facts);
  } else if (kind == "model_feedback") {
    state.model_feedback = model_feedback_in(event);
  } else if (kind == "feedback") {
    FeedbackFacts facts = feedback_in(event);
    // The same files with other options are the same feedback.
    std::erase_if(state.feedback, [&](const FeedbackFacts& other) {
      return other.events == facts.events ||
             std::is_permutation(other.files.begin(), other.files.end(), facts.files.begin(),
                                 facts.files.end());
    });
    state.feedback.push_back(std::move(facts));
  } else {
    state.decision = Decision{kind == "approve", event.value("by", ""), event.value("reason", ""),
                              event.value("time", std::int64_t{0}), order};
  }
}

struct Wanted {
  std::optional<std::uint64_t> approved;
  std::optional<std::uint64_t> latest;  ///< the newest that has what the policy asks for
};

/// Of the versions that are there.
Wanted wanted_tags(const Store& store, const Policy& policy) {
  const auto states = version_states(store);
  Wanted wanted;
  std::uint64_t order = 0;
  for (const std::uint64_t version : store.versions()) {
    const auto found = states.find(version);
    const VersionState state = found != states.end() ? found->second : VersionState{};
    if (has_what_it_needs(policy, state)) wanted.latest = version;
    if (!state.decision || !state.decision->approved) continue;
    if (wanted.approved && state.decision->order < order) continue;
    wanted.approved = version;
    order = state.decision->order;
  }
  return wanted;
}

void put_tag(Store& store, const std::string& name, std::optional<std::uint64_t> version) {
  std::vector<std::string> damaged;
  const auto tags = store.tags(&damaged);
  const auto found = tags.find(name);
  if (version) {
    if (found == tags.end() || found->second != *version) store.tag(name, *version);
  } else if (found != tags.end()) {
    store.remove_tag(name);
  }
}

bool has_now(const Store& store, std::uint64_t version, const Policy& policy) {
  const auto states = version_states(store);
  const auto found = states.find(version);
  return has_what_it_needs(policy, found != states.end() ? found->second : VersionState{});
}

/// Whether what is known of a version speaks against it; that something is missing does not.
bool is_refused(const Store& store, std::uint64_t version, const Policy& policy) {
  const auto states = version_states(store);
  const auto found = states.find(version);
  if (found == states.end()) return false;
  const VersionState& state = found->second;
  return (state.decision && !state.decision->approved) ||
         (policy.needs_audit && state.audit_passed && !*state.audit_passed);
}

/// Puts the tags where the log says. `touched`: the version that something was said of; `had`: it
/// had what the policy asks for before.
void settle(Store& store, std::uint64_t touched, bool had) {
  const Policy policy = read_policy(store);
  const Wanted wanted = wanted_tags(store, policy);
  put_tag(store, kApproved, wanted.approved);
  if (policy == Policy{}) return;  // commits alone move latest
  std::vector<std::string> damaged;
  const auto tags = store.tags(&damaged);
  const auto latest = tags.find(kLatest);
  // One of before the policy stays until another has all it needs, or it is refused itself.
  const bool lost = latest != tags.end() && ((latest->second == touched && had) ||
                                             is_refused(store, latest->second, policy));
  if (wanted.latest || lost) put_tag(store, kLatest, wanted.latest);
}

bool is_name(const std::string& name) {
  const bool letters = name.find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@/-") ==
                       std::string::npos;
  const auto first = name.empty() ? '.' : name.front();
  return letters && name.size() <= kMostName &&
         std::isalnum(static_cast<unsigned char>(first)) != 0;
}

}  // namespace

void write_policy(Store& store, const Policy& policy) {
  check_policy(policy);
  store.events();  // throws before anything is changed where the log is damaged
  const std::string draft = store.path() + "/.policy.toml";
  remove_path(draft);
  write_new_file(draft, policy_text(policy_json(policy)));
  rename_path(draft, policy_file(store.path()));
  sync_folder(store.path());
  Json event = {{"event", "policy"}};
  event.update(Json::parse(policy_json(policy)));
  store.record(event.dump());
  // Without a policy commits alone move latest.
  const auto newest = policy == Policy{} ? std::nullopt : wanted_tags(store, policy).latest;
  if (newest) put_tag(store, kLatest, newest);
}

std::map<std::uint64_t, VersionState> version_states(const Store& store) {
  std::map<std::uint64_t, VersionState> states;
  std::uint64_t order = 0;
  for (const std::string& line : store.events()) {
    ++order;
    const Json event = Json::parse(line, nullptr, false);
    if (!event.is_object()) continue;
    try {
      take_event(event, order, states);
    } catch (const nlohmann::json::exception& damage) {
      throw InputError(store.path() + "/log: event " + std::to_string(order) +
                       " is not one that quarry writes: " + damage.what());
    }
  }
  return states;
}

std::vector<std::string> lacks(const Policy& policy, const VersionState& state) {
  std::vector<std::string> all;
  if (policy.needs_approval && !(state.decision && state.decision->approved))
    all.emplace_back("approval");
  if (!policy.needs_audit) return all;
  if (!state.audit_passed) {
    all.emplace_back("an audit");
    return all;
  }
  if (!*state.audit_passed) all.emplace_back("an audit that passes");
  // Of other inputs it says nothing of this version. Audits of before gates were recorded count.
  const auto inputs = state.audit_gates.find(kInputsGate);
  if (inputs != state.audit_gates.end() && inputs->second != "pass")
    all.emplace_back("an audit of the inputs that the version records");
  for (const std::string& gate : policy.audit_gates) {
    const auto found = state.audit_gates.find(gate);
    if (found == state.audit_gates.end()) {
      all.push_back("gate " + gate + " (not checked)");
    } else if (found->second != "pass" && found->second != "warn") {
      all.push_back("gate " + gate + " (" + found->second + ")");
    }
  }
  if (!policy.audit_limits.empty() && state.audit_limits != policy.audit_limits)
    all.emplace_back(state.audit_limits.empty()
                         ? "an audit whose limits are recorded"
                         : "an audit with the limits " + policy.audit_limits + " (it had " +
                               state.audit_limits + ")");
  return all;
}

bool has_what_it_needs(const Policy& policy, const VersionState& state) {
  const bool rejected = state.decision && !state.decision->approved;
  return !rejected && lacks(policy, state).empty();
}

bool may_be_latest(const Store& store, std::uint64_t version) {
  const Policy policy = read_policy(store);
  return policy == Policy{} || wanted_tags(store, policy).latest == version;
}

void record_decision(Store& store, std::uint64_t version, bool approved, const std::string& by,
                     const std::string& reason) {
  check_words("--by", by);
  check_words("--reason", reason);
  check_version(store, version);
  // Throws before anything is logged where policy or log is damaged.
  const bool had = has_now(store, version, read_policy(store));
  store.record(Json{{"event", approved ? "approve" : "reject"},
                    {"version", version},
                    {"by", by},
                    {"reason", reason},
                    {"xxh3_128", digest_file(store.version_file(version)).digest.hex()}}
                   .dump(-1, ' ', false, Json::error_handler_t::replace));
  settle(store, version, had);
}

void record_audit(Store& store, std::uint64_t version, bool passed, const AuditFacts& facts) {
  check_version(store, version);
  const bool had = has_now(store, version, read_policy(store));
  Json metrics = Json::object();
  for (const auto& [id, value] : facts.figures) metrics[id] = value ? Json(*value) : Json();
  Json gates = Json::object();
  for (const auto& [id, status] : facts.gates) gates[id] = status;
  store.record(Json{{"event", "audit"},
                    {"version", version},
                    {"verdict", passed ? "pass" : "fail"},
                    {"gates", std::move(gates)},
                    {"limits_xxh3_128", facts.limits},
                    {"options_xxh3_128", facts.options},
                    {"metrics", std::move(metrics)}}
                   .dump());
  settle(store, version, had);
}

void record_model_feedback(Store& store, std::uint64_t version, const ModelFeedback& feedback) {
  check_version(store, version);
  version_states(store);
  Json recipe;
  if (!feedback.recipe_hash.empty()) recipe = feedback.recipe_hash;
  store.record(Json{{"event", "model_feedback"},
                    {"version", version},
                    {"outputs_xxh3_128", feedback.outputs_hash},
                    {"recipe_xxh3_128", std::move(recipe)},
                    {"segments", feedback.segments},
                    {"changed", feedback.changed},
                    {"negatives", feedback.negatives}}
                   .dump());
}

Kpi parse_kpi(const std::string& text) {
  const std::size_t at = text.find('=');
  if (at == std::string::npos)
    throw ConfigError("'" + text + "' is no figure; write NAME=VALUE, as in recall@20=0.222");
  Kpi kpi{text.substr(0, at), 0};
  const std::string number = text.substr(at + 1);
  if (!is_name(kpi.name))
    throw ConfigError("'" + kpi.name +
                      "' is no name for a figure; 1 to 64 letters, digits, '.', '_', '@', '/' and "
                      "'-', beginning with a letter or digit, are");
  const char* const end = number.data() + number.size();
  const auto [stop, error] = std::from_chars(number.data(), end, kpi.value);
  if (error != std::errc() || stop != end || !std::isfinite(kpi.value))
    throw ConfigError("'" + number + "' of " + kpi.name +
                      " is no finite decimal number, as 0.222 or 1.5e-3 are");
  return kpi;
}

void record_kpis(Store& store, std::uint64_t version, const std::vector<Kpi>& kpis) {
  check_version(store, version);
  version_states(store);
  for (const Kpi& kpi : kpis) {
    store.record(
        Json{{"event", "kpi"}, {"version", version}, {"name", kpi.name}, {"value", kpi.value}}
            .dump());
  }
}

void record_review(Store& store, std::uint64_t version, const ReviewFacts& facts) {
  check_version(store, version);
  version_states(store);
  Json event = {{"event", "review"},
                {"version", version},
                {"files", facts.files},
                {"events", facts.events},
                {"false_negatives", facts.false_negatives},
                {"confirmed", facts.confirmed},
                {"unsure", facts.unsure},
                {"not_judged", facts.not_judged},
                {"reviewers", facts.reviewers},
                {"share", or_null(facts.share)},
                {"standard_error", or_null(facts.standard_error)},
                {"low", or_null(facts.low)},
                {"high", or_null(facts.high)},
                {"agreement", or_null(facts.agreement)},
                {"alpha", or_null(facts.alpha)},
                {"upper", or_null(facts.upper)}};
  if (facts.population) event["population"] = *facts.population;
  if (facts.covered) event["covered"] = *facts.covered;
  store.record(event.dump());
}

void record_feedback(Store& store, std::uint64_t version, const FeedbackFacts& facts) {
  check_version(store, version);
  version_states(store);
  Json kinds = Json::object();
  for (const auto& [kind, count] : facts.kinds) kinds[kind] = count;
  store.record(Json{{"event", "feedback"},
                    {"version", version},
                    {"files", facts.files},
                    {"events", facts.events},
                    {"kinds", std::move(kinds)}}
                   .dump(-1, ' ', false, Json::error_handler_t::replace));
}

void check_free_tag(const Store& store, const std::string& tag) {
  if (tag == kApproved)
    throw ConfigError("the tag 'approved' is moved by quarry approve and quarry reject alone");
  const Policy policy = tag == kLatest ? read_policy(store) : Policy{};
  if (policy == Policy{}) return;
  throw ConfigError("the store's policy keeps 'latest' at the newest version that has " +
                    words_of(policy) + "; approve a version, or reject one, to move it");
}

std::vector<std::string> tags_behind(const Store& store) {
  std::vector<std::string> all;
  const Policy policy = read_policy(store);
  const Wanted wanted = wanted_tags(store, policy);
  std::vector<std::string> damaged;
  const auto tags = store.tags(&damaged);
  const auto approved = tags.find(kApproved);
  const auto name = [](std::optional<std::uint64_t> version) {
    return version ? "version " + std::to_string(*version) : std::string("none");
  };
  const std::optional<std::uint64_t> means =
      approved != tags.end() ? std::optional(approved->second) : std::nullopt;
  if (means != wanted.approved)
    all.push_back("the tag 'approved' means " + name(means) + ", by the log it is " +
                  name(wanted.approved) +
                  ": a process was killed, or the tag or the log was changed by hand; quarry "
                  "approve or reject puts it right");
  const auto latest = tags.find(kLatest);
  if (policy == Policy{} || latest == tags.end() || latest->second == wanted.latest) return all;
  all.push_back("'latest' means version " + std::to_string(latest->second) +
                ", the newest that has what the policy asks for (" + words_of(policy) + ") is " +
                name(wanted.latest) + ": it is of before the policy, or a process was killed");
  return all;
}

}  // namespace quarry

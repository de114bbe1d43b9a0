// Approvals, audits and figures in a store's log, and the tags that follow from them.
#include "host/store/decisions.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/recipe/document.h"
#include "host/store/digest.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;
using recipe_text::Node;

constexpr const char* kApproved = "approved";
constexpr const char* kLatest = "latest";
constexpr std::uint64_t kMostPolicy = 1u << 16;
constexpr std::size_t kMostWords = 1000;
constexpr std::size_t kMostName = 64;
constexpr std::size_t kMostGates = 256;
constexpr std::size_t kHashDigits = 32;
constexpr const char* kInputsGate = "inputs.unchanged";
constexpr const char* kNothing = "nothing";

std::string policy_file(const Store& store) { return store.path() + "/policy.toml"; }

[[noreturn]] void fail_policy(const std::string& file, const recipe_text::Place& at,
                              const std::string& what) {
  throw InputError(file + ":" + std::to_string(at.line) + ": " + what +
                   "; quarry policy STORE --set latest_needs=approval,audit writes one");
}

void need(Policy& policy, const std::string& what, const std::string& otherwise) {
  if (what == "approval") {
    policy.needs_approval = true;
  } else if (what == "audit") {
    policy.needs_audit = true;
  } else {
    throw ConfigError(otherwise);
  }
}

Json needs_json(const Policy& policy) {
  Json needs = Json::array();
  if (policy.needs_approval) needs.push_back("approval");
  if (policy.needs_audit) needs.push_back("audit");
  return needs;
}

/// As gates are called: "leak.positives". Which there are is known to the audit alone.
bool is_gate(const std::string& id) {
  const std::size_t dot = id.find('.');
  return id.size() <= kMostName && dot != std::string::npos && dot > 0 && dot + 1 < id.size() &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.") == std::string::npos;
}

bool is_hash(const std::string& text) {
  return text.size() == kHashDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Throws ConfigError.
void add_gate(Policy& policy, const std::string& id) {
  if (!is_gate(id))
    throw ConfigError("audit_gates: '" + id +
                      "' is no id of a gate, as leak.positives is; quarry audit --print-gates "
                      "lists them");
  auto& gates = policy.audit_gates;
  if (std::find(gates.begin(), gates.end(), id) != gates.end())
    throw ConfigError("audit_gates: '" + id + "' stands twice; once is enough");
  if (gates.size() == kMostGates)
    throw ConfigError("audit_gates holds more than " + std::to_string(kMostGates) + " gates");
  gates.push_back(id);
}

/// Throws ConfigError.
void set_limits(Policy& policy, const std::string& hash) {
  if (!is_hash(hash))
    throw ConfigError("audit_limits: '" + hash +
                      "' is no hash of limits (32 digits 0-9, a-f), as the log records it");
  policy.audit_limits = hash;
}

/// Throws ConfigError where a part of the policy would have no effect.
void check_policy(const Policy& policy) {
  if (policy.needs_audit || (policy.audit_gates.empty() && policy.audit_limits.empty())) return;
  const std::string what = policy.audit_gates.empty() ? "audit_limits" : "audit_gates";
  throw ConfigError(what +
                    " says what an audit must hold, and latest_needs asks for none; add "
                    "audit to latest_needs, or set " +
                    what + "=nothing");
}

/// What the file and the log hold.
Json policy_json(const Policy& policy) {
  Json json = {{"latest_needs", needs_json(policy)}};
  if (!policy.audit_gates.empty()) json["audit_gates"] = policy.audit_gates;
  if (!policy.audit_limits.empty()) json["audit_limits"] = policy.audit_limits;
  return json;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  if (text.empty() || text == kNothing) return parts;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

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

/// A key of the policy's file. Throws ConfigError.
void read_part(Policy& policy, const recipe_text::Member& member) {
  const Node& value = member.value;
  if (member.key == "audit_limits") {
    if (value.kind != Node::Kind::kString)
      throw ConfigError("audit_limits must be a text of 32 digits");
    return set_limits(policy, value.text);
  }
  const bool gates = member.key == "audit_gates";
  if (!gates && member.key != "latest_needs")
    throw ConfigError("there is no key '" + member.key +
                      "'; latest_needs, audit_gates and audit_limits are those there are");
  const std::string held =
      gates ? "ids of gates, as \"leak.positives\"" : "\"approval\" and \"audit\"";
  if (value.kind != Node::Kind::kArray)
    throw ConfigError(member.key + " must be a list of " + held);
  for (const Node& element : value.elements) {
    const std::string wrong =
        member.key + " holds " + recipe_text::describe(element) + "; " + held + " are what it can";
    if (element.kind != Node::Kind::kString) throw ConfigError(wrong);
    if (gates) {
      add_gate(policy, element.text);
    } else {
      need(policy, element.text, wrong);
    }
  }
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

Policy read_policy(const Store& store) {
  const std::string file = policy_file(store);
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(file, error))) return {};
  const std::string text = read_text(file, kMostPolicy);
  Policy policy;
  try {
    const Node root = recipe_text::parse_document(text);
    for (const recipe_text::Member& member : root.members) {
      try {
        read_part(policy, member);
      } catch (const ConfigError& words) {
        fail_policy(file, member.at, words.what());
      }
    }
    try {
      check_policy(policy);
    } catch (const ConfigError& words) {
      fail_policy(file, {1, 1, 0}, words.what());
    }
  } catch (const recipe_text::SyntaxError& syntax) {
    fail_policy(file, syntax.at, syntax.text);
  }
  return policy;
}

void write_policy(Store& store, const Policy& policy) {
  check_policy(policy);
  store.events();  // throws before anything is changed where the log is damaged
  const Json json = policy_json(policy);
  std::string text;
  for (const auto& [key, value] : json.items()) text += key + " = " + value.dump() + "\n";
  const std::string draft = store.path() + "/.policy.toml";
  remove_path(draft);
  write_new_file(draft, text);
  rename_path(draft, policy_file(store));
  sync_folder(store.path());
  Json event = {{"event", "policy"}};
  event.update(json);
  store.record(event.dump());
  // Without a policy commits alone move latest.
  const auto newest = policy == Policy{} ? std::nullopt : wanted_tags(store, policy).latest;
  if (newest) put_tag(store, kLatest, newest);
}

std::string words_of(const Policy& policy) {
  std::string words = policy.needs_approval ? "approval" : "";
  if (policy.needs_audit) words += words.empty() ? "audit" : ", audit";
  std::string held;
  for (const std::string& gate : policy.audit_gates) held += (held.empty() ? "" : ", ") + gate;
  if (!policy.audit_limits.empty())
    held += (held.empty() ? "" : "; ") + ("limits " + policy.audit_limits);
  if (!held.empty()) words += " (" + held + ")";
  return words.empty() ? kNothing : words;
}

Policy parse_policy(const std::string& needs) {
  Policy policy;
  for (const std::string& what : split_list(needs)) {
    need(policy, what,
         "latest_needs: '" + what + "' is nothing that a version can need; approval, audit or " +
             "both (approval,audit) are, or nothing");
  }
  return policy;
}

void set_policy_part(Policy& policy, const std::string& setting) {
  const std::size_t equals = setting.find('=');
  const std::string key = equals == std::string::npos ? "" : setting.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : setting.substr(equals + 1);
  Policy changed = policy;
  if (key == "latest_needs") {
    const Policy needs = parse_policy(value);
    changed.needs_approval = needs.needs_approval;
    changed.needs_audit = needs.needs_audit;
  } else if (key == "audit_gates") {
    changed.audit_gates.clear();
    for (const std::string& id : split_list(value)) add_gate(changed, id);
  } else if (key == "audit_limits") {
    changed.audit_limits.clear();
    if (!value.empty() && value != kNothing) set_limits(changed, value);
  } else {
    throw ConfigError("--set " + setting +
                      ": latest_needs is what a policy holds, with audit_gates and audit_limits: "
                      "--set latest_needs=approval,audit");
  }
  policy = std::move(changed);
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

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

/// Throws InputError where an event is not what this program writes.
void take_event(const Json& event, std::uint64_t order,
                std::map<std::uint64_t, VersionState>& states) {
  const std::string kind = event.value("event", "");
  if (kind != "approve" && kind != "reject" && kind != "audit" && kind != "kpi" &&
      kind != "review" && kind != "feedback")
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
  } else if (kind == "review") {
    state.review = review_in(event);
  } else if (kind == "feedback") {
    FeedbackFacts facts = feedback_in(event);
    std::erase_if(state.feedback,
                  [&](const FeedbackFacts& other) { return other.events == facts.events; });
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

/// Puts the tags where the log says. `touched`: the version that something was said of.
void settle(Store& store, std::uint64_t touched) {
  const Policy policy = read_policy(store);
  const Wanted wanted = wanted_tags(store, policy);
  put_tag(store, kApproved, wanted.approved);
  if (policy == Policy{}) return;  // commits alone move latest
  std::vector<std::string> damaged;
  const auto tags = store.tags(&damaged);
  const auto latest = tags.find(kLatest);
  const bool of_touched = latest != tags.end() && latest->second == touched;
  // One of before the policy stays until another has all it needs, or something is said of it.
  if (wanted.latest || of_touched) put_tag(store, kLatest, wanted.latest);
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
      if (member.key != "latest_needs")
        fail_policy(file, member.at,
                    "there is no key '" + member.key + "'; latest_needs is the one");
      if (member.value.kind != Node::Kind::kArray)
        fail_policy(file, member.at, "latest_needs must be a list of \"approval\" and \"audit\"");
      for (const Node& element : member.value.elements) {
        const std::string wrong = "latest_needs holds " + recipe_text::describe(element) +
                                  "; \"approval\" and \"audit\" are what it can";
        if (element.kind != Node::Kind::kString) fail_policy(file, member.at, wrong);
        try {
          need(policy, element.text, wrong);
        } catch (const ConfigError& words) {
          fail_policy(file, member.at, words.what());
        }
      }
    }
  } catch (const recipe_text::SyntaxError& syntax) {
    fail_policy(file, syntax.at, syntax.text);
  }
  return policy;
}

void write_policy(Store& store, const Policy& policy) {
  store.events();  // throws before anything is changed where the log is damaged
  const std::string draft = store.path() + "/.policy.toml";
  remove_path(draft);
  write_new_file(draft, "latest_needs = " + needs_json(policy).dump() + "\n");
  rename_path(draft, policy_file(store));
  sync_folder(store.path());
  store.record(Json{{"event", "policy"}, {"latest_needs", needs_json(policy)}}.dump());
}

std::string words_of(const Policy& policy) {
  std::string words = policy.needs_approval ? "approval" : "";
  if (policy.needs_audit) words += words.empty() ? "audit" : ", audit";
  return words.empty() ? "nothing" : words;
}

Policy parse_policy(const std::string& needs) {
  Policy policy;
  if (needs.empty() || needs == "nothing") return policy;
  std::size_t at = 0;
  while (at <= needs.size()) {
    const std::size_t end = std::min(needs.find(',', at), needs.size());
    const std::string what = needs.substr(at, end - at);
    need(policy, what,
         "latest_needs: '" + what + "' is nothing that a version can need; approval, audit or " +
             "both (approval,audit) are, or nothing");
    at = end + 1;
  }
  return policy;
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

bool has_what_it_needs(const Policy& policy, const VersionState& state) {
  const bool approved = state.decision && state.decision->approved;
  const bool rejected = state.decision && !state.decision->approved;
  if (policy.needs_approval && !approved) return false;
  if (policy.needs_audit && !state.audit_passed.value_or(false)) return false;
  return !rejected;
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
  read_policy(store);     // throws before anything is logged where it
  version_states(store);  // or the log is damaged
  store.record(Json{{"event", approved ? "approve" : "reject"},
                    {"version", version},
                    {"by", by},
                    {"reason", reason},
                    {"xxh3_128", digest_file(store.version_file(version)).digest.hex()}}
                   .dump(-1, ' ', false, Json::error_handler_t::replace));
  settle(store, version);
}

void record_audit(Store& store, std::uint64_t version, bool passed, const AuditFigures& figures) {
  check_version(store, version);
  read_policy(store);
  version_states(store);
  Json metrics = Json::object();
  for (const auto& [id, value] : figures) metrics[id] = value ? Json(*value) : Json();
  store.record(Json{{"event", "audit"},
                    {"version", version},
                    {"verdict", passed ? "pass" : "fail"},
                    {"metrics", std::move(metrics)}}
                   .dump());
  settle(store, version);
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
  store.record(Json{{"event", "review"},
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
                    {"agreement", or_null(facts.agreement)},
                    {"alpha", or_null(facts.alpha)}}
                   .dump());
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

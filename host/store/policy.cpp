// The policy of a store: its file, its words and the texts that say it on a command line.
#include "host/store/policy.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/recipe/document.h"
#include "host/store/flipped_bit.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;
using recipe_text::Node;

constexpr std::uint64_t kMostPolicy = 1u << 16;
constexpr std::size_t kMostGates = 256;
constexpr std::size_t kMostGateName = 64;
constexpr std::size_t kHashDigits = 32;
constexpr const char* kNothing = "nothing";

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
  return id.size() <= kMostGateName && dot != std::string::npos && dot > 0 && dot + 1 < id.size() &&
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

}  // namespace

std::string policy_file(const std::string& store) { return store + "/policy.toml"; }

Policy read_policy(const Store& store) {
  const std::string file = policy_file(store.path());
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

std::string policy_json(const Policy& policy) {
  Json json = {{"latest_needs", needs_json(policy)}};
  if (!policy.audit_gates.empty()) json["audit_gates"] = policy.audit_gates;
  if (!policy.audit_limits.empty()) json["audit_limits"] = policy.audit_limits;
  return json.dump();
}

std::string policy_text(const std::string& event_json) {
  const Json event = Json::parse(event_json);
  std::string text;
  for (const char* key : {"latest_needs", "audit_gates", "audit_limits"}) {
    if (event.contains(key)) text += std::string(key) + " = " + event.at(key).dump() + "\n";
  }
  return text;
}

std::optional<std::string> unflipped_policy(const Store& store) {
  std::string written;
  for (const std::string& line : store.events()) {
    const Json event = Json::parse(line, nullptr, false);
    if (event.is_object() && event.value("event", "") == "policy") written = policy_text(line);
  }
  const std::string file = policy_file(store.path());
  std::error_code error;
  if (written.empty() || !std::filesystem::is_regular_file(file, error)) return std::nullopt;
  std::string text = read_text(file, kMostPolicy);
  if (text == written) return std::nullopt;
  return unflipped(std::move(text), 0, kMostPolicy,
                   [&](const std::string& other) { return other == written; });
}

void check_policy(const Policy& policy) {
  if (policy.needs_audit || (policy.audit_gates.empty() && policy.audit_limits.empty())) return;
  const std::string what = policy.audit_gates.empty() ? "audit_limits" : "audit_gates";
  throw ConfigError(what +
                    " says what an audit must hold, and latest_needs asks for none; add "
                    "audit to latest_needs, or set " +
                    what + "=nothing");
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

}  // namespace quarry

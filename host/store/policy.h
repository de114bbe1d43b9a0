// What a version of a store needs before the tag `latest` may mean it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/store/store.h"

namespace quarry {

/// What a version needs before `latest` is moved to it: policy.toml in the store's folder. Without
/// that file, nothing.
struct Policy {
  bool needs_approval = false;
  bool needs_audit = false;
  std::vector<std::string> audit_gates;  ///< each checked by the newest audit, and not failed
  std::string audit_limits;              ///< AuditFacts::limits that it must have had; "": any
  friend bool operator==(const Policy&, const Policy&) = default;
};
/// Throws InputError naming file and line where the file is not understood: unknown keys too, and
/// gates or limits of an audit that is not needed.
Policy read_policy(const Store& store);
/// "approval, audit (leak.positives)"; "nothing".
std::string words_of(const Policy& policy);
/// A list as on a command line: "approval,audit"; "" or "nothing". Throws ConfigError.
Policy parse_policy(const std::string& needs);
/// Changes one part of a policy: "latest_needs=approval,audit", "audit_gates=leak.positives",
/// "audit_limits=<32 hex digits>"; "nothing" empties it. Throws ConfigError.
void set_policy_part(Policy& policy, const std::string& setting);
/// Throws ConfigError where a part of the policy would have no effect.
void check_policy(const Policy& policy);
/// The JSON object of it that the log records.
std::string policy_json(const Policy& policy);
/// What `quarry policy` writes into the file, by that object, which may have further keys.
std::string policy_text(const std::string& event_json);
/// What was written into the file last, as the log tells, where the file differs from it in one
/// bit; nothing where it does not.
std::optional<std::string> unflipped_policy(const Store& store);
/// In a store's folder.
std::string policy_file(const std::string& store);

}  // namespace quarry

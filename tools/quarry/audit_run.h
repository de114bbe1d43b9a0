// Audits that other verbs make: behind a mining run, or of sets that are compared.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace quarry {

struct Context;

/// Options of an audit besides the set, for verbs that audit what they made.
struct AuditWish {
  bool wanted = false;
  std::string gates, held_out;
};
/// --audit, --audit-gates, --audit-held-out.
void add_audit_wish(CLI::App& verb, AuditWish& wish);
/// Throws ConfigError where options of an audit are given without --audit, or the gates file is
/// wrong: before anything is mined.
void check_audit_wish(const AuditWish& wish);

/// Audits a set or STORE@VERSION as quarry audit does without more files, words on stderr; a
/// version's verdict goes into its store's log. Returns the exit code, 8 where a gate failed. The
/// caller holds no lock.
int audit_finished(const std::string& set, const AuditWish& wish, const Context& context);

/// The JSON of an audit of a set that records how it was mined.
std::string audit_json_of(const std::string& set, const Context& context);

}  // namespace quarry

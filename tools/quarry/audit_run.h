// Audits that other verbs make: behind a mining run, or of sets that are compared.
#pragma once

#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace quarry {

struct Context;

/// Options of an audit besides the set, for verbs that audit what they made.
struct AuditWish {
  bool by_default = false;  ///< where neither --audit nor --no-audit is given
  bool flag = false;        ///< --audit, --no-audit: the last one
  const CLI::Option* option = nullptr;
  std::string gates, held_out;
  bool is_asked() const;
  bool wanted() const;
};
/// --audit, --no-audit, --audit-gates, --audit-held-out.
void add_audit_wish(CLI::App& verb, AuditWish& wish);
/// Throws ConfigError where options of an audit are given and none is made, or the gates file is
/// wrong: before anything is mined.
void check_audit_wish(const AuditWish& wish);

/// Audits a set or STORE@VERSION that is complete as quarry audit does without more files, words on
/// stderr; a version's verdict goes into its store's log. Returns the exit code, 8 where a gate
/// failed. Where nobody asked: only the verdict and gates that do not pass are told, probabilities
/// are not computed again, nothing is logged, the code is 8 for leaks alone, and what goes wrong
/// (but with files that were named) is a note. The caller holds no lock.
int audit_finished(const std::string& set, const AuditWish& wish, const Context& context);

/// The JSON of an audit of a set that records how it was mined.
std::string audit_json_of(const std::string& set, const Context& context);

}  // namespace quarry

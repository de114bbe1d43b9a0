// quarry approve, reject, policy: who lets which version of a store be used.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/audit/gates.h"
#include "host/recipe/section.h"
#include "host/store/decisions.h"
#include "kernels/core/errors.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct DecideArgs {
  std::string version, by, reason;
  std::string store;
  std::vector<std::string> settings;
  bool json = false;
};

/// What tags mean now, on stderr.
void say_tags(const Store& store) {
  std::vector<std::string> damaged;
  const auto tags = store.tags(&damaged);
  for (const char* name : {"approved", "latest"}) {
    const auto found = tags.find(name);
    fmt::print(stderr, "{}: {}\n", name,
               found != tags.end() ? fmt::format("version {}", found->second) : "none");
  }
  for (const std::string& words : damaged) fmt::print(stderr, "note: {}\n", words);
}

int run_decide(const DecideArgs& args, bool approved) {
  std::string folder, reference;
  if (args.version.find('@') == std::string::npos ||
      !split_reference(args.version, &folder, &reference) || reference.empty())
    throw ConfigError(fmt::format(
        "'{}' names no version; say which one is meant: STORE@VERSION, as in negatives@7",
        args.version));
  Store store = Store::open(folder);
  const StoreLock lock(store.path());
  const std::uint64_t version = store.resolve(reference);
  record_decision(store, version, approved, args.by, args.reason);
  fmt::print(stderr, "version {} is {}\n", version, approved ? "approved" : "rejected");
  say_tags(store);
  return 0;
}

std::vector<std::string> known_gates() {
  std::vector<std::string> ids;
  for (const GateRule& rule : default_gates().rules) ids.push_back(rule.id);
  return ids;
}

/// audit_limits may name a gates file, or the limits of this program, in the place of their hash.
std::string with_hash(const std::string& setting) {
  constexpr std::string_view kKey = "audit_limits=";
  if (setting.rfind(kKey, 0) != 0) return setting;
  const std::string value = setting.substr(kKey.size());
  if (value == "default") return std::string(kKey) + hash_of_settings(settings_of(default_gates()));
  if (!value.ends_with(".toml")) return setting;
  constexpr std::uint64_t kMostGatesFile = 1u << 20;
  const GateConfig config = parse_gates(read_text(value, kMostGatesFile), value);
  return std::string(kKey) + hash_of_settings(settings_of(config));
}

/// The store's log cannot tell a gate that nobody checked from one that does not exist.
void check_gates(const Policy& policy, bool refuse) {
  const std::vector<std::string> known = known_gates();
  for (const std::string& id : policy.audit_gates) {
    if (std::find(known.begin(), known.end(), id) != known.end()) continue;
    const std::string words =
        fmt::format("audit_gates: there is no gate '{}'; quarry audit --print-gates lists them{}",
                    id, recipe_text::did_you_mean(id, known));
    if (refuse) throw ConfigError(words);
    fmt::print(stderr, "note: {}\n", printable(words));
  }
}

int run_policy(const DecideArgs& args) {
  Store store = Store::open(args.store);
  if (!args.settings.empty()) {
    const StoreLock lock(store.path());
    Policy policy = read_policy(store);
    for (const std::string& setting : args.settings) set_policy_part(policy, with_hash(setting));
    check_gates(policy, true);
    write_policy(store, policy);
    say_tags(store);
    for (const std::string& words : tags_behind(store)) fmt::print(stderr, "note: {}\n", words);
  }
  const Policy policy = read_policy(store);
  check_gates(policy, false);
  if (args.json) {
    Json needs = Json::array();
    if (policy.needs_approval) needs.push_back("approval");
    if (policy.needs_audit) needs.push_back("audit");
    Json limits;
    if (!policy.audit_limits.empty()) limits = policy.audit_limits;
    std::puts(Json{{"latest_needs", std::move(needs)},
                   {"audit_gates", policy.audit_gates},
                   {"audit_limits", std::move(limits)}}
                  .dump(2)
                  .c_str());
  } else {
    fmt::print("latest needs {}\n", words_of(policy));
  }
  return 0;
}

void add_decision(CLI::App& app, Context& context, bool approved) {
  auto args = std::make_shared<DecideArgs>();
  CLI::App* verb = app.add_subcommand(
      approved ? "approve" : "reject",
      approved ? "let a version be used: the tag approved moves to it"
               : "take a version out of use: the tag approved goes back to the one before");
  verb->add_option("version", args->version, "STORE@VERSION")->required();
  verb->add_option("--by", args->by, "who decides")->required();
  verb->add_option("--reason", args->reason, "why")->required();
  verb->callback([&context, args, approved] {
    context.run = [args, approved] { return run_decide(*args, approved); };
  });
}

}  // namespace

void add_approve(CLI::App& app, Context& context) { add_decision(app, context, true); }
void add_reject(CLI::App& app, Context& context) { add_decision(app, context, false); }

void add_policy(CLI::App& app, Context& context) {
  auto args = std::make_shared<DecideArgs>();
  CLI::App* verb = app.add_subcommand(
      "policy", "say, or set, what a version of a store needs before latest may mean it");
  verb->add_option("store", args->store, "folder of the store")->required();
  verb->add_option("--set", args->settings,
                   "latest_needs=approval,audit; audit_gates=leak.positives,...; "
                   "audit_limits=default, or a gates file; =nothing empties one; may be repeated")
      ->allow_extra_args(false);
  verb->add_flag("--json", args->json, "as JSON");
  verb->callback([&context, args] { context.run = [args] { return run_policy(*args); }; });
}

}  // namespace quarry

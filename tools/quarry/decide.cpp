// quarry approve, reject, policy: who lets which version of a store be used.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/store/decisions.h"
#include "kernels/core/errors.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct DecideArgs {
  std::string version, by, reason;
  std::string store, setting;
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

int run_policy(const DecideArgs& args) {
  Store store = Store::open(args.store);
  if (!args.setting.empty()) {
    constexpr std::string_view kKey = "latest_needs=";
    if (args.setting.rfind(kKey, 0) != 0)
      throw ConfigError("--set " + args.setting +
                        ": latest_needs is what a policy holds: --set latest_needs=approval,audit");
    const Policy policy = parse_policy(args.setting.substr(kKey.size()));
    const StoreLock lock(store.path());
    write_policy(store, policy);
    for (const std::string& words : tags_behind(store)) fmt::print(stderr, "note: {}\n", words);
  }
  const Policy policy = read_policy(store);
  if (args.json) {
    Json needs = Json::array();
    if (policy.needs_approval) needs.push_back("approval");
    if (policy.needs_audit) needs.push_back("audit");
    std::puts(Json{{"latest_needs", std::move(needs)}}.dump(2).c_str());
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
  verb->add_option("--set", args->setting, "latest_needs=approval,audit; latest_needs=nothing");
  verb->add_flag("--json", args->json, "as JSON");
  verb->callback([&context, args] { context.run = [args] { return run_policy(*args); }; });
}

}  // namespace quarry

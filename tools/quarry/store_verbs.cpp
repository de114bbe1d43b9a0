// quarry log, tag, verify, prune: the versions of a store.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/store/decisions.h"
#include "host/store/mend_records.h"
#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/repair.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

void print_json(const Json& json) {
  std::puts(json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

/// What was said of a version since.
void add_state(const VersionState& state, const Policy& policy, Json& summary) {
  const auto& decision = state.decision;
  summary["state"] = !decision ? "pending" : decision->approved ? "approved" : "rejected";
  summary["decision"] = nullptr;
  if (decision)
    summary["decision"] = {
        {"by", decision->by}, {"reason", decision->reason}, {"time", decision->time}};
  summary["audit"] = nullptr;
  if (state.audit_passed) summary["audit"] = *state.audit_passed ? "pass" : "fail";
  summary["audit_gates"] = nullptr;
  if (state.audit_passed) summary["audit_gates"] = state.audit_gates;
  summary["audit_limits"] = nullptr;
  if (!state.audit_limits.empty()) summary["audit_limits"] = state.audit_limits;
  summary["lacks"] = lacks(policy, state);
  summary["kpis"] = Json::object();
  for (const auto& [name, value] : state.kpis) summary["kpis"][name] = value;
  summary["review"] = nullptr;
  if (const auto& review = state.review) {
    const auto number = [](const std::optional<double>& value) {
      return value ? Json(*value) : Json();
    };
    summary["review"] = {{"false_negatives", review->false_negatives},
                         {"confirmed", review->confirmed},
                         {"unsure", review->unsure},
                         {"not_judged", review->not_judged},
                         {"reviewers", review->reviewers},
                         {"share", number(review->share)},
                         {"standard_error", number(review->standard_error)},
                         {"low", number(review->low)},
                         {"high", number(review->high)},
                         {"agreement", number(review->agreement)},
                         {"alpha", number(review->alpha)},
                         {"upper", number(review->upper)},
                         {"population", review->population ? Json(*review->population) : Json()},
                         {"covered", review->covered ? Json(*review->covered) : Json()}};
  }
  summary["feedback"] = Json::object();
  for (const FeedbackFacts& facts : state.feedback) {
    for (const auto& [kind, count] : facts.kinds)
      summary["feedback"][kind] = summary["feedback"].value(kind, std::uint64_t{0}) + count;
  }
  summary["model_feedback"] = nullptr;
  if (const auto& model = state.model_feedback) {
    Json recipe;
    if (!model->recipe_hash.empty()) recipe = model->recipe_hash;
    summary["model_feedback"] = {{"segments", model->segments},
                                 {"changed", model->changed},
                                 {"negatives", model->negatives},
                                 {"outputs_xxh3_128", model->outputs_hash},
                                 {"recipe_xxh3_128", std::move(recipe)}};
  }
}

/// What `log` says of a version.
Json summary_of(const Store& store, std::uint64_t number,
                const std::map<std::string, std::uint64_t>& tags) {
  const Json manifest = Json::parse(store.manifest(number));
  const Json about = manifest.value("store", Json::object());
  const Json run = manifest.value("run", Json::object());
  const Json recipe = run.value("recipe", Json::object());
  Json names = Json::array();
  for (const auto& [name, version] : tags) {
    if (version == number) names.push_back(name);
  }
  return {{"version", number},
          {"created", manifest.value("created", Json())},
          {"rows", manifest.value("rows", Json())},
          {"k", manifest.value("k", Json())},
          {"recipe", recipe.value("name", Json())},
          {"model", about.value("model", Json(""))},
          {"note", about.value("note", Json(""))},
          {"parents", about.value("parents", Json::array())},
          {"tags", std::move(names)},
          {"shards", manifest.value("shards", Json::array()).size()},
          {"content_hash", manifest.value("content_hash", Json())}};
}

std::string text_of(const Json& json, const char* key) {
  const Json& value = json.at(key);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string joined(const Json& array) {
  std::string text;
  for (const Json& entry : array)
    text +=
        (text.empty() ? "" : ", ") + (entry.is_string() ? entry.get<std::string>() : entry.dump());
  return text;
}

/// "review: 3 of 40 are false negatives, estimated 7.2 % of 1,313 of 10,872 (standard error 3.1 %),
/// alpha 0.81".
std::string review_words(const Json& review) {
  const auto false_ones = review["false_negatives"].get<std::uint64_t>();
  std::string words = fmt::format("review: {} of {} are false negatives", false_ones,
                                  false_ones + review["confirmed"].get<std::uint64_t>());
  constexpr double kPercent = 100;
  if (review["share"].is_number())
    words += fmt::format(", estimated {:.1f} %", kPercent * review["share"].get<double>());
  if (review["share"].is_number() && review["covered"].is_number() &&
      review["population"].is_number()) {
    const auto covered = review["covered"].get<std::uint64_t>();
    const auto population = review["population"].get<std::uint64_t>();
    words += covered == population
                 ? fmt::format(" of all {}", words_of_count(population))
                 : fmt::format(" of {} of {}", words_of_count(covered), words_of_count(population));
  }
  if (review["upper"].is_number())
    words += fmt::format(" (at most {:.1f} %, 95 %)", kPercent * review["upper"].get<double>());
  if (review["standard_error"].is_number())
    words += fmt::format(" (standard error {:.1f} %)",
                         kPercent * review["standard_error"].get<double>());
  if (review["alpha"].is_number())
    words += fmt::format(", alpha {:.2f}", review["alpha"].get<double>());
  return words;
}

/// A line on what was said of a version; "" where nothing was and nothing need be.
std::string state_words(const Json& v, const Policy& policy) {
  std::string words;
  if (!v["decision"].is_null()) {
    words = fmt::format("{} by {} ({}: {})", text_of(v, "state"),
                        printable(text_of(v["decision"], "by")),
                        time_words(v["decision"]["time"].get<std::int64_t>()),
                        printable(text_of(v["decision"], "reason")));
  } else if (policy.needs_approval) {
    words = "pending approval";
  }
  if (!v["audit"].is_null())
    words += fmt::format("{}audit: {}", words.empty() ? "" : "; ", text_of(v, "audit"));
  else if (policy.needs_audit)
    words += fmt::format("{}not audited", words.empty() ? "" : "; ");
  for (const auto& [name, value] : v["kpis"].items())
    words += fmt::format("{}{} {}", words.empty() ? "" : "; ", name, value.dump());
  if (!v["review"].is_null()) words += (words.empty() ? "" : "; ") + review_words(v["review"]);
  const char* next = words.empty() ? "" : "; ";
  for (const auto& [kind, count] : v["feedback"].items()) {
    words += fmt::format("{}{} {}", next, count.dump(), printable(kind));
    next = ", ";
  }
  if (const Json& model = v["model_feedback"]; !model.is_null())
    words +=
        fmt::format("{}feedback of a model: {} of {} shares changed", words.empty() ? "" : "; ",
                    model["changed"].dump(), model["segments"].dump());
  // What an audit did not hold; the rest is said above.
  Json lacks = Json::array();
  for (const Json& lack : v["lacks"]) {
    if (lack != "approval" && lack != "an audit" && lack != "an audit that passes")
      lacks.push_back(lack);
  }
  if (!lacks.empty()) words += fmt::format("{}lacks {}", words.empty() ? "" : "; ", joined(lacks));
  return words.empty() ? "" : "    " + words + "\n";
}

/// `log STORE kpi VERSION NAME=VALUE ...`, or with --store without STORE.
int run_log_kpi(const std::string& path, const std::vector<std::string>& words) {
  if (words.size() < 2)
    throw ConfigError(
        "say of which version, and what: quarry log STORE kpi VERSION NAME=VALUE, as in recall@20="
        "0.222");
  std::vector<Kpi> kpis;
  for (std::size_t i = 1; i < words.size(); ++i) kpis.push_back(parse_kpi(words[i]));
  Store store = Store::open(path);
  const StoreLock lock(store.path());
  record_kpis(store, store.resolve(words[0]), kpis);
  return 0;
}

int run_log(const std::string& path, bool json) {
  const Store store = Store::open(path);
  std::vector<std::string> damaged = tags_behind(store);
  const Policy policy = read_policy(store);
  const auto states = version_states(store);
  const auto tags = store.tags(&damaged);
  Json all = Json::array();
  for (const std::uint64_t number : store.versions()) {
    try {
      Json summary = summary_of(store, number, tags);
      const auto state = states.find(number);
      add_state(state != states.end() ? state->second : VersionState{}, policy, summary);
      all.push_back(std::move(summary));
    } catch (const InputError& error) {
      damaged.emplace_back(error.what());
    }
  }
  for (const std::string& words : damaged) fmt::print(stderr, "note: {}\n", words);
  if (json) {
    Json events = Json::array();
    for (const std::string& event : store.events()) events.push_back(Json::parse(event));
    print_json({{"store", store.path()},
                {"latest_needs", words_of(policy)},
                {"versions", std::move(all)},
                {"events", std::move(events)}});
    return 0;
  }
  if (all.empty()) fmt::print("no version yet\n");
  for (auto entry = all.rbegin(); entry != all.rend(); ++entry) {
    const Json& v = *entry;
    const bool timed = v["created"].is_number_integer();
    fmt::print("v{}  {}  {} rows, k {}, {}", text_of(v, "version"),
               timed ? time_words(v["created"].get<std::int64_t>()) : "?", text_of(v, "rows"),
               text_of(v, "k"), text_of(v, "recipe"));
    if (!text_of(v, "model").empty()) fmt::print(", model {}", text_of(v, "model"));
    if (!v["parents"].empty()) fmt::print(", from {}", joined(v["parents"]));
    if (!v["tags"].empty()) fmt::print("  [{}]", joined(v["tags"]));
    fmt::print("\n    content hash {}", text_of(v, "content_hash"));
    if (!text_of(v, "note").empty()) fmt::print("  {}", text_of(v, "note"));
    fmt::print("\n{}", state_words(v, policy));
  }
  return 0;
}

int run_tag(const std::string& path, const std::string& name, const std::string& reference,
            bool remove) {
  if (remove == !reference.empty())
    throw ConfigError("give a version, or --remove to take the tag away");
  Store store = Store::open(path);
  const StoreLock lock(store.path());
  check_free_tag(store, name);
  if (remove) {
    store.remove_tag(name);
  } else {
    store.tag(name, store.resolve(reference));
  }
  return 0;
}

/// Mines damaged versions again; what could not be mended is in a note.
std::vector<std::uint64_t> mend(const Store& store, std::optional<std::uint64_t> only,
                                const Context& context) {
  std::vector<std::uint64_t> mended;
  try {
    store.events();
  } catch (const InputError& error) {
    fmt::print(stderr, "note: no version is mended: {}\n", error.what());
    return mended;
  }
  for (const std::uint64_t number : store.versions()) {
    if ((only && number != *only) || store.verify(number).empty()) continue;
    try {
      repair_version(store, number, context);
      mended.push_back(number);
    } catch (const Cancelled&) {
      throw;
    } catch (const std::runtime_error& error) {
      fmt::print(stderr, "note: version {} is not mended: {}\n", number, error.what());
    }
  }
  return mended;
}

int run_verify(const std::string& path, bool json, bool repair, const Context& context) {
  std::string folder, reference;
  std::vector<std::string> damages;
  std::vector<std::uint64_t> mended;
  std::vector<std::string> mended_files;
  std::uint64_t checked = 1;
  const bool of_store = split_reference(path, &folder, &reference);
  if (repair && of_store) {
    mend_records(folder, {[&](const std::string& file) {
                            mended_files.push_back(file);
                            if (!json) fmt::print("{}: a flipped bit is put right\n", file);
                          },
                          [&] {
                            if (context.stop->load())
                              throw Cancelled("stopped; what is mended so far stays so");
                          }});
  }
  if (Store::is_store(path)) {
    const Store store = Store::open(path);
    checked = store.versions().size();
    if (repair) mended = mend(store, {}, context);
    damages = store.verify({});
    try {
      for (const std::string& words : tags_behind(store)) fmt::print(stderr, "note: {}\n", words);
    } catch (const InputError& error) {
      if (std::find(damages.begin(), damages.end(), error.what()) == damages.end())
        damages.emplace_back(error.what());
    }
  } else if (of_store) {
    const Store store = Store::open(folder);
    const std::uint64_t number = store.resolve(reference);
    if (repair) mended = mend(store, number, context);
    damages = store.verify(number);
  } else if (repair) {
    throw ConfigError("--repair is for stores; mine a set anew with quarry mine --overwrite");
  } else {
    try {
      open_set(path, true);
    } catch (const InputError& error) {
      damages.emplace_back(error.what());
    }
  }
  if (json) {
    print_json({{"checked", checked},
                {"damages", damages},
                {"mended", mended},
                {"mended_files", mended_files}});
  } else {
    for (const std::uint64_t number : mended) fmt::print("version {} is mended\n", number);
    for (const std::string& words : damages) fmt::print("{}\n", words);
    if (damages.empty())
      fmt::print("{} of {} whole\n", words_of_count(checked), words_of_count(checked));
  }
  if (damages.empty()) return 0;
  throw InputError(fmt::format(
      "{}: {} damaged; mine again what is", path,
      damages.size() == 1 ? "one place is" : fmt::format("{} places are", damages.size())));
}

int run_prune(const std::string& path, std::uint64_t keep, bool unfinished, bool dry_run,
              bool json) {
  Store store = Store::open(path);
  const StoreLock lock(store.path());
  const Pruned pruned = store.to_prune(keep, unfinished);
  if (!dry_run) store.prune(pruned);
  if (json) {
    print_json({{"dry_run", dry_run},
                {"versions", pruned.versions},
                {"shards", pruned.shards},
                {"unfinished_runs", pruned.works},
                {"bytes", pruned.bytes}});
    return 0;
  }
  fmt::print("{} {} versions, {} shards ({}), {} unfinished runs\n",
             dry_run ? "would remove" : "removed", pruned.versions.size(), pruned.shards.size(),
             words_of_bytes(pruned.bytes), pruned.works.size());
  for (const std::uint64_t number : pruned.versions) fmt::print("  version {}\n", number);
  return 0;
}

struct StoreArgs {
  std::string path, name, reference;
  std::vector<std::string> words;  ///< of log
  std::uint64_t keep = 10;
  bool json = false, remove = false, dry_run = false, unfinished = false, repair = false;
};

}  // namespace

/// Takes apart what stands behind `log`: STORE, or what to add to its log.
int run_log_words(const StoreArgs& args) {
  std::vector<std::string> words = args.words;
  std::string store = args.path;
  const bool lacks_store =
      words.empty() || (words.size() > 1 && words[0] == "kpi" && words[1] != "kpi");
  if (store.empty() && lacks_store)
    throw ConfigError("say which store is meant: quarry log STORE ..., or --store STORE");
  if (store.empty()) {
    store = words.front();
    words.erase(words.begin());
  }
  if (words.empty()) return run_log(store, args.json);
  if (words.front() != "kpi")
    throw ConfigError(
        fmt::format("'{}' is nothing that log adds; quarry log STORE kpi VERSION NAME=VALUE does",
                    words.front()));
  if (args.json) throw ConfigError("--json has no effect where the log is added to");
  words.erase(words.begin());
  return run_log_kpi(store, words);
}

void add_log(CLI::App& app, Context& context) {
  auto args = std::make_shared<StoreArgs>();
  CLI::App* verb = app.add_subcommand(
      "log", "list the versions of a store, newest first; or add a figure of one to its log");
  verb->add_option("what", args->words,
                   "STORE, to list; STORE kpi VERSION NAME=VALUE ..., to add figures measured "
                   "elsewhere, such as recall@20=0.222");
  verb->add_option("--store", args->path, "folder of the store, in the place of STORE");
  verb->add_flag("--json", args->json, "as JSON, with all that happened to the store");
  verb->callback([&context, args] { context.run = [args] { return run_log_words(*args); }; });
}

void add_tag(CLI::App& app, Context& context) {
  auto args = std::make_shared<StoreArgs>();
  CLI::App* verb = app.add_subcommand("tag", "name a version of a store, or take a name away");
  verb->add_option("store", args->path, "folder of the store")->required();
  verb->add_option("name", args->name, "the tag")->required();
  verb->add_option("version", args->reference, "a version (7, v7) or another tag");
  verb->add_flag("--remove", args->remove, "take the tag away");
  verb->callback([&context, args] {
    context.run = [args] { return run_tag(args->path, args->name, args->reference, args->remove); };
  });
}

void add_verify(CLI::App& app, Context& context) {
  auto args = std::make_shared<StoreArgs>();
  CLI::App* verb = app.add_subcommand(
      "verify", "read a set, a store or STORE@VERSION whole and compare every hash");
  verb->add_option("set", args->path, "folder of a set or store, or STORE@VERSION")->required();
  verb->add_flag("--repair", args->repair,
                 "mine damaged versions again from the inputs that they record; put flipped bits "
                 "of the store's own records right");
  verb->add_flag("--json", args->json, "as JSON");
  verb->callback([&context, args] {
    context.run = [&context, args] {
      return run_verify(args->path, args->json, args->repair, context);
    };
  });
}

void add_prune(CLI::App& app, Context& context) {
  auto args = std::make_shared<StoreArgs>();
  CLI::App* verb = app.add_subcommand(
      "prune", "remove old versions without a tag, and shards that nothing needs");
  verb->add_option("store", args->path, "folder of the store")->required();
  verb->add_option("--keep", args->keep, "newest versions that stay")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
  verb->add_flag("--unfinished", args->unfinished,
                 "also what runs that were stopped have made; they would go on from it");
  verb->add_flag("--dry-run", args->dry_run, "only say what would go");
  verb->add_flag("--json", args->json, "as JSON");
  verb->callback([&context, args] {
    context.run = [args] {
      return run_prune(args->path, args->keep, args->unfinished, args->dry_run, args->json);
    };
  });
}

}  // namespace quarry

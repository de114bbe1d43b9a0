// quarry refresh: the next version of a store, of which only rows are mined that what happened
// since can have changed.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/store/decisions.h"
#include "host/store/digest.h"
#include "host/store/version_basis.h"
#include "kernels/core/errors.h"
#include "tools/quarry/audit_run.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct RefreshArgs {
  std::string version;  ///< STORE or STORE@VERSION
  RunOptions run;
  std::string parent_items;
  std::string model, note;
  std::vector<std::string> tags;
  AuditWish audit;
  bool new_snapshot = false, mine_all = false, dry_run = false, json = false;
};

Json parsed_manifest(const EarlierVersion& earlier) {
  return Json::parse(earlier.set().manifest_json());
}

/// The earlier run's options, with what is new.
RunRequest request_of(const RefreshArgs& args, const CLI::App& verb, const EarlierVersion& earlier,
                      const std::string& reference) {
  const NegativeSet& set = earlier.set();
  RunOptions options = recorded_options(text_of(set), verb, args.run);
  // Logs are added to those that were read, and each once: the same command may be given again.
  const RunOptions before = recorded_options(text_of(set), CLI::App(), {});
  options.more_events = before.more_events;
  for (const std::string& log : args.run.more_events) {
    const std::string path = std::filesystem::absolute(log).lexically_normal().string();
    if (std::find(options.more_events.begin(), options.more_events.end(), path) ==
        options.more_events.end())
      options.more_events.push_back(path);
  }
  if (verb.count("--snapshot") > 0) {
    throw ConfigError(
        "--snapshot: a refresh keeps the snapshot of the version it goes on from; --new-snapshot "
        "makes one, quarry mine --snapshot takes another");
  }
  options.snapshot = args.new_snapshot ? "" : reference;
  const bool other_recipe = verb.count("--recipe") > 0 || verb.count("--set") > 0;
  RunRequest request =
      other_recipe ? check_run_options(options)
                   : check_run_options(options, recorded_recipe(text_of(set), options.round));
  if (!args.new_snapshot) request.snapshot = earlier.snapshot();
  return request;
}

StoreOptions store_options_of(const RefreshArgs& args, const Store& store,
                              const EarlierVersion& earlier) {
  StoreOptions options = store_options_in(store.path(), earlier.set().manifest_json());
  if (!args.model.empty()) options.model = args.model;
  options.note = args.note;
  options.tags = args.tags;
  options.parents = {std::to_string(earlier.number())};
  return options;
}

/// The item embeddings that the version was mined from, if they are still to be had.
std::optional<Embeddings> items_of(const EarlierVersion& earlier, const RefreshArgs& args,
                                   const Inputs& now, const RunOptions& options) {
  const Json manifest = parsed_manifest(earlier);
  std::string hash, path;
  for (const Json& file : manifest.value("run", Json::object()).value("inputs", Json::array())) {
    if (file.value("role", "") == "items") hash = file.value("xxh3_128", "");
  }
  for (const InputFile& file : now.files) {
    if (file.role == "items" && file.xxh3_128 == hash) return now.items;
  }
  path = args.parent_items.empty() ? recorded_options(text_of(earlier.set()), CLI::App(), {}).items
                                   : args.parent_items;
  std::error_code error;
  if (args.parent_items.empty() && !std::filesystem::exists(path, error)) return std::nullopt;
  if (digest_file(path).digest.hex() != hash) {
    if (args.parent_items.empty()) return std::nullopt;
    throw InputError(fmt::format(
        "{}: is not the file that version {} was mined from; give that one with --parent-items, "
        "or leave the flag out to mine every row",
        path, earlier.number()));
  }
  return Embeddings::open(path, options.items_tensor);
}

/// Events that --as-of keeps out of a refresh that was given new ones.
std::string late_events_warning(const RefreshArgs& args, const Inputs& inputs) {
  if (args.run.more_events.empty() || !inputs.exposure || inputs.exposure->events_after_as_of == 0)
    return "";
  return fmt::format("{} events are after --as-of and not seen; give a later --as-of",
                     words_of_count(inputs.exposure->events_after_as_of));
}

void print_words(const Stored& stored, const MiningRun& run, bool dry_run) {
  const std::uint64_t rows = run.rows();
  if (!stored.obstacles.empty()) {
    fmt::print(stderr, "every row is mined:\n");
    for (const std::string& words : stored.obstacles) fmt::print(stderr, "  {}\n", words);
  }
  if (stored.items_changed + stored.items_added > 0) {
    fmt::print(stderr, "{} items changed, {} are new\n", words_of_count(stored.items_changed),
               words_of_count(stored.items_added));
  }
  fmt::print(
      stderr, "{} of {} rows {} ({:.2f} %), {} taken from version {}\n",
      words_of_count(stored.rows_mined), words_of_count(rows), dry_run ? "would be mined" : "mined",
      rows > 0 ? 100.0 * static_cast<double>(stored.rows_mined) / static_cast<double>(rows) : 0.0,
      words_of_count(stored.rows_taken), stored.taken_from);
}

Json json_of(const RefreshArgs& args, const Store& store, const Stored& stored,
             std::uint64_t rows) {
  return {{"store", store.path()},
          {"version", stored.version == 0 ? Json() : Json(stored.version)},
          {"dry_run", args.dry_run},
          {"was_there", stored.was_there},
          {"content_hash", stored.content_hash.empty() ? Json() : Json(stored.content_hash)},
          {"parent", stored.taken_from},
          {"rows", rows},
          {"rows_mined", stored.rows_mined},
          {"rows_taken", stored.rows_taken},
          {"items_changed", stored.items_changed},
          {"items_added", stored.items_added},
          {"obstacles", stored.obstacles}};
}

/// Returns the version; 0: a dry run.
std::uint64_t refresh(const RefreshArgs& args, const CLI::App& verb, const Context& context) {
  std::string folder, reference;
  if (!split_reference(args.version, &folder, &reference)) {
    throw ConfigError(
        fmt::format("'{}' is no store, and no version of one as STORE@VERSION; "
                    "quarry mine --store makes one",
                    args.version));
  }
  const Store store = Store::open(folder);
  const StoreLock lock(store.path());
  store.events();
  read_policy(store);
  for (const std::string& name : args.tags) check_free_tag(store, name);
  EarlierVersion earlier(store, store.resolve(reference));
  const std::string parent = fmt::format("{}@{}", store.path(), earlier.number());
  RunRequest request = request_of(args, verb, earlier, parent);
  const StoreOptions options = store_options_of(args, store, earlier);
  Stored stored;
  std::string words;
  std::uint64_t rows = 0;
  try {
    MiningRun run(std::move(request), options.rows_per_shard, store.path(), context);
    rows = run.rows();
    const std::optional<Embeddings> items =
        items_of(earlier, args, *run.inputs, run.request.options);
    EarlierRun from;
    if (!args.mine_all) from.version = &earlier;
    if (items) from.items = items->view();
    if (std::string late = late_events_warning(args, *run.inputs); !late.empty())
      run.inputs->warnings.push_back(std::move(late));
    stored = args.dry_run ? plan_into_store(store, options, run, context, from)
                          : mine_into_store(store, options, run, context, from);
    if (!stored.was_there) {
      if (from.version != nullptr) print_words(stored, run, args.dry_run);
      if (!args.dry_run) words = run_to_words(run.facts);
    }
  } catch (const Cancelled&) {
    throw Cancelled("stopped; the shards that are complete are kept in " + store.path() +
                    ", the same command goes on from there");
  }
  if (stored.was_there) {
    fmt::print(stderr, "{}: nothing changed that version {} does not know\n", store.path(),
               stored.version);
  } else if (!args.dry_run) {
    if (!may_be_latest(store, stored.version)) {
      fmt::print(stderr, "note: latest stays where it is, the store's policy asks for {}\n",
                 words_of(read_policy(store)));
    }
    std::fputs(words.c_str(), stderr);
    fmt::print(stderr, "wrote {} version {}  content hash {}\n", store.path(), stored.version,
               stored.content_hash);
  }
  if (args.json) {
    std::puts(json_of(args, store, stored, rows)
                  .dump(2, ' ', false, Json::error_handler_t::replace)
                  .c_str());
  }
  return stored.version;
}

int run_refresh(const RefreshArgs& args, const CLI::App& verb, const Context& context) {
  check_audit_wish(args.audit);
  for (const std::string& name : args.tags) Store::check_tag_name(name);
  const std::uint64_t version = refresh(args, verb, context);
  if (!args.audit.wanted || version == 0) return 0;
  std::string folder, reference;
  split_reference(args.version, &folder, &reference);
  return audit_finished(fmt::format("{}@{}", folder, version), args.audit, context);
}

}  // namespace

void add_refresh(CLI::App& app, Context& context) {
  auto args = std::make_shared<RefreshArgs>();
  CLI::App* verb = app.add_subcommand(
      "refresh", "add the next version: mine only rows that what is new can have changed");
  verb->add_option("version", args->version, "STORE, or STORE@VERSION to go on from")->required();
  verb->add_flag("--new-snapshot", args->new_snapshot,
                 "make popularity, strata and the range of random draws anew; mines every row");
  verb->add_option("--parent-items", args->parent_items,
                   "item embeddings of the version gone on from, where their file was replaced");
  verb->add_option("--tag", args->tags, "tags to move to the new version");
  verb->add_option("--model", args->model, "name of the model of the vectors, if it is another");
  verb->add_option("--note", args->note, "words kept with the version");
  add_audit_wish(*verb, args->audit);
  verb->add_flag("--mine-all", args->mine_all, "take no row over; the result is the same");
  verb->add_flag("--dry-run", args->dry_run, "only say how many rows would be mined, and why");
  verb->add_flag("--json", args->json, "print what was done as JSON on stdout");
  CLI::App* inputs = verb->add_option_group(
      "inputs", "what is new; all else is as the version's manifest records it");
  add_run_options(*inputs, args->run);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_refresh(*args, *inputs, context); };
  });
}

}  // namespace quarry

// Joining the shards of a plan.
#include "tools/quarry/join_shards.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/store/files.h"
#include "host/store/set_lock.h"
#include "host/store/unfinished.h"
#include "kernels/core/errors.h"
#include "tools/quarry/planned_parts.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/report_json.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct Joined {
  std::string place, content_hash, run_json, words;
  std::uint64_t version = 0;  ///< of a store
  bool was_there = false;
  std::uint64_t rows_mined = 0, rows_taken = 0;  ///< of a refresh
};

/// The place, with the store of the plan where this is of a refresh.
SetPlace join_place(const JoinArgs& args, const ShardPlan& plan) {
  SetPlace place = args.place;
  if (plan.refresh) {
    const std::string& store = plan.refresh->store;
    std::error_code error;
    if (!place.out.empty() || place.overwrite || !place.store.model.empty() ||
        !place.store.parents.empty()) {
      throw ConfigError(fmt::format(
          "{}: is of a refresh, which adds a version to {} that goes on from version {}; --out, "
          "--overwrite, --model and --parent are not for it",
          plan.file, store, plan.refresh->parent));
    }
    if (place.in_store() && !std::filesystem::equivalent(place.store.store, store, error)) {
      throw ConfigError(fmt::format("--store: {} is of a refresh of {}, not of {}; take it out",
                                    plan.file, store, place.store.store));
    }
    place.store.store = store;
  }
  if (place.out.empty() && !place.in_store())
    throw ConfigError("give --out SET or --store STORE, where the joined set is to be");
  check_place(place);
  return place;
}

/// Every byte of every shard; nothing is joined of damaged ones.
bool all_is_there(const ShardPlan& plan, const std::atomic<bool>* stop) {
  const PlanState state = state_of_plan(plan, true, stop);
  for (const std::string& damage : state.damages) fmt::print(stderr, "{}\n", damage);
  if (state.missing.empty()) return true;
  fmt::print(stderr,
             "not joined: {} of {} shards are missing{}: {}\n  quarry mine --plan {} --shard ID "
             "mines one\n",
             state.missing.size(), plan.shards.size(), state.damages.empty() ? "" : " or damaged",
             array_expression(state.missing), plan.file);
  if (!state.searches_missing.empty()) {
    fmt::print(stderr, "  after the searches of slices {}: --search ID makes one\n",
               array_expression(state.searches_missing));
  }
  return false;
}

RunPart open_planned(const ShardPlan& plan, std::uint64_t id) {
  RunPart part(plan.outputs, plan.shards[id].name, false);  // all_is_there() has read all of it
  check_part(plan, id, part);
  return part;
}

Joined join_into_folder(const SetPlace& place, const ShardPlan& plan, const CLI::App& verb,
                        const Context& context) {
  const Existing existing = place.overwrite ? Existing::kReplace : Existing::kRefuse;
  check_set_target(place.out, existing);
  const SetLock lock(place.out);
  MiningRun run(plan.request_without_device(verb), plan.rows_per_shard, place.out, context);
  plan.check_inputs(run);
  SetWriter writer(place.out, run.schema(), plan.rows_per_shard, existing);
  std::uint64_t unknown_segments = 0;
  Progress progress("shards", plan.shards.size());
  for (std::uint64_t id = 0; id < plan.shards.size(); ++id) {
    const RunPart part = open_planned(plan, id);
    writer.append_set(part.set(), context.stop);
    unknown_segments += count_part(part, run);
    progress.update(id + 1);
  }
  if (context.stop->load()) throw Cancelled("stopped; nothing was written to " + place.out);
  check_unchanged(*run.inputs);
  Joined joined;
  joined.place = place.out;
  joined.run_json = run.report(recall_of_parts(*run.miner), unknown_segments);
  joined.content_hash = writer.finish(joined.run_json);
  joined.words = run_to_words(run.facts);
  if (!writer.moved_aside().empty())
    joined.words += fmt::format("the set that was there is now {}\n", writer.moved_aside());
  return joined;
}

Joined joined_into(const SetPlace& place, const Stored& stored) {
  Joined joined;
  joined.place = fmt::format("{}@{}", place.store.store, stored.version);
  joined.version = stored.version;
  joined.was_there = stored.was_there;
  joined.rows_mined = stored.rows_mined;
  joined.rows_taken = stored.rows_taken;
  joined.content_hash = stored.content_hash;
  joined.run_json = stored.run_json;
  return joined;
}

/// A refresh that is a version already, whole: neither shards nor inputs are asked for, which may
/// be gone.
std::optional<Joined> made_already(const SetPlace& place, const ShardPlan& plan) {
  const Store store = Store::open(place.store.store);
  const StoreLock lock(store.path());
  const auto made = plan.refresh->version_made(store, plan.identity);
  if (!made || !store.verify(*made).empty()) return std::nullopt;
  check_new_version(store, place.store.tags);
  StoreOptions options = place.store;
  options.moves_tags_back = false;
  return joined_into(place, found_in_store(store, options, *made, plan.identity));
}

Joined join_into_a_store(const SetPlace& place, const ShardPlan& plan, const CLI::App& verb,
                         const Context& context) {
  const Store store = Store::create(place.store.store);
  const StoreLock lock(store.path());
  check_new_version(store, place.store.tags, place.store.parents);
  StoreOptions options = place.store;
  options.rows_per_shard = plan.rows_per_shard;
  EarlierRun earlier;
  std::optional<EarlierVersion> parent;
  if (plan.refresh) {
    plan.refresh->check_store(plan.file, plan.identity);  // again, now that it is locked
    parent.emplace(store, plan.refresh->parent);
    earlier = {&*parent, {}, &plan.refresh->rows};
    options.model = plan.refresh->model;
    options.moves_tags_back = false;
    options.parents = {std::to_string(plan.refresh->parent)};
  }
  MiningRun run(plan.request_without_device(verb), plan.rows_per_shard, store.path(), context);
  plan.check_inputs(run);
  if (plan.refresh) {
    for (const std::string& words : plan.refresh->warnings) run.inputs->warnings.push_back(words);
  }
  const MadeParts parts{plan.shards.size(),
                        [&](std::uint64_t id) { return open_planned(plan, id); }};
  const Stored stored = join_into_store(store, options, run, context, parts, earlier);
  Joined joined = joined_into(place, stored);
  if (!stored.was_there) joined.words = run_to_words(run.facts);
  joined.words += why_not_latest(store, stored.version);
  return joined;
}

/// What has the name, and what was put aside as damaged.
void clean_output(const ShardPlan& plan, const std::string& name) {
  const std::string path = plan.outputs + "/" + name;
  remove_folder(path);
  for (int n = 1; n <= 100; ++n) {
    const std::string damaged = fmt::format("{}.damaged-{}", path, n);
    std::error_code error;
    if (!std::filesystem::exists(damaged, error)) break;
    remove_folder(damaged);
  }
}

/// The shards' folders, searches, what killed workers left, and the folder if nothing else is in
/// it.
void clean_outputs(const ShardPlan& plan) {
  for (const PlannedShard& shard : plan.shards) clean_output(plan, shard.name);
  for (std::uint64_t search = 0; search < plan.searches(); ++search)
    clean_output(plan, plan.search_file(search));
  for (const std::string& path : unfinished_parts(plan.outputs, plan.hash.substr(0, 16) + "-"))
    remove_folder(path);
  std::error_code error;
  if (std::filesystem::is_empty(plan.outputs, error)) remove_path(plan.outputs);
}

}  // namespace

MeasuredRecall recall_of_parts(const Miner& miner) {
  if (miner.exact()) return {};
  return {{}, "mined in shards, each of which measured its own rows (run.recall of its manifest)"};
}

std::uint64_t count_part(const RunPart& part, MiningRun& run) {
  try {
    const Json about = Json::parse(part.about());
    run.miner->count_earlier(report_from_json(about.at("report")));
    run.facts.bad_rows += about.at("bad_rows").get<std::uint64_t>();
    run.facts.mine_seconds += about.at("seconds").get<double>();
    return about.at("unknown_segments").get<std::uint64_t>();
  } catch (const nlohmann::json::exception& error) {
    throw InputError(fmt::format("{}: 'part' is damaged ({}); delete the folder and mine it again",
                                 part.set().manifest_path(), error.what()));
  }
}

int join_shards(const JoinArgs& args, const CLI::App& verb, const Context& context) {
  const ShardPlan plan = read_shard_plan(args.plan);
  const SetPlace place = join_place(args, plan);
  std::optional<Joined> made;
  if (plan.refresh) {
    plan.refresh->check_store(plan.file, plan.identity);
    made = made_already(place, plan);
  }
  if (!made) {
    if (!all_is_there(plan, context.stop)) return kGateFailed;
    plan.check_sizes();
    made = place.out.empty() ? join_into_a_store(place, plan, verb, context)
                             : join_into_folder(place, plan, verb, context);
  }
  const Joined& joined = *made;
  std::fputs(joined.words.c_str(), stderr);
  if (plan.refresh && !joined.was_there) {
    fmt::print(stderr, "{} of {} rows mined, {} taken from version {}\n",
               words_of_count(joined.rows_mined),
               words_of_count(joined.rows_mined + joined.rows_taken),
               words_of_count(joined.rows_taken), plan.refresh->parent);
  }
  fmt::print(stderr, "{} {}, joined of {} shards  content hash {}\n",
             joined.was_there ? "there already:" : "wrote", joined.place, plan.shards.size(),
             joined.content_hash);
  if (args.clean) clean_outputs(plan);
  if (args.json) {
    Json out = {{"plan_hash", plan.hash}, {"shards", plan.shards.size()}};
    if (place.out.empty()) {
      out["store"] = place.store.store;
      out["version"] = joined.version;
      out["was_there"] = joined.was_there;
    } else {
      out["set"] = place.out;
    }
    if (plan.refresh) {
      out["parent"] = plan.refresh->parent;
      out["rows_mined"] = joined.rows_mined;
      out["rows_taken"] = joined.rows_taken;
    }
    out["content_hash"] = joined.content_hash;
    out["run"] = Json::parse(joined.run_json);
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  }
  return 0;
}

}  // namespace quarry

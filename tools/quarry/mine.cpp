// quarry mine: from embeddings and events to a negative set on disk.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/store/negative_set.h"
#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "tools/quarry/audit_run.h"
#include "tools/quarry/config_file.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/mine_rows.h"
#include "tools/quarry/mine_shard.h"
#include "tools/quarry/mining_run.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/set_place.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct MineArgs {
  RunOptions run;
  SetPlace place;
  ShardArgs shard;
  AuditWish audit;
  bool json = false;
};

/// Into a store: a run that was stopped goes on where it was. Returns the version.
std::uint64_t run_mine_into_store(const MineArgs& args, const Context& context) {
  check_required(args.run);
  RunRequest request = check_run_options(args.run);
  const Store store = Store::create(args.place.store.store);
  const StoreLock lock(store.path());  // before the inputs are read: nobody waits for nothing
  check_new_version(store, args.place.store.tags, args.place.store.parents);
  Stored stored;
  std::string words;
  try {
    MiningRun run(std::move(request), args.place.store.rows_per_shard, store.path(), context);
    stored = mine_into_store(store, args.place.store, run, context);
    if (!stored.was_there) words = run_to_words(run.facts);
  } catch (const Cancelled&) {
    throw Cancelled("stopped; the shards that are complete are kept in " + args.place.store.store +
                    ", the same command goes on from there");
  }
  const std::string not_latest = why_not_latest(store, stored.version);
  std::fputs(not_latest.c_str(), stderr);
  if (stored.was_there) {
    fmt::print(stderr, "{}: version {} is of the same inputs, recipe and seed; nothing to mine{}\n",
               args.place.store.store, stored.version,
               not_latest.empty() ? ", latest means it now" : "");
    if (!args.place.store.note.empty() || !args.place.store.parents.empty())
      fmt::print(stderr, "note: --note and --parent were not taken, a version is never changed\n");
  } else {
    if (stored.shards_resumed > 0) {
      fmt::print(stderr, "{} of {} shards were there from a run that was stopped\n",
                 words_of_count(stored.shards_resumed), words_of_count(stored.shards));
    }
    std::fputs(words.c_str(), stderr);
    fmt::print(stderr, "{} {} version {}  content hash {}\n", stored.repaired ? "mended" : "wrote",
               args.place.store.store, stored.version, stored.content_hash);
    if (stored.shards_shared > 0) {
      fmt::print(stderr, "{} of {} shards were in the store already\n",
                 words_of_count(stored.shards_shared), words_of_count(stored.shards));
    }
  }
  if (args.json) {
    const Json out = {
        {"store", args.place.store.store},         {"version", stored.version},
        {"was_there", stored.was_there},           {"repaired", stored.repaired},
        {"content_hash", stored.content_hash},     {"shards", stored.shards},
        {"shards_resumed", stored.shards_resumed}, {"shards_shared", stored.shards_shared},
        {"run", Json::parse(stored.run_json)}};
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  }
  return stored.version;
}

void mine_into_folder(const MineArgs& args, const Context& context) {
  check_required(args.run, {{&args.place.out, "--out"}});
  RunRequest request = check_run_options(args.run);
  const Existing existing = args.place.overwrite ? Existing::kReplace : Existing::kRefuse;
  check_set_target(args.place.out, existing);
  const SetLock lock(args.place.out);
  for (const std::string& folder : lock.leftovers()) {
    fmt::print(stderr, "note: {} is left from a run that was killed; it may be deleted\n", folder);
  }

  MiningRun run(std::move(request), args.place.store.rows_per_shard, args.place.out, context);
  SetWriter writer(args.place.out, run.schema(), args.place.store.rows_per_shard, existing);
  const Clock::time_point start = Clock::now();
  Inputs& inputs = *run.inputs;
  RowFeed feed(inputs, *run.miner, run.request.recipe.k, inputs.first_row, inputs.end_row);
  RecallSample sample(run.miner->exact() ? 0 : args.run.recall_rows);
  mine_rows(writer, sample, feed, run.rows(), context);
  run.facts.mine_seconds = seconds_since(start);
  const MeasuredRecall recall =
      measure_recall(sample, inputs, inputs.first_row, *run.miner, context.stop);
  if (context.stop->load())
    throw Cancelled("stopped after the last row; nothing was written to " + args.place.out);
  check_unchanged(inputs);  // embeddings are read from their mappings up to the last row

  run.facts.bad_rows = feed.bad_rows();
  const std::string run_json = run.report(recall, feed.unknown_segments());
  const std::string hash = writer.finish(run_json);

  std::fputs(run_to_words(run.facts).c_str(), stderr);
  if (!writer.moved_aside().empty()) {
    std::fputs(fmt::format("the set that was there is now {}\n", writer.moved_aside()).c_str(),
               stderr);
  }
  std::fputs(fmt::format("wrote {}  content hash {}\n", args.place.out, hash).c_str(), stderr);
  if (args.json) {
    const Json out = {{"set", args.place.out},
                      {"content_hash", hash},
                      {"moved_aside", writer.moved_aside()},
                      {"run", Json::parse(run_json)}};
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  }
}

int run_mine(const MineArgs& args, const CLI::App& verb, const Context& context) {
  if (!args.shard.plan.empty())
    return mine_planned_shard(args.shard, args.run, args.json, verb, context);
  if (args.shard.recheck) throw ConfigError("--recheck is for a shard of a plan: give --plan");
  if (!args.shard.search.empty())
    throw ConfigError("--search is for a plan with slices of the items: give --plan");
  check_place(args.place);
  check_audit_wish(args.audit);
  if (args.place.in_store()) {
    const std::string& store = args.place.store.store;
    const std::uint64_t version = run_mine_into_store(args, context);
    if (!args.audit.wanted()) return 0;
    return audit_finished(fmt::format("{}@{}", store, version), args.audit, context);
  }
  mine_into_folder(args, context);
  return args.audit.wanted() ? audit_finished(args.place.out, args.audit, context) : 0;
}

}  // namespace

void add_mine(CLI::App& app, Context& context) {
  auto args = std::make_shared<MineArgs>();
  CLI::App* verb = app.add_subcommand("mine", "mine hard negatives into a set on disk");
  add_run_options(*verb, args->run);
  add_place_options(
      *verb, args->place,
      "instead of --out: adds a version to a store, goes on with a run that was stopped");
  verb->add_option("--rows-per-shard", args->place.store.rows_per_shard,
                   "rows per shard of the set")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
  args->audit.by_default = true;
  add_audit_wish(*verb, args->audit);
  add_shard_options(*verb, args->shard);
  verb->add_flag("--json", args->json, "print what was done as JSON on stdout");
  add_config_option(*verb);
  verb->callback([&context, args, verb] {
    context.run = [&context, args, verb] { return run_mine(*args, *verb, context); };
  });
}

}  // namespace quarry

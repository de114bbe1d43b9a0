// quarry mine: from embeddings and events to a negative set on disk.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/store/negative_set.h"
#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "tools/quarry/config_file.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/process_memory.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct MineArgs {
  RunOptions run;
  StoreOptions store;
  std::string out;
  bool overwrite = false;
  bool json = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Mines the chosen rows into the writer.
void mine_into(SetWriter& writer, RecallSample& sample, RowFeed& feed, const Inputs& inputs,
               const Context& context) {
  Progress progress("rows", inputs.end_row - inputs.first_row);
  feed.mine(
      [&](const NegativeBatch& batch, std::uint64_t first, const SetRows& rows) {
        writer.append(batch, rows, context.stop);
        sample.offer(batch, rows.key, first);
        progress.update(first + batch.num_rows);
      },
      context.stop);
}

void check_shards(const MineArgs& args, const Inputs& inputs) {
  const std::uint64_t rows = inputs.end_row - inputs.first_row;
  const std::uint64_t per_shard = args.store.rows_per_shard;
  const std::uint64_t shards = (rows + per_shard - 1) / per_shard;
  if (shards > kMaxShards) {
    throw ConfigError(fmt::format(
        "--rows-per-shard: {} for {} rows makes {} shards, at most {} are allowed; give {} or more",
        per_shard, rows, shards, kMaxShards, (rows + kMaxShards - 1) / kMaxShards));
  }
}

/// Into a store: a run that was stopped goes on where it was.
int run_mine_into_store(const MineArgs& args, const Context& context) {
  check_required(args.run);
  RunRequest request = check_run_options(args.run);
  const Store store = Store::create(args.store.store);
  const StoreLock lock(store.path());  // before the inputs are read: nobody waits for nothing
  for (const std::string& parent : args.store.parents) store.resolve(parent);
  store.events();  // a log that is damaged is told now and not after the last row
  MemoryWatch memory;
  RunFacts facts;
  facts.command_line = context.command_line;
  facts.set_folder = store.path();
  Clock::time_point start = Clock::now();
  const std::unique_ptr<Inputs> loaded = load_inputs(request, context);
  Inputs& inputs = *loaded;
  hash_files(inputs, context);
  check_shards(args, inputs);
  facts.load_seconds = seconds_since(start);
  start = Clock::now();
  Miner miner(request.recipe, inputs.miner_inputs(), request.miner);
  facts.prepare_seconds = seconds_since(start);
  facts.request = &request;
  facts.inputs = &inputs;
  facts.miner = &miner;
  Stored stored;
  try {
    stored = mine_into_store(store, args.store, facts, request, inputs, miner, memory, context);
  } catch (const Cancelled&) {
    throw Cancelled("stopped; the shards that are complete are kept in " + args.store.store +
                    ", the same command goes on from there");
  }
  if (stored.was_there) {
    fmt::print(stderr,
               "{}: version {} is of the same inputs, recipe and seed; nothing to mine, latest "
               "means it now\n",
               args.store.store, stored.version);
    if (!args.store.note.empty() || !args.store.parents.empty())
      fmt::print(stderr, "note: --note and --parent were not taken, a version is never changed\n");
  } else {
    if (stored.shards_resumed > 0) {
      fmt::print(stderr, "{} of {} shards were there from a run that was stopped\n",
                 words_of_count(stored.shards_resumed), words_of_count(stored.shards));
    }
    std::fputs(run_to_words(facts).c_str(), stderr);
    fmt::print(stderr, "{} {} version {}  content hash {}\n", stored.repaired ? "mended" : "wrote",
               args.store.store, stored.version, stored.content_hash);
    if (stored.shards_shared > 0) {
      fmt::print(stderr, "{} of {} shards were in the store already\n",
                 words_of_count(stored.shards_shared), words_of_count(stored.shards));
    }
  }
  if (args.json) {
    const Json out = {{"store", args.store.store},
                      {"version", stored.version},
                      {"was_there", stored.was_there},
                      {"repaired", stored.repaired},
                      {"content_hash", stored.content_hash},
                      {"shards", stored.shards},
                      {"shards_resumed", stored.shards_resumed},
                      {"shards_shared", stored.shards_shared},
                      {"run", Json::parse(stored.run_json)}};
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  }
  return 0;
}

void check_place(const MineArgs& args) {
  if (args.store.store.empty()) {
    if (!args.store.tags.empty() || !args.store.parents.empty() || !args.store.model.empty() ||
        !args.store.note.empty())
      throw ConfigError("--tag, --parent, --model and --note are of a version: give --store");
    return;
  }
  if (!args.out.empty()) throw ConfigError("--out and --store exclude each other");
  for (const std::string& name : args.store.tags) Store::check_tag_name(name);
  if (args.overwrite) throw ConfigError("--overwrite is for --out; a store keeps its versions");
}

int run_mine(const MineArgs& args, const Context& context) {
  check_place(args);
  if (!args.store.store.empty()) return run_mine_into_store(args, context);
  check_required(args.run, {{&args.out, "--out"}});
  RunRequest request = check_run_options(args.run);
  const Existing existing = args.overwrite ? Existing::kReplace : Existing::kRefuse;
  check_set_target(args.out, existing);
  const SetLock lock(args.out);
  for (const std::string& folder : lock.leftovers()) {
    fmt::print(stderr, "note: {} is left from a run that was killed; it may be deleted\n", folder);
  }

  MemoryWatch memory;
  RunFacts facts;
  facts.command_line = context.command_line;
  facts.set_folder = args.out;
  Clock::time_point start = Clock::now();
  const std::unique_ptr<Inputs> loaded = load_inputs(request, context);
  Inputs& inputs = *loaded;
  hash_files(inputs, context);
  check_shards(args, inputs);
  facts.load_seconds = seconds_since(start);

  start = Clock::now();
  Miner miner(request.recipe, inputs.miner_inputs(), request.miner);
  facts.prepare_seconds = seconds_since(start);

  SetSchema schema;
  schema.k = request.recipe.k;
  schema.branches = miner.branch_names();
  schema.strata = miner.stratum_names();
  schema.num_items = inputs.snapshot.num_items;
  SetWriter writer(args.out, schema, args.store.rows_per_shard, existing);
  start = Clock::now();
  RowFeed feed(inputs, miner, request.recipe.k, inputs.first_row, inputs.end_row);
  RecallSample sample(miner.exact() ? 0 : args.run.recall_rows);
  mine_into(writer, sample, feed, inputs, context);
  facts.mine_seconds = seconds_since(start);
  facts.recall = measure_recall(sample, inputs, inputs.first_row, miner, context.stop);
  if (context.stop->load())
    throw Cancelled("stopped after the last row; nothing was written to " + args.out);
  check_unchanged(inputs);  // embeddings are read from their mappings up to the last row

  facts.request = &request;
  facts.inputs = &inputs;
  facts.miner = &miner;
  facts.bad_rows = feed.bad_rows();
  facts.warnings = run_warnings(request, inputs, miner, feed.unknown_segments(), feed.bad_rows());
  if (std::string words = recall_warning(facts.recall, args.run.recall); !words.empty())
    facts.warnings.push_back(std::move(words));
  facts.peak_resident = process_memory().peak_resident;
  facts.peak_anonymous = memory.peak_anonymous();
  const std::string run_json = run_to_json(facts);
  const std::string hash = writer.finish(run_json);

  std::fputs(run_to_words(facts).c_str(), stderr);
  if (!writer.moved_aside().empty()) {
    std::fputs(fmt::format("the set that was there is now {}\n", writer.moved_aside()).c_str(),
               stderr);
  }
  std::fputs(fmt::format("wrote {}  content hash {}\n", args.out, hash).c_str(), stderr);
  if (args.json) {
    const Json out = {{"set", args.out},
                      {"content_hash", hash},
                      {"moved_aside", writer.moved_aside()},
                      {"run", Json::parse(run_json)}};
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  }
  return 0;
}

}  // namespace

void add_mine(CLI::App& app, Context& context) {
  auto args = std::make_shared<MineArgs>();
  CLI::App* verb = app.add_subcommand("mine", "mine hard negatives into a set on disk");
  add_run_options(*verb, args->run);
  verb->add_option("--out", args->out, "folder of the new set");
  verb->add_flag("--overwrite", args->overwrite,
                 "replace the set at --out; the old one is kept as <out>.old");
  verb->add_option(
      "--store", args->store.store,
      "instead of --out: adds a version to a store, goes on with a run that was stopped");
  verb->add_option("--tag", args->store.tags, "with --store: tags to move to the new version");
  verb->add_option("--model", args->store.model, "with --store: name of the model of the vectors");
  verb->add_option("--parent", args->store.parents,
                   "with --store: versions that this one comes from");
  verb->add_option("--note", args->store.note, "with --store: words kept with the version");
  verb->add_option("--rows-per-shard", args->store.rows_per_shard, "rows per shard of the set")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
  verb->add_flag("--json", args->json, "print what was done as JSON on stdout");
  add_config_option(*verb);
  verb->callback(
      [&context, args] { context.run = [&context, args] { return run_mine(*args, context); }; });
}

}  // namespace quarry

// quarry shards: a run cut into shards for a cluster: planned, watched, joined.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/store/files.h"
#include "kernels/core/errors.h"
#include "tools/quarry/config_file.h"
#include "tools/quarry/join_shards.h"
#include "tools/quarry/output_file.h"
#include "tools/quarry/planned_parts.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/refresh_plan.h"
#include "tools/quarry/row_probe.h"
#include "tools/quarry/shard_plan.h"
#include "tools/quarry/verbs.h"
#include "tools/quarry/worker_memory.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// Shards of "auto": so long that loading the inputs, which each worker does, is a tenth of the
/// time, and no longer than a scheduler's queue or a preempted machine makes pleasant.
constexpr double kLoadsPerShard = 9;
constexpr double kShortestSeconds = 60, kLongestSeconds = 300;

struct ShardsPlanArgs : NextVersion {
  std::string shards = "auto";
  std::uint64_t rows_per_shard = 0;
  std::string item_slices = "1", worker_memory;
  std::string out, outputs;
  double probe_seconds = 3;
  double shard_seconds = 0;
  bool json = false;
};

struct ShardsStateArgs {
  std::string plan;
  bool verify = false;
  bool searches = false;
  bool json = false;
};

/// Of a flag that may be auto, which is 0.
std::uint64_t wished_number(const std::string& flag, const std::string& text, std::uint64_t most) {
  if (text == "auto") return 0;
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 1 || count > most) {
    throw ConfigError(
        fmt::format("{}: '{}' is neither auto nor a number from 1 to {}", flag, text, most));
  }
  return count;
}

/// Where shards will lie: workers make it, in a folder that is there.
std::string shard_folder(const ShardsPlanArgs& args) {
  namespace fs = std::filesystem;
  const fs::path plan = file_of_plan(args.out);
  fs::path folder = args.outputs;
  if (!folder.empty() && !folder.has_filename()) folder = folder.parent_path();  // "folder/"
  if (folder.empty()) {
    folder = plan;
    if (plan.extension() != ".shards") folder.replace_extension();
    folder += ".shards";
  }
  std::error_code error;
  const fs::file_status there = fs::status(folder, error);
  if ((fs::exists(there) && !fs::is_directory(there)) || file_of_plan(folder.string()) == plan) {
    throw IoError(fmt::format("--shard-folder: {} is a file; choose another folder for the shards",
                              folder.string()));
  }
  const fs::path parent = fs::path(file_of_plan(folder.string())).parent_path();
  if (!fs::exists(there) && !fs::is_directory(parent, error)) {
    throw IoError(fmt::format("--shard-folder: cannot be made by workers: make the folder {} first",
                              parent.string()));
  }
  return folder.string();
}

/// What a worker with other devices or threads might choose otherwise is written down: all search
/// the same index in the same way.
void pin_search(MiningRun& run) {
  RunOptions& options = run.request.options;
  const RetrieverChoice& choice = run.miner->choice();
  if (options.retriever == "auto" && options.recall < 1 && !choice.rule.empty()) {
    options.retriever = choice.chosen.retriever;
    if (options.nprobe == 0) options.nprobe = choice.chosen.nprobe;
    if (options.ef_search == 0) options.ef_search = choice.chosen.ef_search;
  }
  if (run.miner->exact()) return;
  if (options.index_cache.empty()) {
    throw ConfigError(fmt::format(
        "--retriever: {} is an approximate index, which is made once and searched by all workers: "
        "give --index-cache FILE, or --retriever exact",
        run.miner->plan(1).retriever));
  }
  options.tile = run.miner->plan(run.rows()).tile_rows;
}

void check_plan_args(const ShardsPlanArgs& args) {
  if (!args.run.shard.empty()) throw ConfigError("--shard: a plan is of all rows; take it out");
  if (args.version.empty()) {
    check_required(args.run, {{&args.out, "--out"}});
    if (!args.parent_items.empty() || !args.model.empty() || args.new_snapshot) {
      throw ConfigError(
          "--new-snapshot, --parent-items and --model are of a refresh: give --refresh STORE");
    }
    return;
  }
  if (args.out.empty()) throw ConfigError("--out is missing, the file of the plan");
  if (args.rows_per_shard > 0) {
    throw ConfigError(
        "--rows-per-shard: a refresh has that of the version that it goes on from; take it out");
  }
}

/// Of a refresh: what is to be done and why.
void print_refresh(const PlannedRefresh& refresh, std::optional<std::uint64_t> was_there) {
  if (was_there) {
    fmt::print(stderr,
               "{}: nothing changed that version {} does not know; nothing is to be mined\n",
               refresh.store, *was_there);
    return;
  }
  if (!refresh.rows.obstacles.empty()) fmt::print(stderr, "every row is mined:\n");
  for (const std::string& words : refresh.rows.obstacles) fmt::print(stderr, "  {}\n", words);
  for (const std::string& words : refresh.warnings) fmt::print(stderr, "warning: {}\n", words);
  fmt::print(stderr, "{} rows are to be mined, {} are taken from version {}\n",
             words_of_count(refresh.rows.to_mine.count()), words_of_count(refresh.rows_taken),
             refresh.parent);
}

/// How the rows were cut, how long it will take, and what is doubtful about that.
void print_cut(const ShardsPlanArgs& args, const ShardCut& cut, const ShardPlan& plan,
               double starting, double mining, const MiningRun& run) {
  const double shards = static_cast<double>(plan.shards.size());
  fmt::print(stderr, "{} rows in {} shards of {}, numbered 0 to {}\n", words_of_count(plan.rows()),
             plan.shards.size(), words_of_count(plan.shards.front().rows), plan.shards.size() - 1);
  if (!plan.refresh && args.shards != "auto" && plan.shards.size() != cut.shards) {
    fmt::print(stderr,
               "note: {} shards were asked for; each is of whole shards of the set, of {} "
               "rows\n",
               cut.shards, words_of_count(plan.rows_per_shard));
  }
  if (!plan.slices.empty()) {
    fmt::print(stderr,
               "items in {} slices of about {}: {} searches first, numbered 0 to {}; each says how "
               "many entries it leaves on the disk, 8 bytes each\n",
               plan.slices.size(), words_of_count(plan.slices.front().size()), plan.searches(),
               plan.searches() - 1);
    const MatrixView items = run.inputs->miner_inputs().items;
    if (run.request.recipe.metric == Metric::kCosine || items.dtype != Dtype::kF32) {
      fmt::print(stderr,
                 "note: every worker holds {} of prepared rows of all items ({}); slices do not "
                 "save these\n",
                 words_of_bytes(items.rows * items.dim * sizeof(float)),
                 items.dtype != Dtype::kF32 ? "widened" : "unit rows, for cosine");
    }
  }
  if (mining > 0) {
    const double each = mining / shards / static_cast<double>(cut.item_slices);
    fmt::print(stderr, "{} takes about {} to load and {} to {} here\n",
               plan.slices.empty() ? "a shard" : "a search", words_of_seconds(starting),
               words_of_seconds(each), plan.slices.empty() ? "mine" : "search");
    if (starting > each && plan.shards.size() > 1) {
      fmt::print(stderr, "warning: loading takes longer than mining; fewer shards waste less\n");
    }
  }
}

/// How many slices, and with --shards auto how many shards, by the time that all rows take one
/// process to mine (0: not known) and to start. rows: to mine.
SliceChoice choose_cut(const ShardsPlanArgs& args, const WorkerMemory& memory,
                       const MemoryLimit& limit, std::uint64_t rows, double mining, double starting,
                       ShardCut& cut) {
  const bool by_time = cut.shards == 0, by_memory = cut.item_slices == 0;
  const auto shards_of = [&](std::uint64_t slices) -> std::uint64_t {
    if (!by_time) return cut.shards;
    const double each = args.shard_seconds > 0 ? args.shard_seconds
                                               : std::clamp(kLoadsPerShard * starting,
                                                            kShortestSeconds, kLongestSeconds);
    // The unit of work is the search of a slice.
    double shards = std::ceil(mining / static_cast<double>(slices) / each);
    if (slices > 1 && (by_memory || limit.given)) {
      const std::uint64_t most = most_rows_of_shard(limit);
      shards = std::max(shards, static_cast<double>((rows + most - 1) / most));
    }
    return static_cast<std::uint64_t>(std::clamp(shards, 1.0, static_cast<double>(kMaxShards)));
  };
  const auto rows_of = [&](std::uint64_t slices) {
    return rows_of_largest_shard({shards_of(slices), cut.rows_per_shard, slices}, rows,
                                 !args.version.empty());
  };
  SliceChoice choice;
  if (by_memory) {
    choice = choose_slices(memory, limit, rows_of);
  } else {
    check_number_of_slices(cut.item_slices, memory.run());
    choice = check_slices(memory, limit, cut.item_slices, rows_of(cut.item_slices));
  }
  cut.item_slices = choice.slices;
  cut.shards = shards_of(choice.slices);
  return choice;
}

int run_shards_plan(const ShardsPlanArgs& args, const CLI::App& verb, const Context& context) {
  check_plan_args(args);
  ShardCut cut{wished_number("--shards", args.shards, kMaxShards), args.rows_per_shard,
               wished_number("--item-slices", args.item_slices, kMostSlices)};
  const bool by_time = cut.shards == 0, by_memory = cut.item_slices == 0;
  if (!by_time && args.shard_seconds > 0)
    throw ConfigError("--shard-seconds is for --shards auto; take one of the two out");
  const MemoryLimit limit = memory_limit(args.worker_memory);
  if (by_memory && limit.bytes == 0)
    throw ConfigError(
        "--item-slices auto: this machine does not say how much memory it has; give "
        "--worker-memory SIZE");
  const std::string outputs = shard_folder(args);
  OutputFile file(args.out, "--out");
  // Rows per shard are chosen when the rows are known.
  RunOptions options = args.run;
  // Slices are searched on the CPU, also by workers that have a GPU.
  if (cut.item_slices != 1 && options.device == "auto") options.device = "cpu";
  std::optional<RefreshPlanner> refresh;
  if (!args.version.empty()) refresh.emplace(args, verb, options.device);
  if (refresh) cut.rows_per_shard = refresh->rows_per_shard();
  MiningRun run(refresh ? refresh->request() : check_run_options(options),
                refresh ? cut.rows_per_shard : std::uint64_t{1} << 40, args.out, context);
  pin_search(run);
  if (!by_memory) check_number_of_slices(cut.item_slices, run);  // before rows are tried
  const double starting = run.facts.load_seconds + run.facts.prepare_seconds;
  std::optional<PlannedRefresh> planned;
  std::uint64_t rows = run.rows();
  if (refresh) {
    std::optional<std::uint64_t> was_there;
    planned = refresh->decide(run, context, was_there);
    rows = planned->rows.to_mine.count();
    print_refresh(*planned, was_there);
  }
  RecallSample unused(0);
  const double probing =
      by_time || by_memory ? std::max(args.probe_seconds, 1e-3) : args.probe_seconds;
  const RowProbe probe = probe_rows(*run.inputs, *run.miner, run.request.recipe,
                                    rows > 0 ? probing : 0, unused, context);
  if (context.stop->load()) throw Cancelled("stopped while planning; nothing was written");
  const double mining =
      probe.rows_per_second > 0 ? static_cast<double>(rows) / probe.rows_per_second : 0;
  // A refresh has looked at other versions meanwhile.
  const WorkerMemory memory(run, probe.rows > 0 && !refresh ? run.memory.peak_anonymous() : 0);
  const SliceChoice choice = choose_cut(args, memory, limit, rows, mining, starting, cut);
  if (by_memory && choice.slices == 1)  // any device will do
    run.request.options.device = refresh ? refresh->named_device() : args.run.device;
  check_unchanged(*run.inputs);
  const Json estimate = {{"rows_per_second", probe.rows_per_second},
                         {"load_and_prepare_seconds", starting},
                         {"mine_seconds", mining}};
  const PlanNotes notes{context.command_line, estimate.dump(),
                        memory.json(limit, choice, by_memory)};
  file.write(make_shard_plan(args.out, outputs, cut, run, notes, planned));
  const ShardPlan plan = read_shard_plan(args.out);
  if (!plan.shards.empty()) print_cut(args, cut, plan, starting, mining, run);
  fmt::print(stderr, "{}\n", memory.words(choice.need));
  if (by_memory) fmt::print(stderr, "{}\n", choice.rule);
  if (!choice.warning.empty()) fmt::print(stderr, "warning: {}\n", choice.warning);
  fmt::print(stderr, "wrote {}  plan hash {}\n", args.out, plan.hash);
  if (args.json) std::fputs(plan.json.c_str(), stdout);
  return 0;
}

/// What a plan of a refresh goes on from; null of others.
Json of_refresh(const ShardPlan& plan) {
  if (!plan.refresh) return {};
  return {{"store", plan.refresh->store},
          {"parent", plan.refresh->parent},
          {"rows_taken", plan.refresh->rows_taken}};
}

int run_shards_status(const ShardsStateArgs& args, const Context& context) {
  const ShardPlan plan = read_shard_plan(args.plan);
  const PlanState state = state_of_plan(plan, args.verify, context.stop);
  const std::size_t done = plan.shards.size() - state.missing.size();
  const bool complete = state.missing.empty();
  if (args.json) {
    const Json out = {{"plan_hash", plan.hash},
                      {"shards", plan.shards.size()},
                      {"done", done},
                      {"complete", complete},
                      {"refresh", of_refresh(plan)},
                      {"rows", plan.rows()},
                      {"rows_done", state.rows_done},
                      {"seconds", state.seconds},
                      {"missing", state.missing},
                      {"array", array_expression(state.missing)},
                      {"damages", state.damages},
                      {"unfinished", state.unfinished},
                      {"searches", plan.searches()},
                      {"searches_missing", state.searches_missing},
                      {"outputs", plan.outputs}};
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return complete ? 0 : kGateFailed;
  }
  if (plan.refresh)
    fmt::print("refresh of {} from version {}\n", plan.refresh->store, plan.refresh->parent);
  fmt::print("{} of {} shards, {} of {} rows\n", done, plan.shards.size(),
             words_of_count(state.rows_done), words_of_count(plan.rows()));
  for (const std::string& damage : state.damages) fmt::print("damaged: {}\n", damage);
  if (!state.unfinished.empty()) {
    fmt::print("{} unfinished, of workers at work or killed\n",
               words_of_count(state.unfinished.size(), "output"));
  }
  if (!complete) fmt::print("missing: {}\n", array_expression(state.missing));
  if (!state.searches_missing.empty()) {
    fmt::print("searches of slices that these need and that are missing: {}\n",
               array_expression(state.searches_missing));
  }
  return complete ? 0 : kGateFailed;
}

int run_shards_missing(const ShardsStateArgs& args, const Context& context) {
  const ShardPlan plan = read_shard_plan(args.plan);
  const PlanState state = state_of_plan(plan, args.verify, context.stop);
  for (const std::string& damage : state.damages) fmt::print(stderr, "{}\n", damage);
  const std::vector<std::uint64_t>& missing =
      args.searches ? state.searches_missing : state.missing;
  if (missing.empty()) return 0;
  fmt::print("{}\n", array_expression(missing));
  return kGateFailed;
}

void add_shards_plan(CLI::App& shards, Context& context) {
  auto args = std::make_shared<ShardsPlanArgs>();
  CLI::App* verb = shards.add_subcommand("plan", "cut a run into shards: writes the work list");
  add_run_options(*verb, args->run);
  verb->add_option("--refresh", args->version,
                   "STORE or STORE@VERSION: of its refresh, whose rows to mine the shards are; run "
                   "flags say what is new");
  add_next_version_options(*verb, *args);
  verb->add_option("--out", args->out, "file of the plan, JSON");
  verb->add_option("--shards", args->shards,
                   "how many at most; auto: of 1 to 5 minutes here, by mining some rows")
      ->capture_default_str();
  verb->add_option(
          "--shard-seconds", args->shard_seconds,
          "with --shards auto: seconds of mining in a shard; 0: 60 to 300, by what loading takes")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86400.0));
  verb->add_option("--shard-folder", args->outputs,
                   "where the shards will lie; default: beside the plan, <plan>.shards");
  verb->add_option("--rows-per-shard", args->rows_per_shard,
                   "rows per shard of the set that is joined; 0: at most 65536, to fit --shards")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 40));
  verb->add_option("--item-slices", args->item_slices,
                   "parts of the items, each searched by itself, for tables beyond a machine's "
                   "memory; auto: the fewest by which a worker stays within --worker-memory")
      ->capture_default_str();
  verb->add_option("--worker-memory", args->worker_memory,
                   "what one worker may have, with the files that it reads again and again, e.g. "
                   "16GiB, 800MiB; default: what this machine, or this process's control group, "
                   "has");
  verb->add_option("--probe-seconds", args->probe_seconds,
                   "time for trying rows; 0: do not try, unless --shards or --item-slices is auto")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 60.0));
  verb->add_flag("--json", args->json, "print the plan on stdout too");
  add_config_option(*verb);
  verb->callback([&context, args, verb] {
    context.run = [&context, args, verb] { return run_shards_plan(*args, *verb, context); };
  });
}

void add_shards_state(CLI::App& shards, Context& context) {
  auto args = std::make_shared<ShardsStateArgs>();
  CLI::App* status = shards.add_subcommand(
      "status", "what is done and what is missing; exit code 8 until all is done");
  CLI::App* missing = shards.add_subcommand(
      "missing", "numbers of the missing shards, as --array= takes them; exit code 8 if any is");
  for (CLI::App* verb : {status, missing}) {
    verb->add_option("plan", args->plan, "the plan")->required();
    verb->add_flag("--verify", args->verify, "read every byte: damaged shards are missing too");
  }
  missing->add_flag("--searches", args->searches,
                    "the searches of slices that missing shards need, for mine --search");
  status->add_flag("--json", args->json, "JSON on stdout");
  status->callback([&context, args] {
    context.run = [&context, args] { return run_shards_status(*args, context); };
  });
  missing->callback([&context, args] {
    context.run = [&context, args] { return run_shards_missing(*args, context); };
  });
}

void add_shards_join(CLI::App& shards, Context& context) {
  auto args = std::make_shared<JoinArgs>();
  CLI::App* verb = shards.add_subcommand(
      "join", "one set of all shards, the one that a single process would have written");
  verb->add_option("plan", args->plan, "the plan")->required();
  add_place_options(*verb, args->place, "instead of --out: adds a version to a store");
  verb->add_flag("--clean", args->clean, "then remove the shards' folders");
  verb->add_flag("--json", args->json, "print what was done as JSON on stdout");
  verb->callback([&context, args, verb] {
    context.run = [&context, args, verb] { return join_shards(*args, *verb, context); };
  });
}

}  // namespace

void add_shards(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand(
      "shards", "mine on many machines: plan, status, missing, join (docs/cluster.md)");
  verb->require_subcommand(1);
  add_shards_plan(*verb, context);
  add_shards_state(*verb, context);
  add_shards_join(*verb, context);
}

}  // namespace quarry

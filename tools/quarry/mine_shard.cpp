// Mining a shard of a plan.
#include "tools/quarry/mine_shard.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/mine/dependence.h"
#include "host/store/files.h"
#include "host/store/run_part.h"
#include "kernels/core/errors.h"
#include "tools/quarry/machine_limits.h"
#include "tools/quarry/mine_rows.h"
#include "tools/quarry/planned_parts.h"
#include "tools/quarry/report_json.h"
#include "tools/quarry/search_slice.h"
#include "tools/quarry/shard_plan.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// What may be said beside a plan: how this machine is to work.
void check_flags_beside_plan(const CLI::App& verb, const ShardPlan& plan) {
  const std::vector<std::string> allowed = {"--plan",        "--shard",   "--search",
                                            "--recheck",     "--threads", "--device",
                                            "--host-memory", "--tile",    "--json"};
  const auto is_no_audit = [](const CLI::Option* option) {  // what a plan's worker does anyway
    return option->get_name() == "--audit" && option->results().back() == "false";
  };
  std::vector<std::string> refused;
  for (const CLI::Option* option : verb.get_options()) {
    const std::string name = option->get_name();
    if (option->count() == 0 || std::ranges::find(allowed, name) != allowed.end() ||
        is_no_audit(option))
      continue;
    refused.push_back(name);
  }
  if (!refused.empty()) {
    throw ConfigError(fmt::format("{}: --plan holds the run's flags; take {} out, or plan anew",
                                  plan.file, fmt::join(refused, ", ")));
  }
  if (!plan.exact && verb.get_option("--tile")->count() > 0)
    throw ConfigError("--tile: the plan holds it, results of approximate indexes may depend on it");
}

/// The committed shard, or nothing where there is none yet. One that is damaged is put aside.
std::optional<RunPart> shard_there(const ShardPlan& plan, std::uint64_t id) {
  const std::string& name = plan.shards[id].name;
  if (!RunPart::is_there(plan.outputs, name)) return std::nullopt;
  try {
    RunPart part(plan.outputs, name, true);
    check_part(plan, id, part);
    return part;
  } catch (const ForeignPart&) {
    throw;  // not ours to move
  } catch (const InputError& error) {
    fmt::print(stderr, "note: {}\nnote: it is now {}, the shard is mined again\n", error.what(),
               move_damaged_part_aside(plan.outputs, name));
    return std::nullopt;
  }
}

void make_outputs(const ShardPlan& plan) {
  if (make_folder(plan.outputs))
    sync_folder(std::filesystem::path(plan.outputs).parent_path().string());
}

/// Where and when: what scaling over workers is judged by.
Json worker_json(const MiningRun& run, double began) {
  const MachineFacts machine = machine_facts();
  const Exec& exec = run.request.miner.exec;
  return {{"node", machine.node},
          {"processor", machine.processor},
          {"processors", machine.processors},
          {"threads", exec.threads},
          {"gpus", exec.device == Device::kCuda ? run.request.miner.more.size() + 1 : 0},
          {"began", began}};
}

void tell_shard(const ShardPlan& plan, std::uint64_t id, const std::string& hash, bool was_there,
                double seconds, bool json) {
  const PlannedShard& shard = plan.shards[id];
  fmt::print(stderr, "{} shard {} of {}, {}rows {} to {}  content hash {}\n",
             was_there ? "there already:" : "wrote", id, plan.shards.size(),
             plan.refresh ? fmt::format("{} of ", words_of_count(shard.rows)) : "", shard.first_row,
             shard.end_row - 1, hash);
  if (!json) return;
  const Json out = {{"plan_hash", plan.hash},       {"shard", id},
                    {"shards", plan.shards.size()}, {"output", plan.outputs + "/" + shard.name},
                    {"first_row", shard.first_row}, {"end_row", shard.end_row},
                    {"rows", shard.rows},           {"content_hash", hash},
                    {"was_there", was_there},       {"seconds", seconds}};
  std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace

void add_shard_options(CLI::App& verb, ShardArgs& args) {
  verb.add_option(
      "--plan", args.plan,
      "instead of all run flags: a plan (quarry shards plan), of which --shard is mined");
  verb.add_flag("--recheck", args.recheck,
                "with --plan: mine the shard though it is there, and compare");
  verb.add_option(
      "--search", args.search,
      "with a plan of --item-slices: search one slice for one shard, instead of --shard");
}

int mine_planned_shard(const ShardArgs& args, const RunOptions& flags, bool json,
                       const CLI::App& verb, const Context& context) {
  const auto start = std::chrono::steady_clock::now();
  const double began = unix_seconds();
  const ShardPlan plan = read_shard_plan(args.plan);
  check_flags_beside_plan(verb, plan);
  if (plan.shards.empty()) {
    throw ConfigError(
        fmt::format("{}: has no shard, no row is to be mined: quarry shards join", plan.file));
  }
  if (!args.search.empty()) {
    if (!flags.shard.empty() || args.recheck)
      throw ConfigError("--search: is instead of --shard and --recheck");
    if (plan.slices.empty()) {
      throw ConfigError(fmt::format(
          "--search: {} has no slices of the items (quarry shards plan --item-slices)", plan.file));
    }
    const std::uint64_t search = task_number(args.search, "--search", plan.searches(), plan);
    make_outputs(plan);
    return search_planned_slice(plan, search, flags, json, verb, context);
  }
  if (flags.shard.empty()) {
    throw ConfigError(fmt::format("--plan wants --shard ID, 0 to {}, or --shard env in a job array",
                                  plan.shards.size() - 1));
  }
  const std::uint64_t id = task_number(flags.shard, "--shard", plan.shards.size(), plan);
  const PlannedShard& shard = plan.shards[id];
  make_outputs(plan);
  if (const std::optional<RunPart> there = shard_there(plan, id); there && !args.recheck) {
    tell_shard(plan, id, there->set().content_hash(), true, seconds_since(start), json);
    return 0;
  }
  plan.check_sizes();
  RunRequest request = plan.request(verb, flags);
  if (!plan.slices.empty()) {
    std::vector<std::uint64_t> missing;
    std::string words;
    request.miner.found = lists_of_shard(plan, id, missing, words);
    if (request.miner.found == nullptr) {
      fmt::print(
          stderr,
          "{}shard {}: is mined from searches of slices, of which some are missing: {}; make "
          "them with --search\n",
          words, id, array_expression(missing));
      return kGateFailed;
    }
  }
  MiningRun run(std::move(request), plan.rows_per_shard, plan.outputs + "/" + shard.name, context);
  plan.check_inputs(run);
  Inputs& inputs = *run.inputs;
  inputs.first_row = shard.first_row;
  inputs.end_row = shard.end_row;
  run.request.shard = id;
  run.request.num_shards = plan.shards.size();
  const Dependence dependence(run.request.recipe, inputs.miner_inputs(), inputs.item_ids,
                              run.request.options.seed, run.request.options.round,
                              run.request.miner.exec);
  PartWriter writer(plan.outputs, shard.name, run.schema(), plan.rows_per_shard);
  const std::optional<TakeOver> passed_over = plan.passed_over();
  RowFeed feed(inputs, *run.miner, run.request.recipe.k, shard.first_row, shard.end_row,
               &dependence, passed_over ? &*passed_over : nullptr, 0,
               run.request.miner.host_memory / kStretchShare);
  RecallSample sample(run.miner->exact() ? 0 : run.request.options.recall_rows);
  const auto mining = std::chrono::steady_clock::now();
  mine_rows(writer, sample, feed, run.rows(), context);
  run.facts.mine_seconds = seconds_since(mining);
  // Of the rows alone: recall is measured with searches of its own.
  const Json part = {{"plan", plan.hash},
                     {"shard", id},
                     {"report", report_to_json(run.miner->report())},
                     {"bad_rows", feed.bad_rows()},
                     {"unknown_segments", feed.unknown_segments()},
                     {"seconds", run.facts.mine_seconds},
                     {"worker", worker_json(run, began)}};
  const MeasuredRecall recall =
      measure_recall(sample, inputs, inputs.first_row, *run.miner, context.stop);
  if (context.stop->load())
    throw Cancelled(fmt::format("stopped after the last row of shard {}; it is not kept", id));
  check_unchanged(inputs);
  run.facts.bad_rows = feed.bad_rows();
  const PartCommit done = writer.commit(run.report(recall, feed.unknown_segments()), part.dump());
  for (const std::string& warning : run.facts.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  if (const std::uint64_t again = run.miner->report().search.queries;
      again > 0 && !plan.slices.empty()) {
    fmt::print(
        stderr,
        "note: {} searches among all items, of rows that the lists of slices were not enough for\n",
        words_of_count(again));
  }
  tell_shard(plan, id, done.content_hash, done.was_there, seconds_since(start), json);
  return 0;
}

}  // namespace quarry

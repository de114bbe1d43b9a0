// quarry plan: what a mining run will need, measured on a few rows, without mining.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/store/negative_set.h"
#include "kernels/core/errors.h"
#include "tools/quarry/config_file.h"
#include "tools/quarry/foretold_memory.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/process_memory.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/row_probe.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kRowsLookedAt = 4096;

struct PlanArgs {
  RunOptions run;
  double probe_seconds = 1.5;
  bool json = false;
};

/// Positives of all rows, by those of the first.
std::uint64_t positives_of(const Inputs& inputs) {
  const std::uint64_t rows = inputs.end_row - inputs.first_row;
  const std::uint64_t read = std::min(rows, kRowsLookedAt);
  if (read == 0) return 0;
  RowTable block;
  inputs.rows.read(inputs.first_row, read, block);
  return static_cast<std::uint64_t>(static_cast<double>(block.positives.size()) /
                                    static_cast<double>(read) * static_cast<double>(rows));
}

int run_plan(const PlanArgs& args, const Context& context) {
  RunRequest request = check_run_options(args.run);
  request.miner.faiss.save = false;  // another run's index may lie there
  MemoryWatch memory;
  LoadedMemory loaded;
  const Clock::time_point start = Clock::now();
  const std::unique_ptr<Inputs> held = load_inputs(request, context);
  const Inputs& inputs = *held;
  const double load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  loaded.now = process_memory();
  loaded.peak_anonymous = memory.peak_anonymous();
  const Clock::time_point prepare_start = Clock::now();
  Miner miner(request.recipe, inputs.miner_inputs(), request.miner);
  const double prepare_seconds =
      std::chrono::duration<double>(Clock::now() - prepare_start).count();
  const std::uint64_t rows = inputs.end_row - inputs.first_row;
  RecallSample sample(miner.exact() ? 0 : args.run.recall_rows);
  const RowProbe measured =
      probe_rows(inputs, miner, request.recipe, args.probe_seconds, sample, context);
  const MeasuredRecall recall =
      measure_recall(sample, inputs, inputs.first_row, miner, context.stop);
  const MinePlan plan = miner.plan(rows);  // knows what the probe needed
  const ForetoldMemory foretold =
      foretell_memory(loaded, plan, measured.rows > 0 ? memory.peak_anonymous() : 0);
  const double mine_seconds =
      measured.rows_per_second > 0 ? static_cast<double>(rows) / measured.rows_per_second : 0;
  const SetSchema schema{request.recipe.k, miner.branch_names(), {}, inputs.snapshot.num_items};
  const std::uint64_t output_bytes = set_bytes(schema, rows, positives_of(inputs));

  std::string words;
  const auto line = [&](const char* what, const std::string& value) {
    words += fmt::format("{:<22} {}\n", what, value);
  };
  line("rows", words_of_count(rows));
  line("items, users, dim", fmt::format("{}, {}, {}", words_of_count(plan.num_items),
                                        words_of_count(plan.num_users), plan.dim));
  line("negatives per row", std::to_string(plan.k));
  line("retriever", plan.retriever);
  if (args.run.retriever == "auto" && !miner.choice().rule.empty())
    line("chosen, because", miner.choice().rule);
  line("search depth", words_of_count(plan.depth));
  line("tile",
       fmt::format(
           "{} rows, {} tiles", words_of_count(plan.tile_rows),
           words_of_count(plan.tile_rows > 0 ? (rows + plan.tile_rows - 1) / plan.tile_rows : 0)));
  line("memory, loaded tables", words_of_bytes(loaded.now.anonymous));
  line("memory, engine", words_of_bytes(plan.resident_bytes));
  line("memory, tiles", words_of_bytes(plan.tile_bytes));
  line("memory, mapped files", words_of_bytes(plan.mapped_bytes));
  line("memory, peak", fmt::format("{} resident, of it {} beyond mapped files",
                                   words_of_bytes(foretold.peak_resident),
                                   words_of_bytes(foretold.peak_anonymous)));
  line("output", words_of_bytes(output_bytes));
  line("arithmetic", fmt::format("{:.3g} GFLOP of matrix products", plan.gemm_flops / 1e9));
  if (measured.rows > 0) {
    line("probe", fmt::format("{} rows, {} rows/s, {:.1f} % filled", words_of_count(measured.rows),
                              words_of_count(static_cast<std::uint64_t>(measured.rows_per_second)),
                              100 * measured.fill));
  } else {
    line("probe", "none: time is not known, memory is an estimate");
  }
  line("time",
       fmt::format("load {}, prepare {} (of it building the index {}), mine {}",
                   words_of_seconds(load_seconds), words_of_seconds(prepare_seconds),
                   words_of_seconds(plan.build_seconds),
                   measured.rows > 0 ? "about " + words_of_seconds(mine_seconds) : "not known"));
  const std::string recall_text = recall_json(recall, mine_seconds);
  words += recall_words(recall_text);
  std::vector<std::string> warnings =
      run_warnings(request, inputs, miner, 0, measured.bad_rows, RowsSeen::kProbed);
  if (std::string text = recall_warning(recall, args.run.recall); !text.empty())
    warnings.push_back(std::move(text));
  words += exposure_words(inputs);
  for (const std::string& warning : warnings) words += "warning: " + warning + "\n";
  if (!args.json) {
    std::fputs(words.c_str(), stdout);
    return 0;
  }
  const Json json = {
      {"rows", rows},
      {"num_items", plan.num_items},
      {"num_users", plan.num_users},
      {"dim", plan.dim},
      {"k", plan.k},
      {"retriever", plan.retriever},
      {"retriever_choice", Json::parse(choice_json(miner))},
      {"recall", Json::parse(recall_text)},
      {"depth", plan.depth},
      {"tile_rows", plan.tile_rows},
      {"memory",
       {{"loaded_bytes", loaded.now.anonymous},
        {"engine_bytes", plan.resident_bytes},
        {"tile_bytes", plan.tile_bytes},
        {"mapped_bytes", plan.mapped_bytes},
        {"peak_resident_bytes", foretold.peak_resident},
        {"peak_anonymous_bytes", foretold.peak_anonymous},
        {"is_estimate", measured.rows == 0}}},
      {"output_bytes", output_bytes},
      {"gemm_flops", plan.gemm_flops},
      {"probe", measured.rows == 0 ? Json()
                                   : Json{{"rows", measured.rows},
                                          {"rows_per_second", measured.rows_per_second},
                                          {"fill", measured.fill}}},
      {"seconds",
       {{"load", load_seconds},
        {"prepare", prepare_seconds},
        {"build_index", plan.build_seconds},
        {"mine", measured.rows == 0 ? Json() : Json(mine_seconds)}}},
      {"warnings", warnings}};
  std::puts(json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Context& context) {
  auto args = std::make_shared<PlanArgs>();
  CLI::App* verb =
      app.add_subcommand("plan", "say what mining needs in memory and time, without mining");
  add_run_options(*verb, args->run);
  verb->add_option("--probe-seconds", args->probe_seconds,
                   "time for trying rows, one tile at least; 0: do not try")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 60.0));
  verb->add_flag("--json", args->json, "JSON on stdout instead of a table");
  add_config_option(*verb);
  verb->callback(
      [&context, args] { context.run = [&context, args] { return run_plan(*args, context); }; });
}

}  // namespace quarry

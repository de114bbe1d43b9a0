// What every way of mining does before its first row and behind its last.
#include "tools/quarry/mining_run.h"

#include <fmt/format.h>
#include <utility>

#include "kernels/core/errors.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Clock = std::chrono::steady_clock;

void check_shards(std::uint64_t rows, std::uint64_t rows_per_shard) {
  const std::uint64_t shards = (rows + rows_per_shard - 1) / rows_per_shard;
  if (shards > kMaxShards) {
    throw ConfigError(fmt::format(
        "--rows-per-shard: {} for {} rows makes {} shards, at most {} are allowed; give {} or more",
        rows_per_shard, rows, shards, kMaxShards, (rows + kMaxShards - 1) / kMaxShards));
  }
}

}  // namespace

MiningRun::MiningRun(RunRequest checked, std::uint64_t rows_per_shard, const std::string& folder,
                     const Context& context)
    : request(std::move(checked)) {
  facts.command_line = context.command_line;
  facts.set_folder = folder;
  loaded.before = process_memory();
  Clock::time_point start = Clock::now();
  inputs = load_inputs(request, context);
  hash_files(*inputs, context);
  check_shards(rows(), rows_per_shard);
  facts.load_seconds = seconds_since(start);
  loaded.now = process_memory();
  loaded.peak_anonymous = memory.peak_anonymous();
  start = Clock::now();
  miner.emplace(request.recipe, inputs->miner_inputs(), request.miner);
  facts.prepare_seconds = seconds_since(start);
  // Of what is not searched here, rows of positives are read, and of what was found elsewhere.
  if (request.miner.slice)
    inputs->items.expect_few_reads_outside(request.miner.slice->first, request.miner.slice->end);
  if (request.miner.found) inputs->items.expect_few_reads_outside(0, 0);
  facts.request = &request;
  facts.inputs = inputs.get();
  facts.miner = &*miner;
}

SetSchema MiningRun::schema() const {
  SetSchema schema;
  schema.k = request.recipe.k;
  schema.branches = miner->branch_names();
  schema.strata = miner->stratum_names();
  schema.num_items = inputs->snapshot.num_items;
  return schema;
}

std::string MiningRun::report(const MeasuredRecall& recall, std::uint64_t unknown_segments) {
  facts.recall = recall;
  facts.warnings = run_warnings(request, *inputs, *miner, unknown_segments, facts.bad_rows);
  if (std::string words = recall_warning(recall, request.options.recall); !words.empty())
    facts.warnings.push_back(std::move(words));
  facts.peak_resident = process_memory().peak_resident;
  facts.peak_anonymous = memory.peak_anonymous();
  return run_to_json(facts);
}

}  // namespace quarry

// Mining into a store.
#include "tools/quarry/mine_into_store.h"

#include <fmt/format.h>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "host/store/digest.h"
#include "host/store/shard_writer.h"
#include "host/store/store_run.h"
#include "kernels/core/errors.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/report_json.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/verbs.h"
#include "tools/quarry/version.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// A hash of everything that decides what the negatives are and how they lie in shards.
std::string identity_of(const StoreOptions& options, const RunRequest& request,
                        const Inputs& inputs, const std::string& store) {
  Json json = Json::parse(options_to_json(request.options, store));
  for (const char* key : {"threads", "tile", "host-memory", "device", "index-cache", "recall-rows"})
    json.erase(key);
  // Files count by what is in them, wherever they lie; of FILE:column the column counts.
  for (const char* key : {"items", "users", "events", "catalogue", "rows", "recipe"})
    json.erase(key);
  for (const char* key : {"item-ids", "user-ids", "pairs", "feature", "item-list"}) {
    if (!json.contains(key)) continue;
    Json columns = Json::array();
    for (const Json& value : json[key].is_array() ? json[key] : Json::array({json[key]})) {
      const std::string text = value.get<std::string>();
      columns.push_back({text.substr(0, text.find('=') == std::string::npos ? 0 : text.find('=')),
                         text.rfind(':') == std::string::npos ? "" : text.substr(text.rfind(':'))});
    }
    json[key] = std::move(columns);
  }
  for (const InputFile& file : inputs.files)
    json["files"].push_back({file.role, file.bytes, file.xxh3_128});
  json["recipe-text"] = request.recipe.text;
  json["rows"] = {inputs.first_row, inputs.end_row, options.rows_per_shard};
  json["model"] = options.model;
  json["format"] = {kFormatVersion, kVersion};
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  DigestStream stream;
  stream.update(text.data(), text.size());
  return stream.digest().hex();
}

}  // namespace

Stored mine_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context) {
  const RunRequest& request = mining.request;
  const Inputs& inputs = *mining.inputs;
  RunFacts& facts = mining.facts;
  Miner& miner = *mining.miner;
  Json parents = Json::array();
  for (const std::string& parent : options.parents) parents.push_back(store.resolve(parent));
  const SetSchema schema = mining.schema();
  StoreRun run(store, identity_of(options, request, inputs, store.path()), schema);

  Stored stored;
  const std::uint64_t rows = mining.rows();
  stored.shards = (rows + options.rows_per_shard - 1) / options.rows_per_shard;
  const auto there = run.version_there();
  // One that is damaged is mined again: its shards are put in place of those that are not whole.
  const bool damaged = there && !store.verify(*there).empty();
  if (there && !damaged) {
    run.complete(*there, options.tags);
    stored.version = *there;
    stored.was_there = true;
    const Json manifest = Json::parse(store.manifest(*there));
    stored.content_hash = manifest.value("content_hash", "");
    stored.run_json = manifest.value("run", Json::object()).dump();
    return stored;
  }

  // The sample that tells an approximate retriever's recall would miss the rows of earlier shards.
  run.begin(!miner.exact() || damaged);
  stored.shards_resumed = run.done().size();
  std::uint64_t unknown_segments = 0;
  for (const auto& [number, shard] : run.done()) {
    try {
      const Json about = Json::parse(shard.about);
      miner.count_earlier(report_from_json(about.at("report")));
      facts.bad_rows += about.at("bad_rows").get<std::uint64_t>();
      unknown_segments += about.at("unknown_segments").get<std::uint64_t>();
      facts.mine_seconds += about.at("seconds").get<double>();
    } catch (const nlohmann::json::exception& error) {
      throw InputError(
          fmt::format("{}/work: what shard {} of the run that was stopped says of "
                      "itself is damaged ({}); quarry prune --unfinished removes it",
                      store.path(), number, error.what()));
    }
  }
  const auto seconds_since = [](std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  RecallSample sample(miner.exact() ? 0 : request.options.recall_rows);
  Progress progress("rows", rows);
  for (std::uint64_t n = 0; n < stored.shards; ++n) {
    if (run.done().contains(n)) continue;
    const std::uint64_t first = n * options.rows_per_shard;
    const std::uint64_t end = std::min(first + options.rows_per_shard, rows);
    RowFeed feed(inputs, miner, request.recipe.k, inputs.first_row + first, inputs.first_row + end);
    const MinerReport before = miner.report();
    const auto start = std::chrono::steady_clock::now();
    ShardWriter writer(run.part_folder(), schema);
    feed.mine(
        [&](const NegativeBatch& batch, std::uint64_t at, const SetRows& of) {
          writer.append(batch, of, 0, batch.num_rows, nullptr);
          sample.offer(batch, of.key, first + at);
          progress.update(first + at + batch.num_rows);
        },
        context.stop);
    facts.bad_rows += feed.bad_rows();
    unknown_segments += feed.unknown_segments();
    const Json about = {{"report", report_to_json(difference(miner.report(), before))},
                        {"bad_rows", feed.bad_rows()},
                        {"unknown_segments", feed.unknown_segments()},
                        {"seconds", seconds_since(start)}};
    facts.mine_seconds += about["seconds"].get<double>();
    const ShardFacts shard = writer.finish();
    try {
      check_unchanged(inputs);  // a shard of inputs that changed must not outlive this run
    } catch (const InputError& error) {
      run.abandon();
      throw InputError(std::string(error.what()) + "; what this run had made is dropped");
    }
    stored.shards_shared += run.keep(n, first, shard, about.dump()) ? 1 : 0;
  }
  const MeasuredRecall recall =
      measure_recall(sample, inputs, inputs.first_row, miner, context.stop);
  if (context.stop->load()) throw Cancelled("stopped after the last row");
  stored.run_json = mining.report(recall, unknown_segments);
  if (damaged) {
    stored.content_hash = run.content_hash();
    run.complete(*there, options.tags);
    stored.version = *there;
    stored.repaired = true;
    const std::vector<std::string> left = store.verify(*there);
    if (!left.empty()) throw InputError(left.front());
    return stored;
  }
  const Json about = {
      {"parents", std::move(parents)}, {"model", options.model}, {"note", options.note}};
  stored.version =
      run.commit(rows, stored.run_json, about.dump(-1, ' ', false, Json::error_handler_t::replace),
                 options.tags);
  stored.content_hash = Json::parse(store.manifest(stored.version)).value("content_hash", "");
  return stored;
}

}  // namespace quarry

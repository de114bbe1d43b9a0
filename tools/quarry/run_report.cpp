// The report of a mining run.
#include "tools/quarry/run_report.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/store/fill_names.h"
#include "index/retriever.h"
#include "tools/quarry/blas.h"
#include "tools/quarry/idle_flags.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/recipe_needs.h"
#include "tools/quarry/safety_inputs.h"
#include "tools/quarry/version.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

Json fill_json(const Counters& c) {
  Json missing = Json::object();
  for (std::uint32_t code = 1; code < kNumFillCodes; ++code)
    missing[fill_code_name(code)] = c.missing[code];
  return {{"rows", c.rows},
          {"requested", c.requested},
          {"emitted", c.emitted},
          {"missing", std::move(missing)}};
}

Json branches_json(const RunFacts& facts, const Counters& c) {
  Json branches = Json::array();
  const auto names = facts.miner->branch_names();
  for (std::uint32_t b = 0; b < names.size(); ++b) {
    const BranchCounters& counters = c.branch[b];
    Json rejected = Json::array();
    const auto filters = facts.miner->filter_names(b);
    for (std::size_t f = 0; f < filters.size(); ++f) {
      rejected.push_back({{"filter", filters[f]}, {"rejected", counters.rejected[f]}});
    }
    branches.push_back({{"name", names[b]},
                        {"examined", counters.examined},
                        {"filters", std::move(rejected)},
                        {"pool", counters.pool},
                        {"picked", counters.picked},
                        {"draws_repeated", counters.repeats},
                        {"draws_refused_by_cap", counters.refused},
                        {"enumerated_rows", counters.enumerated_rows},
                        {"unscored", counters.unscored},
                        {"rows_without_positive", counters.inert_rows}});
  }
  return branches;
}

/// Of each set that is a candidate run: how many negatives were taken over from it.
struct TakenOver {
  const SetPairs* from;
  std::string table;
  std::uint64_t picked = 0;
};

std::vector<TakenOver> taken_over(const RunFacts& facts, const Counters& c) {
  std::vector<TakenOver> all;
  for (const auto& [name, from] : facts.inputs->set_pairs) {
    all.push_back({&from, name});
    const std::vector<BranchSpec>& branches = facts.request->recipe.branches;
    for (std::size_t b = 0; b < branches.size(); ++b) {
      if (branches[b].source.kind == SourceKind::kRun && branches[b].source.table == name)
        all.back().picked += c.branch[b].picked;
    }
  }
  return all;
}

/// Slots by stratum; rows that never reached the Miner are not among them.
Json strata_json(const RunFacts& facts) {
  Json strata = Json::array();
  const auto names = facts.miner->stratum_names();
  const auto& counts = facts.miner->report().strata;
  for (std::size_t s = 0; s < counts.size(); ++s) {
    Json missing = Json::object();
    std::uint64_t requested = counts[s].slots[0];
    for (std::uint32_t code = 1; code < kNumFillCodes; ++code) {
      requested += counts[s].slots[code];
      if (counts[s].slots[code] > 0) missing[fill_code_name(code)] = counts[s].slots[code];
    }
    if (requested == 0) continue;
    strata.push_back({{"name", names[s]},
                      {"requested", requested},
                      {"emitted", counts[s].slots[0]},
                      {"missing", std::move(missing)}});
  }
  return strata;
}

Json inputs_json(const RunFacts& facts) {
  Json files = Json::array();
  for (const InputFile& file : facts.inputs->files) {
    files.push_back({{"role", file.role},
                     {"path", path_from(facts.set_folder, file.path)},
                     {"bytes", file.bytes},
                     {"xxh3_128", file.xxh3_128}});
  }
  return files;
}

/// What --unknown-ids drop left out.
struct DroppedIds {
  std::uint64_t rows = 0, row_positives = 0, catalogue = 0, pairs = 0, lists = 0;
  std::uint64_t events = 0;
};

DroppedIds dropped_ids(const Inputs& inputs) {
  DroppedIds d;
  d.rows = inputs.rows.dropped_rows();
  d.row_positives = inputs.rows.unknown_positives();
  d.catalogue = inputs.catalogue ? inputs.catalogue->unknown_ids : 0;
  for (const auto& [name, values] : inputs.pairs) d.pairs += values.unknown_ids;
  d.lists = inputs.dropped_list_items;
  if (inputs.exposure) d.events = inputs.exposure->unknown_users + inputs.exposure->unknown_items;
  return d;
}

double rows_per_second(const RunFacts& facts, const Counters& c) {
  return facts.mine_seconds > 0 ? static_cast<double>(c.rows) / facts.mine_seconds : 0;
}

}  // namespace

std::string choice_json(const Miner& miner) {
  const RetrieverChoice& choice = miner.choice();
  if (choice.rule.empty()) return "null";  // no branch searches
  Json json = {{"retriever", choice.chosen.retriever},
               {"nprobe", choice.chosen.nprobe},
               {"ef_search", choice.chosen.ef_search},
               {"rule", choice.rule},
               {"estimate", nullptr}};
  if (choice.chosen.rows_per_second > 0) {
    json["estimate"] = {{"build_seconds", choice.chosen.build_seconds},
                        {"rows_per_second", choice.chosen.rows_per_second}};
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string versions_json() {
  const unsigned xxh = XXH_versionNumber();
  Json json = {{"quarry", kVersion},
               {"compiler", __VERSION__},
               {"faiss", faiss_version()},
               {"xxhash", fmt::format("{}.{}.{}", xxh / 10000, xxh / 100 % 100, xxh % 100)},
               {"exact_score", exact_score_instruction_set()},
               {"blas", blas_description()}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> run_warnings(const RunRequest& request, const Inputs& inputs,
                                      const Miner& miner, std::uint64_t unknown_segments,
                                      std::uint64_t bad_rows, RowsSeen seen) {
  std::vector<std::string> all = recipe_warnings(request.recipe);
  const auto add = [&](std::vector<std::string> more) {
    for (std::string& text : more) all.push_back(std::move(text));
  };
  add(inputs.warnings);
  add(exposure_warnings(request, inputs));
  add(unused_tables(request));
  add(search_warnings(request.options, miner));
  add(lone_flags(request.options));
  for (std::string text :
       {segment_warning(request, unknown_segments, inputs.end_row - inputs.first_row),
        kinds_warning(inputs)}) {
    if (!text.empty()) all.push_back(std::move(text));
  }
  add(fill_warnings(request.recipe, miner, bad_rows, seen));
  return all;
}

std::string exposure_words(const Inputs& inputs) {
  if (!inputs.exposure) return "";
  const auto pairs = pairs_by_class(*inputs.exposure);
  std::string words;
  for (std::uint32_t c = 1; c < kNumExposureClasses; ++c)
    words +=
        fmt::format("{}{} {}", c > 1 ? ", " : "", words_of_count(pairs[c]), exposure_class_name(c));
  return fmt::format("events: {} up to {}; users' items are {}\n",
                     words_of_count(inputs.exposure->events - inputs.exposure->events_after_as_of),
                     time_words(inputs.exposure->as_of), words);
}

std::string run_to_json(const RunFacts& facts) {
  const RunRequest& request = *facts.request;
  const Inputs& inputs = *facts.inputs;
  const MinerReport& report = facts.miner->report();
  const Counters counters = whole_counters(*facts.miner, facts.bad_rows);
  Json run;
  run["command_line"] = facts.command_line;
  run["options"] = Json::parse(options_to_json(request.options, facts.set_folder));
  run["recipe"] = {{"name", request.recipe.name},
                   {"hash", fmt::format("{:016x}", request.recipe.hash)},
                   {"overrides", request.options.overrides},
                   {"text", request.recipe.text},
                   {"warnings", recipe_warnings(request.recipe)}};
  run["seed"] = request.options.seed;
  run["round"] = request.options.round;
  run["as_of"] = request.as_of ? Json(*request.as_of) : Json(nullptr);
  if (inputs.exposure) {
    run["latest_event"] = inputs.exposure->latest_event == INT64_MIN
                              ? Json(nullptr)
                              : Json(inputs.exposure->latest_event);
    run["events"] = {{"read", inputs.exposure->events},
                     {"after_as_of", inputs.exposure->events_after_as_of},
                     {"unknown_users", inputs.exposure->unknown_users},
                     {"unknown_items", inputs.exposure->unknown_items}};
    Json kinds = Json::array();
    for (const auto& [kind, count] : inputs.exposure->unnamed_kinds)
      kinds.push_back({{"kind", kind}, {"events", count}});
    run["events"]["kinds_no_rule_names"] = std::move(kinds);
    const auto pairs = pairs_by_class(*inputs.exposure);
    for (std::uint32_t c = 1; c < kNumExposureClasses; ++c)
      run["events"]["pairs"][exposure_class_name(c)] = pairs[c];
  }
  run["inputs"] = inputs_json(facts);
  for (const TakenOver& taken : taken_over(facts, counters)) {
    run["sets"].push_back(
        {{"pairs", taken.table},
         {"set", path_from(facts.set_folder, taken.from->set)},
         {"content_hash", taken.from->content_hash},
         {"recipe", taken.from->recipe},
         {"model", taken.from->model},
         {"as_of", taken.from->as_of ? Json(*taken.from->as_of) : Json()},
         {"knew_until", taken.from->knew_until ? Json(*taken.from->knew_until) : Json()},
         {"end_known", taken.from->end_known},
         {"negatives", taken.from->negatives},
         {"gone", taken.from->gone},
         {"near", taken.from->near},
         {"picked", taken.picked}});
  }
  run["rows"] = {{"in_all", inputs.rows.size()},
                 {"first", inputs.first_row},
                 {"end", inputs.end_row},
                 {"shard", request.shard},
                 {"num_shards", request.num_shards}};
  const DroppedIds ids = dropped_ids(inputs);
  run["dropped"] = {{"rows", ids.rows},
                    {"row_positives", ids.row_positives},
                    {"catalogue", ids.catalogue},
                    {"pairs", ids.pairs},
                    {"lists", ids.lists},
                    {"bad_items", inputs.bad_items.size()},
                    {"bad_users", inputs.bad_users.size()},
                    {"positives_of_bad_items", inputs.rows.dropped_positives()},
                    {"bad_rows", facts.bad_rows}};
  run["warnings"] = facts.warnings;
  run["fill"] = fill_json(counters);
  run["strata"] = strata_json(facts);
  run["branches"] = branches_json(facts, counters);
  run["search"] = {{"retriever", facts.miner->plan(1).retriever},
                   {"choice", Json::parse(choice_json(*facts.miner))},
                   {"build_seconds", facts.miner->plan(1).build_seconds},
                   {"promise", facts.miner->promise()},
                   {"queries", report.search.queries},
                   {"certified", report.search.certified},
                   {"fallback", report.search.fallback},
                   {"certified_coarsely", report.search.coarse},
                   {"widened", report.search.widened},
                   {"toward_goals", report.search.toward},
                   {"passed_over", report.search.passed},
                   {"certified_rows", report.certified_rows},
                   {"deepened_rows", report.deepened_rows},
                   {"deepest", report.deepest},
                   {"tiles", report.tiles},
                   {"candidates", report.candidates}};
  run["recall"] = Json::parse(recall_json(facts.recall, facts.mine_seconds));
  const MinerTimes& t = report.seconds;
  run["seconds"] = {{"load", facts.load_seconds},
                    {"prepare", facts.prepare_seconds},
                    {"mine", facts.mine_seconds},
                    {"stages",
                     {{"prepare", t.prepare},
                      {"retrieve", t.retrieve},
                      {"gather", t.gather},
                      {"exclude", t.exclude},
                      {"select", t.select},
                      {"merge", t.merge},
                      {"emit", t.emit}}}};
  run["rows_per_second"] = rows_per_second(facts, counters);
  run["memory"] = {{"peak_resident_bytes", facts.peak_resident},
                   {"peak_anonymous_bytes", facts.peak_anonymous}};
  run["threads"] = request.miner.exec.threads;
  run["versions"] = Json::parse(versions_json());
  return run.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string run_to_words(const RunFacts& facts) {
  const Counters c = whole_counters(*facts.miner, facts.bad_rows);
  const MinerReport& report = facts.miner->report();
  const auto share = [](std::uint64_t part, std::uint64_t whole) {
    return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  };
  std::string out = fmt::format("{} rows, {} of {} negatives ({:.2f} %)\n", words_of_count(c.rows),
                                words_of_count(c.emitted), words_of_count(c.requested),
                                share(c.emitted, c.requested));
  for (std::uint32_t code = 1; code < kNumFillCodes; ++code) {
    if (c.missing[code] > 0) {
      out += fmt::format("  missing, {:<10} {:>15}  {:6.2f} %\n", fill_code_name(code),
                         words_of_count(c.missing[code]), share(c.missing[code], c.requested));
    }
  }
  const auto names = facts.miner->branch_names();
  std::size_t width = 24;
  for (std::uint32_t b = 0; b < names.size(); ++b) {
    for (const std::string& filter : facts.miner->filter_names(b))
      width = std::max(width, filter.size() + 14);
  }
  for (std::uint32_t b = 0; b < names.size(); ++b) {
    const BranchCounters& counters = c.branch[b];
    const auto line = [&](const std::string& what, std::uint64_t count) {
      out += fmt::format("  {:<{}} {:>15}\n", what, width, words_of_count(count));
    };
    out += fmt::format("branch '{}'\n", names[b]);
    out += fmt::format("  {:<{}} {:>15}  {:6.2f} %\n", "picked", width,
                       words_of_count(counters.picked), share(counters.picked, c.emitted));
    line("examined", counters.examined);
    const auto filters = facts.miner->filter_names(b);
    for (std::size_t f = 0; f < filters.size(); ++f) {
      if (counters.rejected[f] > 0) line("rejected by " + filters[f], counters.rejected[f]);
    }
    if (counters.pool > 0) line("pool", counters.pool);
    if (counters.repeats > 0) line("draws repeated", counters.repeats);
    if (counters.refused > 0) line("draws refused by caps", counters.refused);
    if (counters.enumerated_rows > 0) line("rows enumerated", counters.enumerated_rows);
    if (counters.unscored > 0) line("score not finite", counters.unscored);
    if (counters.inert_rows > 0) line("rows without a positive", counters.inert_rows);
  }
  for (const TakenOver& taken : taken_over(facts, c)) {
    out += fmt::format("taken over from {}: {} negatives ({:.2f} %), of its {}{}\n",
                       taken.from->set, words_of_count(taken.picked),
                       share(taken.picked, c.emitted), words_of_count(taken.from->negatives),
                       taken.from->near > 0 ? fmt::format("; {} near duplicates are left out",
                                                          words_of_count(taken.from->near))
                                            : "");
  }
  if (facts.miner->choice().rule.empty()) {
    out += "search: none, since no branch of the recipe searches\n";
  } else {
    out += fmt::format(
        "search: {}; {:.2f} % of rows certified, {} of {} searches by brute force, {} rows "
        "deepened (deepest {})\n",
        facts.miner->plan(1).retriever, share(report.certified_rows, c.rows),
        words_of_count(report.search.fallback), words_of_count(report.search.queries),
        words_of_count(report.deepened_rows), words_of_count(report.deepest));
    if (facts.request->options.retriever == "auto")
      out += "  chosen: " + facts.miner->choice().rule + "\n";
  }
  out += recall_words(recall_json(facts.recall, facts.mine_seconds));
  const MinerTimes& t = report.seconds;
  out += fmt::format("time: load {}, prepare {}, mine {} ({} rows/s)\n",
                     words_of_seconds(facts.load_seconds), words_of_seconds(facts.prepare_seconds),
                     words_of_seconds(facts.mine_seconds),
                     words_of_count(static_cast<std::uint64_t>(rows_per_second(facts, c))));
  out += fmt::format("  stages: retrieve {}, gather {}, exclude {}, select {}, merge {}, emit {}\n",
                     words_of_seconds(t.retrieve), words_of_seconds(t.gather),
                     words_of_seconds(t.exclude), words_of_seconds(t.select),
                     words_of_seconds(t.merge), words_of_seconds(t.emit));
  out += fmt::format("memory: peak {}, of it beyond mapped files {}\n",
                     words_of_bytes(facts.peak_resident), words_of_bytes(facts.peak_anonymous));
  if (facts.inputs->rows.dropped_positives() + facts.inputs->bad_items.size() +
          facts.inputs->bad_users.size() >
      0) {
    out += fmt::format("dropped: {} items and {} users without a usable embedding, {} positives\n",
                       words_of_count(facts.inputs->bad_items.size()),
                       words_of_count(facts.inputs->bad_users.size()),
                       words_of_count(facts.inputs->rows.dropped_positives()));
  }
  const DroppedIds ids = dropped_ids(*facts.inputs);
  if (ids.rows + ids.row_positives + ids.catalogue + ids.pairs + ids.lists + ids.events > 0) {
    out += fmt::format(
        "left out for unknown ids: {} rows, {} positives of other rows, {} catalogue rows, {} "
        "pairs, {} list items, {} ids of events\n",
        words_of_count(ids.rows), words_of_count(ids.row_positives), words_of_count(ids.catalogue),
        words_of_count(ids.pairs), words_of_count(ids.lists), words_of_count(ids.events));
  }
  out += exposure_words(*facts.inputs);
  for (const std::string& warning : facts.warnings) out += "warning: " + warning + "\n";
  return out;
}

}  // namespace quarry

// `quarry bench`: mines the same rows with one or several retrievers and compares each with what
// the machine can do.
#include <malloc.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "index/index_name.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "tools/demo/synthetic.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/machine_limits.h"
#include "tools/quarry/output_file.h"
#include "tools/quarry/process_memory.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/run_options.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct BenchArguments {
  RunOptions run;
  demo::SyntheticOptions synthetic;
  std::vector<std::string> compare;
  std::uint32_t repetitions = 3;
  std::string out;  ///< file for the measurements
  bool json = false;
};

/// Removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "quarry_bench_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw IoError("cannot make a folder in " + fs::temp_directory_path().string());
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// One mining of all rows.
struct Pass {
  double prepare = 0, mine = 0;
  MinerReport report;
  MinePlan plan;
  std::uint64_t resident_before = 0, peak_resident = 0;
};

/// What one retriever did.
struct Variant {
  std::string retriever;
  std::vector<Pass> passes;
  std::vector<std::uint32_t> items;  ///< [rows, k] of the last pass, to compare retrievers
  std::uint64_t deepest_pick[3] = {
      0, 0, 0};  ///< raw rank of a row's deepest pick: median, 95th percentile, largest
  std::string recall = "null", choice = "null";  ///< JSON, of the last pass
  bool exact = false;
};

/// `judge`: whether what an approximate retriever loses is measured too, out of the pass's time.
Pass mine_once(const RunRequest& request, const Inputs& inputs, const std::string& retriever,
               bool judge, Variant& variant, const Context& context) {
  Pass pass;
  malloc_trim(0);  // what an earlier pass freed must not count as held by this one
  reset_peak_memory();
  pass.resident_before = process_memory().resident;
  MinerOptions options = request.miner;
  options.retriever = retriever;
  auto start = Clock::now();
  Miner miner(request.recipe, inputs.miner_inputs(), options);
  pass.prepare = seconds_since(start);
  RowFeed feed(inputs, miner, request.recipe.k, inputs.first_row, inputs.end_row);
  variant.items.clear();
  RecallSample sample(judge && !miner.exact() ? request.options.recall_rows : 0);
  std::vector<std::uint32_t> deepest;
  start = Clock::now();
  feed.mine(
      [&](const NegativeBatch& batch, std::uint64_t first, const SetRows& rows) {
        sample.offer(batch, rows.key, first);
        variant.items.insert(variant.items.end(), batch.item.begin(), batch.item.end());
        for (std::uint64_t r = 0; r < batch.num_rows; ++r) {
          const auto row = batch.raw_rank.begin() + static_cast<std::ptrdiff_t>(r * batch.k);
          deepest.push_back(*std::max_element(row, row + batch.k));
        }
      },
      context.stop);
  pass.mine = seconds_since(start);
  pass.report = miner.report();
  pass.plan = miner.plan(inputs.end_row - inputs.first_row);
  const ProcessMemory memory = process_memory();
  pass.peak_resident = memory.peak_resident;
  if (judge) {
    const auto recall = measure_recall(sample, inputs, inputs.first_row, miner, context.stop);
    variant.recall = recall_json(recall, pass.mine);
  }
  variant.choice = choice_json(miner);
  variant.exact = miner.exact();
  variant.retriever = pass.plan.retriever.empty() ? retriever : pass.plan.retriever;
  std::sort(deepest.begin(), deepest.end());
  if (!deepest.empty()) {
    variant.deepest_pick[0] = deepest[deepest.size() / 2];
    variant.deepest_pick[1] = deepest[deepest.size() * 95 / 100];
    variant.deepest_pick[2] = deepest.back();
  }
  return pass;
}

template <class Get>
Spread over_passes(const Variant& variant, Get get) {
  std::vector<double> values;
  for (const Pass& pass : variant.passes) values.push_back(get(pass));
  return spread_of(values);
}

Json to_json(const Spread& s) { return {{"median", s.median}, {"min", s.least}, {"max", s.most}}; }

struct Limits {
  Spread gemm, memory;
};

/// Bytes that a pass must read and write at least: the item table per tile, a key per candidate,
/// the columns of a set.
double bytes_moved(const Pass& pass) {
  const double table = static_cast<double>(pass.plan.num_items) * pass.plan.dim * sizeof(float);
  const double out = static_cast<double>(pass.report.counters.requested) * (5 * 4 + 2 * 4 + 2);
  return table * static_cast<double>(pass.report.tiles) +
         8.0 * static_cast<double>(pass.report.candidates) + out;
}

/// `exhaustive`: every query was compared with every item.
Json variant_json(const Variant& v, const Variant& first, const Limits& limits, std::uint64_t rows,
                  std::uint64_t queries, bool exhaustive) {
  const Pass& last = v.passes.back();
  const double operations =
      2.0 * static_cast<double>(queries) * static_cast<double>(last.plan.num_items) * last.plan.dim;
  const Spread mine = over_passes(v, [](const Pass& p) { return p.mine; });
  const auto stage = [&](double MinerTimes::*member) {
    return to_json(over_passes(v, [member](const Pass& p) { return p.report.seconds.*member; }));
  };
  std::uint64_t equal_rows = 0;
  const std::uint64_t k = rows == 0 ? 0 : v.items.size() / rows;
  for (std::uint64_t r = 0; r < rows; ++r) {
    const auto at = static_cast<std::ptrdiff_t>(r * k);
    equal_rows +=
        std::equal(v.items.begin() + at, v.items.begin() + at + static_cast<std::ptrdiff_t>(k),
                   first.items.begin() + at)
            ? 1
            : 0;
  }
  const Counters& counters = last.report.counters;
  return {
      {"retriever", v.retriever},
      {"choice", Json::parse(v.choice)},
      {"seconds",
       {{"construct", to_json(over_passes(v, [](const Pass& p) { return p.prepare; }))},
        {"build_index",
         to_json(over_passes(v, [](const Pass& p) { return p.plan.build_seconds; }))},
        {"mine", to_json(mine)},
        {"stages",
         {{"prepare", stage(&MinerTimes::prepare)},
          {"retrieve", stage(&MinerTimes::retrieve)},
          {"gather", stage(&MinerTimes::gather)},
          {"exclude", stage(&MinerTimes::exclude)},
          {"select", stage(&MinerTimes::select)},
          {"merge", stage(&MinerTimes::merge)},
          {"emit", stage(&MinerTimes::emit)}}}}},
      {"rows_per_second",
       to_json(over_passes(v, [&](const Pass& p) { return static_cast<double>(rows) / p.mine; }))},
      {"candidates", last.report.candidates},
      {"candidates_per_second", static_cast<double>(last.report.candidates) / mine.median},
      // Only exhaustive search does these products; of an index or of draws it says nothing.
      {"share_of_gemm_limit",
       exhaustive ? Json(operations / limits.gemm.median / mine.median) : Json(nullptr)},
      {"bytes_moved", bytes_moved(last)},
      {"share_of_memory_limit", bytes_moved(last) / mine.median / limits.memory.median},
      {"requested", counters.requested},
      {"emitted", counters.emitted},
      {"tiles", last.report.tiles},
      {"deepened_rows", last.report.deepened_rows},
      {"deepest", last.report.deepest},
      {"certified_rows", last.report.certified_rows},
      {"raw_rank_of_deepest_pick",
       {{"median", v.deepest_pick[0]}, {"p95", v.deepest_pick[1]}, {"max", v.deepest_pick[2]}}},
      {"rows_equal_to_first", equal_rows},
      {"recall", Json::parse(v.recall)},
      {"memory",
       {{"peak_resident_bytes", last.peak_resident},
        {"resident_before_bytes", last.resident_before},
        {"planned_peak_bytes", last.plan.peak_bytes},
        {"mapped_bytes", last.plan.mapped_bytes}}}};
}

std::string variant_words(const Json& v, std::uint64_t rows) {
  std::string words;
  const Json& seconds = v["seconds"];
  const Json& rate = v["rows_per_second"];
  words += fmt::format("\n{}\n", v["retriever"].get<std::string>());
  if (v["choice"].is_object() && !v["choice"]["estimate"].is_null())
    words += "  chosen: " + v["choice"]["rule"].get<std::string>() + "\n";
  words += fmt::format("  {:<22}{:>12.0f} rows/s (from {:.0f} to {:.0f}), {:.3g} candidates/s\n",
                       "rate", rate["median"].get<double>(), rate["min"].get<double>(),
                       rate["max"].get<double>(), v["candidates_per_second"].get<double>());
  words += fmt::format("  {:<22}{:>12.3f} s to make, {:.3f} s to mine\n", "time",
                       seconds["construct"]["median"].get<double>(),
                       seconds["mine"]["median"].get<double>());
  for (const auto& [name, spread] : seconds["stages"].items()) {
    words +=
        fmt::format("    {:<20}{:>12.3f} s  {:5.1f} %\n", name, spread["median"].get<double>(),
                    100 * spread["median"].get<double>() / seconds["mine"]["median"].get<double>());
  }
  const std::string memory_share =
      fmt::format("{:.1f} % of the memory limit", 100 * v["share_of_memory_limit"].get<double>());
  if (v["share_of_gemm_limit"].is_null()) {
    words += fmt::format("  {:<22}{:>11} no exhaustive search; {}\n", "limits", "", memory_share);
  } else {
    words += fmt::format("  {:<22}{:>11.1f} % of the GEMM limit, {}\n", "limits",
                         100 * v["share_of_gemm_limit"].get<double>(), memory_share);
  }
  words += fmt::format(
      "  {:<22}{:>12} candidates, {} bytes, {} tiles, {} rows searched deeper (to {})\n", "work",
      words_of_count(v["candidates"]),
      words_of_bytes(static_cast<std::uint64_t>(v["bytes_moved"].get<double>())),
      v["tiles"].get<std::uint64_t>(), words_of_count(v["deepened_rows"]),
      v["deepest"].get<std::uint64_t>());
  words += fmt::format(
      "  {:<22}{:>12} of {} negatives; deepest pick of a row at rank {} (median), {} (95 %)\n",
      "filled", words_of_count(v["emitted"]), words_of_count(v["requested"]),
      v["raw_rank_of_deepest_pick"]["median"].get<std::uint64_t>(),
      v["raw_rank_of_deepest_pick"]["p95"].get<std::uint64_t>());
  words += fmt::format(
      "  {:<22}{:>12} at the peak, {} before it; planned {} beside {} of mapped inputs\n", "memory",
      words_of_bytes(v["memory"]["peak_resident_bytes"]),
      words_of_bytes(v["memory"]["resident_before_bytes"]),
      words_of_bytes(v["memory"]["planned_peak_bytes"]),
      words_of_bytes(v["memory"]["mapped_bytes"]));
  words += fmt::format("  {:<22}{:>11.2f} % of the rows equal the first retriever's\n", "agreement",
                       100.0 * v["rows_equal_to_first"].get<double>() /
                           static_cast<double>(std::max<std::uint64_t>(rows, 1)));
  return words + recall_words(v["recall"].dump());
}

/// Fills in synthetic data and a recipe where none is given.
void use_synthetic(BenchArguments& args, const std::string& folder) {
  std::fprintf(stderr, "bench: making synthetic data: %u users, %u items, %u dimensions\n",
               args.synthetic.num_users, args.synthetic.num_items, args.synthetic.dim);
  Exec exec;
  exec.threads = std::max(1, args.run.threads == 0 ? static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))
                                                   : args.run.threads);
  const demo::SyntheticWorld world(args.synthetic);
  demo::write_synthetic(exec, world, demo::VectorFormat::kNpy, folder, {});
  args.run.items = folder + "/items.npy";
  args.run.users = folder + "/users.npy";
  args.run.events = folder + "/events.csv";
  args.run.catalogue = folder + "/catalogue.csv";
  args.run.as_of = std::to_string(world.log_end());
  if (args.run.rows.empty() && args.run.rows_from.empty()) args.run.rows_from = "users";
}

bool has_ranked_branch(const Recipe& recipe) {
  return std::any_of(recipe.branches.begin(), recipe.branches.end(), [](const BranchSpec& branch) {
    return branch.source.kind == SourceKind::kTopk;
  });
}

int bench(BenchArguments args, const Context& context) {
  OutputFile out(args.out, "--out");
  const MachineFacts machine = machine_facts();          // before this run is a load itself
  std::FILE* const words = args.json ? stderr : stdout;  // standard output is for one reader
  std::unique_ptr<TemporaryFolder> folder;
  const bool synthetic = args.run.items.empty();
  if (synthetic) {
    folder = std::make_unique<TemporaryFolder>();
    use_synthetic(args, folder->path());
  }
  if (args.run.recipe.empty()) {
    args.run.recipe = "nv-perc";
    if (args.run.overrides.empty()) args.run.overrides = {"k=10"};
  }
  RunRequest request = check_run_options(args.run);
  const auto start = Clock::now();
  const std::unique_ptr<Inputs> loaded = load_inputs(request, context);
  const Inputs& inputs = *loaded;
  const double load = seconds_since(start);
  for (const std::string& retriever : args.compare)
    check_index_name(retriever, inputs.item_view.dim, request.recipe.metric);
  const std::uint64_t rows = inputs.end_row - inputs.first_row;
  std::unordered_set<std::uint32_t> distinct;
  RowTable block;
  for (std::uint64_t row = inputs.first_row; row < inputs.end_row; row += block.size()) {
    inputs.rows.read(row, std::min<std::uint64_t>(inputs.end_row - row, 65536), block);
    distinct.insert(block.user.begin(), block.user.end());
  }

  Limits limits;
  limits.gemm = measure_gemm(request.miner.exec, inputs.item_view.dim, args.repetitions);
  limits.memory = measure_memory_bandwidth(request.miner.exec, args.repetitions);
  fmt::print(
      words, "{} rows, {} users, {} items, {} dimensions, k = {}, {} threads, loaded in {:.2f} s\n",
      words_of_count(rows), words_of_count(distinct.size()), words_of_count(inputs.item_view.rows),
      inputs.item_view.dim, request.recipe.k, request.miner.exec.threads, load);
  fmt::print(
      words,
      "limits of this machine: {:.1f} GFLOP/s tile GEMM ({:.1f} to {:.1f}), {:.1f} GB/s memory "
      "({:.1f} to {:.1f})\n",
      limits.gemm.median / 1e9, limits.gemm.least / 1e9, limits.gemm.most / 1e9,
      limits.memory.median / 1e9, limits.memory.least / 1e9, limits.memory.most / 1e9);
  std::fflush(words);

  std::vector<std::string> retrievers = {args.run.retriever};
  retrievers.insert(retrievers.end(), args.compare.begin(), args.compare.end());
  std::vector<Variant> variants;
  Json results = Json::array();
  for (const std::string& retriever : retrievers) {
    Variant variant;
    for (std::uint32_t pass = 0; pass < args.repetitions; ++pass) {
      variant.passes.push_back(
          mine_once(request, inputs, retriever, pass + 1 == args.repetitions, variant, context));
      if (const std::string& notice = variant.passes.back().plan.notice; !notice.empty())
        fmt::print(stderr, "warning: {}\n", notice);
    }
    variants.push_back(std::move(variant));
    const bool exhaustive = variants.back().exact && has_ranked_branch(request.recipe);
    results.push_back(
        variant_json(variants.back(), variants.front(), limits, rows, distinct.size(), exhaustive));
    std::fputs(variant_words(results.back(), rows).c_str(), words);
    std::fflush(words);
  }

  if (!args.out.empty() || args.json) {
    Json parameters = {{"rows", rows},
                       {"users", distinct.size()},
                       {"items", inputs.item_view.rows},
                       {"dim", inputs.item_view.dim},
                       {"k", request.recipe.k},
                       {"recipe", request.recipe.name},
                       {"overrides", args.run.overrides},
                       {"threads", request.miner.exec.threads},
                       {"tile", args.run.tile},
                       {"host_memory", request.miner.host_memory},
                       {"repetitions", args.repetitions},
                       {"seed", args.run.seed}};
    if (synthetic) {
      parameters["synthetic"] = {{"users", args.synthetic.num_users},
                                 {"seed", args.synthetic.seed},
                                 {"events_per_user", args.synthetic.events_per_user},
                                 {"clusters", args.synthetic.clusters}};
    }
    const Json document = {{"format", "quarry.bench"},
                           {"format_version", 1},
                           {"command_line", context.command_line},
                           {"machine",
                            {{"processor", machine.processor},
                             {"processors", machine.processors},
                             {"memory_bytes", machine.memory_bytes},
                             {"kernel", machine.kernel},
                             {"load_average_at_start",
                              machine.load_average ? Json(*machine.load_average) : Json(nullptr)}}},
                           {"versions", Json::parse(versions_json())},
                           {"parameters", parameters},
                           {"load_seconds", load},
                           {"limits",
                            {{"gemm_flops_per_second", to_json(limits.gemm)},
                             {"memory_bytes_per_second", to_json(limits.memory)}}},
                           {"retrievers", results}};
    const std::string text = document.dump(2, ' ', false, Json::error_handler_t::replace);
    out.write(text + "\n");
    if (args.json) std::puts(text.c_str());
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  auto args = std::make_shared<BenchArguments>();
  args->synthetic.num_users = 20000;
  args->synthetic.num_items = 20000;
  args->synthetic.dim = 128;
  CLI::App* sub = app.add_subcommand("bench", "Measure mining against the limits of this machine");
  add_run_options(*sub, args->run);
  sub->add_option("--compare", args->compare,
                  "another retriever to run on the same rows; may be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  sub->add_option("--repetitions", args->repetitions, "times each retriever mines all rows")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1000u));
  sub->add_option("--out", args->out, "write the measurements as JSON into this file");
  sub->add_flag("--json", args->json, "the measurements as JSON on stdout, words on stderr");
  demo::SyntheticOptions& o = args->synthetic;
  sub->add_option("--synth-users", o.num_users, "without --items: users of the synthetic data")
      ->capture_default_str();
  sub->add_option("--synth-items", o.num_items, "its items")->capture_default_str();
  sub->add_option("--synth-dim", o.dim, "its dimensions")->capture_default_str();
  sub->add_option("--synth-events", o.events_per_user, "its events per user")
      ->capture_default_str();
  sub->add_option("--synth-clusters", o.clusters, "its clusters; 0: from the items")
      ->capture_default_str();
  sub->add_option("--synth-seed", o.seed, "its seed")->capture_default_str();
  sub->callback(
      [&context, args] { context.run = [&context, args] { return bench(*args, context); }; });
}

}  // namespace quarry

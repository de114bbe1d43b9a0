// quarry export: a set as files that training and evaluation read without the store.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/store/eligible.h"
#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "tools/quarry/export_file.h"
#include "tools/quarry/export_lines.h"
#include "tools/quarry/export_npy.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/join_texts.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/named_set.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct ExportArgs {
  std::string set, to, out;
  RunOptions flags;
  std::string item_text, user_text, item_text_id = "item", user_text_id = "user";
  std::string missing_text = "reject", positives = "all";
  std::uint32_t negatives = 0;
  std::uint64_t sample = 0, limit_rows = 0;
  std::uint32_t sample_seed = 0;
  bool scores = false, names = false, numbers = false, empty_slots = false;
  bool overwrite = false, verify = false, allow_changed = false, json = false;
};

const std::map<std::string, ExportFormat>& formats() {
  static const std::map<std::string, ExportFormat> kFormats = {
      {"triplets", ExportFormat::kTriplets},
      {"tuples", ExportFormat::kTuples},
      {"labeled-pairs", ExportFormat::kLabeledPairs},
      {"labeled-lists", ExportFormat::kLabeledLists},
      {"csv", ExportFormat::kCsv},
      {"npy", ExportFormat::kNpy},
      {"candidates", ExportFormat::kCandidates}};
  return kFormats;
}

/// Refuses a flag that the format does nothing with.
void check_flags(const ExportArgs& args, ExportFormat format) {
  using F = ExportFormat;
  const bool pairs_up = format == F::kTriplets || format == F::kTuples ||
                        format == F::kLabeledPairs || format == F::kLabeledLists;
  const auto refuse = [&](bool given, const char* flag, bool fits) {
    if (given && !fits)
      throw ConfigError(fmt::format("{} has no effect with --to {}", flag, args.to));
  };
  refuse(args.scores, "--scores", format == F::kTriplets);
  refuse(args.negatives > 0, "--negatives", format == F::kTuples);
  refuse(args.empty_slots, "--empty-slots", format == F::kCsv);
  refuse(args.positives != "all", "--positives", pairs_up);
  refuse(!args.item_text.empty(), "--item-text", pairs_up);
  refuse(!args.user_text.empty(), "--user-text", pairs_up);
  refuse(args.sample > 0, "--sample", format == F::kCandidates);
  refuse(args.names, "--names", format != F::kNpy);
  if (args.missing_text != "reject" && args.item_text.empty() && args.user_text.empty())
    throw ConfigError("--missing-text has no effect without --item-text or --user-text");
  if (args.numbers && (args.names || !args.item_text.empty() || !args.user_text.empty() ||
                       format == F::kCandidates || format == F::kNpy))
    throw ConfigError(
        "--numbers writes row numbers and reads no inputs; it excludes --names, texts, --to "
        "candidates and --to npy");
}

LineSyntax syntax_of(const ExportArgs& args, ExportFormat format) {
  const std::string ending = fs::path(args.out).extension().string();
  const bool table = ending == ".tsv" || ending == ".csv";
  const bool json = ending == ".jsonl" || ending == ".ndjson" || ending == ".json";
  const bool nested = format == ExportFormat::kLabeledLists || format == ExportFormat::kCandidates;
  if (format == ExportFormat::kCsv ? !table : nested ? !json : !table && !json) {
    throw ConfigError(
        fmt::format("--out {}: the name's ending says how lines are written; --to {} takes {}",
                    args.out, args.to,
                    format == ExportFormat::kCsv ? ".csv or .tsv"
                    : nested                     ? ".jsonl"
                                                 : ".jsonl, .tsv or .csv"));
  }
  if (json) return LineSyntax::kJson;
  return ending == ".tsv" ? LineSyntax::kTab : LineSyntax::kComma;
}

/// The set and what its numbers mean.
struct Source {
  NegativeSet set;
  std::unique_ptr<Inputs> inputs;  ///< null: numbers stand for themselves
  Recipe recipe;
  std::vector<std::string> changed;
  std::optional<JoinedTexts> item_texts, user_texts;
  std::uint64_t rows = 0;  ///< to export
};

void load_source(Source& source, const ExportArgs& args, ExportFormat format, const CLI::App& verb,
                 const Context& context) {
  if (args.numbers || format == ExportFormat::kNpy) return;
  const RecordedRun recorded = recorded_run(source.set, verb, args.flags);
  RunRequest request = recorded_request(source.set, verb, recorded);
  source.recipe = recorded.recipe;
  request.pairs.clear();
  request.features.clear();
  request.item_lists.clear();
  if (!args.names && format != ExportFormat::kCandidates) request.options.catalogue.clear();
  if (format == ExportFormat::kCandidates) {
    source.inputs = load_inputs(request, context);
  } else {
    request.options.events.clear();
    source.inputs = load_names(request, context);
  }
  source.changed =
      check_changed(source.set, *source.inputs, args.allow_changed,
                    format == ExportFormat::kCandidates ? "ids and eligibility" : "ids");
  if (!args.item_text.empty())
    source.item_texts.emplace(args.item_text, args.item_text_id, source.inputs->item_ids,
                              "--item-text");
  if (!args.user_text.empty())
    source.user_texts.emplace(args.user_text, args.user_text_id, source.inputs->user_ids,
                              "--user-text");
}

ExportNames names_for(const Source& source, const ExportArgs& args) {
  ExportNames names;
  if (!source.inputs) {
    names.user = names.item = [](std::uint32_t index) { return std::to_string(index); };
    return names;
  }
  const Inputs* inputs = source.inputs.get();
  const NegativeSet* set = &source.set;
  names.user = [inputs, set](std::uint32_t index) {
    return known_id(inputs->user_ids, index, "user", *set);
  };
  names.item = [inputs, set](std::uint32_t index) {
    return known_id(inputs->item_ids, index, "item", *set);
  };
  if (args.names) names.title = [inputs](std::uint32_t item) { return item_title(*inputs, item); };
  if (source.item_texts) {
    const JoinedTexts* texts = &*source.item_texts;
    names.item = [texts](std::uint32_t index) { return texts->of(index); };
    names.has_item = [texts](std::uint32_t index) { return texts->has(index); };
  }
  if (source.user_texts) {
    const JoinedTexts* texts = &*source.user_texts;
    names.user = [texts](std::uint32_t index) { return texts->of(index); };
    names.has_user = [texts](std::uint32_t index) { return texts->has(index); };
  }
  return names;
}

/// Ids that would need a text and have none, before anything is written.
void check_texts(const Source& source, bool first_positive) {
  std::uint64_t lacking = 0;
  std::string first;
  std::vector<bool> seen_items, seen_users;
  const auto look = [&](const std::optional<JoinedTexts>& texts, const IdMap& ids,
                        std::uint32_t index, std::vector<bool>& seen) {
    if (!texts || texts->has(index)) return;
    if (seen.empty()) seen.resize(ids.size());
    if (index < seen.size() && seen[index]) return;
    if (index < seen.size()) seen[index] = true;
    constexpr std::uint64_t kNamed = 10;
    if (++lacking <= kNamed && index < ids.size())
      first += fmt::format("{}'{}'", first.empty() ? "" : ", ", printable(ids.id_of(index)));
  };
  for (std::uint64_t r = 0; r < source.rows; ++r) {
    const NegativeSet::Row row = source.set.row(r);
    look(source.user_texts, source.inputs->user_ids, row.user, seen_users);
    for (const std::uint32_t item : written_positives(row.positives, first_positive))
      look(source.item_texts, source.inputs->item_ids, item, seen_items);
    for (std::uint32_t j = 0; j < row.count; ++j)
      look(source.item_texts, source.inputs->item_ids, row.item[j], seen_items);
  }
  if (lacking == 0) return;
  throw InputError(fmt::format(
      "{} users and items of the set have no text: {}{}; add them, or leave lines that need them "
      "out with --missing-text drop",
      words_of_count(lacking), first, lacking > 10 ? " ..." : ""));
}

void check_stop(const Context& context, std::uint64_t row) {
  if (row % 1024 == 0 && context.stop->load())
    throw Cancelled("stopped while exporting; nothing was written");
}

Json sidecar_start(const Source& source, const ExportArgs& args) {
  return {{"format", "quarry.export"},
          {"format_version", 1},
          {"to", args.to},
          {"set", Json::parse(set_facts_json(source.set, args.set))},
          {"rows", source.rows},
          {"ids", source.inputs ? "external" : "row numbers"},
          {"changed_inputs", source.changed}};
}

std::string publish(ExportFile& file, const ExportArgs& args, Json sidecar) {
  file.close();
  sidecar["file"] = {{"name", fs::path(args.out).filename().string()},
                     {"bytes", file.bytes()},
                     {"xxh3_128", file.digest()}};
  std::string text = sidecar.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  file.publish(text);
  return text;
}

std::string export_lines(const Source& source, const ExportArgs& args, ExportFormat format,
                         const Context& context) {
  LineOptions options;
  options.format = format;
  options.syntax = syntax_of(args, format);
  options.negatives = args.negatives > 0 ? args.negatives : source.set.k();
  options.scores = args.scores;
  options.first_positive = args.positives == "first";
  options.empty_slots = args.empty_slots;
  if (options.negatives > source.set.k())
    throw ConfigError(fmt::format("--negatives {}: rows of the set have {} at most",
                                  options.negatives, source.set.k()));
  if (args.missing_text == "reject" && (source.item_texts || source.user_texts))
    check_texts(source, args.positives == "first");
  ExportFile file(args.out, args.overwrite);
  LineMaker lines(options, names_for(source, args), source.set.schema());
  file.write(lines.header());
  Progress progress("rows", source.rows);
  std::string text;
  for (std::uint64_t r = 0; r < source.rows; ++r) {
    check_stop(context, r);
    text.clear();
    lines.add(source.set.row(r), r, text);
    file.write(text);
    progress.update(r + 1);
  }
  Json sidecar = sidecar_start(source, args);
  const ExportCounts& counts = lines.counts();
  sidecar["lines"] = counts.lines;
  sidecar["negatives"] = counts.negatives;
  sidecar["left_out"] = {{"rows_without_positive", counts.rows_without_positive},
                         {"rows_with_too_few_negatives", counts.short_rows},
                         {"users_and_items_without_text", counts.without_text}};
  return publish(file, args, std::move(sidecar));
}

/// Whether all eligible items of all rows fit where they are to be written, guessed by some rows.
void check_room(const Source& source, const ExportArgs& args, EligibleItems& items,
                const std::function<EligibleRow(std::uint64_t)>& row_at) {
  constexpr std::uint64_t kRows = 64, kBytesPerItem = 4;  // quotes, comma and space
  const std::uint64_t looked = std::min(kRows, source.rows);
  double bytes = 0;
  for (std::uint64_t i = 0; i < looked; ++i) {
    items.look_at(row_at(source.rows / looked * i));
    const auto id = static_cast<std::uint32_t>((i * 7919) % source.inputs->item_ids.size());
    bytes += static_cast<double>(items.count()) *
             static_cast<double>(source.inputs->item_ids.id_of(id).size() + kBytesPerItem);
  }
  bytes *= static_cast<double>(source.rows) / static_cast<double>(looked);
  std::error_code error;
  const fs::space_info space = fs::space(set_folder(args.out).parent_path(), error);
  if (!error && bytes > static_cast<double>(space.available)) {
    throw IoError(fmt::format(
        "{}: all eligible items of {} rows take about {}, there are {} free; give --sample M or "
        "--limit-rows N, or choose another --out",
        args.out, words_of_count(source.rows),
        words_of_bytes(static_cast<std::uint64_t>(std::min(bytes, 1e18))),
        words_of_bytes(space.available)));
  }
}

/// What a rank among sampled candidates says of the rank among all (methods: sampled metrics).
Json correction_json(const ExportArgs& args) {
  if (args.sample == 0)
    return {{"sampled", false},
            {"note", "candidates are all eligible items: ranks need no correction"}};
  return {
      {"sampled", true},
      {"m", args.sample},
      {"seed", args.sample_seed},
      {"sampling", "uniform without replacement from the eligible items of the row"},
      {"symbols",
       "r: rank of the positive among itself and all eligible items, from 1; N: eligible + 1; "
       "R: its rank among itself and the m candidates"},
      {"exact", "R = 1 + Hypergeometric(N - 1, r - 1, m)"},
      {"approximation",
       "R ~ 1 + Binomial(m, (r - 1) / (N - 1)), exact where candidates are drawn with replacement; "
       "the same mean, and a variance larger by (N - 2) / (N - 1 - m)"},
      {"mean",
       "E[R] = 1 + m (r - 1) / (N - 1), so 1 + (R - 1)(N - 1) / m estimates r without bias"},
      {"warning",
       "metrics of sampled ranks (recall, NDCG, MRR at a cut) are not those of full ranking, and "
       "can order models otherwise; compare models by full ranking or correct every rank"}};
}

std::string export_candidates(const Source& source, const ExportArgs& args,
                              const Context& context) {
  syntax_of(args, ExportFormat::kCandidates);
  const Inputs& inputs = *source.inputs;
  EligibleTables tables;
  tables.num_items = static_cast<std::uint32_t>(inputs.item_ids.size());
  tables.exposure = inputs.exposure ? &*inputs.exposure : nullptr;
  tables.catalogue = inputs.catalogue ? &*inputs.catalogue : nullptr;
  tables.row_positives = &inputs.rows.new_positives();
  tables.left_out = inputs.bad_items;
  tables.as_of = inputs.snapshot.as_of;
  EligibleItems eligible(source.recipe, tables);
  const auto row_at = [&source](std::uint64_t r) {
    const NegativeSet::Row row = source.set.row(r);
    return EligibleRow{row.row_key, row.user, row.time, row.positives};
  };
  if (args.sample == 0 && source.rows > 0) check_room(source, args, eligible, row_at);
  ExportFile file(args.out, args.overwrite);
  const ExportNames names = names_for(source, args);
  std::vector<std::uint32_t> items;
  std::uint64_t least = ~std::uint64_t{0}, most = 0, total = 0, written = 0, all_taken = 0;
  Progress progress("rows", source.rows);
  for (std::uint64_t r = 0; r < source.rows; ++r) {
    check_stop(context, r);
    const EligibleRow row = row_at(r);
    for (const std::uint32_t positive : row.positives)
      known_id(inputs.item_ids, positive, "item", source.set);
    eligible.look_at(row);
    const std::uint64_t count = eligible.count();
    if (args.sample > 0) {
      eligible.sample(args.sample, args.sample_seed, items);
    } else {
      eligible.list(items);
    }
    least = std::min(least, count);
    most = std::max(most, count);
    total += count;
    written += items.size();
    all_taken += items.size() == count ? 1 : 0;
    std::string line = fmt::format("{{\"row\": {}, \"anchor\": {}, \"time\": {}, \"positives\": [",
                                   r, json_text(names.user(row.user)),
                                   row.time == INT64_MAX ? "null" : std::to_string(row.time));
    const auto list = [&](auto from, const auto& text) {
      bool first = true;
      for (const std::uint32_t item : from) {
        if (!first) line += ", ";
        first = false;
        line += json_text(text(item));
      }
      line += ']';
    };
    list(row.positives, names.item);
    line += fmt::format(", \"eligible\": {}, \"candidates\": [", count);
    list(std::span<const std::uint32_t>(items), names.item);
    if (names.title) {
      line += ", \"titles\": [";
      list(std::span<const std::uint32_t>(items), names.title);
    }
    line += "}\n";
    file.write(line);
    progress.update(r + 1);
  }
  Json sidecar = sidecar_start(source, args);
  sidecar["lines"] = source.rows;
  sidecar["candidates"] = {
      {"written", written},
      {"eligible_least", source.rows > 0 ? Json(least) : Json(nullptr)},
      {"eligible_most", most},
      {"eligible_mean", source.rows > 0
                            ? Json(static_cast<double>(total) / static_cast<double>(source.rows))
                            : Json(nullptr)},
      {"rows_with_all_eligible", all_taken},
      {"filters_applied", eligible.applied()},
      {"filters_not_applied", eligible.passed_over()},
      {"correction", correction_json(args)}};
  return publish(file, args, std::move(sidecar));
}

std::string export_npy(const Source& source, const ExportArgs& args, const Context& context) {
  NpyExport npy(source.set, args.out, args.overwrite);
  Progress progress("rows", source.rows);
  for (std::uint64_t r = 0; r < source.rows; ++r) {
    check_stop(context, r);
    npy.add(source.set.row(r));
    progress.update(r + 1);
  }
  return npy.finish(sidecar_start(source, args));
}

std::vector<std::string> paths_of(const Inputs& inputs) {
  std::vector<std::string> paths;
  for (const InputFile& file : inputs.files) paths.push_back(file.path);
  return paths;
}

int run_export(const ExportArgs& args, const CLI::App& verb, const Context& context) {
  const auto format = formats().find(args.to);
  if (format == formats().end()) {
    std::string names;
    for (const auto& [name, unused] : formats()) names += (names.empty() ? "" : ", ") + name;
    throw ConfigError(fmt::format("--to {}: formats are {}", args.to, names));
  }
  check_flags(args, format->second);
  check_export_target(args.out, args.overwrite, format->second == ExportFormat::kNpy);
  if (format->second != ExportFormat::kNpy) syntax_of(args, format->second);
  Source source{open_set(args.set, args.verify), {}, {}, {}, {}, {}};
  std::vector<std::string> read = recorded_files(source.set);
  for (const std::string& text : {args.item_text, args.user_text})
    read.push_back(split_column(text).path);
  check_no_input(args.out, read);
  load_source(source, args, format->second, verb, context);
  if (source.inputs) check_no_input(args.out, paths_of(*source.inputs));
  source.rows = source.set.rows();
  if (args.limit_rows > 0) source.rows = std::min(source.rows, args.limit_rows);
  const std::string meta = format->second == ExportFormat::kNpy ? export_npy(source, args, context)
                           : format->second == ExportFormat::kCandidates
                               ? export_candidates(source, args, context)
                               : export_lines(source, args, format->second, context);
  if (args.json) {
    std::fputs(meta.c_str(), stdout);
  } else {
    const Json said = Json::parse(meta);
    fmt::print(stderr, "{}: {} rows{}\n", args.out, words_of_count(source.rows),
               said.contains("lines")
                   ? fmt::format(", {} lines", words_of_count(said["lines"].get<std::uint64_t>()))
                   : "");
    const Json left_out = said.value("left_out", Json::object());
    for (const auto& [what, count] : left_out.items()) {
      if (count.get<std::uint64_t>() > 0)
        fmt::print(stderr, "left out: {} {}\n", words_of_count(count.get<std::uint64_t>()), what);
    }
  }
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Context& context) {
  auto args = std::make_shared<ExportArgs>();
  CLI::App* verb =
      app.add_subcommand("export", "write a set as files for training or for evaluation");
  verb->add_option("set", args->set, "folder of a set, or STORE@VERSION")->required();
  verb->add_option("--to", args->to,
                   "triplets | tuples | labeled-pairs | labeled-lists | csv | npy | candidates")
      ->required();
  verb->add_option("--out", args->out,
                   "file to write, whose ending (.jsonl, .tsv, .csv) says how; of npy a folder")
      ->required();
  verb->add_flag("--overwrite", args->overwrite, "replace what an earlier export wrote there");
  verb->add_flag("--names", args->names, "titles of items, too");
  verb->add_flag("--numbers", args->numbers, "row numbers instead of ids; no input is read");
  verb->add_flag("--scores", args->scores, "triplets: score and gap of the negative, too");
  verb->add_flag("--empty-slots", args->empty_slots, "csv: a line for each, with its reason");
  verb->add_option("--positives", args->positives, "all | first of a row's positives")
      ->capture_default_str()
      ->check(CLI::IsMember({"all", "first"}));
  verb->add_option("--negatives", args->negatives,
                   "tuples: negatives in each; rows with fewer are left out (default: k)")
      ->check(CLI::Range(1, 65535));
  verb->add_option("--item-text", args->item_text,
                   "FILE:column, texts in the place of item ids, joined by the column 'item'");
  verb->add_option("--user-text", args->user_text,
                   "FILE:column, texts in the place of user ids, joined by the column 'user'");
  verb->add_option("--item-text-id", args->item_text_id, "column of ids in --item-text")
      ->capture_default_str();
  verb->add_option("--user-text-id", args->user_text_id, "column of ids in --user-text")
      ->capture_default_str();
  verb->add_option("--missing-text", args->missing_text,
                   "reject | drop lines whose users or items have no text")
      ->capture_default_str()
      ->check(CLI::IsMember({"reject", "drop"}));
  verb->add_option("--sample", args->sample,
                   "candidates: so many eligible items of each row, drawn uniformly; 0: all")
      ->check(CLI::Range(0, 1 << 27));
  verb->add_option("--sample-seed", args->sample_seed, "seed of that draw")->capture_default_str();
  verb->add_option("--limit-rows", args->limit_rows, "only the first so many rows; 0: all");
  verb->add_flag("--verify", args->verify, "recompute the hashes of all shards first");
  verb->add_flag("--allow-changed", args->allow_changed,
                 "go on though an input is not what the set was mined from");
  verb->add_flag("--json", args->json, "what was written, as JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that the manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kShow);
  inputs->add_option("--rows", args->flags.rows, "the training rows, for candidates");
  inputs->add_option("--row-columns", args->flags.row_columns, "their columns");
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_export(*args, *inputs, context); };
  });
}

}  // namespace quarry

// quarry show: rows of a set as a person reads them, with titles and what the user did.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/store/fill_names.h"
#include "host/store/negative_set.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "tools/quarry/fill_warnings.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct ShowArgs {
  std::vector<std::string> sets;
  RunOptions flags;
  RowChoice choice;
  std::uint64_t rows = 3;
  std::uint64_t history = 8;
  bool verify = false;
  bool hash = false;
  bool json = false;
};

Json number_or_null(float value) { return std::isnan(value) ? Json(nullptr) : Json(value); }

std::string number_text(float value, const char* format) {
  return std::isnan(value) ? "-" : fmt::format(fmt::runtime(format), value);
}

Json row_json(const NegativeSet& set, std::uint64_t index, const Inputs* inputs) {
  const NegativeSet::Row row = set.row(index);
  const SetSchema& schema = set.schema();
  Json negatives = Json::array();
  for (std::uint32_t j = 0; j < set.k(); ++j) {
    if (j >= row.count) {
      negatives.push_back({{"missing", fill_code_name(row.fill[j])}});
      continue;
    }
    Json entry = {
        {"item", inputs != nullptr ? Json(item_id(*inputs, row.item[j])) : Json(nullptr)},
        {"index", row.item[j]},
        {"title", inputs != nullptr ? item_title(*inputs, row.item[j]) : ""},
        {"score", number_or_null(row.score[j])},
        {"gap", number_or_null(row.gap[j])},
        {"branch", row.branch[j] < schema.branches.size() ? schema.branches[row.branch[j]] : "?"},
        {"raw_rank", row.raw_rank[j]},
        {"survivor_rank", row.survivor_rank[j]},
        {"stratum", row.stratum[j] < schema.strata.size() ? schema.strata[row.stratum[j]] : "?"},
        {"logq", number_or_null(row.logq[j])}};
    negatives.push_back(std::move(entry));
  }
  Json positives = Json::array();
  for (const std::uint32_t item : row.positives) {
    positives.push_back({{"item", inputs != nullptr ? Json(item_id(*inputs, item)) : Json(nullptr)},
                         {"index", item},
                         {"title", inputs != nullptr ? item_title(*inputs, item) : ""}});
  }
  return {{"row", index},
          {"row_key", row.row_key},
          {"user", inputs != nullptr ? Json(user_id(*inputs, row.user)) : Json(nullptr)},
          {"user_index", row.user},
          {"positives", std::move(positives)},
          {"time", row.time == INT64_MAX ? Json(nullptr) : Json(row.time)},
          {"positive_min", number_or_null(row.positive_min)},
          {"certified", row.certified != 0},
          {"negatives", std::move(negatives)}};
}

/// The latest things that a user did, one line each.
std::string history_words(const Inputs& inputs, std::uint32_t user, std::uint64_t limit) {
  if (!inputs.exposure || std::uint64_t{user} + 1 >= inputs.exposure->offsets.size()) return "";
  const Exposure& e = *inputs.exposure;
  std::vector<std::uint64_t> places;
  for (std::uint64_t at = e.offsets[user]; at < e.offsets[user + 1]; ++at) places.push_back(at);
  std::sort(places.begin(), places.end(), [&](std::uint64_t a, std::uint64_t b) {
    return e.last_time[a] != e.last_time[b] ? e.last_time[a] > e.last_time[b]
                                            : e.items[a] < e.items[b];
  });
  if (places.empty()) return "  has no item in the events\n";
  std::string words = fmt::format("  has {} items in the events; the latest:\n", places.size());
  for (std::size_t i = 0; i < std::min<std::size_t>(places.size(), limit); ++i) {
    words += fmt::format("    {:<20} {:<12} {}\n", time_words(e.last_time[places[i]]),
                         exposure_class_name(e.classes[places[i]]),
                         item_words(inputs, e.items[places[i]]));
  }
  return words;
}

/// What the row was mined for: its positives and when they were.
std::string positive_words(const NegativeSet::Row& row, const Inputs* inputs) {
  constexpr std::size_t kNamed = 10;
  const std::string when = row.time == INT64_MAX ? "" : ", at " + time_words(row.time);
  const std::size_t count = row.positives.size();
  if (count == 0) return fmt::format("  no positive{}\n", when);
  std::string words;
  for (const std::uint32_t item : row.positives.first(std::min(count, kNamed))) {
    words +=
        fmt::format("  positive {}{}\n",
                    inputs != nullptr ? item_words(*inputs, item) : std::to_string(item), when);
  }
  if (count > kNamed) words += fmt::format("  and {} more positives\n", count - kNamed);
  return words;
}

std::string row_words(const NegativeSet& set, std::uint64_t index, const Inputs* inputs,
                      std::uint64_t history) {
  const NegativeSet::Row row = set.row(index);
  const SetSchema& schema = set.schema();
  std::string words = fmt::format(
      "row {}, key {}, user {}: {} of {} negatives, least positive score {}{}\n", index,
      row.row_key,
      inputs != nullptr ? printable(user_id(*inputs, row.user)) : std::to_string(row.user),
      row.count, set.k(), number_text(row.positive_min, "{:.4f}"),
      row.certified != 0 ? "" : ", not certified");
  words += positive_words(row, inputs);
  if (inputs != nullptr && history > 0) words += history_words(*inputs, row.user, history);
  std::size_t branch_width = 6;
  std::size_t stratum_width = 7;
  for (const std::string& name : schema.branches)
    branch_width = std::max(branch_width, name.size());
  for (std::uint32_t j = 0; j < row.count; ++j) {
    if (row.stratum[j] < schema.strata.size())
      stratum_width = std::max(stratum_width, schema.strata[row.stratum[j]].size());
  }
  if (row.count > 0) {
    words += fmt::format("  {:>3}  {:>9} {:>9}  {:<{}} {:>8} {:>8}  {:<{}} {:>8}  {}\n", "#",
                         "score", "gap", "branch", branch_width, "rank", "survivor", "stratum",
                         stratum_width, "logq", "item");
  }
  for (std::uint32_t j = 0; j < row.count; ++j) {
    words += fmt::format(
        "  {:>3}  {:>9} {:>9}  {:<{}} {:>8} {:>8}  {:<{}} {:>8}  {}\n", j + 1,
        number_text(row.score[j], "{:.4f}"), number_text(row.gap[j], "{:.4f}"),
        row.branch[j] < schema.branches.size() ? schema.branches[row.branch[j]] : "?", branch_width,
        row.raw_rank[j] != 0 ? std::to_string(row.raw_rank[j]) : "-",
        row.survivor_rank[j] != 0 ? std::to_string(row.survivor_rank[j]) : "-",
        row.stratum[j] < schema.strata.size() ? printable(schema.strata[row.stratum[j]]) : "?",
        stratum_width, number_text(row.logq[j], "{:.3f}"),
        inputs != nullptr ? item_words(*inputs, row.item[j]) : std::to_string(row.item[j]));
  }
  std::uint32_t missing[kNumFillCodes] = {};
  for (std::uint32_t j = row.count; j < set.k(); ++j)
    ++missing[std::min<std::uint32_t>(row.fill[j], kNumFillCodes - 1)];
  for (std::uint32_t code = 1; code < kNumFillCodes; ++code) {
    if (missing[code] > 0)
      words += fmt::format("  {} missing: {}\n", missing[code], fill_code_name(code));
  }
  return words;
}

int show_hash(const ShowArgs& args) {
  std::vector<NegativeSet> sets;
  for (const std::string& path : args.sets) sets.push_back(open_set(path, args.verify));
  const std::string hash = content_hash_of(sets);
  if (args.json) {
    const Json out = {{"sets", args.sets}, {"content_hash", hash}};
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    std::puts(hash.c_str());
  }
  return 0;
}

/// The files whose change could make names wrong, by role. Embeddings are not among them:
/// only their number of rows is used.
std::map<std::string, std::string> files_of_names(const Inputs& inputs) {
  std::map<std::string, std::string> files;
  for (const InputFile& file : inputs.files) {
    if (file.role != "items" && file.role != "users") files[file.role] = file.path;
  }
  return files;
}

/// Names from the files that can be read: events and catalogue are done without where they cannot,
/// unless flags name files (`wanted`). Null, with the reason, where even the ids cannot.
std::unique_ptr<Inputs> load_what_is_there(const RunRequest& request, bool wanted,
                                           const Context& context, std::string* why) {
  for (const bool with_events : {true, false}) {
    for (const bool with_catalogue : {true, false}) {
      RunRequest some = request;
      if (!with_events) some.options.events.clear();
      if (!with_catalogue) some.options.catalogue.clear();
      try {
        std::unique_ptr<Inputs> inputs = load_names(some, context);
        if (!with_events || !with_catalogue) {
          fmt::print(stderr, "warning: {} not shown, because a file cannot be read: {}\n",
                     with_catalogue ? "what users did is"
                     : with_events  ? "titles are"
                                    : "titles and what users did are",
                     *why);
        }
        return inputs;
      } catch (const InputError& error) {
        if (wanted) throw;
        *why = error.what();
      } catch (const IoError& error) {
        if (wanted) throw;
        *why = error.what();
      }
    }
  }
  return nullptr;
}

/// Ids, titles and what users did as far as the inputs can still be read; says on stderr what is
/// missing or has changed. Throws InputError if the manifest is damaged, and whatever keeps files
/// that flags name from being used: those are wanted.
std::unique_ptr<Inputs> load_background(const NegativeSet& set, const ShowArgs& args,
                                        const CLI::App& verb, const Context& context,
                                        std::vector<std::string>* changed) {
  std::unique_ptr<Inputs> inputs;
  std::string why = "its manifest does not say how it was mined";
  const bool wanted = names_a_file(verb);
  RunRequest request;
  if (wanted || has_recorded_run(set)) {
    const RecordedRun recorded = recorded_run(set, verb, args.flags);
    request = recorded_request(set, verb, recorded);
    inputs = load_what_is_there(request, wanted, context, &why);
  }
  if (!inputs) {
    fmt::print(stderr,
               "warning: ids and titles are not shown, because the inputs cannot be read: {}\n",
               why);
    return inputs;
  }
  *changed = changed_files(set, files_of_names(*inputs));
  for (const std::string& file : *changed)
    fmt::print(stderr, "warning: {}; names shown may be wrong\n", file);
  return inputs;
}

/// What the manifest says of an approximate retriever; null if it says nothing.
Json recorded_recall(const NegativeSet& set) {
  const Json manifest = Json::parse(set.manifest_json(), nullptr, false);
  if (!manifest.is_object() || !manifest.contains("run") || !manifest["run"].is_object())
    return nullptr;
  return manifest["run"].value("recall", Json());
}

/// --hash prints one line and reads nothing else: a flag for rows or names would be lost on it.
void check_hash_flags(const CLI::App& inputs) {
  for (const CLI::App* flags : {inputs.get_parent(), &inputs}) {
    for (const CLI::Option* option : flags->get_options()) {
      const std::string name = option->get_name();
      if (option->count() == 0 || name == "folder" || name == "--hash" || name == "--verify" ||
          name == "--json")
        continue;
      throw ConfigError(name + " has no effect beside --hash, which prints the content hash alone");
    }
  }
}

int run_show(const ShowArgs& args, const CLI::App& verb, const Context& context) {
  if (args.hash) {
    check_hash_flags(verb);
    return show_hash(args);
  }
  if (args.sets.size() != 1)
    throw ConfigError("show prints the rows of one set; several are for --hash");
  const NegativeSet set = open_set(args.sets.front(), args.verify);
  std::vector<std::string> changed;
  const std::unique_ptr<Inputs> inputs = load_background(set, args, verb, context, &changed);
  std::vector<std::uint64_t> rows;
  if (args.choice.row.empty() && args.choice.key.empty() && args.choice.user.empty()) {
    // Spread over the set, so that a look does not see one user only.
    const std::uint64_t n = std::min(args.rows, set.rows());
    for (std::uint64_t i = 0; i < n; ++i)
      rows.push_back(set.rows() / std::max<std::uint64_t>(n, 1) * i);
  } else {
    const IdMap numbers = IdMap::identity(kNoItem - 1);
    rows = find_rows(set, args.choice, inputs ? inputs->user_ids : numbers);
    if (!args.choice.user.empty()) rows.resize(std::min<std::uint64_t>(rows.size(), args.rows));
  }
  const Json recall = recorded_recall(set);
  if (args.json) {
    Json out = {{"set", set.path()},     {"rows", set.rows()},
                {"k", set.k()},          {"content_hash", set.content_hash()},
                {"recall", recall},      {"changed_inputs", changed},
                {"shown", Json::array()}};
    for (const std::uint64_t row : rows) out["shown"].push_back(row_json(set, row, inputs.get()));
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return 0;
  }
  fmt::print("{}: {} rows of {} negatives, content hash {}\n", set.path(),
             words_of_count(set.rows()), set.k(), set.content_hash());
  fmt::print("{}", recall_words(recall.dump()));
  for (const std::uint64_t row : rows)
    fmt::print("\n{}", row_words(set, row, inputs.get(), args.history));
  return 0;
}

}  // namespace

void add_show(CLI::App& app, Context& context) {
  auto args = std::make_shared<ShowArgs>();
  CLI::App* verb =
      app.add_subcommand("show", "print rows of a set with titles and what the user did");
  verb->add_option("folder", args->sets, "folder of the set")->required();
  add_row_choice(*verb, args->choice);
  verb->add_option("--n,--rows", args->rows, "rows to print")->capture_default_str();
  verb->add_option("--history", args->history, "events of the user to print; 0: none")
      ->capture_default_str();
  verb->add_flag("--verify", args->verify, "recompute the hashes of all shards first");
  verb->add_flag(
      "--hash", args->hash,
      "print the content hash of the set, or of several laid end to end, and nothing else");
  verb->add_flag("--json", args->json, "JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that the manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kShow);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_show(*args, *inputs, context); };
  });
}

}  // namespace quarry

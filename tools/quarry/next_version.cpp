// Going on from a version.
#include "tools/quarry/next_version.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/store/digest.h"
#include "kernels/core/errors.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recorded_run.h"

namespace quarry {

using Json = nlohmann::ordered_json;

void add_next_version_options(CLI::App& verb, NextVersion& next) {
  verb.add_flag("--new-snapshot", next.new_snapshot,
                "make popularity, strata and the range of random draws anew; mines every row");
  verb.add_option("--parent-items", next.parent_items,
                  "item embeddings of the version gone on from, where their file was replaced");
  verb.add_option("--model", next.model, "name of the model of the vectors, if it is another");
}

Store store_of(const NextVersion& next) {
  std::string folder, reference;
  if (!split_reference(next.version, &folder, &reference)) {
    throw ConfigError(
        fmt::format("'{}' is no store, and no version of one as STORE@VERSION; "
                    "quarry mine --store makes one",
                    next.version));
  }
  return Store::open(folder);
}

std::uint64_t version_of(const NextVersion& next, const Store& store) {
  std::string folder, reference;
  split_reference(next.version, &folder, &reference);
  return store.resolve(reference);
}

RunRequest request_of(const NextVersion& next, const CLI::App& verb, const EarlierVersion& earlier,
                      const std::string& reference) {
  const NegativeSet& set = earlier.set();
  RunOptions options = recorded_options(text_of(set), verb, next.run);
  // Logs are added to those that were read, and each once: the same command may be given again.
  const RunOptions before = recorded_options(text_of(set), CLI::App(), {});
  // --events names the whole log anew.
  options.more_events =
      verb.count("--events") > 0 ? std::vector<std::string>() : before.more_events;
  for (const std::string& log : next.run.more_events) {
    if (log.empty()) throw ConfigError("--more-events: no file is named");
    const std::string path = std::filesystem::absolute(log).lexically_normal().string();
    if (std::find(options.more_events.begin(), options.more_events.end(), path) ==
        options.more_events.end())
      options.more_events.push_back(path);
  }
  if (verb.count("--snapshot") > 0) {
    throw ConfigError(
        "--snapshot: a refresh keeps the snapshot of the version it goes on from; --new-snapshot "
        "makes one, quarry mine --snapshot takes another");
  }
  if (next.run.as_of == "latest") options.as_of.clear();  // the log's last event ends it
  if (!next.follow_as_of.empty()) options.as_of = next.follow_as_of;
  options.snapshot = next.new_snapshot ? "" : reference;
  if (verb.count("--recipe") == 0) {  // --set changes the recorded recipe, as it was changed then
    options.overrides = before.overrides;
    options.overrides.insert(options.overrides.end(), next.run.overrides.begin(),
                             next.run.overrides.end());
  }
  RunRequest request = verb.count("--recipe") > 0
                           ? check_run_options(options)
                           : check_run_options(options, recorded_recipe(text_of(set), options.round,
                                                                        next.run.overrides));
  if (!next.new_snapshot) request.snapshot = earlier.snapshot();
  return request;
}

StoreOptions store_options_of(const NextVersion& next, const Store& store,
                              const EarlierVersion& earlier) {
  StoreOptions options = store_options_in(store.path(), earlier.set().manifest_json());
  if (!next.model.empty()) options.model = next.model;
  options.note = next.note;
  options.moves_tags_back = false;
  options.tags = next.tags;
  options.parents = {std::to_string(earlier.number())};
  return options;
}

std::optional<Embeddings> embeddings_of(const EarlierVersion& earlier, const std::string& role,
                                        const std::string& given, const Inputs& now,
                                        const std::string& tensor_now) {
  const Json manifest = Json::parse(earlier.set().manifest_json());
  std::string hash;
  for (const Json& file : manifest.value("run", Json::object()).value("inputs", Json::array())) {
    if (file.value("role", "") == role) hash = file.value("xxh3_128", "");
  }
  const RunOptions then = recorded_options(text_of(earlier.set()), CLI::App(), {});
  const std::string& tensor = role == "items" ? then.items_tensor : then.users_tensor;
  for (const InputFile& file : now.files) {
    if (file.role != role || file.xxh3_128 != hash) continue;
    if (tensor == tensor_now) return role == "items" ? now.items : now.users;
    return Embeddings::open(file.path, tensor);
  }
  const std::string path = !given.empty() ? given : role == "items" ? then.items : then.users;
  std::error_code error;
  if (given.empty() && !std::filesystem::exists(path, error)) return std::nullopt;
  if (digest_file(path).digest.hex() != hash) {
    if (given.empty()) return std::nullopt;
    throw InputError(fmt::format(
        "{}: is not the file that version {} was mined from; give that one with --parent-{}, or "
        "leave the flag out to do without",
        path, earlier.number(), role));
  }
  return Embeddings::open(path, tensor);
}

std::vector<std::string> other_logs_warnings(const Store& store, const EarlierVersion& earlier,
                                             const RunOptions& now) {
  std::vector<std::string> warnings;
  const std::uint64_t newest = store.versions().back();
  if (newest <= earlier.number()) return warnings;
  const RunOptions later = recorded_options(
      text_of(open_set(fmt::format("{}@{}", store.path(), newest), false)), CLI::App(), {});
  const std::vector<std::string>& read = now.more_events;
  for (const std::string& log : later.more_events) {
    const std::string path = std::filesystem::absolute(log).lexically_normal().string();
    if (std::find(read.begin(), read.end(), path) != read.end()) continue;
    warnings.push_back(fmt::format(
        "version {} read the log {}, which this one does not know, since it goes on from version "
        "{}; name the log with --more-events, or go on from {}@{}",
        newest, path, earlier.number(), store.path(), newest));
  }
  return warnings;
}

std::string late_events_warning(const NextVersion& next, const Inputs& inputs) {
  if (next.run.more_events.empty() || !inputs.exposure || inputs.exposure->events_after_as_of == 0)
    return "";
  return fmt::format("{} events are after --as-of and not seen; give a later --as-of",
                     words_of_count(inputs.exposure->events_after_as_of));
}

}  // namespace quarry

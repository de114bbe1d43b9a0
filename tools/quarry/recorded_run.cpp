// Reading back how a set was made.
#include "tools/quarry/recorded_run.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/recipe/reparse.h"
#include "host/store/digest.h"
#include "host/store/store.h"
#include "host/store/version_basis.h"
#include "kernels/core/errors.h"
#include "tools/quarry/file_identity.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

std::uint64_t number_of(const std::string& text, const char* flag) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw ConfigError(fmt::format("{}: '{}' is not a whole number", flag, text));
  }
  return value;
}

/// The manifest's `run`, and in it the options with those of the command line in their place.
Json merged_run(const RecordedText& set, const CLI::App& verb, const RunOptions& flags) {
  const std::string& where = set.file;
  const Json manifest = Json::parse(set.json, nullptr, false);
  Json run = manifest.value("run", Json::object());
  if (!run.is_object() || !run.contains("options") || !run.contains("recipe") ||
      !run.contains("rows") || !run["recipe"].is_object() || !run["recipe"].contains("text") ||
      !run["recipe"]["text"].is_string()) {
    throw InputError(where +
                     ": does not record how the set was mined, as sets written by quarry mine do; "
                     "its inputs are not known");
  }
  Json& options = run["options"];
  const Json given = Json::parse(options_to_json(flags, set.folder));
  for (const auto& [key, value] : given.items()) {
    const CLI::Option* option = verb.get_option_no_throw("--" + key);
    if (option != nullptr && option->count() > 0) options[key] = value;
  }
  if (!flags.rows.empty() && options.is_object()) options.erase("rows-from");  // it excludes a file
  return run;
}

RunOptions options_in(const RecordedText& set, const Json& options) {
  return options_from_json(options.dump(-1, ' ', false, Json::error_handler_t::replace), set.folder,
                           set.file);
}

}  // namespace

RecordedText text_of(const NegativeSet& set) {
  return {set.path(), set.manifest_path(), set.manifest_json()};
}

RunOptions recorded_options(const RecordedText& set, const CLI::App& verb,
                            const RunOptions& flags) {
  return options_in(set, merged_run(set, verb, flags)["options"]);
}

Recipe recorded_recipe(const RecordedText& set, std::uint32_t round,
                       const std::vector<std::string>& overrides) {
  const Json manifest = Json::parse(set.json, nullptr, false);
  const std::string text = manifest.at("run").at("recipe").at("text").get<std::string>();
  try {
    const std::string where = set.file + " (run.recipe.text)";
    return overrides.empty() ? parse_recipe(text, where, round)
                             : parse_recipe_with(text, where, round, overrides);
  } catch (const ConfigError& error) {
    if (!overrides.empty()) throw;
    throw InputError(fmt::format("{}; the manifest is damaged, mine the set again", error.what()));
  }
}

RecordedRun recorded_run(const NegativeSet& set, const CLI::App& verb, const RunOptions& flags) {
  const std::string& where = set.manifest_path();
  Json run = merged_run(text_of(set), verb, flags);
  Json& options = run["options"];
  // What auto chose then, whatever it would choose now.
  const Json search = run.value("search", Json::object());
  const Json choice = search.is_object() ? search.value("choice", Json()) : Json();
  const CLI::Option* named = verb.get_option_no_throw("--retriever");
  if (options.is_object() && options.value("retriever", Json()) == "auto" && choice.is_object() &&
      (named == nullptr || named->count() == 0)) {
    options["retriever"] = choice.value("retriever", Json("auto"));
    for (const char* key : {"nprobe", "ef_search"}) {
      const std::string flag = key == std::string("nprobe") ? "nprobe" : "ef-search";
      if (options.value(flag, Json(0)) == 0) options[flag] = choice.value(key, Json(0));
    }
  }
  RecordedRun recorded;
  recorded.options = options_in(text_of(set), options);
  recorded.options.device = "cpu";
  std::string& cache = recorded.options.index_cache;
  if (!flags.index_cache.empty()) {
    identity_of(cache);  // it is named to be loaded
  } else if (std::error_code error; !std::filesystem::exists(cache, error)) {
    cache.clear();
  }
  recorded.options.allow_inert = true;  // the run is over; what it warned of stands in its manifest
  try {
    recorded.first_row = run["rows"].at("first").get<std::uint64_t>();
  } catch (const nlohmann::json::exception&) {
    throw InputError(where + ": run.rows.first is missing");
  }
  recorded.recipe = recorded_recipe(text_of(set), recorded.options.round);
  return recorded;
}

bool has_recorded_run(const NegativeSet& set) {
  const Json manifest = Json::parse(set.manifest_json(), nullptr, false);
  return manifest.is_object() && manifest.contains("run") && manifest["run"].is_object() &&
         manifest["run"].contains("options");
}

RunRequest recorded_request(const NegativeSet& set, const CLI::App& verb,
                            const RecordedRun& recorded) {
  try {
    RunRequest request = check_run_options(recorded.options, recorded.recipe);
    // The version's own, wherever it was taken from then.
    request.snapshot = snapshot_of(set.path(), set.manifest_json());
    return request;
  } catch (const ConfigError& error) {
    for (const CLI::Option* option : verb.get_options()) {
      if (option->count() > 0) throw;
    }
    throw InputError(
        fmt::format("{}: run.options do not fit: {}", set.manifest_path(), error.what()));
  }
}

Snapshot read_snapshot_of(const std::string& text) {
  std::string folder, reference;
  if (!split_reference(text, &folder, &reference)) {
    throw ConfigError(fmt::format(
        "--snapshot: '{}' is no version of a store; give STORE@VERSION, as quarry log lists them",
        text));
  }
  const Store store = Store::open(folder);
  const std::uint64_t number = store.resolve(reference);
  std::optional<Snapshot> snapshot = snapshot_of(store.path(), store.manifest(number));
  if (!snapshot) {
    throw InputError(
        fmt::format("{}: was mined before versions kept their snapshots; mine it again", text));
  }
  return std::move(*snapshot);
}

NegativeSet open_set(const std::string& path, bool verify) {
  std::string store, reference;
  if (split_reference(path, &store, &reference)) {
    const Store opened = Store::open(store);
    return opened.read(opened.resolve(reference), verify);
  }
  identity_of(path);  // a wrong path is an I/O error; what is there and no set is bad data
  return NegativeSet::open(path, verify);
}

bool names_a_file(const CLI::App& verb) {
  bool named = false;
  RunOptions options;
  each_option(options, [&](const char* flag, const auto&, OptionRole role, OptionUse, const char*) {
    const CLI::Option* option = verb.get_option_no_throw(flag);
    named = named || (role != OptionRole::kPlain && option != nullptr && option->count() > 0);
  });
  return named;
}

std::vector<std::string> changed_files(const NegativeSet& set,
                                       const std::map<std::string, std::string>& used) {
  std::vector<std::string> changed;
  const Json manifest = Json::parse(set.manifest_json(), nullptr, false);
  if (!has_recorded_run(set) || !manifest["run"].contains("inputs")) return changed;
  for (const Json& file : manifest["run"]["inputs"]) {
    if (!file.is_object() || !file.contains("role") || !file["role"].is_string()) continue;
    const auto found = used.find(file["role"].get<std::string>());
    if (found == used.end()) continue;
    const std::string& path = found->second;
    try {
      const FileDigest now = digest_file(path);
      if (now.bytes != file.value("bytes", Json(0))) {
        changed.push_back(fmt::format("{}: has {} bytes, had {} when the set was mined", path,
                                      now.bytes, file.value("bytes", Json(0)).dump()));
      } else if (now.digest.hex() != file.value("xxh3_128", Json(""))) {
        changed.push_back(path + ": has other content than when the set was mined");
      }
    } catch (const IoError& error) {
      changed.push_back(error.what());
    }
  }
  return changed;
}

std::vector<std::string> recorded_files(const NegativeSet& set) {
  std::vector<std::string> files;
  const Json manifest = Json::parse(set.manifest_json(), nullptr, false);
  if (!has_recorded_run(set) || !manifest["run"].contains("inputs")) return files;
  for (const Json& file : manifest["run"]["inputs"]) {
    if (file.is_object() && file.contains("path") && file["path"].is_string())
      files.push_back(
          (std::filesystem::path(set.path()) / file["path"].get<std::string>()).string());
  }
  return files;
}

void add_row_choice(CLI::App& verb, RowChoice& choice) {
  CLI::Option* row = verb.add_option("--row", choice.row, "row of the set, from 0");
  CLI::Option* key = verb.add_option("--key", choice.key, "row with this key");
  CLI::Option* user = verb.add_option("--user", choice.user, "rows of the user with this id");
  row->excludes(key)->excludes(user);
  key->excludes(user);
}

std::vector<std::uint64_t> find_rows(const NegativeSet& set, const RowChoice& choice,
                                     const IdMap& users) {
  std::vector<std::uint64_t> found;
  if (!choice.row.empty()) {
    const std::uint64_t row = number_of(choice.row, "--row");
    if (row >= set.rows()) {
      throw InputError(
          fmt::format("{}: has {} rows, there is no row {}", set.path(), set.rows(), row));
    }
    return {row};
  }
  if (!choice.key.empty()) {
    const std::uint64_t key = number_of(choice.key, "--key");
    for (std::uint64_t row = 0; row < set.rows(); ++row) {
      if (set.row(row).row_key == key) return {row};
    }
    throw InputError(fmt::format("{}: no row has the key {}", set.path(), key));
  }
  const auto user = users.find(choice.user);
  if (!user) throw InputError(fmt::format("{}: there is no user '{}'", set.path(), choice.user));
  for (std::uint64_t row = 0; row < set.rows(); ++row) {
    if (set.row(row).user == *user) found.push_back(row);
  }
  if (found.empty())
    throw InputError(fmt::format("{}: user '{}' has no row in the set", set.path(), choice.user));
  return found;
}

}  // namespace quarry

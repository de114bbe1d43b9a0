// Opening a set with its names.
#include "tools/quarry/named_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "tools/quarry/verbs.h"

namespace quarry {

std::map<std::string, std::string> files_that_matter(const Inputs& inputs) {
  std::map<std::string, std::string> files;
  for (const InputFile& file : inputs.files) {
    if (file.role != "items" && file.role != "users") files[file.role] = file.path;
  }
  return files;
}

std::vector<std::string> check_changed(const NegativeSet& set, const Inputs& inputs, bool allowed,
                                       const std::string& what) {
  std::vector<std::string> changed = changed_files(set, files_that_matter(inputs));
  if (!changed.empty() && !allowed) {
    throw InputError(fmt::format(
        "{}; {} could be wrong. Name the files that the set was mined from, or take these as they "
        "are with --allow-changed",
        fmt::join(changed, "; "), what));
  }
  for (const std::string& file : changed) fmt::print(stderr, "warning: {}\n", file);
  return changed;
}

std::string known_id(const IdMap& ids, std::uint32_t index, const char* what,
                     const NegativeSet& set) {
  if (index < ids.size()) return ids.id_of(index);
  throw InputError(fmt::format("{}: names {} {}, there are {} ids; the ids are of other tables",
                               set.manifest_path(), what, index, ids.size()));
}

NamedSet open_named_set(const std::string& name, const NamedSetWish& wish, const CLI::App& verb,
                        const RunOptions& flags, const Context& context) {
  std::string folder, reference;
  std::uint64_t version = 0;
  std::optional<NegativeSet> set;
  if (split_reference(name, &folder, &reference)) {
    const Store store = Store::open(folder);
    version = store.resolve(reference);
    set = store.read(version, wish.verify);
  } else {
    set = open_set(name, wish.verify);
  }
  const RecordedRun recorded = recorded_run(*set, verb, flags);
  RunRequest request = recorded_request(*set, verb, recorded);
  // Flags say what to do with ids of the caller's files; those of the set's were read as recorded.
  request.unknown_ids = recorded_options(text_of(*set), CLI::App(), {}).unknown_ids == "drop"
                            ? UnknownIds::kDrop
                            : UnknownIds::kReject;
  RunRequest names = request;
  if (!wish.titles) names.options.catalogue.clear();
  if (!wish.events) names.options.events.clear();
  std::unique_ptr<Inputs> inputs = load_names(names, context);
  std::vector<std::string> changed =
      check_changed(*set, *inputs, wish.allow_changed, wish.events ? "ids and exposure" : "ids");
  return {name,
          folder,
          version,
          std::move(*set),
          std::move(request),
          recorded.recipe,
          std::move(inputs),
          std::move(changed)};
}

std::string set_facts_json(const NegativeSet& set, const std::string& name) {
  using Json = nlohmann::ordered_json;
  const Json manifest = Json::parse(set.manifest_json(), nullptr, false);
  return Json{{"name", name},
              {"version", manifest.value("version", Json())},
              {"content_hash", set.content_hash()},
              {"rows", set.rows()},
              {"k", set.k()}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace quarry

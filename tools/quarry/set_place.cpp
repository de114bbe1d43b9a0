// Where a finished set goes.
#include "tools/quarry/set_place.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "host/store/decisions.h"
#include "kernels/core/errors.h"

namespace quarry {

void add_place_options(CLI::App& verb, SetPlace& place, const std::string& store_help) {
  verb.add_option("--out", place.out, "folder of the new set");
  verb.add_flag("--overwrite", place.overwrite,
                "replace the set at --out; the old one is kept as <out>.old");
  verb.add_option("--store", place.store.store, store_help);
  verb.add_option("--tag", place.store.tags, "with --store: tags to move to the new version");
  verb.add_option("--model", place.store.model, "with --store: name of the model of the vectors");
  verb.add_option("--parent", place.store.parents,
                  "with --store: versions that this one comes from");
  verb.add_option("--note", place.store.note, "with --store: words kept with the version");
}

void check_place(const SetPlace& place) {
  const StoreOptions& store = place.store;
  if (!place.in_store()) {
    if (!store.tags.empty() || !store.parents.empty() || !store.model.empty() ||
        !store.note.empty())
      throw ConfigError("--tag, --parent, --model and --note are of a version: give --store");
    return;
  }
  if (!place.out.empty()) throw ConfigError("--out and --store exclude each other");
  for (const std::string& name : store.tags) Store::check_tag_name(name);
  if (place.overwrite) throw ConfigError("--overwrite is for --out; a store keeps its versions");
}

void check_new_version(const Store& store, const std::vector<std::string>& tags,
                       const std::vector<std::string>& parents) {
  read_policy(store);
  for (const std::string& name : tags) check_free_tag(store, name);
  for (const std::string& parent : parents) store.resolve(parent);
  store.events();
}

std::string why_not_latest(const Store& store, std::uint64_t version) {
  if (may_be_latest(store, version)) return {};
  return fmt::format("note: latest stays where it is, the store's policy asks for {}\n",
                     words_of(read_policy(store)));
}

}  // namespace quarry

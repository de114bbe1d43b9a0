// A set and what its numbers mean: ids, titles and events from the inputs that its manifest
// records.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/quarry/load_inputs.h"
#include "tools/quarry/recorded_run.h"

namespace CLI {
class App;
}

namespace quarry {

/// Files whose change would make ids wrong, by role. Of embeddings only the number of rows is used.
std::map<std::string, std::string> files_that_matter(const Inputs& inputs);
/// Files in use that are not what the set was mined from, each in a sentence: warned of where
/// `allowed`, else refused with InputError. what: what could be wrong ("ids").
std::vector<std::string> check_changed(const NegativeSet& set, const Inputs& inputs, bool allowed,
                                       const std::string& what);
/// Id of a user or item of the set. Throws InputError where the ids do not go so far.
std::string known_id(const IdMap& ids, std::uint32_t index, const char* what,
                     const NegativeSet& set);

/// Which of the inputs are wanted beside the ids.
struct NamedSetWish {
  bool titles = false, events = false;
  bool verify = false, allow_changed = false;
};
struct NamedSet {
  std::string name;   ///< as typed
  std::string store;  ///< folder, as typed; "": a set of its own
  std::uint64_t version = 0;
  NegativeSet set;
  RunRequest request;
  Recipe recipe;  ///< recorded
  std::unique_ptr<Inputs> inputs;
  std::vector<std::string> changed;

  std::string user(std::uint32_t index) const {
    return known_id(inputs->user_ids, index, "user", set);
  }
  std::string item(std::uint32_t index) const {
    return known_id(inputs->item_ids, index, "item", set);
  }
};
/// `flags` given on `verb` take the place of recorded ones.
NamedSet open_named_set(const std::string& name, const NamedSetWish& wish, const CLI::App& verb,
                        const RunOptions& flags, const Context& context);

/// What sidecars say of a set, as JSON.
std::string set_facts_json(const NegativeSet& set, const std::string& name);

}  // namespace quarry

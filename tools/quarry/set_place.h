// Where a finished set goes: a folder, or a new version of a store.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/store/store.h"
#include "tools/quarry/mine_into_store.h"

namespace CLI {
class App;
}

namespace quarry {

struct SetPlace {
  std::string out;         ///< a folder; "": into the store
  bool overwrite = false;  ///< the set at `out` is replaced
  StoreOptions store;
  bool in_store() const { return !store.store.empty(); }
};

/// --out, --overwrite, --store and what is said of a version. store_help: of --store.
void add_place_options(CLI::App& verb, SetPlace& place, const std::string& store_help);
/// Throws ConfigError for what excludes each other and for names that no tag may have.
void check_place(const SetPlace& place);
/// Throws now, under the store's lock, what would else be told behind the last row: a policy or a
/// log that is damaged, a tag that may not move, a parent that is not there.
void check_new_version(const Store& store, const std::vector<std::string>& tags,
                       const std::vector<std::string>& parents = {});
/// A line that says why `latest` does not mean the version; "" if it does.
std::string why_not_latest(const Store& store, std::uint64_t version);

}  // namespace quarry

// Mending versions of a store from the inputs that they were mined from.
#include "tools/quarry/repair.h"

#include <CLI/CLI.hpp>

#include "host/store/version_basis.h"
#include "kernels/core/errors.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/verbs.h"

namespace quarry {

void repair_version(const Store& store, std::uint64_t number, const Context& context) {
  const StoreLock lock(store.path());
  const RecordedText text = {store.path(), store.version_file(number), store.manifest(number)};
  const RunOptions options = recorded_options(text, CLI::App(), {});
  RunRequest request = check_run_options(options, recorded_recipe(text, options.round));
  try {
    request.snapshot = snapshot_of(store.path(), text.json);
  } catch (const InputError&) {
    // Its own copy is damaged: the version that it was taken from may have it, or the events.
  }
  const StoreOptions store_options = store_options_in(store.path(), text.json);
  MiningRun run(std::move(request), store_options.rows_per_shard, store.path(), context);
  repair_in_store(store, number, store_options, run, context);
}

}  // namespace quarry

// What a refresh is made of: the version that it goes on from, the run that this asks for with what
// is new, and the version to come.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/store/version_basis.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/run_options.h"

namespace CLI {
class App;
}

namespace quarry {

/// What the next version of a store is asked to be.
struct NextVersion {
  std::string version;  ///< STORE or STORE@VERSION to go on from
  RunOptions run;       ///< what is new; all else is as the version records it
  std::string parent_items;
  std::string model, note;
  std::vector<std::string> tags;
  std::string follow_as_of;  ///< the end of the events that --follow takes itself; "": none
  bool new_snapshot = false;
};
/// --new-snapshot, --parent-items and --model.
void add_next_version_options(CLI::App& verb, NextVersion& next);

/// Throws ConfigError where it names no store, InputError where that has no such version.
Store store_of(const NextVersion& next);
std::uint64_t version_of(const NextVersion& next, const Store& store);

/// The earlier run's options, with what is new. verb: on whose command line that is. reference: of
/// the earlier version, for --snapshot. Throws what check_run_options throws.
RunRequest request_of(const NextVersion& next, const CLI::App& verb, const EarlierVersion& earlier,
                      const std::string& reference);
StoreOptions store_options_of(const NextVersion& next, const Store& store,
                              const EarlierVersion& earlier);

/// The embeddings (role items or users) that the version was mined from, if they are still to be
/// had. given: where their file is, if that is not where the version has it; tensor_now: the one of
/// the file that is read now. Throws InputError where `given` is another file.
std::optional<Embeddings> embeddings_of(const EarlierVersion& earlier, const std::string& role,
                                        const std::string& given, const Inputs& now,
                                        const std::string& tensor_now);

/// What is doubtful about how the run goes on from the version, in sentences: new events that
/// --as-of keeps out; logs of a later version, from which this one does not go on, as where
/// `latest` waits for a decision: what they say is not lost without a word.
std::vector<std::string> other_logs_warnings(const Store& store, const EarlierVersion& earlier,
                                             const RunOptions& now);
std::string late_events_warning(const NextVersion& next, const Inputs& inputs);

}  // namespace quarry

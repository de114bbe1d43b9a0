// How a set was made, read back from its manifest, so that show and explain can load the same
// inputs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "host/store/negative_set.h"
#include "tools/quarry/run_options.h"

namespace CLI {
class App;
}

namespace quarry {

struct RecordedRun {
  RunOptions options;  ///< paths usable from here
  Recipe recipe;
  std::uint64_t first_row = 0;  ///< of the run's rows, where the set begins
};

/// Whether the set's manifest says how it was mined; sets of other programs need not.
bool has_recorded_run(const NegativeSet& set);

/// Throws InputError if the manifest's `run` is not that of a mined set, or is damaged. `flags`
/// given on the verb's command line take the place of recorded ones. The device is the CPU: the
/// machine at hand need not be the one that mined. An index cache is one that can be loaded, or
/// none.
RecordedRun recorded_run(const NegativeSet& set, const CLI::App& verb, const RunOptions& flags);

/// A manifest without its set, whose shards may be damaged.
struct RecordedText {
  std::string folder;  ///< what its paths are relative to
  std::string file;    ///< for messages
  std::string json;
};
RecordedText text_of(const NegativeSet& set);
/// The options as they were recorded, flags in their place: the device too, and what auto was to
/// choose. For a run that goes on from the set. Throws InputError where the manifest does not
/// record them.
RunOptions recorded_options(const RecordedText& set, const CLI::App& verb, const RunOptions& flags);
/// The recorded recipe, its schedules taken at `round`; only where recorded_options() found some.
/// overrides: changed once more by these (--set).
Recipe recorded_recipe(const RecordedText& set, std::uint32_t round,
                       const std::vector<std::string>& overrides = {});

/// The recorded options checked, as check_run_options does: with no flag given, whatever is wrong
/// is the manifest's fault and an InputError.
RunRequest recorded_request(const NegativeSet& set, const CLI::App& verb,
                            const RecordedRun& recorded);

/// Of the files in use (role as in the manifest, path), those that are not what the set was mined
/// from: a path and what is different, a line each. Hashes them.
std::vector<std::string> changed_files(const NegativeSet& set,
                                       const std::map<std::string, std::string>& used);

/// Where the files lay that the set was mined from; none where the manifest names none.
std::vector<std::string> recorded_files(const NegativeSet& set);

/// The snapshot of "STORE" or "STORE@VERSION". Throws ConfigError where that is no version, and
/// InputError where it keeps none.
Snapshot read_snapshot_of(const std::string& reference);

/// NegativeSet::open; IoError where the path leads nowhere.
NegativeSet open_set(const std::string& path, bool verify);

/// Whether the command line names a file in the place of a recorded one.
bool names_a_file(const CLI::App& verb);

/// Which row of a set is meant.
struct RowChoice {
  std::string row, key, user;  ///< at most one is given
};
void add_row_choice(CLI::App& verb, RowChoice& choice);
/// Indices of the set's rows that the choice names; all of a user's. Throws InputError if there is
/// none.
std::vector<std::uint64_t> find_rows(const NegativeSet& set, const RowChoice& choice,
                                     const IdMap& users);

}  // namespace quarry

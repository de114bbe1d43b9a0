// How a set was made, read back from its manifest, so that show and explain can load the same
// inputs.
#pragma once

#include <cstdint>
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

/// Throws InputError if the manifest's `run` is not that of a mined set. `flags` given on the
/// verb's command line take the place of recorded ones.
RecordedRun recorded_run(const NegativeSet& set, const CLI::App& verb, const RunOptions& flags);

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

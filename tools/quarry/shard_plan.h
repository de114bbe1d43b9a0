// A work list: the rows of one mining run cut into shards that any machines may mine in any order,
// and all that makes them come out alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/quarry/mining_run.h"
#include "tools/quarry/refresh_plan.h"
#include "tools/quarry/row_feed.h"

namespace CLI {
class App;
}

namespace quarry {

/// Rows [first, end) of the run, of which a refresh mines some.
struct PlannedShard {
  std::uint64_t first_row = 0, end_row = 0;
  std::uint64_t rows = 0;  ///< to mine
  std::string name;        ///< of its folder, made of the plan's hash and its number
};

/// An input, as it must be when a shard is mined.
struct PlannedFile {
  std::string role, path;
  std::uint64_t bytes = 0;
  std::string xxh3_128;
};

struct ShardPlan {
  std::string file;  ///< where it lies
  std::string json;  ///< its text
  std::string hash;  ///< of all that decides, 32 hex digits
  std::string identity;
  std::uint64_t rows_per_shard = 0;  ///< of the set that is joined
  std::uint32_t k = 0;
  bool exact = true;
  std::vector<PlannedFile> files;
  std::vector<PlannedShard> shards;
  /// Each of them is searched for each shard's rows before these are mined; none: a shard's worker
  /// searches all items.
  std::vector<ItemSlice> slices;
  std::string outputs;  ///< folder of the shards' folders
  std::optional<PlannedRefresh> refresh;

  /// Searches of slices: number shard * slices.size() + slice.
  std::uint64_t searches() const { return shards.size() * slices.size(); }
  /// The file that a search leaves.
  std::string search_file(std::uint64_t search) const;

  std::uint64_t rows() const;  ///< to mine, of all shards
  /// Of a shard's worker: rows of its range that are not to be mined are passed over.
  std::optional<TakeOver> passed_over() const;
  /// The run's request, flags of `verb` in their place. Throws ConfigError.
  RunRequest request(const CLI::App& verb, const RunOptions& flags) const;
  /// The same for a process that mines no row: on the CPU, whatever device the plan names for
  /// workers.
  RunRequest request_without_device(const CLI::App& verb) const;
  /// Before anything is loaded: throws InputError where a file has another size, or the store of a
  /// refresh has moved on, IoError where a file is not there.
  void check_sizes() const;
  /// Of a run that is loaded: throws InputError naming the files that are not those of the plan.
  void check_inputs(const MiningRun& run) const;
};

inline constexpr std::uint64_t kMostSlices = 4096;

/// How the rows are cut, and the items.
struct ShardCut {
  std::uint64_t shards = 0;          ///< wished
  std::uint64_t rows_per_shard = 0;  ///< of the set; 0: not given
  std::uint64_t item_slices = 1;
};

/// How many slices so many items make at most.
std::uint64_t most_slices_of(std::uint64_t items);
/// Slices of about the same length. count: 1 to most_slices_of(items).
std::vector<ItemSlice> even_slices(std::uint64_t items, std::uint64_t count);
/// Throws ConfigError where the run's items are not cut into so many.
void check_number_of_slices(std::uint64_t slices, const MiningRun& run);
/// Of rows to mine that are cut so, those of a refresh being spread evenly.
std::uint64_t rows_of_largest_shard(const ShardCut& cut, std::uint64_t rows, bool of_refresh);

/// What a plan tells beside what decides: JSON objects, and the command that made it.
struct PlanNotes {
  std::string command_line;
  std::string estimate_json;
  std::string worker_memory_json;
};

/// The plan of a loaded run, for a file that will lie at `file`. refresh: of whose rows to mine it
/// is, with rows_per_shard in `cut`; its `shards` is chosen here. Throws ConfigError where the run
/// cannot be mined in shards, or not in so many.
std::string make_shard_plan(const std::string& file, const std::string& outputs,
                            const ShardCut& cut, const MiningRun& run, const PlanNotes& notes,
                            std::optional<PlannedRefresh> refresh = {});
/// Throws InputError where it is damaged or was edited, ConfigError where another version of this
/// program made it.
ShardPlan read_shard_plan(const std::string& file);

/// The file itself, where the path is a link to it: a plan's paths are relative to where it lies.
std::string file_of_plan(const std::string& path);

/// A number below `count`, of a shard or a search: as written, or with "env" that of the task in a
/// job array. flag: where it was given. Throws ConfigError.
std::uint64_t task_number(const std::string& text, const std::string& flag, std::uint64_t count,
                          const ShardPlan& plan);

}  // namespace quarry

// Inputs of a mining run, loaded from the files that the flags name.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/data/row_stream.h"
#include "host/mine/inputs.h"
#include "tools/quarry/file_identity.h"
#include "tools/quarry/run_options.h"
#include "tools/quarry/set_pairs.h"

namespace quarry {

struct Context;

/// A file that was read, for the manifest.
struct InputFile {
  std::string role;  ///< the flag, e.g. "items" or "pairs teacher"
  std::string path;
  std::uint64_t bytes = 0;
  std::string xxh3_128;
  FileIdentity identity;  ///< when it was opened
};

/// Owns everything that MinerInputs points to. Stays where it is made: `rows` refers to other
/// members.
struct Inputs {
  Inputs() = default;
  Inputs(const Inputs&) = delete;
  Inputs& operator=(const Inputs&) = delete;

  Embeddings items, users;
  MatrixView item_view,
      user_view;  ///< of the files, or of copies without the rows that cannot be scored
  IdMap item_ids, user_ids;
  std::optional<Exposure> exposure;
  std::optional<Catalogue> catalogue;
  RowStream rows;
  std::map<std::string, PairValues> pairs;
  std::map<std::string, SetPairs> set_pairs;  ///< of those that are sets: where they came from
  std::map<std::string, Embeddings> features;
  std::map<std::string, std::vector<std::uint32_t>> item_lists;
  Snapshot snapshot;
  std::vector<InputFile> files;

  // With --bad-rows drop: embedding rows that cannot be scored, ascending.
  std::vector<std::uint64_t> bad_items, bad_users;
  std::uint64_t dropped_list_items = 0;  ///< entries of allow lists with unknown ids
  std::vector<std::string> warnings;     ///< what is doubtful about the inputs, in sentences

  std::uint64_t first_row = 0;  ///< rows [first_row, end_row) are mined: --limit-rows, then --shard
  std::uint64_t end_row = 0;

  MinerInputs miner_inputs() const;
  bool is_bad_user(std::uint32_t user) const;
  /// No usable embedding of its user, or of any of its positives.
  bool is_bad_row(std::uint64_t row) const;

  std::vector<unsigned char> item_copy,
      user_copy;  ///< tables with bad rows set to zero; empty: none are needed
};

/// Loads and checks everything; stops between files with Cancelled. With bad items,
/// `request.recipe` gains a safety filter that keeps them out. `request.miner` is told how many
/// rows there will be. Throws InputError, IoError, ConfigError.
std::unique_ptr<Inputs> load_inputs(RunRequest& request, const Context& context);

/// The column of ids: the one that is named, or the only one there is, or the default.
std::string id_column(const NamedPath& from, const char* default_column);

/// Only what names need: ids, titles and what users did; for showing a set. Rows, pairs and lists
/// stay empty.
std::unique_ptr<Inputs> load_names(const RunRequest& request, const Context& context);

/// Hashes the files that were read (once more from the page cache). Throws InputError if one is not
/// the file that was opened.
void hash_files(Inputs& inputs, const Context& context);
/// Throws InputError if a file that was read is not what it was when it was opened.
void check_unchanged(const Inputs& inputs);

/// A sentence on a log without values whose rules compare them; "" for others.
std::string no_values_warning(const std::string& events, const Exposure& exposure);

}  // namespace quarry

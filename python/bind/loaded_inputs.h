// The tables of a miner of Python: read, checked and owned.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/mine/inputs.h"
#include "host/recipe/recipe.h"
#include "python/bind/request.h"

namespace quarry {

/// Stays where it is made: `inputs` refers to other members.
struct LoadedInputs {
  /// Reads what the request names, of which vectors are mapped, and checks it as `quarry mine`
  /// does. `pause` is called between files and may throw. Throws ConfigError, InputError, IoError.
  LoadedInputs(const MinerRequest& request, int threads, const std::function<void()>& pause);
  /// The tables of `base` with other vectors: as many items and users, with the ids that they have.
  /// Throws InputError for vectors that the constructor above would refuse.
  LoadedInputs(const std::shared_ptr<const LoadedInputs>& base, const MinerRequest& request);
  LoadedInputs(const LoadedInputs&) = delete;
  LoadedInputs& operator=(const LoadedInputs&) = delete;

  Recipe recipe;
  std::shared_ptr<const IdMap> item_ids;
  std::shared_ptr<const IdMap> user_ids;  ///< null: no user is known
  std::optional<Exposure> exposure;
  std::optional<Catalogue> catalogue;
  MinerInputs inputs;
  std::vector<std::string> warnings;  ///< what is doubtful, in sentences

 private:
  static MatrixView open(const MatrixSource& source, const std::string& name);
  void open_tables(const MinerRequest& request);
  void name_rows(const MinerRequest& request);
  void read_tables(const MinerRequest& request, int threads, const std::function<void()>& pause);
  /// Pairs of row numbers in their order, each with its place; values 0. `what` names them.
  std::vector<PairEntry> number_pairs(const std::vector<std::uint32_t>& users,
                                      const std::vector<std::uint32_t>& items,
                                      const std::string& what) const;
  PairValues pairs_of(const PairArrays& arrays, const std::string& what) const;
  void read_events(const MinerRequest& request, UnknownIds unknown, int threads);
  Catalogue catalogue_of(const MinerRequest& request, UnknownIds unknown) const;
  void know_positives(const MinerRequest& request);
  void check_filters(const MinerRequest& request);
  const IdMap& users_for(const char* what) const;
  const IdMap& counted_users_for(const char* what) const;

  std::shared_ptr<const LoadedInputs> base_;  ///< whose tables `inputs` refers to; null: its own
  std::map<std::string, PairValues> pairs_;
  Lists known_positives_;
  Snapshot snapshot_;
};

/// The same table, of which a path is mapped: what takes the file's name later is another table.
/// Throws InputError, IoError.
MatrixSource mapped(const MatrixSource& source);

/// The recipe of a request, with `more` overrides behind its own. Throws ConfigError, IoError.
Recipe recipe_of(const MinerRequest& request, const std::vector<std::string>& more = {});

}  // namespace quarry

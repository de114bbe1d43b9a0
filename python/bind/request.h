// What Python asks a miner to be made from: files by path, arrays where the caller has them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/data/embeddings.h"
#include "host/data/tables.h"
#include "python/bind/given_table.h"
#include "python/bind/later_events.h"

namespace quarry {

/// A table of vectors: a file, or memory of the caller that `owner` keeps alive.
struct MatrixSource {
  std::string path;  ///< "": the view
  MatrixView view;
  std::shared_ptr<const void> owner;
  bool given() const { return !path.empty() || owner != nullptr; }
};

/// The ids of the rows of a table: a column of a file, or the ids themselves; neither: row numbers.
struct IdSource {
  std::string path;
  std::string column;  ///< "": the only one, else the one named like the table
  std::vector<std::string> ids;
  bool given() const { return !path.empty() || !ids.empty(); }
};

/// Values of pairs, by row numbers of users and items. Columns of one length.
struct PairArrays {
  std::vector<std::uint32_t> users, items;
  std::vector<float> values;
};

/// Names and ranges are those of `quarry mine` (docs/inputs.md).
struct MinerRequest {
  std::string recipe;  ///< a name, a path, or the TOML itself
  bool recipe_is_text = false;
  std::string recipe_file = "recipe";  ///< what a text came from: its name where it has none
  std::vector<std::string> overrides;
  std::uint32_t seed = 0, round = 0;
  int threads = 0;  ///< 0: the default of set_num_threads
  std::string retriever = "auto";

  MatrixSource items, users;
  IdSource item_ids, user_ids;
  std::vector<std::string> events;
  std::vector<std::shared_ptr<const GivenTable>> event_tables;   ///< of the same log as `events`
  std::vector<std::shared_ptr<const LaterEvents>> later_events;  ///< likewise
  EventColumns event_columns;
  std::string catalogue;
  std::shared_ptr<const GivenTable> catalogue_table;  ///< null: the file, if there is one
  bool has_grown = false;  ///< items have come since the catalogue, which may lack the last of them
  CatalogueColumns catalogue_columns;
  std::map<std::string, std::string> pair_files;
  PairColumns pair_columns;  ///< of the files
  std::map<std::string, std::shared_ptr<const PairArrays>> pairs;
  std::map<std::string, MatrixSource> features;
  std::map<std::string, std::string> item_list_files;
  std::map<std::string, std::vector<std::uint32_t>> item_lists;
  /// Positives that are not in the events: pairs of user and item.
  std::vector<std::uint32_t> known_users, known_items;
  std::string as_of;  ///< as --as-of takes it; "": the latest event
  bool drop_unknown_ids = false;
  bool allow_inert = false;
};

}  // namespace quarry

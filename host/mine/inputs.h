// What a Miner is made from: tables in memory, whoever loaded them.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "host/data/embeddings.h"
#include "host/data/tables.h"

namespace quarry {

/// Computed once from events and catalogue up to as_of, then frozen for a family of versions
/// (docs/row_contract.md sections 3 and 5 read it): counts, the number of items that random draws
/// and rank quantiles range over.
struct Snapshot {
  std::vector<std::uint32_t> popularity;  ///< [num_items] positive pairs per item
  std::uint32_t num_items = 0;     ///< universe of draws and quantiles; items beyond it are newer
  std::int64_t as_of = INT64_MAX;  ///< ages of items, for strata of recency, are taken at it
  /// Users with a positive, of whom the filter `universal` takes a share; nothing: counted anew.
  std::optional<std::uint64_t> positive_users;
};
Snapshot make_snapshot(const Exposure& exposure, std::uint32_t num_items);

/// What a Miner is made from. Nothing here is owned, except the maps and lists themselves.
///
/// Must outlive the Miner, unchanged: the numbers behind `items` and `users`, and the tables
/// `*exposure`, `*catalogue` and every `*pairs[...]`: rows are judged and explained from them in
/// place. Needed only while the Miner is made: `*rows`, `*row_positives`, `*snapshot` and the
/// numbers behind `features`; what of them is used is copied. `item_lists` and the maps are copied
/// too. check_inputs.h says what the tables must fulfil.
struct MinerInputs {
  MatrixView items;
  MatrixView users;
  const Exposure* exposure = nullptr;    ///< may be null: nothing was ever exposed
  const Catalogue* catalogue = nullptr;  ///< may be null
  const RowTable* rows =
      nullptr;  ///< every row of the run (all shards): their positives join the users' lists
  const Lists* row_positives = nullptr;  ///< positives of rows that are not in `rows`, by user:
                                         ///< for runs that never hold all their rows at once
  const Snapshot* snapshot = nullptr;    ///< null: made from exposure
  std::map<std::string, const PairValues*> pairs;  ///< named pair tables (teacher columns, runs)
  std::map<std::string, MatrixView>
      features;  ///< named feature tables; "" is the item table itself
  std::map<std::string, std::vector<std::uint32_t>> item_lists;  ///< named allow lists
};

/// Users that anything is known of: the user table's, else exposure's; at least one, so that a
/// miner of bare query vectors has where to look.
std::uint64_t num_users_of(const MinerInputs& inputs);

}  // namespace quarry

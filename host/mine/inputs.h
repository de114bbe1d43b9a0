// What a Miner is made from: tables in memory, whoever loaded them.
#pragma once

#include <map>
#include <string>

#include "host/data/embeddings.h"
#include "host/data/tables.h"

namespace quarry {

/// Computed once from events and catalogue up to as_of, then frozen for a family of versions
/// (docs/row_contract.md sections 3 and 5 read it): counts, the number of items that random draws
/// and rank quantiles range over.
struct Snapshot {
  std::vector<std::uint32_t> popularity;  ///< [num_items] positive pairs per item
  std::uint32_t num_items = 0;  ///< universe of draws and quantiles; items beyond it are newer
  std::int64_t as_of = INT64_MAX;
};
Snapshot make_snapshot(const Exposure& exposure, std::uint32_t num_items);

/// Borrowed views and tables; the Miner copies what it reshapes and keeps pointers to nothing but
/// `items`, `users` and `features` data.
struct MinerInputs {
  MatrixView items;
  MatrixView users;
  const Exposure* exposure = nullptr;    ///< may be null: nothing was ever exposed
  const Catalogue* catalogue = nullptr;  ///< may be null
  const RowTable* rows =
      nullptr;  ///< every row of the run (all shards): their positives join the users' lists
  const Snapshot* snapshot = nullptr;              ///< null: made from exposure
  std::map<std::string, const PairValues*> pairs;  ///< named pair tables (teacher columns, runs)
  std::map<std::string, MatrixView>
      features;  ///< named feature tables; "" is the item table itself
  std::map<std::string, std::vector<std::uint32_t>> item_lists;  ///< named allow lists
};

}  // namespace quarry

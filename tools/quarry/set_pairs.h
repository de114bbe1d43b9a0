// A finished set as a table of pairs: what was mined for one model is a candidate run for the next.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/data/embeddings.h"
#include "host/data/tables.h"
#include "kernels/core/exec.h"

namespace quarry {

/// What a set gave.
struct SetPairs {
  std::string set;            ///< folder, or STORE@N
  std::string manifest_path;  ///< its hash stands for all rows
  std::string content_hash, recipe, model;
  std::uint64_t negatives = 0;        ///< slots of the set that are filled
  std::uint64_t gone = 0;             ///< of them, those whose user or item is not here
  std::optional<std::int64_t> as_of;  ///< the end of the events that it knew; nothing: not said
  /// Last event that it, or a set that it took over from in turn, knew; nothing: none is recorded.
  std::optional<std::int64_t> knew_until;
  bool end_known = false;  ///< false: of it, or a set behind it, no end is recorded
  std::uint64_t near = 0;  ///< pairs left out as near duplicates
};

/// Whether `path` is a set: its folder, or STORE@VERSION.
bool names_a_set(const std::string& path);

/// The negatives of a set by the numbers that their users and items have here: each pair once, with
/// the best of its scores. Ids are those of the files that its manifest records. Throws InputError
/// where the set or these are damaged or changed, the set has no users, or none of its pairs is
/// here; IoError where a file is missing.
SetPairs pairs_of_set(const std::string& path, const IdMap& users, const IdMap& items,
                      PairValues* values);

/// Leaves out what is near to what is kept: user by user, over the tables in their order and within
/// one by descending value (then ascending item), an item whose cosine to one that was kept before
/// is `cosine` or more. items: [num_items, dim]; values is each SetPairs' table. Counted in `near`.
void prune_near_pairs(const MatrixView& items, double cosine, const Exec& exec,
                      const std::vector<std::pair<SetPairs*, PairValues*>>& tables);

}  // namespace quarry

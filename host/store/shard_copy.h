// A finished shard under a second name: its columns are linked, or copied where links cannot be
// made.
#pragma once

#include <string>

#include "host/store/negative_set.h"
#include "host/store/shard_writer.h"

namespace quarry {

/// Makes the folder `to`, which must not exist, with the columns of `from`, and syncs it. Columns
/// are never changed, so a link is as good as a copy; copies are made across file systems. Throws
/// IoError.
void copy_shard(const std::string& from, const std::string& to);

/// A shard of a finished set, as its manifest tells.
struct FinishedShard {
  std::string folder;
  std::uint64_t first_row = 0;  ///< of the set
  ShardFacts facts;
};
/// Of a set whose bytes were verified when it was opened: digests are those that the manifest
/// names.
std::vector<FinishedShard> shards_of(const NegativeSet& set);

}  // namespace quarry

// The JSON of a set's manifest, as text (host/store/FORMAT.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/store/negative_set.h"
#include "host/store/shard_writer.h"

namespace quarry {

/// An object of `shards`.
std::string shard_entry(const std::string& path, std::uint64_t first_row, const ShardFacts& facts);
/// The file. shards: entries in order; run_json: an object; more_json: an object whose keys follow.
/// Bytes that are not UTF-8 become U+FFFD.
std::string set_manifest(const SetSchema& schema, std::uint64_t rows,
                         const std::string& content_hash, const std::vector<std::string>& shards,
                         const std::string& run_json, const std::string& more_json = "{}");

}  // namespace quarry

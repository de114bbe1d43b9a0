// Searches of slices of the items for the rows of a plan's shards, and what mining them begins
// with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tools/quarry/shard_plan.h"

namespace quarry {

struct Context;

/// Searches one slice for one shard's rows, and leaves plan.search_file(search). One that is there,
/// whole, stays. Returns 0. Throws what mining throws; after Cancelled nothing is left.
int search_planned_slice(const ShardPlan& plan, std::uint64_t search, const RunOptions& flags,
                         bool json, const CLI::App& verb, const Context& context);

/// Something lies where a search's file belongs.
bool is_searched(const ShardPlan& plan, std::uint64_t search);
/// What is wrong with the file of a search, all of which is read; "": nothing.
std::string damage_of_search(const ShardPlan& plan, std::uint64_t search);

/// What the searches of a shard found; the files stay mapped as long as it lives. Null: some are
/// missing or damaged, which `missing` and `words` tell.
std::shared_ptr<const SlicedLists> lists_of_shard(const ShardPlan& plan, std::uint64_t shard,
                                                  std::vector<std::uint64_t>& missing,
                                                  std::string& words);

}  // namespace quarry

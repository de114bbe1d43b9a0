// Mending of what a store keeps beside its shards: store.json, log, tags, versions' files, policy.
#pragma once

#include <string>
#include <vector>

namespace quarry {

/// Puts flipped bits right, one in each file (of the log and of journals, in each line): nothing
/// else tells what was there, as an input does of a shard. What was found to be right by its hash
/// is written aside and renamed. Returns the files. Other damage is left to Store::verify. Takes
/// the store's lock where there is something to mend; throws SetLocked where another has it.
std::vector<std::string> mend_records(const std::string& store);

}  // namespace quarry

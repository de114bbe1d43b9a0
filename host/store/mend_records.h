// Mending of what a store keeps beside its shards: store.json, log, tags, versions' files, policy.
#pragma once

#include <functional>
#include <string>

namespace quarry {

/// What mend_records asks and tells.
struct MendingEvents {
  std::function<void(const std::string&)> mended;  ///< a file is right again
  std::function<void()> between;                   ///< between two tries; may throw
};

/// Puts flipped bits right, one in each file (of the log and of journals, in each line of at most
/// 65,536 bytes): nothing else tells what was there, as an input does of a shard. Bytes are written
/// in their place, one by one, once a hash or what the log tells confirms them: owner and mode of a
/// file stay. Other damage is left to Store::verify. Takes the store's lock where there is
/// something to mend; throws SetLocked where another has it, IoError where a file cannot be
/// written.
void mend_records(const std::string& store, const MendingEvents& events = {});

}  // namespace quarry

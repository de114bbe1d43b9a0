// Mending versions of a store from the inputs that they were mined from.
#pragma once

#include <cstdint>

#include "host/store/store.h"

namespace quarry {

struct Context;

/// Mines a damaged version again as its manifest records it. Takes the store's lock. Throws
/// InputError where the manifest itself is damaged, or the inputs are not what they were.
void repair_version(const Store& store, std::uint64_t number, const Context& context);

}  // namespace quarry

// The tables of a MinerInputs agree with each other, so that nothing behind this check reads or
// writes outside of one.
#pragma once

#include "host/mine/inputs.h"
#include "kernels/core/exec.h"

namespace quarry {

/// Looks once at every number that is used as a position: lengths, offsets, ids, order within a
/// user, codes. Throws InputError naming the table, the first ten places, the values, what is
/// allowed and what to try. Everything given is checked, whether or not a recipe reads it. Vectors
/// are checked for their shape, not for their values.
///
/// Legal: an item that retires before it is first seen (it is never there), a snapshot that knows
/// fewer items than the table (the others are newer), a user without rows, pairs or events.
void check_inputs(const MinerInputs& inputs, const Exec& exec = {});

}  // namespace quarry

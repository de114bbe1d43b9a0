// Rows of a set as the Miner gives them.
#pragma once

#include "host/mine/miner.h"
#include "host/store/negative_set.h"
#include "host/store/version_basis.h"

namespace quarry {

/// A batch of the set's shape without a row.
NegativeBatch batch_for(const NegativeSet& set);
/// Adds a row of the set behind those that are there; basis: its own.
void append_row(NegativeBatch& batch, const NegativeSet::Row& row, const RowBasis& basis);

}  // namespace quarry

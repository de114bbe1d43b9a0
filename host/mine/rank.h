// What a retriever ranks first for rows, before any filter: for judging the retriever itself.
#pragma once

#include <cstdint>
#include <vector>

#include "host/mine/compile.h"
#include "host/mine/miner.h"

namespace quarry {

/// Row r gets count[r] <= k items at r * k of `items` ([rows, k], [rows]; resized). Rows in host
/// memory, checked before. Throws what Retriever::search throws.
void rank_rows(const Exec& exec, Retriever& retriever, const Compiled& compiled,
               const MinerInputs& inputs, const RowsView& rows, std::uint32_t k,
               std::vector<std::uint32_t>& items, std::vector<std::uint32_t>& count);

}  // namespace quarry

// The reason behind one filter's verdict, in words.
#pragma once

#include <string>

#include "host/mine/explain.h"
#include "host/mine/state.h"
#include "kernels/model/row_context.h"

namespace quarry {

/// What a candidate brings to a filter.
struct CandidateFacts {
  std::uint32_t item = 0;
  float score = 0;
  std::uint32_t raw_rank = 0;
  std::uint32_t survivor_rank = 0;  ///< 0: unknown, because another filter rejects
};

/// `spec` is what `filter` was compiled from.
std::string filter_reason(const Miner::State& state, const FilterSpec& spec, const Filter& filter,
                          const RowContext& row, const CandidateFacts& candidate,
                          const ExplainNames& names);

}  // namespace quarry

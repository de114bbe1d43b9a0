// How fast rows are mined here, tried on a few of them.
#pragma once

#include <cstdint>

#include "host/mine/recall.h"
#include "tools/quarry/load_inputs.h"

namespace quarry {

struct RowProbe {
  std::uint64_t rows = 0;
  double rows_per_second = 0;
  double fill = 1;  ///< share of slots filled
  std::uint64_t bad_rows = 0;
};

/// Mines the first two tiles as a run would, which take the memory that a run takes, and then
/// growing samples from all over the rows until the time is used up; the last gives the rate. At
/// least one tile is mined. Of the first tile rows are offered to `sample`.
RowProbe probe_rows(const Inputs& inputs, Miner& miner, const Recipe& recipe, double seconds,
                    RecallSample& sample_of_first, const Context& context);

}  // namespace quarry

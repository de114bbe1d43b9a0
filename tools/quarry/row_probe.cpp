// Mining growing samples of a run's rows.
#include "tools/quarry/row_probe.h"

#include <algorithm>
#include <chrono>

#include "tools/quarry/row_feed.h"
#include "tools/quarry/verbs.h"

namespace quarry {

using ProbeClock = std::chrono::steady_clock;

RowProbe probe_rows(const Inputs& inputs, Miner& miner, const Recipe& recipe, double seconds,
                    RecallSample& sample_of_first, const Context& context) {
  RowProbe result;
  const std::uint64_t total = inputs.end_row - inputs.first_row;
  if (total == 0 || seconds <= 0) return result;
  const ProbeClock::time_point start = ProbeClock::now();
  std::uint64_t filled = 0;
  const std::uint64_t tile = std::max<std::uint64_t>(miner.plan(total).tile_rows, 1);
  std::uint64_t sample = std::min(total, tile);
  std::uint64_t begin = inputs.first_row;
  for (std::uint64_t turn = 0;; ++turn) {
    RowFeed feed(inputs, miner, recipe.k, begin, begin + sample);
    const ProbeClock::time_point turn_start = ProbeClock::now();
    feed.mine(
        [&](const NegativeBatch& batch, std::uint64_t first, const SetRows& rows) {
          if (turn == 0) sample_of_first.offer(batch, rows.key, first);
          for (std::uint32_t row = 0; row < batch.num_rows; ++row) filled += batch.count[row];
        },
        context.stop);
    const double turn_seconds =
        std::chrono::duration<double>(ProbeClock::now() - turn_start).count();
    result.rows += sample;
    result.bad_rows += feed.bad_rows();
    result.rows_per_second = static_cast<double>(sample) / std::max(turn_seconds, 1e-9);
    const double used = std::chrono::duration<double>(ProbeClock::now() - start).count();
    if (sample == total) break;
    if (turn == 0 && used < seconds) {  // the second tile
      begin = inputs.first_row + sample;
      sample = std::min(total - sample, tile);
      continue;
    }
    if (used + 2 * turn_seconds > seconds) break;
    sample = std::min(total, std::max(sample, tile) * 2);
    begin = inputs.first_row + (total - sample) * (turn % 3) / 2;
  }
  result.fill = static_cast<double>(filled) / (static_cast<double>(result.rows) * recipe.k);
  return result;
}

}  // namespace quarry

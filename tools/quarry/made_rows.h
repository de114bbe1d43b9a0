// Rows that workers of a plan mined, read back in order to be put among rows that were taken over.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "host/store/run_part.h"
#include "tools/quarry/row_feed.h"

namespace quarry {

class MadeRows {
 public:
  /// count parts, which open() opens in the order of their rows; each is shown to `count_part` when
  /// its first row is asked for.
  MadeRows(std::uint64_t count, std::function<RunPart(std::uint64_t)> open,
           std::function<void(const RunPart&)> count_part);

  /// The next rows, which must be these. Throws InputError where the parts have others.
  void give(const RowsView& rows, const RowFeed::MinedSink& sink);
  /// Throws InputError unless every row of every part was given.
  void check_end();

 private:
  bool open_next();

  std::uint64_t count_;
  std::function<RunPart(std::uint64_t)> open_;
  std::function<void(const RunPart&)> count_part_;
  std::uint64_t next_ = 0;  ///< part to open
  std::optional<RunPart> part_;
  std::uint64_t row_ = 0;        ///< of the part
  std::size_t shard_ = 0;        ///< of the part, that of `row_`
  std::uint64_t shard_end_ = 0;  ///< its end among the part's rows
  std::vector<RowBasis> basis_;  ///< of its rows
};

}  // namespace quarry

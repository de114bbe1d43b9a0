// Rows one after the other, from wherever they come. Private to host/data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "host/data/row_stream.h"

namespace quarry {

class RowWalk {
 public:
  /// A place that the walk can be taken up from. What the numbers mean is the source's business.
  struct Mark {
    std::uint64_t place = 0, byte = 0, line = 0;
  };

  virtual ~RowWalk() = default;
  /// Appends the next row to `block`; false at the end.
  virtual bool next(RowTable& block) = 0;
  /// Where next() goes on, if that can be taken up again.
  virtual std::optional<Mark> mark() const = 0;
  virtual void seek(const Mark& mark) = 0;
  /// No fewer rows than there are, to make room for.
  virtual std::uint64_t at_most() const = 0;
  /// What the last row and the source are called in messages.
  virtual std::uint64_t line() const = 0;
  virtual const std::string& name() const = 0;
  /// Whether keys are made of user, positives and time.
  virtual bool keys_are_made() const = 0;
  /// To be called at the first end: throws for ids that are unknown.
  virtual void finish() const = 0;

  std::uint64_t unknown_ids = 0, dropped_positives = 0;   ///< of all that was walked
  std::uint64_t dropped_rows = 0, unknown_positives = 0;  ///< of them, for unknown ids: rows;
                                                          ///< positives of rows that are kept
};

std::unique_ptr<RowWalk> walk_table(const std::string& path, const RowColumns& columns,
                                    const RowContext& context, UnknownIds unknown);
std::unique_ptr<RowWalk> walk_exposure(RowsFrom from, const RowContext& context);

/// Ends the row that was begun in `block`: its positives from `first` on lose the items that are
/// left out. Returns how many.
std::uint64_t end_positives(RowTable& block, std::size_t first, const RowContext& context);

}  // namespace quarry

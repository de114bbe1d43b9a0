// The rows of a run without holding them: checked once from beginning to end, then made again from
// their source a block at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/data/tables.h"

namespace quarry {

/// What rows refer to. Borrowed for the life of the stream.
struct RowContext {
  const IdMap* users = nullptr;
  const IdMap* items = nullptr;
  const Exposure* exposure = nullptr;  ///< of the same run; may be null
  const std::vector<std::uint64_t>* left_out =
      nullptr;  ///< items, ascending, that are taken out of the rows' positives; may be null
  bool new_positives = false;  ///< whether RowStream::new_positives() is wanted
};

/// Holds at most 16 bytes per row while it checks the keys. Afterwards: a few bytes per thousand
/// rows, 4 bytes per positive that the exposure lacks, 8 bytes per row whose key repeats.
class RowStream {
 public:
  RowStream();
  ~RowStream();
  RowStream(RowStream&&) noexcept;
  RowStream& operator=(RowStream&&) noexcept;

  /// Reads the table two times or more; it must be a file, not a pipe. Columns, keys and refusals
  /// as those of read_rows.
  static RowStream of_table(const std::string& path, const RowColumns& columns,
                            const RowContext& context, UnknownIds unknown, bool number_duplicates);
  /// Rows as rows_from_exposure makes them, of context.exposure.
  static RowStream of_exposure(RowsFrom from, const RowContext& context);

  std::uint64_t size() const;
  /// Puts rows [first, first + count) into `block`, in the place of what it held. Rows that follow
  /// those of the last call are cheapest. One call at a time. Throws InputError if the table has
  /// changed since it was checked.
  void read(std::uint64_t first, std::uint64_t count, RowTable& block) const;

  /// Positives of the rows that are no positives of the exposure; without offsets if there are
  /// none, or if they are not wanted.
  const Lists& new_positives() const;
  std::uint64_t unknown_ids() const;        ///< as RowTable::unknown_ids
  std::uint64_t dropped_rows() const;       ///< rows left out for unknown ids
  std::uint64_t unknown_positives() const;  ///< unknown positives of rows that are kept
  std::uint64_t dropped_positives() const;  ///< how many were taken out by context.left_out

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quarry

// Training rows held in memory, for callers that want all of them at once.
#include <algorithm>

#include "host/data/row_walk.h"

namespace quarry {
namespace {

RowTable all_of(const RowStream& stream) {
  RowTable rows;
  stream.read(0, stream.size(), rows);
  rows.unknown_ids = stream.unknown_ids();
  return rows;
}

}  // namespace

void RowTable::clear() {
  key.clear();
  user.clear();
  time.clear();
  segment.clear();
  segment_names.clear();
  positive_offsets.assign(1, 0);
  positives.clear();
  unknown_ids = 0;
  bare.clear();
}

std::uint64_t end_positives(RowTable& block, std::size_t first, const RowContext& context) {
  std::uint64_t dropped = 0;
  if (context.left_out != nullptr && !context.left_out->empty()) {
    const auto from = block.positives.begin() + static_cast<std::ptrdiff_t>(first);
    const auto kept = std::remove_if(from, block.positives.end(), [&](std::uint32_t item) {
      return std::binary_search(context.left_out->begin(), context.left_out->end(),
                                std::uint64_t{item});
    });
    dropped = static_cast<std::uint64_t>(block.positives.end() - kept);
    block.positives.erase(kept, block.positives.end());
    // Filters relative to a positive would do nothing there.
    if (dropped > 0 && block.positives.size() == first) block.bare.push_back(block.key.size() - 1);
  }
  block.positive_offsets.push_back(block.positives.size());
  return dropped;
}

RowTable read_rows(const std::string& path, const RowColumns& columns, const IdMap& users,
                   const IdMap& items, UnknownIds unknown, bool number_duplicates) {
  return all_of(RowStream::of_table(path, columns, {&users, &items}, unknown, number_duplicates));
}

RowTable rows_from_exposure(const Exposure& exposure, RowsFrom from, const IdMap& users,
                            const IdMap& items) {
  return all_of(RowStream::of_exposure(from, {&users, &items, &exposure}));
}

}  // namespace quarry

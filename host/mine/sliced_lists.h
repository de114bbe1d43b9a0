// What searches of slices of the items found, merged: the lists that one search of all items finds.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "host/mine/search_depth.h"

namespace quarry {

/// The lists of some rows as Tile::find leaves them. Borrowed.
struct FoundLists {
  std::uint32_t num_rows = 0, num_queries = 0;
  std::uint32_t stride = 0;                ///< places of a list
  const std::uint32_t* query = nullptr;    ///< [rows] the list of each row; null: row i has list i
  const std::uint32_t* items = nullptr;    ///< [queries, stride]
  const float* scores = nullptr;           ///< [queries, stride] exact
  const std::uint32_t* count = nullptr;    ///< [queries]
  const std::uint8_t* complete = nullptr;  ///< [queries] 1: there are no more items
};

/// Lists of a slice for rows, in parts that share nothing. Borrowed. Each list has the best items
/// of the slice by score_key, largest first, down to its last entry; or all of them.
struct SliceLists {
  std::span<const std::uint64_t> row_key;
  const std::uint32_t* row_list = nullptr;  ///< [rows] the list of each row
  const std::uint64_t* list_end = nullptr;  ///< [lists] behind its last entry; it begins where the
                                            ///< one before ends
  const std::uint8_t* complete = nullptr;   ///< [lists] 1: all items of the slice
  const std::uint64_t* keys = nullptr;      ///< score_key of each entry, items of the whole table
  std::span<const std::uint64_t> list(std::uint32_t l) const {
    const std::uint64_t begin = l > 0 ? list_end[l - 1] : 0;
    return {keys + begin, static_cast<std::size_t>(list_end[l] - begin)};
  }
};

/// Slices that together are all items.
class SlicedLists {
 public:
  /// depth: what all of them were searched for. The rows are the same in all, in any order. Throws
  /// InputError where they are not, or a key repeats.
  SlicedLists(std::vector<SliceLists> slices, SearchDepth depth);
  /// A first search; false: it asks for more than the lists were searched for.
  bool serves(SearchDepth depth) const {
    return depth.wanted <= depth_.wanted && depth.plain <= depth_.plain;
  }
  /// The best items of the row, at most `most`, largest key first: what every slice has down to
  /// where it ends. True: there are no more. Throws InputError for a row that is not there.
  bool merge(std::uint64_t row_key, std::uint32_t most, std::vector<std::uint64_t>& keys) const;

 private:
  /// (row key, place in the slice), ascending.
  using Rows = std::vector<std::pair<std::uint64_t, std::uint32_t>>;

  std::vector<SliceLists> slices_;
  std::vector<Rows> rows_;
  SearchDepth depth_;
};

}  // namespace quarry

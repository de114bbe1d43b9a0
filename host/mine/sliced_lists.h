// What searches of slices of the items found, merged: the lists that one search of all items finds.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

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
  /// [queries] items above pass_above that are counted and not listed, whole where the list goes
  /// down to it; null: everything is listed.
  const std::uint32_t* passed = nullptr;
  const float* pass_above = nullptr;
};

/// Lists of a slice for rows. Borrowed. Each list has the best items of the slice by score_key,
/// largest first, down to its last entry, or all of them; but for those that were passed over.
struct SliceLists {
  std::span<const std::uint64_t> row_key;
  const std::uint32_t* row_list = nullptr;  ///< [rows] the list of each row
  const std::uint64_t* list_end = nullptr;  ///< [lists] behind its last entry; it begins where the
                                            ///< one before ends
  const std::uint8_t* complete = nullptr;   ///< [lists] 1: all items of the slice
  const std::uint32_t* passed = nullptr;    ///< [lists] as FoundLists
  const float* pass_above = nullptr;        ///< [lists] as FoundLists; infinite: nothing is passed
  const std::uint64_t* keys = nullptr;      ///< score_key of each entry, items of the whole table
  std::span<const std::uint64_t> list(std::uint32_t l) const {
    const std::uint64_t begin = l > 0 ? list_end[l - 1] : 0;
    return {keys + begin, static_cast<std::size_t>(list_end[l] - begin)};
  }
};

/// What slices have of a row.
struct MergedList {
  std::uint32_t count = 0;   ///< entries written
  std::uint32_t passed = 0;  ///< items ahead of them that are not listed
  bool complete = false;     ///< there are no more items
};

/// Slices that together are all items.
class SlicedLists {
 public:
  /// The rows are the same in all, in any order. Throws InputError where they are not, or a key
  /// repeats, naming the slice by its place.
  explicit SlicedLists(std::vector<SliceLists> slices);
  /// A row's number here. Throws InputError for one that is not there.
  std::uint32_t row(std::uint64_t key) const;
  /// Every slice has the two rows in one list.
  bool share_lists(std::uint32_t row, std::uint32_t other) const;
  /// No fewer entries than merge() will write for the row.
  std::uint32_t room(std::uint32_t row, std::uint32_t most) const;
  /// The best items of the row, at most `most`, best first: what every slice has down to where it
  /// ends; nothing where it is not known how many were passed over ahead of that.
  MergedList merge(std::uint32_t row, std::uint32_t most, std::uint32_t* items,
                   float* scores) const;

 private:
  std::uint32_t list_of(std::size_t slice, std::uint32_t row) const;

  std::vector<SliceLists> slices_;
  std::vector<std::uint32_t> by_key_;  ///< rows of slice 0, ascending by key
  /// By slice, the place there of each row of slice 0; empty: the same.
  std::vector<std::vector<std::uint32_t>> places_;
};

}  // namespace quarry

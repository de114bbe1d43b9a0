// A part of an item table, searched for the whole of it.
#pragma once

#include <cstdint>
#include <memory>

#include "index/retriever.h"

namespace quarry {

/// Items [first, end) of a table.
struct ItemSlice {
  std::uint32_t first = 0, end = 0;
  std::uint32_t size() const { return end - first; }
};

/// Slices begin at multiples of this, the words of bits by item.
inline constexpr std::uint32_t kSliceAlignment = 32;

/// Exact search of a slice, for the CPU: reads no other rows of the table. Numbers of items,
/// bits and lists in goals, are those of the table, and so are the results, each list complete
/// where it holds all of the slice. The slice ends with the table or at a multiple of
/// kSliceAlignment.
std::unique_ptr<Retriever> make_slice_retriever(const ItemTable& items, ItemSlice slice,
                                                FirstPass pass = FirstPass::kFastest);

}  // namespace quarry

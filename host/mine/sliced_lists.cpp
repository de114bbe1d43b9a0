// Lists of slices, merged.
#include "host/mine/sliced_lists.h"

#include <algorithm>
#include <functional>
#include <string>

#include "kernels/core/errors.h"

namespace quarry {

SlicedLists::SlicedLists(std::vector<SliceLists> slices, SearchDepth depth)
    : slices_(std::move(slices)), depth_(depth) {
  QUARRY_CHECK(!slices_.empty());
  rows_.resize(slices_.size());
  for (std::size_t s = 0; s < slices_.size(); ++s) {
    Rows& rows = rows_[s];
    rows.reserve(slices_[s].row_key.size());
    for (std::uint32_t r = 0; r < slices_[s].row_key.size(); ++r)
      rows.emplace_back(slices_[s].row_key[r], r);
    std::sort(rows.begin(), rows.end());
    const auto same_key = [](const auto& a, const auto& b) { return a.first == b.first; };
    if (std::adjacent_find(rows.begin(), rows.end(), same_key) != rows.end())
      throw InputError("lists of slice " + std::to_string(s) + " name a row twice");
    if (!std::equal(rows.begin(), rows.end(), rows_[0].begin(), rows_[0].end(), same_key)) {
      throw InputError("lists of slice " + std::to_string(s) +
                       " are of other rows than those of slice 0");
    }
  }
}

bool SlicedLists::merge(std::uint64_t row_key, std::uint32_t most,
                        std::vector<std::uint64_t>& keys) const {
  keys.clear();
  std::uint64_t end = 0;  // of what every slice has
  for (std::size_t s = 0; s < slices_.size(); ++s) {
    const auto at =
        std::lower_bound(rows_[s].begin(), rows_[s].end(), std::pair{row_key, std::uint32_t{0}});
    if (at == rows_[s].end() || at->first != row_key)
      throw InputError("no lists of slices are there for row key " + std::to_string(row_key));
    const std::uint32_t l = slices_[s].row_list[at->second];
    const std::span<const std::uint64_t> list = slices_[s].list(l);
    keys.insert(keys.end(), list.begin(), list.end());
    // A list without an entry that is not complete says nothing: all of the slice may be ahead.
    if (slices_[s].complete[l] == 0)
      end = std::max(end, list.empty() ? ~std::uint64_t{0} : list.back());
  }
  std::sort(keys.begin(), keys.end(), std::greater<>());
  const auto behind =
      std::find_if(keys.begin(), keys.end(), [end](std::uint64_t key) { return key < end; });
  keys.erase(behind, keys.end());
  const bool cut = keys.size() > most;
  if (cut) keys.resize(most);
  return end == 0 && !cut;
}

}  // namespace quarry

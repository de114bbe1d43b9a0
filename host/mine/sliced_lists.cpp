// Lists of slices, merged.
#include "host/mine/sliced_lists.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"

namespace quarry {
namespace {

/// Rows of a slice by key.
std::vector<std::uint32_t> rows_by_key(std::span<const std::uint64_t> keys, std::size_t slice) {
  std::vector<std::uint32_t> rows(keys.size());
  std::iota(rows.begin(), rows.end(), 0u);
  std::sort(rows.begin(), rows.end(),
            [&](std::uint32_t a, std::uint32_t b) { return keys[a] < keys[b]; });
  const auto same = [&](std::uint32_t a, std::uint32_t b) { return keys[a] == keys[b]; };
  if (std::adjacent_find(rows.begin(), rows.end(), same) != rows.end())
    throw InputError("the lists of slice " + std::to_string(slice) + " name a row twice");
  return rows;
}

}  // namespace

SlicedLists::SlicedLists(std::vector<SliceLists> slices) : slices_(std::move(slices)) {
  QUARRY_CHECK(!slices_.empty());
  const std::span<const std::uint64_t> first = slices_[0].row_key;
  by_key_ = rows_by_key(first, 0);
  places_.resize(slices_.size());
  for (std::size_t s = 1; s < slices_.size(); ++s) {
    const std::span<const std::uint64_t> keys = slices_[s].row_key;
    if (std::equal(keys.begin(), keys.end(), first.begin(), first.end())) continue;
    const std::vector<std::uint32_t> rows = rows_by_key(keys, s);
    bool same = rows.size() == by_key_.size();
    for (std::size_t i = 0; same && i < rows.size(); ++i) same = keys[rows[i]] == first[by_key_[i]];
    if (!same) {
      throw InputError("the lists of slice " + std::to_string(s) +
                       " are of other rows than those of slice 0");
    }
    places_[s].resize(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) places_[s][by_key_[i]] = rows[i];
  }
}

std::uint32_t SlicedLists::row(std::uint64_t key) const {
  const std::span<const std::uint64_t> keys = slices_[0].row_key;
  const auto at = std::lower_bound(by_key_.begin(), by_key_.end(), key,
                                   [&](std::uint32_t r, std::uint64_t k) { return keys[r] < k; });
  if (at == by_key_.end() || keys[*at] != key) {
    throw InputError("no list of the slices is of the row with key " + std::to_string(key) +
                     ": they are of other rows");
  }
  return *at;
}

std::uint32_t SlicedLists::list_of(std::size_t slice, std::uint32_t row) const {
  return slices_[slice].row_list[places_[slice].empty() ? row : places_[slice][row]];
}

bool SlicedLists::share_lists(std::uint32_t row, std::uint32_t other) const {
  for (std::size_t s = 0; s < slices_.size(); ++s)
    if (list_of(s, row) != list_of(s, other)) return false;
  return true;
}

std::uint32_t SlicedLists::room(std::uint32_t row, std::uint32_t most) const {
  std::uint64_t entries = 0;
  for (std::size_t s = 0; s < slices_.size(); ++s)
    entries += slices_[s].list(list_of(s, row)).size();
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(entries, most));
}

MergedList SlicedLists::merge(std::uint32_t row, std::uint32_t most, std::uint32_t* items,
                              float* scores) const {
  using Rest = std::span<const std::uint64_t>;
  std::vector<Rest> rest;  // a heap, the largest next entry first
  rest.reserve(slices_.size());
  std::uint64_t end = 0;  // of what every slice has
  std::uint64_t passed = 0;
  float pass_above = std::numeric_limits<float>::infinity();
  for (std::size_t s = 0; s < slices_.size(); ++s) {
    const SliceLists& slice = slices_[s];
    const std::uint32_t l = list_of(s, row);
    const Rest list = slice.list(l);
    // A list without an entry that is not complete says nothing: all of the slice may be ahead.
    if (slice.complete[l] == 0) end = std::max(end, list.empty() ? ~std::uint64_t{0} : list.back());
    passed += slice.passed[l];
    pass_above = std::min(pass_above, slice.pass_above[l]);
    if (!list.empty()) rest.push_back(list);
  }
  const auto lesser = [](const Rest& a, const Rest& b) { return a.front() < b.front(); };
  std::make_heap(rest.begin(), rest.end(), lesser);
  MergedList merged;
  while (merged.count < most && !rest.empty() && rest.front().front() >= end) {
    std::pop_heap(rest.begin(), rest.end(), lesser);
    Rest& best = rest.back();
    items[merged.count] = item_of_key(best.front());
    scores[merged.count] = score_of_key(best.front());
    ++merged.count;
    best = best.subspan(1);
    if (best.empty()) {
      rest.pop_back();
    } else {
      std::push_heap(rest.begin(), rest.end(), lesser);
    }
  }
  merged.complete = end == 0 && rest.empty();
  // Above it a slice may have passed over items that are behind the end, or counts too few.
  const bool whole =
      merged.complete || (merged.count > 0 && !(scores[merged.count - 1] > pass_above));
  if (!whole) return {};
  merged.passed = static_cast<std::uint32_t>(passed);
  return merged;
}

}  // namespace quarry

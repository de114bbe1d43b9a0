// setup in Thrust, for any execution policy and memory space: bins, the order of a draw space and
// its sums. Needs the CCCL headers, so it is empty elsewhere.
#pragma once

#if defined(__CUDACC__) || defined(QUARRY_THRUST_ON_CPU)

#include <thrust/binary_search.h>
#include <thrust/copy.h>
#include <thrust/fill.h>
#include <thrust/gather.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/permutation_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <thrust/scan.h>
#include <thrust/scatter.h>
#include <thrust/sequence.h>
#include <thrust/sort.h>

#include "kernels/setup/lists_thrust.h"

namespace quarry::by_thrust {

struct BinOfPlace {
  std::uint64_t bins, n;
  QUARRY_HD std::uint32_t operator()(std::uint64_t place) const {
    return static_cast<std::uint32_t>(place * bins / n);
  }
};
struct GroupOf {
  const std::uint64_t* offsets;
  std::uint64_t num_groups;
  QUARRY_HD std::uint64_t operator()(std::uint64_t i) const {
    return group_of(offsets, num_groups, i);
  }
};
struct WeightAt {
  const std::uint32_t* positions;
  const std::uint64_t* cumulative;
  QUARRY_HD std::uint64_t operator()(std::uint64_t i) const {
    return cumulative[positions[i] + std::uint64_t{1}] - cumulative[positions[i]];
  }
};

template <class Space, class Policy>
PlacedArray<std::uint32_t> bins(const Policy& policy, const Exec& exec, const std::uint32_t* counts,
                                std::uint32_t n, std::uint32_t num_items, std::uint32_t num_bins) {
  Buffer<std::uint32_t, Space> keys(exec, n);
  Buffer<std::uint32_t, Space> items(exec, n);
  thrust::copy_n(policy, counts, n, keys.data());
  thrust::sequence(policy, items.data(), items.data() + n);
  thrust::stable_sort_by_key(policy, keys.data(), keys.data() + n, items.data());
  Buffer<std::uint32_t, Space> bin(exec, num_items);
  thrust::fill_n(policy, bin.data(), num_items, 0u);
  const auto of_place = over_index(BinOfPlace{num_bins, n});
  thrust::scatter(policy, of_place, of_place + std::ptrdiff_t{n}, items.data(), bin.data());
  return PlacedArray<std::uint32_t>(std::move(bin));
}

template <class Space, class Policy>
SpaceOrder order(const Policy& policy, const Exec& exec, const SpaceItems& items) {
  const std::uint32_t n = items.size;
  Buffer<std::uint32_t, Space> item_at(exec, n);
  thrust::sequence(policy, item_at.data(), item_at.data() + n);
  Buffer<std::int64_t, Space> arrival_at;
  if (items.first_seen != nullptr) {  // least significant first; the sorts are stable
    arrival_at.resize(exec, n);
    thrust::copy_n(policy, items.first_seen, n, arrival_at.data());
    thrust::stable_sort_by_key(policy, arrival_at.data(), arrival_at.data() + n, item_at.data());
  }
  Buffer<std::uint32_t, Space> strata(exec, n);
  if (items.stratum != nullptr) {
    thrust::gather(policy, item_at.data(), item_at.data() + n, items.stratum, strata.data());
    thrust::stable_sort_by_key(policy, strata.data(), strata.data() + n, item_at.data());
  } else {
    thrust::fill_n(policy, strata.data(), n, 0u);
  }
  if (items.first_seen != nullptr) {
    thrust::gather(policy, item_at.data(), item_at.data() + n, items.first_seen, arrival_at.data());
  }
  Buffer<std::uint32_t, Space> begin(exec, std::size_t{items.num_strata} + 1);
  thrust::lower_bound(policy, strata.data(), strata.data() + n, Index(0),
                      Index(std::uint64_t{items.num_strata} + 1), begin.data());
  Buffer<std::uint32_t, Space> position_of(exec, items.num_items);
  thrust::fill_n(policy, position_of.data(), items.num_items, kNoItem);
  const thrust::counting_iterator<std::uint32_t> position(0);
  thrust::scatter(policy, position, position + n, item_at.data(), position_of.data());
  SpaceOrder out;
  out.item_at = PlacedArray<std::uint32_t>(std::move(item_at));
  out.position_of = PlacedArray<std::uint32_t>(std::move(position_of));
  out.stratum_begin = PlacedArray<std::uint32_t>(std::move(begin));
  out.arrival_at = PlacedArray<std::int64_t>(std::move(arrival_at));
  return out;
}

template <class Space, class Policy>
PlacedArray<std::uint64_t> sums(const Policy& policy, const Exec& exec,
                                const std::uint64_t* weights, const std::uint32_t* item_at,
                                std::uint32_t n) {
  Buffer<std::uint64_t, Space> sum(exec, std::size_t{n} + 1);
  thrust::fill_n(policy, sum.data(), 1, std::uint64_t{0});
  const auto weight = thrust::make_permutation_iterator(weights, item_at);
  thrust::inclusive_scan(policy, weight, weight + std::ptrdiff_t{n}, sum.data() + 1);
  return PlacedArray<std::uint64_t>(std::move(sum));
}

template <class Space, class Policy>
PlacedArray<std::uint64_t> before(const Policy& policy, const Exec& exec, const UserLists& lists,
                                  std::uint32_t num_users, std::uint64_t num_values,
                                  const std::uint64_t* cumulative) {
  Buffer<std::uint64_t, Space> sum(exec, num_values);
  const auto user = over_index(GroupOf{lists.offsets, num_users});
  thrust::exclusive_scan_by_key(policy, user, user + static_cast<std::ptrdiff_t>(num_values),
                                over_index(WeightAt{lists.values, cumulative}), sum.data(),
                                std::uint64_t{0});
  return PlacedArray<std::uint64_t>(std::move(sum));
}

}  // namespace quarry::by_thrust

#endif

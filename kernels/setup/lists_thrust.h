// setup in Thrust, for any execution policy and memory space: lists per user and counts.
// setup_gpu.cu runs it on a device, a test on the CPU. Needs the CCCL headers, so it is empty
// elsewhere.
#pragma once

#if defined(__CUDACC__) || defined(QUARRY_THRUST_ON_CPU)

#include <thrust/binary_search.h>
#include <thrust/copy.h>
#include <thrust/fill.h>
#include <thrust/iterator/constant_iterator.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <thrust/reduce.h>
#include <thrust/scatter.h>
#include <thrust/sort.h>
#include <thrust/transform.h>
#include <thrust/unique.h>

#include "kernels/setup/setup.h"

// Integers only: no order of additions and no rounding can change a result. Raw pointers of the
// policy's memory throughout, so that memory comes from the Exec and no Thrust type is in setup.h.
namespace quarry::by_thrust {

using Index = thrust::counting_iterator<std::uint64_t>;

/// Group that pair `i` is in: the last whose offset is not above it.
QUARRY_HD std::uint64_t group_of(const std::uint64_t* offsets, std::uint64_t num_groups,
                                 std::uint64_t i) {
  std::uint64_t low = 0;
  std::uint64_t high = num_groups;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (offsets[middle + 1] <= i) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

struct PairCounts {
  PairView pairs;
  QUARRY_HD bool operator()(std::uint64_t i) const {
    std::uint32_t value = 0;
    return pair_at(pairs, i, &value);
  }
};
struct ValueOfPair {
  PairView pairs;
  QUARRY_HD std::uint32_t operator()(std::uint64_t i) const {
    std::uint32_t value = 0;
    pair_at(pairs, i, &value);
    return value;
  }
};
/// user << 32 | value, which sorts by user first.
struct KeyOfPair {
  PairView pairs;
  QUARRY_HD std::uint64_t operator()(std::uint64_t i) const {
    const std::uint64_t g =
        pairs.offsets != nullptr ? group_of(pairs.offsets, pairs.num_groups, i) : i;
    const std::uint64_t user = pairs.owner != nullptr ? pairs.owner[g] : g;
    return user << 32 | ValueOfPair{pairs}(i);
  }
};
struct UpperHalf {
  QUARRY_HD std::uint64_t operator()(std::uint64_t number) const { return number << 32; }
};
struct LowHalf {
  QUARRY_HD std::uint32_t operator()(std::uint64_t key) const {
    return static_cast<std::uint32_t>(key);
  }
};
template <class F>
auto over_index(F f) {
  return thrust::make_transform_iterator(Index(0), f);
}

template <class Space, class Policy>
UserArrays user_lists(const Policy& policy, const Exec& exec, std::span<const PairView> parts,
                      std::uint32_t num_users) {
  std::uint64_t most = 0;
  for (const PairView& p : parts) most += p.num_pairs;
  Buffer<std::uint64_t, Space> keys(exec, most);
  std::uint64_t* end = keys.data();
  for (const PairView& p : parts) {
    const auto key = over_index(KeyOfPair{p});
    end = thrust::copy_if(policy, key, key + static_cast<std::ptrdiff_t>(p.num_pairs), Index(0),
                          end, PairCounts{p});
  }
  thrust::sort(policy, keys.data(), end);
  end = thrust::unique(policy, keys.data(), end);
  Buffer<std::uint64_t, Space> offsets(exec, std::size_t{num_users} + 1);
  const auto first_key = over_index(UpperHalf{});
  thrust::lower_bound(policy, keys.data(), end, first_key,
                      first_key + (std::ptrdiff_t{num_users} + 1), offsets.data());
  Buffer<std::uint32_t, Space> values(exec, static_cast<std::size_t>(end - keys.data()));
  thrust::transform(policy, keys.data(), end, values.data(), LowHalf{});
  return {PlacedArray<std::uint64_t>(std::move(offsets)),
          PlacedArray<std::uint32_t>(std::move(values))};
}

template <class Space, class Policy>
PlacedArray<std::uint32_t> counts(const Policy& policy, const Exec& exec, const PairView& pairs,
                                  std::uint32_t num_values) {
  Buffer<std::uint32_t, Space> values(exec, pairs.num_pairs);
  const auto value = over_index(ValueOfPair{pairs});
  std::uint32_t* end =
      thrust::copy_if(policy, value, value + static_cast<std::ptrdiff_t>(pairs.num_pairs), Index(0),
                      values.data(), PairCounts{pairs});
  thrust::sort(policy, values.data(), end);
  Buffer<std::uint32_t, Space> distinct(exec, pairs.num_pairs);
  Buffer<std::uint32_t, Space> times(exec, pairs.num_pairs);
  const auto ends =
      thrust::reduce_by_key(policy, values.data(), end, thrust::constant_iterator<std::uint32_t>(1),
                            distinct.data(), times.data());
  Buffer<std::uint32_t, Space> count(exec, num_values);
  thrust::fill_n(policy, count.data(), num_values, 0u);
  thrust::scatter(policy, times.data(), ends.second, distinct.data(), count.data());
  return PlacedArray<std::uint32_t>(std::move(count));
}

}  // namespace quarry::by_thrust

#endif

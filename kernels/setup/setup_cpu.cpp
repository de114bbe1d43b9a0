// setup on the CPU: bins, the order of a draw space and its sums.
#include <algorithm>
#include <numeric>

#include "kernels/setup/setup.h"
#include "kernels/setup/sort_cpu.h"

namespace quarry {
namespace {

constexpr std::uint64_t kItemsAtOnce = 1 << 17;  // about a millisecond
constexpr std::uint64_t kUsersAtOnce = 256;

template <class F>
void for_each(const Exec& exec, std::uint64_t count, F&& f) {
  parallel_for(exec, count, kItemsAtOnce, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t i = from; i < to; ++i) f(i);
  });
}

/// Sorts `order`, which holds items, by key_of(item).
template <class F>
void sort_by(const Exec& exec, HostBuffer<std::uint32_t>& order, F&& key_of) {
  HostBuffer<std::uint64_t> keys(exec, order.size());
  for_each(exec, order.size(), [&](std::uint64_t i) { keys.data()[i] = key_of(order.data()[i]); });
  stable_sort_by_key(exec, keys, order);
}

HostBuffer<std::uint32_t> in_item_order(const Exec& exec, std::uint32_t n) {
  HostBuffer<std::uint32_t> order(exec, n);
  std::iota(order.data(), order.data() + n, 0u);
  return order;
}

}  // namespace

PlacedArray<std::uint32_t> popularity_bins(const Exec& exec, const std::uint32_t* counts,
                                           std::uint32_t n, std::uint32_t num_items,
                                           std::uint32_t bins) {
  if (exec.device == Device::kCuda) return popularity_bins_gpu(exec, counts, n, num_items, bins);
  HostBuffer<std::uint32_t> by_count = in_item_order(exec, n);
  sort_by(exec, by_count, [&](std::uint32_t i) { return std::uint64_t{counts[i]}; });
  PlacedArray<std::uint32_t> bin(exec, num_items);
  std::fill_n(bin.data(), bin.size(), 0u);
  for_each(exec, n, [&](std::uint64_t place) {
    bin.data()[by_count.data()[place]] = static_cast<std::uint32_t>(place * bins / n);
  });
  return bin;
}

SpaceOrder order_space(const Exec& exec, const SpaceItems& items) {
  if (exec.device == Device::kCuda) return order_space_gpu(exec, items);
  SpaceOrder order;
  // Least significant first: a stable sort keeps the order of those before it among equals.
  HostBuffer<std::uint32_t> item_at = in_item_order(exec, items.size);
  if (items.first_seen != nullptr) {
    sort_by(exec, item_at, [&](std::uint32_t i) {
      return static_cast<std::uint64_t>(items.first_seen[i]) ^ std::uint64_t{1} << 63;
    });
    order.arrival_at = PlacedArray<std::int64_t>(exec, items.size);
  }
  if (items.stratum != nullptr)
    sort_by(exec, item_at, [&](std::uint32_t i) { return std::uint64_t{items.stratum[i]}; });

  order.position_of = PlacedArray<std::uint32_t>(exec, items.num_items);
  std::fill_n(order.position_of.data(), order.position_of.size(), kNoItem);
  for_each(exec, items.size, [&](std::uint64_t p) {
    const std::uint32_t item = item_at.data()[p];
    order.position_of.data()[item] = static_cast<std::uint32_t>(p);
    if (items.first_seen != nullptr) order.arrival_at.data()[p] = items.first_seen[item];
  });
  order.stratum_begin = PlacedArray<std::uint32_t>(exec, std::size_t{items.num_strata} + 1);
  std::uint32_t* end = item_at.data() + items.size;
  for (std::uint32_t s = 0; s <= items.num_strata; ++s) {
    const auto before = [&](std::uint32_t item, std::uint32_t bound) {
      return (items.stratum != nullptr ? items.stratum[item] : 0) < bound;
    };
    order.stratum_begin.data()[s] = static_cast<std::uint32_t>(
        std::lower_bound(item_at.data(), end, s, before) - item_at.data());
  }
  order.item_at = PlacedArray<std::uint32_t>(std::move(item_at));
  return order;
}

PlacedArray<std::uint64_t> sum_weights(const Exec& exec, const std::uint64_t* weights,
                                       const std::uint32_t* item_at, std::uint32_t n) {
  if (exec.device == Device::kCuda) return sum_weights_gpu(exec, weights, item_at, n);
  PlacedArray<std::uint64_t> sums(exec, std::size_t{n} + 1);
  for_each(exec, n, [&](std::uint64_t p) { sums.data()[p + 1] = weights[item_at[p]]; });
  sums.data()[0] = 0;  // the gather above misses the cache, these additions do not: one thread
  for (std::uint32_t p = 0; p < n; ++p) sums.data()[p + 1] += sums.data()[p];
  return sums;
}

PlacedArray<std::uint64_t> weights_before(const Exec& exec, const UserLists& lists,
                                          std::uint32_t num_users, std::uint64_t num_values,
                                          const std::uint64_t* cumulative) {
  if (exec.device == Device::kCuda)
    return weights_before_gpu(exec, lists, num_users, num_values, cumulative);
  PlacedArray<std::uint64_t> before(exec, num_values);
  parallel_for(exec, num_users, kUsersAtOnce, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t u = from; u < to; ++u) {
      std::uint64_t sum = 0;
      for (std::uint64_t i = lists.offsets[u]; i < lists.offsets[u + 1]; ++i) {
        before.data()[i] = sum;
        sum += cumulative[lists.values[i] + 1] - cumulative[lists.values[i]];
      }
    }
  });
  return before;
}

}  // namespace quarry

// setup on the CPU: lists per user and counts.
#include <algorithm>
#include <atomic>

#include "kernels/setup/setup.h"

namespace quarry {
namespace {

constexpr std::uint64_t kUsersAtOnce = 1024;
constexpr std::uint64_t kGroupsAtOnce = 1 << 14;

std::uint64_t group_begin(const PairView& p, std::uint64_t g) {
  return p.offsets != nullptr ? p.offsets[g] : g;
}

/// Adds to a number that other threads may add to; one thread needs no locked instruction.
template <class T>
T add(bool shared, T& number, T amount) {
  if (shared) return std::atomic_ref<T>(number).fetch_add(amount, std::memory_order_relaxed);
  const T former = number;
  number += amount;
  return former;
}

/// Room for each user's pairs, whether they count or not, so that what counts is judged only once:
/// begin[u] is where user u's room starts.
void make_room(const Exec& exec, std::span<const PairView> parts, std::uint32_t num_users,
               HostBuffer<std::uint64_t>& begin) {
  std::fill_n(begin.data(), begin.size(), std::uint64_t{0});
  std::uint64_t* room = begin.data() + 1;
  for (const PairView& p : parts) {
    const bool shared = exec.threads > 1 && p.owner != nullptr;
    parallel_for(exec, p.num_groups, 8 * kGroupsAtOnce, [&](std::uint64_t from, std::uint64_t to) {
      for (std::uint64_t g = from; g < to; ++g) {
        add(shared, room[p.owner != nullptr ? p.owner[g] : g],
            group_begin(p, g + 1) - group_begin(p, g));
      }
    });
  }
  for (std::uint32_t u = 0; u < num_users; ++u) begin.data()[u + 1] += begin.data()[u];
}

/// Puts the pairs of parts with owners into the rooms of their users, in any order: the lists are
/// sorted later.
void place_owned(const Exec& exec, std::span<const PairView> parts, const std::uint64_t* begin,
                 std::uint64_t* used, std::uint32_t* values) {
  for (const PairView& p : parts) {
    if (p.owner == nullptr) continue;
    parallel_for(exec, p.num_groups, kGroupsAtOnce, [&](std::uint64_t from, std::uint64_t to) {
      for (std::uint64_t g = from; g < to; ++g) {
        const std::uint32_t u = p.owner[g];
        for (std::uint64_t i = group_begin(p, g); i < group_begin(p, g + 1); ++i) {
          std::uint32_t value = 0;
          if (!pair_at(p, i, &value)) continue;
          values[begin[u] + add(exec.threads > 1, used[u], std::uint64_t{1})] = value;
        }
      }
    });
  }
}

/// Adds what parts without owners say of the user, then sorts; returns the length of the list.
std::uint64_t finish_list(std::span<const PairView> parts, std::uint32_t user, std::uint32_t* list,
                          std::uint64_t length) {
  for (const PairView& p : parts) {
    if (p.owner != nullptr || user >= p.num_groups) continue;
    for (std::uint64_t i = group_begin(p, user); i < group_begin(p, user + 1); ++i) {
      std::uint32_t value = 0;
      if (pair_at(p, i, &value)) list[length++] = value;
    }
  }
  // Most lists come from one ascending part.
  if (std::adjacent_find(list, list + length, std::greater_equal<>()) == list + length)
    return length;
  std::sort(list, list + length);
  return static_cast<std::uint64_t>(std::unique(list, list + length) - list);
}

}  // namespace

UserArrays make_user_lists(const Exec& exec, std::span<const PairView> parts,
                           std::uint32_t num_users) {
  if (exec.device == Device::kCuda) return make_user_lists_gpu(exec, parts, num_users);
  HostBuffer<std::uint64_t> begin(exec, std::size_t{num_users} + 1);
  make_room(exec, parts, num_users, begin);
  HostBuffer<std::uint32_t> values(exec, begin.data()[num_users]);
  HostBuffer<std::uint64_t> used(exec, num_users);
  std::fill_n(used.data(), used.size(), std::uint64_t{0});
  place_owned(exec, parts, begin.data(), used.data(), values.data());

  UserArrays lists{{exec, std::size_t{num_users} + 1}, {}};
  std::uint64_t* offsets = lists.offsets.data();
  offsets[0] = 0;
  parallel_for(exec, num_users, kUsersAtOnce, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t u = from; u < to; ++u) {
      offsets[u + 1] = finish_list(parts, static_cast<std::uint32_t>(u),
                                   values.data() + begin.data()[u], used.data()[u]);
    }
  });
  for (std::uint32_t u = 0; u < num_users; ++u) offsets[u + 1] += offsets[u];
  if (offsets[num_users] == values.size()) {  // nothing fell away: the rooms are the lists
    lists.values = PlacedArray<std::uint32_t>(std::move(values));
    return lists;
  }
  lists.values = PlacedArray<std::uint32_t>(exec, offsets[num_users]);
  parallel_for(exec, num_users, kUsersAtOnce, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t u = from; u < to; ++u) {
      std::copy_n(values.data() + begin.data()[u], offsets[u + 1] - offsets[u],
                  lists.values.data() + offsets[u]);
    }
  });
  return lists;
}

PlacedArray<std::uint32_t> count_values(const Exec& exec, const PairView& pairs,
                                        std::uint32_t num_values) {
  if (exec.device == Device::kCuda) return count_values_gpu(exec, pairs, num_values);
  PlacedArray<std::uint32_t> counts(exec, num_values);
  std::fill_n(counts.data(), counts.size(), 0u);
  parallel_for(exec, pairs.num_pairs, 65536, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t i = from; i < to; ++i) {
      std::uint32_t value = 0;
      if (pair_at(pairs, i, &value)) add(exec.threads > 1, counts.data()[value], 1u);
    }
  });
  return counts;
}

}  // namespace quarry

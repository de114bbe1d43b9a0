// Random inputs for kernels/setup, every operation on them by any implementation, and the same by
// maps and sets.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "host/mine/placement.h"
#include "kernels/setup/setup.h"

namespace quarry::test {

/// Pairs in host memory: one part of lists.
struct SetupPart {
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint32_t> owner, values, map;
  std::vector<std::uint8_t> classes;
  std::vector<std::int64_t> times;
  std::uint64_t num_groups = 0;
  std::uint32_t class_mask = 0, dropped = kNoItem;
  std::int64_t oldest = INT64_MIN;
};

/// Inputs of all operations. The first part has values below num_items throughout.
struct SetupCase {
  std::uint32_t num_users = 0, num_items = 0, snapshot_items = 0, bins = 1, num_strata = 1;
  std::vector<SetupPart> parts;
  std::vector<std::uint32_t> counts, stratum;  ///< stratum may be empty
  std::vector<std::int64_t> first_seen;        ///< may be empty
  std::vector<std::uint64_t> weights;
};
SetupCase setup_case(std::uint64_t seed);
/// Enough pairs and items for many threads.
SetupCase large_setup_case();
std::string describe(const SetupCase& c);

/// Every array that set-up makes, widened.
struct SetupResult {
  std::vector<std::pair<std::string, std::vector<std::uint64_t>>> arrays;
};
/// First difference, "" if there is none.
std::string difference(const SetupResult& expected, const SetupResult& actual);

/// By std::map, std::set and sorting of tuples, without anything of kernels/setup.
SetupResult setup_by_maps(const SetupCase& c);
/// By the functions of setup.h on an Exec.
SetupResult setup_on(const SetupCase& c, const Exec& exec);

/// A part where the Exec runs.
inline PairView placed(const SetupPart& part, Placement& placement) {
  const auto put = [&](const auto& v) {
    return v.empty() ? nullptr : placement.borrow(v.data(), v.size());
  };
  return {put(part.offsets),  put(part.owner),   put(part.values), part.num_groups,
          part.values.size(), put(part.classes), part.class_mask,  put(part.times),
          part.oldest,        put(part.map),     part.dropped};
}

/// Brings an array back.
template <class T>
std::vector<std::uint64_t> fetched(const Exec& exec, const PlacedArray<T>& array) {
  std::vector<T> host(array.size());
  if (array.on_device()) {
    copy_to_host(exec, host.data(), array.data(), host.size() * sizeof(T));
    synchronize(exec);
  } else {
    std::copy_n(array.data(), array.size(), host.begin());
  }
  return {host.begin(), host.end()};
}

/// All operations of `setup`, an object with the functions of setup.h as members.
template <class Setup>
SetupResult run_setup(const SetupCase& c, const Exec& exec, const Setup& setup) {
  SetupResult result;
  const auto note = [&](const std::string& name, const auto& array) {
    result.arrays.emplace_back(name, fetched(exec, array));
  };
  Placement placement(exec);
  const auto put = [&](const auto& v) {
    return v.empty() ? nullptr : placement.borrow(v.data(), v.size());
  };
  std::vector<PairView> parts;
  for (const SetupPart& part : c.parts) parts.push_back(placed(part, placement));
  const UserArrays lists = setup.lists(parts, c.num_users);
  note("offsets", lists.offsets);
  note("values", lists.values);
  note("counts", setup.counts(parts[0], c.num_items));
  note("bins", setup.bins(put(c.counts), c.snapshot_items, c.num_items, c.bins));

  SpaceItems items{c.snapshot_items, c.num_items, put(c.stratum), c.num_strata, put(c.first_seen)};
  const SpaceOrder order = setup.order(items);
  note("item_at", order.item_at);
  note("position_of", order.position_of);
  note("stratum_begin", order.stratum_begin);
  note("arrival_at", order.arrival_at);
  const auto cumulative = setup.sums(put(c.weights), order.item_at.data(), c.snapshot_items);
  note("cumulative", cumulative);

  // Users' lists as codes, and as positions of the space.
  PairView first = parts[0];
  UserArrays own = setup.lists({&first, 1}, c.num_users);
  PairView mapped;
  mapped.offsets = own.offsets.data();
  mapped.values = own.values.data();
  mapped.num_groups = c.num_users;
  mapped.num_pairs = own.values.size();
  mapped.map = put(c.counts);  // any number per item will do for a code
  mapped.dropped = 0;
  const UserArrays codes = setup.lists({&mapped, 1}, c.num_users);
  note("code offsets", codes.offsets);
  note("codes", codes.values);
  mapped.map = order.position_of.data();
  mapped.dropped = kNoItem;
  const UserArrays excluded = setup.lists({&mapped, 1}, c.num_users);
  note("excluded offsets", excluded.offsets);
  note("excluded", excluded.values);
  note("before", setup.before({excluded.offsets.data(), excluded.values.data()}, c.num_users,
                              excluded.values.size(), cumulative.data()));
  return result;
}

}  // namespace quarry::test

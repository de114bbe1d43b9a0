// Random inputs for kernels/setup and what maps and sets make of them.
#include "tests/support/setup_cases.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "tests/support/problems.h"

namespace quarry::test {
namespace {

struct Shape {
  std::uint32_t users, items, groups, longest;
  bool huge_values;  ///< values near 2^32 in parts that nothing is looked up with
};

/// A part whose groups are users (owned = false) or belong to anybody.
SetupPart make_part(Rng& rng, const Shape& s, bool owned, bool small_values) {
  SetupPart part;
  const bool grouped = !owned || rng.chance(70);
  part.num_groups = owned ? s.groups : s.users;
  if (s.users == 0) part.num_groups = 0;
  if (owned && part.num_groups > 0 && rng.chance(10)) part.num_groups = 0;
  if (grouped) part.offsets.push_back(0);
  const bool one_value = rng.chance(10);
  const bool last_empty = rng.chance(30);
  for (std::uint64_t g = 0; g < part.num_groups; ++g) {
    std::uint64_t length = grouped ? rng.in(0, s.longest) : 1;
    if (grouped && last_empty && g + 2 >= part.num_groups) length = 0;
    if (s.items == 0 && small_values) length = grouped ? 0 : length;
    for (std::uint64_t i = 0; i < length; ++i) {
      std::uint64_t value = one_value ? 0 : rng.in(0, s.items > 0 ? s.items - 1 : 0);
      if (!small_values && s.huge_values) value = 0xFFFFFFFEu - value % 7;
      part.values.push_back(static_cast<std::uint32_t>(value));
    }
    if (grouped) part.offsets.push_back(part.values.size());
    if (owned) part.owner.push_back(static_cast<std::uint32_t>(rng.in(0, s.users - 1)));
  }
  if (rng.chance(50)) {
    for (std::size_t i = 0; i < part.values.size(); ++i)
      part.classes.push_back(static_cast<std::uint8_t>(rng.in(0, 4)));
    part.class_mask = static_cast<std::uint32_t>(rng.in(0, 31));
  }
  if (rng.chance(50)) {
    for (std::size_t i = 0; i < part.values.size(); ++i)
      part.times.push_back(static_cast<std::int64_t>(rng.in(0, 10)) - 5);
    part.oldest = static_cast<std::int64_t>(rng.in(0, 10)) - 5;
  }
  return part;
}

SetupCase make_case(Rng& rng, const Shape& s) {
  SetupCase c;
  c.num_users = s.users;
  c.num_items = s.items;
  c.snapshot_items = rng.chance(50) ? s.items : static_cast<std::uint32_t>(rng.in(0, s.items));
  c.bins = static_cast<std::uint32_t>(rng.in(1, 9));
  c.num_strata = static_cast<std::uint32_t>(rng.in(1, 6));
  c.parts.push_back(make_part(rng, s, false, true));
  const std::uint64_t more = rng.in(0, 2);
  for (std::uint64_t i = 0; i < more; ++i) c.parts.push_back(make_part(rng, s, i == 0, false));
  const bool same = rng.chance(10);
  const std::uint64_t most = rng.chance(20) ? 0xFFFFFFFFu : 5;
  for (std::uint32_t i = 0; i < s.items; ++i) {
    c.counts.push_back(static_cast<std::uint32_t>(same ? 3 : rng.in(0, most)));
    c.weights.push_back(rng.in(1, std::uint64_t{1} << 40));
  }
  if (rng.chance(50)) {
    for (std::uint32_t i = 0; i < s.items; ++i)
      c.stratum.push_back(static_cast<std::uint32_t>(rng.in(0, c.num_strata - 1)));
  } else {
    c.num_strata = 1;
  }
  if (rng.chance(50)) {
    for (std::uint32_t i = 0; i < s.items; ++i) {
      c.first_seen.push_back(rng.chance(20) ? INT64_MIN
                                            : static_cast<std::int64_t>(rng.in(0, 20)) - 10);
    }
  }
  return c;
}

using UserSets = std::map<std::uint32_t, std::set<std::uint32_t>>;

/// Calls f(user, value) for every pair that counts.
template <class F>
void each_pair(const SetupPart& part, F&& f) {
  for (std::uint64_t g = 0; g < part.num_groups; ++g) {
    const std::uint64_t begin = part.offsets.empty() ? g : part.offsets[g];
    const std::uint64_t end = part.offsets.empty() ? g + 1 : part.offsets[g + 1];
    for (std::uint64_t i = begin; i < end; ++i) {
      if (!part.classes.empty() && (part.class_mask & 1u << part.classes[i]) == 0) continue;
      if (!part.times.empty() && part.times[i] < part.oldest) continue;
      f(part.owner.empty() ? static_cast<std::uint32_t>(g) : part.owner[g], part.values[i]);
    }
  }
}

void add_lists(SetupResult& result, const UserSets& sets, std::uint32_t num_users,
               const std::string& offsets_name, const std::string& values_name) {
  std::vector<std::uint64_t> offsets{0};
  std::vector<std::uint64_t> values;
  for (std::uint32_t u = 0; u < num_users; ++u) {
    const auto own = sets.find(u);
    if (own != sets.end()) values.insert(values.end(), own->second.begin(), own->second.end());
    offsets.push_back(values.size());
  }
  result.arrays.emplace_back(offsets_name, offsets);
  result.arrays.emplace_back(values_name, values);
}

std::vector<std::uint64_t> bins_of(const SetupCase& c) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> by_count;
  for (std::uint32_t i = 0; i < c.snapshot_items; ++i) by_count.emplace(c.counts[i], i);
  std::vector<std::uint64_t> bins(c.num_items, 0);
  std::uint64_t place = 0;
  for (const auto& [count, item] : by_count) bins[item] = place++ * c.bins / c.snapshot_items;
  return bins;
}

}  // namespace

SetupCase setup_case(std::uint64_t seed) {
  Rng rng{seed * 77 + 5};
  Shape s{};
  s.users = static_cast<std::uint32_t>(seed % 7 == 0 ? 1 : seed % 41 == 1 ? 0 : rng.in(1, 40));
  s.items = static_cast<std::uint32_t>(seed % 11 == 0 ? 1 : seed % 43 == 2 ? 0 : rng.in(1, 60));
  s.groups = static_cast<std::uint32_t>(rng.in(1, 50));
  s.longest = static_cast<std::uint32_t>(seed % 13 == 0 ? 0 : rng.in(1, 30));
  s.huge_values = rng.chance(50);
  return make_case(rng, s);
}

SetupCase large_setup_case() {
  Rng rng{14};  // the first seed that leaves no array empty, which a test asserts
  return make_case(rng, {20'000, 270'000, 40'000, 20, false});
}

std::string describe(const SetupCase& c) {
  std::ostringstream text;
  text << c.num_users << " users, " << c.num_items << " items, " << c.snapshot_items
       << " in the snapshot, " << c.bins << " bins, " << c.num_strata << " strata, "
       << (c.first_seen.empty() ? "no times" : "times") << "; parts:";
  for (const SetupPart& part : c.parts) {
    text << " [" << part.num_groups << " groups, " << part.values.size() << " values"
         << (part.owner.empty() ? "" : ", owners") << (part.classes.empty() ? "" : ", classes")
         << (part.times.empty() ? "" : ", times") << "]";
  }
  return text.str();
}

std::string difference(const SetupResult& expected, const SetupResult& actual) {
  if (expected.arrays.size() != actual.arrays.size()) return "another number of arrays";
  for (std::size_t a = 0; a < expected.arrays.size(); ++a) {
    const auto& [name, left] = expected.arrays[a];
    const auto& [other_name, right] = actual.arrays[a];
    if (name != other_name) return name + " is called " + other_name;
    if (left.size() != right.size()) {
      return name + " has " + std::to_string(right.size()) + " entries, not " +
             std::to_string(left.size());
    }
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (left[i] != right[i]) {
        return name + "[" + std::to_string(i) + "] is " + std::to_string(right[i]) + ", not " +
               std::to_string(left[i]);
      }
    }
  }
  return "";
}

SetupResult setup_by_maps(const SetupCase& c) {
  SetupResult result;
  UserSets sets;
  UserSets own;
  std::map<std::uint32_t, std::uint64_t> times;
  for (const SetupPart& part : c.parts) {
    each_pair(part, [&](std::uint32_t u, std::uint32_t v) { sets[u].insert(v); });
  }
  each_pair(c.parts[0], [&](std::uint32_t u, std::uint32_t v) {
    own[u].insert(v);
    times[v] += 1;
  });
  add_lists(result, sets, c.num_users, "offsets", "values");
  std::vector<std::uint64_t> counts(c.num_items, 0);
  for (const auto& [value, n] : times) counts[value] = n;
  result.arrays.emplace_back("counts", counts);
  result.arrays.emplace_back("bins", bins_of(c));

  std::set<std::tuple<std::uint32_t, std::int64_t, std::uint32_t>> order;
  for (std::uint32_t i = 0; i < c.snapshot_items; ++i) {
    order.emplace(c.stratum.empty() ? 0 : c.stratum[i],
                  c.first_seen.empty() ? INT64_MIN : c.first_seen[i], i);
  }
  std::vector<std::uint64_t> item_at, arrival_at, cumulative{0};
  std::vector<std::uint64_t> position_of(c.num_items, kNoItem);
  std::vector<std::uint64_t> begin(c.num_strata + std::size_t{1}, 0);
  for (const auto& [stratum, arrival, item] : order) {
    position_of[item] = item_at.size();
    item_at.push_back(item);
    if (!c.first_seen.empty()) arrival_at.push_back(static_cast<std::uint64_t>(arrival));
    cumulative.push_back(cumulative.back() + c.weights[item]);
    for (std::uint32_t s = stratum + 1; s <= c.num_strata; ++s) begin[s] += 1;
  }
  UserSets codes;
  UserSets excluded;
  for (const auto& [u, items] : own) {
    for (const std::uint32_t item : items) {
      if (c.counts[item] != 0) codes[u].insert(c.counts[item]);
      if (position_of[item] != kNoItem)
        excluded[u].insert(static_cast<std::uint32_t>(position_of[item]));
    }
  }
  std::vector<std::uint64_t> before;
  for (const auto& [u, positions] : excluded) {
    std::uint64_t sum = 0;
    for (const std::uint32_t p : positions) {
      before.push_back(sum);
      sum += c.weights[item_at[p]];
    }
  }
  result.arrays.emplace_back("item_at", item_at);
  result.arrays.emplace_back("position_of", position_of);
  result.arrays.emplace_back("stratum_begin", begin);
  result.arrays.emplace_back("arrival_at", arrival_at);
  result.arrays.emplace_back("cumulative", cumulative);
  add_lists(result, codes, c.num_users, "code offsets", "codes");
  add_lists(result, excluded, c.num_users, "excluded offsets", "excluded");
  result.arrays.emplace_back("before", before);
  return result;
}

SetupResult setup_on(const SetupCase& c, const Exec& on) {
  struct Engine {
    Exec exec;
    UserArrays lists(std::span<const PairView> parts, std::uint32_t num_users) const {
      return make_user_lists(exec, parts, num_users);
    }
    PlacedArray<std::uint32_t> counts(const PairView& pairs, std::uint32_t num_values) const {
      return count_values(exec, pairs, num_values);
    }
    PlacedArray<std::uint32_t> bins(const std::uint32_t* counts, std::uint32_t n,
                                    std::uint32_t num_items, std::uint32_t bins) const {
      return popularity_bins(exec, counts, n, num_items, bins);
    }
    SpaceOrder order(const SpaceItems& items) const { return order_space(exec, items); }
    PlacedArray<std::uint64_t> sums(const std::uint64_t* weights, const std::uint32_t* item_at,
                                    std::uint32_t n) const {
      return sum_weights(exec, weights, item_at, n);
    }
    PlacedArray<std::uint64_t> before(const UserLists& lists, std::uint32_t num_users,
                                      std::uint64_t num_values,
                                      const std::uint64_t* cumulative) const {
      return weights_before(exec, lists, num_users, num_values, cumulative);
    }
  };
  return run_setup(c, on, Engine{on});
}

}  // namespace quarry::test

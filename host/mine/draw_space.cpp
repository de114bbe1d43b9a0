// The space of a draw branch, made once per snapshot.
#include "host/mine/draw_space.h"

#include <algorithm>
#include <numeric>

namespace quarry {
namespace {

/// Each user's excluded positions, sorted, and under weights the weight of the earlier ones.
void exclude_positions(DrawSpace& space, const DrawSpaceSpec& spec,
                       const std::vector<std::uint32_t>& position_of,
                       const std::vector<std::uint64_t>& cumulative, Placement& placement) {
  std::vector<std::uint64_t> offsets(std::size_t{spec.num_users} + 1, 0);
  std::vector<std::uint32_t> positions;
  std::vector<std::uint64_t> before;
  // Room at once: growth by doubling would hold three times as much for a moment.
  std::size_t most = 0;
  for (const Lists* list : spec.excluded) most += list->values.size();
  positions.reserve(most);
  for (std::uint32_t u = 0; u < spec.num_users; ++u) {
    const auto from = static_cast<std::ptrdiff_t>(positions.size());
    for (const Lists* list : spec.excluded) {
      for (std::uint64_t i = list->offsets[u]; i < list->offsets[u + 1]; ++i) {
        const std::uint32_t p = position_of[list->values[i]];
        if (p != kNoItem) positions.push_back(p);
      }
    }
    std::sort(positions.begin() + from, positions.end());
    positions.erase(std::unique(positions.begin() + from, positions.end()), positions.end());
    offsets[u + 1] = positions.size();
    std::uint64_t sum = 0;
    for (auto i = static_cast<std::size_t>(from); i < positions.size() && spec.beta; ++i) {
      before.push_back(sum);
      sum += cumulative[positions[i] + 1] - cumulative[positions[i]];
    }
  }
  space.excluded.offsets = placement.keep(std::move(offsets));
  space.excluded.values = placement.keep(std::move(positions));
  if (spec.beta) space.excluded_before = placement.keep(std::move(before));
}

}  // namespace

DrawSpace make_draw_space(const DrawSpaceSpec& spec, Placement& placement) {
  DrawSpace space;
  const std::uint32_t n = spec.snapshot->num_items;
  const auto stratum = [&](std::uint32_t i) {
    return spec.stratum != nullptr ? spec.stratum[i] : 0;
  };
  const auto arrival = [&](std::uint32_t i) {
    return spec.first_seen != nullptr ? spec.first_seen[i] : INT64_MIN;
  };
  std::vector<std::uint32_t> item_at(n);
  std::iota(item_at.begin(), item_at.end(), 0u);
  std::stable_sort(item_at.begin(), item_at.end(), [&](std::uint32_t a, std::uint32_t b) {
    return stratum(a) != stratum(b) ? stratum(a) < stratum(b) : arrival(a) < arrival(b);
  });
  std::vector<std::uint32_t> position_of(spec.num_items, kNoItem);
  std::vector<std::uint32_t> begin(std::size_t{spec.num_strata} + 1, 0);
  for (std::uint32_t p = 0; p < n; ++p) {
    position_of[item_at[p]] = p;
    begin[stratum(item_at[p]) + 1] = p + 1;
  }
  for (std::uint32_t s = 0; s < spec.num_strata; ++s)
    begin[s + 1] = std::max(begin[s + 1], begin[s]);
  std::vector<std::uint64_t> cumulative;
  if (spec.beta) {
    const std::vector<std::uint64_t> w =
        popularity_weights(spec.snapshot->popularity, n, *spec.beta);
    cumulative.resize(std::size_t{n} + 1, 0);
    for (std::uint32_t p = 0; p < n; ++p) cumulative[p + 1] = cumulative[p] + w[item_at[p]];
  }
  if (!spec.excluded.empty()) exclude_positions(space, spec, position_of, cumulative, placement);
  if (spec.first_seen != nullptr) {
    std::vector<std::int64_t> arrival_at(n);
    for (std::uint32_t p = 0; p < n; ++p) arrival_at[p] = arrival(item_at[p]);
    space.arrival_at = placement.keep(std::move(arrival_at));
  }
  space.size = n;
  space.num_strata = spec.num_strata;
  if (spec.beta) space.cumulative = placement.keep(std::move(cumulative));
  space.stratum_begin = placement.keep(std::move(begin));
  space.item_at = placement.keep(std::move(item_at));
  space.position_of = placement.keep(std::move(position_of));
  return space;
}

}  // namespace quarry

// The space of a draw branch, made once per snapshot.
#include "host/mine/draw_space.h"

namespace quarry {
namespace {

/// Each user's excluded positions, sorted, and under weights the weight of the earlier ones.
void exclude_positions(const Exec& exec, const DrawSpaceSpec& spec, DrawSpace& space,
                       Placement& placement) {
  std::vector<PairView> parts = spec.excluded;
  for (PairView& part : parts) {
    part.map = space.position_of;
    part.dropped = kNoItem;  // items outside the space cannot be drawn anyway
  }
  UserArrays lists = make_user_lists(exec, parts, spec.num_users);
  const std::uint64_t num_values = lists.values.size();
  space.excluded.offsets = placement.own(std::move(lists.offsets));
  space.excluded.values = placement.own(std::move(lists.values));
  if (spec.beta) {
    space.excluded_before = placement.own(
        weights_before(exec, space.excluded, spec.num_users, num_values, space.cumulative));
  }
}

}  // namespace

DrawSpace make_draw_space(const Exec& exec, const DrawSpaceSpec& spec, Placement& placement) {
  DrawSpace space;
  space.size = spec.snapshot->num_items;
  space.num_strata = spec.num_strata;
  SpaceItems items;
  items.size = space.size;
  items.num_items = spec.num_items;
  items.stratum = spec.stratum;
  items.num_strata = spec.num_strata;
  items.first_seen = spec.first_seen;
  SpaceOrder order = order_space(exec, items);
  space.item_at = placement.own(std::move(order.item_at));
  space.position_of = placement.own(std::move(order.position_of));
  space.stratum_begin = placement.own(std::move(order.stratum_begin));
  if (spec.first_seen != nullptr) space.arrival_at = placement.own(std::move(order.arrival_at));
  if (spec.beta) {
    const std::vector<std::uint64_t> weights =
        popularity_weights(spec.snapshot->popularity, space.size, *spec.beta);
    Placement uploaded(exec);  // only the sums stay
    space.cumulative = placement.own(sum_weights(
        exec, uploaded.borrow(weights.data(), weights.size()), space.item_at, space.size));
  }
  if (!spec.excluded.empty()) exclude_positions(exec, spec, space, placement);
  return space;
}

}  // namespace quarry

// Lists per user that filters look up and draw spaces leave out, as pairs for kernels/setup.
#include "host/mine/user_lists.h"

namespace quarry {

PairView pairs_of(const UserArrays& lists, std::uint32_t num_users) {
  PairView pairs;
  pairs.offsets = lists.offsets.data();
  pairs.values = lists.values.data();
  pairs.num_groups = num_users;
  pairs.num_pairs = lists.values.size();
  return pairs;
}

/// The exposure in the memory of the Exec; without events no pairs at all.
PairView UserListMaker::events(std::uint32_t mask) const {
  PairView pairs;
  if (in_.exposure == nullptr) return pairs;
  pairs.offsets = world_.exposure.offsets;
  pairs.values = world_.exposure.values;
  pairs.num_groups = world_.num_users;
  pairs.num_pairs = in_.exposure->items.size();
  pairs.classes = world_.event_class;
  pairs.class_mask = mask;
  return pairs;
}

UserArrays UserListMaker::positives() const {
  Placement uploaded(exec_);  // the rows are read here only
  PairView parts[3] = {events(1u << static_cast<unsigned>(ExposureClass::kPositive)), {}, {}};
  if (in_.rows != nullptr) {
    const RowTable& rows = *in_.rows;
    parts[1].offsets = uploaded.borrow(rows.positive_offsets.data(), rows.positive_offsets.size());
    parts[1].owner = uploaded.borrow(rows.user.data(), rows.user.size());
    parts[1].values = uploaded.borrow(rows.positives.data(), rows.positives.size());
    parts[1].num_groups = rows.size();
    parts[1].num_pairs = rows.positives.size();
  }
  if (in_.row_positives != nullptr && !in_.row_positives->offsets.empty()) {
    const Lists& more = *in_.row_positives;
    parts[2].offsets = uploaded.borrow(more.offsets.data(), more.offsets.size());
    parts[2].values = uploaded.borrow(more.values.data(), more.values.size());
    parts[2].num_groups = more.offsets.size() - 1;
    parts[2].num_pairs = more.values.size();
  }
  return make_user_lists(exec_, parts, world_.num_users);
}

UserArrays UserListMaker::exposed(std::uint32_t mask, std::int64_t oldest) const {
  Placement uploaded(exec_);
  PairView pairs = events(mask);
  if (in_.exposure != nullptr && oldest != INT64_MIN) {  // else every time counts
    const auto& times = in_.exposure->last_time;
    pairs.times = uploaded.borrow(times.data(), times.size());
    pairs.oldest = oldest;
  }
  return make_user_lists(exec_, {&pairs, 1}, world_.num_users);
}

UserArrays UserListMaker::codes(PairView positives, const std::uint32_t* codes) const {
  positives.map = codes;
  positives.dropped = 0;
  return make_user_lists(exec_, {&positives, 1}, world_.num_users);
}

}  // namespace quarry

// Held-out positives by user.
#include "host/audit/held_out.h"

#include <algorithm>

namespace quarry {

HeldOut::HeldOut(const Exposure& held_out, const Exposure* known) {
  const std::size_t users = held_out.offsets.empty() ? 0 : held_out.offsets.size() - 1;
  all.offsets.assign(users + 1, 0);
  fresh.offsets.assign(users + 1, 0);
  const auto positive = static_cast<std::uint8_t>(ExposureClass::kPositive);
  for (std::size_t i = 0; i < held_out.items.size(); ++i) {
    if (held_out.classes[i] == positive) split = std::min(split, held_out.positive_time[i]);
  }
  for (std::size_t u = 0; u < users; ++u) {
    const bool has_known = known != nullptr && u + 1 < known->offsets.size();
    for (std::uint64_t i = held_out.offsets[u]; i < held_out.offsets[u + 1]; ++i) {
      if (held_out.classes[i] != positive) continue;
      const std::uint32_t item = held_out.items[i];
      all.values.push_back(item);
      bool before = false;
      if (has_known) {
        const auto begin = known->items.begin() + static_cast<std::ptrdiff_t>(known->offsets[u]);
        const auto end = known->items.begin() + static_cast<std::ptrdiff_t>(known->offsets[u + 1]);
        const auto found = std::lower_bound(begin, end, item);
        if (found != end && *found == item) {
          const auto at = static_cast<std::size_t>(found - known->items.begin());
          // By the split and not by the pair's own time: a copy of the held-out events with coarser
          // times lies before these, but not before the split.
          seen_events += known->last_time[at] >= split ? 1 : 0;
          before = known->last_time[at] < split ||
                   (known->classes[at] == positive && known->positive_time[at] < split);
        }
      }
      if (!before) fresh.values.push_back(item);
    }
    all.offsets[u + 1] = all.values.size();
    fresh.offsets[u + 1] = fresh.values.size();
  }
}

std::span<const std::uint32_t> HeldOut::of(const Lists& lists, std::uint32_t user) {
  if (std::uint64_t{user} + 1 >= lists.offsets.size()) return {};
  return std::span(lists.values)
      .subspan(lists.offsets[user], lists.offsets[user + 1] - lists.offsets[user]);
}

bool HeldOut::contains(const Lists& lists, std::uint32_t user, std::uint32_t item) {
  const std::span<const std::uint32_t> list = of(lists, user);
  return std::binary_search(list.begin(), list.end(), item);
}

}  // namespace quarry

// Later records win.
#include "host/feedback/user_wishes.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr Wish kWishes[kNumWishes] = {Wish::kAvoid, Wish::kNotInterested, Wish::kHidden};

/// Which of two records of one moment counts: the greater. Asking for an item is the safe side.
int weight_of(Wish wish) {
  switch (wish) {
    case Wish::kHidden:
      return 2;
    case Wish::kAvoid:
      return 1;
    case Wish::kNotInterested:
      return 0;
  }
  return 0;
}

Wish wish_of(const std::string& kind, const std::string& where) {
  for (const Wish wish : kWishes) {
    if (kind == words_of(wish)) return wish;
  }
  throw InputError(fmt::format(
      "{}: the kind '{}' is not known; avoid, not_interested and hidden are, letter for letter "
      "(--map names the kinds of the events that are made of them)",
      where, kind));
}

auto pair_of(const SettledWish& wish) { return std::tie(wish.user, wish.item); }

}  // namespace

const char* words_of(Wish wish) {
  switch (wish) {
    case Wish::kAvoid:
      return "avoid";
    case Wish::kNotInterested:
      return "not_interested";
    case Wish::kHidden:
      return "hidden";
  }
  return "?";
}

UserWishes settle_wishes(const std::vector<RecordFile>& files) {
  std::vector<SettledWish> all;
  for (const RecordFile& file : files) {
    for (const UserRecord& record : file.read.records) {
      std::string where = fmt::format("{}:{}", file.path, record.line);
      const Wish wish = wish_of(record.kind, where);
      all.push_back({record.user, record.item, record.time, wish, std::move(where)});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const SettledWish& a, const SettledWish& b) {
    const int weight_a = weight_of(a.wish), weight_b = weight_of(b.wish);
    return std::tie(a.user, a.item, a.time, weight_a) < std::tie(b.user, b.item, b.time, weight_b);
  });
  UserWishes settled;
  settled.records = all.size();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool last = i + 1 == all.size() || pair_of(all[i]) != pair_of(all[i + 1]);
    if (last) {
      settled.wishes.push_back(all[i]);
      continue;
    }
    const SettledWish& next = all[i + 1];
    const bool asked = all[i].wish == Wish::kHidden, asked_next = next.wish == Wish::kHidden;
    if (all[i].wish == next.wish && all[i].time == next.time) {
      ++settled.repeated;
    } else if (asked == asked_next) {
      ++settled.superseded;
    } else if (asked_next) {
      ++settled.withdrawn;
    } else {
      ++settled.renewed;
    }
  }
  return settled;
}

}  // namespace quarry

// Events become exposure classes: grouped by user, then users over threads, each sorted and passed
// over once.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <tuple>
#include <type_traits>

#include "host/data/message.h"
#include "host/data/tables.h"
#include "kernels/core/exact_math.h"
#include "kernels/setup/setup.h"

namespace quarry {
namespace {

constexpr std::uint32_t kNoKind = 0xFFFFFFFFu;
constexpr std::uint64_t kUsersAtOnce = 512;

struct Term {
  std::uint32_t kind = kNoKind;
  ExposureTerm::Op op = ExposureTerm::Op::kExists;
  float number = 0.0f;
};
struct Rule {
  ExposureClass exposure_class = ExposureClass::kAmbiguous;
  std::vector<Term> terms;
};

std::vector<Rule> compile(const ExposureRules& rules, const std::vector<std::string>& kinds) {
  std::vector<Rule> compiled;
  for (const ExposureRule& rule : rules.rules) {
    if (rule.terms.empty())
      throw ConfigError("an exposure rule has no terms; give it at least one kind of event");
    Rule& out = compiled.emplace_back();
    out.exposure_class = rule.exposure_class;
    for (const ExposureTerm& term : rule.terms) {
      const auto found = std::find(kinds.begin(), kinds.end(), term.kind);
      const auto kind = static_cast<std::uint32_t>(found - kinds.begin());
      // Values are fp32, so the number is rounded too: 0.1 in the log then equals 0.1 in the rule.
      out.terms.push_back(
          {found == kinds.end() ? kNoKind : kind, term.op, static_cast<float>(term.number)});
    }
  }
  return compiled;
}

/// An event without a value (NaN) satisfies no comparison.
bool satisfies(const Event& event, const Term& term) {
  if (event.kind != term.kind) return false;
  switch (term.op) {
    case ExposureTerm::Op::kExists:
      return true;
    case ExposureTerm::Op::kLess:
      return event.value < term.number;
    case ExposureTerm::Op::kLessEqual:
      return event.value <= term.number;
    case ExposureTerm::Op::kEqual:
      return event.value == term.number;
    case ExposureTerm::Op::kGreaterEqual:
      return event.value >= term.number;
    case ExposureTerm::Op::kGreater:
      return event.value > term.number;
  }
  return false;
}

constexpr std::int64_t kNever = INT64_MAX;

/// When the last of the rule's terms was first satisfied; kNever if one was not. events: by time.
std::int64_t first_match(std::span<const Event> events, const Rule& rule) {
  std::int64_t moment = INT64_MIN;
  for (const Term& term : rule.terms) {
    std::int64_t first = kNever;
    for (const Event& e : events) {
      if (!satisfies(e, term)) continue;
      first = e.time;
      break;
    }
    if (first == kNever) return kNever;
    moment = std::max(moment, first);
  }
  return moment;
}

/// What a pair is, and if positive since when.
struct PairClass {
  ExposureClass exposure_class = ExposureClass::kAmbiguous;
  std::int64_t positive_time = INT64_MIN;
};

/// The first moment at which a positive rule held, one of which does. No later event moves it, so
/// rows keep their keys as a log grows.
std::int64_t positive_since(std::span<const Event> events, const std::vector<Rule>& rules) {
  std::int64_t first = kNever;
  for (const Rule& rule : rules) {
    if (rule.exposure_class == ExposureClass::kPositive)
      first = std::min(first, first_match(events, rule));
  }
  return first;
}

/// Class of a pair from its events up to as_of (`all`) and those of them inside the window
/// (`recent`), both by time; nothing if the pair counts as never exposed.
std::optional<PairClass> classify(std::span<const Event> all, std::span<const Event> recent,
                                  const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    const bool positive = rule.exposure_class == ExposureClass::kPositive;
    if (first_match(positive ? all : recent, rule) == kNever) continue;
    return PairClass{rule.exposure_class, positive ? positive_since(all, rules) : INT64_MIN};
  }
  if (recent.empty()) return std::nullopt;
  return PairClass{};
}

/// Of events of one user.
bool comes_before(const Event& a, const Event& b) {
  return std::make_tuple(a.item, a.time, a.kind, ordered(a.value)) <
         std::make_tuple(b.item, b.time, b.kind, ordered(b.value));
}

/// The events by user, in any order within one; begin: [num_users + 1], where each user's start.
HostBuffer<Event> by_user(const Exec& exec, const std::vector<Event>& events,
                          std::vector<std::uint64_t>& begin) {
  for (const Event& e : events) ++begin[e.user + std::size_t{1}];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  HostBuffer<Event> grouped(exec, events.size());
  std::vector<std::uint64_t> next(begin.begin(), begin.end() - 1);
  for (const Event& e : events) grouped.data()[next[e.user]++] = e;
  return grouped;
}

/// A pair of one user that has a class, kept in the memory of its events.
struct FoundPair {
  std::int64_t last_time = 0;
  std::int64_t positive_time = INT64_MIN;
  std::uint32_t item = 0;
  ExposureClass exposure_class = ExposureClass::kAmbiguous;
};
static_assert(sizeof(FoundPair) <= sizeof(Event) && std::is_trivially_copyable_v<Event> &&
              std::is_trivially_copyable_v<FoundPair>);

/// Puts each pair of one user that has a class in the place of one of its events, items ascending.
/// Returns how many there are.
std::uint64_t classify_user(std::span<Event> log, std::int64_t oldest,
                            const std::vector<Rule>& rules) {
  std::sort(log.begin(), log.end(), comes_before);
  std::uint64_t kept = 0;
  for (std::size_t begin = 0, end = 0; begin < log.size(); begin = end) {
    const std::uint32_t item = log[begin].item;
    while (end < log.size() && log[end].item == item) ++end;
    const std::span<const Event> all = log.subspan(begin, end - begin);
    std::size_t expired = 0;
    while (expired < all.size() && all[expired].time < oldest) ++expired;
    const std::optional<PairClass> found = classify(all, all.subspan(expired), rules);
    if (!found) continue;
    const FoundPair pair{all.back().time, found->positive_time, item, found->exposure_class};
    std::memcpy(static_cast<void*>(&log[kept]), &pair, sizeof(pair));
    ++kept;
  }
  return kept;
}

void check_events(const std::vector<Event>& events, std::size_t num_kinds, std::uint64_t num_users,
                  std::uint64_t num_items) {
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Event& e = events[i];
    if (e.user < num_users && e.item < num_items && e.kind < num_kinds && e.time >= 0 &&
        e.time != kNever)
      continue;
    throw_input_error("event ", i, ": user ", e.user, ", item ", e.item, ", kind ", e.kind,
                      ", time ", e.time, "; allowed are users below ", num_users, ", items below ",
                      num_items, ", kinds below ", num_kinds,
                      " and times from 0 to 2^63 - 2. Map ids to indices first");
  }
}

}  // namespace

Exposure classify_events(std::vector<Event> events, const std::vector<std::string>& kinds,
                         const ExposureRules& rules, std::uint64_t num_users,
                         std::uint64_t num_items, std::optional<std::int64_t> as_of,
                         const Exec& exec) {
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (std::find(kinds.begin(), kinds.begin() + static_cast<std::ptrdiff_t>(i), kinds[i]) !=
        kinds.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw_input_error("the kind ", shown(kinds[i]), " is named twice; give each kind one number");
    }
  }
  check_events(events, kinds.size(), num_users, num_items);
  const std::vector<Rule> compiled = compile(rules, kinds);

  Exposure result;
  result.events = events.size();
  if (as_of) {
    result.as_of = *as_of;
  } else if (!events.empty()) {
    result.as_of =
        std::max_element(events.begin(), events.end(), [](const Event& a, const Event& b) {
          return a.time < b.time;
        })->time;
  }
  // Later events are not known yet: they leave before anything looks at them.
  const auto known = std::remove_if(events.begin(), events.end(),
                                    [&](const Event& e) { return e.time > result.as_of; });
  result.events_after_as_of = static_cast<std::uint64_t>(events.end() - known);
  events.erase(known, events.end());
  for (const Event& e : events) result.latest_event = std::max(result.latest_event, e.time);

  std::int64_t oldest = INT64_MIN;
  if (rules.window && __builtin_sub_overflow(result.as_of, *rules.window, &oldest))
    oldest = INT64_MIN;

  Exec host = exec;
  host.device = Device::kCpu;
  std::vector<std::uint64_t> begin(num_users + 1, 0);
  HostBuffer<Event> log = by_user(host, events, begin);
  std::vector<Event>().swap(events);  // one copy of the log is enough
  result.offsets.assign(num_users + 1, 0);
  parallel_for(host, num_users, kUsersAtOnce, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t u = from; u < to; ++u) {
      result.offsets[u + 1] =
          classify_user(log.span().subspan(begin[u], begin[u + 1] - begin[u]), oldest, compiled);
    }
  });
  std::partial_sum(result.offsets.begin(), result.offsets.end(), result.offsets.begin());

  const std::uint64_t num_pairs = result.offsets[num_users];
  result.items.resize(num_pairs);
  result.classes.resize(num_pairs);
  result.last_time.resize(num_pairs);
  result.positive_time.resize(num_pairs);
  parallel_for(host, num_users, kUsersAtOnce, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t u = from; u < to; ++u) {
      const Event* place = log.data() + begin[u];
      for (std::uint64_t i = result.offsets[u]; i < result.offsets[u + 1]; ++i, ++place) {
        FoundPair pair;
        std::memcpy(static_cast<void*>(&pair), place, sizeof(pair));
        result.items[i] = pair.item;
        result.classes[i] = static_cast<std::uint8_t>(pair.exposure_class);
        result.last_time[i] = pair.last_time;
        result.positive_time[i] = pair.positive_time;
      }
    }
  });
  PairView pairs;
  pairs.values = result.items.data();
  pairs.num_pairs = num_pairs;
  pairs.classes = result.classes.data();
  pairs.class_mask = 1u << static_cast<std::uint8_t>(ExposureClass::kPositive);
  const PlacedArray<std::uint32_t> counts = count_values(
      host, pairs, static_cast<std::uint32_t>(std::min<std::uint64_t>(num_items, kNoItem)));
  result.item_count.assign(counts.data(), counts.data() + counts.size());
  result.item_count.resize(num_items, 0);
  return result;
}

}  // namespace quarry

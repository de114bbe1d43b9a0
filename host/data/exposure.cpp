// Events become exposure classes: grouped by user, then users over threads, each sorted once and
// passed over twice, to count pairs and to write them.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <tuple>

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

/// When the last of the rule's terms was first satisfied; nothing if one never was. events: by
/// time.
std::optional<std::int64_t> first_match(std::span<const Event> events, const Rule& rule) {
  std::int64_t moment = INT64_MIN;
  for (const Term& term : rule.terms) {
    const auto found = std::find_if(events.begin(), events.end(),
                                    [&](const Event& e) { return satisfies(e, term); });
    if (found == events.end()) return std::nullopt;
    moment = std::max(moment, found->time);
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
  std::int64_t first = INT64_MAX;
  for (const Rule& rule : rules) {
    if (rule.exposure_class != ExposureClass::kPositive) continue;
    first = std::min(first, first_match(events, rule).value_or(INT64_MAX));
  }
  return first;
}

/// Class of a pair from its events up to as_of (`all`) and those of them inside the window
/// (`recent`), both by time; nothing if the pair counts as never exposed.
std::optional<PairClass> classify(std::span<const Event> all, std::span<const Event> recent,
                                  const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    const bool positive = rule.exposure_class == ExposureClass::kPositive;
    if (!first_match(positive ? all : recent, rule)) continue;
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

/// Calls sink(events, class) for each pair of one user that has a class, items ascending. log:
/// sorted by comes_before.
template <class Sink>
void for_each_pair(std::span<const Event> log, std::int64_t oldest, const std::vector<Rule>& rules,
                   const Sink& sink) {
  for (std::size_t begin = 0, end = 0; begin < log.size(); begin = end) {
    while (end < log.size() && log[end].item == log[begin].item) ++end;
    const std::span<const Event> all = log.subspan(begin, end - begin);
    std::size_t expired = 0;
    while (expired < all.size() && all[expired].time < oldest) ++expired;
    if (const auto found = classify(all, all.subspan(expired), rules)) sink(all, *found);
  }
}

void check_events(const std::vector<Event>& events, std::size_t num_kinds, std::uint64_t num_users,
                  std::uint64_t num_items) {
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Event& e = events[i];
    if (e.user < num_users && e.item < num_items && e.kind < num_kinds && e.time >= 0) continue;
    throw_input_error("event ", i, ": user ", e.user, ", item ", e.item, ", kind ", e.kind,
                      ", time ", e.time, "; allowed are users below ", num_users, ", items below ",
                      num_items, ", kinds below ", num_kinds,
                      " and times from 0. Map ids to indices first");
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
  const auto of_user = [&](std::uint64_t u) {
    return std::span<const Event>(log.data() + begin[u], begin[u + 1] - begin[u]);
  };
  result.offsets.assign(num_users + 1, 0);
  parallel_for(host, num_users, kUsersAtOnce, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t u = from; u < to; ++u) {
      std::sort(log.data() + begin[u], log.data() + begin[u + 1], comes_before);
      for_each_pair(of_user(u), oldest, compiled,
                    [&](const auto&, const PairClass&) { ++result.offsets[u + 1]; });
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
      std::uint64_t i = result.offsets[u];
      for_each_pair(of_user(u), oldest, compiled, [&](const auto& pair, const PairClass& found) {
        result.items[i] = pair.back().item;
        result.classes[i] = static_cast<std::uint8_t>(found.exposure_class);
        result.last_time[i] = pair.back().time;
        result.positive_time[i] = found.positive_time;
        ++i;
      });
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

// Events become exposure classes: one sort, then one pass over the events of each (user, item).
#include <algorithm>
#include <cmath>
#include <span>
#include <tuple>

#include "host/data/message.h"
#include "host/data/tables.h"
#include "kernels/core/exact_math.h"

namespace quarry {
namespace {

constexpr std::uint32_t kNoKind = 0xFFFFFFFFu;

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

bool matches(std::span<const Event> events, const Rule& rule) {
  return std::all_of(rule.terms.begin(), rule.terms.end(), [&](const Term& term) {
    return std::any_of(events.begin(), events.end(),
                       [&](const Event& e) { return satisfies(e, term); });
  });
}

/// Class of a pair from its events up to as_of (`all`) and those of them inside the window
/// (`recent`); nothing if the pair counts as never exposed.
std::optional<ExposureClass> classify(std::span<const Event> all, std::span<const Event> recent,
                                      const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    const bool positive = rule.exposure_class == ExposureClass::kPositive;
    if (matches(positive ? all : recent, rule)) return rule.exposure_class;
  }
  if (recent.empty()) return std::nullopt;
  return ExposureClass::kAmbiguous;
}

std::uint64_t pair_of(const Event& e) { return std::uint64_t{e.user} << 32 | e.item; }

bool comes_before(const Event& a, const Event& b) {
  return std::make_tuple(pair_of(a), a.time, a.kind, ordered(a.value)) <
         std::make_tuple(pair_of(b), b.time, b.kind, ordered(b.value));
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
                         std::uint64_t num_items, std::optional<std::int64_t> as_of) {
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
  std::sort(events.begin(), events.end(), comes_before);

  std::int64_t oldest = INT64_MIN;
  if (rules.window && __builtin_sub_overflow(result.as_of, *rules.window, &oldest))
    oldest = INT64_MIN;

  std::uint64_t num_pairs = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    num_pairs += i == 0 || pair_of(events[i]) != pair_of(events[i - 1]) ? 1 : 0;
  }
  result.items.reserve(num_pairs);
  result.classes.reserve(num_pairs);
  result.last_time.reserve(num_pairs);
  result.positive_time.reserve(num_pairs);
  result.offsets.assign(num_users + 1, 0);
  result.item_count.assign(num_items, 0);

  const std::span<const Event> log(events);
  for (std::size_t begin = 0, end = 0; begin < log.size(); begin = end) {
    const std::uint64_t pair = pair_of(log[begin]);
    while (end < log.size() && pair_of(log[end]) == pair) ++end;
    const std::span<const Event> all = log.subspan(begin, end - begin);
    std::size_t expired = 0;
    while (expired < all.size() && all[expired].time < oldest) ++expired;
    const std::int64_t last = all.back().time;
    result.latest_event = std::max(result.latest_event, last);

    const std::optional<ExposureClass> exposure_class =
        classify(all, all.subspan(expired), compiled);
    if (!exposure_class) continue;
    const bool positive = *exposure_class == ExposureClass::kPositive;
    result.items.push_back(log[begin].item);
    result.classes.push_back(static_cast<std::uint8_t>(*exposure_class));
    result.last_time.push_back(last);
    result.positive_time.push_back(positive ? last : INT64_MIN);
    ++result.offsets[log[begin].user + 1];
    if (positive) ++result.item_count[log[begin].item];
  }
  for (std::uint64_t u = 0; u < num_users; ++u) result.offsets[u + 1] += result.offsets[u];
  return result;
}

}  // namespace quarry

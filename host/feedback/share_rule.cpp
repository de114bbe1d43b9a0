// The rule by which shares move, and its projection on the bounds.
#include "host/feedback/share_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/audit/metrics.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr double kDeviationLimit = 1.96;  // two-sided 5 % of a normal
constexpr double kMostExponent = 50;      // beyond any step
constexpr double kLevel = 5e-5;           // of the mean; less is not worth a word
constexpr double kSlack = 1e-9;           // 100 * 1.15 is 114.99999999999999

double real(std::uint64_t count) { return static_cast<double>(count); }

bool has_figure(const ShareSegment& s) {
  return s.loss.has_value() || s.confusions.has_value() || s.predicted.has_value();
}

ShareHold hold_of(const ShareSegment& s, const ShareRule& rule) {
  if (!s.measured || !has_figure(s)) return ShareHold::kNotMeasured;
  if (s.share == 0) return ShareHold::kNoShare;
  if (s.negatives < rule.min_negatives) return ShareHold::kFewNegatives;
  return ShareHold::kNone;
}

/// By how many standard errors the mean prediction misses the rate. p (1 - p) / n is at least the
/// variance of a mean of n outcomes whose probabilities average p, so a miss is not overstated.
double deviation_of(double predicted, double observed, std::uint64_t cases) {
  const double miss = predicted - observed;
  if (miss == 0) return 0;
  const double error =
      std::sqrt(predicted * (1 - predicted) / real(std::max<std::uint64_t>(cases, 1)));
  return error > 0 ? miss / error : std::copysign(HUGE_VAL, miss);
}

/// How far the outputs of a segment are to be believed.
void weigh(const ShareSegment& s, const ShareRule& rule, ShareChange& change) {
  if (s.predicted) {
    change.deviation = deviation_of(*s.predicted, *s.observed, s.negatives);
    const double size = std::fabs(*change.deviation);
    if (size > kDeviationLimit) change.trust = kDeviationLimit / size;
  }
  if (s.confusions) {
    change.confusion_low = std::max(0.0, wilson(*s.confusions, s.negatives).low);
    if (*change.confusion_low > rule.confusion_limit)
      change.damping = (1 - *change.confusion_low) / (1 - rule.confusion_limit);
  }
}

/// Of losses that count by negatives * trust. One of suspected false negatives counts as the mean
/// of the others at most: what says nothing of its own share must not lift it by lowering theirs.
std::optional<double> mean_loss_of(const std::vector<ShareSegment>& segments,
                                   const std::vector<ShareChange>& changes) {
  struct Loss {
    double loss, weight;
  };
  std::vector<Loss> sound, damped;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (changes[i].hold != ShareHold::kNone || !segments[i].loss) continue;
    const double weight = real(segments[i].negatives) * changes[i].trust;
    (changes[i].damping < 1 ? damped : sound).push_back({*segments[i].loss, weight});
  }
  if (sound.empty() && damped.empty()) return std::nullopt;
  std::stable_sort(damped.begin(), damped.end(),
                   [](const Loss& a, const Loss& b) { return a.loss < b.loss; });
  double mean = 0, weight = 0;
  const auto add = [&](const Loss& l) {
    if (l.weight == 0) return;
    weight += l.weight;
    mean += (l.loss - mean) * (l.weight / weight);
  };
  for (const Loss& l : sound) add(l);
  // By rising loss, each as long as it is below the mean of those before it. Where none is sound
  // the least is the mean.
  for (const Loss& l : damped) {
    if (weight == 0 || l.loss < mean) add(l);
  }
  if (weight == 0) mean = sound.empty() ? damped.front().loss : sound.front().loss;
  return mean;
}

/// What the outputs multiply the share by.
void judge(const ShareSegment& s, const ShareRule& rule, std::optional<double> mean,
           ShareChange& change) {
  double exponent = 0;
  if (s.loss) {
    change.excess = *mean > 0 ? *s.loss / *mean - 1 : 0;
    exponent = rule.eta * change.trust * *change.excess;
    // False negatives have a high loss because they are positives: it counts for nothing.
    if (change.damping < 1) exponent = std::min(exponent, 0.0);
  }
  exponent = std::clamp(exponent + std::log(std::max(change.damping, 1e-300)), -kMostExponent,
                        kMostExponent);
  change.factor = std::exp(exponent);
}

/// Of a segment that may move. What lies outside floor and ceiling may come nearer, at its pace.
void bound(const ShareRule& rule, double total, ShareChange& change) {
  const double share = real(change.before);
  const double floor = std::ceil(rule.floor * total - kSlack);
  const double ceiling = std::floor(rule.ceiling * total + kSlack);
  const double low = std::max(std::ceil(share / rule.step - kSlack), floor);
  const double high = std::min(std::floor(share * rule.step + kSlack), ceiling);
  change.low = static_cast<std::uint64_t>(std::min(low, share));
  change.high = static_cast<std::uint64_t>(std::max(high, share));
  change.at_floor = floor >= std::ceil(share / rule.step - kSlack);
  change.at_ceiling = ceiling <= std::floor(share * rule.step + kSlack);
  if (change.damping < 1) change.high = change.before;
}

double clamped(const ShareChange& c, double log_scale) {
  const double wanted = real(c.before) * std::exp(log_scale + std::log(c.factor));
  return std::clamp(wanted, real(c.low), real(c.high));
}

/// The shares within the bounds and with the sum `mass` that are nearest to share * factor in
/// relative entropy: each is clamp(scale * share * factor), with one scale for all. Rounded by
/// largest remainders.
void project(std::vector<ShareChange*>& moving, std::uint64_t mass) {
  const auto sum_at = [&](double log_scale) {
    double sum = 0;
    for (const ShareChange* c : moving) sum += clamped(*c, log_scale);
    return sum;
  };
  // At the ends every share is at its bound: a step is at most 100.
  double below = -2 * kMostExponent, above = 2 * kMostExponent;
  for (int halving = 0; halving < 100; ++halving) {
    const double middle = (below + above) / 2;
    (sum_at(middle) < real(mass) ? below : above) = middle;
  }
  std::vector<double> rest;
  std::uint64_t given = 0;
  for (ShareChange* c : moving) {
    const double wanted = clamped(*c, above);
    c->after = static_cast<std::uint64_t>(wanted);
    rest.push_back(wanted - real(c->after));
    given += c->after;
  }
  std::vector<std::size_t> order(moving.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return rest[a] > rest[b]; });
  for (const std::size_t i : order) {
    if (given >= mass) break;
    if (moving[i]->after >= moving[i]->high) continue;
    ++moving[i]->after;
    ++given;
  }
  QUARRY_CHECK(given == mass);
}

/// What keeps a share from moving on; "" where nothing does.
std::string words_of_bounds(const ShareChange& change, const ShareRule& rule) {
  const auto why = [&](bool more) {
    if (more && change.at_ceiling) return fmt::format("--ceiling {}", rule.ceiling);
    if (!more && change.at_floor) return fmt::format("--floor {}", rule.floor);
    return fmt::format("--step {}", rule.step);
  };
  const auto end = [&](bool more) {
    return fmt::format("held at the {} allowed ({})", more ? "most" : "least", why(more));
  };
  if (change.after != change.before) {
    if (change.after == change.low) return end(false);
    return change.after == change.high ? end(true) : "";
  }
  const bool may_fall = change.low<change.before, may_grow = change.high> change.before;
  if (!may_fall && !may_grow) {
    // Within the step there may be no other whole number of the share's last digit.
    if (change.damping < 1) return fmt::format("stays: {} lets it fall no further", why(false));
    const std::string less = why(false), more = why(true);
    return fmt::format("stays: {}{} leave{} no other share in whole units", less,
                       less == more ? "" : " and " + more, less == more ? "s" : "");
  }
  if (!may_grow && change.factor > 1) return end(true);
  return !may_fall && change.factor < 1 ? end(false) : "";
}

std::string percent(double share) { return fmt::format("{:.3g} %", 100 * share); }

}  // namespace

bool ShareStep::changed() const {
  return std::any_of(changes.begin(), changes.end(),
                     [](const ShareChange& c) { return c.before != c.after; });
}

void check_rule(const ShareRule& rule) {
  const auto check = [](bool good, const char* flag, double value, const char* allowed) {
    if (!good) throw ConfigError(fmt::format("{} is {}; allowed {}", flag, value, allowed));
  };
  check(rule.eta >= 0 && rule.eta <= 10, "--eta", rule.eta, "0 to 10");
  check(rule.step >= 1 && rule.step <= 100, "--step", rule.step, "1 (nothing moves) to 100");
  check(rule.floor >= 0 && rule.floor < 1, "--floor", rule.floor, "0 up to less than 1");
  check(rule.ceiling > 0 && rule.ceiling <= 1, "--ceiling", rule.ceiling, "above 0 up to 1");
  check(rule.confusion_limit >= 0 && rule.confusion_limit < 1, "--confusion-limit",
        rule.confusion_limit, "0 up to less than 1");
  if (rule.floor > rule.ceiling)
    throw ConfigError(
        fmt::format("--floor {} is above --ceiling {}; swap them", rule.floor, rule.ceiling));
}

ShareStep reweigh(const std::vector<ShareSegment>& segments, const ShareRule& rule) {
  check_rule(rule);
  ShareStep step;
  std::uint64_t total = 0;
  for (const ShareSegment& s : segments) {
    ShareChange change;
    change.before = change.after = change.low = change.high = s.share;
    change.hold = hold_of(s, rule);
    total += s.share;
    step.changes.push_back(change);
  }
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (step.changes[i].hold == ShareHold::kNone) weigh(segments[i], rule, step.changes[i]);
  }
  step.mean_loss = mean_loss_of(segments, step.changes);
  std::vector<ShareChange*> moving;
  std::uint64_t mass = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    ShareChange& change = step.changes[i];
    if (change.hold != ShareHold::kNone) continue;
    judge(segments[i], rule, step.mean_loss, change);
    bound(rule, real(total), change);
    mass += change.before;
    moving.push_back(&change);
  }
  if (moving.size() == 1) moving.front()->hold = ShareHold::kAlone;
  if (moving.size() > 1) project(moving, mass);
  return step;
}

std::string words_of(const ShareSegment& segment, const ShareChange& change,
                     const ShareRule& rule) {
  switch (change.hold) {
    case ShareHold::kNotMeasured:
      return "stays: the outputs say nothing of it";
    case ShareHold::kFewNegatives:
      return fmt::format("stays: {} negatives, fewer than {}", segment.negatives,
                         rule.min_negatives);
    case ShareHold::kNoShare:
      return "stays 0";
    case ShareHold::kNone:
    case ShareHold::kAlone:
      break;
  }
  std::string words;
  const auto add = [&](const std::string& more) { words += (words.empty() ? "" : "; ") + more; };
  if (change.excess) {
    const bool level = std::fabs(*change.excess) < kLevel;
    add(level ? "loss at the mean"
              : fmt::format("loss {} {} the mean", percent(std::fabs(*change.excess)),
                            *change.excess < 0 ? "below" : "above"));
  }
  if (change.trust < 1) {
    const std::string miss =
        std::isfinite(*change.deviation)
            ? fmt::format("predictions miss by {:.3g} standard errors",
                          std::fabs(*change.deviation))
            : fmt::format("predictions of exactly {} did not come true", *segment.predicted);
    const std::string counts = change.trust > 0 ? percent(change.trust) : "nothing";
    add(change.excess ? fmt::format("{}, so {} of that counts", miss, counts) : miss);
  }
  if (change.damping < 1)
    add(fmt::format("at least {} false negatives (limit {}), so it may not grow",
                    percent(*change.confusion_low), percent(rule.confusion_limit)));
  if (change.hold == ShareHold::kAlone) {
    add("stays: no other segment may take or give");
  } else if (const std::string held = words_of_bounds(change, rule); !held.empty()) {
    add(held);
  }
  return words.empty() ? "nothing speaks for a change" : words;
}

}  // namespace quarry

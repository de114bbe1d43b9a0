// Weights of candidates computed again.
#include "host/audit/log_weight.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "kernels/core/exact_math.h"

namespace quarry {
namespace {

/// Natural logarithm in double precision, as section 5 writes it.
double long_log(double x) {
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  constexpr double kLowest = 0.70710678118654752;
  int e = 0;
  double m = std::frexp(x, &e);  // in [0.5, 1)
  if (m < kLowest) {
    m *= 2;
    --e;
  }
  const double t = (m - 1) / (m + 1);
  const double z = t * t;
  double p = 0;
  for (int i = 23; i >= 1; i -= 2) p = std::fma(p, z, 1.0 / i);
  return std::fma(static_cast<double>(e), kLn2, (t + t) * p);
}

/// The user's pairs in a named table, items ascending.
struct UserPairs {
  std::span<const std::uint32_t> items;
  std::span<const float> values;
};
UserPairs pairs_of(const JudgeTables& t, const std::string& table, std::uint32_t user) {
  const auto named = t.in.pairs.find(table);
  if (named == t.in.pairs.end() || named->second == nullptr) return {};
  const PairValues& pairs = *named->second;
  if (std::uint64_t{user} + 1 >= pairs.offsets.size()) return {};
  const std::uint64_t begin = pairs.offsets[user];
  const std::uint64_t count = pairs.offsets[user + 1] - begin;
  return {{pairs.items.data() + begin, count}, {pairs.values.data() + begin, count}};
}

float centre_of(RowJudge& judge, const WeightSpec& w) {
  const float positive = judge.positive_score(w.against);
  if (std::isnan(positive)) return 0;  // a row without positives
  if (w.centre != CentreKind::kAhns) return positive;
  const float from = positive + static_cast<float>(w.ahns_a);
  if (from <= 0) return 0;
  const float power = static_cast<float>(w.ahns_p) + 1;
  return static_cast<float>(w.ahns_b) * exact_exp(power * exact_log(from));
}

float term_of(const JudgeTables& t, RowJudge& judge, const WeightSpec& w, std::uint32_t user,
              const JudgedItem& c) {
  const auto a = static_cast<float>(w.a);
  const auto b = static_cast<float>(w.b);
  const auto rank = static_cast<float>(c.survivor_rank);
  switch (w.kind) {
    case WeightKind::kSoftmax:
      return c.score / a;
    case WeightKind::kSimans: {
      const float off = (c.score - centre_of(judge, w)) - b;
      return -(a * (off * off));
    }
    case WeightKind::kDistance:
      return -(a * std::fabs(c.score - centre_of(judge, w)));
    case WeightKind::kPopularity:
      return a * exact_log(static_cast<float>(t.frozen_popularity[c.item]) + b);
    case WeightKind::kRankGeometric:
      return -rank / a;
    case WeightKind::kRankBeta: {
      const auto items = static_cast<float>(t.snapshot_items);
      const float x = (rank - 0.5f) / items;
      return (a - 1) * exact_log(x) + (items - a) * exact_log(1 - x);
    }
    case WeightKind::kPairColumn: {
      const UserPairs pairs = pairs_of(t, w.table, user);
      const auto at = std::lower_bound(pairs.items.begin(), pairs.items.end(), c.item);
      if (at == pairs.items.end() || *at != c.item) return 0;
      return a * pairs.values[static_cast<std::size_t>(at - pairs.items.begin())];
    }
    case WeightKind::kClass:
      return exact_log(static_cast<float>(
          w.class_weight[static_cast<std::size_t>(judge.exposure_class(c.item))]));
  }
  return 0;
}

}  // namespace

float log_weight_of(const JudgeTables& tables, RowJudge& judge, const BranchSpec& branch,
                    std::uint32_t user, const JudgedItem& candidate) {
  float sum = 0;
  for (const WeightSpec& w : branch.weights) sum += term_of(tables, judge, w, user, candidate);
  if (std::isnan(sum)) return -std::numeric_limits<float>::infinity();
  return std::min(sum, std::numeric_limits<float>::max());
}

std::vector<std::uint32_t> items_by_value(const JudgeTables& tables, const std::string& table,
                                          std::uint32_t user) {
  const UserPairs pairs = pairs_of(tables, table, user);
  std::vector<std::pair<float, std::uint32_t>> order;
  for (std::size_t i = 0; i < pairs.items.size(); ++i)
    order.emplace_back(-pairs.values[i], pairs.items[i]);
  std::sort(order.begin(), order.end());
  std::vector<std::uint32_t> items;
  for (const auto& [value, item] : order) items.push_back(item);
  return items;
}

std::uint64_t draw_weight_of(std::uint32_t count, std::uint32_t most, std::uint32_t num_items,
                             double beta) {
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  constexpr double kLog2e = 0x1.71547652b82fep+0;
  const double t = beta * (long_log(double{1} + count) - long_log(double{1} + most));
  const double j = std::floor(std::fma(t, kLog2e, 0.5));
  const double r = std::fma(-j, kLn2, t);
  double p = 1;
  for (int i = 14; i >= 1; --i) p = std::fma(p, r / i, 1.0);
  constexpr int kBits = 62;
  const int shift = kBits - static_cast<int>(std::bit_width(std::max(num_items, 1u) - 1));
  constexpr double kLeast = -2000;  // far below what is not 1
  const double weight = std::ldexp(p, shift + static_cast<int>(std::max(j, kLeast)));
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(weight));
}

}  // namespace quarry

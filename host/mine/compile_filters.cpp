// Filters and weights of a branch as the kernels read them.
#include "host/mine/compile_filters.h"

#include <algorithm>
#include <limits>

#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"

namespace quarry {
namespace {

/// A window in ranks; one in quantiles is of the snapshot's items.
void set_rank_window(const RankWindow& window, std::uint32_t num_items, const std::string& who,
                     Filter& f) {
  const auto rank = [&](std::uint64_t millionths) {
    return static_cast<std::uint32_t>(millionths * num_items / 1'000'000u);
  };
  f.kind = window.survivors ? FilterKind::kSurvivorRank : FilterKind::kRawRank;
  if (window.quantile) {
    f.lo = rank(window.lo) + 1;
    f.hi = rank(window.hi);
  } else {
    f.lo = static_cast<std::uint32_t>(window.lo);
    f.hi = static_cast<std::uint32_t>(std::min<std::uint64_t>(window.hi, kNoItem));
  }
  if (f.hi < f.lo) {
    throw ConfigError(who + " leaves no rank in a catalogue of " + std::to_string(num_items) +
                      " items; widen the quantile or give ranks");
  }
}

}  // namespace

std::int64_t oldest_event(const std::optional<std::int64_t>& max_age, std::int64_t as_of) {
  return max_age ? as_of - *max_age : std::numeric_limits<std::int64_t>::min();
}

Filter compile_filter(const FilterSpec& spec, const std::string& branch, const Compiled& compiled,
                      LookupTables& tables) {
  using Type = FilterType;
  const std::string who = "filter '" + spec.kind_text + "' of branch '" + branch + "'";
  Filter f;
  f.against = spec.against;
  switch (spec.type) {
    case Type::kPositives:
      f.kind = FilterKind::kPositives;
      f.table = tables.positives();
      break;
    case Type::kExposed:
      f.kind = FilterKind::kUserList;
      f.table = tables.exposed(spec.classes, oldest_event(spec.max_age, compiled.world.as_of));
      break;
    case Type::kGroup:
      f.kind = FilterKind::kUserGroup;
      f.column = tables.column(spec.column, who);
      f.table = tables.group(spec.column, f.column);
      break;
    case Type::kNearDuplicate:
    case Type::kSimilarity:
      f.kind = FilterKind::kSimilarity;
      f.table = tables.feature_table(spec.table, who);
      f.a = static_cast<float>(spec.bound);
      break;
    case Type::kOverlap:
      f.kind = FilterKind::kOverlap;
      f.count = spec.min_equal;
      for (const std::string& name : spec.columns)
        f.column_mask |= std::uint64_t{1} << tables.column(name, who);
      break;
    case Type::kTime:
      f.kind = FilterKind::kTime;
      break;
    case Type::kUniversal:
      f.kind = FilterKind::kBitmapDeny;
      f.table = tables.universal(spec.bound);
      break;
    case Type::kAllowList:
      f.kind = FilterKind::kBitmapAllow;
      f.table = tables.allow_list(spec.table, who);
      break;
    case Type::kSegment:
      f.kind = FilterKind::kSegment;
      f.column = tables.segment_column(spec.column, who);
      break;
    case Type::kScore:
      f.kind = FilterKind::kScoreWindow;
      f.a = static_cast<float>(spec.lo);
      f.b = static_cast<float>(spec.hi);
      break;
    case Type::kAbsoluteMargin:
      f.kind = FilterKind::kAbsoluteMargin;
      f.a = static_cast<float>(spec.bound);
      break;
    case Type::kRelativeMargin:
      f.kind = FilterKind::kRelativeMargin;
      f.a = static_cast<float>(1.0 - spec.bound);
      break;
    case Type::kRank:
      set_rank_window(spec.window, compiled.snapshot.num_items, who, f);
      break;
    case Type::kColumn:
      f.kind = spec.relative ? FilterKind::kPairRelative : FilterKind::kPairAbsolute;
      f.table = tables.pair_table(spec.table, who);
      f.a = static_cast<float>(spec.relative ? 1.0 - spec.bound : spec.bound);
      f.reject_missing = spec.reject_missing ? 1 : 0;
      break;
  }
  return f;
}

Weight compile_weight(const WeightSpec& spec, const std::string& branch, const Compiled& compiled,
                      LookupTables& tables) {
  Weight w;
  const std::string who = "a weight of branch '" + branch + "'";
  const bool divides = spec.kind == WeightKind::kSoftmax || spec.kind == WeightKind::kRankGeometric;
  if (divides && !(static_cast<float>(spec.a) > 0.0f)) {
    throw ConfigError(who + " divides by " + std::to_string(spec.a) +
                      ", which is 0 in single precision; use at least 1e-38");
  }
  if (spec.kind == WeightKind::kRankBeta && spec.a > compiled.snapshot.num_items) {
    throw ConfigError(who + " is a rank_beta with j above the snapshot's " +
                      std::to_string(compiled.snapshot.num_items) +
                      " items; give a rank that exists");
  }
  w.kind = spec.kind;
  w.centre = spec.centre;
  w.against = spec.against;
  w.a = static_cast<float>(spec.a);
  w.b = static_cast<float>(spec.b);
  w.ahns_a = static_cast<float>(spec.ahns_a);
  w.ahns_b = static_cast<float>(spec.ahns_b);
  w.ahns_p = static_cast<float>(spec.ahns_p);
  if (spec.kind == WeightKind::kPairColumn) {
    w.table = tables.pair_table(spec.table, who);
  }
  for (std::uint32_t c = 0; c < kNumExposureClasses; ++c) {
    w.class_weight[c] = exact_log(static_cast<float>(spec.class_weight[c]));
  }
  return w;
}

}  // namespace quarry

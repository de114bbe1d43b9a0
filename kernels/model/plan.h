// Plan: a recipe compiled for the kernels: flat arrays of filters, weights, branches, caps. Plain
// data in any space. Meanings are those of docs/row_contract.md.
#pragma once

#include <cstdint>

#include "kernels/core/philox.h"

namespace quarry {

/// What the rule table makes of a user's events on an item. Persisted: never renumber.
enum class ExposureClass : std::uint8_t {
  kNonConsumption = 0,
  kPositive = 1,
  kAversion = 2,
  kDisinterest = 3,
  kAmbiguous = 4,
};
inline constexpr std::uint32_t kNumExposureClasses = 5;

/// Aggregate of the exact scores of a row's positives. `each` of the recipe is kMin.
enum class PositiveScore : std::uint8_t { kMin = 0, kMax = 1, kMean = 2, kRandom = 3 };
inline constexpr std::uint32_t kNumPositiveScores = 4;

enum class FilterKind : std::uint8_t {
  kUserList,     ///< item in world.lists[table]
  kPositives,    ///< item in world.lists[table], or one of the row's own positives
  kUserGroup,    ///< code in columns[column] in world.lists[table], or that of a row's positive
  kSimilarity,   ///< similarity on world.features[table] to some positive >= a
  kOverlap,      ///< at least `count` of `num_columns` columns (bits of column_mask) equal to some
                 ///< positive
  kTime,         ///< first seen after the row's time, or retired by it
  kBitmapDeny,   ///< marked in world.bitmaps[table]
  kBitmapAllow,  ///< not marked in world.bitmaps[table]
  kSegment,      ///< code in columns[column] differs from the row's segment
  kScoreWindow,  ///< score outside [a, b]
  kAbsoluteMargin,  ///< score not below positive - a
  kRelativeMargin,  ///< score not below fma(-a, |positive|, positive); a = 1 - ratio
  kRawRank,         ///< raw rank outside [lo, hi]
  kSurvivorRank,    ///< survivor rank outside [lo, hi]
  kPairAbsolute,    ///< world.pairs[table] value above a
  kPairRelative,    ///< world.pairs[table] value above fmaf(-a, |v|, v), v the least value of a
                    ///< positive; a = 1 - ratio
};

struct Filter {
  FilterKind kind = FilterKind::kUserList;
  PositiveScore against = PositiveScore::kMin;
  std::uint8_t reject_missing = 0;  ///< kPair*: a pair without a value is rejected
  std::uint8_t table = 0;
  std::uint32_t column = 0;
  std::uint32_t count = 0;
  std::uint64_t column_mask = 0;
  float a = 0.0f;
  float b = 0.0f;
  std::uint32_t lo = 1;
  std::uint32_t hi = 0xFFFFFFFFu;
};

/// Filters that let everything through in a row without positives.
QUARRY_HD bool needs_positive(FilterKind kind) {
  return kind == FilterKind::kSimilarity || kind == FilterKind::kOverlap ||
         kind == FilterKind::kAbsoluteMargin || kind == FilterKind::kRelativeMargin ||
         kind == FilterKind::kPairRelative;
}

/// Reason codes: 0 = survives, i + 1 = rejected by filter i of the branch's list (safety first),
/// kUnscored = its score is not finite, so no filter was asked.
inline constexpr std::uint32_t kMaxFilters = 32;
inline constexpr std::uint32_t kUnscored = 0xFF;

enum class WeightKind : std::uint8_t {
  kSoftmax,        ///< s / a
  kSimans,         ///< -(a * t * t), t = (s - centre) - b
  kDistance,       ///< -(a * |s - centre|)
  kPopularity,     ///< a * log(count + b)
  kRankGeometric,  ///< -r / a
  kRankBeta,       ///< Beta(a, N - a + 1) log-density at (r - 0.5) / N, without its constant
  kPairColumn,     ///< a * value in world.pairs[table]
  kClass,          ///< class_weight[exposure class]
};
enum class CentreKind : std::uint8_t { kPositive, kAhns };

struct Weight {
  WeightKind kind = WeightKind::kSoftmax;
  CentreKind centre = CentreKind::kPositive;
  PositiveScore against = PositiveScore::kMin;
  std::uint8_t table = 0;
  float a = 1.0f;
  float b = 0.0f;
  float ahns_a = 0.0f;
  float ahns_b = 1.0f;
  float ahns_p = -2.0f;
  float class_weight[kNumExposureClasses] = {};
};

enum class SourceKind : std::uint8_t {
  kTopk,
  kUniform,
  kPopularity,
  kPool,
  kExposed,
  kRun,
  kNear,
  kBatch,  ///< positives of the rows mined together
  kQueue   ///< positives of rows mined before
};
enum class SelectKind : std::uint8_t {
  kTop,
  kTopByRank,
  kSample,
  kSampleReplacement,
  kTop1Sample,
  kFirstViolator
};

inline constexpr std::uint32_t kMaxBranches = 8;

struct Branch {
  SourceKind source = SourceKind::kTopk;
  SelectKind select = SelectKind::kTop;
  std::uint8_t first_weight = 0;
  std::uint8_t num_weights = 0;
  std::uint32_t first_filter = 0;  ///< this branch's list in Plan::filters: safety, then its own
  std::uint32_t num_filters = 0;
  std::uint32_t hash = 0;                ///< low 32 bits of XXH3-64 of its name
  std::uint32_t pool = 0xFFFFFFFFu;      ///< survivors in the pool
  std::uint32_t max_rank = 0xFFFFFFFFu;  ///< already the minimum with the upper ends of raw windows
  std::uint32_t draw = 0;                ///< kUniform, kPopularity, kPool: index into world.draws
  std::uint32_t draws = 0;               ///< kPool: distinct draws; kNear: neighbours
  std::uint32_t table = 0;               ///< kRun: world.pairs; kNear: unused
  std::uint32_t class_mask = 0;          ///< kExposed: bit per ExposureClass
  std::int64_t oldest = INT64_MIN;       ///< kExposed: events before this time are not candidates
  std::uint32_t capacity = 0;     ///< candidates a row can have here; kTopk: the depth searched
  float violation_margin = 0.0f;  ///< kFirstViolator
};

/// True for branches whose candidates the caller brings with the rows, the same for all of them.
QUARRY_HD bool is_shared(SourceKind source) {
  return source == SourceKind::kBatch || source == SourceKind::kQueue;
}

/// True for branches whose items are drawn while the row is filled, without a candidate list.
QUARRY_HD bool is_draw(const Branch& b) {
  return b.source == SourceKind::kUniform || b.source == SourceKind::kPopularity;
}
QUARRY_HD bool is_sampled(const Branch& b) {
  return is_draw(b) || b.select == SelectKind::kSample ||
         b.select == SelectKind::kSampleReplacement || b.select == SelectKind::kTop1Sample;
}

struct Cap {
  std::uint32_t column = 0;
  std::uint32_t per_row = 0;
};
inline constexpr std::uint32_t kMaxCaps = 8;

/// One level of redistribution: stratum s belongs to group s / width (product cells in
/// lexicographic order).
struct Level {
  std::uint32_t width = 1;
};
inline constexpr std::uint32_t kMaxLevels = 4;
inline constexpr std::uint32_t kMaxStrata = 4096;

struct Plan {
  PhiloxKey key;
  std::uint32_t k = 0;  ///< negatives per row, 1 .. 65,535
  std::uint32_t num_branches = 0;
  std::uint32_t num_filters = 0;
  std::uint32_t num_weights = 0;
  std::uint32_t num_caps = 0;
  std::uint32_t num_levels = 0;  ///< 0: no redistribution; level 0 is the innermost
  std::uint32_t num_backfill = 0;
  std::uint32_t has_quota = 0;
  std::uint32_t snapshot_items = 0;        ///< N of rank quantiles and of kRankBeta
  std::uint64_t share[kMaxBranches] = {};  ///< integer weights
  std::uint64_t share_sum = 1;
  std::uint64_t quota_sum = 1;
  Branch branches[kMaxBranches];
  std::uint8_t backfill[kMaxBranches] = {};
  Cap caps[kMaxCaps];
  Level levels[kMaxLevels];
  // Arrays in the memory space of the kernels.
  const Filter* filters = nullptr;              ///< [num_filters]
  const Weight* weights = nullptr;              ///< [num_weights]
  const std::uint64_t* quota_weight = nullptr;  ///< [num_strata]; null without a quota
};

/// Why a slot is empty. Persisted: never renumber.
enum class FillCode : std::uint8_t {
  kFilled = 0,
  kExhausted = 1,
  kMaxRank = 2,
  kCap = 3,
  kQuota = 4,
  kBadRow = 5
};
inline constexpr std::uint32_t kNumFillCodes = 6;

}  // namespace quarry

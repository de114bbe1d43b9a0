// Which filter rejects a candidate: the first in declared order (docs/row_contract.md section 2).
#pragma once

#include "kernels/core/group.h"
#include "kernels/core/prefetch.h"
#include "kernels/model/row_context.h"

namespace quarry {

/// One of the row's own positives. They may be given with the row alone, so no list made
/// beforehand has to hold them.
QUARRY_HD bool is_own_positive(const RowContext& row, std::uint32_t item) {
  for (std::uint32_t p = 0; p < row.num_positives; ++p) {
    if (row.positives[p] == item) return true;
  }
  return false;
}

/// `code` is that of one of the row's own positives.
QUARRY_HD bool is_own_code(const RowContext& row, const std::uint32_t* codes, std::uint32_t code) {
  for (std::uint32_t p = 0; p < row.num_positives; ++p) {
    if (codes[row.positives[p]] == code) return true;
  }
  return false;
}

/// Dimensions that tell most items apart: a cache line of each row instead of all of it.
inline constexpr std::uint32_t kFirstDims = 16;

/// What a squared distance over some dimensions of two unit rows must exceed so that their computed
/// cosine is below `bound`. x.y = (|x|^2 + |y|^2 - |x-y|^2) / 2; the norms of computed unit rows,
/// the cosine and the distance err by less than (dim + 64) 2^-24 each (Higham, Accuracy and
/// Stability of Numerical Algorithms, section 3.1).
QUARRY_HD float apart_from(float bound, std::uint32_t dim) {
  return 2.0f * (1.0f - bound) + static_cast<float>(dim + 64) * 0x1p-21f;
}

/// Largest similarity between an item and the row's positives is at least `bound`.
QUARRY_HD bool near_a_positive(const FeatureTable& table, const RowContext& row, std::uint32_t item,
                               float bound) {
  const float* x = table.rows + std::uint64_t{item} * table.dim;
  const float apart = apart_from(bound, table.dim);
  for (std::uint32_t p = 0; p < row.num_positives; ++p) {
    const float* y = table.rows + std::uint64_t{row.positives[p]} * table.dim;
    if (table.dim > 2 * kFirstDims && exact_score(Metric::kL2, x, y, kFirstDims) < -apart) continue;
    if (exact_dot(x, y, table.dim) >= bound) return true;
  }
  return false;
}

QUARRY_HD bool overlaps_a_positive(const World& world, const Filter& f, const RowContext& row,
                                   std::uint32_t item) {
  for (std::uint32_t p = 0; p < row.num_positives; ++p) {
    std::uint32_t equal = 0;
    for (std::uint32_t c = 0; c < world.num_columns; ++c) {
      if ((f.column_mask >> c & 1u) == 0) continue;
      const std::uint32_t* codes = world.columns + std::uint64_t{c} * world.num_items;
      if (codes[item] != 0 && codes[item] == codes[row.positives[p]]) ++equal;
    }
    if (equal >= f.count) return true;
  }
  return false;
}

/// What keeps its distance from `value`, whatever its sign: cut = 1 - ratio.
QUARRY_HD float relative_bound(float cut, float value) { return fmaf(-cut, fabsf(value), value); }

/// The smallest value among the row's positives that have one; false if none has.
QUARRY_HD bool least_positive_value(const PairTable& table, const RowContext& row, float* value) {
  float least = 0.0f;
  bool found = false;
  for (std::uint32_t p = 0; p < row.num_positives; ++p) {
    float v;
    if (!look_up(table, row.user, row.positives[p], &v)) continue;
    if (!found || v < least) least = v;
    found = true;
  }
  *value = least;
  return found;
}

/// True if filter `f` rejects the candidate. A survivor window is judged by select, never here.
QUARRY_HD bool rejects(const World& world, const Filter& f, const RowContext& row,
                       std::uint32_t item, float score, std::uint32_t raw_rank) {
  const float positive =
      row.num_positives > 0 ? row.positive_scores[static_cast<std::uint32_t>(f.against)] : 0.0f;
  switch (f.kind) {
    case FilterKind::kUserList:
      return contains(world.lists[f.table], row.user, item);
    case FilterKind::kPositives:
      return contains(world.lists[f.table], row.user, item) || is_own_positive(row, item);
    case FilterKind::kUserGroup: {
      const std::uint32_t* codes = world.columns + std::uint64_t{f.column} * world.num_items;
      const std::uint32_t code = codes[item];
      return code != 0 &&
             (contains(world.lists[f.table], row.user, code) || is_own_code(row, codes, code));
    }
    case FilterKind::kSimilarity:
      return near_a_positive(world.features[f.table], row, item, f.a);
    case FilterKind::kOverlap:
      return overlaps_a_positive(world, f, row, item);
    case FilterKind::kTime:
      return (world.first_seen != nullptr && world.first_seen[item] > row.time) ||
             (world.retired != nullptr && world.retired[item] != INT64_MAX &&
              world.retired[item] <= row.time);
    case FilterKind::kBitmapDeny:
      return is_marked(world.bitmaps[f.table], item);
    case FilterKind::kBitmapAllow:
      return !is_marked(world.bitmaps[f.table], item);
    case FilterKind::kSegment: {
      const std::uint32_t code = world.columns[std::uint64_t{f.column} * world.num_items + item];
      return code == 0 || code != row.segment;
    }
    case FilterKind::kScoreWindow:
      return !(score >= f.a && score <= f.b);
    case FilterKind::kAbsoluteMargin:
      return row.num_positives > 0 && !(score < positive - f.a);
    case FilterKind::kRelativeMargin:
      return row.num_positives > 0 && !(score < relative_bound(f.a, positive));
    case FilterKind::kRawRank:
      return raw_rank < f.lo || raw_rank > f.hi;
    case FilterKind::kSurvivorRank:
      return false;
    case FilterKind::kPairAbsolute:
    case FilterKind::kPairRelative: {
      const PairTable& table = world.pairs[f.table];
      float bound = f.a;
      if (f.kind == FilterKind::kPairRelative) {
        float least = 0.0f;
        if (!least_positive_value(table, row, &least)) return false;
        bound = relative_bound(f.a, least);
      }
      float value;
      if (!look_up(table, row.user, item, &value)) return f.reject_missing != 0;
      return value > bound;
    }
  }
  return false;
}

/// Kinds of filters by bit, for callers that judge in the order of cost and need no reason.
QUARRY_HD constexpr std::uint32_t kind_bit(FilterKind kind) {
  return std::uint32_t{1} << static_cast<std::uint32_t>(kind);
}
inline constexpr std::uint32_t kMarginKinds =
    kind_bit(FilterKind::kAbsoluteMargin) | kind_bit(FilterKind::kRelativeMargin);
inline constexpr std::uint32_t kScoreKinds = kind_bit(FilterKind::kScoreWindow) | kMarginKinds;
inline constexpr std::uint32_t kListKinds =
    kind_bit(FilterKind::kUserList) | kind_bit(FilterKind::kPositives);
inline constexpr std::uint32_t kQuickKinds =
    kind_bit(FilterKind::kTime) | kind_bit(FilterKind::kBitmapDeny) |
    kind_bit(FilterKind::kBitmapAllow) | kind_bit(FilterKind::kSegment);

/// What scores above this is rejected by the filter; infinite where it has no upper end.
QUARRY_HD float ceiling_of(const Filter& f, const RowContext& row) {
  if (f.kind == FilterKind::kScoreWindow) return f.b;
  if (row.num_positives > 0) {
    const float positive = row.positive_scores[static_cast<std::uint32_t>(f.against)];
    if (f.kind == FilterKind::kAbsoluteMargin) return positive - f.a;
    if (f.kind == FilterKind::kRelativeMargin) return relative_bound(f.a, positive);
  }
  return float_of_bits(0x7F800000u);
}

/// Can have an upper end.
QUARRY_HD bool is_ceiling(const Filter& f) {
  return f.kind == FilterKind::kAbsoluteMargin || f.kind == FilterKind::kRelativeMargin ||
         (f.kind == FilterKind::kScoreWindow && f.b < float_of_bits(0x7F800000u));
}

/// Place of the branch's first ceiling among its filters; their number if there is none.
QUARRY_HD std::uint32_t first_ceiling(const Plan& plan, const Branch& branch) {
  std::uint32_t i = 0;
  while (i < branch.num_filters && !is_ceiling(plan.filters[branch.first_filter + i])) ++i;
  return i;
}

/// A filter of the branch of one of these kinds rejects an item without a rank. The score is read
/// by kScoreKinds only.
QUARRY_HD bool any_rejects(const World& world, const Plan& plan, const Branch& branch,
                           const RowContext& row, std::uint32_t item, float score,
                           std::uint32_t kinds) {
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    const Filter& f = plan.filters[branch.first_filter + i];
    if ((kinds & kind_bit(f.kind)) != 0 && rejects(world, f, row, item, score, 0)) return true;
  }
  return false;
}

/// 0 if every filter of the branch lets the candidate through, else 1 + the place of the first that
/// rejects it, or kUnscored.
QUARRY_HD std::uint32_t first_rejection(const World& world, const Plan& plan, const Branch& branch,
                                        const RowContext& row, std::uint32_t item, float score,
                                        std::uint32_t raw_rank) {
  if (!is_finite(score)) return kUnscored;
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    if (rejects(world, plan.filters[branch.first_filter + i], row, item, score, raw_rank))
      return i + 1;
  }
  return 0;
}

/// The table of the branch's first filter that compares an item with positives; null: none does.
QUARRY_HD const FeatureTable* compared_features(const World& world, const Plan& plan,
                                                const Branch& branch) {
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    const Filter& f = plan.filters[branch.first_filter + i];
    if (f.kind == FilterKind::kSimilarity) return &world.features[f.table];
  }
  return nullptr;
}

/// A branch's filters for one row, one by one.
struct PlainFilters {
  const World& world;
  const Plan& plan;
  const Branch& branch;
  const RowContext& row;

  QUARRY_HD std::uint32_t first_rejection_of(std::uint32_t item, float score,
                                             std::uint32_t raw_rank) const {
    return first_rejection(world, plan, branch, row, item, score, raw_rank);
  }
};

/// Reasons of the candidates of one row. items, scores, raw_rank (may be null), reasons: [count].
/// filters.first_rejection_of() is first_rejection for the row; `compared`: what compared_features
/// says of the branch.
template <class Group, class Filters>
QUARRY_HD void exclude_row_by(Group& g, const Filters& filters, const FeatureTable* compared,
                              const std::uint32_t* items, const float* scores,
                              const std::uint32_t* raw_rank, std::uint32_t count,
                              std::uint8_t* reasons) {
  constexpr std::uint32_t kAhead = 12;
  for (std::uint32_t j = g.rank(); j < count; j += g.size()) {
    const std::uint64_t ahead = j + std::uint64_t{kAhead} * g.size();
    if (compared != nullptr && ahead < count)
      prefetch_row(compared->rows + std::uint64_t{items[ahead]} * compared->dim, kFirstDims);
    reasons[j] = static_cast<std::uint8_t>(
        filters.first_rejection_of(items[j], scores[j], raw_rank != nullptr ? raw_rank[j] : j + 1));
  }
  g.sync();
}

/// The same by PlainFilters.
template <class Group>
QUARRY_HD void exclude_row(Group& g, const World& world, const Plan& plan, const Branch& branch,
                           const RowContext& row, const std::uint32_t* items, const float* scores,
                           const std::uint32_t* raw_rank, std::uint32_t count,
                           std::uint8_t* reasons) {
  exclude_row_by(g, PlainFilters{world, plan, branch, row}, compared_features(world, plan, branch),
                 items, scores, raw_rank, count, reasons);
}

}  // namespace quarry

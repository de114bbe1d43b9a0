// Filters judged again.
#include "host/audit/row_judge.h"

#include <algorithm>
#include <cmath>

#include "host/data/embeddings.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/exec.h"
#include "kernels/core/ids.h"
#include "kernels/core/philox.h"

namespace quarry {

FloatRows::FloatRows(const Exec& exec, const MatrixView& table, bool unit) : dim_(table.dim) {
  if (!unit && table.dtype == Dtype::kF32) {
    rows_ = static_cast<const float*>(table.data);
    return;
  }
  held_.resize(table.rows * table.dim);
  parallel_for(exec, table.rows, 1024, [&](std::uint64_t begin, std::uint64_t end) {
    prepare_rows(table, begin, end, unit, held_.data() + begin * table.dim);
  });
  rows_ = held_.data();
}

JudgeTables::JudgeTables(const Exec& exec, const Recipe& recipe_, const MinerInputs& tables,
                         std::uint32_t seed_, std::uint32_t round_)
    : recipe(recipe_),
      in(tables),
      seed(seed_),
      round(round_),
      num_items(static_cast<std::uint32_t>(tables.items.rows)),
      snapshot_items(num_items),
      items(exec, tables.items, recipe_.metric == Metric::kCosine) {
  if (in.snapshot != nullptr) {
    snapshot_as_of = in.snapshot->as_of;
    snapshot_items = std::min(in.snapshot->num_items, num_items);
  } else if (in.exposure != nullptr) {
    snapshot_as_of = in.exposure->as_of;
  }
  as_of = in.exposure != nullptr ? in.exposure->as_of : snapshot_as_of;
  popularity.assign(num_items, 0);
  std::uint64_t positive_users = 0;
  for (std::size_t u = 0; in.exposure != nullptr && u + 1 < in.exposure->offsets.size(); ++u) {
    bool any = false;
    for (std::uint64_t i = in.exposure->offsets[u]; i < in.exposure->offsets[u + 1]; ++i) {
      if (in.exposure->classes[i] != static_cast<std::uint8_t>(ExposureClass::kPositive)) continue;
      ++popularity[in.exposure->items[i]];
      any = true;
    }
    positive_users += any ? 1 : 0;
  }
  frozen_popularity = in.snapshot != nullptr ? in.snapshot->popularity : popularity;
  frozen_popularity.resize(num_items, 0);
  frozen_positive_users = in.snapshot != nullptr && in.snapshot->positive_users
                              ? *in.snapshot->positive_users
                              : positive_users;
  const auto prepare = [&](const FilterSpec& f) {
    if ((f.type == FilterType::kNearDuplicate || f.type == FilterType::kSimilarity) &&
        unit.count(f.table) == 0) {
      const auto named = in.features.find(f.table);
      unit.emplace(f.table,
                   FloatRows(exec, named != in.features.end() ? named->second : in.items, true));
    }
    const auto list = in.item_lists.find(f.table);
    if (f.type == FilterType::kAllowList && list != in.item_lists.end()) {
      std::vector<bool>& marks = allowed[f.table];
      marks.assign(num_items, false);
      for (const std::uint32_t item : list->second) marks[item] = true;
    }
  };
  for (const FilterSpec& f : recipe.safety) prepare(f);
  for (const BranchSpec& b : recipe.branches) {
    for (const FilterSpec& f : b.filters) prepare(f);
  }
}

float JudgeTables::similarity(const FloatRows& rows, std::uint32_t a, std::uint32_t b) const {
  return exact_dot(rows.row(a), rows.row(b), rows.dim());
}

const CatalogueColumn* JudgeTables::column(const std::string& name) const {
  return in.catalogue != nullptr ? in.catalogue->find(name) : nullptr;
}

RowJudge::RowJudge(const JudgeTables& tables) : t_(tables) {}

void RowJudge::begin(std::uint32_t user, std::int64_t time, std::uint64_t row_key,
                     std::span<const std::uint32_t> positives,
                     std::span<const std::uint32_t> overlooked) {
  user_ = user;
  time_ = time == INT64_MAX ? t_.as_of : time;
  row_key_ = row_key;
  positives_ = positives;
  overlooked_ = overlooked;
  known_ = user < t_.in.users.rows;
  const auto outside = [&](std::uint32_t item) { return item >= t_.num_items; };
  if (std::any_of(positives.begin(), positives.end(), outside)) {
    inside_.assign(positives.begin(), positives.end());
    std::erase_if(inside_, outside);
    positives_ = inside_;
  }
  has_query_ = has_positive_scores_ = false;
  codes_made_.clear();
}

bool RowJudge::is_overlooked(std::uint32_t item) const {
  return !overlooked_.empty() && std::binary_search(overlooked_.begin(), overlooked_.end(), item);
}

RowJudge::Pair RowJudge::pair_of(std::uint32_t item) const {
  const Exposure* e = t_.in.exposure;
  if (e == nullptr || !known_ || std::uint64_t{user_} + 1 >= e->offsets.size()) return {};
  const auto begin = e->items.begin() + static_cast<std::ptrdiff_t>(e->offsets[user_]);
  const auto end = e->items.begin() + static_cast<std::ptrdiff_t>(e->offsets[user_ + 1]);
  const auto found = std::lower_bound(begin, end, item);
  if (found == end || *found != item || is_overlooked(item)) return {};
  const auto at = static_cast<std::size_t>(found - e->items.begin());
  return {static_cast<ExposureClass>(e->classes[at]), e->last_time[at]};
}

ExposureClass RowJudge::exposure_class(std::uint32_t item) const {
  return pair_of(item).exposure_class;
}

bool RowJudge::is_row_positive(std::uint32_t item) const {
  return std::find(positives_.begin(), positives_.end(), item) != positives_.end();
}

bool RowJudge::is_positive(std::uint32_t item) const {
  return is_row_positive(item) || is_user_positive(item);
}

std::vector<std::uint32_t> RowJudge::known_items() const {
  std::vector<std::uint32_t> items;
  const auto add = [&](const std::vector<std::uint64_t>& offsets,
                       const std::vector<std::uint32_t>& of_all) {
    if (!known_ || std::uint64_t{user_} + 1 >= offsets.size()) return;
    items.insert(items.end(), of_all.begin() + static_cast<std::ptrdiff_t>(offsets[user_]),
                 of_all.begin() + static_cast<std::ptrdiff_t>(offsets[user_ + 1]));
  };
  if (t_.in.exposure != nullptr) add(t_.in.exposure->offsets, t_.in.exposure->items);
  if (t_.in.row_positives != nullptr)
    add(t_.in.row_positives->offsets, t_.in.row_positives->values);
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
  return items;
}

bool RowJudge::is_user_positive(std::uint32_t item) const {
  if (is_overlooked(item)) return false;
  if (pair_of(item).exposure_class == ExposureClass::kPositive) return true;
  const Lists* more = t_.in.row_positives;
  if (more == nullptr || !known_ || std::uint64_t{user_} + 1 >= more->offsets.size()) return false;
  return std::binary_search(
      more->values.begin() + static_cast<std::ptrdiff_t>(more->offsets[user_]),
      more->values.begin() + static_cast<std::ptrdiff_t>(more->offsets[user_ + 1]), item);
}

/// Whether a positive of the user or the row has the code.
bool RowJudge::has_positive_code(const CatalogueColumn& column, std::uint32_t code) {
  std::vector<std::uint32_t>& codes = codes_[&column];
  if (std::find(codes_made_.begin(), codes_made_.end(), &column) == codes_made_.end()) {
    codes_made_.push_back(&column);
    codes.clear();
    for (const std::uint32_t item : positives_) codes.push_back(column.codes[item]);
    const Exposure* e = t_.in.exposure;
    if (e != nullptr && known_ && std::uint64_t{user_} + 1 < e->offsets.size()) {
      for (std::uint64_t i = e->offsets[user_]; i < e->offsets[user_ + 1]; ++i) {
        if (e->classes[i] == static_cast<std::uint8_t>(ExposureClass::kPositive) &&
            !is_overlooked(e->items[i]))
          codes.push_back(column.codes[e->items[i]]);
      }
    }
    const Lists* more = t_.in.row_positives;
    if (more != nullptr && known_ && std::uint64_t{user_} + 1 < more->offsets.size()) {
      for (std::uint64_t i = more->offsets[user_]; i < more->offsets[user_ + 1]; ++i) {
        if (!is_overlooked(more->values[i])) codes.push_back(column.codes[more->values[i]]);
      }
    }
    std::sort(codes.begin(), codes.end());
  }
  return std::binary_search(codes.begin(), codes.end(), code);
}

const float* RowJudge::query() {
  if (!has_query_) {
    query_.resize(t_.in.users.dim);
    prepare_rows(t_.in.users, user_, std::uint64_t{user_} + 1, t_.recipe.metric == Metric::kCosine,
                 query_.data());
    has_query_ = true;
  }
  return query_.data();
}

float RowJudge::score(std::uint32_t item) {
  return exact_score(t_.recipe.metric, query(), t_.items.row(item), t_.items.dim());
}

float RowJudge::positive_score(PositiveScore against) {
  if (positives_.empty() || !known_) return std::nanf("");
  if (!has_positive_scores_) {
    has_positive_scores_ = true;
    const auto n = static_cast<std::uint64_t>(positives_.size());
    const std::uint64_t chosen = mulhi(
        as_u64(random_words({t_.seed, t_.round}, row_key_, 0, 0, Purpose::kRandomPositive)), n);
    float least = 0, most = 0, sum = 0;
    for (std::uint64_t p = 0; p < n; ++p) {
      const float s = score(positives_[p]);
      if (p == 0 || s < least) least = s;
      if (p == 0 || s > most) most = s;
      sum = p == 0 ? s : sum + s;
      if (p == chosen) positive_scores_[static_cast<int>(PositiveScore::kRandom)] = s;
    }
    positive_scores_[static_cast<int>(PositiveScore::kMin)] = least;
    positive_scores_[static_cast<int>(PositiveScore::kMax)] = most;
    positive_scores_[static_cast<int>(PositiveScore::kMean)] =
        canonical_score(sum / static_cast<float>(n));
  }
  return positive_scores_[static_cast<int>(against)];
}

float RowJudge::largest_similarity(const FloatRows& rows, std::uint32_t item) const {
  float largest = -2;
  for (const std::uint32_t positive : positives_)
    largest = std::max(largest, t_.similarity(rows, item, positive));
  return largest;
}

bool RowJudge::rejects_by_column(const FilterSpec& f, std::uint32_t item) const {
  const auto named = t_.in.pairs.find(f.table);
  if (named == t_.in.pairs.end() || named->second == nullptr || !known_) return false;
  const PairValues& pairs = *named->second;
  const auto value_of = [&](std::uint32_t of, float* value) {
    const auto begin = pairs.items.begin() + static_cast<std::ptrdiff_t>(pairs.offsets[user_]);
    const auto end = pairs.items.begin() + static_cast<std::ptrdiff_t>(pairs.offsets[user_ + 1]);
    const auto found = std::lower_bound(begin, end, of);
    if (found == end || *found != of) return false;
    *value = pairs.values[static_cast<std::size_t>(found - pairs.items.begin())];
    return true;
  };
  auto bound = static_cast<float>(f.bound);
  if (f.relative) {
    bool any = false;
    float least = 0;
    for (const std::uint32_t positive : positives_) {
      float value = 0;
      if (!value_of(positive, &value)) continue;
      least = any ? std::min(least, value) : value;
      any = true;
    }
    if (!any) return false;
    bound = std::fmaf(-static_cast<float>(1.0 - f.bound), std::fabs(least), least);
  }
  float value = 0;
  return value_of(item, &value) ? value > bound : f.reject_missing;
}

bool RowJudge::can_judge(const FilterSpec& f, const JudgedItem& c) {
  if (f.type == FilterType::kSegment) return false;
  if (f.type == FilterType::kRank) return (f.window.survivors ? c.survivor_rank : c.raw_rank) > 0;
  return true;
}

bool RowJudge::rejects(const FilterSpec& f, const JudgedItem& c) {
  switch (f.type) {
    case FilterType::kPositives:
      return is_positive(c.item);
    case FilterType::kExposed: {
      const Pair pair = pair_of(c.item);
      return (f.classes >> static_cast<unsigned>(pair.exposure_class) & 1u) != 0 &&
             pair.exposure_class != ExposureClass::kNonConsumption &&
             (!f.max_age || pair.last_time >= t_.as_of - *f.max_age);
    }
    case FilterType::kGroup: {
      const CatalogueColumn* column = t_.column(f.column);
      return column != nullptr && column->codes[c.item] != 0 &&
             has_positive_code(*column, column->codes[c.item]);
    }
    case FilterType::kNearDuplicate:
    case FilterType::kSimilarity:
      return largest_similarity(t_.unit_rows(f.table), c.item) >= static_cast<float>(f.bound);
    case FilterType::kOverlap:
      return std::any_of(positives_.begin(), positives_.end(), [&](std::uint32_t positive) {
        std::uint32_t equal = 0;
        for (const std::string& name : f.columns) {
          const CatalogueColumn* column = t_.column(name);
          equal += column != nullptr && column->codes[c.item] != 0 &&
                           column->codes[c.item] == column->codes[positive]
                       ? 1
                       : 0;
        }
        return equal >= f.min_equal;
      });
    case FilterType::kTime: {
      const Catalogue* catalogue = t_.in.catalogue;
      if (catalogue == nullptr) return false;
      return (!catalogue->first_seen.empty() && catalogue->first_seen[c.item] > time_) ||
             (!catalogue->retired.empty() && catalogue->retired[c.item] != INT64_MAX &&
              catalogue->retired[c.item] <= time_);
    }
    case FilterType::kUniversal:
      return t_.is_universal(c.item, f.bound);
    case FilterType::kAllowList: {
      const auto marks = t_.allowed.find(f.table);
      return marks != t_.allowed.end() && !marks->second[c.item];
    }
    case FilterType::kSegment:
      return false;  // can_judge says no
    case FilterType::kScore:
      return !(c.score >= static_cast<float>(f.lo) && c.score <= static_cast<float>(f.hi));
    case FilterType::kAbsoluteMargin:
      return !positives_.empty() && known_ &&
             !(c.score < positive_score(f.against) - static_cast<float>(f.bound));
    case FilterType::kRelativeMargin: {
      if (positives_.empty() || !known_) return false;
      const float s = positive_score(f.against);
      return !(c.score < std::fmaf(-static_cast<float>(1.0 - f.bound), std::fabs(s), s));
    }
    case FilterType::kRank: {
      const std::uint64_t rank = f.window.survivors ? c.survivor_rank : c.raw_rank;
      std::uint64_t lo = f.window.lo, hi = f.window.hi;
      if (f.window.quantile) {
        lo = lo * t_.snapshot_items / 1000000 + 1;
        hi = hi * t_.snapshot_items / 1000000;
      }
      return rank < lo || rank > hi;
    }
    case FilterType::kColumn:
      return rejects_by_column(f, c.item);
  }
  return false;
}

}  // namespace quarry

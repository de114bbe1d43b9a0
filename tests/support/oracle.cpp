// The oracle, section by section of docs/row_contract.md. Slow and plain on purpose: full rankings,
// linear searches. Longer than other files because it must stand on its own.
#include "tests/support/oracle.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "kernels/core/exact_math.h"
#include "kernels/core/ids.h"

namespace quarry::oracle {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i64 = std::int64_t;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::vector<float>> widen(const MatrixView& table) {
  std::vector<std::vector<float>> out(table.rows, std::vector<float>(table.dim));
  for (u64 i = 0; i < table.rows * table.dim; ++i) {
    float& x = out[i / table.dim][i % table.dim];
    if (table.dtype == Dtype::kF32) {
      x = static_cast<const float*>(table.data)[i];
      continue;
    }
    const std::uint16_t h = static_cast<const std::uint16_t*>(table.data)[i];
    if (table.dtype == Dtype::kBf16) {
      x = std::bit_cast<float>(u32{h} << 16);
    } else {
      const int e = h >> 10 & 31;
      const float m = e == 0 ? std::ldexp(static_cast<float>(h & 1023), -24)
                             : std::ldexp(static_cast<float>(1024 + (h & 1023)), e - 25);
      x = h & 0x8000 ? -m : m;
    }
  }
  return out;
}

const CatalogueColumn& column_of(const Catalogue& catalogue, const std::string& name) {
  return *std::find_if(catalogue.columns.begin(), catalogue.columns.end(),
                       [&](const auto& c) { return c.name == name; });
}

u32 branch_hash(const std::string& name) {
  return static_cast<u32>(XXH3_64bits(name.data(), name.size()));
}

bool draws_items(const BranchSpec& b) {
  return b.source.kind == SourceKind::kUniform || b.source.kind == SourceKind::kPopularity;
}
bool searches(const BranchSpec& b) { return b.source.kind == SourceKind::kTopk; }
bool is_survivor_window(const FilterSpec& f) {
  return f.type == FilterType::kRank && f.window.survivors;
}
bool needs_positive(const FilterSpec& f) {
  return f.type == FilterType::kNearDuplicate || f.type == FilterType::kSimilarity ||
         f.type == FilterType::kOverlap || f.type == FilterType::kAbsoluteMargin ||
         f.type == FilterType::kRelativeMargin || (f.type == FilterType::kColumn && f.relative);
}

}  // namespace

Oracle::Oracle(const Recipe& recipe, const MinerInputs& inputs, u32 seed, u32 round)
    : recipe_(recipe), in_(inputs), seed_(seed), round_(round) {
  num_items_ = static_cast<u32>(inputs.items.rows);
  num_users_ = static_cast<u32>(inputs.users.rows);
  dim_ = inputs.items.dim;
  items_ = widen(inputs.items);
  users_ = widen(inputs.users);
  for (const auto& row : items_) unit_[""].push_back(unit(row));
  for (const auto& [name, view] : inputs.features)
    for (const auto& row : widen(view)) unit_[name].push_back(unit(row));
  if (recipe.metric == Metric::kCosine) {
    items_ = unit_[""];
    for (auto& row : users_) row = unit(row);
  }
  const Exposure* exposure = inputs.exposure;
  universe_ = inputs.snapshot != nullptr ? inputs.snapshot->num_items : num_items_;
  snapshot_as_of_ = inputs.snapshot != nullptr ? inputs.snapshot->as_of
                    : exposure != nullptr      ? exposure->as_of
                                               : INT64_MAX;
  as_of_ = exposure != nullptr ? exposure->as_of : snapshot_as_of_;
  count_.assign(num_items_, 0);
  for (u32 i = 0; i < num_items_; ++i) {
    if (inputs.snapshot != nullptr) {
      if (i < universe_) count_[i] = inputs.snapshot->popularity[i];
    } else if (exposure != nullptr) {
      count_[i] = exposure->item_count[i];
    }
  }
  own_positives_.resize(num_users_);
  for (u32 u = 0; exposure != nullptr && u < num_users_; ++u) {
    for (u64 e = exposure->offsets[u]; e < exposure->offsets[u + 1]; ++e)
      if (exposure->classes[e] == static_cast<int>(ExposureClass::kPositive))
        own_positives_[u].push_back(exposure->items[e]);
    users_with_positive_ += !own_positives_[u].empty();
  }
  if (inputs.snapshot != nullptr && inputs.snapshot->positive_users)
    users_with_positive_ = *inputs.snapshot->positive_users;
  for (u64 r = 0; inputs.rows != nullptr && r < inputs.rows->size(); ++r)
    for (u64 p = inputs.rows->positive_offsets[r]; p < inputs.rows->positive_offsets[r + 1]; ++p)
      own_positives_[inputs.rows->user[r]].push_back(inputs.rows->positives[p]);

  stratum_.assign(num_items_, 0);
  quota_ = {1};
  if (!recipe.quota) return;
  for (const QuotaAttribute& by : recipe.quota->by) {
    const StratumAttribute& a =
        *std::find_if(recipe.strata.begin(), recipe.strata.end(),
                      [&](const auto& s) { return s.name == by.attribute; });
    std::vector<u32> cell(num_items_, 0);
    std::vector<std::string> names = a.names;
    u32 cells = 0;
    if (a.kind == StratumAttribute::Kind::kPopularity) {
      cells = a.bins;
      for (u32 i = 0; i < universe_; ++i) {
        u64 place = 0;
        for (u32 j = 0; j < universe_; ++j)
          place += std::pair(count_[j], j) < std::pair(count_[i], i);
        cell[i] = static_cast<u32>(place * a.bins / universe_);
      }
    } else if (a.kind == StratumAttribute::Kind::kRecency) {
      cells = static_cast<u32>(a.edges.size()) + 1;
      for (u32 i = 0; i < num_items_; ++i) {
        const auto& seen = inputs.catalogue->first_seen;
        const bool known = !seen.empty() && seen[i] != INT64_MIN;
        for (const i64 edge : a.edges) cell[i] += !known || snapshot_as_of_ - seen[i] >= edge;
      }
    } else {
      const CatalogueColumn& column = column_of(*inputs.catalogue, a.column);
      cell = column.codes;
      names = column.names;
      cells = static_cast<u32>(names.size());
    }
    std::vector<u64> share(cells, 0);
    for (u32 c = 0; c < cells; ++c) {
      if (by.mode == QuotaAttribute::Shares::kEqual)
        share[c] = std::count(cell.begin(), cell.begin() + universe_, c) > 0;
      for (const auto& [name, millionths] : by.shares)
        if (by.mode == QuotaAttribute::Shares::kNamed && name == names[c]) share[c] = millionths;
    }
    if (by.mode == QuotaAttribute::Shares::kCatalogue)
      for (u32 i = 0; i < universe_; ++i) ++share[cell[i]];
    std::vector<u64> product;
    for (const u64 outer : quota_)
      for (const u64 inner : share) product.push_back(outer * inner);
    quota_ = product;
    for (u32 i = 0; i < num_items_; ++i) stratum_[i] = stratum_[i] * cells + cell[i];
    for (u32& width : level_width_) width *= cells;
    level_width_.insert(level_width_.begin(), cells);
  }
}

/// One row at work.
struct RowJudge {
  struct Candidate {
    u32 item;
    float score;
    u32 raw;
    u32 survivor = 0;
    bool survives = false;
    bool pool = false;
    float phi = 0.0f;
    float noisy = kNan;  // phi + gumbel
    u64 sampling_key = 0;
  };
  struct BranchWork {
    std::vector<Candidate> list;     // candidates up to the limit
    std::vector<std::size_t> order;  // of selection: places in list
    u32 limit = 0;
    float log_total = 0.0f;
    std::vector<std::vector<u32>> space;  // per stratum
    std::size_t next = 0;                 // with replacement: where the branch stopped
    u32 draws = 0;
    bool enumerated = false;
  };

  Oracle& o;
  const Recipe& recipe;
  const SharedPool* pools;
  u64 key;
  u32 user, segment;
  i64 time;
  std::vector<float> query;
  std::vector<u32> positives;
  float aggregate[kNumPositiveScores] = {kNan, kNan, kNan, kNan};
  std::vector<BranchWork> work;
  std::vector<u64> left;
  std::vector<Pick> picks;

  RowJudge(Oracle& oracle, const RowsView& rows, u64 row)
      : o(oracle), recipe(oracle.recipe_), pools(rows.pools) {
    key = rows.key[row];
    user = rows.user[row];
    segment = rows.segment != nullptr ? rows.segment[row] : 0;
    time = rows.time != nullptr ? rows.time[row] : INT64_MAX;
    if (time == INT64_MAX) time = o.as_of_;
    query = o.users_[user];
    if (rows.queries != nullptr) {
      query.assign(rows.queries + row * o.dim_, rows.queries + (row + 1) * o.dim_);
      if (recipe.metric == Metric::kCosine) query = unit(query);
    }
    if (rows.positive_offsets != nullptr)
      positives.assign(rows.positives + rows.positive_offsets[row],
                       rows.positives + rows.positive_offsets[row + 1]);
    if (!positives.empty()) {
      float low = score(positives[0]), high = low, sum = 0.0f;
      for (std::size_t p = 0; p < positives.size(); ++p) {
        const float s = score(positives[p]);
        low = s < low ? s : low;
        high = s > high ? s : high;
        sum = p == 0 ? s : sum + s;
      }
      const float random = score(positives[scale(word64(6, 0, 0), positives.size())]);
      aggregate[0] = low;
      aggregate[1] = high;
      aggregate[2] = canonical(sum / static_cast<float>(positives.size()));
      aggregate[3] = random;
    }
    work.resize(recipe.branches.size());
  }

  std::array<u32, 4> words(u32 purpose, u32 hash, u32 n) const {
    return philox(
        {static_cast<u32>(key), static_cast<u32>(key >> 32), n, (hash & 0xFFFFFF00u) | purpose},
        {o.seed_, o.round_});
  }
  u64 word64(u32 purpose, u32 hash, u32 n) const {
    const auto z = words(purpose, hash, n);
    return u64{z[0]} << 32 | z[1];
  }
  float score(u32 item) const {
    return recipe.metric == Metric::kL2 ? l2(query, o.items_[item]) : dot(query, o.items_[item]);
  }
  bool key_before(const Candidate& a, const Candidate& b) const {
    const u32 x = ordered_bits(a.score), y = ordered_bits(b.score);
    return x != y ? x > y : a.item < b.item;
  }
  const CatalogueColumn& column(const std::string& name) const {
    return column_of(*o.in_.catalogue, name);
  }
  bool pair_value(const std::string& table, u32 item, float* value) const {
    const PairValues& p = *o.in_.pairs.at(table);
    for (u64 e = p.offsets[user]; e < p.offsets[user + 1]; ++e)
      if (p.items[e] == item) return *value = p.values[e], true;
    return false;
  }
  /// Largest similarity to a positive, -infinity without positives.
  float similarity(const std::string& table, u32 item) const {
    float best = -INFINITY;
    for (const u32 p : positives)
      best = std::max(best, dot(o.unit_.at(table)[item], o.unit_.at(table)[p]));
    return best;
  }
  std::vector<u32> exposed_items(u32 classes, const std::optional<i64>& max_age) const {
    std::vector<u32> out;
    const Exposure* e = o.in_.exposure;
    for (u64 i = e != nullptr ? e->offsets[user] : 0; e != nullptr && i < e->offsets[user + 1]; ++i)
      if ((classes >> e->classes[i] & 1) && (!max_age || e->last_time[i] >= o.as_of_ - *max_age))
        out.push_back(e->items[i]);
    return out;
  }
  std::pair<u64, u64> window(const RankWindow& w) const {
    if (!w.quantile) return {w.lo, w.hi};
    return {w.lo * o.universe_ / 1000000 + 1, w.hi * o.universe_ / 1000000};
  }
  std::vector<FilterSpec> filters(const BranchSpec& b) const {
    std::vector<FilterSpec> all = recipe.safety;
    all.insert(all.end(), b.filters.begin(), b.filters.end());
    return all;
  }

  static bool has(const std::vector<u32>& list, u32 v) {
    return std::find(list.begin(), list.end(), v) != list.end();
  }

  // Section 2, filters. A survivor window reads c.survivor, everything else does not.
  bool rejects(const FilterSpec& f, const Candidate& c) const {
    if (needs_positive(f) && positives.empty()) return false;
    const float bound = static_cast<float>(f.bound);
    const float against = aggregate[static_cast<int>(f.against)];
    switch (f.type) {
      case FilterType::kPositives:
        return has(o.own_positives_[user], c.item) || has(positives, c.item);
      case FilterType::kExposed:
        return has(exposed_items(f.classes, f.max_age), c.item);
      case FilterType::kGroup: {
        const auto& codes = column(f.column).codes;
        if (codes[c.item] == 0) return false;
        for (const u32 p : o.own_positives_[user])
          if (codes[p] == codes[c.item]) return true;
        for (const u32 p : positives)
          if (codes[p] == codes[c.item]) return true;
        return false;
      }
      case FilterType::kNearDuplicate:
      case FilterType::kSimilarity:
        return similarity(f.table, c.item) >= bound;
      case FilterType::kOverlap:
        for (const u32 p : positives) {
          u32 equal = 0;
          for (const std::string& name : f.columns) {
            const auto& codes = column(name).codes;
            equal += codes[c.item] != 0 && codes[c.item] == codes[p];
          }
          if (equal >= f.min_equal) return true;
        }
        return false;
      case FilterType::kTime: {
        const auto& seen = o.in_.catalogue->first_seen;
        const auto& gone = o.in_.catalogue->retired;
        if (!seen.empty() && seen[c.item] > time) return true;
        return !gone.empty() && gone[c.item] != INT64_MAX &&
               gone[c.item] <= time;  // empty field: never retired
      }
      case FilterType::kUniversal:
        return static_cast<double>(o.count_[c.item]) >
               f.bound * static_cast<double>(o.users_with_positive_);
      case FilterType::kAllowList:
        return !has(o.in_.item_lists.at(f.table), c.item);
      case FilterType::kSegment: {
        const u32 code = column(f.column).codes[c.item];
        return code == 0 || code != segment;
      }
      case FilterType::kScore:
        return !(static_cast<float>(f.lo) <= c.score && c.score <= static_cast<float>(f.hi));
      case FilterType::kAbsoluteMargin:
        return !(c.score < against - bound);
      case FilterType::kRelativeMargin: {
        const float cut = static_cast<float>(1.0 - f.bound);
        return !(c.score < std::fma(-cut, std::fabs(against), against));
      }
      case FilterType::kRank: {
        const auto [lo, hi] = window(f.window);
        const u32 rank = f.window.survivors ? c.survivor : c.raw;
        return rank < lo || rank > hi;
      }
      case FilterType::kColumn: {
        float limit = bound;
        if (f.relative) {
          float least = INFINITY, v = 0.0f;
          for (const u32 p : positives)
            if (pair_value(f.table, p, &v)) least = std::min(least, v);
          if (least == INFINITY) return false;
          limit = std::fma(-static_cast<float>(1.0 - f.bound), std::fabs(least), least);
        }
        float value = 0.0f;
        if (!pair_value(f.table, c.item, &value)) return f.reject_missing;
        return value > limit;
      }
    }
    return false;
  }
  /// First filter that rejects, survivor windows left out; -1: none; kNoScore: nothing was judged.
  static constexpr int kNoScore = 1000;
  int reason(const std::vector<FilterSpec>& list, const Candidate& c) const {
    if (!std::isfinite(c.score)) return kNoScore;
    for (std::size_t i = 0; i < list.size(); ++i)
      if (!is_survivor_window(list[i]) && rejects(list[i], c)) return static_cast<int>(i);
    return -1;
  }

  static void reject(BranchCounters& count, int why) {
    ++(why == kNoScore ? count.unscored : count.rejected[why]);
  }

  // Section 5: the items that a branch may draw, per stratum in drawing order.
  std::vector<std::vector<u32>> draw_space(const BranchSpec& b) const {
    bool timed = false;
    std::vector<u32> out_of_space;
    for (const FilterSpec& f : filters(b)) {
      timed |= f.type == FilterType::kTime;
      std::vector<u32> list;
      if (f.type == FilterType::kPositives) list = o.own_positives_[user];
      if (f.type == FilterType::kExposed) list = exposed_items(f.classes, f.max_age);
      out_of_space.insert(out_of_space.end(), list.begin(), list.end());
    }
    const auto arrival = [&](u32 item) {
      const bool known =
          timed && o.in_.catalogue != nullptr && !o.in_.catalogue->first_seen.empty();
      return known ? o.in_.catalogue->first_seen[item] : INT64_MIN;
    };
    const bool whole = b.source.kind == SourceKind::kPool;  // strata do not matter
    std::vector<std::vector<u32>> space(whole ? 1 : o.quota_.size());
    for (u32 i = 0; i < o.universe_; ++i)
      if (!has(out_of_space, i) && arrival(i) <= time)
        space[whole ? 0 : o.stratum_[i]].push_back(i);
    for (auto& part : space)
      std::stable_sort(part.begin(), part.end(),
                       [&](u32 a, u32 c) { return arrival(a) < arrival(c); });
    return space;
  }
  u64 draw_weight(const BranchSpec& b, u32 item) const {
    const bool popular = b.source.kind == SourceKind::kPopularity ||
                         (b.source.kind == SourceKind::kPool && b.source.popularity_base);
    if (!popular) return 1;
    u64& w = o.weights_[{b.source.beta, o.count_[item]}];
    if (w == 0) {
      const u32 most = *std::max_element(o.count_.begin(), o.count_.begin() + o.universe_);
      w = popularity_weight(o.count_[item], most, o.universe_, b.source.beta);
    }
    return w;
  }
  /// The item under `r64` over the given parts of a space, or kNoItem if they are empty.
  u32 draw(const BranchSpec& b, const std::vector<std::vector<u32>>& parts, u64 r64) const {
    u64 total = 0;
    for (const auto& part : parts)
      for (const u32 i : part) total += draw_weight(b, i);
    u64 at = scale(r64, total);
    for (const auto& part : parts)
      for (const u32 i : part) {
        if (at < draw_weight(b, i)) return i;
        at -= draw_weight(b, i);
      }
    return kNoItem;
  }
  /// Items of the parts by (r64 at `purpose` descending, item ascending).
  std::vector<u32> enumerate(const std::vector<std::vector<u32>>& parts, u32 purpose,
                             u32 hash) const {
    std::vector<u32> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    std::sort(all.begin(), all.end());
    std::stable_sort(all.begin(), all.end(), [&](u32 a, u32 c) {
      return word64(purpose, hash, a) > word64(purpose, hash, c);
    });
    return all;
  }

  // Section 2: candidates in order, with raw ranks.
  std::vector<Candidate> candidates(const BranchSpec& b) const {
    std::vector<u32> in_order;
    bool by_key = true;
    switch (b.source.kind) {
      case SourceKind::kTopk:
        for (u32 i = 0; i < o.num_items_; ++i) in_order.push_back(i);
        break;
      case SourceKind::kExposed:
        in_order = exposed_items(b.source.classes, b.source.max_age);
        break;
      case SourceKind::kPool: {
        const auto space = draw_space(b);
        const u32 hash = branch_hash(b.name);
        for (u64 j = 0; j < u64{16} * b.source.draws + 64 && in_order.size() < b.source.draws;
             ++j) {
          const u32 item = draw(b, space, word64(8, hash, static_cast<u32>(j)));
          if (item != kNoItem && !has(in_order, item)) in_order.push_back(item);
        }
        for (const u32 item : enumerate(space, 9, hash))
          if (in_order.size() < b.source.draws && !has(in_order, item)) in_order.push_back(item);
        break;
      }
      case SourceKind::kRun: {
        by_key = false;
        const PairValues& p = *o.in_.pairs.at(b.source.table);
        std::vector<std::pair<float, u32>> run;
        for (u64 e = p.offsets[user]; e < p.offsets[user + 1]; ++e)
          run.push_back({-p.values[e], p.items[e]});
        std::sort(run.begin(), run.end());
        for (const auto& [value, item] : run) in_order.push_back(item);
        break;
      }
      case SourceKind::kNear: {
        by_key = false;
        std::vector<std::pair<float, u32>> near;
        for (u32 i = 0; i < o.num_items_ && !positives.empty(); ++i)
          near.push_back({-similarity("", i), i});
        std::sort(near.begin(), near.end());
        for (const auto& [value, item] : near)
          if (in_order.size() < b.source.draws) in_order.push_back(item);
        break;
      }
      case SourceKind::kBatch:
      case SourceKind::kQueue: {
        const SharedPool& brought = pools[&b - recipe.branches.data()];
        in_order.assign(brought.items, brought.items + brought.count);
        break;
      }
      default:
        break;
    }
    std::vector<Candidate> list;
    for (const u32 item : in_order)
      list.push_back({item, score(item), static_cast<u32>(list.size()) + 1});
    if (by_key) {
      std::stable_sort(list.begin(), list.end(),
                       [&](const auto& a, const auto& c) { return key_before(a, c); });
      const bool draw_place =
          b.source.kind == SourceKind::kPool && b.select == SelectKind::kFirstViolator;
      for (std::size_t i = 0; i < list.size() && !draw_place; ++i)
        list[i].raw = static_cast<u32>(i) + 1;
    }
    return list;
  }

  // Section 3: log-weight, operation by operation in fp32.
  float log_weight(const BranchSpec& b, const Candidate& c) const {
    float phi = 0.0f;
    for (const WeightSpec& w : b.weights) {
      const float a = static_cast<float>(w.a), p = static_cast<float>(w.b), s = c.score;
      const float r = static_cast<float>(c.survivor), n = static_cast<float>(o.universe_);
      float centre = positives.empty() ? 0.0f : aggregate[static_cast<int>(w.against)];
      if (w.centre == CentreKind::kAhns && !positives.empty()) {
        const float shifted = centre + static_cast<float>(w.ahns_a);
        const float power = static_cast<float>(w.ahns_p) + 1.0f;
        const float logarithm = exact_log(shifted);
        centre =
            shifted <= 0.0f ? 0.0f : static_cast<float>(w.ahns_b) * exact_exp(power * logarithm);
      }
      float term = 0.0f;
      switch (w.kind) {
        case WeightKind::kSoftmax:
          term = s / a;
          break;
        case WeightKind::kSimans: {
          const float gap = s - centre;
          const float t = gap - p;
          const float square = t * t;
          term = -(a * square);
          break;
        }
        case WeightKind::kDistance:
          term = -(a * std::fabs(s - centre));
          break;
        case WeightKind::kPopularity:
          term = a * exact_log(static_cast<float>(o.count_[c.item]) + p);
          break;
        case WeightKind::kRankGeometric:
          term = -r / a;
          break;
        case WeightKind::kRankBeta: {
          const float x = (r - 0.5f) / n;
          const float first = (a - 1.0f) * exact_log(x);
          const float second = (n - a) * exact_log(1.0f - x);
          term = first + second;
          break;
        }
        case WeightKind::kPairColumn: {
          float value = 0.0f;
          term = pair_value(w.table, c.item, &value) ? a * value : 0.0f;
          break;
        }
        case WeightKind::kClass: {
          u32 of = 0;
          const Exposure* e = o.in_.exposure;
          for (u64 i = e != nullptr ? e->offsets[user] : 0;
               e != nullptr && i < e->offsets[user + 1]; ++i)
            if (e->items[i] == c.item) of = e->classes[i];
          term = exact_log(static_cast<float>(w.class_weight[of]));
          break;
        }
      }
      phi = phi + term;
    }
    if (std::isnan(phi)) return -INFINITY;
    return std::min(phi, std::numeric_limits<float>::max());
  }

  // Sections 2 and 3 for a branch with a candidate list: judge, pool, counters, order.
  void prepare(std::size_t index) {
    const BranchSpec& b = recipe.branches[index];
    const std::vector<FilterSpec> list = filters(b);
    BranchWork& w = work[index];
    BranchCounters& count = o.counters.branch[index];
    if (positives.empty() && std::any_of(list.begin(), list.end(), needs_positive))
      ++count.inert_rows;
    const bool sampled = b.select == SelectKind::kSample || b.select == SelectKind::kTop1Sample ||
                         b.select == SelectKind::kSampleReplacement;
    if (draws_items(b)) {
      w.space = draw_space(b);
      return;
    }
    w.list = candidates(b);
    u64 limit = w.list.size(), last_survivor = UINT64_MAX;
    if (searches(b) && !b.source.all) limit = std::min<u64>(limit, b.source.max_rank);
    for (const FilterSpec& f : list) {
      if (f.type != FilterType::kRank) continue;
      u64& upper = f.window.survivors ? last_survivor : limit;
      upper = std::min(upper, window(f.window).second);
    }
    w.limit = static_cast<u32>(limit);
    const u64 room = b.source.all ? UINT64_MAX : b.source.pool;
    u32 survivors = 0;
    u64 pooled = 0, cut = limit;
    bool closed = room == 0 || last_survivor == 0;
    std::vector<int> why(w.list.size(), -1);
    u32 last_pooled = 0;
    for (std::size_t i = 0; i < w.list.size(); ++i) {
      Candidate& c = w.list[i];
      if (c.raw > limit) continue;
      why[i] = reason(list, c);
      if (why[i] < 0) {
        c.survivor = ++survivors;
        for (std::size_t f = 0; f < list.size() && why[i] < 0; ++f)
          if (is_survivor_window(list[f]) && rejects(list[f], c)) why[i] = static_cast<int>(f);
      }
      c.survives = why[i] < 0;
      if (c.survives && pooled < room) {
        c.pool = true;
        ++pooled;
        last_pooled = c.raw;
      }
      closed |= pooled == room || survivors >= last_survivor;
    }
    if (closed && pooled > 0) cut = last_pooled;
    count.examined += cut;
    count.pool += pooled;
    for (std::size_t i = 0; i < w.list.size(); ++i)
      if (w.list[i].raw <= cut && why[i] >= 0) reject(count, why[i]);

    std::vector<std::size_t> pool;
    float top = -INFINITY;
    for (std::size_t i = 0; i < w.list.size(); ++i) {
      Candidate& c = w.list[i];
      if (!c.pool) continue;
      pool.push_back(i);
      if (!sampled) continue;
      c.phi = log_weight(b, c);
      const auto z = words(1, branch_hash(b.name), c.item);
      c.noisy = c.phi + gumbel(z[0]);
      c.sampling_key = u64{ordered_bits(c.noisy)} << 32 | z[1];
      top = std::max(top, c.phi);
    }
    std::vector<float> part;
    for (const std::size_t i : pool) part.push_back(exact_exp(w.list[i].phi - top));
    while (part.size() > 1) {
      const std::size_t width = std::bit_ceil(part.size()) / 2;
      for (std::size_t i = width; i < part.size(); ++i) part[i - width] += part[i];
      part.resize(width);
    }
    w.log_total = top + exact_log(part.empty() ? 0.0f : part[0]);

    const auto by_key = [&](std::size_t x, std::size_t y) {
      return key_before(w.list[x], w.list[y]);
    };
    const auto by_rank = [&](std::size_t x, std::size_t y) {
      return w.list[x].raw < w.list[y].raw;
    };
    const auto by_chance = [&](std::size_t x, std::size_t y) {
      const Candidate &p = w.list[x], &q = w.list[y];
      return p.sampling_key != q.sampling_key ? p.sampling_key > q.sampling_key : p.item < q.item;
    };
    w.order = pool;
    switch (b.select) {
      case SelectKind::kTop:
        std::sort(w.order.begin(), w.order.end(), by_key);
        break;
      case SelectKind::kTopByRank:
        std::sort(w.order.begin(), w.order.end(), by_rank);
        break;
      case SelectKind::kSample:
        std::sort(w.order.begin(), w.order.end(), by_chance);
        break;
      case SelectKind::kTop1Sample:
        std::sort(w.order.begin(), w.order.end(), by_key);
        if (!w.order.empty()) std::sort(w.order.begin() + 1, w.order.end(), by_chance);
        break;
      case SelectKind::kFirstViolator: {
        const float bar = aggregate[0] - static_cast<float>(b.violation_margin);
        std::erase_if(
            w.order, [&](std::size_t i) { return !positives.empty() && !(w.list[i].score > bar); });
        std::sort(w.order.begin(), w.order.end(), by_rank);
        break;
      }
      case SelectKind::kSampleReplacement: {
        w.order.clear();
        std::vector<u64> weight;
        u64 total = 0;
        for (const std::size_t i : pool) {
          weight.push_back(static_cast<u64>(exact_exp(w.list[i].phi - top) * 2147483648.0f));
          total += weight.back();
        }
        for (u32 d = 0; d < recipe.k && total > 0; ++d) {
          u64 at = scale(word64(7, branch_hash(b.name), d), total);
          std::size_t i = 0;
          for (; at >= weight[i]; ++i) at -= weight[i];
          w.order.push_back(pool[i]);
        }
        break;
      }
    }
  }

  // Section 4.
  /// 0: acceptable, 1: picked already, 2: its stratum is full, 3: a cap refuses it.
  int refusal(u32 item, std::size_t branch, bool stratum_open, bool may_repeat) const {
    for (const Pick& p : picks)
      if (p.item == item && !(may_repeat && p.branch == branch)) return 1;
    if (!stratum_open && left[o.stratum_[item]] == 0) return 2;
    for (const CapSpec& cap : recipe.caps) {
      const auto& codes = column(cap.column).codes;
      u32 same = 0;
      for (const Pick& p : picks) same += codes[p.item] == codes[item];
      if (codes[item] != 0 && same >= cap.per_row) return 3;
    }
    return 0;
  }
  bool replaces(std::size_t b) const {
    return recipe.branches[b].select == SelectKind::kSampleReplacement;
  }
  u64 missing() const { return recipe.k - picks.size(); }
  void pick(std::size_t b, u32 item, float score, u32 raw, u32 survivor, bool beyond) {
    picks.push_back(
        {item, score, static_cast<u32>(b), raw, survivor, o.stratum_[item], beyond ? kNan : 0.0f});
    --left[o.stratum_[item]];
    ++o.counters.branch[b].picked;
  }

  /// Up to `want` from the start of the order (with replacement: from where it stopped); gives the
  /// place behind the last one accepted.
  std::size_t take(std::size_t b, u64 want) {
    BranchWork& w = work[b];
    if (draws_items(recipe.branches[b])) return draw_turn(b, want), 0;
    std::size_t behind = 0;
    for (std::size_t at = replaces(b) ? w.next : 0; at < w.order.size() && want > 0; ++at) {
      const Candidate& c = w.list[w.order[at]];
      w.next = at + 1;
      if (refusal(c.item, b, false, replaces(b)) != 0) continue;
      pick(b, c.item, c.score, c.raw, c.survivor, false);
      --want;
      behind = at + 1;
    }
    return behind;
  }

  void draw_turn(std::size_t b, u64 want) {
    const BranchSpec& spec = recipe.branches[b];
    const std::vector<FilterSpec> list = filters(spec);
    const u32 hash = branch_hash(spec.name);
    BranchWork& w = work[b];
    BranchCounters& count = o.counters.branch[b];
    const auto open_parts = [&] {
      std::vector<std::vector<u32>> parts;
      for (std::size_t s = 0; s < w.space.size(); ++s)
        if (left[s] > 0) parts.push_back(w.space[s]);
      return parts;
    };
    for (; want > 0 && w.draws < 16 * recipe.k + 64;) {
      const u32 item = draw(spec, open_parts(), word64(2, hash, w.draws));
      if (item == kNoItem) return;
      ++w.draws;
      ++count.examined;
      const Candidate c{item, score(item), 0};
      const int state = refusal(item, b, false, replaces(b));
      const int why = reason(list, c);
      if (state == 1) {
        ++count.repeats;
      } else if (why >= 0) {
        reject(count, why);
      } else if (state == 3) {
        ++count.refused;
      } else {
        pick(b, item, c.score, 0, 0, false);
        --want;
      }
    }
    if (want == 0) return;
    if (!w.enumerated) ++count.enumerated_rows;
    w.enumerated = true;
    for (const u32 item : enumerate(open_parts(), 3, hash)) {
      const Candidate c{item, score(item), 0};
      if (want == 0 || reason(list, c) >= 0 || refusal(item, b, false, replaces(b)) != 0) continue;
      pick(b, item, c.score, 0, 0, false);
      --want;
    }
  }

  void backfill() {
    for (const u32 b : recipe.backfill) take(b, missing());
    for (const u32 b : recipe.backfill) {
      if (!searches(recipe.branches[b])) continue;
      for (const Candidate& c : work[b].list)
        if (missing() > 0 && c.survives && !c.pool && refusal(c.item, b, false, false) == 0)
          pick(b, c.item, c.score, c.raw, c.survivor, true);
    }
  }

  /// Every (item, branch) that lists, pools' remainders and draw spaces of these branches could
  /// give.
  template <class Visit>
  void for_each_survivor(const std::vector<u32>& branches, const Visit& visit) const {
    for (const u32 b : branches) {
      for (const std::size_t i : work[b].order) visit(work[b].list[i].item, b);
      for (const Candidate& c : work[b].list)
        if (searches(recipe.branches[b]) && !recipe.backfill.empty() && c.survives && !c.pool)
          visit(c.item, b);
      if (!draws_items(recipe.branches[b])) continue;
      const std::vector<FilterSpec> list = filters(recipe.branches[b]);
      for (const auto& part : work[b].space)
        for (const u32 item : part)
          if (reason(list, {item, score(item), 0}) < 0) visit(item, b);
    }
  }

  void redistribute(u64* unplaced) {
    std::vector<u64> carried(left.size(), 0);  // by first stratum of the group it was left over in
    for (std::size_t level = 0; level < o.level_width_.size() && missing() > 0; ++level) {
      const u64 width = o.level_width_[level];
      const bool outermost = level + 1 == o.level_width_.size();
      for (bool again = true; again && missing() > 0;) {
        const std::size_t before = picks.size();
        for (u64 begin = 0; begin < left.size(); begin += width) {
          u64 rest = 0;
          for (u64 s = begin; s < begin + width; ++s) {
            rest += left[s] + carried[s];
            left[s] = carried[s] = 0;
          }
          std::vector<std::set<u32>> open(width);
          for_each_survivor(recipe.backfill, [&](u32 item, u32 b) {
            const u64 s = o.stratum_[item];
            if (s >= begin && s < begin + width && refusal(item, b, true, false) == 0)
              open[s - begin].insert(item);
          });
          std::vector<u64> caps, placed;
          for (const auto& items : open) caps.push_back(std::min<u64>(rest, items.size()));
          const std::vector<u64> weights(o.quota_.begin() + begin,
                                         o.quota_.begin() + begin + width);
          carried[begin] = largest_remainder(rest, weights, caps, &placed);
          std::copy(placed.begin(), placed.end(), left.begin() + begin);
        }
        backfill();
        again = outermost && picks.size() > before;
      }
    }
    for (const u64 c : carried) *unplaced += c;
  }

  void judge(Row* out) {
    for (std::size_t b = 0; b < work.size(); ++b) prepare(b);
    std::vector<u64> shares;
    for (const BranchSpec& b : recipe.branches) shares.push_back(b.share);
    const std::vector<u64> counts = systematic(recipe.k, shares, word64(4, 0, 0));
    left =
        recipe.quota ? systematic(recipe.k, o.quota_, word64(5, 0, 0)) : std::vector<u64>{recipe.k};

    for (std::size_t b = 0; b < work.size(); ++b) {
      const std::size_t before = picks.size();
      const std::size_t behind = take(b, counts[b]);
      const bool full = picks.size() - before == counts[b];
      const bool top1 = recipe.branches[b].select == SelectKind::kTop1Sample && behind == 0;
      const bool has_keys = recipe.branches[b].select == SelectKind::kSample ||
                            recipe.branches[b].select == SelectKind::kTop1Sample;
      const auto& order = work[b].order;
      out->kappa.push_back(has_keys && full && !top1 && behind < order.size()
                               ? work[b].list[order[behind]].noisy
                               : kNan);
    }
    u64 unplaced = 0;
    if (!recipe.backfill.empty()) {
      backfill();
      if (recipe.quota && recipe.quota->redistribute) redistribute(&unplaced);
    }
    std::vector<u32> stand_in = recipe.backfill;
    for (u32 b = 0; recipe.backfill.empty() && b < work.size(); ++b) stand_in.push_back(b);
    for (std::size_t s = 0; s < left.size(); ++s) {
      out->codes.insert(out->codes.end(), left[s], code(stand_in, s));
      out->lacks.insert(out->lacks.end(), left[s], static_cast<u32>(s));
    }
    out->codes.insert(out->codes.end(), unplaced, unplaced > 0 ? code(stand_in, 0) : 0);
    out->lacks.insert(out->lacks.end(), unplaced, 0);
    for (Pick& p : picks) p.logq = log_probability(p);
    out->picks = picks;
    out->positive_min = aggregate[0];
  }

  std::uint8_t code(const std::vector<u32>& branches, std::size_t stratum) const {
    bool capped = false;
    for_each_survivor(branches, [&](u32 item, u32 b) {
      capped |= o.stratum_[item] == stratum && refusal(item, b, true, false) == 3;
    });
    if (capped) return 3;
    for (const u32 b : branches)
      if (searches(recipe.branches[b]) && work[b].limit < o.num_items_) return 2;
    return recipe.quota && !recipe.quota->redistribute ? 4 : 1;
  }

  // Section 6.
  float log_probability(const Pick& p) const {
    const SelectKind by = recipe.branches[p.branch].select;
    const bool drawn = draws_items(recipe.branches[p.branch]);
    if (std::isnan(p.logq)) return kNan;
    if (!drawn && (by == SelectKind::kTop || by == SelectKind::kTopByRank ||
                   by == SelectKind::kFirstViolator))
      return kNan;
    std::vector<float> logs;
    for (std::size_t b = 0; b < work.size(); ++b) {
      const BranchSpec& spec = recipe.branches[b];
      const double expected =
          static_cast<double>(recipe.k) * static_cast<double>(spec.share) / recipe.share_sum;
      const float log_expected = exact_log(static_cast<float>(expected));
      if (draws_items(spec)) {
        u64 total = 0, own = 0;
        for (const auto& part : work[b].space)
          for (const u32 i : part) {
            total += draw_weight(spec, i);
            if (i == p.item) own = draw_weight(spec, i);
          }
        if (own > 0) {
          logs.push_back(log_expected +
                         exact_log(static_cast<float>(own) / static_cast<float>(total)));
        }
      } else if (spec.select == SelectKind::kSample || spec.select == SelectKind::kTop1Sample ||
                 replaces(b)) {
        for (const Candidate& c : work[b].list)
          if (c.pool && c.item == p.item && std::isfinite(c.phi))
            logs.push_back(log_expected + (c.phi - work[b].log_total));
      }
    }
    float sum = -INFINITY;
    for (const float l : logs) {
      const float most = std::max(sum, l), least = std::min(sum, l);
      sum = std::isinf(least) ? most : most + exact_log(1.0f + exact_exp(least - most));
    }
    return sum;
  }
};

Row Oracle::mine(const RowsView& rows, u64 row) {
  Row out;
  RowJudge(*this, rows, row).judge(&out);
  ++counters.rows;
  counters.requested += recipe_.k;
  counters.emitted += out.picks.size();
  for (const std::uint8_t code : out.codes) ++counters.missing[code];
  strata.resize(quota_.size());
  for (const Pick& p : out.picks) ++strata[p.stratum].slots[0];
  for (std::size_t i = 0; i < out.codes.size(); ++i) ++strata[out.lacks[i]].slots[out.codes[i]];
  return out;
}

}  // namespace quarry::oracle

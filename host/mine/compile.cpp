// From a recipe and the inputs to what the kernels read: Plan and World.
#include "host/mine/compile.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "host/mine/check_inputs.h"
#include "host/mine/draw_space.h"
#include "host/mine/user_lists.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint32_t kMaxColumns = 64;

class Compiler {
 public:
  Compiler(const Recipe& recipe, const MinerInputs& inputs, const Exec& exec, std::uint32_t seed,
           std::uint32_t round)
      : recipe_(recipe),
        in_(inputs),
        exec_(exec),
        out_(std::make_unique<Compiled>(exec)),
        lists_(exec, inputs, out_->world) {
    out_->plan.key = {seed, round};
  }

  std::unique_ptr<Compiled> run() {
    check_sizes();
    snapshot();
    catalogue();
    item_rows();
    exposure();
    strata();
    branches();
    finish();
    return std::move(out_);
  }

 private:
  using Type = FilterType;

  void check_sizes() {
    check_inputs(in_, exec_);
    num_items_ = static_cast<std::uint32_t>(in_.items.rows);
    out_->has_users = in_.users.rows > 0 || in_.exposure != nullptr || in_.rows != nullptr ||
                      in_.row_positives != nullptr || !in_.pairs.empty();
    num_users_ = static_cast<std::uint32_t>(num_users_of(in_));
    out_->world.metric = recipe_.metric;
    out_->world.dim = in_.items.dim;
    out_->world.num_items = num_items_;
    out_->world.num_users = num_users_;
    out_->plan.k = recipe_.k;
  }

  void snapshot() {
    if (in_.snapshot != nullptr) {
      out_->snapshot = *in_.snapshot;
      out_->snapshot.popularity.resize(num_items_, 0);
      out_->snapshot.num_items = std::min(out_->snapshot.num_items, num_items_);
    } else if (in_.exposure != nullptr) {
      out_->snapshot = make_snapshot(*in_.exposure, num_items_);
    } else {
      out_->snapshot.popularity.assign(num_items_, 0);
      out_->snapshot.num_items = num_items_;
    }
    out_->plan.snapshot_items = out_->snapshot.num_items;
    // Rows without a time stand, and ages of events are counted, at the end of the log at hand; a
    // snapshot that was kept from an earlier one is older.
    out_->world.as_of = in_.exposure != nullptr ? in_.exposure->as_of : out_->snapshot.as_of;
    out_->world.popularity =
        out_->placement.borrow(out_->snapshot.popularity.data(), out_->snapshot.popularity.size());
  }

  void catalogue() {
    if (in_.catalogue == nullptr) return;
    World& w = out_->world;
    // Only the columns that the recipe reads are carried, and only they count.
    const std::set<std::string> wanted = wanted_columns();
    std::vector<std::uint32_t> codes;
    for (const CatalogueColumn& column : in_.catalogue->columns) {
      if (wanted.count(column.name) == 0) continue;
      column_index_[column.name] = w.num_columns++;
      codes.insert(codes.end(), column.codes.begin(), column.codes.end());
    }
    if (w.num_columns > kMaxColumns) {
      throw ConfigError("the recipe reads " + std::to_string(w.num_columns) +
                        " columns of the catalogue; at most " + std::to_string(kMaxColumns) +
                        " (overlap keeps them as one word of bits)");
    }
    if (w.num_columns > 0) w.columns = out_->placement.keep(std::move(codes));
    if (uses_filter(recipe_, Type::kTime)) {
      if (!in_.catalogue->first_seen.empty()) {
        w.first_seen = out_->placement.borrow(in_.catalogue->first_seen.data(), num_items_);
      }
      if (!in_.catalogue->retired.empty()) {
        w.retired = out_->placement.borrow(in_.catalogue->retired.data(), num_items_);
      }
    }
  }

  template <class F>
  void for_each_filter(F&& f) const {
    for (const FilterSpec& spec : recipe_.safety) f(spec);
    for (const BranchSpec& branch : recipe_.branches) {
      for (const FilterSpec& spec : branch.filters) f(spec);
    }
  }
  std::set<std::string> wanted_columns() const {
    std::set<std::string> names;
    for_each_filter([&](const FilterSpec& spec) {
      if (!spec.column.empty()) names.insert(spec.column);
      names.insert(spec.columns.begin(), spec.columns.end());
    });
    for (const CapSpec& cap : recipe_.caps) names.insert(cap.column);
    return names;
  }
  std::uint32_t column(const std::string& name, const std::string& who) const {
    const auto at = column_index_.find(name);
    if (at == column_index_.end()) {
      std::string known;
      if (in_.catalogue != nullptr) {
        for (const CatalogueColumn& c : in_.catalogue->columns) known += " '" + c.name + "'";
      }
      throw ConfigError(who + " reads column '" + name +
                        "', which the catalogue does not have (it has" +
                        (known.empty() ? " none" : known) +
                        "); give --catalogue a table with it, or drop the filter");
    }
    return at->second;
  }

  /// Item rows as the metric needs them; unit rows where similarity needs them.
  void item_rows() {
    const bool unit = recipe_.metric == Metric::kCosine;
    if (!unit && in_.items.dtype == Dtype::kF32) {
      out_->host_items = static_cast<const float*>(in_.items.data);
    } else {
      out_->host_items = prepared(in_.items, unit);
    }
    out_->world.items =
        out_->placement.borrow(out_->host_items, std::size_t{num_items_} * in_.items.dim);
    bool needs_unit = false;
    for_each_filter([&](const FilterSpec& spec) {
      needs_unit =
          needs_unit || ((spec.type == Type::kNearDuplicate || spec.type == Type::kSimilarity) &&
                         spec.table.empty());
    });
    for (const BranchSpec& b : recipe_.branches)
      needs_unit = needs_unit || b.source.kind == SourceKind::kNear;
    if (unit) {
      out_->host_unit_items = out_->host_items;
    } else if (needs_unit) {
      out_->host_unit_items = prepared(in_.items, true);
    }
  }
  const float* prepared(const MatrixView& table, bool unit) {
    std::vector<float> rows(std::size_t{table.rows} * table.dim);
    parallel_for(exec_, table.rows, 1024, [&](std::uint64_t begin, std::uint64_t end) {
      prepare_rows(table, begin, end, unit, rows.data() + begin * table.dim);
    });
    held_.push_back(std::make_shared<std::vector<float>>(std::move(rows)));
    return held_.back()->data();
  }

  void exposure() {
    const Exposure* e = in_.exposure;
    if (e != nullptr) {
      out_->world.exposure.offsets = out_->placement.borrow(e->offsets.data(), e->offsets.size());
      out_->world.exposure.values = out_->placement.borrow(e->items.data(), e->items.size());
      out_->world.event_class = out_->placement.borrow(e->classes.data(), e->classes.size());
      out_->world.event_time = out_->placement.borrow(e->last_time.data(), e->last_time.size());
    } else {
      out_->world.exposure.offsets =
          out_->placement.keep(std::vector<std::uint64_t>(std::size_t{num_users_} + 1, 0));
    }
  }

  void strata() {
    if (!recipe_.quota) {
      out_->stratum_names = {"all"};
      return;
    }
    Strata s = make_strata(exec_, recipe_, out_->snapshot, out_->world.popularity, in_.catalogue,
                           num_items_);
    Plan& plan = out_->plan;
    plan.has_quota = 1;
    out_->world.num_strata = static_cast<std::uint32_t>(s.names.size());
    plan.quota_sum = std::accumulate(s.weight.begin(), s.weight.end(), std::uint64_t{0});
    plan.quota_weight = out_->placement.keep(std::move(s.weight));
    if (recipe_.quota->redistribute) {
      if (s.level_width.size() > kMaxLevels)
        throw ConfigError("[quota] redistributes over at most 4 attributes");
      for (const std::uint32_t width : s.level_width) plan.levels[plan.num_levels++].width = width;
    }
    out_->stratum_names = std::move(s.names);
    out_->world.stratum = out_->placement.keep(std::move(s.of_item));
  }

  /// Index of the lists called `key`; `make` is called where they are not there yet.
  template <class Make>
  std::uint8_t user_list(const std::string& key, Make&& make) {
    const auto known = list_index_.find(key);
    if (known != list_index_.end()) return known->second;
    if (list_pairs_.size() == kMaxUserLists) {
      throw ConfigError("the recipe needs more than " + std::to_string(kMaxUserLists) +
                        " different lists per user (exposed classes, groups); merge some filters");
    }
    const auto index = static_cast<std::uint8_t>(list_pairs_.size());
    UserArrays lists = make();
    list_pairs_.push_back(pairs_of(lists, num_users_));
    out_->world.lists[index].offsets = out_->placement.own(std::move(lists.offsets));
    out_->world.lists[index].values = out_->placement.own(std::move(lists.values));
    list_index_[key] = index;
    return index;
  }

  /// The users' positives, made for the first filter that needs them.
  PairView positive_pairs() {
    if (!positive_pairs_) {
      positives_ = lists_.positives();
      positive_pairs_ = pairs_of(positives_, num_users_);
    }
    return *positive_pairs_;
  }

  std::int64_t oldest(const std::optional<std::int64_t>& max_age) const {
    return max_age ? out_->world.as_of - *max_age : std::numeric_limits<std::int64_t>::min();
  }

  std::uint8_t feature_table(const std::string& name, const std::string& who) {
    const auto known = feature_index_.find(name);
    if (known != feature_index_.end()) return known->second;
    if (feature_index_.size() == kMaxFeatureTables)
      throw ConfigError("at most 4 feature tables in one recipe");
    FeatureTable table;
    if (name.empty()) {
      table.dim = in_.items.dim;
      table.rows =
          out_->placement.borrow(out_->host_unit_items, std::size_t{num_items_} * table.dim);
    } else {
      const auto at = in_.features.find(name);
      if (at == in_.features.end()) {
        throw ConfigError(who + " compares on table '" + name +
                          "', which was not given; add --feature " + name +
                          "=FILE, or leave 'table' out to compare item embeddings");
      }
      table.dim = at->second.dim;
      table.rows =
          out_->placement.borrow(prepared(at->second, true), std::size_t{num_items_} * table.dim);
    }
    const auto index = static_cast<std::uint8_t>(feature_index_.size());
    out_->world.features[index] = table;
    feature_index_[name] = index;
    return index;
  }

  const PairValues& pair_values(const std::string& name, const std::string& who) const {
    const auto at = in_.pairs.find(name);
    if (at == in_.pairs.end() || at->second == nullptr) {
      throw ConfigError(who + " reads table '" + name +
                        "' of user-item values, which was not given; add --pairs " + name +
                        "=FILE (columns user, item, score)");
    }
    return *at->second;
  }
  std::uint8_t pair_table(const std::string& name, const std::string& who) {
    const auto known = pair_index_.find(name);
    if (known != pair_index_.end()) return known->second;
    const PairValues& values = pair_values(name, who);
    if (pair_index_.size() == kMaxPairTables)
      throw ConfigError("at most 4 tables of user-item values in one recipe");
    const auto index = static_cast<std::uint8_t>(pair_index_.size());
    PairTable& table = out_->world.pairs[index];
    table.offsets = out_->placement.borrow(values.offsets.data(), values.offsets.size());
    table.items = out_->placement.borrow(values.items.data(), values.items.size());
    table.values = out_->placement.borrow(values.values.data(), values.values.size());
    pair_index_[name] = index;
    return index;
  }
  std::uint8_t bitmap(const std::string& key, std::vector<std::uint32_t> words) {
    const auto known = bitmap_index_.find(key);
    if (known != bitmap_index_.end()) return known->second;
    if (bitmap_index_.size() == kMaxBitmaps)
      throw ConfigError("at most 4 item lists (universal, allow_list)");
    const auto index = static_cast<std::uint8_t>(bitmap_index_.size());
    words.resize((std::size_t{num_items_} + 31) / 32, 0);
    out_->world.bitmaps[index] = out_->placement.keep(std::move(words));
    bitmap_index_[key] = index;
    return index;
  }

  std::uint32_t quantile_rank(std::uint64_t millionths) const {
    return static_cast<std::uint32_t>(millionths * out_->snapshot.num_items / 1'000'000u);
  }

  Filter filter(const FilterSpec& spec, const std::string& branch) {
    const std::string who = "filter '" + spec.kind_text + "' of branch '" + branch + "'";
    Filter f;
    f.against = spec.against;
    switch (spec.type) {
      case Type::kPositives:
        f.kind = FilterKind::kPositives;
        f.table = user_list("positives", [&] {
          positive_pairs();
          return std::move(positives_);  // the view of them stays good
        });
        break;
      case Type::kExposed: {
        f.kind = FilterKind::kUserList;
        const std::int64_t from = oldest(spec.max_age);
        f.table = user_list("exposed " + std::to_string(spec.classes) + " " + std::to_string(from),
                            [&] { return lists_.exposed(spec.classes, from); });
        break;
      }
      case Type::kGroup:
        f.kind = FilterKind::kUserGroup;
        f.column = column(spec.column, who);
        f.table = user_list("group " + spec.column, [&] {
          return lists_.codes(positive_pairs(),
                              out_->world.columns + std::size_t{f.column} * num_items_);
        });
        break;
      case Type::kNearDuplicate:
      case Type::kSimilarity:
        f.kind = FilterKind::kSimilarity;
        f.table = feature_table(spec.table, who);
        f.a = static_cast<float>(spec.bound);
        break;
      case Type::kOverlap:
        f.kind = FilterKind::kOverlap;
        f.count = spec.min_equal;
        for (const std::string& name : spec.columns)
          f.column_mask |= std::uint64_t{1} << column(name, who);
        break;
      case Type::kTime:
        f.kind = FilterKind::kTime;
        break;
      case Type::kUniversal:
        f.kind = FilterKind::kBitmapDeny;
        f.table = bitmap("universal " + std::to_string(spec.bound),
                         universal_items(in_.exposure, out_->snapshot, spec.bound));
        break;
      case Type::kAllowList: {
        f.kind = FilterKind::kBitmapAllow;
        const auto list = in_.item_lists.find(spec.table);
        if (list == in_.item_lists.end()) {
          throw ConfigError(who + " reads item list '" + spec.table +
                            "', which was not given; add --item-list " + spec.table + "=FILE");
        }
        std::vector<std::uint32_t> words((std::size_t{num_items_} + 31) / 32, 0);
        for (const std::uint32_t item : list->second) words[item / 32] |= 1u << (item % 32);
        f.table = bitmap("allow " + spec.table, std::move(words));
        break;
      }
      case Type::kSegment: {
        f.kind = FilterKind::kSegment;
        f.column = column(spec.column, who);
        const CatalogueColumn* c = in_.catalogue->find(spec.column);
        if (!segment_column_.empty() && segment_column_ != spec.column) {
          throw ConfigError("segment filters of one recipe must name one column; it names '" +
                            segment_column_ + "' and '" + spec.column + "'");
        }
        segment_column_ = spec.column;
        out_->segment_names = c->names;
        break;
      }
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
        f.kind = spec.window.survivors ? FilterKind::kSurvivorRank : FilterKind::kRawRank;
        f.lo = spec.window.quantile ? quantile_rank(spec.window.lo) + 1
                                    : static_cast<std::uint32_t>(spec.window.lo);
        f.hi = spec.window.quantile
                   ? quantile_rank(spec.window.hi)
                   : static_cast<std::uint32_t>(std::min<std::uint64_t>(spec.window.hi, kNoItem));
        if (f.hi < f.lo) {
          throw ConfigError(who + " leaves no rank in a catalogue of " +
                            std::to_string(out_->snapshot.num_items) +
                            " items; widen the quantile or give ranks");
        }
        break;
      case Type::kColumn:
        f.kind = spec.relative ? FilterKind::kPairRelative : FilterKind::kPairAbsolute;
        f.table = pair_table(spec.table, who);
        f.a = static_cast<float>(spec.relative ? 1.0 - spec.bound : spec.bound);
        f.reject_missing = spec.reject_missing ? 1 : 0;
        break;
    }
    return f;
  }

  Weight weight(const WeightSpec& spec, const std::string& branch) {
    Weight w;
    const std::string who = "a weight of branch '" + branch + "'";
    const bool divides =
        spec.kind == WeightKind::kSoftmax || spec.kind == WeightKind::kRankGeometric;
    if (divides && !(static_cast<float>(spec.a) > 0.0f)) {
      throw ConfigError(who + " divides by " + std::to_string(spec.a) +
                        ", which is 0 in single precision; use at least 1e-38");
    }
    if (spec.kind == WeightKind::kRankBeta && spec.a > out_->snapshot.num_items) {
      throw ConfigError(who + " is a rank_beta with j above the snapshot's " +
                        std::to_string(out_->snapshot.num_items) +
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
      w.table = pair_table(spec.table, who);
    }
    for (std::uint32_t c = 0; c < kNumExposureClasses; ++c) {
      w.class_weight[c] = exact_log(static_cast<float>(spec.class_weight[c]));
    }
    return w;
  }

  void branches() {
    Plan& plan = out_->plan;
    std::vector<Filter> filters;
    std::vector<Weight> weights;
    if (recipe_.branches.size() > kMaxBranches)
      throw ConfigError("a recipe has at most 8 branches");
    for (const BranchSpec& spec : recipe_.branches) {
      Branch& b = plan.branches[plan.num_branches];
      plan.share[plan.num_branches] = spec.share;
      b.source = spec.source.kind;
      b.select = spec.select;
      b.hash = static_cast<std::uint32_t>(XXH3_64bits(spec.name.data(), spec.name.size()));
      b.first_filter = static_cast<std::uint32_t>(filters.size());
      std::vector<std::string> names;
      std::vector<FilterSpec> specs = recipe_.safety;
      specs.insert(specs.end(), spec.filters.begin(), spec.filters.end());
      if (specs.size() > kMaxFilters) {
        throw ConfigError("branch '" + spec.name + "' has " + std::to_string(specs.size()) +
                          " filters with safety; at most " + std::to_string(kMaxFilters));
      }
      b.max_rank = spec.source.kind == SourceKind::kTopk && !spec.source.all ? spec.source.max_rank
                                                                             : kNoItem;
      b.pool = spec.source.all ? kNoItem : spec.source.pool;
      int survivor_windows = 0;
      for (const FilterSpec& f : specs) {
        filters.push_back(filter(f, spec.name));
        names.push_back(filter_name(f));
        if (filters.back().kind == FilterKind::kSurvivorRank && ++survivor_windows > 1) {
          throw ConfigError("branch '" + spec.name +
                            "' has two windows over survivor ranks; give one");
        }
        if (filters.back().kind == FilterKind::kRawRank)
          b.max_rank = std::min(b.max_rank, filters.back().hi);
        if (filters.back().kind == FilterKind::kRawRank && b.select == SelectKind::kFirstViolator) {
          throw ConfigError("branch '" + spec.name +
                            "' has a raw rank window, which draws for first_violator do not have");
        }
      }
      b.num_filters = static_cast<std::uint32_t>(specs.size());
      b.first_weight = static_cast<std::uint8_t>(weights.size());
      for (const WeightSpec& w : spec.weights) weights.push_back(weight(w, spec.name));
      b.num_weights = static_cast<std::uint8_t>(weights.size() - b.first_weight);
      b.draws = spec.source.draws;
      b.class_mask = spec.source.classes;
      b.oldest = oldest(spec.source.max_age);
      b.violation_margin = static_cast<float>(spec.violation_margin);
      source(spec, specs, b);
      out_->branch_names.push_back(spec.name);
      out_->filter_names.push_back(std::move(names));
      plan.num_branches += 1;
    }
    plan.share_sum = recipe_.share_sum;
    plan.num_filters = static_cast<std::uint32_t>(filters.size());
    plan.num_weights = static_cast<std::uint32_t>(weights.size());
    plan.filters = out_->placement.keep(std::move(filters));
    plan.weights = out_->placement.keep(std::move(weights));
    for (const std::uint32_t b : recipe_.backfill)
      plan.backfill[plan.num_backfill++] = static_cast<std::uint8_t>(b);
    if (recipe_.caps.size() > kMaxCaps) throw ConfigError("a recipe has at most 8 caps");
    for (const CapSpec& cap : recipe_.caps) {
      plan.caps[plan.num_caps++] = {column(cap.column, "a cap"), cap.per_row};
    }
  }

  /// Tables and sizes of a branch's source.
  void source(const BranchSpec& spec, const std::vector<FilterSpec>& filters, Branch& b) {
    out_->runs.emplace_back();
    const bool popularity = b.source == SourceKind::kPopularity || spec.source.popularity_base;
    switch (b.source) {
      case SourceKind::kTopk: {
        const std::uint64_t reach = std::min<std::uint64_t>({b.pool, b.max_rank, num_items_});
        out_->topk_depth = std::max(out_->topk_depth, static_cast<std::uint32_t>(reach));
        break;
      }
      case SourceKind::kUniform:
      case SourceKind::kPopularity:
        b.draw = draw_space(filters, popularity, spec.source.beta, out_->plan.has_quota != 0);
        break;
      case SourceKind::kPool:
        if (b.draws > num_items_) b.draws = num_items_;
        b.draw = draw_space(filters, popularity, spec.source.beta, false);
        b.capacity = b.draws;
        break;
      case SourceKind::kExposed:
        for (std::uint32_t u = 0; in_.exposure != nullptr && u < num_users_; ++u) {
          std::uint32_t wanted = 0;
          for (std::uint64_t i = in_.exposure->offsets[u]; i < in_.exposure->offsets[u + 1]; ++i) {
            wanted += (b.class_mask >> in_.exposure->classes[i] & 1u) != 0 &&
                              in_.exposure->last_time[i] >= b.oldest
                          ? 1
                          : 0;
          }
          b.capacity = std::max(b.capacity, wanted);
        }
        break;
      case SourceKind::kRun:
        out_->runs.back() = run_lists(pair_values(spec.source.table, "branch '" + spec.name + "'"));
        b.table = pair_table(spec.source.table, "branch '" + spec.name + "'");
        if (out_->world.runs[b.table].offsets == nullptr) {
          const RunLists& run = out_->runs.back();
          out_->world.runs[b.table] = {
              out_->placement.borrow(run.offsets.data(), run.offsets.size()),
              out_->placement.borrow(run.items.data(), run.items.size())};
        }
        for (std::uint32_t u = 0; u < num_users_; ++u) {
          b.capacity = std::max<std::uint32_t>(
              b.capacity, static_cast<std::uint32_t>(out_->runs.back().offsets[u + 1] -
                                                     out_->runs.back().offsets[u]));
        }
        break;
      case SourceKind::kBatch:
      case SourceKind::kQueue:
        break;  // as many as the caller brings
      case SourceKind::kNear:
        b.draws = std::min(b.draws, num_items_);
        b.capacity = b.draws;
        break;
    }
  }

  RunLists run_lists(const PairValues& values) const {
    RunLists run{values.offsets, std::vector<std::uint32_t>(values.items.size())};
    const auto before = [&](std::uint64_t a, std::uint64_t b) {
      return values.values[a] != values.values[b] ? values.values[a] > values.values[b]
                                                  : values.items[a] < values.items[b];
    };
    parallel_for(exec_, num_users_, 256, [&](std::uint64_t from, std::uint64_t to) {
      std::vector<std::uint64_t> order;
      for (std::uint64_t u = from; u < to; ++u) {
        order.resize(values.offsets[u + 1] - values.offsets[u]);
        std::iota(order.begin(), order.end(), values.offsets[u]);
        std::sort(order.begin(), order.end(), before);
        for (std::size_t i = 0; i < order.size(); ++i)
          run.items[values.offsets[u] + i] = values.items[order[i]];
      }
    });
    return run;
  }

  /// The space of a draw branch, shared by branches with the same lists, weights and cut.
  std::uint32_t draw_space(const std::vector<FilterSpec>& specs, bool popularity, double beta,
                           bool stratified) {
    std::set<std::uint8_t> lists;
    bool timed = false;
    for (const FilterSpec& spec : specs) {
      if (spec.type == Type::kPositives || spec.type == Type::kExposed)
        lists.insert(filter(spec, "").table);
      timed = timed || spec.type == Type::kTime;
    }
    timed = timed && in_.catalogue != nullptr && !in_.catalogue->first_seen.empty();
    const auto key =
        std::make_tuple(lists, popularity ? beta : std::nan(""), timed, stratified, popularity);
    for (std::size_t i = 0; i < space_keys_.size(); ++i) {
      const auto& other = space_keys_[i];
      if (std::get<0>(other) == lists && std::get<2>(other) == timed &&
          std::get<3>(other) == stratified && std::get<4>(other) == popularity &&
          (!popularity || std::get<1>(other) == beta)) {
        return static_cast<std::uint32_t>(i);
      }
    }
    if (space_keys_.size() == kMaxDrawSpaces)
      throw ConfigError("at most 6 different draw sources in one recipe");
    space_keys_.push_back(key);
    DrawSpaceSpec spec;
    spec.num_items = num_items_;
    spec.num_users = num_users_;
    spec.snapshot = &out_->snapshot;
    if (popularity) spec.beta = beta;
    if (timed) spec.first_seen = out_->world.first_seen;
    if (stratified) {
      spec.stratum = out_->world.stratum;
      spec.num_strata = out_->world.num_strata;
    }
    for (const std::uint8_t l : lists) spec.excluded.push_back(list_pairs_[l]);
    out_->world.draws[space_keys_.size() - 1] = make_draw_space(exec_, spec, out_->placement);
    return static_cast<std::uint32_t>(space_keys_.size() - 1);
  }

  void finish() {
    for (const auto& rows : held_) {
      out_->prepared_bytes += rows->size() * sizeof(float);
      out_->keep_alive.push_back(rows);
    }
  }

  const Recipe& recipe_;
  const MinerInputs& in_;
  Exec exec_;
  std::unique_ptr<Compiled> out_;
  std::uint32_t num_items_ = 0;
  std::uint32_t num_users_ = 0;
  UserListMaker lists_;
  UserArrays positives_;  ///< until the filter on positives takes them over
  std::optional<PairView> positive_pairs_;
  std::vector<PairView> list_pairs_;  ///< world.lists as pairs, for draw spaces
  std::string segment_column_;
  std::map<std::string, std::uint32_t> column_index_;
  std::map<std::string, std::uint8_t> list_index_, feature_index_, pair_index_, bitmap_index_;
  std::vector<std::tuple<std::set<std::uint8_t>, double, bool, bool, bool>> space_keys_;
  std::vector<std::shared_ptr<std::vector<float>>> held_;
};

}  // namespace

std::unique_ptr<Compiled> compile(const Recipe& recipe, const MinerInputs& inputs, const Exec& exec,
                                  std::uint32_t seed, std::uint32_t round) {
  return Compiler(recipe, inputs, exec, seed, round).run();
}

}  // namespace quarry

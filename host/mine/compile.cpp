// From a recipe and the inputs to what the kernels read: Plan and World.
#include "host/mine/compile.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <span>
#include <utility>

#include "host/mine/check_inputs.h"
#include "host/mine/compile_filters.h"
#include "host/mine/compile_sources.h"
#include "host/mine/compile_tables.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

template <class F>
void for_each_filter(const Recipe& recipe, F&& f) {
  for (const FilterSpec& spec : recipe.safety) f(spec);
  for (const BranchSpec& branch : recipe.branches) {
    for (const FilterSpec& spec : branch.filters) f(spec);
  }
}

std::set<std::string> wanted_columns(const Recipe& recipe) {
  std::set<std::string> names;
  for_each_filter(recipe, [&](const FilterSpec& spec) {
    if (!spec.column.empty()) names.insert(spec.column);
    names.insert(spec.columns.begin(), spec.columns.end());
  });
  for (const CapSpec& cap : recipe.caps) names.insert(cap.column);
  return names;
}

/// Similarity of items, and sources near the positives, compare unit rows.
bool needs_unit_items(const Recipe& recipe) {
  bool needed = false;
  for_each_filter(recipe, [&](const FilterSpec& spec) {
    needed = needed ||
             ((spec.type == FilterType::kNearDuplicate || spec.type == FilterType::kSimilarity) &&
              spec.table.empty());
  });
  for (const BranchSpec& b : recipe.branches) needed = needed || b.source.kind == SourceKind::kNear;
  return needed;
}

/// Fills a Compiled step by step; each step may read what those before it wrote.
class Compiler {
 public:
  Compiler(const Recipe& recipe, const MinerInputs& inputs, const Exec& exec, std::uint32_t seed,
           std::uint32_t round, const Compiled* former)
      : recipe_(recipe),
        in_(inputs),
        exec_(exec),
        former_(former),
        out_(std::make_unique<Compiled>(exec)),
        tables_(exec, inputs, *out_),
        sources_(exec, inputs, tables_, *out_) {
    out_->plan.key = {seed, round};
    if (former != nullptr) out_->placement.follow(former->placement);
  }

  std::unique_ptr<Compiled> run() {
    check_sizes();
    snapshot();
    catalogue();
    item_rows();
    exposure();
    strata();
    branches();
    backfill();
    caps();
    out_->placement.stop_following();
    return std::move(out_);
  }

 private:
  void check_sizes() {
    if (former_ == nullptr) check_inputs(in_, exec_);
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

  Snapshot snapshot_of_inputs() const {
    Snapshot s;
    if (in_.snapshot != nullptr) {
      s = *in_.snapshot;
      s.popularity.resize(num_items_, 0);
      s.num_items = std::min(s.num_items, num_items_);
    } else if (in_.exposure != nullptr) {
      s = make_snapshot(*in_.exposure, num_items_);
    } else {
      s.popularity.assign(num_items_, 0);
      s.num_items = num_items_;
    }
    return s;
  }

  void snapshot() {
    out_->snapshot = former_ != nullptr ? former_->snapshot : snapshot_of_inputs();
    out_->plan.snapshot_items = out_->snapshot.num_items;
    // Rows without a time stand, and ages of events are counted, at the end of the log at hand; a
    // snapshot that was kept from an earlier one is older.
    out_->world.as_of = in_.exposure != nullptr ? in_.exposure->as_of : out_->snapshot.as_of;
    out_->world.popularity =
        out_->placement.borrow("popularity", out_->snapshot.popularity.data(), num_items_);
  }

  void catalogue() {
    if (in_.catalogue == nullptr) return;
    // Only the columns that the recipe reads are carried, and only they count.
    tables_.carry_columns(wanted_columns(recipe_));
    if (uses_filter(recipe_, FilterType::kTime)) {
      World& w = out_->world;
      if (!in_.catalogue->first_seen.empty()) {
        w.first_seen =
            out_->placement.borrow("first seen", in_.catalogue->first_seen.data(), num_items_);
      }
      if (!in_.catalogue->retired.empty()) {
        w.retired = out_->placement.borrow("retired", in_.catalogue->retired.data(), num_items_);
      }
    }
  }

  /// Item rows as the metric needs them; unit rows where similarity needs them.
  void item_rows() {
    const bool unit = recipe_.metric == Metric::kCosine;
    if (!unit && in_.items.dtype == Dtype::kF32) {
      out_->host_items = static_cast<const float*>(in_.items.data);
    } else {
      out_->host_items = prepare_table("items", exec_, in_.items, unit, *out_);
    }
    out_->world.items = out_->placement.borrow(unit ? "unit items" : "items", out_->host_items,
                                               std::size_t{num_items_} * in_.items.dim);
    if (unit) {
      out_->host_unit_items = out_->host_items;
    } else if (needs_unit_items(recipe_)) {
      out_->host_unit_items = prepare_table("items", exec_, in_.items, true, *out_);
    }
  }

  void exposure() {
    const Exposure* e = in_.exposure;
    Placement& place = out_->placement;
    World& w = out_->world;
    if (e != nullptr) {
      w.exposure.offsets = place.borrow("event offsets", e->offsets.data(), e->offsets.size());
      w.exposure.values = place.borrow("event items", e->items.data(), e->items.size());
      w.event_class = place.borrow("event classes", e->classes.data(), e->classes.size());
      w.event_time = place.borrow("event times", e->last_time.data(), e->last_time.size());
    } else {
      w.exposure.offsets = place.share<const std::uint64_t*>("no events", [&](Placement& arrays) {
        return arrays.keep(std::vector<std::uint64_t>(std::size_t{num_users_} + 1, 0));
      });
    }
  }

  void strata() {
    if (!recipe_.quota) {
      out_->stratum_names = {"all"};
      return;
    }
    Strata s = make_strata(exec_, recipe_, out_->snapshot, out_->world.popularity, in_.catalogue,
                           num_items_, out_->placement);
    sources_.set_strata(s.tables_name);
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
    out_->world.stratum = out_->placement.share<const std::uint32_t*>(
        s.tables_name, [&](Placement& arrays) { return arrays.keep(std::move(s.of_item)); });
  }

  void branches() {
    Plan& plan = out_->plan;
    std::vector<Filter> filters;
    std::vector<Weight> weights;
    if (recipe_.branches.size() > kMaxBranches)
      throw ConfigError("a recipe has at most 8 branches");
    for (const BranchSpec& spec : recipe_.branches) {
      plan.share[plan.num_branches] = spec.share;
      plan.branches[plan.num_branches] = branch(spec, filters, weights);
      plan.num_branches += 1;
    }
    plan.share_sum = recipe_.share_sum;
    plan.num_filters = static_cast<std::uint32_t>(filters.size());
    plan.num_weights = static_cast<std::uint32_t>(weights.size());
    plan.filters = out_->placement.keep(std::move(filters));
    plan.weights = out_->placement.keep(std::move(weights));
  }

  /// Appends the branch's filters and weights to those of the plan.
  Branch branch(const BranchSpec& spec, std::vector<Filter>& filters,
                std::vector<Weight>& weights) {
    Branch b;
    b.source = spec.source.kind;
    b.select = spec.select;
    b.hash = static_cast<std::uint32_t>(XXH3_64bits(spec.name.data(), spec.name.size()));
    b.max_rank =
        spec.source.kind == SourceKind::kTopk && !spec.source.all ? spec.source.max_rank : kNoItem;
    b.pool = spec.source.all ? kNoItem : spec.source.pool;
    b.first_filter = static_cast<std::uint32_t>(filters.size());
    branch_filters(spec, b, filters);
    b.num_filters = static_cast<std::uint32_t>(filters.size()) - b.first_filter;
    b.first_weight = static_cast<std::uint8_t>(weights.size());
    for (const WeightSpec& w : spec.weights)
      weights.push_back(compile_weight(w, spec.name, *out_, tables_));
    b.num_weights = static_cast<std::uint8_t>(weights.size() - b.first_weight);
    b.draws = spec.source.draws;
    b.class_mask = spec.source.classes;
    b.oldest = oldest_event(spec.source.max_age, out_->world.as_of);
    b.violation_margin = static_cast<float>(spec.violation_margin);
    sources_.compile(spec, std::span(filters).subspan(b.first_filter), b);
    out_->branch_names.push_back(spec.name);
    return b;
  }

  /// Safety first, then the branch's own. A raw rank window bounds the depth of `b` too.
  void branch_filters(const BranchSpec& spec, Branch& b, std::vector<Filter>& filters) {
    std::vector<FilterSpec> specs = recipe_.safety;
    specs.insert(specs.end(), spec.filters.begin(), spec.filters.end());
    if (specs.size() > kMaxFilters) {
      throw ConfigError("branch '" + spec.name + "' has " + std::to_string(specs.size()) +
                        " filters with safety; at most " + std::to_string(kMaxFilters));
    }
    std::vector<std::string> names;
    int survivor_windows = 0;
    for (const FilterSpec& f : specs) {
      const Filter& filter = filters.emplace_back(compile_filter(f, spec.name, *out_, tables_));
      names.push_back(filter_name(f));
      if (filter.kind == FilterKind::kSurvivorRank && ++survivor_windows > 1) {
        throw ConfigError("branch '" + spec.name +
                          "' has two windows over survivor ranks; give one");
      }
      if (filter.kind == FilterKind::kRawRank) {
        b.max_rank = std::min(b.max_rank, filter.hi);
        if (b.select == SelectKind::kFirstViolator) {
          throw ConfigError("branch '" + spec.name +
                            "' has a raw rank window, which draws for first_violator do not have");
        }
      }
    }
    out_->filter_names.push_back(std::move(names));
  }

  void backfill() {
    Plan& plan = out_->plan;
    for (const std::uint32_t b : recipe_.backfill)
      plan.backfill[plan.num_backfill++] = static_cast<std::uint8_t>(b);
  }

  void caps() {
    Plan& plan = out_->plan;
    if (recipe_.caps.size() > kMaxCaps) throw ConfigError("a recipe has at most 8 caps");
    for (const CapSpec& cap : recipe_.caps) {
      plan.caps[plan.num_caps++] = {tables_.column(cap.column, "a cap"), cap.per_row};
    }
  }

  const Recipe& recipe_;
  const MinerInputs& in_;
  Exec exec_;
  const Compiled* former_;
  std::unique_ptr<Compiled> out_;
  LookupTables tables_;
  SourceCompiler sources_;
  std::uint32_t num_items_ = 0;
  std::uint32_t num_users_ = 0;
};

}  // namespace

std::unique_ptr<Compiled> compile(const Recipe& recipe, const MinerInputs& inputs, const Exec& exec,
                                  std::uint32_t seed, std::uint32_t round, const Compiled* former) {
  return Compiler(recipe, inputs, exec, seed, round, former).run();
}

}  // namespace quarry

// A recipe: how a row's negatives are chosen, as validated data. Text form: TOML (docs/recipe.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/exact_score.h"
#include "kernels/model/plan.h"

namespace quarry {

/// One term of an exposure rule: some event of `kind` exists (no comparison), or exists with value
/// `op` `number`.
struct ExposureTerm {
  enum class Op : std::uint8_t { kExists, kLess, kLessEqual, kEqual, kGreaterEqual, kGreater };
  std::string kind;
  Op op = Op::kExists;
  double number = 0.0;
};
/// All terms must hold, each perhaps by another event of the same user on the same item.
struct ExposureRule {
  ExposureClass exposure_class = ExposureClass::kAmbiguous;
  std::vector<ExposureTerm> terms;
};
/// Rules in declared order, first match wins; what no rule names is ambiguous. Seconds.
struct ExposureRules {
  std::vector<ExposureRule> rules;
  std::optional<std::int64_t> window;  ///< older events do not count; positives never expire
};

enum class FilterType : std::uint8_t {
  kPositives,
  kExposed,
  kGroup,
  kNearDuplicate,
  kOverlap,
  kTime,
  kUniversal,
  kAllowList,
  kSegment,
  kScore,
  kAbsoluteMargin,
  kRelativeMargin,
  kRank,
  kColumn,
  kSimilarity,
};

/// A rank window, in ranks or as a share of the catalogue. Numbers are kept as written, in
/// millionths for quantiles.
struct RankWindow {
  bool survivors = true;
  bool quantile = false;
  std::uint64_t lo = 1;  ///< rank, or millionths
  std::uint64_t hi = 0xFFFFFFFFu;
};

struct FilterSpec {
  FilterType type = FilterType::kPositives;
  std::uint32_t classes = 0;            ///< kExposed: bit per ExposureClass
  std::optional<std::int64_t> max_age;  ///< kExposed: seconds; older exposure does not exclude
  std::string column;                   ///< kGroup, kSegment
  std::vector<std::string> columns;     ///< kOverlap
  std::uint32_t min_equal = 0;          ///< kOverlap
  std::string table;          ///< kNearDuplicate, kSimilarity: feature table, "" = item embeddings;
                              ///< kColumn: pair table; kAllowList: item list
  double bound = 0.0;         ///< cosine, share of users (kUniversal), margin, ratio, column bound
  double lo = 0.0, hi = 0.0;  ///< kScore; absent sides are -/+ infinity
  PositiveScore against = PositiveScore::kMin;
  RankWindow window;
  bool relative = false;        ///< kColumn
  bool reject_missing = false;  ///< kColumn
  int line = 0;                 ///< where in the recipe, for messages
  std::string kind_text;        ///< the kind as written, for counters and messages
};

struct WeightSpec {
  WeightKind kind = WeightKind::kSoftmax;
  CentreKind centre = CentreKind::kPositive;
  PositiveScore against = PositiveScore::kRandom;
  std::string table;        ///< kPairColumn
  double a = 1.0, b = 0.0;  ///< meaning per kind, kernels/model/plan.h
  double ahns_a = 0.0, ahns_b = 1.0, ahns_p = -2.0;
  double class_weight[kNumExposureClasses] = {
      0, 0, 0, 0, 0};  ///< as written (not logs); 0 = not a candidate's class
};

struct SourceSpec {
  SourceKind kind = SourceKind::kTopk;  ///< `all` is kTopk with pool = max_rank = catalogue
  bool all = false;
  std::uint32_t pool = 0xFFFFFFFFu;
  std::uint32_t max_rank = 0xFFFFFFFFu;
  double beta = 1.0;                    ///< popularity
  bool popularity_base = false;         ///< pool: drawn by popularity^beta instead of uniformly
  std::uint32_t draws = 0;              ///< pool: n; near: n
  std::uint32_t classes = 0;            ///< exposed
  std::optional<std::int64_t> max_age;  ///< exposed, seconds
  std::string table;                    ///< run: pair table
  std::uint32_t depth = 0;              ///< queue: rows that it holds
};

struct BranchSpec {
  std::string name;
  std::uint64_t share = 0;  ///< integer weight; all branches together sum to Recipe::share_sum
  SourceSpec source;
  std::vector<FilterSpec> filters;
  SelectKind select = SelectKind::kTop;
  double violation_margin = 0.0;
  std::vector<WeightSpec> weights;
  int line = 0;
};

/// One attribute of items cut into cells.
struct StratumAttribute {
  enum class Kind : std::uint8_t { kPopularity, kRecency, kColumn };
  std::string name;  ///< as used in [quota]
  Kind kind = Kind::kPopularity;
  std::uint32_t bins = 0;  ///< kPopularity: quantiles of (count, item)
  std::vector<std::int64_t>
      edges;  ///< kRecency: ages in seconds, ascending; cell c: edges[c-1] <= age < edges[c]
  std::vector<std::string> names;  ///< cell names; generated where not given
  std::string column;              ///< kColumn
};
struct QuotaAttribute {
  std::string attribute;
  enum class Shares : std::uint8_t { kNamed, kEqual, kCatalogue } mode = Shares::kNamed;
  std::vector<std::pair<std::string, std::uint64_t>>
      shares;  ///< millionths, sum 1,000,000; cells not named get 0
};
struct QuotaSpec {
  std::vector<QuotaAttribute> by;  ///< outermost first
  bool redistribute = false;
};
struct CapSpec {
  std::string column;
  std::uint32_t per_row = 0;
  int line = 0;
};

struct Recipe {
  std::string name;
  std::uint32_t k = 0;
  Metric metric = Metric::kInnerProduct;
  ExposureRules exposure;
  std::vector<FilterSpec> safety;
  std::vector<StratumAttribute> strata;
  std::vector<BranchSpec> branches;
  std::uint64_t share_sum = 1;
  std::optional<QuotaSpec> quota;
  std::vector<CapSpec> caps;
  std::vector<std::uint32_t> backfill;  ///< branch indices; default all in declared order
  std::string text;                     ///< the TOML it came from
  std::uint64_t hash = 0;               ///< XXH3-64 of the text
  std::vector<std::string> warnings;    ///< what is allowed but likely a mistake, a line each
  bool has_schedules = false;           ///< some number may be another one in another round
};

/// Parses and validates a whole recipe; numbers with a schedule are taken at `round`. `file` names
/// it in messages. Throws ConfigError listing what is wrong with line and column, the allowed
/// values and a suggestion.
Recipe parse_recipe(std::string_view toml, const std::string& file, std::uint32_t round);

/// A recipe by file path (ends in .toml or contains '/') or by name. Overrides are
/// "dotted.key=value" texts as on the command line: `k=4`, `metric=ip`,
/// `branch.hard.source.pool=100`, `seed` is not one.
Recipe load_recipe(const std::string& name_or_path, std::uint32_t round,
                   const std::vector<std::string>& overrides = {});

/// A row of the table of named recipes.
struct NamedRecipe {
  std::string name;
  std::string summary;
  std::string source;   ///< paper or system
  std::string toml;     ///< empty if the miner runs it nowhere
  std::string why_not;  ///< why it does not run over a table of rows; empty if it does
  bool over_tables() const { return why_not.empty(); }
  /// In a training loop alone: by quarry.Miner of Python, Miner::mine_batch.
  bool by_batches() const { return !toml.empty() && !why_not.empty(); }
};
/// Every named recipe in the order of the documentation.
const std::vector<NamedRecipe>& named_recipes();

/// All branches, or one of them, have a filter of the type.
bool uses_filter(const Recipe& recipe, FilterType type);

/// Name of a filter's reason in counters, e.g. "relative_margin".
std::string filter_name(const FilterSpec& filter);

}  // namespace quarry

// What recipes mean: the example of the documentation field by field, shorthands, schedules,
// overrides, named recipes.
#include "host/recipe/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// The full example of docs/recipe.md.
constexpr const char* kFullExample = R"toml(
name = "balanced"
k = 8                       # negatives per row
metric = "cosine"           # ip | cosine | l2

[exposure]                  # event rules, first match wins; what no rule names is ambiguous
positive    = ["purchase", "like", "rating>=4", "click & dwell>=30"]
aversion    = ["dislike", "hide", "avoid", "rating<=2"]
disinterest = ["skip", "scroll_past", "view & dwell<3", "rating=3"]
window = "180d"             # older events no longer count as exposure

[safety]                    # every branch, and backfill
filters = [
  { kind = "positives" },                            # of this user, merged over rows
  { kind = "exposed", classes = ["ambiguous"] },
  { kind = "group", column = "group" },              # same parent, seller, franchise as a positive
  { kind = "near_duplicate", cosine = 0.98 },
  { kind = "time" },                                 # first seen after t, retired
]

[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }   # quantiles of the count of positives up to as-of
recency    = { edges = ["30d", "180d"] }
category   = { column = "category" }

[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 200, max_rank = 5000 }
filters = [
  { kind = "exposed", classes = ["aversion", "disinterest"] },   # they have a branch of their own
  { kind = "relative_margin", ratio = 0.95, against = "min" },
  { kind = "rank", window = [1, 400], of = "survivors" },        # or quantile = [0.0, 0.12]; raw ranks with of = "raw"
]
select = { kind = "sample", weight = { kind = "simans", a = 0.5, b = 0.0 } }

[[branch]]
name = "exposed"
share = 0.1
source = { kind = "exposed", classes = ["aversion", "disinterest"], max_age = "90d" }

[[branch]]
name = "random"
share = 0.4
source = { kind = "uniform" }                        # or popularity^beta

[quota]
by = "popularity"
shares = { head = 0.4, torso = 0.35, tail = 0.25 }
cap = [{ column = "seller", per_row = 2 }]
backfill = ["random", "hard"]
)toml";

constexpr const char* kHead =
    "k = 8\n[safety]\nfilters = [\"positives\"]\n[[branch]]\nname = \"b\"\n";

Recipe with_branch(const std::string& lines, std::uint32_t round = 0) {
  return parse_recipe(kHead + lines, "r.toml", round);
}

/// Every field but text, hash and line numbers.
std::string fields(const Recipe& r) {
  std::string out =
      r.name + " k" + std::to_string(r.k) + " m" + std::to_string(static_cast<int>(r.metric));
  const auto add = [&out](const auto&... values) { ((out += " " + std::to_string(values)), ...); };
  const auto age = [&](const std::optional<std::int64_t>& value) { add(value.value_or(-1)); };
  const auto filter = [&](const FilterSpec& f) {
    out += "\n  filter " + filter_name(f) + " " + f.column + " " + f.table;
    add(static_cast<int>(f.type), f.classes, f.min_equal, f.bound, f.lo, f.hi,
        static_cast<int>(f.against), f.window.survivors, f.window.quantile, f.window.lo,
        f.window.hi, f.relative, f.reject_missing);
    age(f.max_age);
  };
  age(r.exposure.window);
  for (const ExposureRule& rule : r.exposure.rules) {
    out += "\nrule " + std::to_string(static_cast<int>(rule.exposure_class));
    for (const ExposureTerm& t : rule.terms) {
      out += " " + t.kind;
      add(static_cast<int>(t.op), t.number);
    }
  }
  for (const FilterSpec& f : r.safety) filter(f);
  for (const StratumAttribute& s : r.strata) {
    out += "\nstratum " + s.name + " " + s.column;
    add(static_cast<int>(s.kind), s.bins);
    for (const std::int64_t edge : s.edges) add(edge);
    for (const std::string& name : s.names) out += " " + name;
  }
  for (const BranchSpec& b : r.branches) {
    out += "\nbranch " + b.name + " " + b.source.table;
    add(b.share, r.share_sum, static_cast<int>(b.source.kind), b.source.all, b.source.pool,
        b.source.max_rank, b.source.beta, b.source.popularity_base, b.source.draws,
        b.source.classes, static_cast<int>(b.select), b.violation_margin);
    age(b.source.max_age);
    for (const FilterSpec& f : b.filters) filter(f);
    for (const WeightSpec& w : b.weights) {
      out += "\n  weight " + w.table;
      add(static_cast<int>(w.kind), static_cast<int>(w.centre), static_cast<int>(w.against), w.a,
          w.b, w.ahns_a, w.ahns_b, w.ahns_p);
      for (const double c : w.class_weight) add(c);
    }
  }
  if (r.quota) {
    out += "\nquota";
    add(r.quota->redistribute);
    for (const QuotaAttribute& q : r.quota->by) {
      out += " " + q.attribute;
      add(static_cast<int>(q.mode));
      for (const auto& [cell, share] : q.shares) {
        out += " " + cell;
        add(share);
      }
    }
  }
  for (const CapSpec& c : r.caps) out += "\ncap " + c.column + " " + std::to_string(c.per_row);
  for (const std::uint32_t b : r.backfill) out += "\nbackfill " + std::to_string(b);
  return out;
}

constexpr std::uint32_t bit(ExposureClass c) { return 1u << static_cast<unsigned>(c); }

TEST(Recipe, FullExampleHasExactlyTheseValues) {
  const Recipe r = parse_recipe(kFullExample, "example.toml", 0);
  EXPECT_EQ(r.name, "balanced");
  EXPECT_EQ(r.k, 8u);
  EXPECT_EQ(r.metric, Metric::kCosine);
  EXPECT_TRUE(r.warnings.empty());
  EXPECT_EQ(r.text, kFullExample);
  EXPECT_EQ(r.exposure.window, 180 * 86400);
  ASSERT_EQ(r.exposure.rules.size(), 12u);
  EXPECT_EQ(r.exposure.rules[0].exposure_class, ExposureClass::kPositive);
  EXPECT_EQ(r.exposure.rules[0].terms[0].kind, "purchase");
  EXPECT_EQ(r.exposure.rules[0].terms[0].op, ExposureTerm::Op::kExists);
  const ExposureRule& click = r.exposure.rules[3];
  ASSERT_EQ(click.terms.size(), 2u);
  EXPECT_EQ(click.terms[0].kind, "click");
  EXPECT_EQ(click.terms[1].kind, "dwell");
  EXPECT_EQ(click.terms[1].op, ExposureTerm::Op::kGreaterEqual);
  EXPECT_EQ(click.terms[1].number, 30.0);
  EXPECT_EQ(r.exposure.rules[7].exposure_class, ExposureClass::kAversion);
  EXPECT_EQ(r.exposure.rules[7].terms[0].op, ExposureTerm::Op::kLessEqual);
  EXPECT_EQ(r.exposure.rules[11].terms[0].op, ExposureTerm::Op::kEqual);
  EXPECT_EQ(r.exposure.rules[11].terms[0].number, 3.0);

  ASSERT_EQ(r.safety.size(), 5u);
  EXPECT_EQ(r.safety[0].type, FilterType::kPositives);
  EXPECT_EQ(r.safety[1].classes, bit(ExposureClass::kAmbiguous));
  EXPECT_EQ(r.safety[2].column, "group");
  EXPECT_EQ(r.safety[3].type, FilterType::kNearDuplicate);
  EXPECT_EQ(r.safety[3].bound, 0.98);
  EXPECT_EQ(r.safety[3].table, "");
  EXPECT_EQ(r.safety[4].type, FilterType::kTime);

  ASSERT_EQ(r.strata.size(), 3u);
  EXPECT_EQ(r.strata[0].bins, 3u);
  EXPECT_EQ(r.strata[0].names, (std::vector<std::string>{"tail", "torso", "head"}));
  EXPECT_EQ(r.strata[1].edges, (std::vector<std::int64_t>{30 * 86400, 180 * 86400}));
  EXPECT_EQ(r.strata[1].names, (std::vector<std::string>{"under-30d", "30d-180d", "from-180d"}));
  EXPECT_EQ(r.strata[2].kind, StratumAttribute::Kind::kColumn);
  EXPECT_EQ(r.strata[2].column, "category");

  ASSERT_EQ(r.branches.size(), 3u);
  EXPECT_EQ(r.share_sum, 10u);
  const BranchSpec& hard = r.branches[0];
  EXPECT_EQ(hard.share, 5u);
  EXPECT_EQ(hard.source.kind, SourceKind::kTopk);
  EXPECT_EQ(hard.source.pool, 200u);
  EXPECT_EQ(hard.source.max_rank, 5000u);
  ASSERT_EQ(hard.filters.size(), 3u);
  EXPECT_EQ(hard.filters[0].classes,
            bit(ExposureClass::kAversion) | bit(ExposureClass::kDisinterest));
  EXPECT_EQ(hard.filters[1].bound, 0.95);
  EXPECT_EQ(hard.filters[1].against, PositiveScore::kMin);
  EXPECT_TRUE(hard.filters[2].window.survivors);
  EXPECT_FALSE(hard.filters[2].window.quantile);
  EXPECT_EQ(hard.filters[2].window.lo, 1u);
  EXPECT_EQ(hard.filters[2].window.hi, 400u);
  EXPECT_EQ(hard.select, SelectKind::kSample);
  ASSERT_EQ(hard.weights.size(), 1u);
  EXPECT_EQ(hard.weights[0].kind, WeightKind::kSimans);
  EXPECT_EQ(hard.weights[0].a, 0.5);
  EXPECT_EQ(hard.weights[0].b, 0.0);
  EXPECT_EQ(hard.weights[0].against, PositiveScore::kRandom);
  EXPECT_EQ(r.branches[1].share, 1u);
  EXPECT_EQ(r.branches[1].source.kind, SourceKind::kExposed);
  EXPECT_EQ(r.branches[1].source.max_age, 90 * 86400);
  EXPECT_EQ(r.branches[1].select, SelectKind::kSample);
  EXPECT_EQ(r.branches[2].share, 4u);
  EXPECT_EQ(r.branches[2].source.kind, SourceKind::kUniform);

  ASSERT_TRUE(r.quota.has_value());
  ASSERT_EQ(r.quota->by.size(), 1u);
  EXPECT_EQ(r.quota->by[0].attribute, "popularity");
  EXPECT_EQ(r.quota->by[0].shares, (std::vector<std::pair<std::string, std::uint64_t>>{
                                       {"head", 400000}, {"torso", 350000}, {"tail", 250000}}));
  EXPECT_FALSE(r.quota->redistribute);
  ASSERT_EQ(r.caps.size(), 1u);
  EXPECT_EQ(r.caps[0].column, "seller");
  EXPECT_EQ(r.caps[0].per_row, 2u);
  EXPECT_EQ(r.backfill, (std::vector<std::uint32_t>{2, 0}));
}

TEST(Recipe, TheDocumentationShowsTheExampleOfTheTest) {
  std::ifstream in(std::string(QUARRY_SOURCE_DIR) + "/docs/recipe.md");
  const std::string page{std::istreambuf_iterator<char>(in), {}};
  EXPECT_NE(page.find("```toml" + std::string(kFullExample) + "```"), std::string::npos);
}

TEST(Recipe, EveryNamedRecipeIsValidAtManyRoundsOrSaysWhyNot) {
  std::size_t runnable = 0, by_batches = 0;
  for (const NamedRecipe& named : named_recipes()) {
    EXPECT_FALSE(named.summary.empty() || named.source.empty()) << named.name;
    EXPECT_FALSE(named.toml.empty() && named.why_not.empty()) << named.name;
    EXPECT_EQ(named.over_tables(), named.why_not.empty()) << named.name;
    if (named.toml.empty()) continue;
    ++runnable;
    by_batches += named.by_batches() ? 1 : 0;
    for (const std::uint32_t round : {0u, 1u, 5u, 6u, 12u, 100u}) {
      const Recipe r = parse_recipe(named.toml, named.name, round);
      EXPECT_EQ(r.name, named.name);
      EXPECT_TRUE(r.warnings.empty()) << named.name;
      EXPECT_EQ(r.safety.at(0).type, FilterType::kPositives) << named.name;
      EXPECT_EQ(fields(r), fields(load_recipe(named.name, round))) << named.name;
      const bool shared =
          std::any_of(r.branches.begin(), r.branches.end(),
                      [](const BranchSpec& branch) { return is_shared(branch.source.kind); });
      EXPECT_EQ(named.by_batches(), shared) << named.name;
    }
  }
  EXPECT_GE(runnable, 30u);
  EXPECT_EQ(by_batches, 2u);
}

TEST(Recipe, OverriddenTextParsesToTheSameRecipe) {
  for (const NamedRecipe& named : named_recipes()) {
    if (named.toml.empty()) continue;
    const Recipe plain = parse_recipe(named.toml, named.name, 3);
    const Recipe touched = load_recipe(named.name, 3, {"metric=l2"});
    EXPECT_NE(touched.hash, plain.hash);
    EXPECT_EQ(fields(touched), fields(parse_recipe(touched.text, "again", 3))) << touched.text;
    Recipe expected = plain;
    expected.metric = Metric::kL2;
    EXPECT_EQ(fields(touched), fields(expected));
  }
}

TEST(Recipe, OverridesReachEveryPlace) {
  const Recipe r = load_recipe(
      "balanced", 0,
      {"k=4", "metric=ip", "branch.hard.source.pool=100",
       "branch.0.filters.relative_margin.ratio=0.9",
       "branch.random.source={kind = \"popularity\", beta = 0.5}", "quota.redistribute=true",
       "quota.cap=[{column = \"seller\", per_row = 1}]", "safety.filters.2.cosine=0.9",
       "name=\"mine\"", "branch.hard.select.weight.a=0.25"});
  EXPECT_EQ(r.k, 4u);
  EXPECT_EQ(r.metric, Metric::kInnerProduct);
  EXPECT_EQ(r.branches[0].source.pool, 100u);
  EXPECT_EQ(r.branches[0].filters[1].bound, 0.9);
  EXPECT_EQ(r.branches[0].weights[0].a, 0.25);
  EXPECT_EQ(r.branches[2].source.kind, SourceKind::kPopularity);
  EXPECT_EQ(r.branches[2].source.beta, 0.5);
  EXPECT_TRUE(r.quota->redistribute);
  EXPECT_EQ(r.caps.at(0).per_row, 1u);
  EXPECT_EQ(r.safety[2].bound, 0.9);
  EXPECT_EQ(r.name, "mine");
}

TEST(Recipe, SchedulesAreLinearOrSteps) {
  const auto pool_at = [](const char* kind, std::uint32_t round) {
    return with_branch(
               std::string(
                   "source = { kind = \"topk\", pool = { schedule = [[2, 10], [6, 20], [8, 50]]") +
                   kind + " } }\n",
               round)
        .branches[0]
        .source.pool;
  };
  const std::pair<std::uint32_t, std::uint32_t> linear[] = {{0, 10}, {2, 10}, {3, 13}, {4, 15},
                                                            {6, 20}, {7, 35}, {8, 50}, {99, 50}};
  for (const auto& [round, pool] : linear) EXPECT_EQ(pool_at("", round), pool) << round;
  const std::pair<std::uint32_t, std::uint32_t> steps[] = {{0, 10}, {5, 10}, {6, 20},
                                                           {7, 20}, {8, 50}, {99, 50}};
  for (const auto& [round, pool] : steps)
    EXPECT_EQ(pool_at(", kind = \"step\"", round), pool) << round;
  const Recipe r = with_branch(
      "source = \"all\"\nfilters = [{ kind = \"relative_margin\", ratio = { schedule = [[0, 0.8], "
      "[4, 1.0]] } }]\n",
      1);
  EXPECT_DOUBLE_EQ(r.branches[0].filters[0].bound, 0.85);
  EXPECT_EQ(parse_recipe(named_recipes()[0].toml, "b", 0).k, 8u);
  EXPECT_EQ(load_recipe("pinsage", 4).k, 504u);
  EXPECT_EQ(load_recipe("pinsage", 4).branches[1].share, 4u);
}

TEST(Recipe, ExposureRulesKeepTheOrderOfTheText) {
  const auto classes = [](const std::string& exposure) {
    std::vector<ExposureClass> out;
    for (const ExposureRule& rule :
         with_branch("source = \"all\"\n[exposure]\n" + exposure).exposure.rules) {
      out.push_back(rule.exposure_class);
    }
    return out;
  };
  using C = ExposureClass;
  EXPECT_EQ(classes("positive = [\"a\"]\naversion = [\"b\", \"c\"]\n"),
            (std::vector<C>{C::kPositive, C::kAversion, C::kAversion}));
  EXPECT_EQ(classes("disinterest = [\"d\"]\nambiguous = [\"e\"]\nwindow = \"1d\"\npositive = "
                    "[\"a\"]\naversion = [\"b\"]\n"),
            (std::vector<C>{C::kDisinterest, C::kAmbiguous, C::kPositive, C::kAversion}));
}

TEST(Recipe, RuleTextsReadAllComparisons) {
  const auto rules = with_branch(
                         "source = \"all\"\n[exposure]\npositive = [\"a<1\", \"b<=-2.5\", \"c=3\", "
                         "\"d==3\", \"e>=4e1\", \"f > 5\", \" g_h & i-j \"]\n")
                         .exposure.rules;
  using Op = ExposureTerm::Op;
  const Op ops[] = {Op::kLess,  Op::kLessEqual,    Op::kEqual,
                    Op::kEqual, Op::kGreaterEqual, Op::kGreater};
  const double numbers[] = {1, -2.5, 3, 3, 40, 5};
  ASSERT_EQ(rules.size(), 7u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(rules[i].terms[0].kind, std::string(1, static_cast<char>('a' + i)));
    EXPECT_EQ(rules[i].terms[0].op, ops[i]);
    EXPECT_EQ(rules[i].terms[0].number, numbers[i]);
  }
  EXPECT_EQ(rules[6].terms[0].kind, "g_h");
  EXPECT_EQ(rules[6].terms[1].kind, "i-j");
}

TEST(Recipe, ShorthandsMeanTheirLongForms) {
  const std::pair<const char*, const char*> same[] = {
      {"source = \"popularity^0.75\"\n", "source = { kind = \"popularity\", beta = 0.75 }\n"},
      {"source = \"all\"\n", "source = { kind = \"topk\" }\n"},
      {"source = \"all\"\nselect = \"top\"\n",
       "source = \"all\"\nselect = { kind = \"top\", by = \"score\" }\n"},
      {"source = \"all\"\nselect = \"sample\"\n",
       "source = \"all\"\nselect = { kind = \"sample\", weight = \"uniform\" }\n"},
      {"source = \"all\"\nselect = { kind = \"sample\", weight = \"softmax\" }\n",
       "source = \"all\"\nselect = { kind = \"sample\", weight = [{ kind = \"softmax\", tau = 1 }, "
       "\"uniform\"] }\n"},
      {"source = \"uniform\"\n", "source = \"uniform\"\nshare = 1.0\n"},
      {"source = { kind = \"run\", table = \"t\" }\n",
       "select = { by = \"rank\", kind = \"top\" }\nsource = { table = \"t\", kind = \"run\" }\n"},
      {"source = \"all\"\nfilters = [\"time\"]\n",
       "source = \"all\"\nfilters = [{ kind = \"time\" }]\n"},
      {"source = \"all\"\nfilters = [{ kind = \"relative_margin\", ratio = 0.5, against = \"each\" "
       "}]\n",
       "source = \"all\"\nfilters = [{ kind = \"relative_margin\", ratio = 0.5 }]\n"},
      {"source = \"all\"\n[quota]\nbackfill = [\"b\"]\n", "source = \"all\"\n"},
  };
  for (const auto& [brief, full] : same) {
    std::string a = fields(with_branch(brief)), b = fields(with_branch(full));
    // `all` remembers its name; otherwise it is topk without limits.
    if (std::string(full).find("\"topk\"") != std::string::npos) {
      EXPECT_TRUE(with_branch(brief).branches[0].source.all);
      EXPECT_EQ(with_branch(brief).branches[0].source.pool,
                with_branch(full).branches[0].source.pool);
      continue;
    }
    EXPECT_EQ(a, b);
  }
}

TEST(Recipe, SharesAreExactAndReduced) {
  const auto shares = [](const std::vector<std::string>& texts) {
    std::string toml = "k = 8\n[safety]\nfilters = [\"positives\"]\n";
    for (std::size_t i = 0; i < texts.size(); ++i) {
      toml += "[[branch]]\nname = \"b" + std::to_string(i) + "\"\n" + texts[i] +
              "\nsource = \"uniform\"\n";
    }
    const Recipe r = parse_recipe(toml, "r.toml", 0);
    std::vector<std::uint64_t> out;
    for (const BranchSpec& b : r.branches) out.push_back(b.share);
    out.push_back(r.share_sum);
    return out;
  };
  using V = std::vector<std::uint64_t>;
  EXPECT_EQ(shares({"share = 0.1", "share = 0.2", "share = 0.7"}), (V{1, 2, 7, 10}));
  EXPECT_EQ(shares({"share = 0.333333", "share = 0.666667"}), (V{333333, 666667, 1000000}));
  EXPECT_EQ(shares({"share = 0.333333", "share = 0.333333", "share = 0.333333"}), (V{1, 1, 1, 3}));
  EXPECT_EQ(shares({"share = 1", "share = 0"}), (V{1, 0, 1}));
  EXPECT_EQ(shares({"count = 2", "count = 6"}), (V{2, 6, 8}));
}

TEST(Recipe, QuotasOfSeveralAttributes) {
  const Recipe r = with_branch(
      "source = \"all\"\n[strata]\npopularity = { bins = 2 }\nrecency = { edges = [3600], names = "
      "[\"new\", \"old\"] }\n"
      "genre = { column = \"genre\" }\n[quota]\nby = [\"genre\", \"popularity\", "
      "\"recency\"]\nredistribute = true\n"
      "shares = { popularity = { q1 = 0.25, q2 = 0.75 }, genre = \"catalogue\", recency = "
      "\"equal\" }\n");
  ASSERT_EQ(r.quota->by.size(), 3u);
  EXPECT_EQ(r.quota->by[0].mode, QuotaAttribute::Shares::kCatalogue);
  EXPECT_EQ(r.quota->by[1].shares[1].second, 750000u);
  EXPECT_EQ(r.quota->by[2].mode, QuotaAttribute::Shares::kEqual);
  EXPECT_TRUE(r.quota->redistribute);
  const Recipe thirds = with_branch(
      "source = \"all\"\n[strata]\npopularity = { bins = 3 }\n[quota]\nby = \"popularity\"\n"
      "shares = { q1 = 0.333333, q2 = 0.333333, q3 = 0.333333 }\n");
  std::uint64_t sum = 0;
  for (const auto& [cell, share] : thirds.quota->by[0].shares) sum += share;
  EXPECT_EQ(sum, 1000000u);
}

TEST(Recipe, EveryFilterWeightAndSourceReads) {
  const Recipe r = with_branch(
      "source = { kind = \"pool\", n = 50, base = \"popularity\", beta = 0.5 }\n"
      "filters = [{ kind = \"similarity\", max = 0.5, table = \"text\" }, { kind = \"overlap\", "
      "columns = [\"a\", \"b\"], min_equal = 2 },\n"
      "  { kind = \"universal\", share = 0.2 }, { kind = \"allow_list\", list = \"shop\" }, { kind "
      "= \"segment\", column = \"region\" },\n"
      "  { kind = \"score\", hi = 0.7 }, { kind = \"absolute_margin\", margin = 0.05, against = "
      "\"mean\" },\n"
      "  { kind = \"rank\", quantile = [0.0, 0.12], of = \"raw\" },\n"
      "  { kind = \"column\", table = \"teacher\", relative = 0.9, missing = \"reject\" }]\n"
      "[branch.select]\nkind = \"top1_sample\"\n"
      "weight = [{ kind = \"distance\", tau = 3, centre = { kind = \"ahns\", a = 0.1, b = 0.4, p = "
      "-1 } },\n"
      "  { kind = \"popularity\", beta = -0.5, smoothing = 2 }, { kind = \"rank_geometric\", "
      "lambda = 30 },\n"
      "  { kind = \"rank_beta\", j = 5 }, { kind = \"column\", table = \"teacher\", coef = -2 },\n"
      "  { kind = \"class\", non_consumption = 1, aversion = 3 }]\n");
  const BranchSpec& b = r.branches[0];
  EXPECT_EQ(b.source.draws, 50u);
  EXPECT_TRUE(b.source.popularity_base);
  EXPECT_EQ(b.source.beta, 0.5);
  ASSERT_EQ(b.filters.size(), 9u);
  EXPECT_EQ(b.filters[0].table, "text");
  EXPECT_EQ(b.filters[1].columns.size(), 2u);
  EXPECT_EQ(b.filters[1].min_equal, 2u);
  EXPECT_EQ(b.filters[2].bound, 0.2);
  EXPECT_EQ(b.filters[3].table, "shop");
  EXPECT_EQ(b.filters[4].column, "region");
  EXPECT_EQ(b.filters[5].lo, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(b.filters[5].hi, 0.7);
  EXPECT_EQ(b.filters[6].against, PositiveScore::kMean);
  EXPECT_EQ(b.filters[7].window.lo, 0u);
  EXPECT_EQ(b.filters[7].window.hi, 120000u);
  EXPECT_TRUE(b.filters[7].window.quantile);
  EXPECT_FALSE(b.filters[7].window.survivors);
  EXPECT_TRUE(b.filters[8].relative);
  EXPECT_TRUE(b.filters[8].reject_missing);
  EXPECT_EQ(b.select, SelectKind::kTop1Sample);
  ASSERT_EQ(b.weights.size(), 6u);
  EXPECT_EQ(b.weights[0].centre, CentreKind::kAhns);
  EXPECT_EQ(b.weights[0].ahns_b, 0.4);
  EXPECT_EQ(b.weights[0].ahns_p, -1.0);
  EXPECT_EQ(b.weights[1].b, 2.0);
  EXPECT_EQ(b.weights[3].a, 5.0);
  EXPECT_EQ(b.weights[4].a, -2.0);
  EXPECT_EQ(b.weights[5].class_weight[2], 3.0);
  const Recipe queue = with_branch("source = { kind = \"queue\", depth = 20, pool = 9 }\n");
  EXPECT_EQ(queue.branches[0].source.kind, SourceKind::kQueue);
  EXPECT_EQ(queue.branches[0].source.depth, 20u);
  EXPECT_EQ(queue.branches[0].source.pool, 9u);
  EXPECT_EQ(with_branch("source = \"batch\"\n").branches[0].select, SelectKind::kTop);
  const Recipe near = with_branch("source = { kind = \"near\", n = 20 }\n");
  EXPECT_EQ(near.branches[0].select, SelectKind::kTopByRank);
  const Recipe warp = with_branch(
      "source = { kind = \"pool\", n = 20 }\nselect = { kind = \"first_violator\", margin = 1 }\n");
  EXPECT_EQ(warp.branches[0].violation_margin, 1.0);
}

TEST(Recipe, FilterNamesTellFiltersApart) {
  const Recipe r = parse_recipe(kFullExample, "example.toml", 0);
  EXPECT_EQ(filter_name(r.safety[0]), "positives");
  EXPECT_EQ(filter_name(r.safety[1]), "exposed:ambiguous");
  EXPECT_EQ(filter_name(r.safety[2]), "group:group");
  EXPECT_EQ(filter_name(r.branches[0].filters[0]), "exposed:aversion+disinterest");
  EXPECT_EQ(filter_name(r.branches[0].filters[1]), "relative_margin");
  EXPECT_EQ(filter_name(r.branches[0].filters[2]), "rank:survivors");
}

TEST(Recipe, WarnsOfWhatIsAllowedButLikelyWrong) {
  const auto warned = [](const Recipe& r, const char* text) {
    return std::any_of(r.warnings.begin(), r.warnings.end(),
                       [&](const std::string& w) { return w.find(text) != std::string::npos; });
  };
  EXPECT_TRUE(warned(with_branch("source = { kind = \"exposed\", classes = [\"aversion\"] }\n"),
                     "100 % of the negatives"));
  EXPECT_TRUE(warned(with_branch("source = { kind = \"topk\", pool = 100, max_rank = 50 }\n"),
                     "beyond max_rank = 50"));
  EXPECT_TRUE(
      warned(with_branch(
                 "source = \"all\"\ncount = 8\n[quota]\ncap = [{ column = \"c\", per_row = 9 }]\n"),
             "never binds"));
  EXPECT_TRUE(warned(with_branch("source = \"all\"\n"), "makes an event positive"));
  const Recipe unsafe = parse_recipe(
      "k = 1\n[safety]\nallow_positives = true\n[[branch]]\nname = \"b\"\nsource = \"all\"\n",
      "r.toml", 0);
  EXPECT_TRUE(unsafe.safety.empty());
  EXPECT_TRUE(warned(unsafe, "r.toml:2:1: allow_positives"));
}

}  // namespace
}  // namespace quarry

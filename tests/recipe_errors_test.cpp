// Recipes that must be refused: place, value and remedy of the message, all problems at once, and
// mutated texts.
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "host/recipe/recipe.h"
#include "kernels/core/errors.h"
#include "tests/support/bad_input.h"

namespace quarry {
namespace {

constexpr const char* kGood[] = {
    "k = 8",      "[safety]",        "filters = [{ kind = \"positives\" }]",
    "[[branch]]", "name = \"hard\"", "source = { kind = \"topk\", pool = 200, max_rank = 5000 }",
};

/// The good recipe with some lines replaced and text added behind it (from line 7).
std::string recipe_text_with(const std::map<int, std::string>& lines, const std::string& behind) {
  std::string text;
  for (int line = 1; line <= 6; ++line) {
    const auto found = lines.find(line);
    text += (found != lines.end() ? found->second : std::string(kGood[line - 1])) + "\n";
  }
  return text + behind;
}

std::string message_of(const std::string& text) {
  try {
    parse_recipe(text, "r.toml", 0);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

struct BadRecipe {
  const char* name;
  std::map<int, std::string> lines;
  std::string behind;
  std::vector<const char*> expected;  ///< fragments of the message, the place first
};

void PrintTo(const BadRecipe& bad, std::ostream* out) { *out << bad.name; }

class BadRecipes : public ::testing::TestWithParam<BadRecipe> {};

TEST_P(BadRecipes, AreRefusedWithPlaceValueAndRemedy) {
  const BadRecipe& bad = GetParam();
  const std::string message = message_of(recipe_text_with(bad.lines, bad.behind));
  ASSERT_NE(message, "") << "was accepted";
  for (const char* fragment : bad.expected) {
    EXPECT_NE(message.find(fragment), std::string::npos) << "no " << fragment << " in\n" << message;
  }
}

const char* const kBranchB = "[[branch]]\nname = \"b\"\n";

// clang-format off
const BadRecipe kBadRecipes[] = {
    {"not_toml", {{1, "k = = 8"}}, "", {"r.toml:1:5:", "not TOML"}},
    {"unclosed_text", {{5, "name = \"hard"}}, "", {"r.toml:5:13:", "not TOML"}},
    {"key_twice", {{1, "k = 8\nk = 9"}}, "", {"r.toml:2:5:", "not TOML"}},
    {"no_k", {{1, ""}}, "", {"r.toml:1:1:", "no k"}},
    {"k_zero", {{1, "k = 0"}}, "", {"r.toml:1:5:", "k is 0; allowed 1 to 65535"}},
    {"k_negative", {{1, "k = -3"}}, "", {"r.toml:1:5:", "k is -3; allowed 1 to 65535"}},
    {"k_too_large", {{1, "k = 65536"}}, "", {"r.toml:1:5:", "k is 65536; allowed 1 to 65535"}},
    {"k_text", {{1, "k = \"8\""}}, "", {"r.toml:1:5:", "expected an integer", "without quotes"}},
    {"k_fraction", {{1, "k = 8.5"}}, "", {"r.toml:1:5:", "k is 8.5; expected an integer"}},
    {"k_date", {{1, "k = 2020-01-01"}}, "", {"r.toml:1:5:", "the date 2020-01-01"}},
    {"unknown_top_key", {{1, "k = 8\nmetrik = \"ip\""}}, "", {"r.toml:2:1:", "unknown key \"metrik\"", "did you mean \"metric\"?"}},
    {"seed_in_recipe", {{1, "k = 8\nseed = 1"}}, "", {"r.toml:2:1:", "belongs to a run", "--seed"}},
    {"metric", {{1, "k = 8\nmetric = \"cosin\""}}, "", {"r.toml:2:10:", "allowed: ip, cosine, l2", "did you mean \"cosine\"?"}},
    {"no_safety", {{2, ""}, {3, ""}}, "", {"r.toml:1:1:", "{ kind = \"positives\" }", "allow_positives"}},
    {"safety_without_positives", {{3, "filters = [{ kind = \"time\" }]"}}, "", {"r.toml:2:1:", "positives"}},
    {"rank_in_safety", {{3, "filters = [\"positives\", { kind = \"rank\", window = [1, 50] }]"}}, "", {"r.toml:3:25:", "ranks belong to a branch"}},
    {"filters_no_list", {{3, "filters = \"positives\""}}, "", {"r.toml:3:11:", "expected a list"}},
    {"filter_number", {{3, "filters = [\"positives\", 3]"}}, "", {"r.toml:3:25:", "expected a kind"}},
    {"filter_without_kind", {{3, "filters = [\"positives\", { max = 3 }]"}}, "", {"r.toml:3:25:", "has no kind"}},
    {"filter_kind", {{3, "filters = [\"positives\", \"near_duplicat\"]"}}, "", {"r.toml:3:25:", "did you mean \"near_duplicate\"?"}},
    {"filter_key", {{3, "filters = [{ kind = \"positives\", column = \"x\" }]"}}, "", {"r.toml:3:34:", "unknown key \"column\"", "allowed: kind"}},
    {"class", {{3, "filters = [\"positives\", { kind = \"exposed\", classes = [\"aversoin\"] }]"}}, "", {"r.toml:3:56:", "class \"aversoin\"", "did you mean \"aversion\"?"}},
    {"classes_empty", {{3, "filters = [\"positives\", { kind = \"exposed\", classes = [] }]"}}, "", {"r.toml:3:55:", "a list of 0"}},
    {"class_twice", {{3, "filters = [\"positives\", { kind = \"exposed\", classes = [\"aversion\", \"aversion\"] }]"}}, "", {"r.toml:3:68:", "stands twice"}},
    {"max_age", {{3, "filters = [\"positives\", { kind = \"exposed\", classes = [\"aversion\"], max_age = \"90 days\" }]"}}, "", {"r.toml:3:79:", "\"90 days\"", "30d"}},
    {"max_age_negative", {{3, "filters = [\"positives\", { kind = \"exposed\", classes = [\"aversion\"], max_age = -5 }]"}}, "", {"r.toml:3:79:", "is -5"}},
    {"cosine_above_one", {{3, "filters = [\"positives\", { kind = \"near_duplicate\", cosine = 98 }]"}}, "", {"r.toml:3:61:", "cosine", "is 98", "more than 0 up to 1"}},
    {"cosine_nan", {{3, "filters = [\"positives\", { kind = \"near_duplicate\", cosine = nan }]"}}, "", {"r.toml:3:61:", "is nan"}},
    {"no_cosine", {{3, "filters = [\"positives\", \"near_duplicate\"]"}}, "", {"r.toml:3:25:", "has no cosine"}},
    {"similarity", {{3, "filters = [\"positives\", { kind = \"similarity\", max = 2 }]"}}, "", {"r.toml:3:54:", "-1 to 1"}},
    {"overlap", {{3, "filters = [\"positives\", { kind = \"overlap\", columns = [\"a\", \"b\"], min_equal = 3 }]"}}, "", {"r.toml:3:79:", "min_equal", "is 3", "1 to 2"}},
    {"universal", {{3, "filters = [\"positives\", { kind = \"universal\", share = 1.5 }]"}}, "", {"r.toml:3:55:", "is 1.5"}},
    {"allow_list", {{3, "filters = [\"positives\", { kind = \"allow_list\" }]"}}, "", {"r.toml:3:25:", "has no list"}},
    {"group_empty", {{3, "filters = [\"positives\", { kind = \"group\", column = \"\" }]"}}, "", {"r.toml:3:52:", "not empty"}},
    {"two_segments", {{3, "filters = [\"positives\", { kind = \"segment\", column = \"a\" }, { kind = \"segment\", column = \"b\" }]"}}, "", {"r.toml:1:1:", "2 segment columns"}},
    {"score_no_side", {}, "filters = [\"score\"]\n", {"r.toml:7:12:", "neither lo nor hi"}},
    {"score_order", {}, "filters = [{ kind = \"score\", lo = 0.9, hi = 0.1 }]\n", {"r.toml:7:35:", "above hi = 0.1"}},
    {"margin_negative", {}, "filters = [{ kind = \"absolute_margin\", margin = -0.1 }]\n", {"r.toml:7:49:", "is -0.1", "at least 0"}},
    {"ratio", {}, "filters = [{ kind = \"relative_margin\", ratio = 95 }]\n", {"r.toml:7:48:", "ratio", "is 95"}},
    {"against", {}, "filters = [{ kind = \"relative_margin\", ratio = 0.95, against = \"minimum\" }]\n", {"r.toml:7:64:", "allowed: min, each, max, mean, random"}},
    {"window_from_zero", {{1, "k = 1"}}, "filters = [{ kind = \"rank\", window = [0, 3] }]\n", {"r.toml:7:39:", "lo of", "is 0", "1 to"}},
    {"window_reversed", {{1, "k = 1"}}, "filters = [{ kind = \"rank\", window = [9, 3] }]\n", {"r.toml:7:38:", "[9, 3]", "swap"}},
    {"window_too_narrow", {{1, "k = 10"}}, "filters = [{ kind = \"rank\", window = [1, 3] }]\n", {"r.toml:7:12:", "holds 3 ranks", "up to 10", "lower k"}},
    {"window_one_number", {}, "filters = [{ kind = \"rank\", window = [5] }]\n", {"r.toml:7:38:", "expected [lo, hi]"}},
    {"window_and_quantile", {}, "filters = [{ kind = \"rank\", window = [1, 50], quantile = [0.0, 0.5] }]\n", {"r.toml:7:12:", "both window and quantile"}},
    {"rank_without_window", {}, "filters = [\"rank\"]\n", {"r.toml:7:12:", "neither window nor quantile"}},
    {"quantile_percent", {}, "filters = [{ kind = \"rank\", quantile = [0, 12] }]\n", {"r.toml:7:44:", "hi of", "is 12", "0 to 1"}},
    {"quantile_empty", {}, "filters = [{ kind = \"rank\", quantile = [0.5, 0.5] }]\n", {"r.toml:7:40:", "holds no rank"}},
    {"rank_of", {}, "filters = [{ kind = \"rank\", window = [1, 50], of = \"survivor\" }]\n", {"r.toml:7:52:", "did you mean \"survivors\"?"}},
    {"two_survivor_windows", {}, "filters = [{ kind = \"rank\", window = [1, 50] }, { kind = \"rank\", window = [5, 90] }]\n", {"r.toml:7:49:", "two windows over survivor ranks"}},
    {"window_beyond_max_rank", {}, "filters = [{ kind = \"rank\", window = [6000, 7000], of = \"raw\" }]\n", {"r.toml:7:12:", "leave no rank"}},
    {"windows_apart", {}, "filters = [{ kind = \"rank\", window = [1, 50], of = \"raw\" }, { kind = \"rank\", window = [60, 90] }]\n", {"r.toml:7:61:", "leave no rank"}},
    {"column_bounds", {}, "filters = [{ kind = \"column\", table = \"t\", max = 0.1, relative = 1.0 }]\n", {"r.toml:7:12:", "both max and relative"}},
    {"column_no_table", {}, "filters = [{ kind = \"column\", max = 0.1 }]\n", {"r.toml:7:12:", "has no table"}},
    {"column_missing", {}, "filters = [{ kind = \"column\", table = \"t\", max = 0.1, missing = \"drop\" }]\n", {"r.toml:7:65:", "allowed: keep, reject"}},
    {"no_branch", {{4, ""}, {5, ""}, {6, ""}}, "", {"r.toml:1:1:", "no [[branch]]"}},
    {"branch_single_brackets", {{4, "[branch]"}}, "", {"r.toml:4:1:", "double brackets"}},
    {"branch_no_name", {{5, ""}}, "", {"r.toml:4:1:", "has no name"}},
    {"branch_name", {{5, "name = \"a.b\""}}, "", {"r.toml:5:8:", "\"a.b\"", "letters, digits"}},
    {"branch_key", {}, "weight = \"uniform\"\n", {"r.toml:7:1:", "unknown key \"weight\" in branch \"hard\""}},
    {"branch_twice", {}, "share = 0.5\n[[branch]]\nname = \"hard\"\nshare = 0.5\nsource = \"uniform\"\n", {"r.toml:9:8:", "two branches are called \"hard\""}},
    {"shares_do_not_sum", {}, std::string("share = 0.5\n") + kBranchB + "share = 0.4\nsource = \"uniform\"\n", {"r.toml:7:9:", "sum to 0.9", "0.5 + 0.4"}},
    {"share_above_one", {}, "share = 1.5\n", {"r.toml:7:9:", "is 1.5", "0 to 1"}},
    {"share_missing", {}, std::string("share = 1.0\n") + kBranchB + "source = \"uniform\"\n", {"r.toml:8:1:", "neither share nor count"}},
    {"share_and_count", {}, "share = 1.0\ncount = 8\n", {"r.toml:8:9:", "has share and count"}},
    {"share_beside_count", {}, std::string("count = 8\n") + kBranchB + "share = 0.5\nsource = \"uniform\"\n", {"r.toml:10:9:", "use one of the two"}},
    {"counts_do_not_sum", {}, std::string("count = 5\n") + kBranchB + "count = 4\nsource = \"uniform\"\n", {"r.toml:7:9:", "sum to 9 (5 + 4)", "k = 8"}},
    {"no_source", {{6, ""}}, "", {"r.toml:4:1:", "has no source"}},
    {"source_kind", {{6, "source = \"top\""}}, "", {"r.toml:6:10:", "did you mean \"topk\"?"}},
    {"source_key", {{6, "source = { kind = \"topk\", pol = 200 }"}}, "", {"r.toml:6:27:", "unknown key \"pol\"", "did you mean \"pool\"?"}},
    {"pool_below_k", {{6, "source = { kind = \"topk\", pool = 5 }"}}, "", {"r.toml:6:10:", "pool = 5", "up to 8"}},
    {"max_rank_below_k", {{6, "source = { kind = \"topk\", max_rank = 7 }"}}, "", {"r.toml:6:10:", "max_rank = 7"}},
    {"pool_zero", {{6, "source = { kind = \"topk\", pool = 0 }"}}, "", {"r.toml:6:34:", "is 0; allowed 1 to"}},
    {"draws_below_k", {{6, "source = { kind = \"pool\", n = 4 }"}}, "", {"r.toml:6:10:", "n = 4 candidates", "raise n"}},
    {"draws_missing", {{6, "source = \"pool\""}}, "", {"r.toml:6:10:", "has no n"}},
    {"pool_base", {{6, "source = { kind = \"pool\", n = 40, base = \"popular\" }"}}, "", {"r.toml:6:42:", "did you mean \"popularity\"?"}},
    {"pool_beta", {{6, "source = { kind = \"pool\", n = 40, beta = 0.5 }"}}, "", {"r.toml:6:42:", "does nothing here"}},
    {"beta_negative", {{6, "source = { kind = \"popularity\", beta = -1 }"}}, "", {"r.toml:6:40:", "is -1", "0 to 4"}},
    {"popularity_text", {{6, "source = \"popularity^x\""}}, "", {"r.toml:6:10:", "is \"x\"; expected a number"}},
    {"popularity_exponent_twice", {{6, "source = { kind = \"popularity^0.5\", beta = 1 }"}}, "", {"r.toml:6:19:", "exponent twice"}},
    {"exposed_positive", {{6, "source = { kind = \"exposed\", classes = [\"positive\"] }"}}, "", {"r.toml:6:41:", "allowed: aversion, disinterest"}},
    {"exposed_all_rejected", {{6, "source = { kind = \"exposed\", classes = [\"aversion\"] }"}}, "filters = [{ kind = \"exposed\", classes = [\"aversion\"] }]\n", {"r.toml:6:10:", "reject every class"}},
    {"run_no_table", {{6, "source = \"run\""}}, "", {"r.toml:6:10:", "has no table"}},
    {"near_no_n", {{6, "source = \"near\""}}, "", {"r.toml:6:10:", "has no n"}},
    {"select_kind", {}, "select = \"smaple\"\n", {"r.toml:7:10:", "did you mean \"sample\"?"}},
    {"select_by", {}, "select = { kind = \"sample\", by = \"rank\" }\n", {"r.toml:7:34:", "belongs to kind = \"top\""}},
    {"select_margin", {}, "select = { kind = \"top\", margin = 0.1 }\n", {"r.toml:7:35:", "first_violator", "absolute_margin"}},
    {"weight_on_top", {}, "select = { kind = \"top\", weight = \"softmax\" }\n", {"r.toml:7:35:", "nothing without sampling"}},
    {"violator_on_topk", {}, "select = \"first_violator\"\n", {"r.toml:7:10:", "source pool only"}},
    {"window_on_draws", {{6, "source = \"uniform\""}}, "filters = [{ kind = \"rank\", window = [1, 50] }]\n", {"r.toml:7:12:", "have no rank"}},
    {"top_on_draws", {{6, "source = \"uniform\""}}, "select = \"top\"\n", {"r.toml:7:10:", "its source draws them"}},
    {"weight_on_draws", {{6, "source = \"uniform\""}}, "select = { kind = \"sample\", weight = \"softmax\" }\n", {"r.toml:7:10:", "draws by its own weights"}},
    {"weight_kind", {}, "select = { kind = \"sample\", weight = \"soft_max\" }\n", {"r.toml:7:38:", "did you mean \"softmax\"?"}},
    {"tau_zero", {}, "select = { kind = \"sample\", weight = { kind = \"softmax\", tau = 0 } }\n", {"r.toml:7:64:", "tau", "at least 1e-37"}},
    {"tau_no_float", {}, "select = { kind = \"sample\", weight = { kind = \"softmax\", tau = 1e-46 } }\n", {"r.toml:7:64:", "tau", "at least 1e-37"}},
    {"lambda_no_float", {}, "select = { kind = \"sample\", weight = { kind = \"rank_geometric\", lambda = 1e-46 } }\n", {"r.toml:7:", "lambda", "at least 1e-37"}},
    {"lambda_missing", {}, "select = { kind = \"sample\", weight = \"rank_geometric\" }\n", {"r.toml:7:38:", "has no lambda"}},
    {"rank_beta_zero", {}, "select = { kind = \"sample\", weight = { kind = \"rank_beta\", j = 0 } }\n", {"r.toml:7:64:", "j of weight rank_beta"}},
    {"centre", {}, "select = { kind = \"sample\", weight = { kind = \"simans\", centre = { kind = \"ahms\", a = 1, b = 1 } } }\n", {"r.toml:7:75:", "did you mean \"ahns\"?"}},
    {"class_weight_empty", {}, "select = { kind = \"sample\", weight = \"class\" }\n", {"r.toml:7:38:", "names no class"}},
    {"class_weight_gap", {{6, "source = { kind = \"exposed\", classes = [\"aversion\", \"disinterest\"] }"}}, "select = { kind = \"sample\", weight = { kind = \"class\", aversion = 3 } }\n", {"r.toml:7:10:", "no weight for disinterest"}},
    {"weights_empty", {}, "select = { kind = \"sample\", weight = [] }\n", {"r.toml:7:38:", "1 to 16 weights"}},
    {"replacement_with_cap", {}, "select = \"sample_replacement\"\n[quota]\ncap = [{ column = \"c\", per_row = 1 }]\n", {"r.toml:7:10:", "together with a cap"}},
    {"replacement_with_quota", {}, "select = \"sample_replacement\"\n[strata]\npopularity = { bins = 3 }\n[quota]\nby = \"popularity\"\nshares = \"equal\"\n", {"r.toml:7:10:", "together with a quota"}},
    {"rule_without_kind", {}, "[exposure]\npositive = [\">=4\"]\n", {"r.toml:8:13:", "without an event kind"}},
    {"rule_number", {}, "[exposure]\npositive = [\"rating>=four\"]\n", {"r.toml:8:13:", "\"four\" is not a number"}},
    {"rule_operator", {}, "[exposure]\npositive = [\"rating!=4\"]\n", {"r.toml:8:13:", "does not start with"}},
    {"rule_empty_term", {}, "[exposure]\npositive = [\"click & \"]\n", {"r.toml:8:13:", "without an event kind"}},
    {"rules_no_list", {}, "[exposure]\npositive = \"like\"\n", {"r.toml:8:12:", "expected a list of texts"}},
    {"exposure_key", {}, "[exposure]\npositives = [\"like\"]\n", {"r.toml:8:1:", "unknown key \"positives\"", "did you mean \"positive\"?"}},
    {"window_unit", {}, "[exposure]\nwindow = \"180y\"\n", {"r.toml:8:10:", "\"180y\""}},
    {"bins", {}, "[strata]\npopularity = { bins = 1 }\n", {"r.toml:8:23:", "bins", "is 1", "2 to 4096"}},
    {"names_count", {}, "[strata]\npopularity = { bins = 3, names = [\"tail\", \"head\"] }\n", {"r.toml:8:34:", "2 entries for 3 cells"}},
    {"edges_descend", {}, "[strata]\nrecency = { edges = [\"180d\", \"30d\"] }\n", {"r.toml:8:30:", "ages must ascend"}},
    {"stratum_column", {}, "[strata]\ncategory = { }\n", {"r.toml:8:12:", "has no column"}},
    {"quota_undeclared", {}, "[quota]\nby = \"popularity\"\nshares = \"equal\"\n", {"r.toml:8:6:", "which [strata] does not declare"}},
    {"quota_cell", {}, "[strata]\npopularity = { bins = 2, names = [\"tail\", \"head\"] }\n[quota]\nby = \"popularity\"\nshares = { hed = 0.5, tail = 0.5 }\n", {"r.toml:11:12:", "\"hed\"", "did you mean \"head\"?"}},
    {"quota_sum", {}, "[strata]\npopularity = { bins = 2, names = [\"tail\", \"head\"] }\n[quota]\nby = \"popularity\"\nshares = { head = 0.5, tail = 0.4 }\n", {"r.toml:11:10:", "sum to 0.9"}},
    {"quota_word", {}, "[strata]\npopularity = { bins = 2 }\n[quota]\nby = \"popularity\"\nshares = \"catalog\"\n", {"r.toml:11:10:", "did you mean \"catalogue\"?"}},
    {"quota_without_by", {}, "[quota]\nshares = \"equal\"\n", {"r.toml:8:10:", "needs by"}},
    {"quota_without_shares", {}, "[strata]\npopularity = { bins = 2 }\n[quota]\nby = \"popularity\"\n", {"r.toml:9:1:", "no shares"}},
    {"quota_attribute", {}, "[strata]\npopularity = { bins = 2 }\nc = { column = \"c\" }\n[quota]\nby = [\"popularity\", \"c\"]\nshares = { popularity = \"equal\" }\n", {"r.toml:12:10:", "says nothing for \"c\""}},
    {"quota_too_many_cells", {}, "[strata]\npopularity = { bins = 4096 }\nrecency = { edges = [\"1d\"] }\n[quota]\nby = [\"popularity\", \"recency\"]\nshares = \"equal\"\n", {"r.toml:11:6:", "8192 cells", "4096"}},
    {"cap_zero", {}, "[quota]\ncap = [{ column = \"c\", per_row = 0 }]\n", {"r.toml:8:34:", "per_row", "is 0"}},
    {"cap_twice", {}, "[quota]\ncap = [{ column = \"c\", per_row = 1 }, { column = \"c\", per_row = 2 }]\n", {"r.toml:8:39:", "capped twice"}},
    {"backfill", {}, "[quota]\nbackfill = [\"herd\"]\n", {"r.toml:8:13:", "\"herd\", which is no branch", "did you mean \"hard\"?"}},
    {"backfill_in_two_places", {{1, "k = 8\nbackfill = [\"hard\"]"}}, "[quota]\nbackfill = [\"hard\"]\n", {"r.toml:2:12:", "keep one"}},
    {"schedule_empty", {{1, "k = { schedule = [] }"}}, "", {"r.toml:1:18:", "[[0, 1], [10, 5]]"}},
    {"schedule_point", {{1, "k = { schedule = [[0, 1, 2]] }"}}, "", {"r.toml:1:19:", "expected [round, value]"}},
    {"schedule_order", {{1, "k = { schedule = [[5, 1], [5, 2]] }"}}, "", {"r.toml:1:28:", "does not follow 5"}},
    {"schedule_value", {{1, "k = { schedule = [[0, 8], [9, 0]] }"}}, "", {"r.toml:1:31:", "k is 0 at round 9", "1 to 65535"}},
    {"schedule_kind", {{1, "k = { schedule = [[0, 8]], kind = \"cubic\" }"}}, "", {"r.toml:1:35:", "allowed: linear, step"}},
    {"schedule_negative_round", {{1, "k = { schedule = [[-1, 8]] }"}}, "", {"r.toml:1:20:", "round -1"}},
};
// clang-format on

INSTANTIATE_TEST_SUITE_P(Table, BadRecipes, ::testing::ValuesIn(kBadRecipes),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(RecipeErrors, EndTheProgramWithTheSameWords) {
  std::vector<testing::BadInputCase> cases;
  for (const BadRecipe& bad : kBadRecipes) {
    cases.push_back({bad.name,
                     "r.toml",
                     recipe_text_with(bad.lines, bad.behind),
                     {bad.expected.begin(), bad.expected.end()},
                     2});
  }
  const std::string good = recipe_text_with({}, "[exposure]\npositive = [\"rate>=4\"]\n");
  testing::BadInputSuite suite{"recipe", "--recipe", "", "", {{"r.toml", good}}, {}};
  suite.read = [](const std::string& path, const testing::Flags&) { load_recipe(path, 0, {}); };
  expect_refused(suite, cases);
}

TEST(RecipeErrors, TheGoodRecipeOfTheTableIsGood) {
  EXPECT_EQ(message_of(recipe_text_with({}, "")), "");
  EXPECT_GE(std::size(kBadRecipes), 60u);
}

TEST(RecipeErrors, AllProblemsAreToldAtOnceInTheOrderOfTheText) {
  const std::string message = message_of(recipe_text_with(
      {{1, "k = 0\nmetrik = \"ip\""}, {6, "source = { kind = \"topk\", pool = -1 }"}},
      "filters = [{ kind = \"relative_margin\", ratio = 95 }]\nselect = \"best\"\n"));
  std::size_t last = 0;
  for (const char* fragment :
       {"r.toml:1:5: k is 0", "r.toml:2:1: unknown key \"metrik\"", "r.toml:7:34: pool of",
        "r.toml:8:48: ratio of", "r.toml:9:10: kind of select"}) {
    const std::size_t at = message.find(fragment);
    ASSERT_NE(at, std::string::npos) << fragment << " in\n" << message;
    EXPECT_GE(at, last);
    last = at;
  }
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 4) << message;
}

TEST(RecipeErrors, BranchNamesWithTheSameHashAreRefused) {
  std::map<std::uint64_t, std::string> seen;
  std::string first, second;
  for (int i = 0; second.empty(); ++i) {
    const std::string name = "b" + std::to_string(i);
    const auto [place, fresh] =
        seen.emplace(XXH3_64bits(name.data(), name.size()) & 0xFFFFFF00u, name);
    if (!fresh) {
      first = place->second;
      second = name;
    }
  }
  const std::string message = message_of(recipe_text_with(
      {{5, "name = \"" + first + "\""}},
      "share = 0.5\n[[branch]]\nname = \"" + second + "\"\nshare = 0.5\nsource = \"uniform\"\n"));
  EXPECT_NE(message.find("r.toml:9:8: the names \"" + first + "\" and \"" + second + "\""),
            std::string::npos)
      << message;
}

TEST(RecipeErrors, LimitsOfTheKernels) {
  std::string branches, filters, lists, pairs, caps;
  for (int i = 0; i < 9; ++i) {
    const std::string n = std::to_string(i);
    branches += "[[branch]]\nname = \"x" + n + "\"\ncount = 1\nsource = \"all\"\n";
    caps += "{ column = \"c" + n + "\", per_row = 1 }, ";
    pairs += "{ kind = \"column\", table = \"t" + n + "\", max = 1 }, ";
  }
  for (int i = 0; i < 32; ++i) filters += "\"time\", ";
  for (int i = 0; i < 12; ++i)
    lists += "{ kind = \"group\", column = \"c" + std::to_string(i) + "\" }, ";
  const std::string nine = "k = 9\n[safety]\nfilters = [\"positives\"]\n" + branches;
  EXPECT_NE(message_of(nine).find("9 branches; allowed up to 8"), std::string::npos)
      << message_of(nine);
  const auto expect = [](const std::string& behind, const char* fragment) {
    const std::string message = message_of(recipe_text_with({}, behind));
    EXPECT_NE(message.find(fragment), std::string::npos) << message;
  };
  expect("filters = [" + filters + "]\n", "has 33 filters, [safety] included; allowed up to 32");
  expect("filters = [" + lists + "]\n", "13 different lists per user; allowed up to 12");
  expect("filters = [" + pairs + "]\n", "9 tables of user-item values; allowed up to 4");
  expect("[quota]\ncap = [" + caps + "]\n", "9 entries; allowed up to 8");
  expect("#" + std::string(1u << 20, 'x'), "bytes long");
}

TEST(RecipeErrors, NamesAndFilesThatAreNotThere) {
  EXPECT_THROW(load_recipe("/nonexistent/recipe.toml", 0), IoError);
  const auto message = [](const std::string& name,
                          const std::vector<std::string>& overrides) -> std::string {
    try {
      load_recipe(name, 0, overrides);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message("balancd", {}).find("did you mean \"balanced\"?"), std::string::npos);
  EXPECT_NE(message("tas-b", {}).find("training loop"), std::string::npos);
  EXPECT_NE(message("balanced", {"k=70000"}).find("override \"k=70000\": k is 70000"),
            std::string::npos);
  EXPECT_NE(message("balanced", {"k"}).find("expected dotted.key=value"), std::string::npos);
  EXPECT_NE(message("balanced", {"k..x=1"}).find("expected dotted.key=value"), std::string::npos);
  EXPECT_NE(message("balanced", {"branch.herd.share=1"}).find("did you mean \"hard\"?"),
            std::string::npos);
  EXPECT_NE(message("balanced", {"k.x=1"}).find("which has no \"x\""), std::string::npos);
  EXPECT_NE(message("balanced", {"branch.hard.source.pol=1"}).find("did you mean \"pool\"?"),
            std::string::npos);
  EXPECT_NE(message("balanced", {"branch.hard.filters.9.max_age=1"}).find("the list has no \"9\""),
            std::string::npos);
}

/// Cuts, doubles, swaps and overwrites pieces of a text.
std::string mutated(std::string text, std::mt19937& random) {
  static const std::string kPieces[] = {"[",
                                        "]",
                                        "{",
                                        "}",
                                        "\"",
                                        "=",
                                        ",",
                                        "\n",
                                        "-",
                                        "nan",
                                        "inf",
                                        "1e308",
                                        "9223372036854775807",
                                        "-1",
                                        "0",
                                        "[[",
                                        "]]",
                                        "''",
                                        "\\u0000",
                                        "\xFF",
                                        "true",
                                        "1979-05-27",
                                        "kind",
                                        "schedule",
                                        "#",
                                        ".",
                                        "popularity^",
                                        "&",
                                        ">="};
  const auto below = [&random](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (std::size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
    const std::size_t at = below(text.size());
    const std::size_t length = 1 + below(std::min<std::size_t>(24, text.size() - at));
    switch (below(5)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, text.substr(below(text.size()), length));
        break;
      case 2:
        text.insert(at, kPieces[below(std::size(kPieces))]);
        break;
      case 3:
        text.replace(at, length, kPieces[below(std::size(kPieces))]);
        break;
      default:
        text[at] = static_cast<char>(random());
        break;
    }
  }
  return text;
}

TEST(RecipeErrors, MutatedTextsAreAcceptedOrRefusedButNeverCrash) {
  std::mt19937 random(20240607);
  std::vector<std::string> texts;
  for (const NamedRecipe& named : named_recipes()) {
    if (!named.toml.empty()) texts.push_back(named.toml);
  }
  int accepted = 0, refused = 0;
  for (int i = 0; i < 3000; ++i) {
    // The balanced recipe has the most to break.
    const std::string text =
        mutated(i % 2 == 0 ? texts[0] : texts[random() % texts.size()], random);
    try {
      const Recipe recipe = parse_recipe(text, "fuzz.toml", static_cast<std::uint32_t>(i));
      EXPECT_GE(recipe.k, 1u);
      EXPECT_FALSE(recipe.branches.empty());
      ++accepted;
    } catch (const ConfigError& error) {
      EXPECT_EQ(std::string(error.what()).substr(0, 10), "fuzz.toml:") << error.what();
      ++refused;
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace quarry

// The rule of quarry feedback model: bounds, sums and monotonicity on random outputs; shares in
// the text of odd recipes.
#include "host/feedback/share_rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include "host/feedback/recipe_shares.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"
#include "tests/support/scale.h"

namespace quarry {
namespace {

struct RandomCase {
  std::vector<ShareSegment> segments;
  ShareRule rule;
};

RandomCase random_case(std::mt19937& random) {
  const auto below = [&](std::uint64_t n) { return random() % n; };
  const auto unit = [&] { return static_cast<double>(random()) / 4294967296.0; };
  RandomCase c;
  const std::uint64_t total = std::vector<std::uint64_t>{8, 10000, 1000000, 60000}[below(4)];
  const std::size_t count = 1 + below(8);
  std::vector<std::uint64_t> cuts = {0, total};
  for (std::size_t i = 1; i < count; ++i) cuts.push_back(below(total + 1));
  std::sort(cuts.begin(), cuts.end());
  for (std::size_t i = 0; i < count; ++i) {
    ShareSegment s;
    s.name = "s" + std::to_string(i);
    s.share = cuts[i + 1] - cuts[i];
    s.measured = below(10) > 0;
    s.negatives = std::vector<std::uint64_t>{0, 900, 1000, 5000, 1u << 30}[below(5)];
    if (below(4) > 0) s.loss = below(5) == 0 ? 0 : std::exp(6 * unit() - 3);
    if (below(2) > 0)
      s.confusions = static_cast<std::uint64_t>(unit() * unit() * static_cast<double>(s.negatives));
    if (below(3) == 0) {
      s.predicted = below(4) == 0 ? static_cast<double>(below(2)) : unit();
      s.observed = below(2) == 0 ? *s.predicted : unit();
    }
    c.segments.push_back(s);
  }
  c.rule.eta = std::vector<double>{0, 0.5, 3}[below(3)];
  c.rule.step = std::vector<double>{1, 1.1, 1.25, 4, 100}[below(5)];
  c.rule.floor = std::vector<double>{0, 0.01, 0.3}[below(3)];
  c.rule.ceiling = std::vector<double>{1, 0.9, 0.4}[below(3)];
  c.rule.confusion_limit = std::vector<double>{0, 0.1, 0.5}[below(3)];
  c.rule.min_negatives = std::vector<std::uint64_t>{1, 1000}[below(2)];
  return c;
}

std::uint64_t sum_of(const ShareStep& step, std::uint64_t ShareChange::*member) {
  std::uint64_t sum = 0;
  for (const ShareChange& c : step.changes) sum += c.*member;
  return sum;
}

TEST(ShareRule, SumsAndBoundsHold) {
  std::size_t changed = 0, held = 0;
  for (std::uint32_t seed = 0; seed < 4000 * static_cast<std::uint32_t>(test::test_scale());
       ++seed) {
    std::mt19937 random(seed);
    const RandomCase c = random_case(random);
    const ShareStep step = reweigh(c.segments, c.rule);
    ASSERT_EQ(step.changes.size(), c.segments.size());
    ASSERT_EQ(sum_of(step, &ShareChange::after), sum_of(step, &ShareChange::before)) << seed;
    const double total = static_cast<double>(sum_of(step, &ShareChange::before));
    changed += step.changed() ? 1 : 0;
    for (std::size_t i = 0; i < c.segments.size(); ++i) {
      const ShareSegment& s = c.segments[i];
      const auto before = static_cast<double>(s.share);
      const auto after = static_cast<double>(step.changes[i].after);
      ASSERT_LE(after, before * c.rule.step + 1e-6) << seed;
      ASSERT_GE(after, before / c.rule.step - 1e-6) << seed;
      // Beyond floor or ceiling only what was there before, and no further.
      ASSERT_GE(after, std::min(before, c.rule.floor * total) - 1e-6) << seed;
      ASSERT_LE(after, std::max(before, c.rule.ceiling * total) + 1e-6) << seed;
      const bool may = s.measured && s.negatives >= c.rule.min_negatives && s.share > 0 &&
                       (s.loss || s.confusions || s.predicted);
      if (!may) {
        ASSERT_EQ(step.changes[i].after, s.share) << seed;
        ++held;
      }
      ASSERT_FALSE(words_of(s, step.changes[i], c.rule).empty());
    }
  }
  EXPECT_GT(changed, 500u);
  EXPECT_GT(held, 500u);
}

/// One unit of rounding apart.
TEST(ShareRule, MoreLossNeverCostsAndMoreConfusionNeverPays) {
  std::size_t rose = 0, fell = 0;
  for (std::uint32_t seed = 0; seed < 20000 * static_cast<std::uint32_t>(test::test_scale());
       ++seed) {
    std::mt19937 random(seed);
    RandomCase c = random_case(random);
    const std::size_t which = random() % c.segments.size();
    ShareSegment& s = c.segments[which];
    const ShareStep step = reweigh(c.segments, c.rule);
    const std::uint64_t after = step.changes[which].after;
    if (s.loss) {
      const double old = *s.loss;
      s.loss = old * 1.5 + 0.01;
      const std::uint64_t now = reweigh(c.segments, c.rule).changes[which].after;
      ASSERT_GE(now + 1, after) << seed;
      rose += now > after ? 1 : 0;
      s.loss = old;
    }
    if (s.confusions && *s.confusions < s.negatives) {
      s.confusions = (*s.confusions + s.negatives + 1) / 2;
      const std::uint64_t now = reweigh(c.segments, c.rule).changes[which].after;
      ASSERT_LE(now, after + 1) << seed;
      ASSERT_TRUE(step.changes[which].damping == 1 || now <= s.share) << seed;
      fell += now < after ? 1 : 0;
    }
  }
  EXPECT_GT(rose, 500u);
  EXPECT_GT(fell, 500u);
}

/// Of a segment of suspected false negatives, and of one whose predictions are wrong.
TEST(ShareRule, LossesThatCountForLittleDoNotSteerTheOthers) {
  std::size_t damped = 0, fell = 0;
  for (std::uint32_t seed = 0; seed < 20000 * static_cast<std::uint32_t>(test::test_scale());
       ++seed) {
    std::mt19937 random(seed);
    RandomCase c = random_case(random);
    const std::size_t which = random() % c.segments.size();
    ShareSegment& s = c.segments[which];
    const ShareStep with = reweigh(c.segments, c.rule);
    if (!s.loss || with.changes[which].damping == 1) continue;
    ++damped;
    s.loss.reset();
    const std::uint64_t without = reweigh(c.segments, c.rule).changes[which].after;
    ASSERT_LE(with.changes[which].after, without + 1) << seed;
    fell += with.changes[which].after < without ? 1 : 0;
  }
  EXPECT_GT(damped, 1000u);
  EXPECT_GT(fell, 10u);
  const ShareSegment b{"b", 3000, true, 10000, 1.0, {}, {}, {}};
  const ShareSegment d{"d", 2000, true, 10000, 0.5, {}, {}, {}};
  const std::uint64_t many = 1u << 30;
  ShareSegment a{"a", 5000, true, many, 1.0, many / 3, {}, {}};
  const ShareStep level = reweigh({a, b, d}, ShareRule());
  a.loss = 1000;
  const ShareStep high = reweigh({a, b, d}, ShareRule());
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(level.changes[i].after, high.changes[i].after);
  EXPECT_DOUBLE_EQ(*high.mean_loss, 0.75);
  // Below the mean it counts: the rest are above it.
  a.loss = 0.1;
  EXPECT_LT(*reweigh({a, b, d}, ShareRule()).mean_loss, 0.75);
  // 0.02 predicted, 0.5 came true: less than a thousandth of it counts, in the mean as well.
  ShareSegment wrong{"a", 5000, true, many, 2.0, {}, 0.02, 0.5};
  const ShareStep step = reweigh({wrong, {"b", 5000, true, many, 1.0, {}, {}, {}}}, ShareRule());
  EXPECT_LT(step.changes[0].trust, 0.001);
  EXPECT_NEAR(*step.mean_loss, 1.0, 0.001);
  EXPECT_NEAR(static_cast<double>(step.changes[0].after), 5000, 5);
  // Where no loss counts, none moves anything.
  wrong.predicted = 0;
  ShareSegment other = wrong;
  other.loss = 5;
  EXPECT_FALSE(reweigh({wrong, other}, ShareRule()).changed());
  a.loss = 3;
  ShareSegment e = a;
  e.loss = 1;
  EXPECT_EQ(reweigh({a, e, {"f", 5000, true, many, {}, 0, {}, {}}}, ShareRule()).mean_loss, 1);
}

TEST(ShareRule, WhatCannotMoveSaysWhy) {
  const auto words = [](std::vector<ShareSegment> segments, const ShareRule& rule) {
    const ShareStep step = reweigh(segments, rule);
    EXPECT_EQ(step.changes[0].after, step.changes[0].before);
    return words_of(segments[0], step.changes[0], rule);
  };
  const ShareSegment low{"low", 3, true, 10000, 0.5, {}, {}, {}};
  const ShareSegment high{"high", 5, true, 10000, 1.5, {}, {}, {}};
  const auto contains = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(words({low, high}, ShareRule()), "--step 1.25 leaves no other share in whole units");
  ShareRule rule;
  rule.floor = 0.4;
  rule.step = 1.5;
  contains(words({low, high}, rule), "held at the least allowed (--floor 0.4)");
  rule = ShareRule();
  rule.ceiling = 0.6;
  rule.step = 1.5;
  contains(words({high, low}, rule), "held at the most allowed (--ceiling 0.6)");
  ShareSegment same = high;
  same.loss = 0.5;
  EXPECT_NE(words({same, low}, ShareRule()).find("loss at the mean"), std::string::npos);
}

TEST(ShareRule, OrderDoesNotMatterBeyondRounding) {
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    RandomCase c = random_case(random);
    const ShareStep step = reweigh(c.segments, c.rule);
    std::reverse(c.segments.begin(), c.segments.end());
    const ShareStep reversed = reweigh(c.segments, c.rule);
    for (std::size_t i = 0; i < c.segments.size(); ++i) {
      const auto a = static_cast<std::int64_t>(step.changes[i].after);
      const auto b = static_cast<std::int64_t>(reversed.changes[c.segments.size() - 1 - i].after);
      ASSERT_LE(std::abs(a - b), 1) << seed;
    }
  }
}

TEST(ShareRule, ASmallerLossOfWrongPredictionsMovesLess) {
  ShareSegment a{"a", 5000, true, 10000, 1.5, {}, 0.1, 0.1};
  const ShareSegment b{"b", 5000, true, 10000, 0.5, {}, {}, {}};
  std::uint64_t last = 10000;
  for (const double observed : {0.1, 0.105, 0.11, 0.15, 0.3, 0.9}) {
    a.observed = observed;
    const std::uint64_t after = reweigh({a, b}, ShareRule()).changes[0].after;
    EXPECT_LE(after, last) << observed;
    EXPECT_GE(after, 5000u) << observed;
    last = after;
  }
  EXPECT_LT(last, 5700u);
}

TEST(ShareRule, RulesOutOfRangeAreRefused) {
  const auto refuses = [](auto change, const char* flag) {
    ShareRule rule;
    change(rule);
    testing::expect_error<ConfigError>([&] { reweigh({}, rule); }, {flag, "allowed"});
  };
  refuses([](ShareRule& r) { r.eta = -0.1; }, "--eta");
  refuses([](ShareRule& r) { r.eta = NAN; }, "--eta");
  refuses([](ShareRule& r) { r.step = 0.99; }, "--step");
  refuses([](ShareRule& r) { r.step = INFINITY; }, "--step");
  refuses([](ShareRule& r) { r.floor = 1; }, "--floor");
  refuses([](ShareRule& r) { r.ceiling = 1.01; }, "--ceiling");
  refuses([](ShareRule& r) { r.confusion_limit = 1; }, "--confusion-limit");
  EXPECT_TRUE(reweigh({}, ShareRule()).changes.empty());
}

// --- the text of a recipe -----------------------------------------------------------------------

constexpr const char* kHead =
    "k = 4\n[exposure]\npositive = [\"like\"]\n[safety]\nfilters = [\"positives\"]\n"
    "[strata]\n\"größe\" = { column = \"size\" }\npopularity = { bins = 2 }\n";

std::string branch(const std::string& name, const std::string& share) {
  return "[[branch]]\nname = \"" + name + "\"\nsource = \"uniform\"\n" + share + "\n";
}

std::string changed(const std::string& text, const std::string& by,
                    const std::vector<std::uint64_t>& shares,
                    const std::vector<StratumSlots>& strata = {}) {
  const Recipe recipe = parse_recipe(text, "test.toml", 0);
  return with_shares(text, share_group(recipe, by, strata, "o.csv:2"), shares);
}

TEST(RecipeShares, ReplacesNumbersWhereTheyStand) {
  const std::string base = kHead + branch("a", "share = 0.25 # ü") + branch("b", "share=+7.5e-1");
  EXPECT_EQ(changed(base, "branch", {300000, 700000}),
            kHead + branch("a", "share = 0.3 # ü") + branch("b", "share=0.7"));
  EXPECT_EQ(changed(base, "branch", {250000, 750000}), base);
  EXPECT_EQ(changed(base, "branch", {1, 999999}),
            kHead + branch("a", "share = 0.000001 # ü") + branch("b", "share=0.999999"));
  EXPECT_EQ(changed(base, "branch", {0, 1000000}),
            kHead + branch("a", "share = 0.0 # ü") + branch("b", "share=1.0"));
  // Characters of several bytes before the value, on its line.
  const std::string two = kHead + branch("a", "share = 1");
  const std::string cells =
      "[quota]\nby = \"größe\"\nshares = { \"mäßig\" = 0.5, 'groß' = 0.5 } # ß";
  EXPECT_EQ(changed(two + cells, "größe", {250000, 750000}),
            two + "[quota]\nby = \"größe\"\nshares = { \"mäßig\" = 0.25, 'groß' = 0.75 } # ß");
  const std::string marked = "\xEF\xBB\xBF" + base;
  EXPECT_EQ(changed(marked, "branch", {300000, 700000}).substr(0, 3), "\xEF\xBB\xBF");
  // Branches in a list, dotted keys, no line break at the end.
  const std::string list =
      std::string("branch = [ {name = \"a\", source = \"uniform\", share = ") +
      "0.5}, {share = 0.5,name = \"b\", source = \"uniform\"} ]\n" + kHead +
      "[quota]\nby = [\"popularity\", \"größe\"]\nshares.popularity = \"equal\"\n" +
      "shares.\"größe\".\"a b\" = 0.5\nshares.\"größe\".c = 0.5";
  std::string wanted = list;
  wanted.replace(wanted.find("0.5}"), 3, "0.4");
  wanted.replace(wanted.find("share = 0.5,"), 11, "share = 0.6");
  EXPECT_EQ(changed(list, "branch", {400000, 600000}), wanted);
  wanted = list;
  wanted.replace(wanted.find("\"a b\" = 0.5"), 11, "\"a b\" = 0.4");
  wanted.replace(wanted.find(".c = 0.5"), 8, ".c = 0.6");
  EXPECT_EQ(changed(list, "größe", {400000, 600000}), wanted);
  wanted = list;
  wanted.replace(wanted.find("\"equal\""), 7, "{ q1 = 0.4, q2 = 0.6 }");
  const std::vector<StratumSlots> strata = {{"q1/a b", 1}, {"q1/c", 1}, {"q2/a b", 1}, {"q2/c", 1}};
  EXPECT_EQ(changed(list, "popularity", {400000, 600000}, strata), wanted);
}

/// A cell without an item has no share, as in the quota; in a few rows it looks like any other.
TEST(RecipeShares, EqualSharesAreAmongCellsThatWereAskedFor) {
  const Recipe recipe = parse_recipe(
      kHead + branch("a", "share = 1") + "[quota]\nby = \"größe\"\nshares = \"equal\"\n", "e.toml",
      0);
  const auto group = [&](std::uint64_t slots) {
    return share_group(recipe, "größe", {{"", 0}, {"S", slots}, {"M", slots + 1}, {"new", 0}},
                       "set");
  };
  using Shares = std::vector<std::pair<std::string, std::uint64_t>>;
  EXPECT_EQ(group(40).shares, (Shares{{"", 0}, {"S", 500000}, {"M", 500000}, {"new", 0}}));
  testing::expect_error<InputError>([&] { group(39); },
                                    {"set", "79 slots", "größe", "mine more rows"});
}

TEST(RecipeShares, AWordForAllBecomesATableOfAll) {
  const std::string base =
      kHead + branch("a", "share = 1") +
      "[quota]\nby = [\"popularity\", \"größe\"]\nshares = \"\\u0065qual\" # x\n";
  const std::vector<StratumSlots> strata = {{"q1/S", 5}, {"q1/", 1}, {"q2/S", 5}, {"q2/", 1}};
  std::string wanted = base;
  const std::string word = "\"\\u0065qual\"";
  wanted.replace(wanted.find(word), word.size(),
                 "{ popularity = \"equal\", \"größe\" = { S = 0.7, \"\" = 0.3 } }");
  EXPECT_EQ(changed(base, "größe", {700000, 300000}, strata), wanted);
  const ShareGroup group =
      share_group(parse_recipe(base, "test.toml", 0), "größe", strata, "o.csv:2");
  EXPECT_EQ(group.shares[0], (std::pair<std::string, std::uint64_t>("S", 500000)));
  EXPECT_EQ(group.mode, "equal");
  std::string catalogue = base;
  catalogue.replace(catalogue.find(word), word.size(), "'catalogue'");
  const Recipe recipe = parse_recipe(catalogue, "test.toml", 0);
  // 10 of 12 slots, 2 of 12: 833333.3 and 166666.7 millionths.
  EXPECT_EQ(share_group(recipe, "größe", strata, "o.csv:2").shares[0].second, 833333u);
  EXPECT_EQ(share_group(recipe, "größe", strata, "o.csv:2").shares[1].second, 166667u);
  testing::expect_error<InputError>(
      [&] {
        share_group(recipe, "größe", {{"q1/S/T", 1}, {"q2/S/T", 1}}, "o.csv:2");
      },
      {"o.csv:2", "cannot be told", "name the cells"});
  testing::expect_error<InputError>(
      [&] {
        share_group(recipe, "größe", {{"q1/S", 0}, {"q1/", 0}}, "o.csv:2");
      },
      {"does not say how many slots"});
}

TEST(RecipeShares, SaysWhatThereIs) {
  const Recipe one = parse_recipe(kHead + branch("a", "share = 1"), "test.toml", 0);
  EXPECT_EQ(share_groups(one), std::vector<std::string>{"branch"});
  testing::expect_error<InputError>([&] { share_group(one, "branch", {}, "o.csv:2"); },
                                    {"o.csv:2", "one branch alone"});
  testing::expect_error<InputError>([&] { share_group(one, "brunch", {}, "o.csv:2"); },
                                    {"brunch", "did you mean \"branch\"?"});
  const Recipe both = parse_recipe(
      "k = 4\n[exposure]\npositive = [\"like\"]\n[safety]\nfilters = [\"positives\"]\n[strata]\n"
      "branch = { column = \"size\" }\n" +
          branch("a", "share = 0.5") + branch("b", "share = 0.5") +
          "[quota]\nby = \"branch\"\nshares = { x = 0.5, y = 0.5 }\n",
      "test.toml", 0);
  testing::expect_error<InputError>([&] { share_group(both, "branch", {}, "o.csv:2"); },
                                    {"o.csv:2", "may mean", "another name"});
  const Recipe thirds =
      parse_recipe(kHead + branch("a", "share = 0.333333") + branch("b", "share = 0.333333") +
                       branch("c", "share = 0.333334"),
                   "test.toml", 0);
  EXPECT_EQ(share_group(thirds, "branch", {}, "").grain, 1u) << "six decimals stay possible";
  const ShareGroup counts = share_group(
      parse_recipe(kHead + branch("a", "count = 3") + branch("b", "count = 1"), "test.toml", 0),
      "branch", {}, "");
  EXPECT_EQ(counts.unit, ShareGroup::Unit::kCount);
  EXPECT_EQ(share_text(counts, 3), "3");
}

}  // namespace
}  // namespace quarry

// Figures of reviews against numbers worked out by hand: stratified shares, agreement, allocation,
// majorities, what recipes make of kinds of events.
#include <gtest/gtest.h>

#include <cmath>

#include "host/feedback/agreement.h"
#include "host/feedback/event_log.h"
#include "host/feedback/kind_use.h"
#include "host/feedback/review_sample.h"
#include "host/feedback/user_wishes.h"
#include "host/feedback/verdicts.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Numbers = std::vector<std::uint64_t>;

TEST(ReviewFigures, StratifiedShareByHand) {
  // W = 0.8, 0.2; p = 0.1, 0.4: 0.16. Variance 0.64 x 0.875 x 0.09 / 9 + 0.04 x 0.75 x 0.24 / 4.
  const StratumCount strata[] = {{80, 10, 1}, {20, 5, 2}};
  const StratifiedShare all = stratified_share(strata);
  ASSERT_TRUE(all.share && all.standard_error && all.interval);
  EXPECT_NEAR(*all.share, 0.16, 1e-12);
  EXPECT_NEAR(*all.standard_error, std::sqrt(0.0056 + 0.0018), 1e-12);
  EXPECT_EQ(all.population, 100u);
  EXPECT_EQ(all.covered, 100u);
  // Effective size 0.1344 / 0.0074 = 18.162: centre (0.16 + 0.10577) / 1.21151, half width 0.16428.
  EXPECT_NEAR(all.interval->low, 0.21936 - 0.16428, 2e-5);
  EXPECT_NEAR(all.interval->high, 0.21936 + 0.16428, 2e-5);
}

TEST(ReviewFigures, WhatIsNotJudgedIsSaid) {
  const StratumCount gap[] = {{80, 10, 1}, {20, 0, 0}};
  EXPECT_NEAR(*stratified_share(gap).share, 0.1, 1e-12);
  EXPECT_EQ(stratified_share(gap).covered, 80u);
  EXPECT_EQ(stratified_share(gap).population, 100u);
  const StratumCount single[] = {{80, 10, 1}, {20, 1, 0}};
  EXPECT_TRUE(stratified_share(single).share.has_value());
  EXPECT_FALSE(stratified_share(single).standard_error.has_value());
  const StratumCount one_of_one[] = {{80, 10, 1}, {1, 1, 1}};  // nothing of it is estimated
  EXPECT_TRUE(stratified_share(one_of_one).standard_error.has_value());
  const StratumCount whole[] = {{4, 4, 1}};
  EXPECT_EQ(*stratified_share(whole).standard_error, 0);
  EXPECT_EQ(stratified_share(whole).interval->low, 0.25);
  EXPECT_FALSE(stratified_share(whole).upper.has_value());
  EXPECT_FALSE(stratified_share({}).share.has_value());
}

TEST(ReviewFigures, NoHitHasABoundAndNoError) {
  const StratumCount none[] = {{40, 4, 0}};
  EXPECT_EQ(*stratified_share(none).share, 0);
  EXPECT_FALSE(stratified_share(none).standard_error.has_value());
  EXPECT_FALSE(stratified_share(none).interval.has_value());
  EXPECT_NEAR(*stratified_share(none).upper, 1 - std::pow(0.05, 1.0 / 4), 1e-12);
  // The same part of each stratum: as of one sample. What was not judged counts for nothing.
  const StratumCount parts[] = {{400, 20, 0}, {200, 10, 0}, {90, 0, 0}};
  EXPECT_NEAR(*stratified_share(parts).upper, 1 - std::pow(0.05, 1.0 / 30), 1e-12);
  // All of it in the stratum that was looked at least: 0.9 (1 - 0.05^(1 / 10)); the other gives
  // less even for its first part, 0.1 / 10 < 0.9 / 10 x 0.05^(1 / 10).
  const StratumCount uneven[] = {{900, 10, 0}, {100, 10, 0}};
  EXPECT_NEAR(*stratified_share(uneven).upper, 0.9 * (1 - std::pow(0.05, 0.1)), 1e-12);
  EXPECT_GT(*stratified_share(uneven).upper, 1 - std::pow(0.05, 1.0 / 20));
  // Between: u_1 / 20 - u_2 / 10 = ln(0.75 / 20 x 10 / 0.25) = ln 1.5, u_1 + u_2 = ln 20.
  const StratumCount mixed[] = {{750, 20, 0}, {250, 10, 0}};
  const double second = (std::log(20) - 20 * std::log(1.5)) / 3;
  ASSERT_LT(second, 0);  // so the first takes all
  EXPECT_NEAR(*stratified_share(mixed).upper, 0.75 * (1 - std::pow(0.05, 0.05)), 1e-12);
  const StratumCount both[] = {{520, 10, 0}, {480, 10, 0}};
  const double u2 = (std::log(20) - 10 * std::log(52.0 / 48)) / 2, u1 = std::log(20) - u2;
  EXPECT_NEAR(*stratified_share(both).upper,
              0.52 * (1 - std::exp(-u1 / 10)) + 0.48 * (1 - std::exp(-u2 / 10)), 1e-12);
  const StratumCount whole_part[] = {{10, 10, 0}, {10, 1, 0}};  // of the first all is known
  EXPECT_NEAR(*stratified_share(whole_part).upper, 0.5 * 0.95, 1e-12);
  const StratumCount all_hits[] = {{40, 4, 4}, {40, 4, 0}};
  EXPECT_FALSE(stratified_share(all_hits).standard_error.has_value());
  EXPECT_FALSE(stratified_share(all_hits).upper.has_value());
  const StratumCount certain[] = {{4, 4, 1}, {40, 4, 0}};  // both verdicts where all were judged
  EXPECT_FALSE(stratified_share(certain).standard_error.has_value());
}

TEST(ReviewFigures, KrippendorffsOwnExample) {
  // Krippendorff 2011, binary data, two observers, ten units: alpha 0.095.
  const int meg[] = {0, 1, 0, 0, 0, 0, 0, 0, 1, 0};
  const int owen[] = {1, 1, 1, 0, 0, 1, 0, 0, 0, 0};
  std::vector<VerdictCounts> units(10, VerdictCounts{});
  for (std::size_t u = 0; u < 10; ++u) {
    ++units[u][static_cast<std::size_t>(meg[u])];
    ++units[u][static_cast<std::size_t>(owen[u])];
  }
  units.push_back({1, 0, 0});  // one verdict pairs with nothing
  units.push_back({0, 0, 0});
  const Agreement all = agreement_of(units);
  EXPECT_EQ(all.units, 10u);
  EXPECT_EQ(all.verdicts, 20u);
  EXPECT_NEAR(*all.percent, 0.6, 1e-12);
  EXPECT_NEAR(*all.alpha, 1 - 19.0 * 4 / (14 * 6), 1e-12);
  EXPECT_NEAR(*all.alpha, 0.095, 5e-4);
}

TEST(ReviewFigures, AgreementOfThree) {
  // Units {2, 1, 0} and {0, 0, 3}: coincidences 2 x 1 / 2 + 3 x 2 / 2 = 4 of 6, n_c = 2, 1, 3.
  const VerdictCounts units[] = {{2, 1, 0}, {0, 0, 3}};
  const Agreement all = agreement_of(units);
  EXPECT_NEAR(*all.alpha, 1 - 5.0 * (6 - 4) / (36 - 4 - 1 - 9), 1e-12);
  EXPECT_NEAR(*all.percent, (1.0 / 3 + 1) / 2, 1e-12);
  const VerdictCounts same[] = {{2, 0, 0}, {2, 0, 0}};
  EXPECT_FALSE(agreement_of(same).alpha.has_value());
  EXPECT_EQ(*agreement_of(same).percent, 1);
  EXPECT_FALSE(agreement_of({}).percent.has_value());
}

TEST(ReviewFigures, MajorityNeedsMost) {
  EXPECT_EQ(majority_of({2, 1, 0}), std::optional<std::size_t>(0));
  EXPECT_EQ(majority_of({0, 0, 1}), std::optional<std::size_t>(2));
  EXPECT_FALSE(majority_of({1, 1, 0}).has_value());
  EXPECT_FALSE(majority_of({0, 0, 0}).has_value());
}

TEST(ReviewFigures, AllocationByHand) {
  EXPECT_EQ(allocate(Numbers{100, 7, 3}, 30, 2), (Numbers{20, 7, 3}));
  EXPECT_EQ(allocate(Numbers{50, 50, 50}, 31, 2), (Numbers{11, 10, 10}));
  EXPECT_EQ(allocate(Numbers{10, 60, 50}, 32, 2), (Numbers{10, 11, 11}));
  EXPECT_EQ(allocate(Numbers{10, 50, 60}, 33, 2), (Numbers{10, 11, 12}));
  EXPECT_EQ(allocate(Numbers{4, 4}, 100, 2), (Numbers{4, 4}));
  EXPECT_EQ(allocate(Numbers{1, 100}, 3, 2), (Numbers{1, 2}));
  EXPECT_THROW(allocate(Numbers{10, 10, 10}, 5, 2), ConfigError);
}

TEST(ReviewFigures, IdsComeBackAsTheyWent) {
  const ReviewId id{"0123456789abcdef0123456789abcdef", 12, 3};
  EXPECT_EQ(id.text(), "0123456789abcdef0123456789abcdef:12:3");
  const auto back = parse_review_id(id.text());
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->row, 12u);
  EXPECT_EQ(back->slot, 3u);
  for (const char* wrong :
       {"", "a", "a:1", "a:1:", "a:1:2:3", "a:01:2", "a:-1:2", "a:1:99999999999"})
    EXPECT_FALSE(parse_review_id(wrong).has_value()) << wrong;
}

TEST(ReviewFigures, ReviewersTakeTurns) {
  const auto turns = assign_reviewers(5, 3, 2);
  std::vector<int> load(3, 0);
  for (const auto& line : turns) {
    ASSERT_EQ(line.size(), 2u);
    EXPECT_NE(line[0], line[1]);
    for (const std::uint32_t who : line) ++load[who];
  }
  EXPECT_EQ(load, (std::vector<int>{4, 3, 3}));
}

TEST(ReviewFigures, RanksFallIntoDecades) {
  EXPECT_EQ(rank_band(0), "not ranked");
  EXPECT_EQ(rank_band(1), "1-10");
  EXPECT_EQ(rank_band(10), "1-10");
  EXPECT_EQ(rank_band(11), "11-100");
  EXPECT_EQ(rank_band(100), "11-100");
  EXPECT_EQ(rank_band(4294967295u), "1000000001-10000000000");
}

constexpr const char* kRecipe = R"toml(
name = "uses"
k = 6
[exposure]
positive = ["like"]
aversion = ["avoid"]
disinterest = ["not_interested", "view & skip"]
ambiguous = ["protected", "avoid"]
window = "30d"
[safety]
filters = [{ kind = "positives" }, { kind = "exposed", classes = ["ambiguous"], max_age = "10d" }]
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 12 }
filters = [{ kind = "exposed", classes = ["aversion"] }]
[[branch]]
name = "seen"
share = 0.5
source = { kind = "exposed", classes = ["aversion"] }
)toml";

TEST(ReviewFigures, WhatARecipeMakesOfKinds) {
  using Names = std::vector<std::string>;
  constexpr std::int64_t kDay = 86400;
  const Recipe recipe = parse_recipe(kRecipe, "uses.toml", 0);
  const KindUse like = use_of_kind(recipe, "like");
  EXPECT_EQ(like.exposure_class, ExposureClass::kPositive);
  EXPECT_TRUE(like.use.kept_out());
  EXPECT_FALSE(like.use.expires.has_value());
  const KindUse avoid = use_of_kind(recipe, "avoid");
  EXPECT_EQ(avoid.use.closed, Names{"hard"});
  EXPECT_EQ(avoid.use.sources, Names{"seen"});
  EXPECT_FALSE(avoid.use.kept_out());
  EXPECT_TRUE(avoid.use.matters());
  const KindUse bored = use_of_kind(recipe, "not_interested");
  EXPECT_EQ(bored.exposure_class, ExposureClass::kDisinterest);
  EXPECT_FALSE(bored.use.matters());
  const KindUse saved = use_of_kind(recipe, "protected");
  EXPECT_TRUE(saved.named);
  EXPECT_TRUE(saved.use.kept_out());
  EXPECT_EQ(*saved.use.expires, 10 * kDay);
  const KindUse other = use_of_kind(recipe, "something");
  EXPECT_FALSE(other.named);
  EXPECT_EQ(other.exposure_class, ExposureClass::kAmbiguous);
  const KindUse half = use_of_kind(recipe, "skip");  // alone it satisfies no rule
  EXPECT_TRUE(half.named);
  EXPECT_EQ(half.exposure_class, ExposureClass::kAmbiguous);
}

TEST(ReviewFigures, LaterRecordsWin) {
  RecordFile file{"r.csv", {}};
  const auto add = [&](std::uint32_t user, std::uint32_t item, std::int64_t time,
                       const char* kind) {
    file.read.records.push_back({file.read.records.size() + 2, user, item, time, kind});
  };
  add(0, 5, 20, "hidden");  // withdraws the aversion before
  add(0, 5, 10, "avoid");
  add(0, 6, 10, "hidden");  // the other way round
  add(0, 6, 20, "avoid");
  add(1, 5, 10, "avoid");  // of one moment: what protects
  add(1, 5, 10, "hidden");
  add(2, 1, 30, "not_interested");
  add(2, 1, 30, "not_interested");  // a repeat
  add(2, 1, 10, "avoid");           // a later one of its sort
  const UserWishes settled = settle_wishes({file});
  ASSERT_EQ(settled.wishes.size(), 4u);
  EXPECT_EQ(settled.wishes[0].wish, Wish::kHidden);
  EXPECT_EQ(settled.wishes[0].where, "r.csv:2");
  EXPECT_EQ(settled.wishes[1].wish, Wish::kAvoid);
  EXPECT_EQ(settled.wishes[2].wish, Wish::kHidden);
  EXPECT_EQ(settled.wishes[3].wish, Wish::kNotInterested);
  EXPECT_EQ(settled.withdrawn, 2u);
  EXPECT_EQ(settled.renewed, 1u);
  EXPECT_EQ(settled.repeated, 1u);
  EXPECT_EQ(settled.superseded, 1u);
  add(3, 1, 1, "Avoid");
  EXPECT_THROW(settle_wishes({file}), InputError);
}

TEST(ReviewFigures, OneEventAPairAndKind) {
  const std::vector<FeedbackEvent> events = without_repeats({{1, 2, 10, "p", "a:3"},
                                                             {0, 9, 10, "p", "a:4"},
                                                             {1, 2, 12, "p", "a:5"},
                                                             {1, 2, 10, "q", "a:6"}});
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].user, 0u);
  EXPECT_EQ(events[1].time, 12);
  EXPECT_EQ(events[2].kind, "q");
}

TEST(ReviewFigures, FormulasAreMadeInert) {
  EXPECT_EQ(inert_field("=SUM(A1)"), "'=SUM(A1)");
  EXPECT_EQ(inert_field("-5"), "'-5");
  EXPECT_EQ(inert_field("a=b"), "a=b");
  EXPECT_EQ(inert_field(""), "");
}

}  // namespace
}  // namespace quarry

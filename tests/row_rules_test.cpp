// Single rules of docs/row_contract.md, each in a case where it alone decides.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "host/mine/miner.h"
#include "host/mine/snapshot.h"
#include "kernels/core/errors.h"
#include "kernels/exclude/exclude_row.h"
#include "kernels/sample/draw_row.h"
#include "tests/support/oracle.h"

namespace quarry {
namespace {

/// A small catalogue without events, whose rows bring their own positives; one branch.
struct Small {
  static constexpr std::uint32_t kRows = 8;
  std::uint32_t num_items;
  std::vector<float> items, users;
  Exposure exposure;
  Catalogue catalogue;
  RowTable rows;
  PairValues run;
  MinerInputs inputs;
  RowsView view;
  Recipe recipe;

  explicit Small(std::uint32_t n) : num_items(n) {
    items.resize(std::size_t{n} * 2);
    for (std::uint32_t i = 0; i < n; ++i) {
      items[2 * i] = static_cast<float>(i % 7) - 3.0f;
      items[2 * i + 1] = static_cast<float>(i % 5) * 0.5f + 0.25f;
    }
    users.assign(std::size_t{kRows} * 2, 1.0f);
    exposure.as_of = 10;
    exposure.offsets.assign(kRows + 1, 0);
    exposure.item_count.assign(n, 0);
    run.offsets.push_back(0);
    rows.positive_offsets.push_back(0);
    for (std::uint32_t r = 0; r < kRows; ++r) {
      rows.key.push_back(r * 77 + 1);
      rows.user.push_back(r);
      rows.time.push_back(INT64_MAX);
      rows.positives.push_back(r % n);
      rows.positives.push_back((r + n / 2) % n);
      rows.positive_offsets.push_back(rows.positives.size());
      for (std::uint32_t i = 0; i < n; ++i) {
        run.items.push_back(i);
        run.values.push_back(static_cast<float>(i % 3));
      }
      run.offsets.push_back(run.items.size());
    }
    CatalogueColumn group{"group", {}, {""}};
    for (std::uint32_t i = 0; i < n; ++i) group.codes.push_back(1 + i / 2);
    for (std::uint32_t i = 0; i <= n / 2; ++i) group.names.push_back(std::to_string(i));
    catalogue.columns.push_back(group);
    inputs.items = {items.data(), n, 2, Dtype::kF32};
    inputs.users = {users.data(), kRows, 2, Dtype::kF32};
    inputs.exposure = &exposure;
    inputs.catalogue = &catalogue;
    inputs.pairs["run"] = &run;
    view.num_rows = kRows;
    view.key = rows.key.data();
    view.user = rows.user.data();
    view.positive_offsets = rows.positive_offsets.data();
    view.positives = rows.positives.data();
    recipe.name = "small";
    recipe.k = 4;
    recipe.share_sum = 1;
    recipe.branches.resize(1);
    BranchSpec& b = recipe.branches[0];
    b.name = "only";
    b.share = 1;
    b.source.pool = b.source.max_rank = n;
    b.source.draws = n;
    b.source.table = "run";
    b.source.classes = 30;
    recipe.backfill = {0};
  }
  Small(const Small&) = delete;
  Small& operator=(const Small&) = delete;

  BranchSpec& branch() { return recipe.branches[0]; }

  /// The rows that the engine makes, which the oracle must make as well.
  NegativeBatch mine() {
    oracle::Oracle judge(recipe, inputs, 3, 0);
    MinerOptions options;
    options.seed = 3;
    options.tile_rows = kRows;
    Miner miner(recipe, inputs, options);
    NegativeBatch out;
    miner.mine(view, [&](const NegativeBatch& batch) { out = batch; });
    for (std::uint64_t r = 0; r < kRows; ++r)
      EXPECT_EQ(oracle::difference(judge.mine(view, r), out, r), "") << "row " << r;
    EXPECT_EQ(oracle::difference(judge.counters, miner.report().counters, 1), "");
    EXPECT_EQ(oracle::difference(judge.strata, miner.report().strata), "");
    return out;
  }
};

FilterSpec filter(FilterType type) {
  FilterSpec f;
  f.type = type;
  f.kind_text = "filter";
  return f;
}

/// Positives that only the call knows: the miner was made without rows and without events.
TEST(OwnPositives, AreNoNegativesOfTheirRowFromAnySource) {
  for (const SourceKind source : {SourceKind::kTopk, SourceKind::kUniform, SourceKind::kPopularity,
                                  SourceKind::kPool, SourceKind::kRun, SourceKind::kNear}) {
    Small w(12);
    w.recipe.k = 10;
    w.branch().source.kind = source;
    w.branch().select = source == SourceKind::kNear ? SelectKind::kTopByRank : SelectKind::kSample;
    const auto emitted = [&] {
      const NegativeBatch batch = w.mine();
      std::uint32_t own = 0;
      for (std::uint32_t r = 0; r < Small::kRows; ++r) {
        EXPECT_GE(batch.count[r], 10) << "ten others are there";
        for (std::uint32_t j = 0; j < batch.count[r]; ++j) {
          const std::uint32_t item = batch.item[std::size_t{r} * batch.k + j];
          own += item == w.rows.positives[2 * r] || item == w.rows.positives[2 * r + 1];
        }
      }
      return own;
    };
    EXPECT_GT(emitted(), 0u) << "without the filter they come, source " << static_cast<int>(source);
    w.recipe.safety = {filter(FilterType::kPositives)};
    EXPECT_EQ(emitted(), 0u) << "source " << static_cast<int>(source);
  }
}

TEST(OwnPositives, BringTheirGroup) {
  Small w(12);
  FilterSpec group = filter(FilterType::kGroup);
  group.column = "group";
  w.recipe.safety = {group};
  w.recipe.k = 12;
  const NegativeBatch batch = w.mine();
  for (std::uint32_t r = 0; r < Small::kRows; ++r) {
    std::set<std::uint32_t> groups = {w.rows.positives[2 * r] / 2, w.rows.positives[2 * r + 1] / 2};
    EXPECT_EQ(batch.count[r], 12 - 2 * groups.size());
    for (std::uint32_t j = 0; j < batch.count[r]; ++j)
      EXPECT_EQ(groups.count(batch.item[std::size_t{r} * batch.k + j] / 2), 0u);
  }
}

TEST(PopularityWeights, KeepTheirRatiosAndTheirSum) {
  for (const double beta : {0.0, 0.5, 0.75, 1.0, 2.5, 4.0}) {
    const std::vector<std::uint32_t> counts = {60000, 59999, 3, 0, 60000, 4000000000u, 70000};
    const auto w = popularity_weights(counts, 7, beta);
    unsigned __int128 sum = 0;
    for (const std::uint64_t x : w) sum += x;
    EXPECT_LT(sum, static_cast<unsigned __int128>(1) << 63);
    EXPECT_EQ(w[0], w[4]);
    EXPECT_EQ(w[5], std::uint64_t{1} << 59);  // the largest: 2^(62 - 3)
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const long double ratio =
          std::pow((counts[i] + 1.0L) / 4000000001.0L, static_cast<long double>(beta));
      const long double exact = std::ldexp(ratio, 59);
      EXPECT_NEAR(static_cast<double>(w[i]), static_cast<double>(exact),
                  static_cast<double>(1.0L + exact * 1e-13L));
      EXPECT_EQ(w[i], oracle::popularity_weight(counts[i], 4000000000u, 7, beta));
    }
  }
  const std::vector<std::uint32_t> equal(3000, 20000);
  for (const std::uint64_t x : popularity_weights(equal, 3000, 3.0))
    EXPECT_EQ(x, std::uint64_t{1} << 50);
}

TEST(PopularityWeights, HugePowersStillDraw) {
  for (const bool equal : {true, false}) {
    Small w(40);
    std::fill(w.exposure.item_count.begin(), w.exposure.item_count.end(), 60000u);
    if (!equal) w.exposure.item_count[5] = 3000000u;
    w.branch().source.kind = SourceKind::kPopularity;
    w.branch().source.beta = 4.0;
    w.branch().select = SelectKind::kSample;
    const NegativeBatch batch = w.mine();
    std::set<std::uint32_t> drawn;
    std::uint32_t head = 0;
    for (std::uint32_t r = 0; r < Small::kRows; ++r) {
      EXPECT_EQ(batch.count[r], 4);
      head += batch.item[std::size_t{r} * 4] == 5;
      for (std::uint32_t j = 0; j < 4; ++j) drawn.insert(batch.item[std::size_t{r} * 4 + j]);
    }
    if (equal) {
      EXPECT_GT(drawn.size(), 15u) << "equal counts are drawn alike";
    } else {
      EXPECT_EQ(head, Small::kRows) << "50^4 against 39: the head comes first";
    }
  }
}

WeightSpec weight(WeightKind kind, double a) {
  WeightSpec w;
  w.kind = kind;
  w.a = a;
  return w;
}

TEST(Weights, ReplacementDrawsNothingWhereEveryWeightIsZero) {
  Small w(12);
  w.branch().select = SelectKind::kSampleReplacement;
  WeightSpec none = weight(WeightKind::kClass, 1.0);
  none.class_weight[static_cast<std::size_t>(ExposureClass::kAversion)] = 3.0;  // nobody has it
  w.branch().weights = {none};
  for (const std::uint16_t count : w.mine().count) EXPECT_EQ(count, 0);
  w.branch().select = SelectKind::kSample;  // the order is by chance alone, the probability 0
  for (const float logq : w.mine().logq) EXPECT_EQ(logq, -std::numeric_limits<float>::infinity());
}

TEST(Weights, TheLogOfAVerySmallProbabilityIsANumber) {
  // All of the pool is picked; the weights of its ends lie e^500 and more apart.
  Small w(4);
  w.branch().select = SelectKind::kSample;
  w.branch().weights = {weight(WeightKind::kSoftmax, 1e-3)};
  const NegativeBatch b = w.mine();
  float least = 0.0f;
  for (std::uint64_t r = 0; r < Small::kRows; ++r) {
    float best = -std::numeric_limits<float>::infinity();
    for (std::uint64_t at = r * 4; at < r * 4 + b.count[r]; ++at)
      best = std::max(best, b.score[at]);
    for (std::uint64_t at = r * 4; at < r * 4 + b.count[r]; ++at) {
      ASSERT_TRUE(std::isfinite(b.logq[at]));
      least = std::min(least, b.logq[at]);
      // log 4, and the distance from the best, up to the 4 that may share it.
      const float distance = (b.score[at] - best) / 1e-3f;
      EXPECT_LE(b.logq[at], std::log(4.0f) + distance + 0.01f);
      EXPECT_GE(b.logq[at], distance - 0.01f);
    }
  }
  EXPECT_LT(least, -200.0f) << "nothing is improbable here";
}

TEST(Weights, InfiniteAndUndefinedSumsHaveAPlace) {
  for (const SelectKind select : {SelectKind::kSample, SelectKind::kSampleReplacement}) {
    Small w(12);
    w.branch().select = select;
    w.branch().weights = {weight(WeightKind::kSoftmax, 1e-37)};  // +-infinity by sign
    const NegativeBatch batch = w.mine();
    for (std::uint32_t r = 0; r < Small::kRows; ++r) {
      ASSERT_EQ(batch.count[r], 4);
      for (std::uint32_t j = 0; j < 4; ++j) EXPECT_GT(batch.score[std::size_t{r} * 4 + j], 0.0f);
    }
    WeightSpec minus = weight(WeightKind::kSimans, 1e30);
    minus.b = 1e30;  // -infinity everywhere
    w.branch().weights.push_back(minus);
    w.mine();
  }
}

TEST(Weights, ImpossibleOnesAreRefused) {
  Small w(12);
  w.branch().select = SelectKind::kSample;
  for (const WeightSpec& bad :
       {weight(WeightKind::kSoftmax, 1e-46), weight(WeightKind::kRankGeometric, 1e-46),
        weight(WeightKind::kRankBeta, 13.0)}) {
    w.branch().weights = {bad};
    EXPECT_THROW(Miner(w.recipe, w.inputs, {}), ConfigError);
  }
  w.branch().weights = {weight(WeightKind::kRankBeta, 12.0)};
  w.mine();
}

TEST(ItemSet, HasRoomForEveryItemOfALargeCatalogue) {
  EXPECT_EQ(item_set_capacity(3), 8u);
  EXPECT_EQ(item_set_capacity(5), 16u);
  EXPECT_EQ(item_set_capacity(std::uint64_t{1} << 30), std::uint64_t{1} << 31);
  EXPECT_EQ(item_set_capacity((std::uint64_t{1} << 30) + 1), std::uint64_t{1} << 32);
  EXPECT_EQ(item_set_capacity(0xFFFFFFFEu), std::uint64_t{1} << 32);
}

/// A column of the catalogue that a quota may go by, under the column's name.
void add_attribute(Recipe& recipe, Catalogue& catalogue, const CatalogueColumn& column) {
  StratumAttribute attribute;
  attribute.name = attribute.column = column.name;
  attribute.kind = StratumAttribute::Kind::kColumn;
  recipe.strata.push_back(attribute);
  catalogue.columns.push_back(column);
}

/// The first `n` items, none of which is popular.
Snapshot plain_snapshot(std::uint32_t n) {
  Snapshot snapshot;
  snapshot.num_items = n;
  snapshot.popularity.assign(n, 0);
  return snapshot;
}

/// Shares with six decimals in four attributes: their product needs 80 bits.
TEST(Strata, ProductsThatDoNotFitAreRefusedAndThoseThatReduceAreKept) {
  Recipe recipe;
  recipe.k = 8;
  recipe.quota.emplace();
  Catalogue catalogue;
  const Snapshot snapshot = plain_snapshot(16);
  for (std::uint32_t a = 0; a < 4; ++a) {
    CatalogueColumn column{std::string(1, static_cast<char>('a' + a)), {}, {"", "x", "y"}};
    for (std::uint32_t i = 0; i < 16; ++i) column.codes.push_back(1 + (i >> a & 1u));
    add_attribute(recipe, catalogue, column);
    QuotaAttribute by;
    by.attribute = column.name;
    by.mode = QuotaAttribute::Shares::kNamed;
    by.shares = {{"x", 499979}, {"y", 500021}};
    recipe.quota->by.push_back(by);
  }
  Placement cells({});
  EXPECT_THROW(make_strata({}, recipe, snapshot, snapshot.popularity.data(), &catalogue, 16, cells),
               ConfigError);
  for (QuotaAttribute& by : recipe.quota->by) by.shares = {{"x", 250000}, {"y", 750000}};
  const Strata strata =
      make_strata({}, recipe, snapshot, snapshot.popularity.data(), &catalogue, 16, cells);
  std::uint64_t least = ~std::uint64_t{0}, sum = 0;
  for (const std::uint64_t s : strata.weight) {
    if (s > 0) least = std::min(least, s);
    sum += s;
  }
  EXPECT_EQ(least, 1u);
  EXPECT_EQ(sum, 256u);
}

/// Items without a value are a cell as long as there are any, and newer items' values wait for the
/// next snapshot. The cell without a name keeps its place in names of several attributes.
TEST(Strata, EqualSharesAreAmongCellsWithItemsOfTheSnapshot) {
  Recipe recipe;
  recipe.k = 8;
  recipe.quota.emplace();
  Catalogue catalogue;
  const Snapshot snapshot = plain_snapshot(4);
  add_attribute(recipe, catalogue, {"full", {1, 2, 1, 2, 3}, {"", "x", "y", "new"}});
  add_attribute(recipe, catalogue, {"gaps", {0, 0, 1, 1, 1}, {"", "z"}});
  const auto strata_by = [&](const std::vector<std::string>& names) {
    recipe.quota->by.clear();
    for (const std::string& name : names) {
      QuotaAttribute by;
      by.attribute = name;
      by.mode = QuotaAttribute::Shares::kEqual;
      recipe.quota->by.push_back(by);
    }
    Placement cells({});
    return make_strata({}, recipe, snapshot, snapshot.popularity.data(), &catalogue, 5, cells);
  };
  using Weights = std::vector<std::uint64_t>;
  using Names = std::vector<std::string>;
  EXPECT_EQ(strata_by({"full"}).weight, (Weights{0, 1, 1, 0}));
  EXPECT_EQ(strata_by({"gaps"}).weight, (Weights{1, 1}));
  const Strata both = strata_by({"gaps", "full"});
  EXPECT_EQ(both.weight, (Weights{0, 1, 1, 0, 0, 1, 1, 0}));
  EXPECT_EQ(both.names, (Names{"/", "/x", "/y", "/new", "z/", "z/x", "z/y", "z/new"}));
  EXPECT_EQ(strata_by({"full"}).names, (Names{"", "x", "y", "new"}));
}

/// Products that overflow to infinities of both signs and to what is not a number.
TEST(Scores, ThatAreNotFiniteAreNeverSelected) {
  for (const SourceKind source : {SourceKind::kTopk, SourceKind::kUniform, SourceKind::kPool,
                                  SourceKind::kRun, SourceKind::kNear}) {
    Small w(12);
    w.recipe.k = 12;
    w.items[2 * 3] = w.items[2 * 4] = w.items[2 * 5] = 3e38f;
    w.items[2 * 4 + 1] = -3e38f;
    w.items[2 * 5] = -3e38f;
    for (float& x : w.users) x = 3e38f;
    for (std::uint32_t i = 6; i < 12; ++i) w.items[2 * i] = w.items[2 * i + 1] = 0.0f;
    w.branch().source.kind = source;
    w.branch().select = source == SourceKind::kUniform ? SelectKind::kSample : SelectKind::kTop;
    const NegativeBatch batch = w.mine();
    for (std::uint32_t r = 0; r < Small::kRows; ++r) {
      EXPECT_GE(batch.count[r], 6);
      for (std::uint32_t j = 0; j < batch.count[r]; ++j)
        EXPECT_TRUE(std::isfinite(batch.score[std::size_t{r} * batch.k + j]));
    }
  }
}

TEST(Scores, OnePatternStandsForWhatIsNotANumber) {
  const float x[2] = {3e38f, 3e38f}, y[2] = {3e38f, -3e38f};
  EXPECT_EQ(bits_of_float(exact_dot_portable(x, y, 1)), 0x7F800000u);
  const float inf[2] = {std::numeric_limits<float>::infinity(), 0.0f};
  const float zero[2] = {0.0f, 1.0f};
  for (const float s : {exact_dot_portable(inf, zero, 2), exact_dot_host(inf, zero, 2),
                        exact_l2_portable(inf, inf, 2), exact_l2_host(inf, inf, 2)}) {
    EXPECT_EQ(bits_of_float(s), 0xFFFFFFFFu);
    EXPECT_LT(score_key(s, 0), score_key(-std::numeric_limits<float>::infinity(), 0xFFFFFFFEu));
    EXPECT_EQ(bits_of_float(score_of_key(score_key(s, 7))), 0xFFFFFFFFu);
  }
}

/// One item takes nearly every draw, so the rest comes from enumeration; a cap refuses most of what
/// one pass of it keeps, so that there must be another.
TEST(Enumeration, GoesOnWhereCapsRefuseWhatAPassKept) {
  Small w(400);
  w.recipe.k = 6;
  w.exposure.item_count[0] = 4000000000u;
  CatalogueColumn& group = w.catalogue.columns[0];
  for (std::uint32_t i = 0; i < 400; ++i) group.codes[i] = i < 396 ? 1 : i - 394;
  w.recipe.caps = {{"group", 1, 1}};
  for (const SelectKind select : {SelectKind::kSample, SelectKind::kSampleReplacement}) {
    w.branch().source.kind = SourceKind::kPopularity;
    w.branch().source.beta = 4.0;
    w.branch().select = select;
    const NegativeBatch batch = w.mine();
    for (std::uint32_t r = 0; r < Small::kRows; ++r) {
      EXPECT_EQ(batch.count[r], 5) << "one of each code";
      EXPECT_EQ(batch.fill[std::size_t{r} * 6 + 5], static_cast<std::uint8_t>(FillCode::kCap));
    }
  }
}

/// Pairs whose difference lies in the dimensions that are looked at first, and elsewhere: the bound
/// is their own cosine, so that one bit decides.
TEST(NearDuplicates, ALookAtTheFirstDimensionsNeverDecidesOtherwise) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  const auto unit = [](std::vector<float> v) {
    double norm = 0;
    for (const float x : v) norm += double{x} * x;
    for (float& x : v) x = static_cast<float>(x / std::sqrt(norm));
    return v;
  };
  std::uint32_t positives = 0;
  std::uint64_t apart = 0;
  for (const std::uint32_t dim : {8u, 33u, 64u, 128u, 300u, 1024u}) {
    for (int n = 0; n < 4000; ++n) {
      std::vector<float> x(dim), y(dim);
      const float scale = std::pow(10.0f, -4.0f + 0.5f * static_cast<float>(n % 10));
      const std::uint32_t changed = n % 3 == 0 ? std::min(dim, 16u) : n % 3 == 1 ? 1 : dim;
      for (std::uint32_t d = 0; d < dim; ++d) {
        x[d] = normal(random);
        y[d] = x[d] + (d < changed ? scale * normal(random) : 0.0f);
      }
      if (n % 50 == 0) std::fill(x.begin(), x.end(), 0.0f);
      std::vector<float> rows = n % 50 == 0 ? x : unit(x);
      const std::vector<float> second = unit(y);
      rows.insert(rows.end(), second.begin(), second.end());
      const FeatureTable table{rows.data(), dim};
      RowContext row{};
      row.positives = &positives;
      row.num_positives = 1;
      const float cosine = exact_dot_portable(rows.data(), rows.data() + dim, dim);
      EXPECT_TRUE(near_a_positive(table, row, 1, cosine)) << dim << " dimensions, pair " << n;
      const float above = std::nextafter(cosine, 2.0f);
      EXPECT_FALSE(near_a_positive(table, row, 1, above)) << dim << " dimensions, pair " << n;
      apart += -exact_l2_portable(rows.data(), rows.data() + dim, std::min(dim, 16u)) >
               apart_from(0.98f, dim);
    }
  }
  EXPECT_GT(apart, 1000u) << "the first look never told a pair apart";
}

}  // namespace
}  // namespace quarry

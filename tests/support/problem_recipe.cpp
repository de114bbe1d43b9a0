// The recipes of random problems: every source, filter, weight, selection, quota, cap and backfill.
#include <algorithm>
#include <limits>
#include <utility>

#include "tests/support/problem_parts.h"

namespace quarry::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

PositiveScore aggregate(Rng& rng) {
  return static_cast<PositiveScore>(rng.in(0, kNumPositiveScores - 1));
}

RankWindow rank_window(Rng& rng, bool survivors) {
  RankWindow w;
  w.survivors = survivors;
  w.quantile = rng.chance(40);
  if (w.quantile) {
    w.lo = rng.in(0, 4) * 50000;
    w.hi = w.lo + rng.in(4, 16) * 50000;  // a rank at least, in the smallest of catalogues
  } else {
    w.lo = rng.in(1, 5);
    w.hi = rng.chance(20) ? 0xFFFFFFFFu : w.lo + rng.in(0, 30);
  }
  return w;
}

/// A filter of a random type. `ranked`: rank windows make sense for the source.
FilterSpec random_filter(Rng& rng, bool ranked) {
  FilterSpec f;
  f.type = static_cast<FilterType>(rng.in(0, static_cast<int>(FilterType::kSimilarity)));
  if (f.type == FilterType::kRank && !ranked) f.type = FilterType::kPositives;
  f.against = aggregate(rng);
  switch (f.type) {
    case FilterType::kPositives:
    case FilterType::kTime:
      break;
    case FilterType::kExposed:
      f.classes = static_cast<std::uint32_t>(rng.in(1, 15)) << 1;
      if (rng.chance(50)) f.max_age = static_cast<std::int64_t>(rng.in(0, kProblemAsOf));
      break;
    case FilterType::kGroup:
      f.column = rng.chance(50) ? "group" : "seller";
      break;
    case FilterType::kNearDuplicate:
    case FilterType::kSimilarity:
      f.table = rng.chance(40) ? "feature" : "";
      f.bound = rng.chance(30) ? 1.0 : 0.2 * static_cast<double>(rng.in(1, 5));
      break;
    case FilterType::kOverlap:
      f.columns = {"group", "seller", "genre"};
      if (rng.chance(30)) f.columns.pop_back();
      f.min_equal = static_cast<std::uint32_t>(rng.in(1, f.columns.size()));
      break;
    case FilterType::kUniversal:
      f.bound = 0.3 * static_cast<double>(rng.in(0, 2));  // with the allow list: four tables
      break;
    case FilterType::kAllowList:
      f.table = "allowed";
      break;
    case FilterType::kSegment:
      f.column = "genre";
      break;
    case FilterType::kScore:
      f.lo = rng.chance(50) ? -kInfinity : -0.25 * static_cast<double>(rng.in(0, 12));
      f.hi = rng.chance(50) ? kInfinity : 0.25 * static_cast<double>(rng.in(0, 12));
      break;
    case FilterType::kAbsoluteMargin:
      f.bound = 0.05 * static_cast<double>(rng.in(0, 10));
      break;
    case FilterType::kRelativeMargin:
      f.bound = 0.05 * static_cast<double>(rng.in(10, 20));
      break;
    case FilterType::kRank:
      f.window = rank_window(rng, rng.chance(60));
      break;
    case FilterType::kColumn:
      f.table = "teacher";
      f.relative = rng.chance(50);
      f.bound = 0.1 * static_cast<double>(rng.in(3, 12));
      f.reject_missing = rng.chance(30);
      break;
  }
  f.kind_text = "filter" + std::to_string(static_cast<int>(f.type));
  return f;
}

WeightSpec random_weight(Rng& rng) {
  WeightSpec w;
  w.kind = static_cast<WeightKind>(rng.in(0, static_cast<int>(WeightKind::kClass)));
  w.against = aggregate(rng);
  w.table = "teacher";
  switch (w.kind) {
    case WeightKind::kSoftmax:
      w.a = rng.chance(8) ? 1e-37 : 0.05 * static_cast<double>(rng.in(1, 40));
      break;
    case WeightKind::kSimans:
    case WeightKind::kDistance:
      w.a = 0.1 * static_cast<double>(rng.in(1, 30));
      w.b = 0.1 * static_cast<double>(rng.in(0, 8)) - 0.3;
      if (rng.chance(40)) w.centre = CentreKind::kAhns;
      w.ahns_a = 0.1 * static_cast<double>(rng.in(0, 12));
      w.ahns_b = 0.1 * static_cast<double>(rng.in(1, 10));
      w.ahns_p = rng.chance(50) ? -2.0 : -0.5;
      break;
    case WeightKind::kPopularity:
      w.a = 0.25 * static_cast<double>(rng.in(0, 8)) - 0.5;
      w.b = rng.chance(50) ? 1.0 : 0.3;
      break;
    case WeightKind::kRankGeometric:
      w.a = 0.7 * static_cast<double>(rng.in(1, 40));
      break;
    case WeightKind::kRankBeta:
      w.a = static_cast<double>(rng.in(1, 3));
      break;
    case WeightKind::kPairColumn:
      w.a = 0.3 * static_cast<double>(rng.in(0, 10)) - 1.0;
      break;
    case WeightKind::kClass:
      for (double& c : w.class_weight)
        c = rng.chance(30) ? 0.0 : 0.1 * static_cast<double>(rng.in(1, 30));
      if (rng.chance(15)) std::fill(std::begin(w.class_weight), std::end(w.class_weight), 0.0);
      break;
  }
  return w;
}

BranchSpec random_branch(Rng& rng, std::uint32_t number, std::uint32_t items) {
  BranchSpec b;
  b.name = "branch" + std::to_string(number);
  b.share = rng.in(number == 0 ? 1 : 0, 10);
  SourceSpec& s = b.source;
  // Half of the branches search: pools, windows and depth live there.
  s.kind = rng.chance(45) ? SourceKind::kTopk
                          : static_cast<SourceKind>(rng.in(1, static_cast<int>(SourceKind::kNear)));
  const bool drawn = s.kind == SourceKind::kUniform || s.kind == SourceKind::kPopularity;
  switch (s.kind) {
    case SourceKind::kTopk:
      s.all = rng.chance(20);
      if (s.all) {
        s.pool = s.max_rank = items;
      } else {
        s.pool = static_cast<std::uint32_t>(rng.in(1, 40));
        s.max_rank =
            rng.chance(40) ? 0xFFFFFFFFu : static_cast<std::uint32_t>(s.pool + rng.in(0, 60));
      }
      break;
    case SourceKind::kUniform:
    case SourceKind::kPopularity:
      s.beta = 0.25 * static_cast<double>(rng.in(0, 16));
      break;
    case SourceKind::kPool:
      s.popularity_base = rng.chance(40);
      s.beta = 0.25 * static_cast<double>(rng.in(0, 6));
      s.draws = static_cast<std::uint32_t>(rng.chance(15) ? items + rng.in(0, 3) : rng.in(1, 40));
      break;
    case SourceKind::kExposed:
      s.classes = static_cast<std::uint32_t>(rng.in(1, 15)) << 1;
      if (rng.chance(50)) s.max_age = static_cast<std::int64_t>(rng.in(0, kProblemAsOf));
      break;
    case SourceKind::kRun:
      s.table = "run";
      break;
    case SourceKind::kNear:
      s.draws = static_cast<std::uint32_t>(rng.in(1, 40));
      break;
    case SourceKind::kBatch:
    case SourceKind::kQueue:
      break;  // not of rows alone: never chosen above
  }
  b.select = drawn
                 ? (rng.chance(25) ? SelectKind::kSampleReplacement : SelectKind::kSample)
                 : static_cast<SelectKind>(rng.in(0, static_cast<int>(SelectKind::kFirstViolator)));
  if (b.select == SelectKind::kFirstViolator)
    b.violation_margin = 0.1 * static_cast<double>(rng.in(0, 12));
  const bool sampled = b.select == SelectKind::kSample ||
                       b.select == SelectKind::kSampleReplacement ||
                       b.select == SelectKind::kTop1Sample;
  for (std::uint64_t i = !drawn && sampled ? rng.in(0, 3) : 0; i > 0; --i)
    b.weights.push_back(random_weight(rng));
  const bool ranked = !drawn && b.select != SelectKind::kFirstViolator;
  bool windowed = false;  // at most one window over survivor ranks
  for (std::uint64_t i = rng.in(0, 3); i > 0; --i) {
    FilterSpec f = random_filter(rng, ranked);
    if (f.type == FilterType::kRank && f.window.survivors) {
      if (windowed) continue;
      windowed = true;
    }
    b.filters.push_back(f);
  }
  return b;
}

void make_quota(Rng& rng, Problem& p) {
  Recipe& r = p.recipe;
  StratumAttribute popularity{"popularity",
                              StratumAttribute::Kind::kPopularity,
                              static_cast<std::uint32_t>(rng.in(1, 4)),
                              {},
                              {},
                              ""};
  for (std::uint32_t b = 0; b < popularity.bins; ++b)
    popularity.names.push_back("p" + std::to_string(b));
  StratumAttribute recency{
      "recency", StratumAttribute::Kind::kRecency, 0, {2000, 6000}, {"new", "mid", "old"}, ""};
  if (rng.chance(40)) {
    recency.edges.pop_back();
    recency.names.pop_back();
  }
  StratumAttribute genre{"genre", StratumAttribute::Kind::kColumn, 0, {}, {}, "genre"};
  r.strata = {popularity, recency, genre};
  r.quota = QuotaSpec{};
  std::vector<std::uint32_t> which = {0, 1, 2};
  std::swap(which[0], which[rng.in(0, 2)]);
  std::swap(which[1], which[rng.in(1, 2)]);
  which.resize(rng.in(1, 3));
  if (p.catalogue.first_seen.empty()) {  // ages would be unknown: an error of the inputs
    std::erase(which, 1u);
    if (which.empty()) which = {0};
  }
  for (const std::uint32_t at : which) {
    QuotaAttribute q;
    q.attribute = r.strata[at].name;
    q.mode = static_cast<QuotaAttribute::Shares>(rng.in(0, 2));
    if (q.mode == QuotaAttribute::Shares::kNamed) {
      const std::vector<std::string>& names =
          at == 2 ? p.catalogue.columns[2].names : r.strata[at].names;
      std::uint64_t rest = 1000000;
      for (std::size_t c = 0; c + 1 < names.size(); ++c) {
        const std::uint64_t share =
            rng.chance(25) ? 0 : std::min<std::uint64_t>(rest, rng.in(0, 9) * 100000);
        if (share > 0) q.shares.push_back({names[c], share});
        rest -= share;
      }
      if (rest > 0) q.shares.push_back({names.back(), rest});
    }
    r.quota->by.push_back(q);
  }
  r.quota->redistribute = rng.chance(60);
}

}  // namespace

void fill_recipe(Rng& rng, Problem& p) {
  const auto items = static_cast<std::uint32_t>(p.inputs.items.rows);
  Recipe& r = p.recipe;
  r.name = "problem" + std::to_string(p.number);
  r.k = static_cast<std::uint32_t>(rng.in(1, 12));
  r.metric = static_cast<Metric>(rng.in(0, 2));
  for (std::uint64_t i = rng.in(0, 2); i > 0; --i) r.safety.push_back(random_filter(rng, false));
  const std::uint64_t branches = rng.in(1, 4);
  for (std::uint32_t b = 0; b < branches; ++b) r.branches.push_back(random_branch(rng, b, items));
  r.share_sum = 0;
  for (const BranchSpec& b : r.branches) r.share_sum += b.share;
  if (rng.chance(55)) make_quota(rng, p);
  for (const char* column : {"seller", "group"}) {
    if (rng.chance(25)) r.caps.push_back({column, static_cast<std::uint32_t>(rng.in(1, 3)), 1});
  }
  if (!rng.chance(15)) {
    for (std::uint32_t b = 0; b < branches; ++b)
      if (rng.chance(85)) r.backfill.push_back(b);
    if (r.backfill.size() > 1 && rng.chance(50)) std::reverse(r.backfill.begin(), r.backfill.end());
  }
  const std::uint32_t known = p.inputs.snapshot != nullptr ? p.snapshot.num_items : items;
  for (BranchSpec& b : r.branches) {
    for (WeightSpec& w : b.weights)  // the last rank there is: weight 0 for newer items
      if (w.kind == WeightKind::kRankBeta && rng.chance(30)) w.a = known;
  }
}

}  // namespace quarry::test

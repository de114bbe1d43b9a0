// Random small mining problems by seed.
#include "tests/support/problems.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

namespace quarry::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kAsOf = 10000;

/// Multiples of 1/4 in [-1, 1]: many equal scores, exact in every float format.
float coarse(Rng& rng) { return static_cast<float>(rng.in(0, 8)) / 4.0f - 1.0f; }

std::vector<float> make_table(Rng& rng, std::uint64_t rows, std::uint32_t dim, bool fine) {
  std::vector<float> table(rows * dim);
  for (float& x : table)
    x = fine ? static_cast<float>(rng.in(0, 1u << 20)) / (1 << 19) - 1.0f : coarse(rng);
  for (std::uint64_t r = 1; r < rows; ++r) {
    if (rng.chance(15)) {  // an exact duplicate of an earlier row
      const std::uint64_t of = rng.in(0, r - 1);
      std::copy_n(table.begin() + static_cast<std::ptrdiff_t>(of * dim), dim,
                  table.begin() + static_cast<std::ptrdiff_t>(r * dim));
    }
  }
  for (std::uint64_t r = 0; r < rows; ++r) {  // no row of norm zero: bad data under cosine
    if (std::all_of(table.begin() + static_cast<std::ptrdiff_t>(r * dim),
                    table.begin() + static_cast<std::ptrdiff_t>((r + 1) * dim),
                    [](float x) { return x == 0.0f; })) {
      table[r * dim] = 0.5f;
    }
  }
  return table;
}

std::uint16_t to_half(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) == 0) return static_cast<std::uint16_t>(bits >> 16);
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | (((bits >> 23 & 255u) - 112u) << 10) |
                                    (bits >> 13 & 0x3FFu));
}

/// Distinct sorted numbers below n, about `percent` of them.
std::vector<std::uint32_t> subset(Rng& rng, std::uint32_t n, std::uint32_t percent) {
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < n; ++i)
    if (rng.chance(percent)) out.push_back(i);
  return out;
}

PairValues make_pairs(Rng& rng, std::uint32_t users, std::uint32_t items) {
  PairValues p;
  const std::int64_t shift = items % 3 == 0 ? 9 : 0;  // a third has values on both sides of 0
  p.offsets.push_back(0);
  for (std::uint32_t u = 0; u < users; ++u) {
    for (const std::uint32_t i : subset(rng, items, static_cast<std::uint32_t>(rng.in(0, 70)))) {
      p.items.push_back(i);
      p.values.push_back(static_cast<float>(static_cast<std::int64_t>(rng.in(1, 12)) - shift) /
                         8.0f);
    }
    p.offsets.push_back(p.items.size());
  }
  return p;
}

void make_exposure(Rng& rng, Problem& p, std::uint32_t users, std::uint32_t items) {
  Exposure& e = p.exposure;
  e.as_of = kAsOf;
  e.item_count.assign(items, 0);
  e.offsets.push_back(0);
  for (std::uint32_t u = 0; u < users; ++u) {
    for (const std::uint32_t i : subset(rng, items, static_cast<std::uint32_t>(rng.in(0, 40)))) {
      const auto c = static_cast<ExposureClass>(rng.in(1, 4));
      const auto at = static_cast<std::int64_t>(rng.in(0, kAsOf));
      e.items.push_back(i);
      e.classes.push_back(static_cast<std::uint8_t>(c));
      e.last_time.push_back(at);
      e.positive_time.push_back(c == ExposureClass::kPositive ? at : INT64_MIN);
      e.item_count[i] += c == ExposureClass::kPositive;
      e.latest_event = std::max(e.latest_event, at);
    }
    e.offsets.push_back(e.items.size());
  }
  e.events = e.items.size();
}

void make_catalogue(Rng& rng, Problem& p, std::uint32_t items) {
  const char* const kNames[] = {"group", "seller", "genre"};
  for (const char* name : kNames) {
    CatalogueColumn column;
    column.name = name;
    const auto values = static_cast<std::uint32_t>(rng.in(1, 6));
    column.names.push_back("");
    for (std::uint32_t v = 1; v <= values; ++v)
      column.names.push_back(std::string(name) + std::to_string(v));
    for (std::uint32_t i = 0; i < items; ++i)
      column.codes.push_back(static_cast<std::uint32_t>(rng.in(0, values)));
    p.catalogue.columns.push_back(column);
  }
  const bool with_seen = rng.chance(75), with_retired = rng.chance(60);
  for (std::uint32_t i = 0; i < items; ++i) {
    const auto seen = rng.chance(15) ? INT64_MIN : static_cast<std::int64_t>(rng.in(0, 20) * 500);
    if (with_seen) p.catalogue.first_seen.push_back(seen);
    if (with_retired) {
      p.catalogue.retired.push_back(
          rng.chance(80) ? INT64_MAX : static_cast<std::int64_t>(rng.in(0, 30) * 500));
    }
  }
}

void make_rows(Rng& rng, Problem& p, std::uint32_t users, std::uint32_t items) {
  const std::uint64_t rows = rng.in(1, 9);
  const bool timed = rng.chance(70), segmented = rng.chance(70);
  p.rows.positive_offsets.push_back(0);
  const auto genres = static_cast<std::uint32_t>(p.catalogue.columns[2].names.size());
  for (std::uint64_t r = 0; r < rows; ++r) {
    p.rows.key.push_back(rng.next());
    p.rows.user.push_back(static_cast<std::uint32_t>(rng.in(0, users - 1)));
    p.rows.time.push_back(timed ? static_cast<std::int64_t>(rng.in(0, 24) * 500) : INT64_MAX);
    p.segments.push_back(segmented ? static_cast<std::uint32_t>(rng.in(0, genres - 1)) : 0);
    const std::uint64_t positives = rng.chance(20) ? 0 : rng.in(1, 4);
    for (std::uint64_t j = 0; j < positives; ++j) {
      p.rows.positives.push_back(static_cast<std::uint32_t>(rng.in(0, items - 1)));
    }
    p.rows.positive_offsets.push_back(p.rows.positives.size());
  }
  p.rows_view.num_rows = rows;
  p.rows_view.key = p.rows.key.data();
  p.rows_view.user = p.rows.user.data();
  if (timed || rng.chance(50)) p.rows_view.time = p.rows.time.data();
  if (segmented) p.rows_view.segment = p.segments.data();
  p.rows_view.positive_offsets = p.rows.positive_offsets.data();
  p.rows_view.positives = p.rows.positives.data();
}

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
      if (rng.chance(50)) f.max_age = static_cast<std::int64_t>(rng.in(0, kAsOf));
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
      if (rng.chance(50)) s.max_age = static_cast<std::int64_t>(rng.in(0, kAsOf));
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

void make_recipe(Rng& rng, Problem& p, std::uint32_t items) {
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
}

}  // namespace

std::uint64_t Rng::next() {
  std::uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::unique_ptr<Problem> make_problem(std::uint64_t number, ProblemSize size) {
  auto problem = std::make_unique<Problem>();
  Problem& p = *problem;
  Rng rng{number * 7919 + 1};
  p.number = number;
  p.seed = static_cast<std::uint32_t>(rng.next());
  p.round = static_cast<std::uint32_t>(rng.in(0, 3));
  const bool large = size == ProblemSize::kLarge;
  const auto items = static_cast<std::uint32_t>(large            ? rng.in(1200, 2500)
                                                : rng.chance(10) ? rng.in(200, 400)
                                                                 : rng.in(5, 90));
  const auto users = static_cast<std::uint32_t>(rng.in(2, 20));
  const auto dim = static_cast<std::uint32_t>(rng.in(1, 40));
  const bool fine = rng.chance(large ? 80 : 30);
  p.items = make_table(rng, items, dim, fine);
  p.users = make_table(rng, users, dim, fine);
  p.feature = make_table(rng, items, 3, false);
  const bool huge = rng.chance(6);  // scores that overflow, some to what is not a number
  for (std::vector<float>* table : {&p.items, &p.users}) {
    for (std::size_t r = 0; huge && r < table->size() / dim; ++r)
      if (rng.chance(40)) (*table)[r * dim + rng.in(0, dim - 1)] = rng.chance(50) ? 3e38f : -3e38f;
  }
  p.inputs.items = {p.items.data(), items, dim, Dtype::kF32};
  if (!fine && !huge && rng.chance(20)) {
    const bool brain = rng.chance(50);
    for (const float x : p.items) {
      p.half_items.push_back(
          brain ? static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16) : to_half(x));
    }
    p.inputs.items = {p.half_items.data(), items, dim, brain ? Dtype::kBf16 : Dtype::kF16};
  }
  p.inputs.users = {p.users.data(), users, dim, Dtype::kF32};
  p.inputs.features["feature"] = {p.feature.data(), items, 3, Dtype::kF32};
  make_exposure(rng, p, users, items);
  make_catalogue(rng, p, items);
  make_rows(rng, p, users, items);
  p.teacher = make_pairs(rng, users, items);
  p.run = make_pairs(rng, users, items);
  p.inputs.exposure = &p.exposure;
  p.inputs.catalogue = &p.catalogue;
  p.inputs.rows = &p.rows;
  p.inputs.pairs = {{"teacher", &p.teacher}, {"run", &p.run}};
  p.inputs.item_lists["allowed"] = subset(rng, items, 70);
  if (rng.chance(40)) {  // a frozen snapshot, perhaps of fewer items
    p.snapshot.num_items = rng.chance(50) ? items : static_cast<std::uint32_t>(rng.in(5, items));
    const bool older = p.snapshot.num_items % 3 == 0;  // than the log at hand
    p.snapshot.as_of = older ? kAsOf / 2 : kAsOf;
    if (older) p.snapshot.positive_users = p.snapshot.num_items % 5;
    for (std::uint32_t i = 0; i < p.snapshot.num_items; ++i) {
      p.snapshot.popularity.push_back(
          static_cast<std::uint32_t>(rng.chance(5) ? rng.in(0, 0xFFFFFFFFu) : rng.in(0, 4)));
    }
    p.inputs.snapshot = &p.snapshot;
  }
  if (rng.chance(15)) {
    p.queries = make_table(rng, p.rows.size(), dim, fine);
    p.rows_view.queries = p.queries.data();
  }
  make_recipe(rng, p, items);
  const std::uint32_t known = p.inputs.snapshot != nullptr ? p.snapshot.num_items : items;
  for (BranchSpec& b : p.recipe.branches) {
    for (WeightSpec& w : b.weights)  // the last rank there is: weight 0 for newer items
      if (w.kind == WeightKind::kRankBeta && rng.chance(30)) w.a = known;
  }
  if (rng.chance(40)) p.inputs.rows = nullptr;  // the rows' positives come with the rows alone
  return problem;
}

std::unique_ptr<Problem> make_starved_pool(std::uint64_t number) {
  auto p = make_problem(3000 + number);
  p->exposure.item_count.at(number % p->exposure.item_count.size()) = 1000000;
  if (!p->snapshot.popularity.empty()) p->snapshot.popularity[0] = 1000000;
  BranchSpec& b = p->recipe.branches[0];
  b.source = {};
  b.source.kind = SourceKind::kPool;
  b.source.popularity_base = true;
  b.source.beta = 2.0;
  b.source.draws = 2 + static_cast<std::uint32_t>(number % 3);
  b.select = number % 4 == 0 ? SelectKind::kFirstViolator : SelectKind::kTop;
  b.weights.clear();
  b.filters.clear();
  return p;
}

namespace {

/// Items whose norm is far above the others', so that no error bound holds for them.
void make_heavy(Rng& rng, Problem& p) {
  const std::size_t dim = p.inputs.items.dim;
  for (int n = 0; n < 5; ++n) {
    const std::size_t item = rng.in(0, p.inputs.items.rows - 1);
    const float by = n == 0 ? 1e6f : static_cast<float>(rng.in(3, 60));
    for (std::size_t d = 0; d < dim; ++d) p.items[item * dim + d] *= by;
  }
}

/// Many rows that bring their queries: enough for workers to share a search.
void make_many_rows(Rng& rng, Problem& p) {
  const RowTable few = p.rows;
  const std::vector<std::uint32_t> segments = p.segments;
  for (int copy = 1; copy < 8; ++copy) {
    for (std::size_t r = 0; r < few.size(); ++r) {
      p.rows.key.push_back(rng.next());
      p.rows.user.push_back(few.user[r]);
      p.rows.time.push_back(few.time[r]);
      p.segments.push_back(segments[r]);
      p.rows.positives.insert(
          p.rows.positives.end(),
          few.positives.begin() + static_cast<std::ptrdiff_t>(few.positive_offsets[r]),
          few.positives.begin() + static_cast<std::ptrdiff_t>(few.positive_offsets[r + 1]));
      p.rows.positive_offsets.push_back(p.rows.positives.size());
    }
  }
  p.queries = make_table(rng, p.rows.size(), p.inputs.items.dim, true);
  RowsView& v = p.rows_view;
  v.num_rows = p.rows.size();
  v.key = p.rows.key.data();
  v.user = p.rows.user.data();
  if (v.time != nullptr) v.time = p.rows.time.data();
  if (v.segment != nullptr) v.segment = p.segments.data();
  v.positive_offsets = p.rows.positive_offsets.data();
  v.positives = p.rows.positives.data();
  v.queries = p.queries.data();
}

/// The score of a real item for the first row, so that ceilings and scores tie.
double score_of_some_item(Rng& rng, const Problem& p) {
  const std::size_t dim = p.inputs.items.dim;
  const float* query =
      p.rows_view.queries != nullptr ? p.queries.data() : p.users.data() + p.rows.user[0] * dim;
  return exact_score(p.recipe.metric, query,
                     p.items.data() + rng.in(0, p.inputs.items.rows - 1) * dim, p.inputs.items.dim);
}

}  // namespace

std::unique_ptr<Problem> make_scanned(std::uint64_t number) {
  auto p = make_problem(5000 + number, ProblemSize::kLarge);
  Rng rng{number * 104729 + 7};
  if (number % 8 == 1) make_many_rows(rng, *p);
  if (number % 3 == 0 && p->half_items.empty()) make_heavy(rng, *p);
  const auto filter = [&](FilterType type) {
    FilterSpec f;
    f.type = type;
    f.kind_text = "filter" + std::to_string(static_cast<int>(type));
    return f;
  };
  std::vector<FilterSpec>& safety = p->recipe.safety;
  if (!rng.chance(12)) safety.clear();
  const auto scanned = [&](std::vector<FilterSpec>& to) {
    if (rng.chance(70)) to.push_back(filter(FilterType::kPositives));
    if (rng.chance(50)) {
      to.push_back(filter(FilterType::kExposed));
      to.back().classes = static_cast<std::uint32_t>(rng.in(1, 31));
      if (rng.chance(40)) to.back().max_age = static_cast<std::int64_t>(rng.in(100, 9000));
    }
    if (rng.chance(25)) {
      to.push_back(filter(FilterType::kAllowList));
      to.back().table = "allowed";
    }
  };
  scanned(safety);
  for (std::size_t b = 0; b < p->recipe.branches.size() && b < 2; ++b) {
    BranchSpec& branch = p->recipe.branches[b];
    if (b == 1 && rng.chance(50)) break;
    branch.source = {};
    branch.source.kind = SourceKind::kTopk;
    branch.source.pool = static_cast<std::uint32_t>(rng.in(3, 60));
    if (rng.chance(10)) branch.source.max_rank = static_cast<std::uint32_t>(rng.in(50, 2000));
    if (branch.select == SelectKind::kFirstViolator) branch.select = SelectKind::kTop;
    std::vector<FilterSpec> others;
    if (rng.chance(40)) others = std::move(branch.filters);
    branch.filters.clear();
    if (rng.chance(12)) branch.filters = others;
    if (rng.chance(30)) scanned(branch.filters);
    if (!rng.chance(10)) {
      const FilterType types[] = {FilterType::kAbsoluteMargin, FilterType::kRelativeMargin,
                                  FilterType::kScore};
      FilterSpec f = filter(rng.chance(40) ? FilterType::kScore : types[rng.in(0, 2)]);
      f.against = static_cast<PositiveScore>(rng.in(0, 3));
      f.bound = f.type == FilterType::kRelativeMargin ? 0.05 * static_cast<double>(rng.in(4, 20))
                                                      : 0.05 * static_cast<double>(rng.in(0, 20));
      f.lo = rng.chance(80) ? -std::numeric_limits<double>::infinity() : -2.0;
      f.hi = 0.1 * static_cast<double>(rng.in(0, 20));
      if (rng.chance(80)) f.hi = score_of_some_item(rng, *p);
      if (f.lo > f.hi) f.lo = -std::numeric_limits<double>::infinity();
      branch.filters.push_back(f);
      if (rng.chance(15)) {  // a second one, perhaps without an upper end
        f.type = FilterType::kScore;
        f.lo = -3.0;
        f.hi = rng.chance(50) ? std::numeric_limits<double>::infinity() : 1.0;
        const bool first = rng.chance(50);
        branch.filters.insert(first ? branch.filters.begin() : branch.filters.end(), f);
      }
    }
    if (branch.filters.empty() || branch.filters.size() + others.size() < 4)
      branch.filters.insert(branch.filters.end(), others.begin(), others.end());
  }
  return p;
}

namespace {
void describe(std::ostringstream& text, const FilterSpec& f) {
  static const char* const kTypes[] = {"positives", "exposed", "group",           "near_duplicate",
                                       "overlap",   "time",    "universal",       "allow_list",
                                       "segment",   "score",   "absolute_margin", "relative_margin",
                                       "rank",      "column",  "similarity"};
  text << "\n    filter " << kTypes[static_cast<int>(f.type)] << " classes " << f.classes
       << " max_age " << f.max_age.value_or(-1) << " column " << f.column << " columns "
       << f.columns.size() << " min_equal " << f.min_equal << " table '" << f.table << "' bound "
       << f.bound << " [" << f.lo << ", " << f.hi << "] against " << static_cast<int>(f.against)
       << (f.window.survivors ? " survivors" : " raw")
       << (f.window.quantile ? " quantile " : " ranks ") << f.window.lo << ".." << f.window.hi
       << " relative " << f.relative << " reject_missing " << f.reject_missing;
}
}  // namespace

std::string describe(const Problem& p) {
  static const char* const kSources[] = {"topk",    "uniform", "popularity", "pool",
                                         "exposed", "run",     "near"};
  static const char* const kSelects[] = {
      "top", "top_by_rank", "sample", "sample_replacement", "top1_sample", "first_violator"};
  static const char* const kWeights[] = {"softmax",        "simans",    "distance", "popularity",
                                         "rank_geometric", "rank_beta", "column",   "class"};
  std::ostringstream text;
  text << "problem " << p.number << ": " << p.inputs.items.rows << " items, " << p.inputs.users.rows
       << " users, dim " << p.inputs.items.dim << ", k " << p.recipe.k << ", metric "
       << static_cast<int>(p.recipe.metric) << ", snapshot "
       << (p.inputs.snapshot != nullptr ? static_cast<std::int64_t>(p.snapshot.num_items) : -1)
       << "\n  safety:";
  for (const FilterSpec& f : p.recipe.safety) describe(text, f);
  for (const BranchSpec& b : p.recipe.branches) {
    text << "\n  branch " << b.name << " share " << b.share << " source "
         << kSources[static_cast<int>(b.source.kind)] << (b.source.all ? " (all)" : "") << " pool "
         << b.source.pool << " max_rank " << b.source.max_rank << " draws " << b.source.draws
         << " beta " << b.source.beta << " popular " << b.source.popularity_base << " classes "
         << b.source.classes << " max_age " << b.source.max_age.value_or(-1) << " select "
         << kSelects[static_cast<int>(b.select)] << " margin " << b.violation_margin;
    for (const FilterSpec& f : b.filters) describe(text, f);
    for (const WeightSpec& w : b.weights) {
      text << "\n    weight " << kWeights[static_cast<int>(w.kind)] << " a " << w.a << " b " << w.b
           << " against " << static_cast<int>(w.against)
           << (w.centre == CentreKind::kAhns ? " ahns" : "");
    }
  }
  if (p.recipe.quota) {
    text << "\n  quota" << (p.recipe.quota->redistribute ? " redistributed" : "");
    for (const QuotaAttribute& q : p.recipe.quota->by) {
      text << "\n    by " << q.attribute << " mode " << static_cast<int>(q.mode);
      for (const auto& [name, share] : q.shares) text << " '" << name << "'=" << share;
    }
  }
  for (const CapSpec& c : p.recipe.caps) text << "\n  cap " << c.column << " " << c.per_row;
  text << "\n  backfill";
  for (const std::uint32_t b : p.recipe.backfill) text << " " << b;
  return text.str();
}

}  // namespace quarry::test

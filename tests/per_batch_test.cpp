// Mining batch by batch, as a training loop does: the same negatives as a whole run, in the
// caller's arrays, without an allocation once warm, and what bad rows and a lack of memory do.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "kernels/core/errors.h"
#include "tests/support/worlds.h"

namespace {

// Every allocation of the process: how many, how much is live, and above what it is refused.
std::atomic<long> num_allocations{0};
std::atomic<long> live_bytes{0};
std::atomic<long> most_bytes{-1};
constexpr std::size_t kHeader = 64;

void* allocate(std::size_t bytes, bool may_refuse) {
  num_allocations += 1;
  const long most = most_bytes;
  if (may_refuse && most >= 0 && live_bytes + static_cast<long>(bytes) > most) return nullptr;
  void* block = std::aligned_alloc(kHeader, (bytes + 2 * kHeader - 1) / kHeader * kHeader);
  if (block == nullptr) return nullptr;
  *static_cast<std::size_t*>(block) = bytes;
  live_bytes += static_cast<long>(bytes);
  return static_cast<char*>(block) + kHeader;
}

void release(void* pointer) {
  if (pointer == nullptr) return;
  void* block = static_cast<char*>(pointer) - kHeader;
  live_bytes -= static_cast<long>(*static_cast<std::size_t*>(block));
  std::free(block);
}

}  // namespace

void* operator new(std::size_t bytes) {
  void* p = allocate(bytes, false);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new(std::size_t bytes, std::align_val_t) { return operator new(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, false);
}
void* operator new(std::size_t bytes, std::align_val_t, const std::nothrow_t&) noexcept {
  return allocate(bytes, true);  // what buffers ask for
}
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { release(p); }

namespace quarry {
namespace {

/// A batch's columns in the caller's memory.
struct Columns {
  std::vector<std::uint32_t> item, raw_rank, survivor_rank, stratum;
  std::vector<float> score, logq, kappa, positive_min;
  std::vector<std::uint8_t> branch, fill, certified;
  std::vector<std::uint16_t> count;

  Columns(std::size_t rows, std::size_t k, std::size_t branches)
      : item(rows * k),
        raw_rank(rows * k),
        survivor_rank(rows * k),
        stratum(rows * k),
        score(rows * k),
        logq(rows * k),
        kappa(rows * branches),
        positive_min(rows),
        branch(rows * k),
        fill(rows * k),
        certified(rows),
        count(rows) {}

  /// The columns from row `first` on.
  Picks from(std::size_t first, std::size_t k, std::size_t branches) {
    return {.item = item.data() + first * k,
            .score = score.data() + first * k,
            .branch = branch.data() + first * k,
            .raw_rank = raw_rank.data() + first * k,
            .survivor_rank = survivor_rank.data() + first * k,
            .stratum = stratum.data() + first * k,
            .logq = logq.data() + first * k,
            .fill = fill.data() + first * k,
            .count = count.data() + first,
            .kappa = kappa.data() + first * branches,
            .positive_min = positive_min.data() + first,
            .certified = certified.data() + first};
  }

  std::string bytes() const {
    std::string all;
    const auto add = [&all](const auto& c) {
      all.append(reinterpret_cast<const char*>(c.data()), c.size() * sizeof(c[0]));
    };
    add(item), add(raw_rank), add(survivor_rank), add(stratum), add(score), add(logq), add(kappa);
    add(positive_min), add(branch), add(fill), add(certified), add(count);
    return all;
  }
};

/// All rows by mine().
Columns mined_whole(const Recipe& recipe, const test::TestWorld& w, const MinerOptions& options) {
  Miner miner(recipe, w.inputs, options);
  Columns out(w.rows_view.num_rows, recipe.k, recipe.branches.size());
  miner.mine(w.rows_view, [&](const NegativeBatch& b) {
    const auto copy = [&](const auto& from, auto& to, std::size_t width) {
      std::copy(from.begin(), from.end(),
                to.begin() + static_cast<std::ptrdiff_t>(b.first_row * width));
    };
    copy(b.item, out.item, b.k), copy(b.raw_rank, out.raw_rank, b.k);
    copy(b.survivor_rank, out.survivor_rank, b.k), copy(b.stratum, out.stratum, b.k);
    copy(b.score, out.score, b.k), copy(b.logq, out.logq, b.k);
    copy(b.kappa, out.kappa, b.num_branches), copy(b.positive_min, out.positive_min, 1);
    copy(b.branch, out.branch, b.k), copy(b.fill, out.fill, b.k);
    copy(b.certified, out.certified, 1), copy(b.count, out.count, 1);
  });
  return out;
}

Columns mined_in_batches(Miner& miner, const Recipe& recipe, const RowsView& rows,
                         std::uint64_t batch_rows, std::uint32_t dim) {
  Columns out(rows.num_rows, recipe.k, recipe.branches.size());
  for (std::uint64_t first = 0; first < rows.num_rows; first += batch_rows) {
    const std::uint64_t n = std::min(batch_rows, rows.num_rows - first);
    miner.mine_batch(part_of(rows, first, n, dim),
                     out.from(first, recipe.k, recipe.branches.size()));
  }
  return out;
}

constexpr std::uint32_t kDim = 12;

std::unique_ptr<test::TestWorld> world_for(const Recipe& recipe) {
  auto w = test::make_world({.users = 40, .items = 700, .dim = kDim, .rows_per_user = 4});
  test::satisfy(*w, recipe);
  return w;
}

/// The user table's vector of each row.
std::vector<float> queries_of(const test::TestWorld& w) {
  std::vector<float> queries;
  for (std::uint64_t r = 0; r < w.rows_view.num_rows; ++r) {
    const auto from = w.users.begin() + std::ptrdiff_t{w.rows_view.user[r]} * kDim;
    queries.insert(queries.end(), from, from + kDim);
  }
  return queries;
}

class PerBatch : public ::testing::TestWithParam<std::string> {};

TEST_P(PerBatch, GivesTheNegativesOfAWholeRun) {
  const Recipe recipe = load_recipe(GetParam(), 0);
  const auto w = world_for(recipe);
  const MinerOptions options{.exec = {.threads = 2}, .seed = 5, .tile_rows = 33};
  const std::string expected = mined_whole(recipe, *w, options).bytes();
  Miner miner(recipe, w->inputs, options);
  EXPECT_EQ(mined_in_batches(miner, recipe, w->rows_view, 50, kDim).bytes(), expected);
  const std::vector<float> queries = queries_of(*w);
  RowsView with_queries = w->rows_view;
  with_queries.queries = queries.data();
  EXPECT_EQ(mined_in_batches(miner, recipe, with_queries, 160, kDim).bytes(), expected)
      << "vectors brought by the caller, " << w->rows_view.num_rows << " rows in one batch";
}

#if defined(__SANITIZE_THREAD__)
constexpr int kPooledThreads = 1;  // that build starts threads anew for every loop, which allocates
#else
constexpr int kPooledThreads = 2;
#endif

TEST_P(PerBatch, AllocatesNothingOnceWarm) {
  const Recipe recipe = load_recipe(GetParam(), 0);
  const auto w = world_for(recipe);
  Miner miner(recipe, w->inputs,
              {.exec = {.threads = kPooledThreads}, .seed = 5, .retriever = "exact"});
  const std::vector<float> queries = queries_of(*w);
  RowsView rows = w->rows_view;
  rows.queries = queries.data();
  Columns out(rows.num_rows, recipe.k, recipe.branches.size());
  const Picks picks{.item = out.item.data(), .count = out.count.data()};  // the rest is not wanted
  // Where rows often need a deeper search the first search goes deeper from batch to batch.
  for (int i = 0; i < 15; ++i) miner.mine_batch(rows, picks);
  const long before = num_allocations;
  for (int i = 0; i < 5; ++i) miner.mine_batch(rows, picks);
  EXPECT_EQ(num_allocations - before, 0);
  std::uint64_t emitted = 0;
  for (const std::uint16_t n : out.count) emitted += n;
  EXPECT_GE(emitted, rows.num_rows);
}

INSTANTIATE_TEST_SUITE_P(Named, PerBatch,
                         ::testing::Values("balanced", "nv-perc", "simans", "random", "ance",
                                           "exposure", "dns", "warp", "word2vec"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(PerBatch, GivesTheSameOnSeveralDevices) {
  const Recipe recipe = load_recipe(GetParam(), 0);
  const auto w = world_for(recipe);
  MinerOptions options{.seed = 5, .tile_rows = 9};
  const std::string expected = mined_whole(recipe, *w, options).bytes();
  options.more = {Exec{}, Exec{.threads = 2}};
  EXPECT_EQ(mined_whole(recipe, *w, options).bytes(), expected);
}

TEST(SeveralDevices, AddUpTheirReportsAndEndTogether) {
  const Recipe recipe = load_recipe("nv-perc", 0);
  const auto w = world_for(recipe);
  Miner one(recipe, w->inputs, {.tile_rows = 9});
  one.mine(w->rows_view, [](const NegativeBatch&) {});
  Miner three(recipe, w->inputs, {.more = {Exec{}, Exec{}}, .tile_rows = 9});
  std::uint64_t seen = 0;
  three.mine(w->rows_view, [&](const NegativeBatch& b) {
    EXPECT_EQ(b.first_row, seen);
    seen += b.num_rows;
  });
  EXPECT_EQ(seen, w->rows_view.num_rows);
  EXPECT_EQ(std::memcmp(&three.report().counters, &one.report().counters, sizeof(Counters)), 0);
  EXPECT_EQ(three.report().certified_rows, one.report().certified_rows);
  // A sink that gives up, and a caller that wants to stop.
  EXPECT_THROW(three.mine(w->rows_view, [](const NegativeBatch&) { throw IoError("full"); }),
               IoError);
  const std::atomic<bool> stop{true};
  EXPECT_THROW(three.mine(
                   w->rows_view, [](const NegativeBatch&) {}, &stop),
               Cancelled);
}

TEST(BadRows, AQueryThatCannotBeScoredGivesAnEmptyRowAndTouchesNoOther) {
  for (const char* name : {"nv-perc", "random", "simans", "balanced"}) {
    const Recipe recipe = load_recipe(name, 0);
    const auto w = world_for(recipe);
    std::vector<float> queries = queries_of(*w);
    RowsView rows = w->rows_view;
    rows.queries = queries.data();
    Miner miner(recipe, w->inputs, {.seed = 5});
    const Columns good = mined_in_batches(miner, recipe, rows, 160, kDim);
    queries[3 * kDim + 2] = std::numeric_limits<float>::quiet_NaN();
    queries[7 * kDim] = -std::numeric_limits<float>::infinity();
    std::fill_n(queries.begin() + 9 * kDim, kDim, recipe.metric == Metric::kCosine ? 0.0f : 3e38f);
    const std::uint64_t before =
        miner.report().counters.missing[static_cast<int>(FillCode::kBadRow)];
    const Columns out = mined_in_batches(miner, recipe, rows, 160, kDim);
    for (std::size_t r = 0; r < rows.num_rows; ++r) {
      const bool bad = r == 3 || r == 7 || r == 9;
      for (std::size_t i = r * recipe.k; i < (r + 1) * recipe.k; ++i) {
        EXPECT_EQ(out.item[i], bad ? kNoItem : good.item[i]) << name << " row " << r;
        EXPECT_EQ(out.fill[i], bad ? 5 : good.fill[i]);
      }
      EXPECT_EQ(out.count[r], bad ? 0 : good.count[r]);
      if (bad) {
        EXPECT_EQ(out.certified[r], 0);
        EXPECT_TRUE(std::isnan(out.positive_min[r]));
      }
    }
    EXPECT_EQ(miner.report().counters.missing[static_cast<int>(FillCode::kBadRow)] - before,
              3 * recipe.k);
  }
}

TEST(BadRows, AUserOrPositiveOutsideItsTableIsAnErrorOrABadRow) {
  const Recipe recipe = load_recipe("balanced", 0);
  const auto w = world_for(recipe);
  std::vector<std::uint32_t> users = w->rows.user, positives = w->rows.positives;
  users[5] = 40;
  ASSERT_EQ(w->rows.positive_offsets[9] + 1, w->rows.positive_offsets[10]);
  positives[w->rows.positive_offsets[9]] = 700;
  RowsView rows = w->rows_view;
  rows.user = users.data();
  rows.positives = positives.data();
  Miner miner(recipe, w->inputs, {});
  const Columns out = mined_in_batches(miner, recipe, rows, 160, kDim);
  for (std::size_t r = 0; r < rows.num_rows; ++r)
    EXPECT_EQ(out.fill[r * recipe.k] == 5, r == 5 || r == 9) << r;
  try {
    miner.mine(rows, [](const NegativeBatch&) {});
    FAIL() << "a user outside the table was mined";
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("the first: rows 5"), std::string::npos) << e.what();
  }
}

TEST(QueryOnly, NeedsNoUserTable) {
  const Recipe recipe = load_recipe("nv-perc", 0, {"k=4"});
  auto w = test::make_world({.users = 10, .items = 500, .dim = kDim, .rows_per_user = 2});
  const std::vector<float> queries = queries_of(*w);
  w->inputs.users = {};
  w->inputs.exposure = nullptr;
  w->inputs.rows = nullptr;
  Miner miner(recipe, w->inputs, {});
  RowsView rows = w->rows_view;
  rows.queries = queries.data();
  rows.user = nullptr;
  const Columns none = mined_in_batches(miner, recipe, rows, 7, kDim);
  rows.user = w->rows.user.data();  // named, and of no consequence
  EXPECT_EQ(mined_in_batches(miner, recipe, rows, 20, kDim).bytes(), none.bytes());
  EXPECT_EQ(none.count[0], 4);
}

TEST(Memory, TilesShrinkUntilTheyFitAndTheResultIsTheSame) {
  const Recipe recipe = parse_recipe(R"(
name = "memory"
k = 10
metric = "ip"
[safety]
filters = [{ kind = "positives" }]
[[branch]]
name = "hard"
share = 0.7
source = { kind = "topk", pool = 100, max_rank = 3000 }
filters = [{ kind = "relative_margin", ratio = 0.5, against = "min" }]
select = { kind = "sample", weight = { kind = "softmax", tau = 1.0 } }
[[branch]]
name = "random"
share = 0.3
source = { kind = "uniform" }
)",
                                     "memory.toml", 0);
  const auto w = test::make_world({.users = 500, .items = 3000, .dim = 16, .rows_per_user = 1});
  std::vector<std::uint32_t> expected;
  SearchStats searched;
  int succeeded = 0;
  for (const long megabytes : {-1, 60, 40, 30, 20, 14, 10, 7, 5, 2}) {
    Miner miner(recipe, w->inputs, {.exec = {.threads = 2}});
    std::vector<std::uint32_t> items;
    items.reserve(w->rows_view.num_rows * recipe.k);
    most_bytes = megabytes < 0 ? -1 : live_bytes + megabytes * (1 << 20);
    std::string failed;
    try {
      miner.mine(w->rows_view, [&](const NegativeBatch& b) {
        items.insert(items.end(), b.item.begin(), b.item.end());
      });
    } catch (const OutOfMemory& e) {
      failed = e.what();
    }
    most_bytes = -1;
    if (megabytes < 0) {
      ASSERT_EQ(failed, "");
      expected = items;
      searched = miner.report().search;
    } else if (failed.empty()) {
      EXPECT_EQ(items, expected) << megabytes << " MB";
      EXPECT_EQ(miner.report().search.certified + miner.report().search.fallback,
                miner.report().search.queries);
      EXPECT_EQ(miner.report().counters.rows, w->rows_view.num_rows);
      ++succeeded;
    } else {
      EXPECT_LT(megabytes, 7) << failed;
    }
  }
  EXPECT_GE(succeeded, 5);
}

}  // namespace
}  // namespace quarry

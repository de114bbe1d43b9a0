// topk against sorting of every allowed score, and the row text on lanes against one thread.
#include "kernels/topk/topk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "kernels/core/exact_math.h"
#include "kernels/topk/blas_threads.h"
#include "kernels/topk/topk_row.h"
#include "tests/support/counting_allocator.h"
#include "tests/support/lanes.h"
#include "tests/support/upper_halves.h"

namespace quarry {
namespace {

using Keys = std::vector<std::uint64_t>;

Keys sorted(Keys keys) {
  std::sort(keys.begin(), keys.end(), std::greater<>());
  return keys;
}

/// Order of scores as an integer, by comparing floats instead of their bits: shares nothing with
/// score_key.
bool better(std::pair<float, std::uint32_t> a, std::pair<float, std::uint32_t> b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

struct Problem {
  std::uint32_t num_items, dim, rows, k;
  std::vector<float> items, queries;
  std::vector<std::uint32_t> eligible;
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint32_t> exclusions;
};

/// Small integers: every order of addition gives the same sum, so BLAS scores can be foretold, and
/// ties abound.
Problem integer_problem(std::uint32_t num_items, std::uint32_t dim, std::uint32_t rows,
                        std::uint32_t k, bool masked, unsigned seed) {
  Problem p{num_items, dim, rows, k, {}, {}, {}, {}, {}};
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> value(-3, 3);
  for (std::uint32_t i = 0; i < num_items * dim; ++i)
    p.items.push_back(static_cast<float>(value(random)));
  for (std::uint32_t i = 0; i < rows * dim; ++i)
    p.queries.push_back(static_cast<float>(value(random)));
  if (masked) {
    for (std::uint32_t w = 0; w < (num_items + 31) / 32; ++w) {
      p.eligible.push_back(static_cast<std::uint32_t>(random()) |
                           static_cast<std::uint32_t>(random()));
    }
    p.offsets.push_back(0);
    for (std::uint32_t r = 0; r < rows; ++r) {
      std::set<std::uint32_t> list;
      // Every third row excludes nothing, some exclude nearly everything.
      const std::uint32_t n = r % 3 == 0 ? 0 : r % 5 == 0 ? 2 * num_items : num_items / 4;
      for (std::uint32_t j = 0; j < n; ++j)
        list.insert(static_cast<std::uint32_t>(random()) % num_items);
      p.exclusions.insert(p.exclusions.end(), list.begin(), list.end());
      p.offsets.push_back(p.exclusions.size());
    }
  }
  return p;
}

bool allowed(const Problem& p, std::uint32_t row, std::uint32_t item) {
  if (!p.eligible.empty() && (p.eligible[item / 32] >> (item % 32) & 1u) == 0) return false;
  if (p.offsets.empty()) return true;
  const auto begin = p.exclusions.begin();
  return std::find(begin + static_cast<std::ptrdiff_t>(p.offsets[row]),
                   begin + static_cast<std::ptrdiff_t>(p.offsets[row + 1]),
                   item) == begin + static_cast<std::ptrdiff_t>(p.offsets[row + 1]);
}

void check(const Problem& p, const Exec& exec, TopkItems items, TopkWorkspace& workspace) {
  items.rows = p.items.data();
  items.num_items = p.num_items;
  items.dim = p.dim;
  TopkMask mask;
  if (!p.eligible.empty()) mask.eligible = p.eligible.data();
  if (!p.offsets.empty()) {
    mask.exclusion_offsets = p.offsets.data();
    mask.exclusions = p.exclusions.data();
  }
  constexpr std::uint64_t kSentinel = 0x5EA15EA15EA15EA1u;
  Keys keys(std::size_t{p.rows} * p.k + 1, kSentinel);
  std::vector<std::uint32_t> count(p.rows);
  std::vector<float> cut(p.rows);
  std::vector<std::uint8_t> left_out(p.rows);
  topk(exec, items, mask, p.queries.data(), p.rows, p.k, workspace,
       {keys.data(), count.data(), cut.data(), left_out.data()});
  ASSERT_EQ(keys.back(), kSentinel);

  for (std::uint32_t r = 0; r < p.rows; ++r) {
    std::vector<std::pair<float, std::uint32_t>> all;
    for (std::uint32_t i = 0; i < p.num_items; ++i) {
      if (!allowed(p, r, i)) continue;
      float dot = 0.0f;
      float distance = 0.0f;
      for (std::uint32_t d = 0; d < p.dim; ++d) {
        const float q = p.queries[r * p.dim + d];
        const float x = p.items[i * p.dim + d];
        dot += q * x;
        distance += (q - x) * (q - x);
      }
      const bool canonical_l2 =
          items.scoring == TopkScoring::kCanonical && items.metric == Metric::kL2;
      const float bias =
          items.scoring != TopkScoring::kCanonical && items.bias != nullptr ? items.bias[i] : 0.0f;
      all.emplace_back(canonical_l2 ? -distance : items.scale * dot + bias, i);
    }
    std::sort(all.begin(), all.end(), better);
    const std::size_t n = std::min<std::size_t>(p.k, all.size());
    ASSERT_EQ(count[r], n) << "row " << r;
    ASSERT_EQ(left_out[r] != 0, all.size() > p.k) << "row " << r;
    if (left_out[r] != 0) {
      ASSERT_EQ(cut[r], all[p.k].first) << "row " << r;
    }
    const auto first = keys.begin() + static_cast<std::ptrdiff_t>(std::size_t{r} * p.k);
    const Keys got = sorted(Keys(first, first + static_cast<std::ptrdiff_t>(n)));
    for (std::size_t j = 0; j < n; ++j) {
      ASSERT_EQ(item_of_key(got[j]), all[j].second) << "row " << r << " place " << j;
      ASSERT_EQ(score_of_key(got[j]), all[j].first) << "row " << r << " place " << j;
    }
  }
}

TEST(Topk, EqualsSortingForAnyShapeMaskAndThreads) {
  TopkWorkspace workspace;  // kept over all shapes: a work area from a larger call must not show in
                            // a smaller one
  unsigned seed = 0;
  for (const std::uint32_t num_items : {1u, 31u, 513u, 3000u}) {
    for (const std::uint32_t rows : {1u, 5u, 130u}) {
      for (const std::uint32_t k : {1u, 7u, 700u, 3001u}) {
        for (const bool masked : {false, true}) {
          for (const int threads : {1, 2}) {
            if (num_items == 3000 && rows == 130 && k > 7 && threads == 2 && !masked)
              continue;  // time
            const Problem p = integer_problem(num_items, 5, rows, k, masked, ++seed);
            Exec exec;
            exec.threads = threads;
            SCOPED_TRACE(testing::Message() << num_items << " items, " << rows << " rows, k " << k
                                            << ", masked " << masked << ", threads " << threads);
            ASSERT_NO_FATAL_FAILURE(check(p, exec, {}, workspace));
          }
        }
      }
    }
  }
}

TEST(Topk, ScaleBiasAndCanonicalScores) {
  TopkWorkspace workspace;
  Exec exec;
  exec.threads = 2;
  const Problem p = integer_problem(1500, 33, 40, 20, true, 99);
  std::vector<float> bias;
  for (std::uint32_t i = 0; i < p.num_items; ++i) bias.push_back(-static_cast<float>(i % 17));
  check(p, exec, {.scale = 2.0f, .bias = bias.data()}, workspace);
  check(p, exec, {.scoring = TopkScoring::kCanonical, .metric = Metric::kInnerProduct}, workspace);
  check(p, exec, {.scoring = TopkScoring::kCanonical, .metric = Metric::kL2}, workspace);
}

/// Lists of whole rows behind bounds: masks, a bias, items packed before or tile by tile.
TEST(Topk, ByBoundsOfEightBits) {
  TopkWorkspace workspace;
  unsigned seed = 500;
  for (const std::uint32_t num_items : {40u, 3000u}) {
    for (const std::uint32_t rows : {1u, 9u, 130u}) {
      for (const std::uint32_t k : {7u, 300u}) {
        for (const Int8Unit unit : int8_units()) {
          for (const int threads : {1, 2}) {
            const bool masked = ++seed % 3 != 0;
            const Problem p = integer_problem(num_items, 37, rows, k, masked, seed);
            std::vector<float> bias;
            for (std::uint32_t i = 0; i < num_items; ++i)
              bias.push_back(-static_cast<float>(i % 17));
            Int8Table table;
            table.pack({}, unit, p.items.data(), nullptr, num_items, p.dim);
            Exec exec;
            exec.threads = threads;
            SCOPED_TRACE(testing::Message()
                         << name_of(unit) << ", " << num_items << " items, " << rows << " rows, k "
                         << k << ", masked " << masked << ", threads " << threads);
            TopkItems items{.scoring = TopkScoring::kInt8, .scale = 2.0f, .int8 = unit};
            items.bias = seed % 2 == 0 ? bias.data() : nullptr;
            items.int8_table = seed % 5 < 2 ? &table : nullptr;
            items.always_by_bounds = seed % 4 != 0;
            ASSERT_NO_FATAL_FAILURE(check(p, exec, items, workspace));
          }
        }
      }
    }
  }
}

TEST(Topk, AscendingScoresCutTheListManyTimes) {
  // Every item beats all before it: the threshold never helps.
  Problem p{20000, 1, 3, 10, {}, {1.0f, 2.0f, 0.5f}, {}, {}, {}};
  for (std::uint32_t i = 0; i < p.num_items; ++i) p.items.push_back(static_cast<float>(i));
  TopkWorkspace workspace;
  Exec exec;
  check(p, exec, {}, workspace);
  std::reverse(p.items.begin(), p.items.end());
  check(p, exec, {}, workspace);
}

TEST(Topk, NothingIsAllocatedAfterTheFirstCall) {
  test::CountingAllocator counting;
  Exec exec;
  exec.threads = 2;
  exec.allocator = counting.get();
  TopkWorkspace workspace;
  const Problem p = integer_problem(2000, 8, 100, 50, true, 5);
  check(p, exec, {}, workspace);
  EXPECT_GT(counting.allocations(), 0);
  const int before = counting.allocations();
  check(p, exec, {}, workspace);
  EXPECT_EQ(counting.allocations(), before);
  EXPECT_GT(workspace.bytes(), 0u);
}

TEST(TopkRow, NotANumberPassesTheScanAndIsDecidedByKey) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(beats(nan, 1.0f));
  EXPECT_TRUE(beats(-std::numeric_limits<float>::infinity(), no_threshold()));
  EXPECT_FALSE(beats(1.0f, 1.0f));
  EXPECT_FALSE(beats(-0.0f, 0.0f));
}

/// One row's scan in chunks with cuts between, as topk does it, by the text of topk_row.h.
template <class Group>
std::uint32_t scan_row(Group& g, const std::vector<float>& scores, const float* bias,
                       const std::uint32_t* mask, std::uint32_t k, std::uint64_t* keys,
                       std::uint32_t capacity, float* threshold) {
  constexpr std::uint32_t kChunk = 96;
  std::uint32_t count = 0;
  *threshold = no_threshold();
  for (std::uint32_t at = 0; at < scores.size(); at += kChunk) {
    const std::uint32_t n =
        std::min<std::uint32_t>(kChunk, static_cast<std::uint32_t>(scores.size()) - at);
    if (count + n > capacity) count = compact_row(g, keys, count, k, threshold);
    count = append_row(g, scores.data() + at, bias == nullptr ? nullptr : bias + at, n, at,
                       mask == nullptr ? nullptr : mask + at / 32, *threshold, keys, count);
  }
  return compact_row(g, keys, count, k, threshold);
}

struct RowCase {
  std::vector<float> scores;
  std::vector<float> bias;
  std::vector<std::uint32_t> mask;
};

RowCase row_case(std::uint32_t n, unsigned seed) {
  RowCase c;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::uint32_t i = 0; i < n; ++i) {
    // Rounded in some cases: ties at the threshold.
    const float v = normal(random);
    c.scores.push_back(seed % 3 == 0 ? std::round(v * 2) : seed % 3 == 1 ? v : 0.0f);
    c.bias.push_back(seed % 2 == 0 ? normal(random) : -0.0f);
  }
  for (std::uint32_t w = 0; w < (n + 31) / 32; ++w)
    c.mask.push_back(static_cast<std::uint32_t>(random()));
  return c;
}

TEST(TopkRow, LanesEqualOneThreadInEverySchedule) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    for (const std::uint32_t n : {1u, 31u, 97u, 400u}) {
      const RowCase c = row_case(n, seed);
      for (const std::uint32_t k : {1u, 10u, 33u}) {
        const std::uint32_t capacity = k + 96 + 20;
        const float* bias = seed % 4 < 2 ? nullptr : c.bias.data();
        const std::uint32_t* mask = seed % 2 == 0 ? nullptr : c.mask.data();
        SoloGroup solo;
        Keys expected(capacity);
        float expected_threshold = 0.0f;
        const std::uint32_t expected_count =
            scan_row(solo, c.scores, bias, mask, k, expected.data(), capacity, &expected_threshold);
        expected.resize(expected_count);
        for (const std::uint32_t width : {1u, 2u, 3u, 32u, 128u}) {
          if (width == 128 && seed >= 3) continue;  // a fiber switch per lane and collective
          for (const test::Schedule schedule : test::kSchedules) {
            Keys keys(capacity);
            std::vector<std::uint32_t> count(width);
            std::vector<float> threshold(width);
            test::Lanes lanes(width, schedule, seed);
            lanes.run([&](test::LaneGroup& g) {
              float t = 0.0f;
              count[g.rank()] = scan_row(g, c.scores, bias, mask, k, keys.data(), capacity, &t);
              threshold[g.rank()] = t;
            });
            for (std::uint32_t l = 0; l < width; ++l) {
              ASSERT_EQ(count[l], expected_count);
              ASSERT_EQ(bits_of_float(threshold[l]), bits_of_float(expected_threshold));
            }
            keys.resize(expected_count);
            ASSERT_EQ(keys, expected)
                << "width " << width << ", n " << n << ", k " << k << ", seed " << seed;
          }
        }
      }
    }
  }
}

TEST(TopkRow, LanesReadWhatOthersKept) {
  const RowCase c = row_case(300, 1);
  for (const std::uint32_t width : {1u, 2u, 3u, 32u, 128u}) {
    for (const test::Schedule schedule : test::kSchedules) {
      Keys keys(300);
      std::vector<Keys> seen(width);
      test::Lanes lanes(width, schedule, 1);
      lanes.run([&](test::LaneGroup& g) {
        float threshold = no_threshold();
        const std::uint32_t n =
            append_row(g, c.scores.data(), nullptr, 300, 0, nullptr, threshold, keys.data(), 0);
        const std::uint32_t kept = compact_row(g, keys.data(), n, 40, &threshold);
        seen[g.rank()].assign(keys.begin(), keys.begin() + kept);
      });
      for (const Keys& lane : seen) ASSERT_EQ(lane, seen[0]);
      ASSERT_EQ(seen[0].size(), 40u);
    }
  }
}

TEST(TopkRow, TunedHostFormsDecideAlike) {
  SoloGroup solo;
  for (unsigned seed = 0; seed < 60; ++seed) {
    for (const std::uint32_t n : {1u, 63u, 64u, 65u, 512u, 1111u}) {
      RowCase c = row_case(n, seed);
      if (n > 3) {
        c.scores[1] = std::numeric_limits<float>::quiet_NaN();
        c.scores[2] = -0.0f;
        c.scores[3] = -std::numeric_limits<float>::infinity();
      }
      const float* bias = seed % 4 < 2 ? nullptr : c.bias.data();
      const std::uint32_t* mask = seed % 2 == 0 ? nullptr : c.mask.data();
      const float thresholds[] = {no_threshold(), 0.0f, 0.7f, -1.5f};
      for (const float threshold : thresholds) {
        Keys a(n + 2, 7);
        const std::uint32_t na =
            append_row(solo, c.scores.data(), bias, n, 1000, mask, threshold, a.data(), 1);
        for (const TopkScanForm& form : topk_scan_forms()) {
          Keys b(n + 2, 7);
          const std::uint32_t nb =
              form.append(c.scores.data(), bias, n, 1000, mask, threshold, b.data(), 1);
          ASSERT_EQ(na, nb);
          ASSERT_EQ(a, b) << form.name << " n " << n << " seed " << seed;
        }
        for (const std::uint32_t k : {1u, 2u, na / 2, na, na + 1}) {
          if (k == 0) continue;
          Keys x(a.begin(), a.begin() + na);
          Keys y = x;
          float tx = -3.0f;
          float ty = -3.0f;
          const std::uint32_t cx = compact_row(solo, x.data(), na, k, &tx);
          const std::uint32_t cy = compact_row_host(y.data(), na, k, &ty);
          ASSERT_EQ(cx, std::min(na, k));
          ASSERT_EQ(cx, cy);
          ASSERT_EQ(bits_of_float(tx), bits_of_float(ty));
          const Keys all = sorted(Keys(a.begin(), a.begin() + na));
          x.resize(cx);
          y.resize(cy);
          ASSERT_EQ(sorted(x), Keys(all.begin(), all.begin() + cx));
          ASSERT_EQ(sorted(y), sorted(x));
        }
      }
    }
  }
}

TEST(TopkRow, SplitsInPlaceWhateverTheLength) {
  std::mt19937_64 random(5);
  for (std::uint32_t n = 0; n < 400; n += n < 70 ? 1 : 37) {
    for (int round = 0; round < 20; ++round) {
      Keys keys(n + 1, 7);
      // Few values, so that many equal the pivot, or all.
      const std::uint64_t values = round % 4 == 0 ? 2 : round % 4 == 1 ? 50 : ~std::uint64_t{0};
      for (std::uint32_t i = 0; i < n; ++i) keys[i] = random() % values;
      const std::uint64_t pivots[] = {0, 1, ~std::uint64_t{0}, n == 0 ? 9 : keys[random() % n]};
      const std::uint64_t pivot = pivots[round % 4];
      const auto front = static_cast<std::uint32_t>(std::count_if(
          keys.begin(), keys.end() - 1, [&](std::uint64_t key) { return key >= pivot; }));
      for (const TopkScanForm& form : topk_scan_forms()) {
        Keys work = keys;
        ASSERT_EQ(form.split(work.data(), n, pivot), front) << form.name << " n " << n;
        ASSERT_EQ(work.back(), 7u) << "beyond its end";
        for (std::uint32_t i = 0; i < n; ++i) ASSERT_EQ(work[i] >= pivot, i < front);
        ASSERT_EQ(sorted(work), sorted(keys)) << form.name << " n " << n;
        ASSERT_FALSE(test::upper_halves_in_use()) << form.name;
      }
    }
  }
}

TEST(TopkRow, SelectionHoldsOnLongAndOrderedLists) {
  for (const std::uint32_t n : {100u, 1000u, 50000u}) {
    for (int order = 0; order < 4; ++order) {
      Keys keys;
      std::mt19937_64 random(n);
      for (std::uint64_t i = 0; i < n; ++i) {
        keys.push_back(order == 0   ? i
                       : order == 1 ? n - i
                       : order == 2 ? (i * 7919) % 104729 << 20 | i
                                    : random());
      }
      const Keys all = sorted(keys);
      for (const std::uint32_t k : {1u, n / 10, n / 2, n - 1, n}) {
        Keys work = keys;
        float threshold = 0.0f;
        ASSERT_EQ(compact_row_host(work.data(), n, k, &threshold), k);
        ASSERT_EQ(bits_of_float(threshold), bits_of_float(score_of_key(all[k - 1])));
        work.resize(k);
        ASSERT_EQ(sorted(work), Keys(all.begin(), all.begin() + k))
            << n << " " << order << " " << k;
      }
    }
  }
}

extern "C" [[gnu::weak]] void openblas_set_num_threads(int threads);

class BlasThreads : public testing::Test {
 protected:
  void SetUp() override {
    if (openblas_set_num_threads == nullptr || blas_threads() == 0)
      GTEST_SKIP() << "the BLAS is not OpenBLAS";
    former_ = blas_threads();
    openblas_set_num_threads(3);
    if (blas_threads() != 3) GTEST_SKIP() << "this OpenBLAS keeps to " << blas_threads();
  }
  void TearDown() override {
    if (former_ > 0) openblas_set_num_threads(former_);
  }
  int former_ = 0;
};

TEST_F(BlasThreads, AreOneWithinAndPutBackAfterwards) {
  {
    const OneBlasThread outer(1);
    EXPECT_EQ(blas_threads(), 1);
    {
      const OneBlasThread inner(1);
      EXPECT_EQ(blas_threads(), 1);
    }
    EXPECT_EQ(blas_threads(), 1) << "the outer one is still alive";
  }
  EXPECT_EQ(blas_threads(), 3);
}

TEST_F(BlasThreads, TopkLeavesThemAsTheyWere) {
  TopkWorkspace workspace;
  check(integer_problem(700, 9, 40, 5, false, 3), Exec{.threads = 2}, {}, workspace);
  EXPECT_EQ(blas_threads(), 3);
}

TEST_F(BlasThreads, OverlappingUsersOnSeveralThreads) {
  std::vector<std::thread> users;
  std::atomic<int> wrong{0};
  for (int u = 0; u < 4; ++u) {
    users.emplace_back([&wrong] {
      for (int i = 0; i < 200; ++i) {
        const OneBlasThread one(1);
        wrong += blas_threads() != 1;
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(blas_threads(), 3);
}

}  // namespace
}  // namespace quarry

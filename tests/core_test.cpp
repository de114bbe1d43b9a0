// The core: random words, exact scores, order keys, exact log and exp, parallel loops, row sorting.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

#include "kernels/core/buffer.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/exec.h"
#include "kernels/core/group.h"
#include "kernels/core/philox.h"
#include "kernels/core/sort_row.h"
#include "tests/support/oracle.h"
#include "tests/support/problems.h"

namespace quarry {
namespace {

using Words = std::array<std::uint32_t, 4>;

Words engine_philox(const Words& counter, const std::array<std::uint32_t, 2>& key) {
  const PhiloxWords w =
      philox4x32({key[0], key[1]}, counter[0], counter[1], counter[2], counter[3]);
  return {w.z[0], w.z[1], w.z[2], w.z[3]};
}

TEST(Philox, KnownAnswersOfRandom123) {
  struct Case {
    Words counter;
    std::array<std::uint32_t, 2> key;
    Words answer;
  };
  const Case cases[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(engine_philox(c.counter, c.key), c.answer);
    EXPECT_EQ(oracle::philox(c.counter, c.key), c.answer);
  }
}

TEST(Philox, CounterLayoutOfTheContract) {
  const PhiloxWords w = random_words({7, 9}, 0x1122334455667788u, 42, 0xABCDEFFFu, Purpose::kDraw);
  const Words plain = oracle::philox({0x55667788u, 0x11223344u, 42, 0xABCDEF02u}, {7, 9});
  EXPECT_EQ((Words{w.z[0], w.z[1], w.z[2], w.z[3]}), plain);
  EXPECT_EQ(as_u64(w), std::uint64_t{plain[0]} << 32 | plain[1]);
  EXPECT_EQ(mulhi(UINT64_MAX, 10), 9u);
  EXPECT_EQ(mulhi(0x8000000000000000u, 10), 5u);
  EXPECT_EQ(mulhi(UINT64_MAX, UINT64_MAX), UINT64_MAX - 1);
}

enum class Fill { kPlain, kSubnormal, kZeros, kWide };

std::vector<float> make_vector(test::Rng& rng, std::uint32_t dim, Fill fill) {
  std::vector<float> v(dim);
  for (float& x : v) {
    const float u = static_cast<float>(rng.in(0, 1u << 24)) / (1 << 23) - 1.0f;
    switch (fill) {
      case Fill::kPlain:
        x = u;
        break;
      case Fill::kSubnormal:
        x = u * 1e-21f;
        break;  // products are subnormal
      case Fill::kZeros:
        x = rng.chance(50) ? -0.0f : 0.0f;
        break;
      case Fill::kWide:
        x = std::ldexp(u, static_cast<int>(rng.in(0, 60)) - 30);
        break;
    }
  }
  return v;
}

TEST(ExactScore, EveryFormHasTheSameBitsAtEveryDimension) {
  test::Rng rng{1};
  for (std::uint32_t dim = 1; dim <= 300; ++dim) {
    for (const Fill fill : {Fill::kPlain, Fill::kSubnormal, Fill::kZeros, Fill::kWide}) {
      const std::vector<float> x = make_vector(rng, dim, fill);
      const std::vector<float> y = make_vector(rng, dim, fill);
      const auto dot = std::bit_cast<std::uint32_t>(oracle::dot(x, y));
      const auto l2 = std::bit_cast<std::uint32_t>(oracle::l2(x, y));
      ASSERT_EQ(std::bit_cast<std::uint32_t>(exact_dot_portable(x.data(), y.data(), dim)), dot)
          << dim;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(exact_dot_host(x.data(), y.data(), dim)), dot) << dim;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(exact_l2_portable(x.data(), y.data(), dim)), l2)
          << dim;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(exact_l2_host(x.data(), y.data(), dim)), l2) << dim;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(exact_score(Metric::kCosine, x.data(), y.data(), dim)),
                dot)
          << dim;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(exact_score(Metric::kL2, x.data(), y.data(), dim)), l2)
          << dim;
    }
  }
}

TEST(ExactScore, ManyRowsHaveTheSameBitsAsOne) {
  test::Rng rng{5};
  for (const ExactScoresForm& form : exact_scores_forms()) {
    for (std::uint32_t dim = 1; dim <= 200; dim += dim < 70 ? 1 : 13) {
      const auto n = static_cast<std::uint32_t>(rng.in(0, 40));
      for (const Fill fill : {Fill::kPlain, Fill::kSubnormal, Fill::kZeros, Fill::kWide}) {
        const std::vector<float> x = make_vector(rng, dim, fill);
        std::vector<float> rows = make_vector(rng, n * dim, fill);
        for (const float special : {INFINITY, -INFINITY, NAN, 3e38f})
          if (n > 0 && rng.chance(50)) rows[rng.in(0, n * dim - 1)] = special;
        for (const Metric metric : {Metric::kInnerProduct, Metric::kCosine, Metric::kL2}) {
          std::vector<float> scores(n + 1, 7.0f);
          form.score(metric, x.data(), rows.data(), n, dim, scores.data());
          for (std::uint32_t j = 0; j < n; ++j) {
            const auto at = rows.begin() + std::ptrdiff_t{j} * dim;
            const std::vector<float> y(at, at + dim);
            const float wanted = metric == Metric::kL2 ? oracle::l2(x, y) : oracle::dot(x, y);
            ASSERT_EQ(std::bit_cast<std::uint32_t>(scores[j]), std::bit_cast<std::uint32_t>(wanted))
                << form.name << ", row " << j << " of " << n << ", dim " << dim;
          }
          ASSERT_EQ(scores[n], 7.0f) << form.name;
        }
      }
    }
  }
}

TEST(ExactScore, SubnormalsAreKeptAndMinusZeroIsCleared) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> x = {tiny, 1.0f}, y = {1.0f, 0.0f};
  EXPECT_EQ(exact_dot_host(x.data(), y.data(), 2), tiny);
  const float minus = -0.0f, one = 1.0f;
  EXPECT_FALSE(std::signbit(exact_dot_host(&minus, &one, 1)));
  EXPECT_FALSE(std::signbit(exact_l2_host(&one, &one, 1)));
  EXPECT_EQ(exact_l2_host(&one, &minus, 1), -1.0f);
}

TEST(ExactScore, AgreesWithLongDouble) {
  test::Rng rng{2};
  for (const std::uint32_t dim : {1u, 31u, 32u, 33u, 127u, 128u, 129u, 300u}) {
    const std::vector<float> x = make_vector(rng, dim, Fill::kPlain),
                             y = make_vector(rng, dim, Fill::kPlain);
    long double dot = 0, magnitude = 0, l2 = 0;
    for (std::uint32_t i = 0; i < dim; ++i) {
      dot += static_cast<long double>(x[i]) * y[i];
      magnitude += std::fabs(static_cast<long double>(x[i]) * y[i]);
      l2 -= (static_cast<long double>(x[i]) - y[i]) * (static_cast<long double>(x[i]) - y[i]);
    }
    const long double steps = (dim / 32 + 6) * 0x1p-24L;  // roundings on the longest path
    EXPECT_LE(std::fabs(exact_dot_host(x.data(), y.data(), dim) - dot), steps * magnitude);
    EXPECT_LE(std::fabs(exact_l2_host(x.data(), y.data(), dim) - l2), (steps + 0x1p-22L) * -l2);
  }
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Arrays of all sizes about a huge page hold what was written, apart from each other, and what is
/// released goes back to the system however many live arrays it lay between.
TEST(Buffer, LargeArraysAreWholeAndGoBackToTheSystem) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  std::vector<HostBuffer<std::uint8_t>> arrays;
  for (const std::size_t bytes : {kHugePage - 1, kHugePage, kHugePage + 1, 3 * kHugePage - 4096,
                                  3 * kHugePage + 4097, std::size_t{1}}) {
    arrays.emplace_back(Exec{}, bytes);
    std::memset(arrays.back().data(), static_cast<int>(arrays.size()), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arrays.back().data()) % 64, 0u);
  }
  for (std::size_t i = 0; i < arrays.size(); ++i)
    for (const std::uint8_t byte : arrays[i].span()) ASSERT_EQ(byte, i + 1);

  const std::uint64_t before = resident_bytes();
  std::vector<HostBuffer<std::uint8_t>> kept;
  for (int i = 0; i < 64; ++i) {
    HostBuffer<std::uint8_t> goes(Exec{}, 4 * kHugePage);
    std::memset(goes.data(), 1, goes.size());
    kept.emplace_back(Exec{}, std::size_t{4096});
    std::memset(kept.back().data(), 1, kept.back().size());
  }
  EXPECT_LT(resident_bytes(), before + 4 * kHugePage);
}
#endif

TEST(Order, OrderedFollowsTheFloats) {
  const float inf = std::numeric_limits<float>::infinity();
  const float rising[] = {-inf,   -3e38f, -1.5f, -1.0f, -1e-40f, -0.0f, 0.0f,
                          1e-40f, 1e-20f, 1.0f,  1.5f,  3e38f,   inf};
  for (std::size_t i = 1; i < std::size(rising); ++i)
    EXPECT_LT(ordered(rising[i - 1]), ordered(rising[i])) << i;
  for (const float f : rising) {
    EXPECT_EQ(ordered(f), oracle::ordered_bits(f));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(float_of_ordered(ordered(f))),
              std::bit_cast<std::uint32_t>(f));
  }
  EXPECT_GT(score_key(1.0f, 3), score_key(1.0f, 4));
  EXPECT_GT(score_key(1.5f, 4), score_key(1.0f, 3));
  EXPECT_EQ(item_of_key(score_key(-2.0f, 77)), 77u);
  EXPECT_EQ(score_of_key(score_key(-2.0f, 77)), -2.0f);
}

TEST(Order, KeysOfInfinitiesAndNansAreTotalAndComeBack) {
  const float inf = std::numeric_limits<float>::infinity();
  const float largest = std::numeric_limits<float>::max();
  const float nan = std::bit_cast<float>(0x7FC00000u);
  const float negative_nan = std::bit_cast<float>(0xFFC00000u);
  // By bits: NaNs beyond the infinities of their sign, so a key is never equal to another's and a
  // sort cannot lose its order on them.
  const float rising[] = {std::bit_cast<float>(0xFFFFFFFFu),
                          negative_nan,
                          -inf,
                          -largest,
                          0.0f,
                          largest,
                          inf,
                          std::bit_cast<float>(0x7F800001u),
                          nan,
                          std::bit_cast<float>(0x7FFFFFFFu)};
  for (std::size_t i = 0; i < std::size(rising); ++i) {
    const float f = rising[i];
    if (i > 0) {
      EXPECT_LT(ordered(rising[i - 1]), ordered(f)) << i;
      EXPECT_LT(score_key(rising[i - 1], 0), score_key(f, 0xFFFFFFFEu)) << i;
    }
    EXPECT_EQ(ordered(f), oracle::ordered_bits(f)) << i;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(score_of_key(score_key(f, 5))),
              std::bit_cast<std::uint32_t>(f))
        << i;
    EXPECT_EQ(item_of_key(score_key(f, 5)), 5u) << i;
    EXPECT_GT(score_key(f, 5), score_key(f, 6)) << i;
  }
  // An absent entry is key 0: no item, not even the last at the lowest pattern, may be that key.
  EXPECT_GT(score_key(-inf, 0xFFFFFFFEu), 0u);
  EXPECT_GT(score_key(rising[0], 0xFFFFFFFEu), 0u);
}

/// FNV-1a over the bits of results, so that one number stands for all of them.
struct BitHash {
  std::uint64_t state = 0xCBF29CE484222325u;
  void add(float f) { state = (state ^ std::bit_cast<std::uint32_t>(f)) * 0x100000001B3u; }
};

TEST(ExactMath, LogIsCloseAndHasFixedBits) {
  BitHash hash;
  for (std::uint32_t b = 0x00800000u; b < 0x7F800000u; b += 4099) {  // positive normal floats
    const float x = std::bit_cast<float>(b);
    const float y = exact_log(x);
    const long double truth = std::log(static_cast<long double>(x));
    ASSERT_LE(std::fabs(y - truth), 2.5e-7L * std::max(std::fabs(truth), 1e-3L)) << x;
    hash.add(y);
  }
  EXPECT_EQ(exact_log(1.0f), 0.0f);
  EXPECT_EQ(exact_log(0.0f), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(exact_log(-1.0f), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(hash.state, 2644964940333529870u);
  EXPECT_EQ(exact_log(std::numeric_limits<float>::infinity()),
            std::numeric_limits<float>::infinity());
  for (std::uint32_t b = 1; b < 0x00800000u; b += 1021) {  // subnormal floats
    const float x = std::bit_cast<float>(b);
    const long double truth = std::log(static_cast<long double>(x));
    ASSERT_LE(std::fabs(exact_log(x) - truth), 2.5e-7L * std::fabs(truth)) << x;
  }
}

TEST(ExactMath, ExpIsCloseAndHasFixedBits) {
  BitHash hash;
  for (int i = -87000; i <= 88000; ++i) {
    const float x = static_cast<float>(i) * 1e-3f;
    if (!(x > -87.0f && x <= 88.0f)) continue;
    const float y = exact_exp(x);
    const long double truth = std::exp(static_cast<long double>(x));
    ASSERT_LE(std::fabs(y - truth), 2.5e-7L * truth) << x;
    hash.add(y);
  }
  EXPECT_EQ(exact_exp(0.0f), 1.0f);
  EXPECT_EQ(exact_exp(-87.0f), 0.0f);
  EXPECT_EQ(exact_exp(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exact_exp(1000.0f), exact_exp(88.0f));
  EXPECT_TRUE(std::isfinite(exact_exp(1000.0f)));
  EXPECT_EQ(hash.state, 6752267161972340769u);
}

TEST(ExactMath, GumbelIsCloseIncreasingAndHasFixedBits) {
  BitHash hash;
  float before = -std::numeric_limits<float>::infinity();
  for (std::uint64_t step = 0; step <= 0xFFFFFFFFu; step += 65521) {
    const auto r = static_cast<std::uint32_t>(step);
    const float y = gumbel(r);
    // The variate of the middle of the word's interval; the lower part uses the upper 24 bits of
    // the word.
    const long double u = r < 0xD0000000u ? ((r >> 8) + 0.5L) * 0x1p-24L
                                          : 1.0L - (static_cast<long double>(~r) + 0.5L) * 0x1p-32L;
    const long double truth = -std::log(-std::log(u));
    ASSERT_LE(std::fabs(y - truth), 1e-6L * std::max(1.0L, std::fabs(truth))) << r;
    ASSERT_GE(y, before - 1e-6f) << r;
    before = y;
    hash.add(y);
  }
  for (const std::uint32_t r : {0u, 255u, 0xCFFFFFFFu, 0xD0000000u, 0xFFFFFFFEu, 0xFFFFFFFFu}) {
    EXPECT_TRUE(std::isfinite(gumbel(r))) << r;
  }
  EXPECT_GT(gumbel(0xFFFFFFFFu), 22.0f);
  EXPECT_EQ(hash.state, 203315267356441587u);
}

TEST(ExactMath, GumbelHasTheMomentsOfItsDistribution) {
  double sum = 0, squares = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double g = gumbel(philox4x32({1, 2}, static_cast<std::uint32_t>(i), 0, 0, 0).z[0]);
    sum += g;
    squares += g * g;
  }
  const double mean = sum / kDraws, variance = squares / kDraws - mean * mean;
  EXPECT_NEAR(mean, 0.5772, 5 * std::sqrt(1.645 / kDraws));
  EXPECT_NEAR(variance, 1.6449, 0.04);
}

TEST(ParallelFor, VisitsEveryIndexOnceForAnyThreadsAndGrain) {
  for (const int threads : {1, 2, 5}) {
    for (const std::uint64_t count : {0u, 1u, 7u, 100u, 1001u}) {
      for (const std::uint64_t grain : {1u, 3u, 64u, 5000u}) {
        Exec exec;
        exec.threads = threads;
        std::vector<std::atomic<int>> visits(count);
        std::atomic<bool> in_range = true;
        parallel_for(exec, count, grain, [&](std::uint64_t begin, std::uint64_t end) {
          if (begin >= end || end > count || end - begin > grain) in_range = false;
          if (worker_index() < 0 || worker_index() >= threads) in_range = false;
          for (std::uint64_t i = begin; i < end; ++i) ++visits[i];
        });
        EXPECT_TRUE(in_range);
        for (const auto& v : visits) ASSERT_EQ(v, 1);
      }
    }
  }
  EXPECT_EQ(worker_index(), 0);
}

TEST(ParallelFor, RethrowsAfterAllHaveEndedAndCanBeUsedAgain) {
  Exec exec;
  exec.threads = 3;
  std::atomic<int> inside = 0;
  EXPECT_THROW(parallel_for(exec, 100, 1,
                            [&](std::uint64_t begin, std::uint64_t) {
                              ++inside;
                              if (begin == 42) {
                                --inside;
                                throw std::runtime_error("42");
                              }
                              --inside;
                            }),
               std::runtime_error);
  EXPECT_EQ(inside, 0);
  std::atomic<int> visits = 0;
  parallel_for(exec, 100, 1, [&](std::uint64_t, std::uint64_t) { ++visits; });
  EXPECT_EQ(visits, 100);
}

TEST(ParallelFor, WorkersKeepSubnormals) {
  Exec exec;
  exec.threads = 2;
  std::atomic<int> flushed = 0;
  parallel_for(exec, 8, 1, [&](std::uint64_t, std::uint64_t) {
    volatile float tiny = std::numeric_limits<float>::min();
    flushed += tiny * 0.5f == 0.0f;
  });
  EXPECT_EQ(flushed, 0);
}

TEST(SortRow, EqualsStdSort) {
  test::Rng rng{3};
  for (std::uint32_t n = 0; n <= 300; ++n) {
    std::vector<SortEntry> row(n);
    for (std::uint32_t i = 0; i < n; ++i)
      row[i] = {rng.chance(50) ? rng.in(0, 3) : rng.next(), (i * 37u) % 1009u, i};
    std::vector<SortEntry> plain = row;
    std::sort(plain.begin(), plain.end(), [](const SortEntry& a, const SortEntry& b) {
      return a.key != b.key ? a.key > b.key : a.item < b.item;
    });
    SoloGroup g;
    sort_row(g, row.data(), n);
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_EQ(row[i].index, plain[i].index) << n << " " << i;
  }
}

}  // namespace
}  // namespace quarry

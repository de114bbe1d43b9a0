// 8-bit rows: packing, integer products and bounds of every unit of this processor, against
// sums in integers and in long double.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "kernels/core/exact_score.h"
#include "kernels/topk/int8_cpu.h"
#include "tests/support/upper_halves.h"

namespace quarry {
namespace {

/// Rows of several kinds; some numbers are far larger or smaller than the others.
std::vector<float> make_rows(std::uint32_t n, std::uint32_t dim, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(std::size_t{n} * dim);
  for (std::uint32_t i = 0; i < n; ++i) {
    const float scales[] = {1.0f, 1e-3f, 1e4f, 1e-30f, 1e12f};
    const float scale = scales[(seed + i) % (seed % 3 == 0 ? 5 : 1)];
    for (std::uint32_t d = 0; d < dim; ++d) {
      float value = scale * normal(random);
      if (seed % 4 == 1 && random() % 50 == 0) value *= 100.0f;
      if (seed % 4 == 2 && i % 7 == 0) value = 0.0f;
      rows[std::size_t{i} * dim + d] = value;
    }
  }
  return rows;
}

struct Packed {
  std::uint32_t n, dim, width;
  std::vector<std::uint8_t> numbers;
  std::vector<float> step, norm, residual;
  std::vector<float> largest_norm, largest_residual;

  Packed(Int8Unit unit, const std::vector<float>& rows, std::uint32_t n_, std::uint32_t dim_)
      : n(n_),
        dim(dim_),
        width(int8_width(dim)),
        numbers(std::size_t{int8_rows(n)} * width + 1, 77),
        step(int8_rows(n) + 1, -7.0f),
        norm(step),
        residual(step),
        largest_norm(int8_rows(n) / 32 + 1, -7.0f),
        largest_residual(largest_norm) {
    int8_pack_items(unit, rows.data(), n, dim, numbers.data(), step.data(), norm.data(),
                    residual.data());
    int8_find_largest(info(), n, largest_norm.data(), largest_residual.data());
  }
  Int8Items info() const { return {step.data(), norm.data(), residual.data(), nullptr, nullptr}; }
  Int8Items info_with_largest() const {
    return {step.data(), norm.data(), residual.data(), largest_norm.data(),
            largest_residual.data()};
  }
  int at(std::uint32_t item, std::uint32_t d) const {
    return int{numbers[std::size_t{item / 16 * 16} * width + (d / 4 * 16 + item % 16) * 4 +
                       d % 4]} -
           128;
  }
};

TEST(Int8, RowsAreRoundedToTheNearestStepOfTheirOwn) {
  for (unsigned seed = 0; seed < 24; ++seed) {
    const std::uint32_t dims[] = {1, 3, 16, 17, 64, 129};
    const std::uint32_t dim = dims[seed % 6];
    const std::uint32_t n = seed % 2 == 0 ? 37 : 64;
    const std::vector<float> rows = make_rows(n, dim, seed);
    for (const Int8Unit unit : int8_units()) {
      Packed p(unit, rows, n, dim);
      ASSERT_EQ(p.numbers.back(), 77) << "beyond the room";
      for (const auto* info : {&p.step, &p.norm, &p.residual})
        ASSERT_EQ(info->back(), -7.0f) << "beyond the room";
      for (std::uint32_t i = 0; i < int8_rows(n); ++i) {
        double norm = 0.0, residual = 0.0;
        for (std::uint32_t d = 0; d < p.width; ++d) {
          const double x = i < n && d < dim ? double{rows[std::size_t{i} * dim + d]} : 0.0;
          const double off = x - double{p.step[i]} * p.at(i, d);
          // Half a step, and what 1 / step rounds.
          ASSERT_LE(std::fabs(off), 0.5001 * double{p.step[i]}) << name_of(unit) << i << " " << d;
          norm += x * x;
          residual += off * off;
        }
        if (i >= n) continue;
        EXPECT_GE(double{p.norm[i]}, std::sqrt(norm));
        EXPECT_LE(double{p.norm[i]}, std::sqrt(norm) * 1.001 + 1e-15);
        EXPECT_GE(double{p.residual[i]}, std::sqrt(residual));
        EXPECT_LE(double{p.residual[i]}, std::sqrt(residual) * 1.001 + 1e-15);
      }
      for (const auto& [most, of] :
           {std::pair(&p.largest_norm, &p.norm), std::pair(&p.largest_residual, &p.residual)}) {
        ASSERT_EQ(most->back(), -7.0f) << "beyond the room";
        for (std::uint32_t w = 0; w < int8_rows(n) / 32; ++w) {
          float largest = 0.0f;
          for (std::uint32_t i = 32 * w; i < 32 * w + 32; ++i)
            if ((*of)[i] > largest) largest = (*of)[i];
          EXPECT_EQ((*most)[w], largest) << name_of(unit) << " word " << w;
        }
      }
    }
  }
}

/// Times `scale`; and the sum of the terms' magnitudes.
std::pair<long double, long double> dot_of(const float* q, const float* x, std::uint32_t dim,
                                           float scale) {
  long double dot = 0.0L;
  long double size = 0.0L;
  for (std::uint32_t d = 0; d < dim; ++d) {
    const long double term = static_cast<long double>(scale) * static_cast<long double>(q[d]) *
                             static_cast<long double>(x[d]);
    dot += term;
    size += std::fabs(term);
  }
  return {dot, size};
}

/// A group of queries against items, as packed by one unit.
struct Products {
  std::uint32_t dim, n, stride;
  std::vector<std::int8_t> packed;
  std::vector<Int8Query> query;
  std::vector<std::int32_t> sums;

  Products(Int8Unit unit, const std::vector<float>& q, std::uint32_t queries, const Packed& items,
           float scale)
      : dim(items.dim),
        n(items.n),
        stride(int8_rows(items.n) + 32),
        packed(std::size_t{int8_rows(queries)} * items.width, 55),
        query(int8_rows(queries)),
        sums(std::size_t{kInt8Rows} * stride, 12345) {
    int8_pack_queries(unit, q.data(), queries, dim, scale, packed.data(), query.data());
    int8_multiply(unit, packed.data(), query.data(), items.numbers.data(), n, items.width,
                  sums.data(), stride);
  }
  const std::int32_t* row(std::uint32_t r) const { return sums.data() + std::size_t{r} * stride; }
};

struct Reaching {
  std::vector<std::uint32_t> places;
  std::uint32_t passed;
};
Reaching find_reaching(Int8Unit unit, const Products& products, std::uint32_t r,
                       const Packed& items, const Int8Wanted& wanted) {
  std::vector<std::uint32_t> places(items.n + 1, 4711);
  const Int8Found found = int8_find_reaching(unit, products.row(r), products.query[r], items.info(),
                                             items.n, wanted, places.data());
  EXPECT_EQ(places.back(), 4711u) << "beyond the room";
  EXPECT_FALSE(test::upper_halves_in_use()) << name_of(unit);
  places.resize(found.reaching);
  // The largest errors of words are for speed alone.
  std::vector<std::uint32_t> again(items.n + 1, 4711);
  const Int8Found same =
      int8_find_reaching(unit, products.row(r), products.query[r], items.info_with_largest(),
                         items.n, wanted, again.data());
  EXPECT_EQ(again.back(), 4711u) << "beyond the room";
  again.resize(same.reaching);
  EXPECT_EQ(again, places) << name_of(unit);
  EXPECT_EQ(same.passed, found.passed) << name_of(unit);
  return {places, found.passed};
}

bool holds(const std::vector<std::uint32_t>& sorted, std::uint32_t item) {
  return std::binary_search(sorted.begin(), sorted.end(), item);
}

TEST(Int8, EveryUnitFormsTheSameIntegersAndNoDotProductIsBeyondItsBounds) {
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  std::uint64_t pairs = 0, near_above = 0, near_below = 0, passed = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const std::uint32_t dims[] = {1, 2, 5, 16, 31, 64, 80, 96, 100, 128, 384, 768};
    const std::uint32_t dim = dims[seed % 12];
    const std::uint32_t counts[] = {1, 16, 33, 500, 700};
    const std::uint32_t n = counts[seed / 2 % 5];
    const std::uint32_t queries = seed % 3 + kInt8Rows - 2;  // 14 to 16, the rest are zeros
    const std::vector<float> q = make_rows(queries, dim, 100 + seed);
    std::vector<float> x = make_rows(n, dim, seed);
    // Some items are queries, so that both are rounded alike, up and down.
    for (std::uint32_t d = 0; d < dim; ++d) x[d] = seed % 2 == 0 ? q[d] : -q[d];
    const float scale = seed % 5 == 0 ? 2.0f : 1.0f;
    std::vector<float> bias;
    for (std::uint32_t i = 0; i < n; ++i) bias.push_back(static_cast<float>(i % 9) - 4.0f);
    const float* b = seed % 2 == 0 ? bias.data() : nullptr;
    std::vector<std::uint32_t> may;
    for (std::uint32_t w = 0; w < (n + 31) / 32; ++w)
      may.push_back(static_cast<std::uint32_t>(random()));
    const std::uint32_t* c = seed % 4 < 2 ? nullptr : may.data();
    for (const Int8Unit unit : int8_units()) {
      const Packed p(unit, x, n, dim);
      const Products products(unit, q, queries, p, scale);
      ASSERT_FALSE(test::upper_halves_in_use()) << name_of(unit) << " packing and products";
      for (std::uint32_t r = 0; r < queries; ++r) {
        SCOPED_TRACE(testing::Message() << name_of(unit) << ", dim " << dim << ", row " << r);
        const std::int32_t* row = products.row(r);
        std::vector<long double> dots, score, size;
        for (std::uint32_t i = 0; i < n; ++i) {
          std::int64_t sum = 0;
          for (std::uint32_t d = 0; d < dim; ++d)
            sum += std::int64_t{products.packed[std::size_t{r} * p.width + d]} * p.at(i, d);
          ASSERT_EQ(row[i], sum) << "item " << i;
          const auto [dot, sum_of_sizes] =
              dot_of(&q[std::size_t{r} * dim], &x[std::size_t{i} * dim], dim, scale);
          dots.push_back(dot);
          score.push_back(dot + (b != nullptr ? static_cast<long double>(b[i]) : 0.0L));
          size.push_back(sum_of_sizes);
        }
        for (std::uint32_t i = int8_rows(n); i < products.stride; ++i) ASSERT_EQ(row[i], 12345);

        std::vector<float> lower(n + 1, -9.0f);
        int8_lower_bounds(unit, row, products.query[r], p.info(), n, b, kNone, nullptr,
                          lower.data());
        ASSERT_FALSE(test::upper_halves_in_use()) << "lower bounds";
        ASSERT_EQ(lower.back(), -9.0f) << "beyond the room";
        for (std::uint32_t i = 0; i < n; ++i) {
          const auto below = [](long double value) {
            return std::nextafter(static_cast<float>(value),
                                  -std::numeric_limits<float>::infinity());
          };
          const float bound = below(score[i]);  // what the score surely reaches
          ASSERT_LE(below(static_cast<long double>(lower[i])), static_cast<float>(score[i])) << i;
          const bool listed =
              holds(find_reaching(unit, products, r, p, {b, bound, kNone, nullptr}).places, i);
          ASSERT_TRUE(listed) << "item " << i;
          const long double more = 0.1L * size[i];
          near_below += static_cast<long double>(lower[i]) >= score[i] - more ? 1 : 0;
          if (i % 8 != 0) continue;
          ++pairs;
          near_above +=
              holds(find_reaching(unit, products, r, p,
                                  {b, static_cast<float>(score[i] + more), kNone, nullptr})
                        .places,
                    i)
                  ? 0
                  : 1;
        }
        // What is passed is what may be and is surely above.
        const float threshold = static_cast<float>(score[n / 2]);
        const float above = static_cast<float>(score[n / 3]);
        const auto all = find_reaching(unit, products, r, p, {b, threshold, kNone, nullptr});
        EXPECT_EQ(all.passed, 0u);
        const auto some = find_reaching(unit, products, r, p, {b, threshold, above, c});
        EXPECT_EQ(some.places.size() + some.passed, all.places.size());
        for (const std::uint32_t i : all.places) {
          const bool may_pass = c == nullptr || (c[i / 32] >> (i % 32) & 1u) != 0;
          ASSERT_EQ(holds(some.places, i), !(may_pass && lower[i] > above)) << "item " << i;
        }
        passed += some.passed;
        // Lower bounds of what may count and is surely not above a ceiling.
        std::vector<float> within(n);
        int8_lower_bounds(unit, row, products.query[r], p.info(), n, b, above, c, within.data());
        for (std::uint32_t i = 0; i < n; ++i) {
          const bool may_count = c == nullptr || (c[i / 32] >> (i % 32) & 1u) != 0;
          // Of the additions of the bias and the test's own roundings.
          const long double slack =
              1e-6L * (size[i] + std::fabs(static_cast<long double>(above)) + 8.0L);
          if (!may_count || score[i] - static_cast<long double>(above) > slack) {
            ASSERT_EQ(within[i], -std::numeric_limits<float>::infinity()) << i;
          } else {
            ASSERT_TRUE(within[i] == lower[i] || std::isinf(within[i])) << i;
          }
        }

        std::vector<float> scores(some.places.size() + 1, -9.0f);
        int8_score(unit, q.data() + std::size_t{r} * dim, x.data(), dim, scale, some.places.data(),
                   static_cast<std::uint32_t>(some.places.size()), scores.data());
        ASSERT_FALSE(test::upper_halves_in_use()) << "scores";
        ASSERT_EQ(scores.back(), -9.0f) << "beyond the room";
        for (std::size_t k = 0; k < some.places.size(); ++k) {
          const std::uint32_t i = some.places[k];
          ASSERT_EQ(std::bit_cast<std::uint32_t>(scores[k]),
                    std::bit_cast<std::uint32_t>(scale *
                                                 exact_dot_portable(&q[std::size_t{r} * dim],
                                                                    &x[std::size_t{i} * dim], dim)))
              << "item " << i;
          ASSERT_LE(std::fabs(static_cast<long double>(scores[k]) - dots[i]),
                    size[i] * (dim * 0x1p-24L) + 1e-36L)
              << "item " << i;
        }
      }
    }
  }
  EXPECT_GT(pairs, 8000u);
  EXPECT_GT(near_above, pairs / 4) << "bounds that exclude nothing";
  EXPECT_GT(near_below, 2 * pairs) << "bounds that pass nothing";
  EXPECT_GT(passed, 1000u);
}

/// A table packed by several threads is what each tile of it is; a sample holds one of every few.
TEST(Int8, TablesAndSamplesHoldTheRows) {
  constexpr std::uint32_t kItems = 1300, kDim = 37;
  const std::vector<float> rows = make_rows(kItems, kDim, 3);
  std::vector<float> bias;
  for (std::uint32_t i = 0; i < kItems; ++i) bias.push_back(static_cast<float>(i));
  Exec exec;
  exec.threads = 3;
  for (const Int8Unit unit : int8_units()) {
    Int8Table table;
    EXPECT_TRUE(table.empty());
    table.pack(exec, unit, rows.data(), nullptr, kItems, kDim);
    EXPECT_FALSE(table.empty());
    EXPECT_EQ(table.capacity_bytes(), Int8Table::bytes(kItems, kDim));
    const Packed whole(unit, rows, kItems, kDim);
    for (std::uint32_t i = 0; i < kItems; i += 32) {
      const std::size_t at = std::size_t{i} * whole.width;
      ASSERT_TRUE(std::equal(table.numbers_at(i), table.numbers_at(i) + 32 * whole.width,
                             whole.numbers.begin() + static_cast<std::ptrdiff_t>(at)));
      const Int8Items info = table.info_at(i);
      for (std::uint32_t j = i; j < std::min(i + 32, kItems); ++j) {
        ASSERT_EQ(info.step[j - i], whole.step[j]);
        ASSERT_EQ(info.norm[j - i], whole.norm[j]);
        ASSERT_EQ(info.residual[j - i], whole.residual[j]);
      }
    }
    for (const std::uint32_t stride : {1u, 8u, 64u, 2048u}) {
      Int8Sample sample;
      sample.take(exec, unit, rows.data(), bias.data(), kItems, kDim, stride);
      ASSERT_EQ(sample.size(), (kItems + stride - 1) / stride);
      std::vector<float> chosen;
      std::vector<std::uint32_t> offset(stride);
      for (std::uint32_t s = 0; s < sample.size(); ++s) {
        const std::uint32_t item = sample.items()[s];
        ASSERT_LT(item, kItems);
        ASSERT_EQ(item / stride, s);
        ASSERT_EQ(sample.place_of(item), s);
        ASSERT_EQ(sample.bias()[s], bias[item]);
        ++offset[item % stride];
        chosen.insert(chosen.end(), rows.begin() + static_cast<std::ptrdiff_t>(item * kDim),
                      rows.begin() + static_cast<std::ptrdiff_t>((item + 1) * kDim));
      }
      const Packed packed(unit, chosen, sample.size(), kDim);
      ASSERT_TRUE(std::equal(packed.numbers.begin(), packed.numbers.end() - 1,
                             sample.table().numbers_at(0)));
      if (stride == 8) {  // each of eight places about as often: 20 expected of 163
        for (const std::uint32_t times : offset) {
          EXPECT_GT(times, 5u);
          EXPECT_LT(times, 45u);
        }
      }
    }
  }
}

/// A sample of some of the items: of every so many of these one, whatever stands between them.
TEST(Int8, SamplesOfSomeItems) {
  const Exec exec;
  constexpr std::uint32_t kDim = 4;
  for (const std::uint32_t n : {1u, 31u, 32u, 1000u, 4099u}) {
    const std::vector<float> rows = make_rows(n, kDim, n);
    for (const std::uint32_t every : {1u, 3u, 70u, 5000u}) {
      std::vector<std::uint32_t> some((n + 31) / 32, 0), members;
      for (std::uint32_t i = 0; i < n; ++i) {
        if (i * 2654435769u % every != 0 || every > 4096) continue;
        some[i / 32] |= 1u << (i % 32);
        members.push_back(i);
      }
      some.back() |= n % 32 == 0 ? 0 : ~0u << (n % 32);  // bits of no item
      for (const std::uint32_t stride : {1u, 4u, 64u}) {
        Int8Sample sample;
        EXPECT_FALSE(sample.is_of(some.data(), n));
        EXPECT_FALSE(sample.is_of_some());
        sample.take(exec, Int8Unit::kPortable, rows.data(), nullptr, n, kDim, stride, some.data());
        ASSERT_EQ(sample.population(), members.size());
        ASSERT_EQ(sample.size(), (members.size() + stride - 1) / stride);
        EXPECT_TRUE(sample.is_of_some());
        EXPECT_TRUE(sample.is_of(some.data(), n));
        for (const std::uint32_t bit : {0u, n / 2, n - 1}) {
          some[bit / 32] ^= 1u << (bit % 32);
          EXPECT_FALSE(sample.is_of(some.data(), n)) << "item " << bit << " of " << n;
          some[bit / 32] ^= 1u << (bit % 32);
        }
        EXPECT_FALSE(sample.is_of(some.data(), n + 32)) << "of fewer items";
        for (std::uint32_t i = 0; i < n; ++i) {
          const auto ahead = std::lower_bound(members.begin(), members.end(), i) - members.begin();
          ASSERT_EQ(sample.place_of(i), static_cast<std::uint32_t>(ahead) / stride) << i;
        }
        for (std::uint32_t s = 0; s < sample.size(); ++s) {
          const std::uint32_t item = sample.items()[s];
          ASSERT_TRUE(std::binary_search(members.begin(), members.end(), item));
          ASSERT_EQ(sample.place_of(item), s);
        }
      }
    }
  }
}

/// Neighbours of a query that are as large together as any are, against the largest bytes: no sum
/// of two products is cut off.
TEST(Int8, PairsDoNotSaturate) {
  constexpr std::uint32_t kDim = 32, kItems = 32;
  std::mt19937 random(5);
  std::uniform_real_distribution<float> part(0.0f, 1.0f);
  int most = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<float> q(std::size_t{kInt8Rows} * kDim), x(std::size_t{kItems} * kDim);
    for (std::size_t d = 0; d < q.size(); d += 2) {
      // Halves of steps too, which round up together.
      const float first =
          round % 2 == 0 ? part(random) : (static_cast<float>(random() % 127) + 0.5f) / 127.4f;
      const float sign = random() % 2 == 0 ? 1.0f : -1.0f;
      q[d] = sign * first;
      q[d + 1] = random() % 4 == 0 ? -sign * (1.0f - first) : sign * (1.0f - first);
    }
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = i / kDim % 3 == 0 || random() % 2 == 0 ? 1.0f : -1.0f;
    for (const Int8Unit unit : int8_units()) {
      const Packed items(unit, x, kItems, kDim);
      const Products products(unit, q, kInt8Rows, items, 1.0f);
      for (std::uint32_t r = 0; r < kInt8Rows; ++r) {
        const std::int8_t* integers = products.packed.data() + std::size_t{r} * items.width;
        for (std::uint32_t d = 0; d < kDim && unit == Int8Unit::kAvx2; d += 2)
          most = std::max(most, std::abs(int{integers[d]}) + std::abs(int{integers[d + 1]}));
        for (std::uint32_t i = 0; i < kItems; ++i) {
          std::int32_t sum = 0;
          for (std::uint32_t d = 0; d < kDim; ++d) sum += integers[d] * items.at(i, d);
          ASSERT_EQ(products.row(r)[i], sum) << name_of(unit) << " round " << round;
        }
      }
    }
  }
  const bool by_pairs = std::ranges::find(int8_units(), Int8Unit::kAvx2) != int8_units().end();
  EXPECT_EQ(most, by_pairs ? kInt8PairLimit : 0) << "the limit is reached";
}

/// The largest sums that the integers may reach, with the widest rows.
TEST(Int8, TheWidestRowsDoNotOverflow) {
  const std::uint32_t dim = kMostInt8Dim;
  const std::vector<float> q(dim, 1.0f);
  std::vector<float> x(2 * dim, 1.0f);
  std::fill(x.begin() + dim, x.end(), -1.0f);
  std::vector<std::int8_t> packed(std::size_t{int8_rows(1)} * dim);
  std::vector<Int8Query> info(int8_rows(1));
  for (const Int8Unit unit : int8_units()) {
    int8_pack_queries(unit, q.data(), 1, dim, 1.0f, packed.data(), info.data());
    Packed p(unit, x, 2, dim);
    std::vector<std::int32_t> products(kInt8Rows * 32);
    int8_multiply(unit, packed.data(), info.data(), p.numbers.data(), 2, dim, products.data(), 32);
    const std::int32_t of_query = unit == Int8Unit::kAvx2 ? kInt8PairLimit / 2 : 127;
    const std::int32_t largest = of_query * 127 * std::int32_t{65536};
    EXPECT_EQ(products[0], largest) << name_of(unit);
    EXPECT_EQ(products[1], -largest) << name_of(unit);
  }
}

/// Where squares overflow or a number is infinite, nothing is excluded.
TEST(Int8, WhatHasNoFiniteBoundIsNeverExcluded) {
  constexpr float kHuge = 3e38f, kInf = std::numeric_limits<float>::infinity();
  for (const float item : {kHuge, kInf, std::numeric_limits<float>::quiet_NaN(), 1e-42f, 1.5e19f}) {
    const std::vector<float> x{item, item, 1.0f, 0.0f};
    for (const float query : {1.0f, kHuge, kInf, 1e-42f, 1e20f}) {
      // Of the last two the dot product and both of its bounds are infinite.
      const std::vector<float> q{query, query == 1e20f ? query : -query};
      std::vector<std::int8_t> packed(int8_rows(1) * 16);
      std::vector<Int8Query> info(int8_rows(1));
      for (const Int8Unit unit : int8_units()) {
        int8_pack_queries(unit, q.data(), 1, 2, 1.0f, packed.data(), info.data());
        Packed p(unit, x, 2, 2);
        std::vector<std::int32_t> products(kInt8Rows * 32);
        int8_multiply(unit, packed.data(), info.data(), p.numbers.data(), 2, 16, products.data(),
                      32);
        std::uint32_t places[2] = {7, 7};
        for (const float pass_above : {-kInf, std::numeric_limits<float>::quiet_NaN()}) {
          const Int8Found found =
              int8_find_reaching(unit, products.data(), info[0], p.info(), 2,
                                 {nullptr, 1e-40f, pass_above, nullptr}, places);
          const bool small = item == 1e-42f || (item == 1.5e19f && query <= 1.0f);
          const bool known =
              small && query <= (item == 1e-42f ? 1e20f : 1.0f) && pass_above == -kInf;
          EXPECT_EQ(found.reaching + found.passed, 2u)
              << name_of(unit) << ", " << item << " by " << query;
          if (known) continue;
          EXPECT_EQ(places[0], 0u) << name_of(unit) << ", " << item << " by " << query;
        }
      }
    }
  }
}

/// The same far behind in a tile that is looked at by the largest errors of words.
TEST(Int8, WhatHasNoFiniteBoundIsFoundAmongOthers) {
  constexpr std::uint32_t kItems = 300, kDim = 16;
  constexpr float kHuge = 3e38f, kInf = std::numeric_limits<float>::infinity();
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  for (const float item : {kHuge, kInf, kNone, 1e-42f, 1.5e19f, 1.0f}) {
    for (const float query : {1.0f, kHuge, kInf, kNone, 1e-42f, 1e20f}) {
      for (const std::uint32_t place : {70u, 96u, 223u, 287u, 299u}) {
        std::vector<float> x(std::size_t{kItems} * kDim, 0.0f);
        for (std::uint32_t i = 0; i < kItems; i += 5) x[std::size_t{i} * kDim] = -0.5f;
        x[std::size_t{place} * kDim] = x[std::size_t{place} * kDim + 1] = item;
        std::vector<float> q(kDim, 0.0f);
        q[0] = query;
        q[1] = query == 1e20f ? query : -query;
        for (const Int8Unit unit : int8_units()) {
          const Packed p(unit, x, kItems, kDim);
          const Products products(unit, q, 1, p, 1.0f);
          const bool unbounded =
              !std::isfinite(item) || !std::isfinite(query) || item == kHuge || query == kHuge;
          for (const float pass_above : {kNone, 1.0f, -kInf}) {  // compares both ways of looking
            const auto found =
                find_reaching(unit, products, 0, p, {nullptr, 1.0f, pass_above, nullptr});
            if (!unbounded) continue;
            EXPECT_TRUE(holds(found.places, place))
                << name_of(unit) << ", " << item << " by " << query << " at " << place;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace quarry

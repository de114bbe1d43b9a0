// 8-bit rows: packing, integer products and upper bounds of every unit of this processor, against
// sums in integers and in long double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "kernels/topk/int8_cpu.h"
#include "tests/support/upper_halves.h"

namespace quarry {
namespace {

std::vector<Int8Unit> units_here() {
  std::vector<Int8Unit> units{Int8Unit::kPortable};
  if (int8_unit() != Int8Unit::kPortable) units.push_back(int8_unit());
  return units;
}

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

  Packed(Int8Unit unit, const std::vector<float>& rows, std::uint32_t n_, std::uint32_t dim_)
      : n(n_),
        dim(dim_),
        width(int8_width(dim)),
        numbers(std::size_t{int8_rows(n)} * width + 1, 77),
        step(int8_rows(n) + 1, -7.0f),
        norm(step),
        residual(step) {
    int8_pack_items(unit, rows.data(), n, dim, numbers.data(), info());
  }
  Int8Items info() { return {step.data(), norm.data(), residual.data()}; }
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
    for (const Int8Unit unit : units_here()) {
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

TEST(Int8, EveryUnitFormsTheSameIntegersAndNoDotProductIsAboveItsBound) {
  std::uint64_t pairs = 0, near = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    const std::uint32_t dims[] = {1, 2, 5, 16, 31, 64, 100, 128, 384, 768};
    const std::uint32_t dim = dims[seed % 10];
    const std::uint32_t counts[] = {1, 16, 33, 500};
    const std::uint32_t n = counts[seed / 2 % 4];
    const std::uint32_t queries = seed % 3 + kInt8Rows - 2;  // 6 to 8, the rest are zeros
    const std::vector<float> q = make_rows(queries, dim, 100 + seed);
    std::vector<float> x = make_rows(n, dim, seed);
    // Some items are queries, so that both are rounded alike, up and down.
    for (std::uint32_t d = 0; d < dim; ++d) x[d] = seed % 2 == 0 ? q[d] : -q[d];
    const std::uint32_t width = int8_width(dim);
    std::vector<std::int8_t> packed(std::size_t{int8_rows(queries)} * width, 55);
    std::vector<Int8Query> info(int8_rows(queries));
    const float scale = seed % 5 == 0 ? 2.0f : 1.0f;
    int8_pack_queries(q.data(), queries, dim, scale, packed.data(), info.data());
    const std::uint32_t stride = int8_rows(n) + 32;
    std::vector<float> bias;
    for (std::uint32_t i = 0; i < n; ++i) bias.push_back(static_cast<float>(i % 9) - 4.0f);
    for (const Int8Unit unit : units_here()) {
      Packed p(unit, x, n, dim);
      std::vector<std::int32_t> products(kInt8Rows * stride, 12345);
      int8_multiply(unit, packed.data(), info.data(), p.numbers.data(), n, width, products.data(),
                    stride);
      ASSERT_FALSE(test::upper_halves_in_use()) << name_of(unit) << " packing and products";
      for (std::uint32_t r = 0; r < queries; ++r) {
        std::int32_t* row = products.data() + std::size_t{r} * stride;
        for (std::uint32_t i = 0; i < n; ++i) {
          std::int64_t sum = 0;
          for (std::uint32_t d = 0; d < dim; ++d)
            sum += std::int64_t{packed[std::size_t{r} * width + d]} * p.at(i, d);
          ASSERT_EQ(row[i], sum) << name_of(unit) << " dim " << dim << " row " << r << " item "
                                 << i;
        }
        for (std::uint32_t i = int8_rows(n); i < stride; ++i) ASSERT_EQ(row[i], 12345);
        std::vector<float> upper(int8_rows(n) + 1, -9.0f);
        std::vector<std::uint32_t> bits(int8_rows(n) / 32 + 1, 0xABCDu);
        const float* b = seed % 2 == 0 ? bias.data() : nullptr;
        int8_upper_bounds(unit, row, info[r], p.info(), n, nullptr, 0.0f, upper.data(),
                          bits.data());
        const float threshold = upper[n / 2] + (b != nullptr ? b[n / 2] : 0.0f);
        const std::uint32_t count = int8_upper_bounds(unit, row, info[r], p.info(), n, b, threshold,
                                                      upper.data(), bits.data());
        ASSERT_EQ(upper.back(), -9.0f) << "beyond the room";
        ASSERT_EQ(bits.back(), 0xABCDu) << "beyond the room";
        std::uint32_t reaching = 0;
        for (std::uint32_t i = 0; i < n; ++i) {
          const auto [dot, size] =
              dot_of(&q[std::size_t{r} * dim], &x[std::size_t{i} * dim], dim, scale);
          ASSERT_GE(static_cast<long double>(upper[i]), dot)
              << name_of(unit) << " dim " << dim << " row " << r << " item " << i;
          near += static_cast<long double>(upper[i]) <= dot + 0.1L * size ? 1 : 0;
          ++pairs;
          const bool reaches = !(upper[i] + (b != nullptr ? b[i] : 0.0f) < threshold);
          ASSERT_EQ((bits[i / 32] >> (i % 32) & 1u) != 0, reaches) << i;
          reaching += reaches ? 1 : 0;
        }
        ASSERT_FALSE(test::upper_halves_in_use()) << name_of(unit) << " bounds";
        const std::vector<float> before = upper;
        int8_score_reaching(unit, q.data() + std::size_t{r} * dim, x.data(), n, dim, scale,
                            bits.data(), upper.data());
        ASSERT_FALSE(test::upper_halves_in_use()) << name_of(unit) << " scores";
        for (std::uint32_t i = 0; i < upper.size(); ++i) {
          if (i >= n || (bits[i / 32] >> (i % 32) & 1u) == 0) {
            ASSERT_EQ(upper[i], before[i]) << i;
            continue;
          }
          const auto [dot, size] =
              dot_of(&q[std::size_t{r} * dim], &x[std::size_t{i} * dim], dim, scale);
          ASSERT_LE(std::fabs(static_cast<long double>(upper[i]) - dot),
                    size * (dim * 0x1p-24L) + 1e-36L)
              << name_of(unit) << " dim " << dim << " row " << r << " item " << i;
        }
        for (std::uint32_t i = n; i < int8_rows(n); ++i)
          ASSERT_EQ(bits[i / 32] >> (i % 32) & 1u, 0u) << "behind the last item";
        EXPECT_EQ(count, reaching);
      }
    }
  }
  EXPECT_GT(pairs, 30000u);
  EXPECT_GT(near, pairs / 4) << "bounds that exclude nothing";
}

/// The largest sums that the integers may reach, with the widest rows.
TEST(Int8, TheWidestRowsDoNotOverflow) {
  const std::uint32_t dim = kMostInt8Dim;
  const std::vector<float> q(dim, 1.0f);
  std::vector<float> x(2 * dim, 1.0f);
  std::fill(x.begin() + dim, x.end(), -1.0f);
  std::vector<std::int8_t> packed(std::size_t{int8_rows(1)} * dim);
  std::vector<Int8Query> info(int8_rows(1));
  int8_pack_queries(q.data(), 1, dim, 1.0f, packed.data(), info.data());
  for (const Int8Unit unit : units_here()) {
    Packed p(unit, x, 2, dim);
    std::vector<std::int32_t> products(kInt8Rows * 32);
    int8_multiply(unit, packed.data(), info.data(), p.numbers.data(), 2, dim, products.data(), 32);
    EXPECT_EQ(products[0], 127 * 127 * std::int32_t{65536}) << name_of(unit);
    EXPECT_EQ(products[1], -127 * 127 * std::int32_t{65536}) << name_of(unit);
  }
}

/// Where squares overflow or a number is infinite, nothing is excluded.
TEST(Int8, WhatHasNoFiniteBoundIsNeverExcluded) {
  constexpr float kHuge = 3e38f, kInf = std::numeric_limits<float>::infinity();
  for (const float item : {kHuge, kInf, std::numeric_limits<float>::quiet_NaN(), 1e-42f}) {
    const std::vector<float> x{item, item, 1.0f, 0.0f};
    for (const float query : {1.0f, kHuge, kInf, 1e-42f}) {
      const std::vector<float> q{query, -query};
      std::vector<std::int8_t> packed(int8_rows(1) * 16);
      std::vector<Int8Query> info(int8_rows(1));
      int8_pack_queries(q.data(), 1, 2, 1.0f, packed.data(), info.data());
      for (const Int8Unit unit : units_here()) {
        Packed p(unit, x, 2, 2);
        std::vector<std::int32_t> products(kInt8Rows * 32);
        int8_multiply(unit, packed.data(), info.data(), p.numbers.data(), 2, 16, products.data(),
                      32);
        std::vector<float> upper(32);
        std::uint32_t bits = 0;
        int8_upper_bounds(unit, products.data(), info[0], p.info(), 2, nullptr, 1e-40f,
                          upper.data(), &bits);
        EXPECT_EQ(bits, 3u) << name_of(unit) << ", " << item << " by " << query;
      }
    }
  }
}

}  // namespace
}  // namespace quarry

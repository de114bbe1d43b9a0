// bf16: rounding, packing and the products of every unit that this processor has, against sums in
// double.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/core/bf16.h"
#include "kernels/topk/bf16_cpu.h"

namespace quarry {
namespace {

std::vector<Bf16Unit> units_here() {
  std::vector<Bf16Unit> units{Bf16Unit::kPortable};
  if (bf16_unit() != Bf16Unit::kPortable) units.push_back(Bf16Unit::kAvx512);
  if (bf16_unit() == Bf16Unit::kAmx) units.push_back(Bf16Unit::kAmx);
  return units;
}

/// The nearest of the two neighbours by distance, not by bits.
float rounded(float value) {
  if (!std::isfinite(value) || value == 0.0f) return value;
  if (std::fabs(value) < std::numeric_limits<float>::min()) return std::copysign(0.0f, value);
  int exponent = 0;
  const double fraction = std::frexp(double{value}, &exponent);
  return static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8));
}

TEST(Bf16, RoundsToTheNearestTiesToEven) {
  std::mt19937 random(1);
  std::uint32_t ties = 0;
  for (int i = 0; i < 400000; ++i) {
    auto bits = static_cast<std::uint32_t>(random());
    if (i % 4 == 0) bits = (bits & 0xFFFF0000u) | 0x8000u;
    if (i % 9 == 0) bits &= 0x807FFFFFu;
    const auto value = std::bit_cast<float>(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_bf16(to_bf16(value))));
      continue;
    }
    const float expected = rounded(value);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(from_bf16(to_bf16(value))),
              std::bit_cast<std::uint32_t>(expected))
        << value;
    ties += i % 4 == 0 ? 1 : 0;
  }
  EXPECT_GT(ties, 50000u);
  EXPECT_EQ(from_bf16(to_bf16(std::numeric_limits<float>::max())),
            std::numeric_limits<float>::infinity());
}

TEST(Bf16, EveryUnitMultipliesWhatWasRounded) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const std::uint32_t dim : {1u, 2u, 3u, 31u, 32u, 33u, 64u, 100u, 129u, 768u}) {
    for (const std::uint32_t n : {1u, 15u, 16u, 17u, 33u, 64u, 512u}) {
      const std::uint32_t width = bf16_width(dim);
      const std::uint32_t rows = n % 2 == 0 ? kBf16StripRows : 5;
      std::vector<float> queries, items;
      for (std::uint32_t i = 0; i < rows * dim; ++i) queries.push_back(normal(random));
      for (std::uint32_t i = 0; i < n * dim; ++i) items.push_back(normal(random));
      items[0] = 1e-39f;  // smaller than a normal float: zero for all units
      std::vector<std::uint16_t> packed_queries(std::size_t{bf16_rows(rows)} * width, 0x7FC0);
      bf16_pack_queries(queries.data(), rows, dim, 2.0f, packed_queries.data());
      for (const Bf16Unit unit : units_here()) {
        std::vector<std::uint16_t> packed(std::size_t{bf16_rows(n)} * width + 1, 0x7FC0);
        bf16_pack_items(unit, items.data(), n, dim, packed.data());
        ASSERT_EQ(packed.back(), 0x7FC0) << "beyond the room";
        const std::uint32_t stride = bf16_rows(n) + 8;
        std::vector<float> products(std::size_t{kBf16StripRows} * stride, -77.0f);
        bf16_multiply(unit, packed_queries.data(), packed.data(), n, width, products.data(),
                      stride);
        for (std::uint32_t r = 0; r < kBf16StripRows; ++r) {
          for (std::uint32_t i = 0; i < stride; ++i) {
            double sum = 0.0;
            double magnitude = 0.0;
            for (std::uint32_t d = 0; d < dim && r < rows && i < n; ++d) {
              const double term =
                  2.0 * double{rounded(queries[r * dim + d])} * double{rounded(items[i * dim + d])};
              sum += term;
              magnitude += std::fabs(term);
            }
            const float got = products[std::size_t{r} * stride + i];
            if (i >= bf16_rows(n)) sum = -77.0;
            ASSERT_LE(std::fabs(double{got} - sum), (dim + 2) * 0x1p-24 * magnitude)
                << name_of(unit) << ", dim " << dim << ", n " << n << ", row " << r << ", item "
                << i;
          }
        }
      }
    }
  }
}

TEST(Bf16, WhatIsInfiniteStaysSo) {
  const std::vector<float> query{1.0f};
  const std::vector<float> items{std::numeric_limits<float>::max(), 1.0f};
  std::vector<std::uint16_t> packed_query(kBf16StripRows * 32), packed(32 * 32);
  bf16_pack_queries(query.data(), 1, 1, 1.0f, packed_query.data());
  for (const Bf16Unit unit : units_here()) {
    bf16_pack_items(unit, items.data(), 2, 1, packed.data());
    std::vector<float> products(kBf16StripRows * 32);
    bf16_multiply(unit, packed_query.data(), packed.data(), 2, 32, products.data(), 32);
    EXPECT_EQ(products[0], std::numeric_limits<float>::infinity()) << name_of(unit);
    EXPECT_EQ(products[1], 1.0f) << name_of(unit);
  }
}

}  // namespace
}  // namespace quarry

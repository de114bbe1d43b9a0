// The steps of the 8-bit pass for one kind of processor, and what they share. Private to
// kernels/topk.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/core/prefetch.h"
#include "kernels/topk/int8_cpu.h"

namespace quarry {

/// Each does what the function int8_... of its name does.
struct Int8Form {
  /// Rows behind n are zeros already, as is what is behind the numbers of a row.
  void (*pack_queries)(const float* queries, std::uint32_t n, std::uint32_t dim, float scale,
                       std::int8_t* to, Int8Query* info);
  void (*pack_items)(const float* items, std::uint32_t n, std::uint32_t dim, std::uint8_t* to,
                     float* step, float* norm, float* residual);
  void (*multiply)(const std::int8_t* queries, const Int8Query* info, const std::uint8_t* items,
                   std::uint32_t n, std::uint32_t width, std::int32_t* products,
                   std::uint32_t stride);
  Int8Found (*find_reaching)(const std::int32_t* products, const Int8Query& query,
                             const Int8Items& items, std::uint32_t n, const Int8Wanted& wanted,
                             std::uint32_t* places);
  void (*lower_bounds)(const std::int32_t* products, const Int8Query& query, const Int8Items& items,
                       std::uint32_t n, const float* bias, float ceiling,
                       const std::uint32_t* counts, float* lower);
  void (*score)(const float* query, const float* items, std::uint32_t dim, float scale,
                const std::uint32_t* places, std::uint32_t count, float* scores);
};
extern const Int8Form kInt8Portable;
#if defined(__x86_64__)
extern const Int8Form kInt8Avx2;        ///< needs AVX2 and FMA
extern const Int8Form kInt8AvxVnni;     ///< needs AVX2, FMA and AVX_VNNI
extern const Int8Form kInt8Avx512Vnni;  ///< needs AVX512F and AVX512_VNNI
Int8Form int8_amx_form();               ///< needs these and AMX-INT8
#endif

constexpr std::uint32_t kInt8Group = 16;  ///< items of a group
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

inline float rounded_up(double value) {
  if (!(value < double{kLargest})) return kInfinity;
  return std::nextafter(static_cast<float>(value), kInfinity);
}

/// Of a row of at most 2^16 numbers, from fp32 sums of squares in any order: each is off by less
/// than (dim + 2) 2^-24 of itself, and by what squares below 2^-126 lose.
inline float norm_above(double sum_of_squares, std::uint32_t dim) {
  return rounded_up(std::sqrt(sum_of_squares * (1.0 + (dim + 4.0) * 0x1p-23)) + 0x1p-54);
}

/// Of a query, from norms that are rounded up and the sum of its integers.
inline Int8Query int8_query(float step, float rounded_norm, float residual, float scale,
                            std::int32_t sum) {
  constexpr double kRaised = 1.0 + 0x1p-20;
  const double norm = rounded_norm;
  return {step * scale, rounded_up(norm * kRaised * double{scale}),
          rounded_up((double{residual} * kRaised + 4.0 * 0x1p-24 * norm) * double{scale}),
          -128 * sum};
}

/// Both bounds of one dot product.
struct Between {
  float lower, upper;
};

[[gnu::always_inline]] inline Between bounds_of(const std::int32_t* products,
                                                const Int8Query& query, const Int8Items& items,
                                                std::uint32_t i) {
  const float error = std::fma(items.norm[i], query.residual, items.residual[i] * query.norm);
  const float product = static_cast<float>(products[i]) * items.step[i];
  return {std::fma(product, query.step, -error), std::fma(product, query.step, error)};
}

/// Lists an item that may reach the threshold, or counts it as passed, without a branch.
struct Listing {
  const Int8Wanted& wanted;
  std::uint32_t* places;
  Int8Found found;

  /// False: nothing is passed, whatever its bounds are.
  bool passes() const { return wanted.pass_above < kInfinity; }

  [[gnu::always_inline]] void take(std::uint32_t i, Between b) {
    const float bias = wanted.bias == nullptr ? 0.0f : wanted.bias[i];
    const bool may = wanted.counts == nullptr || (wanted.counts[i / 32] >> (i % 32) & 1u) != 0;
    const std::uint32_t passed = (may ? 1u : 0u) & (b.lower + bias > wanted.pass_above ? 1u : 0u) &
                                 (b.upper + bias <= kLargest ? 1u : 0u);
    places[found.reaching] = i;
    found.reaching += 1 - passed;
    found.passed += passed;
  }
  /// Of any item.
  [[gnu::always_inline]] void take_if_reaching(std::uint32_t i, Between b) {
    const float bias = wanted.bias == nullptr ? 0.0f : wanted.bias[i];
    if (!(b.upper + bias < wanted.threshold)) take(i, b);
  }
};

/// Of 32 items from `first` on, a multiple of 32, bits of those that may reach the threshold.
struct Reaching {
  std::uint32_t bits;
  std::uint32_t above;  ///< whose bounds are both finite and above `pass_above`
};

/// Listing::take of `words` times 32 items from `first` on. Half of all items may be passed, a few
/// are listed: the former are counted together.
[[gnu::always_inline]] inline void take_words(const Reaching* reaching, std::uint32_t words,
                                              std::uint32_t first, Listing& listing) {
  const Int8Wanted& wanted = listing.wanted;
  for (std::uint32_t w = 0; w < words; ++w) {
    const std::uint32_t may =
        wanted.counts == nullptr ? ~std::uint32_t{0} : wanted.counts[first / 32 + w];
    const std::uint32_t passed = reaching[w].bits & reaching[w].above & may;
    listing.found.passed += static_cast<std::uint32_t>(std::popcount(passed));
    for (std::uint32_t left = reaching[w].bits & ~passed; left != 0; left &= left - 1) {
      listing.places[listing.found.reaching++] =
          first + 32 * w + static_cast<std::uint32_t>(std::countr_zero(left));
    }
  }
}

/// int8_score by the scores of one query and two items, which may be the same. Rows are few and far
/// apart: the next two are fetched while two are multiplied.
template <class DotTwo>
[[gnu::always_inline]] inline void score_by_twos(const float* query, const float* items,
                                                 std::uint32_t dim, float scale,
                                                 const std::uint32_t* places, std::uint32_t count,
                                                 float* scores, DotTwo dot_two) {
  const auto item = [&](std::uint32_t i) {
    return items + std::uint64_t{places[std::min(i, count - 1)]} * dim;
  };
  for (std::uint32_t i = 0; i < count; i += 2) {
    prefetch_row(item(i + 2), dim);
    prefetch_row(item(i + 3), dim);
    float first = 0.0f;
    float second = 0.0f;
    dot_two(query, item(i), item(i + 1), dim, &first, &second);
    scores[i] = scale * first;
    if (i + 1 < count) scores[i + 1] = scale * second;
  }
}

/// Of one item: its lower bound with the bias, or minus infinity.
[[gnu::always_inline]] inline float lower_bound_of(const std::int32_t* products,
                                                   const Int8Query& query, const Int8Items& items,
                                                   std::uint32_t i, const float* bias,
                                                   float ceiling, const std::uint32_t* counts) {
  const Between b = bounds_of(products, query, items, i);
  const float more = bias == nullptr ? 0.0f : bias[i];
  const bool may = counts == nullptr || (counts[i / 32] >> (i % 32) & 1u) != 0;
  const bool known = b.lower + more == b.lower + more;
  return may && known && !(b.upper + more > ceiling) ? b.lower + more : -kInfinity;
}

}  // namespace quarry

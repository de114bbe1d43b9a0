// A rigorous bound of |approximate - exact score|, the same text on the CPU and on a GPU.
//
// Notation: u = 2^-24, gamma(n) = n u / (1 - n u). A sum of products in which every term passes at
// most n roundings, fused or not and in any order, is off by at most gamma(n) * sum |q_i x_i| <=
// gamma(n) |q| |x| (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). A sum of
// d products in any order has n <= d, because additions of an exact zero round nothing. The exact
// score has n = e = ceil(d / 32) + 5: its lanes, then its tree.
//
// Inner product and cosine:  |approx - exact| <= (gamma(d) + gamma(e)) |q| X, X the largest norm of
// an item.
//
// L2, with D = |q - x|^2 <= (|q| + X)^2 in real numbers. The exact score rounds each difference
// once, which is squared, so its terms pass e + 2 roundings: |exact + D| <= gamma(e + 2) D.
//   kTopk: g = dot by BLAS, 2 g exact, b = |x|^2 rounded once from double, s = 2 g - b rounded
//   once:
//     |s - (2 q.x - |x|^2)| <= 2 gamma(d) |q| X + u X^2 + u (2 (1 + gamma(d)) |q| X + (1 + u) X^2)
//                           <= 2 gamma(d + 2) |q| X + 2.5 u X^2;
//     offset = -|q|^2 from double, off by at most d 2^-53 |q|^2.
//   What kernels/topk excludes or passes by a bound of q.x in real numbers (int8_cpu.h) is as if
//   scored by 2 q.x - b, or q.x, without an error of its own but the underflow that is counted
//   below. kFaissFlat: either the direct sum, gamma(d + 2) D, or |q|^2 + |x|^2 - 2 q.x with every
//   part summed in fp32 and two
//     additions: every term passes at most d + 2 roundings and the terms' magnitudes add up to at
//     most (|q| + X)^2, so gamma(d + 3) (|q| + X)^2 covers both. FAISS raises negative results to
//     0, which only brings them nearer to D.
//   kTopkBf16: as kTopk with q' and x', the rows rounded to bf16, in the dot product. With r = |q -
//   q'| from double and R, the largest |x - x'| of an item: q.x - q'.x' = (q - q').x + q'.(x - x'),
//   so
//     |q'.x' by any order - q.x| <= r X + (|q| + r) R + gamma(d + 2) (|q| + r) (X + R)
//   for every metric; products of two bf16 are exact in fp32, and d + 2 roundings are more than any
//   unit makes of a sum of d (rounded up to a multiple of 32, but zeros round nothing).
//
// Underflow is not covered by gamma: every operation may lose up to 2^-126 even if a library
// flushes denormals, and there are fewer than 4 (d + 8) operations in both computations together.
// Where a partial sum could overflow, the bound is infinite and the row ends in brute force. As a
// guard against a BLAS that computes in lower precision, every candidate is checked against the
// bound when it is re-scored, as all are that may be picked; one violation and the row is not
// certified.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/bf16.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/hd.h"

namespace quarry {

/// How the approximate scores come about: each has its own error bound.
enum class Approximation : std::uint8_t {
  kTopk,  ///< kernels/topk: dot by BLAS; for L2 2 dot - |x|^2, to which -|q|^2 is still to be added
  kFaissFlat,  ///< FAISS flat: dot; for L2 the negated distance, direct or expanded with fp32 norms
  kTopkBf16,   ///< as kTopk, the dot product of rows rounded to bf16
};

/// What the bound needs to know of the items.
struct ScoreBound {
  std::uint32_t dim = 0;
  Metric metric = Metric::kInnerProduct;
  Approximation approximation = Approximation::kTopk;
  double largest_norm = 0.0;      ///< of the items that are not heavy, rounded up
  double largest_residual = 0.0;  ///< kTopkBf16: likewise of what rounding to bf16 takes away
};

/// |approximate + offset - exact| <= error for every item that is not heavy; error may be infinite.
struct QueryBound {
  double offset = 0.0;
  double error = 0.0;
};

/// Sum of squares in double; the products are exact.
QUARRY_HD double squared_norm(const float* row, std::uint32_t dim) {
  double part[4] = {};
  std::uint32_t i = 0;
  for (; i + 4 <= dim; i += 4) {
    for (std::uint32_t j = 0; j < 4; ++j) part[j] += double{row[i + j]} * double{row[i + j]};
  }
  for (; i < dim; ++i) part[0] += double{row[i]} * double{row[i]};
  return (part[0] + part[1]) + (part[2] + part[3]);
}

/// At least the norm: the sum of `dim` doubles and its root are off by less than (dim + 4) 2^-53,
/// relatively.
QUARRY_HD double norm_rounded_up(double squared, std::uint32_t dim) {
  return sqrt(squared) * (1.0 + (dim + 4.0) * 0x1p-52);
}

QUARRY_HD double unbounded() { return double{float_of_bits(0x7F800000u)}; }

QUARRY_HD double gamma_of(double n) {
  const double nu = n * 0x1p-24;
  return nu < 0.5 ? nu / (1.0 - nu) : unbounded();
}

/// Sum of squares, in double, of what rounding to bf16 changes.
QUARRY_HD double squared_residual(const float* row, std::uint32_t dim) {
  double sum = 0.0;
  for (std::uint32_t i = 0; i < dim; ++i) {
    const double lost = double{row[i]} - double{from_bf16(to_bf16(row[i]))};
    sum += lost * lost;
  }
  return sum;
}

/// query: [bound.dim].
QUARRY_HD QueryBound query_bound(const ScoreBound& bound, const float* query) {
  const double squared = squared_norm(query, bound.dim);
  const double q = norm_rounded_up(squared, bound.dim);
  const double x = bound.largest_norm;
  const double d = bound.dim;
  const std::uint32_t steps = (bound.dim + kScoreLanes - 1) / kScoreLanes;
  const double e = steps + 5;
  QueryBound result;
  double magnitude = q * x;
  double dot_error = gamma_of(d) * q * x;  // of the approximate dot product
  if (bound.approximation == Approximation::kTopkBf16) {
    const double r = norm_rounded_up(squared_residual(query, bound.dim), bound.dim);
    const double lost = bound.largest_residual;
    dot_error = r * x + (q + r) * lost + gamma_of(d + 2) * (q + r) * (x + lost);
  }
  if (bound.metric != Metric::kL2) {
    result.error = dot_error + gamma_of(e) * q * x;
  } else {
    const double sum = (q + x) * (q + x);
    magnitude = sum;
    result.error = gamma_of(e + 2) * sum;
    if (bound.approximation != Approximation::kFaissFlat) {
      const double products = bound.approximation == Approximation::kTopk
                                  ? gamma_of(d + 2) * q * x
                                  : dot_error * (1.0 + 0x1p-23) + 0x1p-23 * q * x;
      result.offset = -squared;
      result.error += 2.0 * products + 2.5 * 0x1p-24 * x * x + d * 0x1p-53 * squared;
    } else {
      result.error += gamma_of(d + 3) * sum;
    }
  }
  // The factor covers the roundings of this function itself.
  result.error = result.error * (1.0 + 0x1p-40) + 4.0 * (d + 8.0) * 0x1p-126;
  if (!(magnitude < 0x1p126)) result.error = unbounded();
  return result;
}

}  // namespace quarry

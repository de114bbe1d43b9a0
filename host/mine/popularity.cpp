// Integer weights of popularity^beta (docs/row_contract.md section 5). libm is not the same on
// every machine and these weights decide ids, so logarithm and exponential are spelled out: double
// precision, every operation rounded once.
#include <algorithm>
#include <cmath>

#include "host/mine/snapshot.h"

namespace quarry {
namespace {

constexpr double kLog2 = 0x1.62e42fefa39efp-1;
constexpr double kLog2E = 0x1.71547652b82fep+0;

/// Natural logarithm of x >= 1: 2 atanh((m - 1) / (m + 1)) of a mantissa around 1.
double pinned_log(double x) {
  int e = 0;
  double m = std::frexp(x, &e);
  if (m < 0.70710678118654752) {
    m = m * 2.0;
    e -= 1;
  }
  const double t = (m - 1.0) / (m + 1.0);
  const double z = t * t;
  double p = 0.0;
  for (int i = 23; i >= 1; i -= 2) p = std::fma(p, z, 1.0 / i);
  return std::fma(static_cast<double>(e), kLog2, (t + t) * p);
}

/// e^t times 2^scale for t <= 0.
double pinned_exp(double t, int scale) {
  const double k = std::floor(std::fma(t, kLog2E, 0.5));
  const double r = std::fma(-k, kLog2, t);
  double p = 1.0;
  for (int i = 14; i >= 1; --i) p = std::fma(p, r / i, 1.0);
  return std::ldexp(p, scale + static_cast<int>(k));
}

}  // namespace

std::vector<std::uint64_t> popularity_weights(const std::vector<std::uint32_t>& popularity,
                                              std::uint32_t num_items, double beta) {
  std::vector<std::uint64_t> weights(num_items);
  std::uint32_t most = 0;
  for (std::uint32_t i = 0; i < num_items; ++i) most = std::max(most, popularity[i]);
  // n weights of at most 2^scale each: their sum stays below 2^63.
  int scale = 62;
  while (scale > 0 && std::uint64_t{1} << (62 - scale) < num_items) --scale;
  const double top = pinned_log(static_cast<double>(most) + 1.0);
  for (std::uint32_t i = 0; i < num_items; ++i) {
    const double t = beta * (pinned_log(static_cast<double>(popularity[i]) + 1.0) - top);
    const double w = std::floor(pinned_exp(t, scale));
    weights[i] = w < 1.0 ? 1 : static_cast<std::uint64_t>(w);
  }
  return weights;
}

}  // namespace quarry

// The numbers of docs/row_contract.md section 1, in the plainest form.
#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "tests/support/oracle.h"

namespace quarry::oracle {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;
using u128 = unsigned __int128;

float tree(float (&acc)[32]) {
  for (int w = 16; w >= 1; w /= 2)
    for (int l = 0; l < w; ++l) acc[l] += acc[l + w];
  return acc[0];
}

}  // namespace

float canonical(float s) {
  if (std::isnan(s)) return std::bit_cast<float>(0xFFFFFFFFu);
  return s == 0.0f ? 0.0f : s;
}

u64 scale(u64 r, u64 n) { return static_cast<u64>((u128{r} * n) >> 64); }

std::array<u32, 4> philox(std::array<u32, 4> c, std::array<u32, 2> key) {
  for (u32 round = 0; round < 10; ++round) {
    const u64 p = u64{0xD2511F53u} * c[0];
    const u64 q = u64{0xCD9E8D57u} * c[2];
    const u32 k0 = key[0] + round * 0x9E3779B9u;
    const u32 k1 = key[1] + round * 0xBB67AE85u;
    c = {static_cast<u32>(q >> 32) ^ c[1] ^ k0, static_cast<u32>(q),
         static_cast<u32>(p >> 32) ^ c[3] ^ k1, static_cast<u32>(p)};
  }
  return c;
}

float dot(const std::vector<float>& x, const std::vector<float>& y) {
  float acc[32] = {};
  for (std::size_t i = 0; i < x.size(); ++i) acc[i % 32] = std::fma(x[i], y[i], acc[i % 32]);
  return canonical(tree(acc));
}

float l2(const std::vector<float>& x, const std::vector<float>& y) {
  float acc[32] = {};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float t = x[i] - y[i];
    acc[i % 32] = std::fma(t, t, acc[i % 32]);
  }
  return canonical(-tree(acc));
}

std::vector<float> unit(const std::vector<float>& x) {
  const float norm = std::sqrt(dot(x, x));
  std::vector<float> out = x;
  if (norm != 0.0f) {
    for (float& v : out) v = v / norm;
  }
  return out;
}

u32 ordered_bits(float f) {
  const u32 b = std::bit_cast<u32>(f);
  return std::signbit(f) ? ~b : b + 0x80000000u;
}

u64 popularity_weight(u32 count, u32 most, u32 num_items, double beta) {
  constexpr double kLn2 = 0x1.62e42fefa39efp-1, kLog2e = 0x1.71547652b82fep+0;
  const auto logarithm = [&](double m) {
    double e = 0;
    for (; m >= 1.41421356237309504; m /= 2) e += 1;
    const double t = (m - 1) / (m + 1), z = t * t;
    double p = 0;
    for (double i = 23; i > 0; i -= 2) p = std::fma(p, z, 1 / i);
    return std::fma(e, kLn2, 2 * t * p);
  };
  const double t = beta * (logarithm(1.0 + count) - logarithm(1.0 + most));
  const double j = std::floor(std::fma(t, kLog2e, 0.5));
  const double r = std::fma(-j, kLn2, t);
  double p = 1;
  for (double i = 14; i > 0; --i) p = std::fma(p, r / i, 1);
  double scaled = p * 0x1p62;
  for (u64 n = 1; n < num_items; n *= 2) scaled /= 2;
  for (double down = j; down < 0 && scaled >= 1; ++down) scaled /= 2;
  return std::max<u64>(1, static_cast<u64>(scaled));
}

std::vector<u64> systematic(u64 n, const std::vector<u64>& weights, u64 r64) {
  u64 total = 0;
  for (const u64 w : weights) total += w;
  const u64 offset = scale(r64, total);
  std::vector<u64> counts;
  u64 running = 0, before = 0;
  for (const u64 w : weights) {
    running += w;
    const u64 upto = static_cast<u64>((u128{n} * running + offset) / total);
    counts.push_back(upto - before);
    before = upto;
  }
  return counts;
}

u64 largest_remainder(u64 n, const std::vector<u64>& weights, const std::vector<u64>& caps,
                      std::vector<u64>* placed) {
  std::set<std::size_t> active;
  placed->assign(weights.size(), 0);
  for (std::size_t s = 0; s < weights.size(); ++s)
    if (weights[s] > 0) active.insert(s);
  u128 total = 0;
  for (bool fixed = true; fixed;) {
    fixed = false;
    total = 0;
    for (const std::size_t s : active) total += weights[s];
    const u64 now = n;
    const std::set<std::size_t> judged = active;
    for (const std::size_t s : judged) {
      if (u128{now} * weights[s] < u128{caps[s]} * total) continue;
      (*placed)[s] = caps[s];
      n -= caps[s];
      active.erase(s);
      fixed = true;
    }
  }
  if (active.empty()) return n;
  std::vector<std::pair<u128, std::size_t>> rest;  // remainder, then index
  u64 given = 0;
  for (const std::size_t s : active) {
    (*placed)[s] = static_cast<u64>(u128{n} * weights[s] / total);
    given += (*placed)[s];
    rest.push_back({u128{n} * weights[s] % total, s});
  }
  std::stable_sort(rest.begin(), rest.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (std::size_t i = 0; given < n; ++i, ++given) ++(*placed)[rest[i].second];
  return 0;
}

}  // namespace quarry::oracle

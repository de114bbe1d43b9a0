// Products of rows rounded to bf16: packing, and one multiplication per kind of processor.
#include "kernels/topk/bf16_cpu.h"

#include <algorithm>
#include <cstring>

#include "kernels/core/bf16.h"
#include "kernels/core/x86_tiles.h"
#include "kernels/core/x86_vectors.h"

#if defined(__x86_64__) && defined(__linux__)
#define QUARRY_BF16_X86 1
#endif

namespace quarry {
namespace {

constexpr std::uint32_t kGroup = 16;  ///< items of a group: one vector of products

void pack_items_portable(const float* rows, std::uint32_t n, std::uint32_t dim, std::uint32_t width,
                         std::uint16_t* to) {
  for (std::uint32_t i = 0; i < bf16_rows(n); ++i) {
    std::uint16_t* group = to + std::uint64_t{i / kGroup} * kGroup * width;
    const float* row = rows + std::uint64_t{i} * dim;
    for (std::uint32_t d = 0; d < width; ++d) {
      group[(d / 2 * kGroup + i % kGroup) * 2 + d % 2] = i < n && d < dim ? to_bf16(row[d]) : 0;
    }
  }
}

void multiply_portable(const std::uint16_t* queries, const std::uint16_t* items, std::uint32_t n,
                       std::uint32_t width, float* products, std::uint32_t stride) {
  for (std::uint32_t r = 0; r < kBf16StripRows; ++r) {
    for (std::uint32_t first = 0; first < n; first += kGroup) {
      float sum[kGroup] = {};
      const std::uint16_t* group = items + std::uint64_t{first} * width;
      for (std::uint32_t d = 0; d < width; ++d) {
        const float q = from_bf16(queries[std::uint64_t{r} * width + d]);
        for (std::uint32_t i = 0; i < kGroup; ++i)
          sum[i] += q * from_bf16(group[(d / 2 * kGroup + i) * 2 + d % 2]);
      }
      std::copy(sum, sum + kGroup, products + std::uint64_t{r} * stride + first);
    }
  }
}

#if defined(QUARRY_BF16_X86)

/// The transpose of 16 x 16 numbers of 32 bits, in three rounds of pairs.
[[gnu::target("avx512f")]] inline void transpose(__m512i* v) {
  __m512i t[kGroup];
  for (std::uint32_t i = 0; i < kGroup; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (std::uint32_t i = 0; i < kGroup; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // v[4 g + c] now holds, in its quarter q, column 4 q + c of rows 4 g .. 4 g + 3.
  for (std::uint32_t c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xEE);
    const __m512i e = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0x44);
    const __m512i f = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0xEE);
    t[c] = _mm512_shuffle_i32x4(a, e, 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(a, e, 0xDD);
    t[8 + c] = _mm512_shuffle_i32x4(b, f, 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(b, f, 0xDD);
  }
  for (std::uint32_t i = 0; i < kGroup; ++i) v[i] = t[i];
}

[[gnu::target("avx512f,avx512bw,avx512bf16")]] void pack_items_avx512(
    const float* rows, std::uint32_t n, std::uint32_t dim, std::uint32_t width, std::uint16_t* to) {
  for (std::uint32_t first = 0; first < bf16_rows(n); first += kGroup) {
    const std::uint32_t there = n > first ? std::min(n - first, kGroup) : 0;
    for (std::uint32_t d = 0; d < width; d += 32) {
      const auto mask = static_cast<std::uint32_t>(
          dim - d >= 32 ? 0xFFFFFFFFu : (std::uint64_t{1} << (dim - d)) - 1);
      __m512i pairs[kGroup];
      for (std::uint32_t i = 0; i < kGroup; ++i) {
        pairs[i] = _mm512_setzero_si512();
        if (i >= there) continue;
        const float* row = rows + std::uint64_t{first + i} * dim + d;
        const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), row);
        const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), row + 16);
        const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
        std::memcpy(&pairs[i], &both, sizeof both);
      }
      transpose(pairs);
      std::uint16_t* out = to + std::uint64_t{first} * width + std::uint64_t{d} * kGroup;
      for (std::uint32_t p = 0; p < kGroup; ++p)
        _mm512_storeu_si512(out + std::uint64_t{p} * kGroup * 2, pairs[p]);
    }
  }
}

[[gnu::target("avx512f")]] inline __m512i load_pairs(const std::uint16_t* group,
                                                     std::uint32_t pair) {
  return _mm512_loadu_si512(group + std::uint64_t{pair} * kGroup * 2);
}

/// Eight queries and two groups at a time: 16 sums in registers.
[[gnu::target("avx512f,avx512bf16")]] void multiply_avx512(const std::uint16_t* queries,
                                                           const std::uint16_t* items,
                                                           std::uint32_t n, std::uint32_t width,
                                                           float* products, std::uint32_t stride) {
  constexpr std::uint32_t kRows = 8;
  for (std::uint32_t first = 0; first < n; first += 2 * kGroup) {
    const std::uint16_t* left = items + std::uint64_t{first} * width;
    const std::uint16_t* right = left + std::uint64_t{kGroup} * width;
    for (std::uint32_t r = 0; r < kBf16StripRows; r += kRows) {
      __m512 sum[kRows][2];
#pragma GCC unroll 8
      for (auto& s : sum) s[0] = s[1] = _mm512_setzero_ps();
      for (std::uint32_t p = 0; p < width / 2; ++p) {
        const auto b0 = reinterpret_cast<__m512bh>(load_pairs(left, p));
        const auto b1 = reinterpret_cast<__m512bh>(load_pairs(right, p));
#pragma GCC unroll 8
        for (std::uint32_t i = 0; i < kRows; ++i) {
          std::int32_t pair;
          std::memcpy(&pair, queries + std::uint64_t{r + i} * width + 2 * p, sizeof pair);
          const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
          sum[i][0] = _mm512_dpbf16_ps(sum[i][0], a, b0);
          sum[i][1] = _mm512_dpbf16_ps(sum[i][1], a, b1);
        }
      }
#pragma GCC unroll 8
      for (std::uint32_t i = 0; i < kRows; ++i) {
        float* out = products + std::uint64_t{r + i} * stride + first;
        _mm512_storeu_ps(out, sum[i][0]);
        _mm512_storeu_ps(out + kGroup, sum[i][1]);
      }
    }
  }
}

/// 32 queries by 32 items at a time: four tiles of products, two of queries, two of items.
[[gnu::target("amx-tile,amx-bf16")]] void multiply_amx(const std::uint16_t* queries,
                                                       const std::uint16_t* items, std::uint32_t n,
                                                       std::uint32_t width, float* products,
                                                       std::uint32_t stride) {
  static const TileConfig config;
  // The intrinsics of GCC 12 do not say all that they read: it is to be in memory.
  __asm__ volatile("" ::: "memory");
  _tile_loadconfig(&config);
  const std::uint64_t query_bytes = std::uint64_t{width} * sizeof *queries;
  const std::uint64_t product_bytes = std::uint64_t{stride} * sizeof *products;
  const std::uint16_t* lower = queries + std::uint64_t{kGroup} * width;
  for (std::uint32_t first = 0; first < n; first += 2 * kGroup) {
    const std::uint16_t* left = items + std::uint64_t{first} * width;
    const std::uint16_t* right = left + std::uint64_t{kGroup} * width;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::uint32_t d = 0; d < width; d += 32) {
      _tile_loadd(4, queries + d, query_bytes);
      _tile_loadd(6, left + std::uint64_t{d} * kGroup, 64);
      _tile_loadd(5, lower + d, query_bytes);
      _tile_loadd(7, right + std::uint64_t{d} * kGroup, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* out = products + first;
    _tile_stored(0, out, product_bytes);
    _tile_stored(1, out + kGroup, product_bytes);
    _tile_stored(2, out + std::uint64_t{kGroup} * stride, product_bytes);
    _tile_stored(3, out + std::uint64_t{kGroup} * stride + kGroup, product_bytes);
  }
  _tile_release();
}

/// AVX512F, AVX512BW and AVX512_BF16, with a system that saves their registers.
Bf16Unit find_unit() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512bf16"))
    return Bf16Unit::kPortable;
  return has_tile_products(TileProducts::kBf16) ? Bf16Unit::kAmx : Bf16Unit::kAvx512;
}

#else

Bf16Unit find_unit() { return Bf16Unit::kPortable; }

#endif

}  // namespace

Bf16Unit bf16_unit() {
  static const Bf16Unit unit = find_unit();
  return unit;
}

const char* name_of(Bf16Unit unit) {
  return unit == Bf16Unit::kAmx ? "amx" : unit == Bf16Unit::kAvx512 ? "avx512_bf16" : "portable";
}

void bf16_pack_queries(const float* rows, std::uint32_t n, std::uint32_t dim, float scale,
                       std::uint16_t* to) {
  const std::uint32_t width = bf16_width(dim);
  std::memset(to, 0, std::size_t{bf16_rows(n)} * width * sizeof *to);
  for (std::uint32_t r = 0; r < n; ++r) {
    for (std::uint32_t d = 0; d < dim; ++d)
      to[std::uint64_t{r} * width + d] = to_bf16(scale * rows[std::uint64_t{r} * dim + d]);
  }
}

void bf16_pack_items(Bf16Unit unit, const float* rows, std::uint32_t n, std::uint32_t dim,
                     std::uint16_t* to) {
#if defined(QUARRY_BF16_X86)
  if (unit != Bf16Unit::kPortable) return pack_items_avx512(rows, n, dim, bf16_width(dim), to);
#endif
  pack_items_portable(rows, n, dim, bf16_width(dim), to);
}

void bf16_multiply(Bf16Unit unit, const std::uint16_t* queries, const std::uint16_t* items,
                   std::uint32_t n, std::uint32_t width, float* products, std::uint32_t stride) {
#if defined(QUARRY_BF16_X86)
  if (unit == Bf16Unit::kAmx)
    return multiply_amx(queries, items, bf16_rows(n), width, products, stride);
  if (unit == Bf16Unit::kAvx512)
    return multiply_avx512(queries, items, bf16_rows(n), width, products, stride);
#endif
  multiply_portable(queries, items, bf16_rows(n), width, products, stride);
}

}  // namespace quarry

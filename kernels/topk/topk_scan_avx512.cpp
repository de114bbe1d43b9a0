// The running list of one thread by AVX-512: what passes is compressed into the lists without a
// branch per item.
#include "kernels/topk/topk_scan_cpu.h"

#include "kernels/core/x86_vectors.h"

#if defined(__x86_64__)

#include <algorithm>
#include <limits>

namespace quarry {
namespace {

constexpr std::uint32_t kLanes = 16;
constexpr std::uint32_t kVectors = kTopkTileItems / kLanes;

/// What follows is code for any x86-64, which is many times slower while they are not. GCC 12
/// leaves the instruction out behind a call that takes a vector.
[[gnu::target("avx512f")]] inline void leave_upper_halves_clear() { _mm256_zeroupper(); }

/// Of 16 items, and zeros behind the last one.
struct Scored {
  __m512 scores;
  __mmask16 there;
};

[[gnu::target("avx512f")]] inline Scored load(const float* scores, const float* bias,
                                              std::uint32_t at, std::uint32_t n) {
  const std::uint32_t left = n - at;
  const auto there = static_cast<__mmask16>(left >= kLanes ? 0xFFFFu : (1u << left) - 1);
  __m512 s = _mm512_maskz_loadu_ps(there, scores + at);
  if (bias != nullptr) s = _mm512_add_ps(s, _mm512_maskz_loadu_ps(there, bias + at));
  return {s, there};
}

/// Bits of items at .. at + 15; `at` is a multiple of 16.
inline __mmask16 bits_at(const std::uint32_t* bits, std::uint32_t at) {
  return bits == nullptr ? static_cast<__mmask16>(0xFFFF)
                         : static_cast<__mmask16>(bits[at / 32] >> (at % 32));
}

/// Which of the vectors of a chunk have a score that `beats` the threshold: one mask for all, so
/// that the loop over them ends with one mispredicted branch.
[[gnu::target("avx512f")]] inline std::uint32_t find_passing(const float* scores, const float* bias,
                                                             std::uint32_t n, __m512 floor,
                                                             __mmask16* pass) {
  std::uint32_t some = 0;
  for (std::uint32_t at = 0; at < n; at += kLanes) {
    const Scored v = load(scores, bias, at, n);
    // _CMP_NLE_UQ is `beats`: not less or equal, true for unordered operands.
    const __mmask16 mask = _mm512_mask_cmp_ps_mask(v.there, v.scores, floor, _CMP_NLE_UQ);
    pass[at / kLanes] = mask;
    some |= (mask != 0 ? 1u : 0u) << (at / kLanes);
  }
  return some;
}

/// Keys of 16 items (score_key, -0 cleared).
struct Keys {
  __m512i low, high;
};

[[gnu::target("avx512f")]] inline __m512i join(__m256i upper, __m256i lower) {
  return _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu32_epi64(upper), 32),
                         _mm512_cvtepu32_epi64(lower));
}

[[gnu::target("avx512f")]] inline Keys keys_of(__m512 scores, std::uint32_t first_item) {
  const __mmask16 zero = _mm512_cmp_ps_mask(scores, _mm512_setzero_ps(), _CMP_EQ_OQ);
  const __m512i bits =
      _mm512_mask_mov_epi32(_mm512_castps_si512(scores), zero, _mm512_setzero_si512());
  // Negative: all bits turn, else the sign: the order of unsigned integers.
  const __m512i turn =
      _mm512_or_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(static_cast<int>(1u << 31)));
  const __m512i ordered = _mm512_xor_si512(bits, turn);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i item = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first_item)), lane);
  const __m512i tie = _mm512_xor_si512(item, _mm512_set1_epi32(-1));
  return {join(_mm512_castsi512_si256(ordered), _mm512_castsi512_si256(tie)),
          join(_mm512_extracti64x4_epi64(ordered, 1), _mm512_extracti64x4_epi64(tie, 1))};
}

/// Appends the keys of a mask. Compressed in a register: into memory it is slow on some processors.
[[gnu::target("avx512f,popcnt")]] inline std::uint32_t append(const Keys& keys, std::uint32_t mask,
                                                              std::uint64_t* list,
                                                              std::uint32_t count) {
  const std::uint32_t low = mask & 0xFFu;
  const std::uint32_t high = mask >> 8;
  const auto num_low = static_cast<std::uint32_t>(__builtin_popcount(low));
  const auto num_high = static_cast<std::uint32_t>(__builtin_popcount(high));
  _mm512_mask_storeu_epi64(list + count, static_cast<__mmask8>((1u << num_low) - 1),
                           _mm512_maskz_compress_epi64(static_cast<__mmask8>(low), keys.low));
  count += num_low;
  _mm512_mask_storeu_epi64(list + count, static_cast<__mmask8>((1u << num_high) - 1),
                           _mm512_maskz_compress_epi64(static_cast<__mmask8>(high), keys.high));
  return count + num_high;
}

[[gnu::target("avx512f,bmi,popcnt")]] std::uint32_t append_chunk(
    const float* scores, const float* bias, std::uint32_t n, std::uint32_t first_item,
    const std::uint32_t* allowed, const __m512& floor, std::uint64_t* keys, std::uint32_t count) {
  __mmask16 pass[kVectors];
  for (std::uint32_t some = find_passing(scores, bias, n, floor, pass); some != 0;
       some &= some - 1) {
    const auto v = static_cast<std::uint32_t>(__builtin_ctz(some));
    const std::uint32_t at = v * kLanes;
    count = append(keys_of(load(scores, bias, at, n).scores, first_item + at),
                   pass[v] & bits_at(allowed, at), keys, count);
  }
  return count;
}

/// What every row of a chunk is compared with.
struct Bounds {
  __m512 floor, ceiling, pass_above;
  bool passes;  ///< pass_above bounds something
};

/// Of the vectors of a chunk, which items beat the threshold and are not passed over; those that
/// are, are counted lane by lane. Returns one mask for all, as find_passing.
[[gnu::target("avx512f")]] inline std::uint32_t pass_over(const float* scores, const float* bias,
                                                          std::uint32_t n,
                                                          const std::uint32_t* counts,
                                                          const Bounds& bounds, __m512i& passed,
                                                          __mmask16* pass) {
  const __m512 largest = _mm512_set1_ps(std::numeric_limits<float>::max());
  const __m512i one = _mm512_set1_epi32(1);
  std::uint32_t some = 0;
  for (std::uint32_t at = 0; at < n; at += kLanes) {
    const Scored v = load(scores, bias, at, n);
    const __mmask16 beat = _mm512_mask_cmp_ps_mask(v.there, v.scores, bounds.floor, _CMP_NLE_UQ);
    // An infinite score is listed, for its exact one may not be a number.
    const auto finite = _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(beat & bits_at(counts, at)),
                                                v.scores, largest, _CMP_LE_OQ);
    const __mmask16 above =
        _mm512_mask_cmp_ps_mask(finite, v.scores, bounds.pass_above, _CMP_GT_OQ);
    passed = _mm512_mask_add_epi32(passed, above, passed, one);
    const auto rest = static_cast<__mmask16>(beat & ~above);
    pass[at / kLanes] = rest;
    some |= (rest != 0 ? 1u : 0u) << (at / kLanes);
  }
  return some;
}

[[gnu::target("avx512f,bmi,popcnt")]] TopkAppended append_two_chunk(
    const float* scores, const float* bias, std::uint32_t n, std::uint32_t first_item,
    const std::uint32_t* counts, const Bounds& bounds, __m512i& passed, std::uint64_t* counting,
    std::uint64_t* others, TopkAppended filled) {
  __mmask16 pass[kVectors];
  std::uint32_t some = bounds.passes ? pass_over(scores, bias, n, counts, bounds, passed, pass)
                                     : find_passing(scores, bias, n, bounds.floor, pass);
  for (; some != 0; some &= some - 1) {
    const auto v = static_cast<std::uint32_t>(__builtin_ctz(some));
    const std::uint32_t at = v * kLanes;
    const __m512 s = load(scores, bias, at, n).scores;
    const auto may = static_cast<__mmask16>(pass[v] & bits_at(counts, at));
    const std::uint32_t above = _mm512_mask_cmp_ps_mask(may, s, bounds.ceiling, _CMP_GT_OQ);
    const std::uint32_t within = may & ~above;
    const Keys keys = keys_of(s, first_item + at);
    filled.counting = append(keys, within, counting, filled.counting);
    const std::uint32_t rest = pass[v] & ~within;
    if (rest != 0) filled.others = append(keys, rest, others, filled.others);
  }
  return filled;
}

/// Splits in place: vectors are read from the end with less room, what they hold is written to both
/// ends, where more has been read than written.
class Splitter {
 public:
  Splitter(std::uint64_t* keys, std::uint32_t n, std::uint64_t pivot)
      : keys_(keys), read_end_(n), write_end_(n), pivot_(pivot) {}

  [[gnu::target("avx512f,popcnt")]] std::uint32_t run() {
    constexpr std::uint32_t kRoom = 8;
    if (read_end_ >= 2 * kRoom) {
      const __m512i first = _mm512_loadu_si512(keys_);
      const __m512i last = _mm512_loadu_si512(keys_ + read_end_ - kRoom);
      read_ = kRoom;
      read_end_ -= kRoom;
      while (read_end_ - read_ >= kRoom) {
        const bool front = read_ - write_ <= write_end_ - read_end_;
        if (!front) read_end_ -= kRoom;
        const __m512i keys = _mm512_loadu_si512(keys_ + (front ? read_ : read_end_));
        if (front) read_ += kRoom;
        put(keys, 0xFF);
      }
      put_rest();
      put(first, 0xFF);
      put(last, 0xFF);
    } else if (read_end_ > kRoom) {
      const __m512i first = _mm512_loadu_si512(keys_);
      read_ = kRoom;
      put_rest();
      put(first, 0xFF);
    } else {
      put_rest();
    }
    return write_;
  }

 private:
  /// At most eight keys.
  [[gnu::target("avx512f,popcnt")]] void put_rest() {
    const auto there = static_cast<__mmask8>((1u << (read_end_ - read_)) - 1);
    const __m512i keys = _mm512_maskz_loadu_epi64(there, keys_ + read_);
    read_ = read_end_;
    put(keys, there);
  }
  [[gnu::target("avx512f,popcnt")]] void put(__m512i keys, __mmask8 there) {
    const __m512i pivot = _mm512_set1_epi64(static_cast<long long>(pivot_));
    const __mmask8 front = _mm512_mask_cmpge_epu64_mask(there, keys, pivot);
    const auto back = static_cast<__mmask8>(there & ~front);
    const auto num_front = static_cast<std::uint32_t>(__builtin_popcount(front));
    const auto num_back = static_cast<std::uint32_t>(__builtin_popcount(back));
    write_end_ -= num_back;
    _mm512_mask_storeu_epi64(keys_ + write_, static_cast<__mmask8>((1u << num_front) - 1),
                             _mm512_maskz_compress_epi64(front, keys));
    _mm512_mask_storeu_epi64(keys_ + write_end_, static_cast<__mmask8>((1u << num_back) - 1),
                             _mm512_maskz_compress_epi64(back, keys));
    write_ += num_front;
  }

  std::uint64_t* keys_;
  std::uint32_t read_ = 0, read_end_, write_ = 0, write_end_;  ///< what is between is not done yet
  std::uint64_t pivot_;
};

}  // namespace

[[gnu::target("avx512f")]] std::uint32_t append_avx512(const float* scores, const float* bias,
                                                       std::uint32_t n, std::uint32_t first_item,
                                                       const std::uint32_t* allowed,
                                                       float threshold, std::uint64_t* keys,
                                                       std::uint32_t count) {
  const __m512 floor = _mm512_set1_ps(threshold);
  for (std::uint32_t at = 0; at < n; at += kTopkTileItems) {
    count = append_chunk(scores + at, bias == nullptr ? nullptr : bias + at,
                         std::min(n - at, kTopkTileItems), first_item + at,
                         allowed == nullptr ? nullptr : allowed + at / 32, floor, keys, count);
  }
  leave_upper_halves_clear();
  return count;
}

[[gnu::target("avx512f")]] TopkAppended append_two_avx512(
    const float* scores, const float* bias, std::uint32_t n, std::uint32_t first_item,
    const TopkBounds& bounds, std::uint64_t* counting, std::uint64_t* others, TopkAppended filled) {
  const Bounds wide{_mm512_set1_ps(bounds.threshold), _mm512_set1_ps(bounds.ceiling),
                    _mm512_set1_ps(bounds.pass_above),
                    bounds.pass_above < std::numeric_limits<float>::infinity()};
  __m512i passed = _mm512_setzero_si512();
  for (std::uint32_t at = 0; at < n; at += kTopkTileItems) {
    filled = append_two_chunk(scores + at, bias == nullptr ? nullptr : bias + at,
                              std::min(n - at, kTopkTileItems), first_item + at,
                              bounds.counts == nullptr ? nullptr : bounds.counts + at / 32, wide,
                              passed, counting, others, filled);
  }
  filled.passed += static_cast<std::uint32_t>(_mm512_reduce_add_epi32(passed));
  leave_upper_halves_clear();
  return filled;
}

std::uint32_t split_avx512(std::uint64_t* keys, std::uint32_t n, std::uint64_t pivot) {
  const std::uint32_t front = Splitter(keys, n, pivot).run();
  leave_upper_halves_clear();
  return front;
}

}  // namespace quarry

#endif

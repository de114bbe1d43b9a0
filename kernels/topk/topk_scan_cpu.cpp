// The running list of one thread: vector compares with run-time dispatch, and a selection without
// unpredictable branches. Decides as append_row and compact_row do.
#include <algorithm>
#include <functional>
#include <limits>
#include <span>

#include "kernels/topk/topk.h"
#include "kernels/topk/topk_row.h"
#include "kernels/topk/topk_scan_cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quarry {
namespace {

std::uint32_t append_portable(const float* scores, const float* bias, std::uint32_t n,
                              std::uint32_t first_item, const std::uint32_t* allowed,
                              float threshold, std::uint64_t* keys, std::uint32_t count) {
  SoloGroup solo;
  return append_row(solo, scores, bias, n, first_item, allowed, threshold, keys, count);
}

/// Written to both lists and counted once: no branch to mispredict. An infinite score is listed,
/// for its exact one may not be a number.
inline TopkAppended append_to_one(float score, const TopkBounds& bounds, bool may_count,
                                  std::uint32_t item, std::uint64_t* counting,
                                  std::uint64_t* others, TopkAppended filled) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  const std::uint64_t key = score_key(clear_negative_zero(score), item);
  const std::uint32_t counts = (may_count ? 1u : 0u) & (score > bounds.ceiling ? 0u : 1u);
  const std::uint32_t passed =
      (may_count ? 1u : 0u) & (score > bounds.pass_above ? 1u : 0u) & (score <= kLargest ? 1u : 0u);
  counting[filled.counting] = key;
  others[filled.others] = key;
  return {filled.counting + counts, filled.others + 1 - counts - passed, filled.passed + passed};
}

std::uint32_t split_portable(std::uint64_t* keys, std::uint32_t n, std::uint64_t pivot) {
  std::uint32_t middle = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint64_t key = keys[i];
    keys[i] = keys[middle];
    keys[middle] = key;
    middle += key >= pivot ? 1 : 0;
  }
  return middle;
}

TopkAppended append_two_portable(const float* scores, const float* bias, std::uint32_t n,
                                 std::uint32_t first_item, const TopkBounds& bounds,
                                 std::uint64_t* counting, std::uint64_t* others,
                                 TopkAppended filled) {
  for (std::uint32_t j = 0; j < n; ++j) {
    const float score = bias == nullptr ? scores[j] : scores[j] + bias[j];
    if (!beats(score, bounds.threshold)) continue;
    filled = append_to_one(score, bounds, is_allowed(bounds.counts, j), first_item + j, counting,
                           others, filled);
  }
  return filled;
}

#if defined(__x86_64__)

/// _CMP_NLE_UQ is `beats`: not less or equal, true for unordered operands.
template <bool kBias>
[[gnu::target("avx2,bmi")]] inline std::uint64_t passing(const float* scores, const float* bias,
                                                         __m256 floor) {
  std::uint64_t pass = 0;
  for (int g = 0; g < 8; ++g) {
    __m256 s = _mm256_loadu_ps(scores + 8 * g);
    if constexpr (kBias) s = _mm256_add_ps(s, _mm256_loadu_ps(bias + 8 * g));
    const int bits = _mm256_movemask_ps(_mm256_cmp_ps(s, floor, _CMP_NLE_UQ));
    pass |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(bits)) << (8 * g);
  }
  return pass;
}

/// Two passes over a chunk: all compares first, without a branch, then the few items that passed.
/// Testing and collecting word by word costs three times as much in mispredicted branches.
template <bool kBias>
[[gnu::target("avx2,bmi")]] std::uint32_t append_chunk(
    const float* scores, const float* bias, std::uint32_t words, std::uint32_t first_item,
    const std::uint32_t* allowed, float threshold, std::uint64_t* keys, std::uint32_t count) {
  std::uint64_t pass[kTopkTileItems / 64];
  const __m256 floor = _mm256_set1_ps(threshold);
  for (std::uint32_t w = 0; w < words; ++w) {
    pass[w] = passing<kBias>(scores + 64 * w, kBias ? bias + 64 * w : nullptr, floor);
  }
  if (allowed != nullptr) {
    for (std::uint32_t w = 0; w < words; ++w) {
      pass[w] &= allowed[2 * w] | std::uint64_t{allowed[2 * w + 1]} << 32;
    }
  }
  for (std::uint32_t w = 0; w < words; ++w) {
    for (std::uint64_t left = pass[w]; left != 0; left &= left - 1) {
      const std::uint32_t j = 64 * w + static_cast<std::uint32_t>(__builtin_ctzll(left));
      // Formed again: an addition has the same bits in a vector and alone.
      const float score = kBias ? scores[j] + bias[j] : scores[j];
      keys[count++] = score_key(clear_negative_zero(score), first_item + j);
    }
  }
  return count;
}

std::uint32_t append_avx2(const float* scores, const float* bias, std::uint32_t n,
                          std::uint32_t first_item, const std::uint32_t* allowed, float threshold,
                          std::uint64_t* keys, std::uint32_t count) {
  std::uint32_t j = 0;
  while (n - j >= 64) {
    const std::uint32_t words = (n - j < kTopkTileItems ? n - j : kTopkTileItems) / 64;
    const std::uint32_t* bits = allowed == nullptr ? nullptr : allowed + j / 32;
    count = bias == nullptr ? append_chunk<false>(scores + j, nullptr, words, first_item + j, bits,
                                                  threshold, keys, count)
                            : append_chunk<true>(scores + j, bias + j, words, first_item + j, bits,
                                                 threshold, keys, count);
    j += 64 * words;
  }
  if (j == n) return count;
  return append_portable(scores + j, bias == nullptr ? nullptr : bias + j, n - j, first_item + j,
                         allowed == nullptr ? nullptr : allowed + j / 32, threshold, keys, count);
}

/// Which of 64 scores are finite, or minus infinity, and above a bound.
template <bool kBias>
[[gnu::target("avx2")]] inline std::uint64_t finite_above(const float* scores, const float* bias,
                                                          __m256 over) {
  const __m256 largest = _mm256_set1_ps(std::numeric_limits<float>::max());
  std::uint64_t above = 0;
  for (int g = 0; g < 8; ++g) {
    __m256 s = _mm256_loadu_ps(scores + 8 * g);
    if constexpr (kBias) s = _mm256_add_ps(s, _mm256_loadu_ps(bias + 8 * g));
    const int bits = _mm256_movemask_ps(
        _mm256_and_ps(_mm256_cmp_ps(s, over, _CMP_GT_OQ), _mm256_cmp_ps(s, largest, _CMP_LE_OQ)));
    above |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(bits)) << (8 * g);
  }
  return above;
}

/// Bits of 64 items; null: all.
inline std::uint64_t bits_of_word(const std::uint32_t* bits, std::uint32_t w) {
  return bits == nullptr ? ~std::uint64_t{0} : bits[2 * w] | std::uint64_t{bits[2 * w + 1]} << 32;
}

/// As append_chunk, to two lists.
template <bool kBias>
[[gnu::target("avx2,bmi,popcnt")]] TopkAppended append_two_chunk(
    const float* scores, const float* bias, std::uint32_t words, std::uint32_t first_item,
    const TopkBounds& bounds, std::uint64_t* counting, std::uint64_t* others, TopkAppended filled) {
  std::uint64_t pass[kTopkTileItems / 64];
  const __m256 floor = _mm256_set1_ps(bounds.threshold);
  for (std::uint32_t w = 0; w < words; ++w) {
    pass[w] = passing<kBias>(scores + 64 * w, kBias ? bias + 64 * w : nullptr, floor);
  }
  const TopkBounds local = bounds;
  if (local.pass_above < std::numeric_limits<float>::infinity()) {
    // Often half of what passes: counted together, not one by one.
    const __m256 over = _mm256_set1_ps(local.pass_above);
    for (std::uint32_t w = 0; w < words; ++w) {
      const std::uint64_t may_count = bits_of_word(local.counts, w);
      const std::uint64_t passed =
          pass[w] & may_count &
          finite_above<kBias>(scores + 64 * w, kBias ? bias + 64 * w : nullptr, over);
      filled.passed += static_cast<std::uint32_t>(__builtin_popcountll(passed));
      pass[w] &= ~passed;
    }
  }
  for (std::uint32_t w = 0; w < words; ++w) {
    const std::uint64_t may_count = bits_of_word(local.counts, w);
    for (std::uint64_t left = pass[w]; left != 0; left &= left - 1) {
      const auto bit = static_cast<std::uint32_t>(__builtin_ctzll(left));
      const std::uint32_t j = 64 * w + bit;
      const float score = kBias ? scores[j] + bias[j] : scores[j];
      filled = append_to_one(score, local, (may_count >> bit & 1u) != 0, first_item + j, counting,
                             others, filled);
    }
  }
  return filled;
}

TopkAppended append_two_avx2(const float* scores, const float* bias, std::uint32_t n,
                             std::uint32_t first_item, const TopkBounds& bounds,
                             std::uint64_t* counting, std::uint64_t* others, TopkAppended filled) {
  TopkBounds rest = bounds;
  std::uint32_t j = 0;
  while (n - j >= 64) {
    const std::uint32_t words = (n - j < kTopkTileItems ? n - j : kTopkTileItems) / 64;
    rest.counts = bounds.counts == nullptr ? nullptr : bounds.counts + j / 32;
    filled = bias == nullptr ? append_two_chunk<false>(scores + j, nullptr, words, first_item + j,
                                                       rest, counting, others, filled)
                             : append_two_chunk<true>(scores + j, bias + j, words, first_item + j,
                                                      rest, counting, others, filled);
    j += 64 * words;
  }
  if (j == n) return filled;
  rest.counts = bounds.counts == nullptr ? nullptr : bounds.counts + j / 32;
  return append_two_portable(scores + j, bias == nullptr ? nullptr : bias + j, n - j,
                             first_item + j, rest, counting, others, filled);
}

/// What this processor runs, fastest first.
std::span<const TopkScanForm> find_forms() {
  static const TopkScanForm all[] = {
      {"avx512", append_avx512, append_two_avx512, split_avx512},
      {"avx2", append_avx2, append_two_avx2, split_portable},
      {"portable", append_portable, append_two_portable, split_portable}};
  const std::size_t first = __builtin_cpu_supports("avx512f") ? 0
                            : __builtin_cpu_supports("avx2")  ? 1
                                                              : 2;
  return std::span(all).subspan(first);
}

#else

std::span<const TopkScanForm> find_forms() {
  static const TopkScanForm all[] = {
      {"portable", append_portable, append_two_portable, split_portable}};
  return all;
}

#endif

const TopkScanForm kForm = find_forms().front();

/// Moves the k largest of `a[0, n)`, distinct keys, to the front: quickselect whose split has no
/// branch to mispredict and whose pivot is the sample that stands where the k-th is expected.
void keep_largest(std::uint64_t* a, std::uint32_t n, std::uint32_t k) {
  constexpr std::uint32_t kSamples = 9;
  constexpr int kMaxRounds =
      48;  // an unlucky order of keys ends in nth_element, which is linear in any case
  std::uint32_t low = 0;   // a[0, low) belong to the k largest
  std::uint32_t high = n;  // a[high, n) do not
  for (int round = 0; low < k && k < high; ++round) {
    const std::uint32_t length = high - low;
    if (length < 4 * kSamples || round == kMaxRounds) {
      std::nth_element(a + low, a + (k - 1), a + high, std::greater<>());
      return;
    }
    std::uint64_t sample[kSamples];
    for (std::uint32_t i = 0; i < kSamples; ++i)
      sample[i] = a[low + std::uint64_t{length} * (2 * i + 1) / (2 * kSamples)];
    // Sorting them would cost more in mispredicted branches than counting for each what is above.
    const auto place = static_cast<std::uint32_t>(std::uint64_t{k - low} * kSamples / length);
    std::uint64_t pivot = sample[0];
    for (const std::uint64_t candidate : sample) {
      std::uint32_t above = 0;
      for (const std::uint64_t other : sample) above += other > candidate ? 1 : 0;
      pivot = above == place ? candidate : pivot;
    }
    const std::uint32_t middle = low + kForm.split(a + low, length, pivot);
    if (middle == high) {
      std::swap(*std::min_element(a + low, a + high), a[high - 1]);
      --high;
    } else if (middle > k) {
      high = middle;
    } else {
      low = middle;
    }
  }
}

}  // namespace

std::uint32_t append_row_host(const float* scores, const float* bias, std::uint32_t n,
                              std::uint32_t first_item, const std::uint32_t* allowed,
                              float threshold, std::uint64_t* keys, std::uint32_t count) {
  return kForm.append(scores, bias, n, first_item, allowed, threshold, keys, count);
}

TopkAppended append_two_lists_host(const float* scores, const float* bias, std::uint32_t n,
                                   std::uint32_t first_item, const TopkBounds& bounds,
                                   std::uint64_t* counting, std::uint64_t* others,
                                   TopkAppended filled) {
  return kForm.append_two(scores, bias, n, first_item, bounds, counting, others, filled);
}

std::uint32_t append_row_at_host(const float* scores, const std::uint32_t* places,
                                 const float* bias, std::uint32_t n, std::uint32_t first_item,
                                 const std::uint32_t* allowed, float threshold, std::uint64_t* keys,
                                 std::uint32_t count) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t j = places[i];
    const float score = bias == nullptr ? scores[i] : scores[i] + bias[j];
    keys[count] = score_key(clear_negative_zero(score), first_item + j);
    count += (beats(score, threshold) ? 1u : 0u) & (is_allowed(allowed, j) ? 1u : 0u);
  }
  return count;
}

TopkAppended append_two_lists_at_host(const float* scores, const std::uint32_t* places,
                                      const float* bias, std::uint32_t n, std::uint32_t first_item,
                                      const TopkBounds& bounds, std::uint64_t* counting,
                                      std::uint64_t* others, TopkAppended filled) {
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t j = places[i];
    const float score = bias == nullptr ? scores[i] : scores[i] + bias[j];
    const TopkAppended with = append_to_one(score, bounds, is_allowed(bounds.counts, j),
                                            first_item + j, counting, others, filled);
    if (beats(score, bounds.threshold)) filled = with;
  }
  return filled;
}

void partition_row_host(std::uint64_t* keys, std::uint32_t count, std::uint32_t k) {
  keep_largest(keys, count, k);
}

std::uint32_t compact_row_host(std::uint64_t* keys, std::uint32_t count, std::uint32_t k,
                               float* threshold) {
  if (k == 0) return 0;
  if (count < k) return count;
  keep_largest(keys, count, k);
  *threshold = score_of_key(*std::min_element(keys, keys + k));
  return k;
}

std::span<const TopkScanForm> topk_scan_forms() { return find_forms(); }
const char* topk_instruction_set() { return kForm.name; }

}  // namespace quarry

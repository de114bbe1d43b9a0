// Filters of candidates that all rows share: a filter at a time over all of them, by bits.
#include "kernels/exclude/shared_filters.h"

#include <algorithm>
#include <limits>

#include "kernels/core/x86_vectors.h"

namespace quarry {
namespace {

bool passes(ScoreTest test, float score, float bound) {
  switch (test) {
    case ScoreTest::kAbove:
      return score > bound;
    case ScoreTest::kNotBelow:
      return !(score < bound);
    case ScoreTest::kNotAtLeast:
      return !(score >= bound);
    case ScoreTest::kNotAtMost:
      return !(score <= bound);
    case ScoreTest::kEqual:
      return score == bound;
  }
  return false;
}

/// Of the n <= 32 scores of a word.
std::uint32_t word_of(ScoreTest test, const float* scores, std::uint32_t n, float bound) {
  std::uint32_t word = 0;
  for (std::uint32_t j = 0; j < n; ++j) word |= (passes(test, scores[j], bound) ? 1u : 0u) << j;
  return word;
}

#if defined(__x86_64__)

template <int kPredicate>
[[gnu::target("avx2")]] void words_avx2(const float* scores, std::uint32_t words, float bound,
                                        std::uint32_t* bits) {
  const __m256 b = _mm256_set1_ps(bound);
  for (std::uint32_t w = 0; w < words; ++w) {
    std::uint32_t word = 0;
    for (int g = 0; g < 4; ++g) {
      const __m256 s = _mm256_loadu_ps(scores + 32 * std::size_t{w} + 8 * g);
      const int mask = _mm256_movemask_ps(_mm256_cmp_ps(s, b, kPredicate));
      word |= static_cast<std::uint32_t>(mask) << (8 * g);
    }
    bits[w] = word;
  }
}

void words_by_vectors(ScoreTest test, const float* scores, std::uint32_t words, float bound,
                      std::uint32_t* bits) {
  switch (test) {
    case ScoreTest::kAbove:
      return words_avx2<_CMP_GT_OQ>(scores, words, bound, bits);
    case ScoreTest::kNotBelow:
      return words_avx2<_CMP_NLT_UQ>(scores, words, bound, bits);
    case ScoreTest::kNotAtLeast:
      return words_avx2<_CMP_NGE_UQ>(scores, words, bound, bits);
    case ScoreTest::kNotAtMost:
      return words_avx2<_CMP_NLE_UQ>(scores, words, bound, bits);
    case ScoreTest::kEqual:
      return words_avx2<_CMP_EQ_OQ>(scores, words, bound, bits);
  }
}

/// Adds the bits of 32 times a word: those after `time`, or those not after it but for INT64_MAX.
template <bool kAfter>
[[gnu::target("avx2")]] void add_times_avx2(const std::int64_t* times, std::uint32_t words,
                                            std::int64_t time, std::uint32_t* bits) {
  const __m256i t = _mm256_set1_epi64x(time);
  const __m256i never = _mm256_set1_epi64x(INT64_MAX);
  for (std::uint32_t w = 0; w < words; ++w) {
    std::uint32_t word = 0;
    for (int g = 0; g < 8; ++g) {
      const __m256i v =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(times + 32 * std::size_t{w} + 4 * g));
      const __m256i after = _mm256_cmpgt_epi64(v, t);
      const __m256i neither = _mm256_or_si256(after, _mm256_cmpeq_epi64(v, never));
      const int mask = _mm256_movemask_pd(_mm256_castsi256_pd(kAfter ? after : neither));
      word |= static_cast<std::uint32_t>(kAfter ? mask : ~mask & 0xF) << (4 * g);
    }
    bits[w] |= word;
  }
}

[[gnu::target("popcnt")]] std::uint32_t count_popcnt(const std::uint32_t* a, const std::uint32_t* b,
                                                     std::uint32_t words) {
  std::uint32_t count = 0;
  for (std::uint32_t w = 0; w < words; ++w)
    count += static_cast<std::uint32_t>(std::popcount(b != nullptr ? a[w] & b[w] : a[w]));
  return count;
}

const bool kAvx2 = __builtin_cpu_supports("avx2");
const bool kPopcnt = __builtin_cpu_supports("popcnt");

#endif

/// Adds the bits of n times: those after `time`, or those not after it but for INT64_MAX.
template <bool kAfter>
void add_times(const std::int64_t* times, std::uint32_t n, std::int64_t time, std::uint32_t* bits) {
  std::uint32_t j = 0;
#if defined(__x86_64__)
  if (kAvx2) {
    add_times_avx2<kAfter>(times, n / 32, time, bits);
    j = n / 32 * 32;
  }
#endif
  for (; j < n; ++j) {
    const bool found = kAfter ? times[j] > time : times[j] <= time && times[j] != INT64_MAX;
    bits[j / 32] |= (found ? 1u : 0u) << (j % 32);
  }
}

/// Kinds that are asked of all candidates at once.
constexpr std::uint32_t kByBits = kListKinds | kScoreKinds | kind_bit(FilterKind::kTime) |
                                  kind_bit(FilterKind::kBitmapDeny) |
                                  kind_bit(FilterKind::kBitmapAllow);

}  // namespace

void score_bits(ScoreTest test, const float* scores, std::uint32_t n, float bound,
                std::uint32_t* bits) {
  std::uint32_t w = 0;
#if defined(__x86_64__)
  if (kAvx2) {
    w = n / 32;
    words_by_vectors(test, scores, w, bound, bits);
  }
#endif
  for (; w < bit_words(n); ++w)
    bits[w] = word_of(test, scores + 32 * std::size_t{w}, std::min(n - 32 * w, 32u), bound);
}

std::uint32_t count_bits(const std::uint32_t* a, const std::uint32_t* b, std::uint32_t words) {
#if defined(__x86_64__)
  if (kPopcnt) return count_popcnt(a, b, words);
#endif
  std::uint32_t count = 0;
  for (std::uint32_t w = 0; w < words; ++w)
    count += static_cast<std::uint32_t>(std::popcount(b != nullptr ? a[w] & b[w] : a[w]));
  return count;
}

void SharedItems::prepare(const World& world, const Plan& plan, const Branch& branch,
                          const std::uint32_t* items, std::uint32_t count) {
  items_ = items;
  count_ = count;
  marks_.assign(world.num_items / 64 + 1, 0);
  for (std::uint32_t j = 0; j < count; ++j)
    marks_[items[j] / 64] |= std::uint64_t{1} << (items[j] % 64);
  before_.resize(marks_.size());
  std::uint32_t before = 0;
  for (std::size_t w = 0; w < marks_.size(); ++w) {
    before_[w] = before;
    before += static_cast<std::uint32_t>(std::popcount(marks_[w]));
  }
  first_seen_.clear();
  retired_.clear();
  for (std::uint32_t i = 0; i < kMaxFilters; ++i) always_[i].clear();
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    const Filter& f = plan.filters[branch.first_filter + i];
    if (f.kind == FilterKind::kBitmapDeny || f.kind == FilterKind::kBitmapAllow) {
      always_[i].assign(bit_words(count), 0);
      const bool marked = f.kind == FilterKind::kBitmapDeny;
      for (std::uint32_t j = 0; j < count; ++j) {
        if (is_marked(world.bitmaps[f.table], items[j]) == marked)
          always_[i][j / 32] |= 1u << (j % 32);
      }
    } else if (f.kind == FilterKind::kTime && first_seen_.empty() && retired_.empty()) {
      for (std::uint32_t j = 0; j < count && world.first_seen != nullptr; ++j)
        first_seen_.push_back(world.first_seen[items[j]]);
      for (std::uint32_t j = 0; j < count && world.retired != nullptr; ++j)
        retired_.push_back(world.retired[items[j]]);
    }
  }
}

void SharedItems::find_untimely(std::int64_t time, std::uint32_t* bits) const {
  std::fill_n(bits, bit_words(count_), 0);
  if (!first_seen_.empty()) add_times<true>(first_seen_.data(), count_, time, bits);
  if (!retired_.empty()) add_times<false>(retired_.data(), count_, time, bits);
}

std::uint64_t SharedItems::bytes() const {
  std::uint64_t words = before_.capacity() + 2 * marks_.capacity();
  for (const auto& bits : always_) words += bits.capacity();
  return 4 * words + 8 * (first_seen_.capacity() + retired_.capacity());
}

std::uint64_t SharedBits::bytes() const {
  std::uint64_t words = 0;
  for (const auto* bits :
       {&survivors, &unscored, &rejected, &found, &other_end, &untimely, &places})
    words += bits->capacity();
  return 4 * words;
}

SharedFilters::SharedFilters(const World& world, const Plan& plan, const Branch& branch,
                             const SharedItems& items, SharedBits& bits)
    : world_(world),
      plan_(plan),
      branch_(branch),
      items_(items),
      words_(bit_words(items.count())),
      prepared_(world, plan, branch),
      bits_(bits) {
  for (auto* rows : {&bits.survivors, &bits.unscored, &bits.found, &bits.other_end, &bits.untimely})
    rows->resize(words_);
  bits.rejected.resize(std::size_t{branch.num_filters} * words_);
  for (std::uint32_t i = 0; i < branch.num_filters; ++i)
    asks_ = asks_ || (kByBits & kind_bit(plan.filters[branch.first_filter + i].kind)) == 0;
}

void SharedFilters::judge(const RowContext& row, const float* scores) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  const std::uint32_t n = items_.count();
  score_bits(ScoreTest::kNotAtMost, scores, n, kLargest, bits_.unscored.data());
  score_bits(ScoreTest::kNotAtLeast, scores, n, -kLargest, bits_.found.data());
  for (std::uint32_t w = 0; w < words_; ++w) {
    bits_.unscored[w] |= bits_.found[w];
    bits_.survivors[w] = ~bits_.unscored[w];
  }
  if (n % 32 != 0) bits_.survivors[words_ - 1] &= (1u << (n % 32)) - 1;
  if (asks_) prepared_.prepare(row, n);
  for (std::uint32_t i = 0; i < branch_.num_filters; ++i) {
    reject(i, row, scores);
    std::uint32_t* rejected = bits_.rejected.data() + std::size_t{i} * words_;
    for (std::uint32_t w = 0; w < words_; ++w) {
      rejected[w] = bits_.survivors[w] & bits_.found[w];
      bits_.survivors[w] &= ~bits_.found[w];
    }
  }
}

/// Into found_ what filter i rejects, of the survivors so far at least.
void SharedFilters::reject(std::uint32_t i, const RowContext& row, const float* scores) {
  const Filter& f = plan_.filters[branch_.first_filter + i];
  const std::uint32_t n = items_.count();
  switch (f.kind) {
    case FilterKind::kUserList:
    case FilterKind::kPositives:
      return mark_listed(f, row);
    case FilterKind::kAbsoluteMargin:
    case FilterKind::kRelativeMargin:
      if (row.num_positives == 0) break;
      return score_bits(ScoreTest::kNotBelow, scores, n, ceiling_of(f, row), bits_.found.data());
    case FilterKind::kScoreWindow:
      score_bits(ScoreTest::kNotAtLeast, scores, n, f.a, bits_.found.data());
      score_bits(ScoreTest::kNotAtMost, scores, n, f.b, bits_.other_end.data());
      for (std::uint32_t w = 0; w < words_; ++w) bits_.found[w] |= bits_.other_end[w];
      return;
    case FilterKind::kBitmapDeny:
    case FilterKind::kBitmapAllow:
      std::copy_n(items_.rejected(i), words_, bits_.found.begin());
      return;
    case FilterKind::kTime:
      if (!knows_time_ || judged_time_ != row.time) {
        items_.find_untimely(row.time, bits_.untimely.data());
        judged_time_ = row.time;
        knows_time_ = true;
      }
      std::copy_n(bits_.untimely.begin(), words_, bits_.found.begin());
      return;
    default:
      return ask_each(i, scores);
  }
  std::fill(bits_.found.begin(), bits_.found.end(), 0);
}

void SharedFilters::mark_listed(const Filter& f, const RowContext& row) {
  std::fill(bits_.found.begin(), bits_.found.end(), 0);
  const auto mark = [&](std::uint32_t item) {
    const std::uint32_t j = items_.place_of(item);
    if (j != kNoItem) bits_.found[j / 32] |= 1u << (j % 32);
  };
  const UserLists& lists = world_.lists[f.table];
  for (std::uint64_t i = lists.offsets[row.user]; i < lists.offsets[row.user + 1]; ++i)
    mark(lists.values[i]);
  if (f.kind != FilterKind::kPositives) return;
  for (std::uint32_t p = 0; p < row.num_positives; ++p) mark(row.positives[p]);
}

/// One survivor after the other.
void SharedFilters::ask_each(std::uint32_t i, const float* scores) {
  constexpr std::size_t kAhead = 12;
  const FeatureTable* compared = nullptr;
  const Filter& f = plan_.filters[branch_.first_filter + i];
  if (f.kind == FilterKind::kSimilarity) compared = &world_.features[f.table];
  bits_.places.clear();
  for (std::uint32_t w = 0; w < words_; ++w) {
    for (std::uint32_t left = bits_.survivors[w]; left != 0; left &= left - 1)
      bits_.places.push_back(32 * w + static_cast<std::uint32_t>(std::countr_zero(left)));
  }
  std::fill(bits_.found.begin(), bits_.found.end(), 0);
  for (std::size_t at = 0; at < bits_.places.size(); ++at) {
    if (compared != nullptr && at + kAhead < bits_.places.size()) {
      const std::uint64_t next = items_.item(bits_.places[at + kAhead]);
      prefetch_row(compared->rows + next * compared->dim, kFirstDims);
    }
    const std::uint32_t j = bits_.places[at];
    if (prepared_.rejects_at(i, items_.item(j), scores[j])) bits_.found[j / 32] |= 1u << (j % 32);
  }
}

}  // namespace quarry

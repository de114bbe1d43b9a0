// A branch's filters over candidates that all rows share, by bits of these: for the CPU.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/exclude/prepared_filters.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

/// How a score is compared. A score that is not a number reaches nothing.
enum class ScoreTest : std::uint8_t { kAbove, kNotBelow, kNotAtLeast, kNotAtMost, kEqual };

/// Bit j of bits[0, ceil(n / 32)): whether scores[j] passes `test`; 0 behind the last one.
/// kAbove: s > bound; kNotBelow: !(s < bound); kNotAtLeast: !(s >= bound); kNotAtMost: !(s <=
/// bound); kEqual: s == bound.
void score_bits(ScoreTest test, const float* scores, std::uint32_t n, float bound,
                std::uint32_t* bits);

inline std::uint32_t bit_words(std::uint32_t n) { return n / 32 + (n % 32 != 0 ? 1 : 0); }
/// Bits set in both; b may be null: in a.
std::uint32_t count_bits(const std::uint32_t* a, const std::uint32_t* b, std::uint32_t words);

/// The candidates: ascending items, each once, and what filters ask of them whatever the row.
class SharedItems {
 public:
  /// For filters of that branch. `items` is kept by pointer.
  void prepare(const World& world, const Plan& plan, const Branch& branch,
               const std::uint32_t* items, std::uint32_t count);
  std::uint32_t count() const { return count_; }
  std::uint32_t item(std::uint32_t j) const { return items_[j]; }
  /// Place of an item among them, or kNoItem.
  std::uint32_t place_of(std::uint32_t item) const {
    const std::uint64_t bit = std::uint64_t{1} << (item % 64);
    const std::uint64_t word = marks_[item / 64];
    if ((word & bit) == 0) return kNoItem;
    return before_[item / 64] + static_cast<std::uint32_t>(std::popcount(word & (bit - 1)));
  }
  /// What filter i of the branch rejects in every row; null: that depends on the row.
  const std::uint32_t* rejected(std::uint32_t i) const {
    return always_[i].empty() ? nullptr : always_[i].data();
  }
  /// Bits of those that are not there yet, or no longer.
  void find_untimely(std::int64_t time, std::uint32_t* bits) const;
  std::uint64_t bytes() const;

 private:
  const std::uint32_t* items_ = nullptr;
  std::uint32_t count_ = 0;
  std::vector<std::uint64_t> marks_;   ///< by item
  std::vector<std::uint32_t> before_;  ///< items in the words before
  std::vector<std::uint32_t> always_[kMaxFilters];
  std::vector<std::int64_t> first_seen_, retired_;  ///< by place
};

/// Work area of SharedFilters, kept by the caller: bits by candidate, and places of some.
struct SharedBits {
  std::vector<std::uint32_t> survivors, unscored, rejected, found, other_end, untimely, places;
  std::uint64_t bytes() const;
};

/// Which candidates of a row are rejected, and by which filter: the first in declared order. None
/// of the filters looks at ranks.
class SharedFilters {
 public:
  SharedFilters(const World& world, const Plan& plan, const Branch& branch,
                const SharedItems& items, SharedBits& bits);
  /// For a row with these scores of all candidates.
  void judge(const RowContext& row, const float* scores);
  const std::uint32_t* survivors() const { return bits_.survivors.data(); }
  const std::uint32_t* unscored() const { return bits_.unscored.data(); }
  /// Those that filter i rejects, and none before it.
  const std::uint32_t* rejected(std::uint32_t i) const {
    return bits_.rejected.data() + std::size_t{i} * words_;
  }

 private:
  void reject(std::uint32_t i, const RowContext& row, const float* scores);
  void mark_listed(const Filter& f, const RowContext& row);
  void ask_each(std::uint32_t i, const float* scores);

  const World& world_;
  const Plan& plan_;
  const Branch& branch_;
  const SharedItems& items_;
  std::uint32_t words_;
  PreparedFilters prepared_;
  bool asks_ = false;  ///< some filter is asked for one item at a time
  SharedBits& bits_;
  bool knows_time_ = false;
  std::int64_t judged_time_ = 0;  ///< of bits_.untimely
};

}  // namespace quarry

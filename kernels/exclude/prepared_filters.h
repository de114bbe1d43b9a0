// What a branch's filters look up, prepared once for each row: for the CPU.
#pragma once

#include <algorithm>
#include <bit>
#include <span>

#include "kernels/exclude/exclude_row.h"

namespace quarry {

/// A bit for each hash of what lists hold: most candidates are in none, which one look tells, where
/// a search halves each list by branches that no processor foresees. A bit for each value where
/// values are few for it and many are listed: then it tells what is listed, too.
class Sieve {
 public:
  /// Empties it. False: too many values for so many candidates to be worth it; it holds all then.
  /// Values are below `end`.
  bool clear(std::uint64_t values, std::uint32_t candidates, std::uint32_t end) {
    in_use_ = values <= std::uint64_t{kLongest} * candidates;
    exact_ = in_use_ && end <= kMost && values * kFewestOf >= end;
    if (!in_use_) return false;
    std::uint64_t bits = std::clamp(std::bit_ceil(kBitsPerValue * values), kFewest, kMost / 2);
    if (exact_) bits = std::max(std::bit_ceil(std::uint64_t{end}), kFewest);
    shift_ = 32 - static_cast<std::uint32_t>(std::countr_zero(bits));
    std::fill(words_, words_ + bits / 64, 0);
    return true;
  }
  void add(std::uint32_t value) {
    const std::uint32_t bit = bit_of(value);
    words_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
  bool lacks(std::uint32_t value) const {
    if (!in_use_) return false;
    const std::uint32_t bit = bit_of(value);
    return (words_[bit / 64] >> (bit % 64) & 1u) == 0;
  }
  /// It lacks all that was not added.
  bool is_exact() const { return exact_; }

 private:
  static constexpr std::uint32_t kLongest = 16;  ///< values per candidate
  static constexpr std::uint64_t kBitsPerValue = 16;
  static constexpr std::uint64_t kFewest = 512;
  static constexpr std::uint64_t kMost = std::uint64_t{1} << 18;  ///< a first-level cache
  static constexpr std::uint32_t kFewestOf = 256;  ///< values listed, for a bit of each

  /// By the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4).
  std::uint32_t bit_of(std::uint32_t value) const {
    return exact_ ? value : value * 2654435769u >> shift_;
  }

  bool in_use_ = false, exact_ = false;
  std::uint32_t shift_ = 0;
  std::uint64_t words_[kMost / 64];
};

/// A branch's filters for one row. Of margins the bound is known; lists of items, and of codes of
/// the first column that groups go by, stand behind sieves.
class PreparedFilters {
 public:
  PreparedFilters(const World& world, const Plan& plan, const Branch& branch)
      : world_(world), plan_(plan), branch_(branch) {
    for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
      const Filter& f = filter(i);
      const std::uint32_t kind = kind_bit(f.kind);
      steps_[i] = (kind & kListKinds) != 0     ? Step::kList
                  : (kind & kMarginKinds) != 0 ? Step::kMargin
                                               : Step::kOther;
      if (steps_[i] == Step::kList) last_list_ = i;
      has_own_ = has_own_ || f.kind == FilterKind::kPositives;
      if (f.kind != FilterKind::kUserGroup || codes_ != nullptr) continue;
      steps_[i] = Step::kGroup;
      group_ = f.table;
      codes_ = world.columns + std::uint64_t{f.column} * world.num_items;
    }
  }

  /// For a row with so many candidates.
  void prepare(const RowContext& row, std::uint32_t count) {
    row_ = row;
    for (std::uint32_t i = 0; i < branch_.num_filters; ++i) {
      if (steps_[i] == Step::kMargin) bounds_[i] = ceiling_of(filter(i), row);
    }
    const std::uint32_t num_own = has_own_ ? row.num_positives : 0;
    std::uint64_t values = num_own;
    for_lists([&](std::span<const std::uint32_t> list) { values += list.size(); });
    if (listed_.clear(values, count, world_.num_items)) {
      for_lists([&](std::span<const std::uint32_t> list) {
        for (const std::uint32_t item : list) listed_.add(item);
      });
      for (std::uint32_t p = 0; p < num_own; ++p) listed_.add(row.positives[p]);
    }
    if (codes_ == nullptr) return;
    const std::span<const std::uint32_t> groups = list_of_user(group_);
    if (!grouped_.clear(groups.size() + row.num_positives, count, kAnyCode)) return;
    for (const std::uint32_t code : groups) grouped_.add(code);
    for (std::uint32_t p = 0; p < row.num_positives; ++p) grouped_.add(codes_[row.positives[p]]);
  }

  std::uint32_t first_rejection_of(std::uint32_t item, float score, std::uint32_t raw_rank) const {
    if (!is_finite(score)) return kUnscored;
    const bool unlisted = listed_.lacks(item);
    for (std::uint32_t i = 0; i < branch_.num_filters; ++i) {
      if (steps_[i] == Step::kList && unlisted) continue;
      // It is listed, and not by those before.
      if (steps_[i] == Step::kList && i == last_list_ && listed_.is_exact()) return i + 1;
      if (steps_[i] == Step::kGroup && grouped_.lacks(codes_[item])) continue;
      if (steps_[i] == Step::kMargin ? !(score < bounds_[i])
                                     : rejects(world_, filter(i), row_, item, score, raw_rank))
        return i + 1;
    }
    return 0;
  }

  /// Whether filter i of the branch, which looks at no rank, rejects the item.
  bool rejects_at(std::uint32_t i, std::uint32_t item, float score) const {
    if (steps_[i] == Step::kGroup && grouped_.lacks(codes_[item])) return false;
    return rejects(world_, filter(i), row_, item, score, 0);
  }

 private:
  enum class Step : std::uint8_t { kList, kMargin, kGroup, kOther };

  static constexpr std::uint32_t kAnyCode = 0xFFFFFFFFu;

  const Filter& filter(std::uint32_t i) const { return plan_.filters[branch_.first_filter + i]; }
  template <class Each>
  void for_lists(Each each) const {
    for (std::uint32_t i = 0; i < branch_.num_filters; ++i) {
      if (steps_[i] != Step::kList) continue;
      each(list_of_user(filter(i).table));
    }
  }
  std::span<const std::uint32_t> list_of_user(std::uint32_t table) const {
    const UserLists& lists = world_.lists[table];
    return {lists.values + lists.offsets[row_.user], lists.values + lists.offsets[row_.user + 1]};
  }

  const World& world_;
  const Plan& plan_;
  const Branch& branch_;
  RowContext row_{};
  Step steps_[kMaxFilters] = {};
  float bounds_[kMaxFilters] = {};
  std::uint32_t last_list_ = kMaxFilters;
  bool has_own_ = false;                  ///< a filter rejects the row's own positives
  const std::uint32_t* codes_ = nullptr;  ///< of the group filter; null: there is none
  std::uint32_t group_ = 0;               ///< its list
  Sieve listed_, grouped_;
};

}  // namespace quarry

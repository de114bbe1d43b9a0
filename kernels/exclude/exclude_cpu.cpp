// exclude on the CPU: rows over threads; what a row's filters look up is prepared once per row.
#include <algorithm>
#include <bit>

#include "kernels/exclude/exclude.h"
#include "kernels/exclude/exclude_row.h"

namespace quarry {
namespace {

/// A branch's filters for one row. Of margins the bound is known. The lists stand behind a sieve, a
/// bit for each hash of what they hold: most candidates are in none, which one look tells, where a
/// search halves each list by branches that no processor foresees.
class PreparedFilters {
 public:
  PreparedFilters(const World& world, const Plan& plan, const Branch& branch)
      : world_(world), plan_(plan), branch_(branch) {
    for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
      const std::uint32_t kind = kind_bit(filter(i).kind);
      steps_[i] = (kind & kListKinds) != 0     ? Step::kList
                  : (kind & kMarginKinds) != 0 ? Step::kMargin
                                               : Step::kOther;
    }
  }

  /// For a row with so many candidates.
  void prepare(const RowContext& row, std::uint32_t count) {
    row_ = row;
    for (std::uint32_t i = 0; i < branch_.num_filters; ++i) {
      if (steps_[i] == Step::kMargin) bounds_[i] = ceiling_of(filter(i), row);
    }
    std::uint64_t values = row.num_positives;
    for_lists([&](const std::uint32_t*, std::uint64_t n) { values += n; });
    has_sieve_ = values <= std::uint64_t{kLongest} * count;
    if (!has_sieve_) return;
    const std::uint64_t bits = std::clamp(std::bit_ceil(kBitsPerValue * values), kFewest, kMost);
    shift_ = 32 - static_cast<std::uint32_t>(std::countr_zero(bits));
    std::fill(words_, words_ + bits / 64, 0);
    for_lists([&](const std::uint32_t* list, std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i) add(list[i]);
    });
    for (std::uint32_t p = 0; p < row.num_positives; ++p) add(row.positives[p]);
  }

  std::uint32_t first_rejection_of(std::uint32_t item, float score, std::uint32_t raw_rank) const {
    if (!is_finite(score)) return kUnscored;
    const bool unlisted = lacks(item);
    for (std::uint32_t i = 0; i < branch_.num_filters; ++i) {
      if (steps_[i] == Step::kList && unlisted) continue;
      if (steps_[i] == Step::kMargin ? !(score < bounds_[i])
                                     : rejects(world_, filter(i), row_, item, score, raw_rank))
        return i + 1;
    }
    return 0;
  }

 private:
  enum class Step : std::uint8_t { kList, kMargin, kOther };
  static constexpr std::uint32_t kLongest = 16;  ///< values per candidate; more are not worth it
  static constexpr std::uint64_t kBitsPerValue = 16;
  static constexpr std::uint64_t kFewest = 512;
  static constexpr std::uint64_t kMost = std::uint64_t{1} << 17;  ///< half of a first-level cache

  const Filter& filter(std::uint32_t i) const { return plan_.filters[branch_.first_filter + i]; }
  template <class Each>
  void for_lists(Each each) const {
    for (std::uint32_t i = 0; i < branch_.num_filters; ++i) {
      if (steps_[i] != Step::kList) continue;
      const UserLists& lists = world_.lists[filter(i).table];
      const std::uint64_t begin = lists.offsets[row_.user];
      each(lists.values + begin, lists.offsets[row_.user + 1] - begin);
    }
  }
  /// By the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4).
  std::uint32_t bit_of(std::uint32_t item) const { return item * 2654435769u >> shift_; }
  void add(std::uint32_t item) {
    const std::uint32_t bit = bit_of(item);
    words_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
  bool lacks(std::uint32_t item) const {
    if (!has_sieve_) return false;
    const std::uint32_t bit = bit_of(item);
    return (words_[bit / 64] >> (bit % 64) & 1u) == 0;
  }

  const World& world_;
  const Plan& plan_;
  const Branch& branch_;
  RowContext row_{};
  Step steps_[kMaxFilters] = {};
  float bounds_[kMaxFilters] = {};
  bool has_sieve_ = false;
  std::uint32_t shift_ = 0;
  std::uint64_t words_[kMost / 64];
};

}  // namespace

void exclude(const Exec& exec, const ExcludeArgs& args) {
  if (exec.device == Device::kCuda) return exclude_gpu(exec, args);
  const Branch& branch = args.plan->branches[args.branch];
  const FeatureTable* compared = compared_features(*args.world, *args.plan, branch);
  parallel_for(exec, args.rows.num_rows, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    PreparedFilters filters(*args.world, *args.plan, branch);
    for (auto r = static_cast<std::uint32_t>(begin); r < end; ++r) {
      if (is_bad(args.rows, r)) continue;
      const std::uint32_t list = list_of(branch, args.rows, r);
      const std::uint64_t at = list * args.candidates.stride;
      const std::uint32_t count = args.candidates.count[list];
      filters.prepare(row_context(*args.world, args.rows, r), count);
      exclude_row_by(solo, filters, compared, args.candidates.items + at,
                     args.candidates.scores + at,
                     args.candidates.raw_rank != nullptr ? args.candidates.raw_rank + at : nullptr,
                     count, args.reasons + r * args.candidates.stride);
    }
  });
}

}  // namespace quarry

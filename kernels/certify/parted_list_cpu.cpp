// Lists of which only a part needs exact scores.
#include "kernels/certify/parted_list_cpu.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "kernels/certify/certify_row.h"

namespace quarry {
namespace {

/// Fewer are as soon scored again.
constexpr std::uint32_t kFewestDismissed = 4;
/// Scores that are off by so much may be beyond what fp32 holds, and are judged by what they are.
constexpr double kLargestError = 1e28;
/// Rows asked for in advance of the one that is scored.
constexpr std::uint32_t kAhead = 6;

struct Scratch {
  std::uint64_t* keys;       ///< [length] of the rest: what certify_row works with
  std::uint64_t* rest;       ///< [length] keys of the list
  std::uint64_t* dismissed;  ///< [length] likewise
  std::uint64_t* ranked;     ///< [length] keys of what is proven of the rest
  float* sure;               ///< [length] pairs of bounds for each of these
  std::uint32_t* gap;        ///< [length] of each that is dismissed: how many of these are ahead
  std::uint32_t* next;       ///< [length + 1] by gap: how many, then their places

  Scratch(std::uint64_t* memory, std::uint64_t length)
      : keys(memory),
        rest(keys + length),
        dismissed(rest + length),
        ranked(dismissed + length),
        sure(reinterpret_cast<float*>(ranked + length)),
        gap(reinterpret_cast<std::uint32_t*>(ranked + 2 * length)),
        next(gap + length) {}
};

class PartedList {
 public:
  PartedList(const CertifyArgs& args, std::uint32_t l, std::uint64_t length, std::uint64_t* memory)
      : args_(args),
        lists_(args.lists),
        l_(l),
        found_(lists_.keys + std::uint64_t{l} * lists_.depth),
        to_(std::uint64_t{args.rows != nullptr ? args.rows[l] : args.first_row + l} * args.k),
        passed_(lists_.passed != nullptr ? lists_.passed[l] : 0),
        scratch_(memory, length) {}

  void run() {
    const std::uint32_t others = lists_.others != nullptr ? lists_.others[l_] : 0;
    if (others >= kFewestDismissed && !is_exact()) bound_ = query_bound(args_.bound, query());
    divide(bound_.error < kLargestError ? others : 0);
    if (num_dismissed_ > 0 && (num_dismissed_ < kFewestDismissed || !rest_reaches_the_goal()))
      divide(0);
    if (!certify_rest()) return;
    if (num_dismissed_ > 0) {
      find_gaps();
      order_gap_at_the_end();
      place_all();
    }
    const std::uint32_t row = args_.rows != nullptr ? args_.rows[l_] : args_.first_row + l_;
    args_.out.count[row] = settled_ + count_;
    args_.out.complete[row] = complete_;
    if (args_.out.passed != nullptr) args_.out.passed[row] = passed_;
    if (args_.out.certified != nullptr) args_.out.certified[row] = 1;
  }

 private:
  /// Into what is settled, no more than is written, what is dismissed of the first so many, and the
  /// rest. A heavy item's score in the list has no bound.
  void divide(std::uint32_t others) {
    const auto none = std::numeric_limits<float>::infinity();
    const float settled_above = lists_.settled_above != nullptr ? lists_.settled_above[l_] : none;
    // What does not count and is not above it does not count wherever it is.
    const float ceiling = lists_.ceiling != nullptr ? lists_.ceiling[l_] : none;
    const std::uint32_t* kept = nullptr;
    std::uint32_t num_kept = 0;
    if (lists_.kept != nullptr) {
      const std::uint64_t* offsets = lists_.kept_offsets + lists_.kept_owner[l_];
      kept = lists_.kept + offsets[0];
      num_kept = static_cast<std::uint32_t>(offsets[1] - offsets[0]);
    }
    settled_ = num_dismissed_ = left_ = 0;
    for (std::uint32_t j = 0; j < lists_.count[l_]; ++j) {
      const std::uint32_t item = item_of_key(found_[j]);
      const float score = score_of_key(found_[j]);
      const bool bounded = !is_among(args_.heavy, args_.num_heavy, item);
      if (score > settled_above && settled_ < args_.k && bounded) {
        args_.out.items[to_ + settled_] = item;
        args_.out.scores[to_ + settled_++] = kSettledScore;
      } else if (j < others && !(score > ceiling) && is_finite(score) && bounded &&
                 !is_among(kept, num_kept, item)) {
        scratch_.dismissed[num_dismissed_++] = found_[j];
      } else {
        scratch_.rest[left_++] = found_[j];
      }
    }
  }

  /// Of a list that left something out, the rest tells how far down it goes.
  bool rest_reaches_the_goal() const { return lists_.left_out[l_] == 0 || needed_of_rest() > 0; }
  std::uint32_t needed_of_rest() const {
    return static_cast<std::uint32_t>(
        std::count_if(scratch_.rest, scratch_.rest + left_,
                      [&](std::uint64_t key) { return key >= lists_.least[l_]; }));
  }

  /// As if what is settled or dismissed had been passed over. Behind what is settled, or to
  /// `ranked` where it is to be put between what is dismissed.
  bool certify_rest() {
    const std::uint32_t aside = passed_ + settled_ + num_dismissed_;
    complete_ = aside == args_.num_items ? 1 : 0;
    std::uint8_t proven = 1;
    std::uint32_t needed = needed_of_rest();
    if (settled_ == 0) needed = std::max(needed, std::min(left_, 1u));
    // Of a list that ends among them nothing else can be proven.
    if (settled_ == 0 || (settled_ < args_.k && (lists_.left_out[l_] == 0 || needed > 0))) {
      CertifyArgs one = args_;
      one.queries += std::uint64_t{l_} * args_.bound.dim;
      one.lists = {scratch_.rest,
                   &left_,
                   lists_.cut + l_,
                   lists_.left_out + l_,
                   lists_.depth,
                   &aside,
                   lists_.exact != nullptr ? lists_.exact + l_ : nullptr,
                   &needed};
      one.rows = nullptr;
      one.first_row = 0;
      one.k = args_.k - settled_;
      one.out = {args_.out.items + to_ + settled_, args_.out.scores + to_ + settled_, &count_,
                 &complete_};
      one.proven = &proven;
      certify_row(solo_, one, 0, scratch_.keys);
    }
    args_.proven[l_] = proven;
    return proven != 0;
  }

  bool is_exact() const { return lists_.exact != nullptr && lists_.exact[l_] != 0; }
  const float* query() const { return args_.queries + std::uint64_t{l_} * args_.bound.dim; }
  std::uint64_t exact_key(std::uint64_t key) const {
    if (is_exact()) return key;
    const std::uint32_t item = item_of_key(key);
    const float* row = args_.items + std::uint64_t{item} * args_.bound.dim;
    return score_key(exact_score(args_.bound.metric, query(), row, args_.bound.dim), item);
  }
  /// The row that exact_key will read.
  void prefetch(std::uint64_t key) const {
    if (is_exact()) return;
    prefetch_row(args_.items + std::uint64_t{item_of_key(key)} * args_.bound.dim, args_.bound.dim);
  }
  /// How many of `ranked` are ahead of a key.
  std::uint32_t ahead_of(std::uint64_t key) const {
    return static_cast<std::uint32_t>(
        std::lower_bound(scratch_.ranked, scratch_.ranked + count_, key, std::greater<>()) -
        scratch_.ranked);
  }

  /// Of each that is dismissed, how many of the rest are ahead of it. A score in the list tells
  /// where it is not within the error of theirs.
  void find_gaps() {
    const std::uint32_t* items = args_.out.items + to_ + settled_;
    const float* scores = args_.out.scores + to_ + settled_;
    for (std::uint32_t i = 0; i < count_; ++i) scratch_.ranked[i] = score_key(scores[i], items[i]);
    std::fill(scratch_.next, scratch_.next + count_ + 1, 0u);
    if (is_exact()) {
      for (std::uint32_t d = 0; d < num_dismissed_; ++d)
        ++scratch_.next[scratch_.gap[d] = ahead_of(scratch_.dismissed[d])];
      return;
    }
    // In scores of the list: what is above `high` is surely ahead of the entry, what is below `low`
    // surely behind it (as misses_nothing, whose additions round too).
    float* high = scratch_.sure;
    float* low = scratch_.sure + count_;
    constexpr float kNone = std::numeric_limits<float>::infinity();
    for (std::uint32_t i = 0; i < count_; ++i) {
      const double score = double{scores[i]} - bound_.offset;
      const double error =
          bound_.error + (std::fabs(double{scores[i]}) + std::fabs(bound_.offset)) * 0x1p-46;
      high[i] = std::nextafter(static_cast<float>(score + error), kNone);
      low[i] = std::nextafter(static_cast<float>(score - error), -kNone);
    }
    std::uint32_t open = 0;
    for (std::uint32_t d = 0; d < num_dismissed_; ++d) {
      std::uint64_t& key = scratch_.dismissed[d];
      const float score = score_of_key(key);
      const std::uint32_t ahead = above(low, score);
      if (ahead < count_ && !(score > high[ahead])) {
        scratch_.keys[open++] = d;
        continue;
      }
      const auto whole = static_cast<float>(double{score} + bound_.offset);
      key = score_key(clear_negative_zero(whole), item_of_key(key));
      ++scratch_.next[scratch_.gap[d] = ahead];
    }
    for (std::uint32_t i = 0; i < open; ++i) {
      if (i + kAhead < open) prefetch(scratch_.dismissed[scratch_.keys[i + kAhead]]);
      const auto d = static_cast<std::uint32_t>(scratch_.keys[i]);
      scratch_.dismissed[d] = exact_key(scratch_.dismissed[d]);
      ++scratch_.next[scratch_.gap[d] = ahead_of(scratch_.dismissed[d])];
    }
  }
  /// How many of low[0, count_), descending, are above the score. Without a branch that depends on
  /// it.
  std::uint32_t above(const float* low, float score) const {
    std::uint32_t first = 0;
    for (std::uint32_t n = count_; n > 0;) {
      const std::uint32_t half = n - n / 2;
      first += low[first + half - 1] > score ? half : 0;
      n /= 2;
    }
    return first;
  }

  /// The order of what is dismissed matters where the list ends among it. The last entry of a list
  /// is the worst, for its score says how far down the list goes.
  void order_gap_at_the_end() {
    std::uint32_t begin = settled_;
    for (std::uint32_t gap = 0; gap <= count_ && is_written(gap); ++gap) {
      const std::uint32_t end = begin + scratch_.next[gap];
      if (begin < args_.k && args_.k <= end) return order_gap(gap);
      begin = end + 1;  // and the entry behind the gap
    }
  }
  /// What is dismissed behind the rest belongs to a list that leaves nothing out.
  bool is_written(std::uint32_t gap) const { return gap < count_ || complete_ != 0; }
  void order_gap(std::uint32_t gap) {
    std::uint32_t n = 0;
    for (std::uint32_t d = 0; d < num_dismissed_; ++d)
      if (scratch_.gap[d] == gap) scratch_.keys[n++] = scratch_.dismissed[d];
    for (std::uint32_t i = 0; i < n; ++i) {
      if (i + kAhead < n) prefetch(scratch_.keys[i + kAhead]);
      scratch_.keys[i] = exact_key(scratch_.keys[i]);
    }
    std::sort(scratch_.keys, scratch_.keys + n, std::greater<>());
    n = 0;
    for (std::uint32_t d = 0; d < num_dismissed_; ++d)
      if (scratch_.gap[d] == gap) scratch_.dismissed[d] = scratch_.keys[n++];
  }

  void write(std::uint64_t place, std::uint64_t key) {
    if (place >= args_.k) return;
    args_.out.items[to_ + place] = item_of_key(key);
    args_.out.scores[to_ + place] = score_of_key(key);
  }
  void place_all() {
    std::uint64_t place = settled_;
    for (std::uint32_t gap = 0; gap <= count_; ++gap) {
      const std::uint32_t here = is_written(gap) ? scratch_.next[gap] : 0;
      scratch_.next[gap] = static_cast<std::uint32_t>(place);
      place += here;
      if (gap < count_) write(place++, scratch_.ranked[gap]);
    }
    for (std::uint32_t d = 0; d < num_dismissed_; ++d) {
      const std::uint32_t gap = scratch_.gap[d];
      if (is_written(gap)) write(scratch_.next[gap]++, scratch_.dismissed[d]);
    }
    if (place > args_.k) complete_ = 0;
    count_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(place, args_.k)) - settled_;
  }

  const CertifyArgs& args_;
  const CandidateLists& lists_;
  std::uint32_t l_;
  const std::uint64_t* found_;
  std::uint64_t to_;
  std::uint32_t passed_;
  Scratch scratch_;
  SoloGroup solo_;
  QueryBound bound_{};  ///< of what is dismissed; none where scores are exact
  std::uint32_t settled_ = 0, num_dismissed_ = 0, left_ = 0;
  std::uint32_t count_ = 0;  ///< proven of the rest; at last, written behind what is settled
  std::uint8_t complete_ = 0;
};

}  // namespace

std::uint64_t parted_list_scratch(std::uint64_t length) { return 6 * length + 1; }

void certify_parted(const CertifyArgs& args, std::uint32_t l, std::uint64_t length,
                    std::uint64_t* scratch) {
  PartedList(args, l, length, scratch).run();
}

}  // namespace quarry

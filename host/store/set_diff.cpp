// Joining two sets by row key and counting what differs.
#include "host/store/set_diff.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <queue>
#include <span>

#include "host/store/column_file.h"
#include "host/store/fill_names.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

using Row = NegativeSet::Row;

constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

/// Overlaps with the number of rows that have each. Few numbers occur: fractions of small counts.
/// Of long rows they are put on a grid once there are many.
class OverlapTally {
 public:
  void add(std::uint64_t kept, std::uint64_t in_a, std::uint64_t in_b) {
    const std::uint64_t either = in_a + in_b - kept;
    double overlap = either > 0 ? static_cast<double>(kept) / static_cast<double>(either) : 1.0;
    sum_ += overlap;
    out_.kept += kept;
    out_.dropped += in_a - kept;
    out_.gained += in_b - kept;
    ++out_.rows;
    constexpr std::size_t kMostValues = 1u << 16;
    constexpr double kGrid = 1u << 20;
    if (values_.size() >= kMostValues) overlap = std::round(overlap * kGrid) / kGrid;
    ++values_[overlap];
  }

  Overlap finish() {
    if (out_.rows == 0) return out_;
    out_.mean = sum_ / static_cast<double>(out_.rows);
    std::uint64_t seen = 0;
    std::size_t next = 0;
    for (const auto& [overlap, rows] : values_) {
      seen += rows;
      while (next < out_.deciles.size() && seen * 10 >= out_.rows * (next + 1))
        out_.deciles[next++] = overlap;
    }
    return out_;
  }

  std::uint64_t rows() const { return out_.rows; }

 private:
  Overlap out_;
  double sum_ = 0;
  std::map<double, std::uint64_t> values_;
};

/// Names of both sets numbered together: those of `a` first.
struct JointNames {
  JointNames(const std::vector<std::string>& a, const std::vector<std::string>& b) {
    add(a, of_a);
    add(b, of_b);
  }
  /// A number that no name has stands for itself.
  static std::uint32_t joint(const std::vector<std::uint32_t>& of, std::uint32_t number) {
    return number < of.size() ? of[number] : 0x80000000u | number;
  }
  std::vector<std::string> names;
  std::vector<std::uint32_t> of_a, of_b;

 private:
  void add(const std::vector<std::string>& from, std::vector<std::uint32_t>& numbers) {
    for (const std::string& name : from) {
      const auto found = std::find(names.begin(), names.end(), name);
      numbers.push_back(static_cast<std::uint32_t>(found - names.begin()));
      if (found == names.end()) names.push_back(name);
    }
  }
};

/// Slots per item; an array for the items of the table, a map for what lies beyond.
class ItemCounts {
 public:
  explicit ItemCounts(std::uint64_t items) : counts_(items) {}
  void add_a(std::uint32_t item) { ++at(item).a; }
  void add_b(std::uint32_t item) { ++at(item).b; }

  /// The `most` items that gained most slots, or lost most; the smaller item first where they tie.
  std::vector<ItemChange> greatest(bool gained, std::uint64_t most) const {
    std::vector<ItemChange> found;
    const auto change = [gained](const ItemChange& c) {
      return gained ? static_cast<std::int64_t>(c.b - c.a) : static_cast<std::int64_t>(c.a - c.b);
    };
    const auto before = [&](const ItemChange& x, const ItemChange& y) {
      return change(x) != change(y) ? change(x) > change(y) : x.item < y.item;
    };
    const auto look = [&](std::uint32_t item, const Pair& pair) {
      const ItemChange c{item, pair.a, pair.b};
      if (change(c) <= 0) return;
      found.push_back(c);
      if (found.size() < 2 * most + 64) return;
      std::nth_element(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(most),
                       found.end(), before);
      found.resize(most);
    };
    for (std::size_t i = 0; i < counts_.size(); ++i)
      look(static_cast<std::uint32_t>(i), counts_[i]);
    for (const auto& [item, pair] : beyond_) look(item, pair);
    std::sort(found.begin(), found.end(), before);
    if (found.size() > most) found.resize(most);
    return found;
  }

 private:
  struct Pair {
    std::uint64_t a = 0, b = 0;
  };
  Pair& at(std::uint32_t item) { return item < counts_.size() ? counts_[item] : beyond_[item]; }
  std::vector<Pair> counts_;
  std::map<std::uint32_t, Pair> beyond_;
};

/// Not-a-number is itself here.
std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

/// One negative of a row, for matching.
struct Pick {
  std::uint32_t branch, item, slot;
};

class Differ {
 public:
  Differ(const NegativeSet& a, const NegativeSet& b, const DiffOptions& options)
      : a_(a),
        b_(b),
        options_(options),
        branches_(a.schema().branches, b.schema().branches),
        strata_(a.schema().strata, b.schema().strata),
        items_(std::max(a.schema().num_items, b.schema().num_items)),
        branch_overlap_(branches_.names.size()) {
    for (const std::string& name : branches_.names) out_.branches.push_back({name});
    for (const std::string& name : strata_.names) out_.strata.push_back({name});
    for (const char* name : kFillCodeNames) out_.fill.push_back({name});
  }

  SetDiff run() {
    out_.rows_a = a_.rows();
    out_.rows_b = b_.rows();
    for (std::uint64_t r = 0; r < b_.rows(); ++r) {
      check_stop(r);
      count_slots(b_.row(r), b_.k(), false);
    }
    taken_.assign(b_.rows() / 64 + 1, 0);
    for (std::uint64_t r = 0; r < a_.rows(); ++r) {
      check_stop(r);
      const Row row = a_.row(r);
      count_slots(row, a_.k(), true);
      const std::uint64_t other = partner(row.row_key, r);
      if (other == kNowhere) {
        ++out_.only_a;
      } else {
        compare(row, b_.row(other), r, other);
      }
    }
    out_.only_b = out_.rows_b - out_.common;
    count_repeats();
    finish();
    return std::move(out_);
  }

 private:
  struct Key {
    std::uint64_t key, row;
  };

  void check_stop(std::uint64_t row) const {
    if (row % 4096 == 0 && options_.stop != nullptr && options_.stop->load())
      throw Cancelled("stopped while comparing; nothing was written");
  }

  void count_slots(const Row& row, std::uint32_t k, bool of_a) {
    const auto bump = [of_a](SlotCount& count) { ++(of_a ? count.a : count.b); };
    const auto& branch_of = of_a ? branches_.of_a : branches_.of_b;
    const auto& stratum_of = of_a ? strata_.of_a : strata_.of_b;
    for (std::uint32_t j = 0; j < k; ++j) {
      bump(out_.fill[std::min<std::size_t>(row.fill[j], kNumFillCodes - 1)]);
      if (j >= row.count) continue;
      if (row.branch[j] < branch_of.size()) bump(out_.branches[branch_of[row.branch[j]]]);
      if (row.stratum[j] < stratum_of.size()) bump(out_.strata[stratum_of[row.stratum[j]]]);
      of_a ? items_.add_a(row.item[j]) : items_.add_b(row.item[j]);
    }
  }

  bool take(std::uint64_t row) {
    std::uint64_t& word = taken_[row / 64];
    const std::uint64_t bit = std::uint64_t{1} << row % 64;
    if ((word & bit) != 0) return false;
    word |= bit;
    return true;
  }

  /// The first row of b with this key that no row of a has yet; most sets have it at the same
  /// place.
  std::uint64_t partner(std::uint64_t key, std::uint64_t row) {
    if (row < b_.rows() && b_.row(row).row_key == key && take(row)) return row;
    index_keys();
    auto at = std::lower_bound(keys_.begin(), keys_.end(), key,
                               [](const Key& k, std::uint64_t wanted) { return k.key < wanted; });
    for (; at != keys_.end() && at->key == key; ++at) {
      if (take(at->row)) return at->row;
    }
    return kNowhere;
  }

  void index_keys() {
    if (indexed_) return;
    indexed_ = true;
    keys_.reserve(b_.rows());
    for (std::uint64_t r = 0; r < b_.rows(); ++r) keys_.push_back({b_.row(r).row_key, r});
    std::sort(keys_.begin(), keys_.end(), [](const Key& x, const Key& y) {
      return x.key != y.key ? x.key < y.key : x.row < y.row;
    });
  }

  /// Keys must be unique in a run; sets of other programs may repeat them.
  void count_repeats() {
    const auto count = [this](const NegativeSet& set) {
      keys_.clear();
      keys_.reserve(set.rows());
      for (std::uint64_t r = 0; r < set.rows(); ++r) keys_.push_back({set.row(r).row_key, r});
      std::sort(keys_.begin(), keys_.end(),
                [](const Key& x, const Key& y) { return x.key < y.key; });
      for (std::size_t i = 1; i < keys_.size(); ++i)
        out_.repeated_keys += keys_[i].key == keys_[i - 1].key ? 1 : 0;
    };
    count(a_);
    count(b_);
    keys_ = {};
  }

  /// Bits of the columns in which two rows differ, by number of Column.
  std::uint32_t differing_columns(const Row& x, const Row& y) const {
    std::uint32_t bits = 0;
    const auto mark = [&bits](Column column, bool differs) {
      if (differs) bits |= std::uint32_t{1} << static_cast<unsigned>(column);
    };
    const bool same_k = a_.k() == b_.k();
    const std::uint32_t k = a_.k();
    const auto slots_differ = [&](const auto* p, const auto* q) {
      return !same_k || std::memcmp(p, q, k * sizeof(*p)) != 0;
    };
    mark(Column::kUser, x.user != y.user);
    mark(Column::kTime, x.time != y.time);
    mark(Column::kPositive, !std::ranges::equal(x.positives, y.positives));
    mark(Column::kCount, x.count != y.count);
    mark(Column::kPositiveMin, bits_of(x.positive_min) != bits_of(y.positive_min));
    mark(Column::kKappa, kappa_differs(x, y));
    mark(Column::kCertified, x.certified != y.certified);
    mark(Column::kItem, slots_differ(x.item, y.item));
    mark(Column::kScore, slots_differ(x.score, y.score));
    mark(Column::kGap, slots_differ(x.gap, y.gap));
    mark(Column::kRawRank, slots_differ(x.raw_rank, y.raw_rank));
    mark(Column::kSurvivorRank, slots_differ(x.survivor_rank, y.survivor_rank));
    mark(Column::kQuantile, slots_differ(x.quantile, y.quantile));
    mark(Column::kLogq, slots_differ(x.logq, y.logq));
    mark(Column::kFill, slots_differ(x.fill, y.fill));
    bool branch = !same_k, stratum = !same_k;
    for (std::uint32_t j = 0; j < k && same_k; ++j) {
      branch = branch || JointNames::joint(branches_.of_a, x.branch[j]) !=
                             JointNames::joint(branches_.of_b, y.branch[j]);
      stratum = stratum || JointNames::joint(strata_.of_a, x.stratum[j]) !=
                               JointNames::joint(strata_.of_b, y.stratum[j]);
    }
    mark(Column::kBranch, branch);
    mark(Column::kStratum, stratum);
    return bits;
  }

  bool kappa_differs(const Row& x, const Row& y) const {
    if (branches_.of_a.size() != branches_.of_b.size()) return true;
    for (std::size_t i = 0; i < branches_.of_a.size(); ++i) {
      const auto at = std::find(branches_.of_b.begin(), branches_.of_b.end(), branches_.of_a[i]);
      if (at == branches_.of_b.end()) return true;
      if (bits_of(x.kappa[i]) != bits_of(y.kappa[at - branches_.of_b.begin()])) return true;
    }
    return false;
  }

  static void read_picks(const Row& row, const std::vector<std::uint32_t>& branch_of,
                         std::vector<Pick>& picks) {
    picks.clear();
    for (std::uint32_t j = 0; j < row.count; ++j)
      picks.push_back({JointNames::joint(branch_of, row.branch[j]), row.item[j], j});
  }

  void compare(const Row& x, const Row& y, std::uint64_t row_a, std::uint64_t row_b) {
    ++out_.common;
    if (row_a != row_b) ++out_.moved;
    const std::uint32_t bits = differing_columns(x, y);
    for (std::size_t c = 0; c < kNumColumns; ++c) differing_[c] += bits >> c & 1u;
    read_picks(x, branches_.of_a, picks_a_);
    read_picks(y, branches_.of_b, picks_b_);
    const std::uint64_t kept = match_items(x, y, row_a, row_b);
    match_branches();
    const bool same_set = kept == x.count && kept == y.count;
    if (bits == 0) {
      ++out_.equal;
    } else if (same_set && std::equal(x.item, x.item + x.count, y.item)) {
      ++out_.same_negatives;
    } else if (same_set) {
      ++out_.reordered;
    } else {
      ++out_.changed;
    }
  }

  /// Walks the picks of both, sorted, and returns how many are in both.
  template <class Same, class Before, class Kept, class OnlyA, class OnlyB>
  static std::uint64_t walk(std::span<const Pick> a, std::span<const Pick> b, Same same,
                            Before before, Kept both, OnlyA only_a, OnlyB only_b) {
    std::size_t i = 0, j = 0;
    std::uint64_t kept = 0;
    while (i < a.size() || j < b.size()) {
      if (i < a.size() && j < b.size() && same(a[i], b[j])) {
        both(a[i++], b[j++]);
        ++kept;
      } else if (j == b.size() || (i < a.size() && before(a[i], b[j]))) {
        only_a(a[i++]);
      } else {
        only_b(b[j++]);
      }
    }
    return kept;
  }

  std::uint64_t match_items(const Row& x, const Row& y, std::uint64_t row_a, std::uint64_t row_b) {
    const auto by_item = [](const Pick& p, const Pick& q) {
      return p.item != q.item ? p.item < q.item : p.slot < q.slot;
    };
    std::sort(picks_a_.begin(), picks_a_.end(), by_item);
    std::sort(picks_b_.begin(), picks_b_.end(), by_item);
    ChangedRow change{row_a, row_b, 1.0, {}, {}};
    const std::uint64_t kept = walk(
        picks_a_, picks_b_, [](const Pick& p, const Pick& q) { return p.item == q.item; },
        [](const Pick& p, const Pick& q) { return p.item < q.item; },
        [&](const Pick& p, const Pick& q) { note_scores(x.score[p.slot], y.score[q.slot]); },
        [&](const Pick& p) { change.dropped.push_back(p.item); },
        [&](const Pick& q) { change.gained.push_back(q.item); });
    overlap_.add(kept, picks_a_.size(), picks_b_.size());
    if (change.dropped.empty() && change.gained.empty()) return kept;
    change.overlap =
        static_cast<double>(kept) / static_cast<double>(picks_a_.size() + picks_b_.size() - kept);
    note_row(std::move(change));
    return kept;
  }

  void note_scores(float a, float b) {
    if (!std::isfinite(a) || !std::isfinite(b)) return;
    const double change = std::fabs(static_cast<double>(b) - static_cast<double>(a));
    ++out_.scored;
    out_.mean_change += change;
    out_.largest_change = std::max(out_.largest_change, change);
  }

  struct LessChanged {
    bool operator()(const ChangedRow& x, const ChangedRow& y) const {
      return x.overlap != y.overlap ? x.overlap < y.overlap : x.row_a < y.row_a;
    }
  };

  void note_row(ChangedRow change) {
    if (options_.rows == 0) return;
    if (most_changed_.size() == options_.rows) {
      if (!LessChanged()(change, most_changed_.top())) return;
      most_changed_.pop();
    }
    most_changed_.push(std::move(change));
  }

  /// Overlap of what each branch gave.
  void match_branches() {
    const auto by_branch = [](const Pick& p, const Pick& q) {
      return p.branch != q.branch ? p.branch < q.branch : p.item < q.item;
    };
    std::sort(picks_a_.begin(), picks_a_.end(), by_branch);
    std::sort(picks_b_.begin(), picks_b_.end(), by_branch);
    std::span<const Pick> a = picks_a_, b = picks_b_;
    while (!a.empty() || !b.empty()) {
      const std::uint32_t branch = a.empty()   ? b.front().branch
                                   : b.empty() ? a.front().branch
                                               : std::min(a.front().branch, b.front().branch);
      const auto of_branch = [branch](std::span<const Pick>& picks) {
        std::size_t n = 0;
        while (n < picks.size() && picks[n].branch == branch) ++n;
        const std::span<const Pick> part = picks.first(n);
        picks = picks.subspan(n);
        return part;
      };
      const std::span<const Pick> in_a = of_branch(a), in_b = of_branch(b);
      const auto nothing = [](const Pick&) {};
      const std::uint64_t kept = walk(
          in_a, in_b, [](const Pick& p, const Pick& q) { return p.item == q.item; },
          [](const Pick& p, const Pick& q) { return p.item < q.item; },
          [](const Pick&, const Pick&) {}, nothing, nothing);
      if (branch < branch_overlap_.size())
        branch_overlap_[branch].add(kept, in_a.size(), in_b.size());
    }
  }

  void finish() {
    for (std::size_t c = 0; c < kNumColumns; ++c) {
      if (differing_[c] > 0)
        out_.columns.emplace_back(column_type(static_cast<Column>(c)).name, differing_[c]);
    }
    if (out_.common > 0) out_.overlap = overlap_.finish();
    for (std::size_t b = 0; b < branch_overlap_.size(); ++b) {
      if (branch_overlap_[b].rows() > 0)
        out_.by_branch.emplace_back(branches_.names[b], branch_overlap_[b].finish());
    }
    if (out_.scored > 0) out_.mean_change /= static_cast<double>(out_.scored);
    const auto drop_empty = [](std::vector<SlotCount>& counts) {
      std::erase_if(counts, [](const SlotCount& count) { return count.a == 0 && count.b == 0; });
    };
    drop_empty(out_.strata);
    drop_empty(out_.fill);
    out_.gained = items_.greatest(true, options_.items);
    out_.lost = items_.greatest(false, options_.items);
    for (; !most_changed_.empty(); most_changed_.pop()) out_.rows.push_back(most_changed_.top());
    std::reverse(out_.rows.begin(), out_.rows.end());
    out_.identical = out_.equal == out_.rows_a && out_.equal == out_.rows_b && out_.moved == 0 &&
                     a_.k() == b_.k() && a_.schema().branches == b_.schema().branches &&
                     a_.schema().strata == b_.schema().strata;
  }

  const NegativeSet& a_;
  const NegativeSet& b_;
  DiffOptions options_;
  JointNames branches_, strata_;
  ItemCounts items_;
  std::vector<OverlapTally> branch_overlap_;
  OverlapTally overlap_;
  std::vector<std::uint64_t> taken_;  ///< rows of b that have a partner, a bit each
  std::vector<Key> keys_;             ///< of b, by key, once a row stands at another place
  bool indexed_ = false;
  std::uint64_t differing_[kNumColumns] = {};
  std::vector<Pick> picks_a_, picks_b_;
  std::priority_queue<ChangedRow, std::vector<ChangedRow>, LessChanged> most_changed_;
  SetDiff out_;
};

}  // namespace

SetDiff diff_sets(const NegativeSet& a, const NegativeSet& b, const DiffOptions& options) {
  return Differ(a, b, options).run();
}

}  // namespace quarry

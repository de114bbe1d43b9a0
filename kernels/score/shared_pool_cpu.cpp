// Shared candidates on the CPU: blocks of rows over threads, each against strips of the items.
#include "kernels/score/shared_pool.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "kernels/core/exact_score.h"
#include "kernels/exclude/shared_filters.h"
#include "kernels/select/select_row.h"
#include "kernels/topk/topk.h"
#include "kernels/topk/topk_row.h"

namespace quarry {
namespace {

/// Of a strip, which stays in the first-level cache while it meets the rows of a block.
constexpr std::uint64_t kStripBytes = 16384;
/// Of a block's scores.
constexpr std::uint64_t kScoreBytes = std::uint64_t{1} << 20;
/// Larger tables of a pool's vectors are gathered strip by strip, for each block anew.
constexpr std::uint64_t kMostTableBytes = std::uint64_t{32} << 20;
/// Of all workers together; of large pools fewer work.
constexpr std::uint64_t kMostWorkerBytes = std::uint64_t{128} << 20;
constexpr std::uint32_t kMostRows = 16;
constexpr std::uint32_t kFewestRows = 8;
/// Longer lists, in parts of all candidates, are found by sorting all of these.
constexpr std::uint32_t kLongestShare = 4;
/// Shorter lists are sorted by comparing.
constexpr std::uint32_t kLeastRadix = 256;
constexpr std::uint32_t kDigitBits = 11;
constexpr std::uint32_t kDigits = 1u << kDigitBits;
constexpr std::uint32_t kPasses = 3;

struct Worker {
  HostBuffer<float> scores;               ///< [rows of a block, pool]
  HostBuffer<float> strip;                ///< vectors, where they are not in one table
  HostBuffer<std::uint64_t> keys, spare;  ///< a running list, or all of a row as it is sorted
  HostBuffer<std::uint32_t> bits;         ///< [2, words]
  SharedBits judged;
};

/// Numbers of the scores in the lower halves, the largest first and equal ones in their order; in
/// one of the two arrays.
const std::uint64_t* order_by_score(const float* scores, std::uint32_t n, std::uint64_t* order,
                                    std::uint64_t* spare) {
  for (std::uint32_t j = 0; j < n; ++j) order[j] = std::uint64_t{~ordered(scores[j])} << 32 | j;
  if (n < kLeastRadix) {
    std::sort(order, order + n);
    return order;
  }
  std::uint32_t starts[kPasses][kDigits] = {};
  for (std::uint32_t j = 0; j < n; ++j) {
    const std::uint64_t falling = order[j] >> 32;
    for (std::uint32_t p = 0; p < kPasses; ++p)
      ++starts[p][falling >> (kDigitBits * p) & (kDigits - 1)];
  }
  for (std::uint32_t p = 0; p < kPasses; ++p) {
    std::uint32_t at = 0;
    for (std::uint32_t d = 0; d < kDigits; ++d) at += std::exchange(starts[p][d], at);
    const std::uint32_t shift = 32 + kDigitBits * p;
    for (std::uint32_t j = 0; j < n; ++j)
      spare[starts[p][order[j] >> shift & (kDigits - 1)]++] = order[j];
    std::swap(order, spare);
  }
  return order;
}

void copy_vector(const World& world, std::uint32_t item, float* to) {
  std::copy_n(world.items + std::uint64_t{item} * world.dim, world.dim, to);
}

/// The lists of one call.
class Lists {
 public:
  /// table: the vectors of the pool's items; null: they are gathered.
  Lists(const SharedPoolArgs& args, const Branch& branch, const SharedItems& items,
        const float* table)
      : args_(args),
        branch_(branch),
        items_(items),
        table_(table),
        n_(args.pool_count),
        words_(bit_words(args.pool_count)),
        depth_(branch.pool < args.pool_count ? branch.pool : args.lists.length),
        sorts_(args.lists.whole || depth_ > args.pool_count / kLongestShare) {}

  static std::uint32_t rows_at_once(std::uint32_t n) {
    return static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(kScoreBytes / sizeof(float) / n, kFewestRows, kMostRows));
  }

  void reserve(const Exec& exec, Worker& work) const {
    work.scores.resize(exec, std::size_t{rows_at_once(n_)} * n_);
    work.bits.resize(exec, std::size_t{2} * words_);
    work.keys.resize(exec, sorts_ ? n_ : capacity());
    if (sorts_) work.spare.resize(exec, n_);
    if (table_ == nullptr) work.strip.resize(exec, std::size_t{strip_items()} * args_.world->dim);
  }
  /// Of a worker.
  std::uint64_t bytes() const {
    return std::uint64_t{rows_at_once(n_)} * n_ * sizeof(float) +
           std::uint64_t{sorts_ ? 2 * n_ : capacity()} * sizeof(std::uint64_t) + kStripBytes;
  }

  void list_rows(std::uint32_t begin, std::uint32_t end, Worker& work) const {
    score_rows(begin, end, work.scores.data(), work.strip.data());
    if (args_.lists.whole) {
      for (std::uint32_t r = begin; r < end; ++r) {
        args_.count[r] = is_bad(args_.rows, r) ? 0 : n_;
        if (!is_bad(args_.rows, r))
          list_all(r, work.scores.data() + std::size_t{r - begin} * n_, work);
      }
      return;
    }
    SharedFilters filters(*args_.world, *args_.plan, branch_, items_, work.judged);
    for (std::uint32_t r = begin; r < end; ++r) {
      args_.count[r] = 0;
      args_.rest[r] = SharedRest{};
      if (is_bad(args_.rows, r)) continue;
      const float* scores = work.scores.data() + std::size_t{r - begin} * n_;
      filters.judge(row_context(*args_.world, args_.rows, r), scores);
      if (sorts_) {
        list_sorted(r, scores, filters, work);
      } else {
        list_best(r, scores, filters, work);
      }
    }
  }

 private:
  /// Of a running list, which is cut back to the best depth_.
  std::uint32_t capacity() const {
    return std::min(depth_ + std::max(2 * depth_, 256u), n_) + kTopkTileItems;
  }

  std::uint32_t strip_items() const {
    return static_cast<std::uint32_t>(
        std::max<std::uint64_t>(kStripBytes / sizeof(float) / args_.world->dim / 16 * 16, 16));
  }

  /// gathered: room for a strip.
  void score_rows(std::uint32_t begin, std::uint32_t end, float* scores, float* gathered) const {
    const std::uint32_t dim = args_.world->dim;
    const std::uint32_t strip = strip_items();
    for (std::uint32_t at = 0; at < n_; at += std::min(strip, n_ - at)) {
      const float* vectors = table_ + std::uint64_t{at} * dim;
      if (table_ == nullptr) {
        for (std::uint32_t j = 0; j < std::min(strip, n_ - at); ++j)
          copy_vector(*args_.world, args_.pool[at + j], gathered + std::size_t{j} * dim);
        vectors = gathered;
      }
      for (std::uint32_t r = begin; r < end; ++r) {
        if (is_bad(args_.rows, r)) continue;
        exact_scores_host(
            args_.world->metric, args_.rows.queries + std::uint64_t{query_of(args_.rows, r)} * dim,
            vectors, std::min(strip, n_ - at), dim, scores + std::size_t{r - begin} * n_ + at);
      }
    }
  }

  void list_all(std::uint32_t r, const float* scores, Worker& work) const {
    const std::uint64_t* order = order_by_score(scores, n_, work.keys.data(), work.spare.data());
    const std::size_t at = std::size_t{r} * args_.lists.length;
    for (std::uint32_t j = 0; j < n_; ++j) {
      const auto place = static_cast<std::uint32_t>(order[j]);
      args_.items[at + j] = items_.item(place);
      args_.scores[at + j] = scores[place];
    }
  }

  /// Keys name places among the candidates, which are in the order of items.
  static std::uint32_t place_of_key(std::uint64_t key) {
    return 0xFFFFFFFFu - static_cast<std::uint32_t>(key);
  }

  /// By sorting all candidates.
  void list_sorted(std::uint32_t r, const float* scores, const SharedFilters& filters,
                   Worker& work) const {
    const std::uint64_t* order = order_by_score(scores, n_, work.keys.data(), work.spare.data());
    const std::size_t at = std::size_t{r} * args_.lists.length;
    const std::uint32_t most = std::min(branch_.pool, n_);
    std::uint64_t cut = 0;
    std::uint32_t survivors = 0;
    for (std::uint32_t j = 0; j < n_; ++j) {
      const auto place = static_cast<std::uint32_t>(order[j]);
      if ((filters.survivors()[place / 32] >> (place % 32) & 1u) == 0) continue;
      if (survivors < args_.lists.length) {
        args_.items[at + survivors] = items_.item(place);
        args_.scores[at + survivors] = scores[place];
        args_.raw_rank[at + survivors] = j + 1;
      }
      if (++survivors < most) continue;
      cut = score_key(scores[place], place);
      break;
    }
    args_.count[r] = std::min(survivors, args_.lists.length);
    count_rest(scores, filters, cut, args_.count[r], args_.rest[r], work);
  }

  /// By looking for the best survivors.
  void list_best(std::uint32_t r, const float* scores, const SharedFilters& filters,
                 Worker& work) const {
    std::uint64_t* keys = work.keys.data();
    const std::uint32_t found = find_best(scores, filters.survivors(), keys);
    // Key of the last member of a full pool, which ends what is examined; 0: all is.
    const std::uint64_t cut = found == branch_.pool ? *std::min_element(keys, keys + found) : 0;
    const std::uint32_t listed = std::min(found, args_.lists.length);
    if (listed < found) partition_row_host(keys, found, listed);
    SoloGroup solo;
    sort_keys(solo, keys, listed);
    const std::size_t at = std::size_t{r} * args_.lists.length;
    for (std::uint32_t i = 0; i < listed; ++i) {
      args_.items[at + i] = items_.item(place_of_key(keys[i]));
      args_.scores[at + i] = score_of_key(keys[i]);
    }
    args_.count[r] = listed;
    if (listed > 0) rank(scores, filters.survivors(), {keys, listed}, args_.raw_rank + at, work);
    count_rest(scores, filters, cut, listed, args_.rest[r], work);
  }

  /// Keys of the best depth_ survivors, or of all; in no order.
  std::uint32_t find_best(const float* scores, const std::uint32_t* survivors,
                          std::uint64_t* keys) const {
    std::uint32_t found = 0;
    float threshold = no_threshold();
    for (std::uint32_t at = 0; at < n_; at += std::min(kTopkTileItems, n_ - at)) {
      found = append_row_host(scores + at, nullptr, std::min(kTopkTileItems, n_ - at), at,
                              survivors + at / 32, threshold, keys, found);
      if (found + kTopkTileItems > capacity() && found > depth_)
        found = compact_row_host(keys, found, depth_, &threshold);
    }
    if (found <= depth_) return found;
    return compact_row_host(keys, found, depth_, &threshold);
  }

  /// Raw ranks of the listed survivors: their own, and what is rejected ahead of them.
  void rank(const float* scores, const std::uint32_t* survivors,
            std::span<const std::uint64_t> listed, std::uint32_t* ranks, Worker& work) const {
    std::uint32_t* above = work.bits.data();
    std::uint32_t* between = above + words_;
    score_bits(ScoreTest::kAbove, scores, n_, score_of_key(listed.front()), above);
    score_bits(ScoreTest::kNotBelow, scores, n_, score_of_key(listed.back()), between);
    for (std::uint32_t w = 0; w < words_; ++w) between[w] &= ~(above[w] | survivors[w]);
    // None that is listed is above the first of them.
    const std::uint32_t ahead = count_bits(above, nullptr, words_);
    std::fill_n(ranks, listed.size(), 0);
    for (std::uint32_t w = 0; w < words_; ++w) {
      for (std::uint32_t left = between[w]; left != 0; left &= left - 1) {
        const std::uint32_t j = 32 * w + static_cast<std::uint32_t>(std::countr_zero(left));
        const std::uint64_t key = score_key(scores[j], j);
        const auto behind = std::partition_point(listed.begin(), listed.end(),
                                                 [&](std::uint64_t other) { return other > key; });
        if (behind != listed.end()) ++ranks[behind - listed.begin()];
      }
    }
    std::uint32_t rank = ahead;
    for (std::size_t i = 0; i < listed.size(); ++i) {
      rank += ranks[i];
      ranks[i] = rank + static_cast<std::uint32_t>(i) + 1;
    }
  }

  void count_rest(const float* scores, const SharedFilters& filters, std::uint64_t cut,
                  std::uint32_t listed, SharedRest& rest, Worker& work) const {
    const std::uint32_t* examined = nullptr;
    if (cut != 0) {
      std::uint32_t* bits = work.bits.data();
      std::uint32_t* equal = bits + words_;
      score_bits(ScoreTest::kAbove, scores, n_, score_of_key(cut), bits);
      score_bits(ScoreTest::kEqual, scores, n_, score_of_key(cut), equal);
      const std::uint32_t last = place_of_key(cut);
      for (std::uint32_t w = 0; w < last / 32; ++w) bits[w] |= equal[w];
      bits[last / 32] |= equal[last / 32] & (0xFFFFFFFFu >> (31 - last % 32));
      examined = bits;
    }
    rest.unlisted = n_ - listed;
    rest.examined = (examined != nullptr ? count_bits(examined, nullptr, words_) : n_) - listed;
    rest.pool = count_bits(filters.survivors(), examined, words_) - listed;
    rest.unscored = count_bits(filters.unscored(), examined, words_);
    for (std::uint32_t i = 0; i < branch_.num_filters; ++i)
      rest.rejected[i] = count_bits(filters.rejected(i), examined, words_);
  }

  const SharedPoolArgs& args_;
  const Branch& branch_;
  const SharedItems& items_;
  const float* table_;
  std::uint32_t n_, words_;
  std::uint32_t depth_;  ///< best survivors that are looked for
  bool sorts_;
};

}  // namespace

struct SharedPoolWorkspace::Areas {
  SharedItems items;
  HostBuffer<float> table;  ///< rows of the pool's items
  std::vector<Worker> workers;
};

SharedPoolWorkspace::SharedPoolWorkspace() : areas_(std::make_unique<Areas>()) {}
SharedPoolWorkspace::~SharedPoolWorkspace() = default;

std::uint64_t SharedPoolWorkspace::bytes() const {
  std::uint64_t total = areas_->items.bytes() + areas_->table.capacity_bytes();
  for (const Worker& w : areas_->workers) {
    total += w.scores.capacity_bytes() + w.strip.capacity_bytes() + w.keys.capacity_bytes() +
             w.spare.capacity_bytes() + w.bits.capacity_bytes() + w.judged.bytes();
  }
  return total;
}

/// Survivors of a pool without end decide by themselves where the first k are taken whatever they
/// are: no cap or stratum refuses one, and what other branches picked is fewer than k.
SharedLists shared_lists(const Plan& plan, const Branch& branch, std::uint32_t count) {
  const SharedLists whole{count, true};
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    const FilterKind kind = plan.filters[branch.first_filter + i].kind;
    if (kind == FilterKind::kRawRank || kind == FilterKind::kSurvivorRank) return whole;
  }
  std::uint32_t length = branch.pool;
  if (!is_sampled(branch) && plan.num_caps == 0 && plan.has_quota == 0)
    length = std::min(length, plan.k);
  // Ranks of their own would have to be sorted once more.
  if (branch.select == SelectKind::kTopByRank && length > count / kLongestShare) return whole;
  return {std::min(length, count), false};
}

void list_shared(const Exec& exec, const SharedPoolArgs& args, SharedPoolWorkspace& workspace) {
  SharedPoolWorkspace::Areas& areas = workspace.areas();
  const Branch& branch = args.plan->branches[args.branch];
  const std::uint32_t dim = args.world->dim;
  areas.items.prepare(*args.world, *args.plan, branch, args.pool, args.pool_count);
  const float* table = nullptr;
  if (args.pool[args.pool_count - 1] - args.pool[0] == args.pool_count - 1) {
    table = args.world->items + std::uint64_t{args.pool[0]} * dim;  // all that stand there
  } else if (std::uint64_t{args.pool_count} * dim * sizeof(float) <= kMostTableBytes) {
    areas.table.resize(exec, std::size_t{args.pool_count} * dim);
    parallel_for(exec, args.pool_count, 256, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t j = begin; j < end; ++j)
        copy_vector(*args.world, args.pool[j], areas.table.data() + j * dim);
    });
    table = areas.table.data();
  }
  const Lists lists(args, branch, areas.items, table);
  const std::uint32_t at_once = Lists::rows_at_once(args.pool_count);
  const std::uint64_t blocks = (std::uint64_t{args.rows.num_rows} + at_once - 1) / at_once;
  const std::uint64_t workers =
      std::min({std::max<std::uint64_t>(exec.threads, 1), std::max<std::uint64_t>(blocks, 1),
                std::max<std::uint64_t>(kMostWorkerBytes / lists.bytes(), 1)});
  Exec few = exec;
  few.threads = static_cast<int>(workers);
  if (areas.workers.size() < workers) areas.workers.resize(workers);
  for (std::uint64_t w = 0; w < workers; ++w) lists.reserve(exec, areas.workers[w]);
  parallel_for(few, args.rows.num_rows, at_once, [&](std::uint64_t begin, std::uint64_t end) {
    lists.list_rows(static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end),
                    areas.workers[worker_index()]);
  });
}

}  // namespace quarry

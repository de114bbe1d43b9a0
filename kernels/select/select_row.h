// The pool of a branch and its order of selection for one row (docs/row_contract.md sections 2 and
// 3).
#pragma once

#include "kernels/core/philox.h"
#include "kernels/core/sort_row.h"
#include "kernels/model/row_context.h"

namespace quarry {

/// Work area of one row; [capacity] each.
struct SelectScratch {
  SortEntry* entries = nullptr;
  std::uint64_t* sums = nullptr;
};

/// Views of one row's slices of BranchOrder.
struct OrderRow {
  std::uint32_t* pool_place;
  std::uint32_t* pool_survivor_rank;
  float* pool_log_weight;
  std::uint32_t* order;
  float* sampling_key;
};

QUARRY_HD OrderRow order_row(const BranchOrder& o, std::uint32_t row) {
  const std::uint64_t at = row * o.stride;
  return {o.pool_place + at, o.pool_survivor_rank + at, o.pool_log_weight + at, o.order + at,
          o.sampling_key + at};
}

/// Centre of simans and distance weights.
QUARRY_HD float weight_centre(const Weight& w, const RowContext& row) {
  if (row.num_positives == 0) return 0.0f;
  const float s = row.positive_scores[static_cast<std::uint32_t>(w.against)];
  if (w.centre == CentreKind::kPositive) return s;
  const float base = s + w.ahns_a;
  if (!(base > 0.0f)) return 0.0f;
  const float exponent = w.ahns_p + 1.0f;
  return w.ahns_b * exact_exp(exponent * exact_log(base));
}

/// One term of a log-weight. `rank`: survivor rank. May be infinite or not a number; log_weight
/// settles that.
QUARRY_HD float log_weight_term(const World& world, const Plan& plan, const Weight& w,
                                const RowContext& row, std::uint32_t item, float score,
                                std::uint32_t rank) {
  switch (w.kind) {
    case WeightKind::kSoftmax:
      return score / w.a;
    case WeightKind::kSimans: {
      const float t = (score - weight_centre(w, row)) - w.b;
      return -(w.a * (t * t));
    }
    case WeightKind::kDistance:
      return -(w.a * fabsf(score - weight_centre(w, row)));
    case WeightKind::kPopularity:
      return w.a * exact_log(static_cast<float>(world.popularity[item]) + w.b);
    case WeightKind::kRankGeometric:
      return -static_cast<float>(rank) / w.a;
    case WeightKind::kRankBeta: {
      const float n = static_cast<float>(plan.snapshot_items);
      const float x = (static_cast<float>(rank) - 0.5f) / n;
      const float head = (w.a - 1.0f) * exact_log(x);
      const float tail = (n - w.a) * exact_log(1.0f - x);
      return head + tail;
    }
    case WeightKind::kPairColumn: {
      float value;
      return look_up(world.pairs[w.table], row.user, item, &value) ? w.a * value : 0.0f;
    }
    case WeightKind::kClass: {
      const std::uint64_t begin = world.exposure.offsets[row.user];
      const std::uint64_t n = world.exposure.offsets[row.user + 1] - begin;
      const std::uint64_t at = find_sorted(world.exposure.values + begin, n, item);
      const std::uint32_t c = at < n ? world.event_class[begin + at] : 0;
      return w.class_weight[c];
    }
  }
  return 0.0f;
}

QUARRY_HD float log_weight(const World& world, const Plan& plan, const Branch& branch,
                           const RowContext& row, std::uint32_t item, float score,
                           std::uint32_t rank) {
  float phi = 0.0f;
  for (std::uint32_t i = 0; i < branch.num_weights; ++i) {
    phi = phi + log_weight_term(world, plan, plan.weights[branch.first_weight + i], row, item,
                                score, rank);
  }
  // Not a number counts as a weight of 0, infinity as the largest float: any sum and difference of
  // what is left then has the same bits on every machine.
  if (phi != phi) return float_of_bits(0xFF800000u);
  return phi > float_of_bits(0x7F7FFFFFu) ? float_of_bits(0x7F7FFFFFu) : phi;
}

/// Rank window over survivors of a branch: [1, 2^32 - 1] if it has none. `code` is its reason code
/// or 0.
struct SurvivorWindow {
  std::uint32_t lo = 1;
  std::uint32_t hi = 0xFFFFFFFFu;
  std::uint32_t code = 0;
};
QUARRY_HD SurvivorWindow survivor_window(const Plan& plan, const Branch& branch) {
  SurvivorWindow w;
  for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
    const Filter& f = plan.filters[branch.first_filter + i];
    if (f.kind == FilterKind::kSurvivorRank) {
      w.lo = f.lo;
      w.hi = f.hi;
      w.code = i + 1;
    }
  }
  return w;
}

/// Candidates with a place below this can be in the pool or beyond it.
QUARRY_HD std::uint32_t place_limit(const Branch& branch, std::uint32_t count) {
  return branch.max_rank < count ? branch.max_rank : count;
}

/// What pool_row found; the same in every lane.
struct PoolEnd {
  std::uint32_t pool_size;
  std::uint32_t cut;
  std::uint32_t cut_survivors;
  bool full;  ///< no further candidate can join the pool
};

/// Collects the pool in candidate order and marks survivors outside the survivor window with its
/// code.
template <class Group>
QUARRY_HD PoolEnd pool_row(Group& g, const Plan& plan, const Branch& branch, std::uint32_t count,
                           std::uint8_t* reasons, const OrderRow& out) {
  const SurvivorWindow window = survivor_window(plan, branch);
  const std::uint32_t limit = place_limit(branch, count);
  std::uint32_t survivors = 0;
  std::uint32_t pool = 0;
  std::uint64_t last_member = 0;  // place + 1 of the last pool member
  std::uint32_t survivors_at_last = 0;
  for (std::uint32_t base = 0; base < limit; base += g.size()) {
    const std::uint32_t j = base + g.rank();
    const bool survives = j < limit && reasons[j] == 0;
    std::uint32_t total = 0;
    const std::uint32_t before = g.scan(survives ? 1u : 0u, &total);
    const std::uint32_t rank = survivors + before + 1;
    const bool inside = survives && rank >= window.lo && rank <= window.hi;
    if (survives && !inside) reasons[j] = static_cast<std::uint8_t>(window.code);
    std::uint32_t members = 0;
    const std::uint32_t earlier = g.scan(inside ? 1u : 0u, &members);
    const bool joins = inside && pool + earlier < branch.pool;
    if (joins) {
      out.pool_place[pool + earlier] = j;
      out.pool_survivor_rank[pool + earlier] = rank;
    }
    const std::uint64_t last = g.max(joins ? std::uint64_t{j + 1} << 32 | rank : 0);
    if (last != 0) {
      last_member = last >> 32;
      survivors_at_last = static_cast<std::uint32_t>(last);
    }
    survivors += total;
    pool = pool + members < branch.pool ? pool + members : branch.pool;
  }
  g.sync();
  PoolEnd end;
  end.pool_size = pool;
  end.full = pool == branch.pool || survivors >= window.hi;
  end.cut = end.full ? static_cast<std::uint32_t>(last_member) : limit;
  end.cut_survivors = end.full ? survivors_at_last : survivors;
  return end;
}

/// `open`: candidates beyond the `count` given could still join the pool.
QUARRY_HD void store_pool_end(const BranchOrder& out, std::uint32_t row, const Branch& branch,
                              const PoolEnd& end, std::uint32_t count, bool complete) {
  out.pool_size[row] = end.pool_size;
  out.cut[row] = end.cut;
  out.cut_survivors[row] = end.cut_survivors;
  out.open[row] = !end.full && !complete && count < branch.max_rank ? 1 : 0;
}

/// Draws `draws` pool indices with replacement by integer weights. sums: [pool_size]. Returns how
/// many were drawn: none from a pool whose every weight is 0.
template <class Group>
QUARRY_HD std::uint32_t draw_with_replacement(Group& g, const Plan& plan, const Branch& branch,
                                              const RowContext& row, std::uint32_t pool_size,
                                              std::uint32_t draws, std::uint64_t* sums,
                                              const OrderRow& out) {
  std::uint64_t largest = 0;
  for (std::uint32_t i = g.rank(); i < pool_size; i += g.size()) {
    const std::uint64_t o = ordered(out.pool_log_weight[i]);
    largest = o > largest ? o : largest;
  }
  const std::uint64_t top = g.max(largest);
  const float shift = float_of_ordered(static_cast<std::uint32_t>(top));
  for (std::uint32_t i = g.rank(); i < pool_size; i += g.size()) {
    sums[i] = static_cast<std::uint64_t>(exact_exp(out.pool_log_weight[i] - shift) * 2147483648.0f);
  }
  g.sync();
  if (g.rank() == 0) {
    for (std::uint32_t i = 1; i < pool_size; ++i) sums[i] += sums[i - 1];
  }
  g.sync();
  const std::uint64_t total = sums[pool_size - 1];
  if (total == 0) return 0;
  for (std::uint32_t d = g.rank(); d < draws; d += g.size()) {
    const std::uint64_t r = mulhi(
        as_u64(random_words(plan.key, row.key, d, branch.hash, Purpose::kReplacementDraw)), total);
    std::uint32_t low = 0;
    std::uint32_t high = pool_size - 1;
    while (low < high) {
      const std::uint32_t middle = low + (high - low) / 2;
      if (sums[middle] > r) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    out.order[d] = low;
    out.sampling_key[d] = out.pool_log_weight[low];
  }
  g.sync();
  return draws;
}

/// logsumexp of the pool's log-weights, added by the tree of docs/row_contract.md section 6. sums
/// is used as float storage.
template <class Group>
QUARRY_HD float log_total_row(Group& g, std::uint32_t pool_size, const float* log_weights,
                              std::uint64_t* sums) {
  std::uint64_t largest = 0;
  for (std::uint32_t i = g.rank(); i < pool_size; i += g.size()) {
    const std::uint64_t o = ordered(log_weights[i]);
    largest = o > largest ? o : largest;
  }
  const std::uint64_t top = g.max(largest);
  const float shift = float_of_ordered(static_cast<std::uint32_t>(top));
  for (std::uint32_t i = g.rank(); i < pool_size; i += g.size()) {
    sums[i] = bits_of_float(exact_exp(log_weights[i] - shift));
  }
  g.sync();
  std::uint32_t width = 1;
  while (width < pool_size - width) width *= 2;
  for (; width > 0; width /= 2) {
    for (std::uint32_t i = g.rank(); i < width && width < pool_size - i; i += g.size()) {
      sums[i] = bits_of_float(float_of_bits(static_cast<std::uint32_t>(sums[i])) +
                              float_of_bits(static_cast<std::uint32_t>(sums[i + width])));
    }
    pool_size = pool_size < width ? pool_size : width;
    g.sync();
  }
  const float total = float_of_bits(static_cast<std::uint32_t>(sums[0]));
  g.sync();  // every lane has read it before the area is used again
  return shift + exact_log(total);
}

/// The order of selection is the order in which the candidates came, so nothing has to be sorted.
QUARRY_HD bool is_presorted(const Branch& branch, bool own_ranks) {
  const bool key_order = branch.source != SourceKind::kRun && branch.source != SourceKind::kNear;
  return branch.select == SelectKind::kTop ? key_order
                                           : branch.select == SelectKind::kTopByRank && !own_ranks;
}

/// Fills `out` for one row; returns the pool's end and, through `num_ordered` and `log_total`, the
/// rest of BranchOrder.
template <class Group>
QUARRY_HD PoolEnd select_row(Group& g, const World& world, const Plan& plan, const Branch& branch,
                             const RowContext& row, const std::uint32_t* items, const float* scores,
                             const std::uint32_t* raw_rank, std::uint32_t count,
                             std::uint8_t* reasons, const SelectScratch& scratch,
                             const OrderRow& out, std::uint32_t* num_ordered, float* log_total) {
  const PoolEnd end = pool_row(g, plan, branch, count, reasons, out);
  const std::uint32_t n = end.pool_size;
  const bool sampled = is_sampled(branch);
  *log_total = 0.0f;
  *num_ordered = 0;
  if (n == 0) return end;
  for (std::uint32_t i = g.rank(); i < n; i += g.size()) {
    const std::uint32_t j = out.pool_place[i];
    out.pool_log_weight[i] = sampled ? log_weight(world, plan, branch, row, items[j], scores[j],
                                                  out.pool_survivor_rank[i])
                                     : 0.0f;
  }
  g.sync();
  if (sampled) *log_total = log_total_row(g, n, out.pool_log_weight, scratch.sums);
  if (branch.select == SelectKind::kSampleReplacement) {
    *num_ordered = draw_with_replacement(g, plan, branch, row, n, plan.k, scratch.sums, out);
    return end;
  }
  if (is_presorted(branch, raw_rank != nullptr)) {
    for (std::uint32_t i = g.rank(); i < n; i += g.size()) {
      out.order[i] = i;
      out.sampling_key[i] = 0.0f;
    }
    g.sync();
    *num_ordered = n;
    return end;
  }
  // The best by score takes the first place of top1_sample.
  std::uint64_t best = 0;
  if (branch.select == SelectKind::kTop1Sample) {
    for (std::uint32_t i = g.rank(); i < n; i += g.size()) {
      const std::uint64_t key = score_key(scores[out.pool_place[i]], items[out.pool_place[i]]);
      best = key > best ? key : best;
    }
  }
  const std::uint64_t top_key = g.max(best);
  const float bar = row.num_positives > 0
                        ? row.positive_scores[static_cast<std::uint32_t>(PositiveScore::kMin)] -
                              branch.violation_margin
                        : 0.0f;
  std::uint32_t kept = 0;
  for (std::uint32_t base = 0; base < n; base += g.size()) {
    const std::uint32_t i = base + g.rank();
    bool keep = i < n;
    SortEntry entry{0, 0, 0};
    if (keep) {
      const std::uint32_t j = out.pool_place[i];
      entry.item = items[j];
      entry.index = i;
      switch (branch.select) {
        case SelectKind::kTop:
          entry.key = score_key(scores[j], items[j]);
          break;
        case SelectKind::kTopByRank:
          entry.key = ~std::uint64_t{raw_rank != nullptr ? raw_rank[j] : j + 1};
          break;
        case SelectKind::kFirstViolator:
          entry.key = ~std::uint64_t{raw_rank != nullptr ? raw_rank[j] : j + 1};
          keep = row.num_positives == 0 || scores[j] > bar;
          break;
        default: {
          const PhiloxWords z =
              random_words(plan.key, row.key, items[j], branch.hash, Purpose::kSamplingKey);
          entry.key =
              std::uint64_t{ordered(out.pool_log_weight[i] + gumbel(z.z[0]))} << 32 | z.z[1];
          if (branch.select == SelectKind::kTop1Sample &&
              score_key(scores[j], items[j]) == top_key) {
            entry.key = ~std::uint64_t{0};
          }
        }
      }
    }
    std::uint32_t total = 0;
    const std::uint32_t before = g.scan(keep ? 1u : 0u, &total);
    if (keep) scratch.entries[kept + before] = entry;
    kept += total;
  }
  sort_row(g, scratch.entries, kept);
  for (std::uint32_t i = g.rank(); i < kept; i += g.size()) {
    const SortEntry& entry = scratch.entries[i];
    out.order[i] = entry.index;
    out.sampling_key[i] =
        sampled ? float_of_ordered(static_cast<std::uint32_t>(entry.key >> 32)) : 0.0f;
  }
  g.sync();
  *num_ordered = kept;
  return end;
}

}  // namespace quarry

// From the branches of a row to its negatives: shares, quotas, caps, backfill, redistribution,
// codes (docs/row_contract.md sections 4 to 6). Longer than other files because the steps all work
// on the state of one row.
#pragma once

#include "kernels/core/best_row.h"
#include "kernels/exclude/exclude_row.h"
#include "kernels/merge/rounding.h"
#include "kernels/sample/draw_row.h"
#include "kernels/select/select_row.h"

namespace quarry {

/// One branch as merge sees it for one row.
struct BranchRow {
  const std::uint32_t* items;  ///< candidates
  const float* scores;
  const std::uint32_t* raw_rank;  ///< null: passed + place + 1
  const std::uint8_t* reasons;
  std::uint32_t passed;  ///< Candidates::passed
  std::uint32_t count;   ///< candidates given
  bool complete;         ///< nothing further exists
  OrderRow order;
  std::uint32_t pool_size;
  std::uint32_t num_ordered;
  std::uint32_t cut;
  std::uint32_t cut_survivors;
  float log_total;
  std::uint32_t draws_used;  ///< of a draw branch, over all turns
  std::uint32_t cursor;      ///< with replacement: where the branch stopped
};

QUARRY_HD std::uint32_t raw_rank_of(const BranchRow& branch, std::uint32_t place) {
  return branch.raw_rank != nullptr ? branch.raw_rank[place] : branch.passed + place + 1;
}

/// More than k, so that caps seldom ask for a second pass of an enumeration.
QUARRY_HD std::uint32_t enumeration_keep(const Plan& plan) { return plan.k + 32; }

/// Where a pick came from, for its probability.
struct PickOrigin {
  std::uint32_t pool_index;  ///< kNoItem: not from a pool
  std::uint32_t kind;        ///< 0 deterministic, 1 sampled from a pool, 2 drawn
};

/// Work area of one row. Sizes: k, num_strata, and the sets' capacities.
struct MergeScratch {
  std::uint32_t* left = nullptr;       ///< [num_strata]
  std::uint32_t* carry = nullptr;      ///< [num_strata]
  std::uint32_t* available = nullptr;  ///< [num_strata]
  BranchRow* branches = nullptr;       ///< [num_branches]
  SortEntry* best = nullptr;           ///< [enumeration_keep + kBestSlack]; null: no draw branch
  DrawRange* ranges = nullptr;         ///< [k]
  PickOrigin* origins = nullptr;       ///< [k]
  float* log_draws = nullptr;          ///< [k] logs of expected draws as they are added up
  ItemSet picked;                      ///< room for k
  ItemSet counted;                     ///< room for the items counted in redistribution
};

/// One row's slices of Picks.
struct PickRow {
  std::uint32_t *item, *raw_rank, *survivor_rank, *stratum;
  float *score, *logq;
  std::uint8_t *branch, *fill;
  float* kappa;  ///< [branches]
};

QUARRY_HD void leave_slot_empty(const PickRow& out, std::uint32_t slot, FillCode code,
                                std::uint32_t stratum) {
  out.item[slot] = kNoItem;
  out.score[slot] = 0.0f;
  out.logq[slot] = float_of_bits(0x7FC00000u);
  out.branch[slot] = 0xFF;
  out.raw_rank[slot] = 0;
  out.survivor_rank[slot] = 0;
  out.stratum[slot] = stratum;
  out.fill[slot] = static_cast<std::uint8_t>(code);
}

/// The filling of one row. Members are the same in every lane; arrays are shared.
template <class Group>
class RowFill {
 public:
  QUARRY_HD RowFill(Group& g, const World& world, const Plan& plan, const RowContext& row,
                    DrawTally* tallies, const MergeScratch& scratch, const PickRow& out)
      : g_(g),
        world_(world),
        plan_(plan),
        row_(row),
        branches_(scratch.branches),
        tallies_(tallies),
        s_(scratch),
        out_(out) {}

  /// Returns false if deeper candidates could change the row. `count` gets the number of picks.
  QUARRY_HD bool run(std::uint32_t* count) {
    start();
    for (std::uint32_t b = 0; b < plan_.num_branches; ++b) take_from_branch(b, share_of(b), true);
    if (!backfill()) return false;
    redistribute();
    for (std::uint32_t i = g_.rank(); i < num_picks_; i += g_.size()) out_.fill[i] = 0;
    name_missing();
    report_probabilities();
    *count = num_picks_;
    return true;
  }

 private:
  QUARRY_HD std::uint32_t missing() const { return plan_.k - num_picks_; }

  QUARRY_HD void start() {
    clear(g_, s_.picked);
    const std::uint64_t r =
        as_u64(random_words(plan_.key, row_.key, 0, 0, Purpose::kStratumTargets));
    for (std::uint32_t s = g_.rank(); s < world_.num_strata; s += g_.size()) s_.carry[s] = 0;
    if (plan_.has_quota == 0) {
      if (g_.rank() == 0) s_.left[0] = plan_.k;
    } else if (g_.rank() == 0) {
      const std::uint64_t offset = mulhi(r, plan_.quota_sum);
      std::uint64_t before = 0;
      for (std::uint32_t s = 0; s < world_.num_strata; ++s) {
        const std::uint64_t after = before + plan_.quota_weight[s];
        s_.left[s] = systematic_count(plan_.k, before, after, offset, plan_.quota_sum);
        before = after;
      }
    }
    share_offset_ = mulhi(as_u64(random_words(plan_.key, row_.key, 0, 0, Purpose::kBranchCounts)),
                          plan_.share_sum);
    g_.sync();
  }

  QUARRY_HD std::uint32_t share_of(std::uint32_t b) const {
    std::uint64_t before = 0;
    for (std::uint32_t i = 0; i < b; ++i) before += plan_.share[i];
    return systematic_count(plan_.k, before, before + plan_.share[b], share_offset_,
                            plan_.share_sum);
  }

  /// `repeats_of`: a branch whose own picks may come again, or kNoItem.
  QUARRY_HD bool is_picked(std::uint32_t item, std::uint32_t repeats_of) const {
    if (!s_.picked.has(item)) return false;
    if (repeats_of == kNoItem) return true;
    for (std::uint32_t i = 0; i < num_picks_; ++i) {
      if (out_.item[i] == item) return out_.branch[i] != repeats_of;
    }
    return true;
  }

  QUARRY_HD bool within_caps(std::uint32_t item) const {
    for (std::uint32_t c = 0; c < plan_.num_caps; ++c) {
      const std::uint32_t* codes =
          world_.columns + std::uint64_t{plan_.caps[c].column} * world_.num_items;
      const std::uint32_t code = codes[item];
      if (code == 0) continue;
      std::uint32_t same = 0;
      for (std::uint32_t i = 0; i < num_picks_; ++i) same += codes[out_.item[i]] == code ? 1 : 0;
      if (same >= plan_.caps[c].per_row) return false;
    }
    return true;
  }

  QUARRY_HD std::uint32_t quota_stratum(std::uint32_t item) const {
    return plan_.has_quota != 0 ? stratum_of(world_, item) : 0;
  }

  QUARRY_HD bool acceptable(std::uint32_t item, std::uint32_t repeats_of) const {
    return s_.left[quota_stratum(item)] > 0 && !is_picked(item, repeats_of) && within_caps(item);
  }

  /// Records a pick; called by every lane with the same values, written by lane 0.
  QUARRY_HD void pick(std::uint32_t b, std::uint32_t item, float score, std::uint32_t raw_rank,
                      std::uint32_t survivor_rank, PickOrigin origin) {
    g_.sync();
    if (g_.rank() == 0) {
      out_.item[num_picks_] = item;
      out_.score[num_picks_] = score;
      out_.branch[num_picks_] = static_cast<std::uint8_t>(b);
      out_.raw_rank[num_picks_] = raw_rank;
      out_.survivor_rank[num_picks_] = survivor_rank;
      out_.stratum[num_picks_] = stratum_of(world_, item);
      s_.origins[num_picks_] = origin;
      s_.picked.insert(item);
      s_.left[quota_stratum(item)] -= 1;
    }
    num_picks_ += 1;
    g_.sync();
  }

  QUARRY_HD void take_from_branch(std::uint32_t b, std::uint32_t wanted, bool first_turn) {
    if (is_draw(plan_.branches[b])) {
      if (first_turn && g_.rank() == 0) out_.kappa[b] = float_of_bits(0x7FC00000u);
      take_draws(b, wanted);
    } else {
      take_from_order(b, wanted, first_turn);
    }
  }

  /// The first acceptable entries of the branch's order of selection.
  QUARRY_HD void take_from_order(std::uint32_t b, std::uint32_t wanted, bool first_turn) {
    const BranchRow& branch = branches_[b];
    const bool with_repeats = plan_.branches[b].select == SelectKind::kSampleReplacement;
    const std::uint32_t repeats_of = with_repeats ? b : kNoItem;
    std::uint32_t at = with_repeats ? branch.cursor : 0;
    while (wanted > 0 && at < branch.num_ordered) {
      const std::uint32_t mine = at + g_.rank();
      bool take = false;
      if (mine < branch.num_ordered) {
        take =
            acceptable(branch.items[branch.order.pool_place[branch.order.order[mine]]], repeats_of);
      }
      const std::uint64_t first = g_.min(take ? mine : ~std::uint64_t{0});
      if (first == ~std::uint64_t{0}) {
        at += g_.size();
        continue;
      }
      const std::uint32_t p = branch.order.order[first];
      const std::uint32_t place = branch.order.pool_place[p];
      const bool sampled = is_sampled(plan_.branches[b]);
      pick(b, branch.items[place], branch.scores[place], raw_rank_of(branch, place),
           branch.order.pool_survivor_rank[p], {p, sampled ? 1u : 0u});
      at = static_cast<std::uint32_t>(first) + 1;
      wanted -= 1;
    }
    if (at > branch.num_ordered) at = branch.num_ordered;
    g_.sync();
    if (g_.rank() == 0) branches_[b].cursor = at;
    g_.sync();
    if (first_turn && g_.rank() == 0) {
      const bool has_key =
          is_sampled(plan_.branches[b]) && !with_repeats && wanted == 0 && at < branch.num_ordered;
      out_.kappa[b] = has_key ? branch.order.sampling_key[at] : float_of_bits(0x7FC00000u);
    }
  }

  /// Open strata with what the row may draw from each, into s_.ranges. Returns how many.
  QUARRY_HD std::uint32_t open_ranges(const DrawSpace& space) {
    std::uint32_t open = 0;
    g_.sync();
    for (std::uint32_t base = 0; base < space.num_strata; base += g_.size()) {
      const std::uint32_t s = base + g_.rank();
      DrawRange range;
      if (s < space.num_strata && s_.left[s] > 0) range = draw_range(space, row_, s);
      std::uint32_t total = 0;
      const std::uint32_t before = g_.scan(range.weight > 0 ? 1u : 0u, &total);
      if (range.weight > 0) s_.ranges[open + before] = range;
      open += total;
    }
    g_.sync();
    return open;
  }

  QUARRY_HD void take_draws(std::uint32_t b, std::uint32_t wanted) {
    if (wanted == 0) return;
    const Branch& branch = plan_.branches[b];
    const DrawSpace& space = world_.draws[branch.draw];
    const std::uint32_t repeats_of = branch.select == SelectKind::kSampleReplacement ? b : kNoItem;
    const std::uint32_t bound = 16 * plan_.k + 64;
    const std::uint32_t open = open_ranges(space);
    DrawTally& tally = tallies_[b];
    std::uint32_t used = branches_[b].draws_used;
    while (wanted > 0 && used < bound) {
      std::uint64_t total = 0;
      for (std::uint32_t i = 0; i < open; ++i) {
        if (s_.left[s_.ranges[i].stratum] > 0) total += s_.ranges[i].weight;
      }
      if (total == 0) break;
      const PhiloxWords z = random_words(plan_.key, row_.key, used, branch.hash, Purpose::kDraw);
      used += 1;
      std::uint64_t offset = mulhi(as_u64(z), total);
      std::uint32_t i = 0;
      for (;; ++i) {
        if (s_.left[s_.ranges[i].stratum] == 0) continue;
        if (offset < s_.ranges[i].weight) break;
        offset -= s_.ranges[i].weight;
      }
      const std::uint32_t item = space.item_at[position_at(space, s_.ranges[i], offset)];
      if (g_.rank() == 0) tally.examined += 1;
      if (is_picked(item, repeats_of)) {
        if (g_.rank() == 0) tally.repeats += 1;
        continue;
      }
      const float score =
          exact_score_together(g_, world_.metric, row_.query,
                               world_.items + std::uint64_t{item} * world_.dim, world_.dim);
      const std::uint32_t reason = first_rejection(world_, plan_, branch, row_, item, score, 0);
      if (reason != 0) {
        if (g_.rank() == 0)
          (reason == kUnscored ? tally.unscored : tally.rejected[reason - 1]) += 1;
        continue;
      }
      if (!within_caps(item)) {
        if (g_.rank() == 0) tally.refused += 1;
        continue;
      }
      pick(b, item, score, 0, 0, {kNoItem, 2});
      wanted -= 1;
    }
    g_.sync();
    if (g_.rank() == 0) branches_[b].draws_used = used;
    g_.sync();
    if (wanted > 0 && used == bound) enumerate(b, wanted, open);
  }

  /// Takes from everything that is left of the open strata, in key order. One pass keeps more
  /// entries than are wanted; only where caps refuse most of them is there another.
  QUARRY_HD void enumerate(std::uint32_t b, std::uint32_t wanted, std::uint32_t open) {
    const Branch& branch = plan_.branches[b];
    const DrawSpace& space = world_.draws[branch.draw];
    const std::uint32_t repeats_of = branch.select == SelectKind::kSampleReplacement ? b : kNoItem;
    if (g_.rank() == 0) tallies_[b].enumerated = 1;
    SortEntry bar{0, 0, 0};
    bool first_pass = true;
    bool more = true;
    while (wanted > 0 && more) {
      BestEntries<Group> best(g_, s_.best, enumeration_keep(plan_));
      for (std::uint32_t i = 0; i < open; ++i) {
        const DrawRange& range = s_.ranges[i];
        if (s_.left[range.stratum] == 0) continue;
        for (std::uint64_t base = range.begin; base < range.end; base += g_.size()) {
          const std::uint64_t p = base + g_.rank();
          SortEntry entry{0, 0, 0};
          bool take = false;
          if (p < range.end) {
            entry.item = space.item_at[p];
            take = !any_rejects(world_, plan_, branch, row_, entry.item, 0.0f, kQuickKinds);
          }
          if (take) {
            entry.key = as_u64(
                random_words(plan_.key, row_.key, entry.item, branch.hash, Purpose::kEnumeration));
            take = (first_pass || goes_before(bar, entry)) && best.can_enter(entry) &&
                   !is_excluded(space, range, static_cast<std::uint32_t>(p)) &&
                   !is_picked(entry.item, repeats_of) && within_caps(entry.item);
          }
          float score = 0.0f;
          if (take) take = drawable(branch, entry.item, &score);
          entry.index = bits_of_float(score);
          best.offer(take, entry);
        }
      }
      const std::uint32_t found = best.finish();
      more = best.overflowed();
      for (std::uint32_t e = 0; e < found && wanted > 0; ++e) {
        const SortEntry entry = s_.best[e];
        if (!acceptable(entry.item, repeats_of)) continue;
        pick(b, entry.item, float_of_bits(entry.index), 0, 0, {kNoItem, 2});
        wanted -= 1;
      }
      if (more) {
        bar = s_.best[found - 1];
        bar.index = 0xFFFFFFFFu;
      }
      first_pass = false;
      g_.sync();
    }
  }

  /// The branch's filters let a drawable item through; its score, which only the last ones need.
  QUARRY_HD bool drawable(const Branch& branch, std::uint32_t item, float* score) const {
    if (any_rejects(world_, plan_, branch, row_, item, 0.0f, ~kScoreKinds)) return false;
    *score = exact_score(world_.metric, row_.query, world_.items + std::uint64_t{item} * world_.dim,
                         world_.dim);
    return is_finite(*score) &&
           !any_rejects(world_, plan_, branch, row_, item, *score, kScoreKinds);
  }

  /// Acceptable survivors beyond the pool, in key order.
  QUARRY_HD void take_beyond(std::uint32_t b) {
    const BranchRow& branch = branches_[b];
    const std::uint32_t limit = place_limit(plan_.branches[b], branch.count);
    const std::uint32_t window_code = survivor_window(plan_, plan_.branches[b]).code;
    std::uint32_t at = branch.cut;
    std::uint32_t survivors = branch.cut_survivors;
    while (missing() > 0 && at < limit) {
      const std::uint32_t mine = at + g_.rank();
      const std::uint32_t reason = mine < limit ? branch.reasons[mine] : 0xFFu;
      const bool survives = reason == 0 || (window_code != 0 && reason == window_code);
      std::uint32_t total = 0;
      const std::uint32_t rank = survivors + g_.scan(survives ? 1u : 0u, &total) + 1;
      const bool take = reason == 0 && acceptable(branch.items[mine], kNoItem);
      const std::uint64_t first = g_.min(take ? mine : ~std::uint64_t{0});
      if (first == ~std::uint64_t{0}) {
        at += g_.size();
        survivors += total;
        continue;
      }
      const std::uint64_t its_rank = g_.broadcast(rank, static_cast<std::uint32_t>(first - at));
      const auto place = static_cast<std::uint32_t>(first);
      pick(b, branch.items[place], branch.scores[place], raw_rank_of(branch, place),
           static_cast<std::uint32_t>(its_rank), {kNoItem, 0});
      survivors = static_cast<std::uint32_t>(its_rank);
      at = place + 1;
    }
  }

  /// Steps 2 and 3. False if the row is short and a branch has deeper candidates that it was not
  /// given.
  QUARRY_HD bool backfill() {
    for (std::uint32_t i = 0; i < plan_.num_backfill; ++i) {
      if (missing() > 0) take_from_branch(plan_.backfill[i], missing(), false);
    }
    for (std::uint32_t i = 0; i < plan_.num_backfill; ++i) {
      const std::uint32_t b = plan_.backfill[i];
      if (plan_.branches[b].source != SourceKind::kTopk) continue;
      take_beyond(b);
      if (missing() > 0 && can_deepen(b)) return false;
    }
    return true;
  }

  QUARRY_HD bool can_deepen(std::uint32_t b) const {
    const BranchRow& branch = branches_[b];
    if (branch.complete || branch.count >= plan_.branches[b].max_rank) return false;
    const SurvivorWindow window = survivor_window(plan_, plan_.branches[b]);
    return window.code == 0 || branch.cut_survivors < window.hi;
  }

  QUARRY_HD void redistribute() {
    if (plan_.num_levels == 0 || plan_.num_backfill == 0 || missing() == 0) return;
    for (std::uint32_t l = 0; l < plan_.num_levels; ++l) {
      const bool outermost = l + 1 == plan_.num_levels;
      bool again = true;
      while (again) {
        const std::uint32_t before = num_picks_;
        spread_level(plan_.levels[l].width);
        backfill();
        again = outermost && missing() > 0 && num_picks_ > before;
      }
      if (missing() == 0) return;
    }
  }

  /// Moves what is left of each group of `width` strata to those of them that still have acceptable
  /// items.
  QUARRY_HD void spread_level(std::uint32_t width) {
    for (std::uint32_t first = 0; first < world_.num_strata; first += width) {
      g_.sync();
      std::uint64_t mine = 0;
      for (std::uint32_t s = first + g_.rank(); s < first + width; s += g_.size()) {
        mine += s_.left[s] + s_.carry[s];
        s_.left[s] = 0;
        s_.carry[s] = 0;
        s_.available[s] = 0;
      }
      const auto rest = static_cast<std::uint32_t>(g_.sum64(mine));
      g_.sync();
      if (rest == 0) continue;
      count_available(first, width, rest);
      if (g_.rank() == 0) {
        s_.carry[first] = largest_remainder(rest, width, plan_.quota_weight + first,
                                            s_.available + first, s_.left + first);
      }
      g_.sync();
    }
  }

  /// The item's stratum is one of the group's that can take more, and nothing but its place in the
  /// row is against it.
  QUARRY_HD bool is_countable(std::uint32_t item, std::uint32_t first, std::uint32_t width,
                              std::uint32_t rest) const {
    const std::uint32_t s = quota_stratum(item);
    return s >= first && s < first + width && plan_.quota_weight[s] != 0 &&
           s_.available[s] < rest && !s_.picked.has(item) && !s_.counted.has(item) &&
           within_caps(item);
  }

  /// Counts one item per lane where `wanted`, in lane order, each once. Collective.
  QUARRY_HD void count_items(bool wanted, std::uint32_t item, std::uint32_t rest) {
    g_.sync();  // every lane has judged its item by the counts before they change
    std::uint64_t lane = g_.min(wanted ? g_.rank() : ~std::uint64_t{0});
    while (lane != ~std::uint64_t{0}) {
      const std::uint64_t its = g_.broadcast(item, static_cast<std::uint32_t>(lane));
      if (g_.rank() == 0) {
        const std::uint32_t s = quota_stratum(static_cast<std::uint32_t>(its));
        if (s_.available[s] < rest && s_.counted.insert(static_cast<std::uint32_t>(its)))
          s_.available[s] += 1;
      }
      wanted = wanted && g_.rank() != lane;
      lane = g_.min(wanted ? g_.rank() : ~std::uint64_t{0});
    }
    g_.sync();
  }

  /// available[s] = min(rest, distinct acceptable items of s in the backfill branches), strata
  /// taken as open.
  QUARRY_HD void count_available(std::uint32_t first, std::uint32_t width, std::uint32_t rest) {
    clear(g_, s_.counted);
    for (std::uint32_t i = 0; i < plan_.num_backfill; ++i) {
      const std::uint32_t b = plan_.backfill[i];
      const Branch& branch = plan_.branches[b];
      if (is_draw(branch)) {
        for (std::uint32_t s = first; s < first + width; ++s) {
          if (plan_.quota_weight[s] != 0) count_space(branch, s, first, width, rest);
        }
        continue;
      }
      const BranchRow& list = branches_[b];
      for (std::uint32_t base = 0; base < list.num_ordered; base += g_.size()) {
        const std::uint32_t e = base + g_.rank();
        const std::uint32_t item = e < list.num_ordered ? ordered_item(list, e) : kNoItem;
        const bool wanted = item != kNoItem && is_countable(item, first, width, rest);
        count_items(wanted, item, rest);
      }
      if (branch.source != SourceKind::kTopk) continue;
      const std::uint32_t limit = place_limit(branch, list.count);
      for (std::uint32_t base = list.cut; base < limit; base += g_.size()) {
        const std::uint32_t j = base + g_.rank();
        const std::uint32_t item = j < limit && list.reasons[j] == 0 ? list.items[j] : kNoItem;
        const bool wanted = item != kNoItem && is_countable(item, first, width, rest);
        count_items(wanted, item, rest);
      }
    }
  }

  QUARRY_HD std::uint32_t ordered_item(const BranchRow& list, std::uint32_t e) const {
    return list.items[list.order.pool_place[list.order.order[e]]];
  }

  /// Counts what a draw branch could give in stratum s, until that is enough.
  QUARRY_HD void count_space(const Branch& branch, std::uint32_t s, std::uint32_t first,
                             std::uint32_t width, std::uint32_t rest) {
    const DrawSpace& space = world_.draws[branch.draw];
    const DrawRange range = draw_range(space, row_, s);
    for (std::uint64_t base = range.begin; base < range.end; base += g_.size()) {
      if (s_.available[s] >= rest) break;
      const std::uint64_t p = base + g_.rank();
      const std::uint32_t item = p < range.end ? space.item_at[p] : kNoItem;
      float score = 0.0f;
      const bool wanted = item != kNoItem && is_countable(item, first, width, rest) &&
                          !is_excluded(space, range, static_cast<std::uint32_t>(p)) &&
                          drawable(branch, item, &score);
      count_items(wanted, item, rest);
    }
  }

  /// Some survivor of stratum s in the branches that could fill is refused by a cap alone.
  QUARRY_HD bool capped(std::uint32_t s) const {
    if (plan_.num_caps == 0) return false;
    const bool all = plan_.num_backfill == 0;
    const std::uint32_t n = all ? plan_.num_branches : plan_.num_backfill;
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::uint32_t b = all ? i : plan_.backfill[i];
      const bool found = is_draw(plan_.branches[b]) ? capped_in_space(plan_.branches[b], s)
                                                    : capped_in_list(b, s, all);
      const std::uint64_t any = g_.max(found ? 1 : 0);
      if (any != 0) return true;
    }
    return false;
  }
  /// This lane's part of a draw space.
  QUARRY_HD bool capped_in_space(const Branch& branch, std::uint32_t s) const {
    const DrawSpace& space = world_.draws[branch.draw];
    const DrawRange range = draw_range(space, row_, s);
    for (std::uint64_t p = range.begin + std::uint64_t{g_.rank()}; p < range.end; p += g_.size()) {
      const std::uint32_t item = space.item_at[p];
      float score = 0.0f;
      if (!s_.picked.has(item) && !within_caps(item) &&
          !is_excluded(space, range, static_cast<std::uint32_t>(p)) &&
          drawable(branch, item, &score)) {
        return true;
      }
    }
    return false;
  }
  /// This lane's part of a list. Without a backfill nothing beyond the pool was asked for, so how
  /// far it is known is chance.
  QUARRY_HD bool capped_in_list(std::uint32_t b, std::uint32_t s, bool pool_only) const {
    const BranchRow& list = branches_[b];
    for (std::uint32_t e = g_.rank(); e < list.num_ordered; e += g_.size()) {
      if (refused_by_cap(ordered_item(list, e), s)) return true;
    }
    if (plan_.branches[b].source != SourceKind::kTopk || pool_only) return false;
    const std::uint32_t limit = place_limit(plan_.branches[b], list.count);
    for (std::uint32_t j = list.cut + g_.rank(); j < limit; j += g_.size()) {
      if (list.reasons[j] == 0 && refused_by_cap(list.items[j], s)) return true;
    }
    return false;
  }
  QUARRY_HD bool refused_by_cap(std::uint32_t item, std::uint32_t s) const {
    return quota_stratum(item) == s && !s_.picked.has(item) && !within_caps(item);
  }

  QUARRY_HD FillCode missing_code(std::uint32_t s) const {
    const bool by_cap = capped(s);
    if (by_cap) return FillCode::kCap;
    const bool all = plan_.num_backfill == 0;
    const std::uint32_t n = all ? plan_.num_branches : plan_.num_backfill;
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::uint32_t b = all ? i : plan_.backfill[i];
      if (plan_.branches[b].source == SourceKind::kTopk &&
          plan_.branches[b].max_rank < world_.num_items) {
        return FillCode::kMaxRank;
      }
    }
    return plan_.has_quota != 0 && plan_.num_levels == 0 ? FillCode::kQuota : FillCode::kExhausted;
  }

  /// Empty slots behind the filled ones, a code and the stratum that misses it each.
  QUARRY_HD void name_missing() {
    g_.sync();
    std::uint32_t at = num_picks_;
    const std::uint32_t strata = plan_.has_quota != 0 ? world_.num_strata : 1;
    for (std::uint32_t s = 0; s < strata && at < plan_.k; ++s) {
      if (s_.left[s] == 0) continue;
      const std::uint32_t room = plan_.k - at;
      leave_empty(at, s_.left[s] < room ? s_.left[s] : room, s);
      at += s_.left[s] < room ? s_.left[s] : room;
    }
    if (at < plan_.k) leave_empty(at, plan_.k - at, 0);
    g_.sync();
  }
  QUARRY_HD void leave_empty(std::uint32_t first, std::uint32_t count, std::uint32_t stratum) {
    const FillCode code = missing_code(stratum);
    for (std::uint32_t slot = first + g_.rank(); slot < first + count; slot += g_.size())
      leave_slot_empty(out_, slot, code, stratum);
  }

  /// log(exp(a) + exp(b)). Never by way of the probabilities: those of a weighted pool are soon too
  /// small for a float, and their logs are what a loss subtracts.
  QUARRY_HD static float log_of_sum(float a, float b) {
    const float most = a < b ? b : a;
    const float least = a < b ? a : b;
    if (!is_finite(least)) return most;
    return most + exact_log(1.0f + exact_exp(least - most));
  }

  /// Adds the draws that a branch is expected to make of its pool's entry p. One of weight 0 is
  /// never drawn.
  QUARRY_HD void add_entry(std::uint32_t pick, const BranchRow& branch, std::uint32_t p,
                           float log_expected) {
    const float log_weight = branch.order.pool_log_weight[p];
    if (!is_finite(log_weight)) return;
    s_.log_draws[pick] =
        log_of_sum(s_.log_draws[pick], log_expected + (log_weight - branch.log_total));
  }

  /// The part of one pool branch in the expected draws: its own picks know their entry, those of
  /// other branches are found in one pass over the pool.
  QUARRY_HD void add_pool(std::uint32_t b, float log_expected) {
    const BranchRow& branch = branches_[b];
    std::uint32_t others = 0;
    for (std::uint32_t i = g_.rank(); i < num_picks_; i += g_.size()) {
      if (s_.origins[i].kind == 0) continue;
      if (out_.branch[i] == b) {
        add_entry(i, branch, s_.origins[i].pool_index, log_expected);
      } else {
        others += 1;
      }
    }
    others = g_.sum(others);
    if (others == 0) return;
    for (std::uint32_t p = g_.rank(); p < branch.pool_size; p += g_.size()) {
      const std::uint32_t item = branch.items[branch.order.pool_place[p]];
      if (!s_.picked.has(item)) continue;
      for (std::uint32_t i = 0; i < num_picks_; ++i) {
        if (out_.item[i] == item && out_.branch[i] != b && s_.origins[i].kind != 0)
          add_entry(i, branch, p, log_expected);
      }
    }
  }

  QUARRY_HD void add_draws(std::uint32_t b, float log_expected) {
    const DrawSpace& space = world_.draws[plan_.branches[b].draw];
    const std::uint64_t total = total_draw_weight(g_, space, row_);
    if (total == 0) return;
    for (std::uint32_t i = g_.rank(); i < num_picks_; i += g_.size()) {
      if (s_.origins[i].kind == 0) continue;
      const std::uint64_t w = draw_weight(space, row_, out_.item[i]);
      if (w == 0) continue;
      const float log_probability = exact_log(static_cast<float>(w) / static_cast<float>(total));
      s_.log_draws[i] = log_of_sum(s_.log_draws[i], log_expected + log_probability);
    }
  }

  QUARRY_HD void report_probabilities() {
    for (std::uint32_t i = g_.rank(); i < num_picks_; i += g_.size())
      s_.log_draws[i] = float_of_bits(0xFF800000u);
    g_.sync();
    for (std::uint32_t b = 0; b < plan_.num_branches; ++b) {
      const Branch& branch = plan_.branches[b];
      if (!is_sampled(branch)) continue;
      const float expected = static_cast<float>(plan_.k) * static_cast<float>(plan_.share[b]) /
                             static_cast<float>(plan_.share_sum);
      if (is_draw(branch)) {
        add_draws(b, exact_log(expected));
      } else {
        add_pool(b, exact_log(expected));
      }
      g_.sync();
    }
    for (std::uint32_t i = g_.rank(); i < num_picks_; i += g_.size()) {
      out_.logq[i] = s_.origins[i].kind != 0 ? s_.log_draws[i] : float_of_bits(0x7FC00000u);
    }
    g_.sync();
  }

  Group& g_;
  const World& world_;
  const Plan& plan_;
  const RowContext& row_;
  BranchRow* branches_;
  DrawTally* tallies_;
  MergeScratch s_;
  PickRow out_;
  std::uint32_t num_picks_ = 0;
  std::uint64_t share_offset_ = 0;
};

}  // namespace quarry

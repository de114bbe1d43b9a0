// One walk over a set.
#include "host/audit/tally.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/core/exec.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

void bump(std::uint32_t& count) {
  std::atomic_ref<std::uint32_t>(count).fetch_add(1, std::memory_order_relaxed);
}

template <class T>
void add_all(std::vector<T>& to, const std::vector<T>& from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

class Walker {
 public:
  Walker(const NegativeSet& set, const TallyTables& tables, Tally& tally)
      : set_(set), t_(tables), out_(tally), recipe_(tables.judge->recipe), judge_(*tables.judge) {
    for (std::size_t b = 0; b < recipe_.branches.size(); ++b) {
      filters_.push_back(filters_of(recipe_, b));
      replacement_.push_back(draws_with_replacement(recipe_, b));
    }
    for (const CapSpec& cap : recipe_.caps) caps_.push_back(t_.judge->column(cap.column));
    counts = tally.counts;
  }

  void walk(std::uint64_t index) {
    const NegativeSet::Row row = set_.row(index);
    ++counts.rows;
    counts.full_rows += row.count == set_.k() ? 1 : 0;
    counts.uncertified += row.certified != 0 ? 0 : 1;
    counts.disordered += slots_of(row) ? 0 : 1;
    counts.no_user += row.user < t_.judge->in.users.rows ? 0 : 1;
    judge_.begin(row.user, row.time, row.row_key, row.positives);
    positives_of(row);
    for (std::uint32_t j = 0; j < row.count; ++j) negative(row, j);
    repeats(row);
    caps_of(row);
  }

  Counts counts;

 private:
  std::uint32_t num_branches() const {
    return static_cast<std::uint32_t>(set_.schema().branches.size());
  }

  /// Counts the slots; false where columns contradict each other.
  bool slots_of(const NegativeSet::Row& row) {
    bool good = true;
    for (std::uint32_t j = 0; j < set_.k(); ++j) {
      const bool filled = j < row.count;
      good = good && (row.item[j] != kNoItem) == filled && (row.fill[j] == 0) == filled &&
             (row.branch[j] != 0xFF) == filled && (!filled || row.branch[j] < num_branches());
      const bool known = row.fill[j] < kNumFillCodes;
      counts.odd_codes += known ? 0 : 1;
      if (!filled && known) ++counts.missing[row.fill[j]];
      if (row.stratum[j] < set_.schema().strata.size() && known) {
        ++counts.slots[std::size_t{row.stratum[j]} * kNumFillCodes + row.fill[j]];
      } else {
        good = false;
      }
    }
    return good;
  }

  void positives_of(const NegativeSet::Row& row) {
    for (const std::uint32_t item : row.positives) {
      if (item >= out_.positives.size()) {
        ++counts.out_of_range;
        continue;
      }
      bump(out_.positives[item]);
      if (std::uint32_t* of = cohort(out_.cohort_positives, row.user)) bump(of[item]);
      if (t_.held_out != nullptr && HeldOut::contains(t_.held_out->fresh, row.user, item))
        ++counts.held_out_rows;
    }
    if (t_.held_out != nullptr)
      counts.held_out_chances += HeldOut::of(t_.held_out->all, row.user).size();
  }

  std::uint32_t* cohort(std::vector<std::uint32_t>& of, std::uint32_t user) {
    if (t_.cohort_of_user == nullptr || user >= t_.cohort_of_user->size()) return nullptr;
    const std::uint32_t c = (*t_.cohort_of_user)[user];
    return of.data() + std::size_t{c} * out_.negatives.size();
  }

  void negative(const NegativeSet::Row& row, std::uint32_t j) {
    ++counts.emitted;
    const std::uint32_t item = row.item[j];
    const std::uint32_t b = row.branch[j];
    counts.not_finite += std::isfinite(row.score[j]) ? 0 : 1;
    if (b < counts.picked.size()) ++counts.picked[b];
    const std::uint32_t num_items = set_.schema().num_items;
    const bool one_order =
        b >= recipe_.branches.size() || recipe_.branches[b].select != SelectKind::kFirstViolator;
    const bool agree = ranks_agree(row.raw_rank[j], row.survivor_rank[j], row.quantile[j],
                                   num_items, std::max(num_items, t_.judge->num_items), one_order);
    counts.odd_ranks += agree ? 0 : 1;
    if (item >= out_.negatives.size()) {
      ++counts.out_of_range;
      return;
    }
    bump(out_.negatives[item]);
    if (std::uint32_t* of = cohort(out_.cohort_negatives, row.user)) bump(of[item]);
    if (t_.strata != nullptr) counts.wrong_stratum += t_.strata->of_item[item] != row.stratum[j];
    if (b >= filters_.size()) return;
    filters(row, j, b);
    hardness(row, j, b);
    if (t_.held_out != nullptr) {
      const std::uint64_t hit = HeldOut::contains(t_.held_out->all, row.user, item) ? 1 : 0;
      for (HeldOutCount* count :
           {&counts.by_band[rank_band(row.raw_rank[j])], &counts.by_branch[b]}) {
        ++count->negatives;
        count->hits += hit;
      }
    }
  }

  /// Slots of the row by item, then place: a slot is a repeat if an earlier one holds its item, and
  /// allowed if the first of them is of the same branch and that draws with replacement.
  void repeats(const NegativeSet::Row& row) {
    places_.clear();
    for (std::uint32_t j = 0; j < row.count; ++j) {
      if (row.item[j] < out_.negatives.size())
        places_.push_back(std::uint64_t{row.item[j]} << 32 | j);
    }
    std::sort(places_.begin(), places_.end());
    std::size_t first = 0;
    for (std::size_t p = 1; p < places_.size(); ++p) {
      if (places_[p] >> 32 != places_[first] >> 32) {
        first = p;
        continue;
      }
      const std::uint8_t branch = row.branch[static_cast<std::uint32_t>(places_[p])];
      const bool allowed = row.branch[static_cast<std::uint32_t>(places_[first])] == branch &&
                           branch < replacement_.size() && replacement_[branch];
      counts.repeats += allowed ? 0 : 1;
    }
  }

  void filters(const NegativeSet::Row& row, std::uint32_t j, std::uint32_t b) {
    const JudgedItem c{row.item[j], row.score[j], row.raw_rank[j], row.survivor_rank[j]};
    counts.positives += judge_.is_positive(c.item) ? 1 : 0;
    ++counts.classes[std::size_t{b} * kNumExposureClasses +
                     static_cast<std::size_t>(judge_.exposure_class(c.item))];
    for (std::size_t f = 0; f < filters_[b].size(); ++f) {
      if (!RowJudge::can_judge(*filters_[b][f], c)) continue;
      FilterCount& count = counts.filters[b * out_.num_filters + f];
      ++count.judged;
      count.rejected += judge_.rejects(*filters_[b][f], c) ? 1 : 0;
    }
  }

  void hardness(const NegativeSet::Row& row, std::uint32_t j, std::uint32_t b) {
    if (!std::isnan(row.gap[j])) {
      ++counts.with_gap[b];
      counts.below_gap[b] += row.gap[j] < 0 ? 1 : 0;
    }
    const float x = row.quantile[j];
    if (!(x >= 0 && x <= 1)) return;
    ++counts.ranked[b];
    counts.quantile_sum[b] += static_cast<std::uint64_t>(static_cast<double>(x) * 0x1p32);
    ++counts.quantiles[std::size_t{b} * kQuantileBins + quantile_bin(x)];
  }

  void caps_of(const NegativeSet::Row& row) {
    bool above = false;
    for (std::size_t c = 0; c < caps_.size(); ++c) {
      if (caps_[c] == nullptr) continue;
      codes_.clear();
      for (std::uint32_t j = 0; j < row.count; ++j) {
        if (row.item[j] < caps_[c]->codes.size()) codes_.push_back(caps_[c]->codes[row.item[j]]);
      }
      std::sort(codes_.begin(), codes_.end());
      const std::size_t width = recipe_.caps[c].per_row;
      for (std::size_t i = 0; i + width < codes_.size(); ++i)
        above = above || (codes_[i] != 0 && codes_[i] == codes_[i + width]);
    }
    counts.rows_above_cap += above ? 1 : 0;
  }

  const NegativeSet& set_;
  const TallyTables& t_;
  Tally& out_;
  const Recipe& recipe_;
  RowJudge judge_;
  std::vector<std::vector<const FilterSpec*>> filters_;
  std::vector<bool> replacement_;
  std::vector<const CatalogueColumn*> caps_;
  std::vector<std::uint32_t> codes_;
  std::vector<std::uint64_t> places_;
};

/// Rows whose key stands in the set already. Sorts 8 bytes a row.
std::uint64_t repeated_keys_of(const NegativeSet& set) {
  std::vector<std::uint64_t> keys(set.rows());
  for (std::uint64_t r = 0; r < set.rows(); ++r) keys[r] = set.row(r).row_key;
  std::sort(keys.begin(), keys.end());
  return static_cast<std::uint64_t>(keys.end() - std::unique(keys.begin(), keys.end()));
}

}  // namespace

bool ranks_agree(std::uint32_t raw_rank, std::uint32_t survivor_rank, float quantile,
                 std::uint32_t num_items, std::uint32_t last_rank, bool one_order) {
  if (raw_rank > last_rank || survivor_rank > last_rank) return false;
  if (one_order && raw_rank != 0 && survivor_rank > raw_rank) return false;
  if (raw_rank == 0 || num_items == 0) return std::isnan(quantile);
  return quantile == static_cast<float>(raw_rank) / static_cast<float>(num_items);
}

std::uint32_t rank_band(std::uint32_t r) {
  if (r == 0) return kRankBands - 1;
  constexpr std::uint32_t kEnds[] = {10, 30, 100, 200, 400, 1000, 10000};
  std::uint32_t band = 0;
  while (band < 7 && r > kEnds[band]) ++band;
  return band;
}

const char* rank_band_name(std::uint32_t band) {
  constexpr const char* kNames[kRankBands] = {"1-10",       "11-30",       "31-100",
                                              "101-200",    "201-400",     "401-1000",
                                              "1001-10000", "above 10000", "drawn"};
  return kNames[band];
}

double quantile_bin_edge(std::uint32_t bin) {
  constexpr double kEdges[kQuantileBins] = {0,    1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4,
                                            1e-3, 3e-3, 1e-2, 3e-2, 0.1,  0.3};
  return kEdges[bin];
}

std::uint32_t quantile_bin(float x) {
  std::uint32_t bin = 0;
  while (bin + 1 < kQuantileBins && static_cast<double>(x) >= quantile_bin_edge(bin + 1)) ++bin;
  return bin;
}

void Counts::add(const Counts& o) {
  rows += o.rows, emitted += o.emitted, full_rows += o.full_rows, odd_codes += o.odd_codes;
  for (std::uint32_t c = 0; c < kNumFillCodes; ++c) missing[c] += o.missing[c];
  disordered += o.disordered, repeats += o.repeats, out_of_range += o.out_of_range;
  not_finite += o.not_finite, uncertified += o.uncertified, positives += o.positives;
  no_user += o.no_user, odd_ranks += o.odd_ranks;
  held_out_rows += o.held_out_rows, held_out_chances += o.held_out_chances;
  wrong_stratum += o.wrong_stratum, rows_above_cap += o.rows_above_cap;
  add_all(picked, o.picked), add_all(slots, o.slots), add_all(classes, o.classes);
  add_all(with_gap, o.with_gap), add_all(below_gap, o.below_gap);
  add_all(quantiles, o.quantiles), add_all(ranked, o.ranked);
  add_all(quantile_sum, o.quantile_sum);
  for (std::size_t i = 0; i < filters.size(); ++i) {
    filters[i].judged += o.filters[i].judged;
    filters[i].rejected += o.filters[i].rejected;
  }
  const auto add_held_out = [](std::vector<HeldOutCount>& to,
                               const std::vector<HeldOutCount>& from) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      to[i].negatives += from[i].negatives;
      to[i].hits += from[i].hits;
    }
  };
  add_held_out(by_band, o.by_band);
  add_held_out(by_branch, o.by_branch);
}

std::vector<const FilterSpec*> filters_of(const Recipe& recipe, std::size_t branch) {
  std::vector<const FilterSpec*> filters;
  for (const FilterSpec& f : recipe.safety) filters.push_back(&f);
  for (const FilterSpec& f : recipe.branches[branch].filters) filters.push_back(&f);
  return filters;
}

bool draws_with_replacement(const Recipe& recipe, std::size_t branch) {
  return recipe.branches[branch].select == SelectKind::kSampleReplacement;
}

Tally tally_set(const NegativeSet& set, const TallyTables& tables, const Exec& exec) {
  Tally tally;
  const std::size_t branches = set.schema().branches.size();
  const std::size_t items = tables.judge->num_items;
  for (std::size_t b = 0; b < tables.judge->recipe.branches.size(); ++b) {
    const auto size = static_cast<std::uint32_t>(filters_of(tables.judge->recipe, b).size());
    tally.num_filters = std::max(tally.num_filters, size);
  }
  tally.negatives.assign(items, 0);
  tally.positives.assign(items, 0);
  tally.cohort_negatives.assign(items * tables.num_cohorts, 0);
  tally.cohort_positives.assign(items * tables.num_cohorts, 0);
  Counts& empty = tally.counts;
  empty.picked.assign(branches, 0);
  empty.slots.assign(set.schema().strata.size() * kNumFillCodes, 0);
  empty.filters.assign(branches * tally.num_filters, {});
  empty.classes.assign(branches * kNumExposureClasses, 0);
  empty.by_band.assign(kRankBands, {});
  empty.by_branch.assign(branches, {});
  empty.with_gap.assign(branches, 0);
  empty.below_gap.assign(branches, 0);
  empty.quantiles.assign(branches * kQuantileBins, 0);
  empty.ranked.assign(branches, 0);
  empty.quantile_sum.assign(branches, 0);
  std::vector<Walker> walkers;
  walkers.reserve(static_cast<std::size_t>(exec.threads));
  for (int i = 0; i < exec.threads; ++i) walkers.emplace_back(set, tables, tally);
  parallel_for(exec, set.rows(), 1024, [&](std::uint64_t begin, std::uint64_t end) {
    Walker& walker = walkers[static_cast<std::size_t>(worker_index())];
    stop_audit_if_asked(tables.stop);
    for (std::uint64_t row = begin; row < end; ++row) walker.walk(row);
  });
  for (const Walker& walker : walkers) tally.counts.add(walker.counts);
  tally.repeated_keys = repeated_keys_of(set);
  return tally;
}

}  // namespace quarry

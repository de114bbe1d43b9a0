// One walk over a set: everything that can be counted row by row, in integers, so that the order of
// the threads does not matter.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "host/audit/audit.h"
#include "host/audit/held_out.h"
#include "host/audit/row_judge.h"
#include "host/audit/strata.h"

namespace quarry {

/// Bands of raw ranks; the last is for items without a rank (drawn ones).
inline constexpr std::uint32_t kRankBands = 9;
std::uint32_t rank_band(std::uint32_t raw_rank);
const char* rank_band_name(std::uint32_t band);

/// Bins of the rank quantile x: [0, 1e-6), then two a decade up to 1.
inline constexpr std::uint32_t kQuantileBins = 13;
std::uint32_t quantile_bin(float x);
double quantile_bin_edge(std::uint32_t bin);  ///< lower edge

/// Whether ranks and quantile of a filled slot are what host/store/FORMAT.md says; `num_items` is
/// the set's, by which it counts quantiles, `last_rank` the largest rank that there can be. Ranks
/// are in `one_order` but with first_violator, where the raw rank is the place of the draw.
bool ranks_agree(std::uint32_t raw_rank, std::uint32_t survivor_rank, float quantile,
                 std::uint32_t num_items, std::uint32_t last_rank, bool one_order = true);

struct FilterCount {
  std::uint64_t judged = 0, rejected = 0;
};

struct HeldOutCount {
  std::uint64_t negatives = 0, hits = 0;
};

struct Counts {
  std::uint64_t rows = 0, emitted = 0, full_rows = 0;
  std::uint64_t missing[kNumFillCodes] = {};
  std::uint64_t odd_codes = 0;        ///< fill codes that do not exist
  std::vector<std::uint64_t> picked;  ///< by branch
  std::vector<std::uint64_t> slots;   ///< [strata, fill code]
  std::uint64_t disordered = 0, repeats = 0, out_of_range = 0, not_finite = 0, uncertified = 0;
  std::uint64_t no_user = 0;           ///< rows whose user is not in the table
  std::uint64_t odd_ranks = 0;         ///< filled slots whose ranks contradict each other
  std::uint64_t positives = 0;         ///< negatives that are positives
  std::vector<FilterCount> filters;    ///< [branches, filters]: safety first
  std::vector<std::uint64_t> classes;  ///< [branches, exposure class]
  std::vector<HeldOutCount> by_band, by_branch;
  std::uint64_t held_out_rows = 0;     ///< positives of rows that are fresh held-out ones
  std::uint64_t held_out_chances = 0;  ///< sum over rows of the user's held-out positives
  std::vector<std::uint64_t> with_gap, below_gap;  ///< by branch
  std::uint64_t wrong_stratum = 0, rows_above_cap = 0;
  std::vector<std::uint64_t> quantiles;             ///< [branches, bins]
  std::vector<std::uint64_t> ranked, quantile_sum;  ///< by branch; sums in 2^-32
  void add(const Counts& other);
};

struct Tally {
  Counts counts;
  std::vector<std::uint32_t> negatives;  ///< [items] in how many slots
  std::vector<std::uint32_t> positives;  ///< [items] in how many rows' positives
  std::vector<std::uint32_t> cohort_negatives, cohort_positives;  ///< [cohorts, items]
  std::uint32_t num_filters = 0;    ///< of the longest branch with safety
  std::uint64_t repeated_keys = 0;  ///< rows whose key an earlier one has
};

/// What the walk judges by; pointers may be null.
struct TallyTables {
  const JudgeTables* judge = nullptr;
  const HeldOut* held_out = nullptr;
  const WantedStrata* strata = nullptr;
  const std::vector<std::uint32_t>* cohort_of_user = nullptr;
  std::uint32_t num_cohorts = 0;
  const std::atomic<bool>* stop = nullptr;
};

/// Filters of a branch: safety, then its own.
std::vector<const FilterSpec*> filters_of(const Recipe& recipe, std::size_t branch);
/// Whether the branch may pick an item twice.
bool draws_with_replacement(const Recipe& recipe, std::size_t branch);

Tally tally_set(const NegativeSet& set, const TallyTables& tables, const Exec& exec);

}  // namespace quarry

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
  std::uint32_t num_filters = 0;  ///< of the longest branch with safety
};

/// What the walk judges by; pointers may be null.
struct TallyTables {
  const JudgeTables* judge = nullptr;
  const HeldOut* held_out = nullptr;
  const WantedStrata* strata = nullptr;
  const std::vector<std::uint32_t>* cohort_of_user = nullptr;
  std::uint32_t num_cohorts = 0;
};

/// Filters of a branch: safety, then its own.
std::vector<const FilterSpec*> filters_of(const Recipe& recipe, std::size_t branch);
/// Whether the branch may pick an item twice.
bool draws_with_replacement(const Recipe& recipe, std::size_t branch);

Tally tally_set(const NegativeSet& set, const TallyTables& tables, const Exec& exec);

}  // namespace quarry

// Do negatives hold as many held-out positives as their rank explains? The comparison that finds
// masks which knew the future.
//
// For sampled rows (one a user) the whole catalogue is scored and judged by the filters of each
// branch that searches or draws, with the held-out pairs taken as unknown to every list. Items that
// the branch could have picked fall into cells: row, branch, band of survivor rank (a fifth wide),
// stratum, popularity where the branch weighs it, and the value of a capped column that is full. A
// recipe that does not know which items are held out picks in each cell without looking at the
// mark, so the held-out items among the cell's picks are hypergeometric, and their sum over all
// cells has a known mean and variance. Within a band pick rates fall with the rank, and held-out
// items stand rather in front: that makes an honest set find a little more than expected, never
// less.
#pragma once

#include <string>
#include <vector>

#include "host/audit/metrics.h"
#include "host/audit/tally.h"

namespace quarry {

struct MatchedBand {
  std::string name;
  double held_out = 0, expected = 0;
  std::uint64_t observed = 0;
};
/// What the `column` filters of comparable branches rejected of what all other filters let through.
/// Whether a column knows the future cannot be told from its values.
struct ColumnCount {
  std::string filters;  ///< names, for words; empty: there is no such filter
  std::uint64_t held_out = 0, held_out_rejected = 0, others = 0, others_rejected = 0;
};
struct MatchedResult {
  std::string why_not;      ///< not empty: nothing was compared
  std::uint64_t users = 0;  ///< with a row and a held-out positive that masks must not know
  std::uint64_t rows = 0, cells = 0;
  double work = 0;                    ///< of these rows, as matched_row_work() has it
  std::vector<std::string> left_out;  ///< branches that cannot be compared
  std::vector<MatchedBand> bands;     ///< by survivor rank
  ColumnCount columns;
  MatchedTest test;
};

/// Multiplications, and comparisons with positives, that the filters of a branch may take in a row
/// with so many positives: every item that it may look at is held against each of these by
/// `near_duplicate`, `similarity` and `overlap`.
double branch_work(const JudgeTables& tables, std::size_t branch, std::uint64_t positives);
/// What a row takes: every item is scored, and judged in each branch that is compared.
double matched_row_work(const JudgeTables& tables, std::uint64_t positives);

/// Rows in an order without pattern, until settings.matched_rows or matched_work is reached. Throws
/// Cancelled if asked to stop.
MatchedResult compare_matched(const NegativeSet& set, const JudgeTables& tables,
                              const HeldOut& held_out, const WantedStrata* strata,
                              const AuditSettings& settings, const Exec& exec,
                              const std::atomic<bool>* stop = nullptr);

/// A number without pattern for each key: samples are those with the smallest.
std::uint64_t sample_hash(std::uint64_t key);

}  // namespace quarry

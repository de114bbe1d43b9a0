// Reported probabilities and sampling thresholds, computed again for sampled rows from nothing but
// the inputs (docs/row_contract.md sections 3, 4 and 6): every item is scored and judged, pools and
// their order are made anew, and what the set says must be that, bit by bit.
#pragma once

#include <string>

#include "host/audit/gates.h"
#include "host/audit/tally.h"

namespace quarry {

struct OddsResult {
  std::string why_not;        ///< not empty: nothing was compared
  std::string why_not_kappa;  ///< not empty: logq alone was
  std::uint64_t rows = 0;
  std::uint64_t logqs = 0, wrong_logqs = 0;    ///< filled slots
  std::uint64_t kappas = 0, wrong_kappas = 0;  ///< rows times sampled branches
  std::string first_logq, first_kappa;         ///< what is wrong there
};

/// Rows in an order without pattern, until settings.odds_rows or odds_work is reached, one at
/// least; rows that were never mined, have no user or whose search is not proven are passed over.
/// `strata` null: no quota. Throws Cancelled if asked to stop.
OddsResult check_odds(const NegativeSet& set, const JudgeTables& tables, const WantedStrata* strata,
                      const AuditSettings& settings, const Exec& exec,
                      const std::atomic<bool>* stop = nullptr);

}  // namespace quarry

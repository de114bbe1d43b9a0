// What probabilities of picks stand on that is the same for all rows.
#pragma once

#include <cstdint>
#include <vector>

#include "host/audit/row_judge.h"
#include "host/audit/strata.h"

namespace quarry {

/// From a draw space.
bool draws_items(const BranchSpec& branch);
/// By sampling keys, out of a list of candidates.
bool samples_by_keys(const BranchSpec& branch);
/// Whether its picks have a probability.
bool is_sampled_branch(const BranchSpec& branch);

/// What a draw branch may draw from, as far as it is not the row's.
struct DrawTable {
  std::vector<std::uint64_t> weight;  ///< [snapshot's items]
  std::uint64_t total = 0;
  bool timed = false;
};

/// What all rows share.
struct OddsTables {
  const JudgeTables& t;
  const WantedStrata* strata;
  bool kappas;
  std::vector<DrawTable> draws;            ///< [branches]
  std::vector<float> log_expected;         ///< [branches]
  std::vector<std::uint32_t> branch_hash;  ///< [branches]
  std::vector<const CatalogueColumn*> caps;

  OddsTables(const JudgeTables& tables, const WantedStrata* wanted, bool with_kappas);

 private:
  void add(std::size_t b);
};

}  // namespace quarry

// The oracle: what docs/row_contract.md says a row gets, worked out in the most naive way. It
// shares no algorithm with the engine (only the declarations of recipes, inputs and counters, and
// kernels/core/exact_math.h, which the contract names as the definition of log, exp and gumbel) and
// judges it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "host/mine/inputs.h"
#include "host/mine/miner.h"
#include "host/recipe/recipe.h"

namespace quarry::oracle {

struct Pick {
  std::uint32_t item;
  float score;
  std::uint32_t branch;
  std::uint32_t raw_rank;
  std::uint32_t survivor_rank;
  std::uint32_t stratum;
  float logq;
};

struct Row {
  std::vector<Pick> picks;           ///< in order of picking
  std::vector<std::uint8_t> codes;   ///< FillCode of each missing slot
  std::vector<std::uint32_t> lacks;  ///< stratum of each missing slot
  std::vector<float> kappa;          ///< [branches]
  float positive_min;                ///< NaN without positives
};

/// Everything that does not depend on the row, then one row at a time.
class Oracle {
 public:
  Oracle(const Recipe& recipe, const MinerInputs& inputs, std::uint32_t seed, std::uint32_t round);
  /// Judges one row and adds it to `counters`.
  Row mine(const RowsView& rows, std::uint64_t row);

  Counters counters;
  std::vector<StratumCounters> strata;

 private:
  friend struct RowJudge;
  using Lists = std::vector<std::vector<std::uint32_t>>;  // per user
  const Recipe& recipe_;
  const MinerInputs& in_;
  std::uint32_t seed_, round_;
  std::uint32_t num_items_, num_users_, dim_, universe_;
  std::int64_t as_of_, snapshot_as_of_;
  std::vector<std::uint32_t> count_;  // popularity, 0 beyond the snapshot
  std::uint64_t users_with_positive_ = 0;
  std::vector<std::vector<float>> items_, users_;                // unit rows under cosine
  std::map<std::string, std::vector<std::vector<float>>> unit_;  // feature tables as unit rows
  Lists own_positives_;
  std::vector<std::uint32_t> stratum_;      // per item
  std::vector<std::uint64_t> quota_;        // weight per stratum; one entry without a quota
  std::vector<std::uint32_t> level_width_;  // innermost first
  std::map<std::pair<double, std::uint32_t>, std::uint64_t> weights_;  // popularity^beta, as met
};

/// Philox4x32-10.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);
/// Upper 64 bits of r * n.
std::uint64_t scale(std::uint64_t r, std::uint64_t n);
/// -0 becomes +0; what is not a number gets the bits that are ordered last.
float canonical(float score);
float dot(const std::vector<float>& x, const std::vector<float>& y);
float l2(const std::vector<float>& x, const std::vector<float>& y);
/// x divided by its norm; rows of norm 0 stay.
std::vector<float> unit(const std::vector<float>& x);
std::uint32_t ordered_bits(float f);
/// Integer weight of an item with `count` positives for popularity^beta.
std::uint64_t popularity_weight(std::uint32_t count, std::uint32_t most, std::uint32_t num_items,
                                double beta);
std::vector<std::uint64_t> systematic(std::uint64_t n, const std::vector<std::uint64_t>& weights,
                                      std::uint64_t r64);
/// Returns what could not be placed.
std::uint64_t largest_remainder(std::uint64_t n, const std::vector<std::uint64_t>& weights,
                                const std::vector<std::uint64_t>& caps,
                                std::vector<std::uint64_t>* placed);

/// First difference between the answer and row `row` of a batch of the engine, "" if there is none.
/// Reported probabilities are compared within a tolerance, everything else bit by bit.
std::string difference(const Row& expected, const NegativeBatch& batch, std::uint64_t row);
/// The same for totals; the engine's fields beyond the contract are not looked at.
std::string difference(const Counters& expected, const Counters& actual, std::size_t num_branches);
std::string difference(const std::vector<StratumCounters>& expected,
                       const std::vector<StratumCounters>& actual);
std::string to_string(const Row& row);

}  // namespace quarry::oracle

// Filters judged again for one row and item, from the tables alone: no text is shared with the
// engine, but the exact score, what prepares vectors for it, and the random words that the contract
// defines.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "host/mine/inputs.h"

namespace quarry {

/// Rows of a table as fp32, in place where they are that already.
class FloatRows {
 public:
  FloatRows() = default;
  FloatRows(const Exec& exec, const MatrixView& table, bool unit);
  const float* row(std::uint32_t index) const { return rows_ + std::uint64_t{index} * dim_; }
  std::uint32_t dim() const { return dim_; }

 private:
  std::vector<float> held_;
  const float* rows_ = nullptr;
  std::uint32_t dim_ = 0;
};

/// What rows are judged by, made once.
struct JudgeTables {
  JudgeTables(const Exec& exec, const Recipe& recipe, const MinerInputs& tables, std::uint32_t seed,
              std::uint32_t round);

  const Recipe& recipe;
  const MinerInputs& in;
  std::uint32_t seed, round;
  std::uint32_t num_items;
  std::int64_t as_of = INT64_MAX;           ///< of the events: ages of events, rows without a time
  std::int64_t snapshot_as_of = INT64_MAX;  ///< of strata: ages of items
  std::uint32_t snapshot_items;
  std::vector<std::uint32_t> popularity;  ///< [items] positive users up to as_of
  std::vector<std::uint32_t>
      frozen_popularity;                    ///< [items] as the snapshot has it, 0 for newer ones
  std::uint64_t frozen_positive_users = 0;  ///< users with a positive then
  FloatRows items;                          ///< as scored
  std::map<std::string, FloatRows> unit;    ///< for similarities, by table; "" is the items
  std::map<std::string, std::vector<bool>> allowed;  ///< by item list

  /// Positive for more than `share` of the users with a positive, as the snapshot has both.
  bool is_universal(std::uint32_t item, double share) const {
    return frozen_popularity[item] > share * static_cast<double>(frozen_positive_users);
  }
  /// The table that a similarity filter compares on.
  const FloatRows& unit_rows(const std::string& table) const { return unit.at(table); }
  float similarity(const FloatRows& rows, std::uint32_t a, std::uint32_t b) const;
  const CatalogueColumn* column(const std::string& name) const;
};

struct JudgedItem {
  std::uint32_t item = 0;
  float score = 0;
  std::uint32_t raw_rank = 0, survivor_rank = 0;  ///< 0: not ranked
};

/// One row at a time; one object per thread.
class RowJudge {
 public:
  explicit RowJudge(const JudgeTables& tables);
  /// `overlooked`: items, ascending, whose pairs with the user the masks are taken not to know.
  void begin(std::uint32_t user, std::int64_t time, std::uint64_t row_key,
             std::span<const std::uint32_t> positives,
             std::span<const std::uint32_t> overlooked = {});
  /// Whether this judge can tell; segments are not in a set, ranks only of ranked items.
  static bool can_judge(const FilterSpec& filter, const JudgedItem& candidate);
  bool rejects(const FilterSpec& filter, const JudgedItem& candidate);

  bool is_positive(std::uint32_t item) const;       ///< of the user or the row
  bool is_row_positive(std::uint32_t item) const;   ///< of the row
  bool is_user_positive(std::uint32_t item) const;  ///< of the user's events and rows
  /// Items of which the user's events or rows say something; each once, ascending.
  std::vector<std::uint32_t> known_items() const;
  /// Class of the pair, kNonConsumption without events.
  ExposureClass exposure_class(std::uint32_t item) const;
  float score(std::uint32_t item);
  /// Of the row's positives; NaN without any.
  float positive_score(PositiveScore against);
  float largest_similarity(const FloatRows& rows, std::uint32_t item) const;

 private:
  struct Pair {
    ExposureClass exposure_class = ExposureClass::kNonConsumption;
    std::int64_t last_time = INT64_MIN;
  };
  Pair pair_of(std::uint32_t item) const;
  bool is_overlooked(std::uint32_t item) const;
  bool has_positive_code(const CatalogueColumn& column, std::uint32_t code);
  bool rejects_by_column(const FilterSpec& filter, std::uint32_t item) const;
  const float* query();

  const JudgeTables& t_;
  std::uint32_t user_ = 0;
  std::int64_t time_ = 0;
  std::uint64_t row_key_ = 0;
  std::span<const std::uint32_t> positives_, overlooked_;
  std::vector<std::uint32_t> inside_;  ///< positives inside the table, where some are not
  bool known_ = false;                 ///< the user has a vector
  std::vector<float> query_;
  bool has_query_ = false;
  float positive_scores_[kNumPositiveScores] = {};
  bool has_positive_scores_ = false;
  std::map<const CatalogueColumn*, std::vector<std::uint32_t>> codes_;  ///< of positives, sorted
  std::vector<const CatalogueColumn*> codes_made_;                      ///< for this row
};

}  // namespace quarry

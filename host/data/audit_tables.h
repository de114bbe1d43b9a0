// Tables that only an audit reads: which cohort a user belongs to, and scores of a model with
// labels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/data/tables.h"

namespace quarry {

/// A group of users each. Code 0: not in the table, or an empty field.
struct Cohorts {
  std::vector<std::uint32_t> of_user;  ///< [users] codes
  std::vector<std::string> names;      ///< [codes], in the order of the words; names[0] = ""
  std::uint64_t unknown_ids = 0;       ///< rows for users without an embedding, left out
};
/// Reads a column of a table of users. Throws InputError for a user that stands twice with
/// different groups.
Cohorts read_cohorts(const std::string& path, const std::string& user_column,
                     const std::string& column, const IdMap& users);

/// Scores of a model, a case a row.
struct ScoreTable {
  std::vector<double> score;        ///< probabilities
  std::vector<std::uint8_t> label;  ///< 0 or 1
  std::vector<double> rate;  ///< share of the negatives that was kept, (0, 1]; 1 without the column
  std::vector<std::uint32_t> item;  ///< empty without the column; kNoItem: unknown
  std::uint64_t size() const { return score.size(); }
};
/// Columns score and label, optional weight (the rate) and item. Throws InputError for scores
/// outside [0, 1], other labels, rates outside (0, 1].
ScoreTable read_scores(const std::string& path, const std::string& item_column, const IdMap& items);

}  // namespace quarry

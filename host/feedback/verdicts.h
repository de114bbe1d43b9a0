// Experts' verdicts, checked line by line against the set that they were sampled from.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host/data/feedback_tables.h"
#include "host/feedback/clustered_share.h"
#include "host/feedback/review_sample.h"
#include "host/store/negative_set.h"

namespace quarry {

enum class Verdict : std::uint8_t { kNegative, kPositive, kUnsure };
/// "negative", "positive", "unsure".
const char* words_of(Verdict verdict);

/// Names that differ in nothing but capitals (of ASCII) are one person's.
bool same_reviewer(const std::string& a, const std::string& b);

/// A file as it came back.
struct VerdictFile {
  std::string path;
  std::vector<VerdictLine> lines;
};

/// A negative that came back, with all that was said of it.
struct ReviewUnit {
  std::uint64_t row = 0;
  std::uint32_t slot = 0;
  std::uint32_t cell = 0;    ///< index into the cells
  VerdictCounts given = {};  ///< by Verdict, one of each reviewer
  /// What most reviewers said, kUnsure where there is a tie; nothing: nobody judged it.
  std::optional<Verdict> majority;
  std::string where;  ///< "file:line" where it stands first
};
struct Review {
  std::vector<SampleCell> cells;  ///< of all of the set that are not empty; sampled 0: none of it
  std::vector<ReviewUnit> units;  ///< by row and slot
  std::vector<std::pair<std::string, std::uint64_t>> reviewers;  ///< with their verdicts
  std::uint64_t lines = 0, not_judged = 0, repeated = 0;         ///< lines
  VerdictCounts verdicts = {};                                   ///< that count, by Verdict
};

/// A field of a table as spreadsheets may be shown it: one that they would take for a formula
/// (=, +, -, @, tab or carriage return first) has an apostrophe before it.
std::string inert_field(const std::string& text);

/// Throws InputError with file and line where a line is not of this set, was changed, has an
/// unknown verdict, or contradicts another of the same reviewer; and where no line has a verdict.
/// item_id: external id of an item of the set.
Review take_verdicts(const NegativeSet& set, const std::vector<VerdictFile>& files,
                     const std::function<std::string(std::uint32_t)>& item_id,
                     const std::atomic<bool>* stop);

/// Judged units and false negatives of each cell, in the order of the cells: those whose majority
/// is negative or positive.
std::vector<StratumCount> counts_by_cell(const Review& review);
/// The same units one by one, each with its cell and its row's user; rows without a user are one
/// each.
std::vector<JudgedUnit> judged_units(const Review& review, const NegativeSet& set);

}  // namespace quarry

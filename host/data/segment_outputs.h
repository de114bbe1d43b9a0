// What a model made of the negatives that it was trained on, a segment (a branch, a cell of a
// stratum) a line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace quarry {

/// A line of the table. What it leaves blank was not measured.
struct SegmentOutput {
  std::string by;       ///< "branch", or an attribute of items
  std::string segment;  ///< a branch, or a cell of the attribute
  std::uint64_t line = 0;
  std::uint64_t negatives = 0;              ///< seen in training
  std::optional<double> loss;               ///< mean over them, >= 0
  std::optional<std::uint64_t> confusions;  ///< of them, those that something calls positives
  std::optional<double> predicted;          ///< mean probability that the model gave, in [0, 1]
  std::optional<double> observed;           ///< the rate that came true, in [0, 1]
};

struct SegmentOutputs {
  std::vector<SegmentOutput> lines;
  std::vector<std::string> passed_over;  ///< columns that mean nothing here
};

/// A table with the columns by, segment, negatives and at least one of loss, confusions, and
/// predicted with observed. Throws InputError with file, line, column, value and range: a column
/// that is missing, a number that is none, negative or out of range, a segment that stands twice,
/// a table without a line.
SegmentOutputs read_segment_outputs(const std::string& path);

}  // namespace quarry

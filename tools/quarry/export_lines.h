// Rows of a set as lines that training libraries read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "host/store/negative_set.h"

namespace quarry {

enum class ExportFormat : std::uint8_t {
  kTriplets,
  kTuples,
  kLabeledPairs,
  kLabeledLists,
  kCsv,
  kNpy,
  kCandidates
};
enum class LineSyntax : std::uint8_t { kJson, kTab, kComma };

/// What stands for a user or an item in a line: its id, or a text joined to it.
struct ExportNames {
  std::function<std::string(std::uint32_t)> user, item;
  std::function<std::string(std::uint32_t)> title;  ///< empty: none are written
  /// Whether there is something to write; empty: always. What has none is left out.
  std::function<bool(std::uint32_t)> has_user, has_item;
};

/// Positives of a row that lines are made of: all, or the first.
inline std::span<const std::uint32_t> written_positives(std::span<const std::uint32_t> positives,
                                                        bool first_alone) {
  return first_alone ? positives.first(std::min<std::size_t>(1, positives.size())) : positives;
}

struct LineOptions {
  ExportFormat format = ExportFormat::kTriplets;
  LineSyntax syntax = LineSyntax::kJson;
  std::uint32_t negatives = 0;  ///< per tuple
  bool scores = false;          ///< triplets: columns score and gap
  bool first_positive = false;  ///< of several
  bool empty_slots = false;     ///< csv: a line for each, too
};

/// What was written of the rows, and what could not be.
struct ExportCounts {
  std::uint64_t rows = 0, lines = 0, negatives = 0;
  std::uint64_t rows_without_positive = 0;  ///< no triplet or tuple can be made of them
  std::uint64_t short_rows = 0;             ///< with fewer negatives than a tuple has
  std::uint64_t without_text = 0;           ///< users and items left out for want of a text
};

class LineMaker {
 public:
  LineMaker(const LineOptions& options, ExportNames names, const SetSchema& schema);
  /// The first line of a table; "" of JSON lines.
  std::string header() const;
  /// The lines of a row.
  void add(const NegativeSet::Row& row, std::uint64_t index, std::string& out);
  const ExportCounts& counts() const { return counts_; }

 private:
  /// A column, and how its value reads in JSON.
  struct Field {
    std::string name, value;
    bool quoted = true;
  };
  void put(const std::vector<Field>& fields, std::string& out);
  std::vector<std::string> columns() const;
  std::vector<std::uint32_t> positives_of(const NegativeSet::Row& row);
  std::vector<std::uint32_t> slots_of(const NegativeSet::Row& row);
  bool has_user(std::uint32_t user);
  bool has_item(std::uint32_t item);
  void add_title(const char* column, std::uint32_t item, std::vector<Field>& fields) const;
  void triplets(const NegativeSet::Row& row, std::string& out);
  void tuples(const NegativeSet::Row& row, std::string& out);
  void pairs(const NegativeSet::Row& row, std::string& out);
  void list(const NegativeSet::Row& row, std::string& out);
  void csv(const NegativeSet::Row& row, std::uint64_t index, std::string& out);

  LineOptions options_;
  ExportNames names_;
  SetSchema schema_;
  ExportCounts counts_;
};

/// Text as a JSON string.
std::string json_text(const std::string& text);
/// As a field of a table: in quotes where it holds the separator, quotes or line breaks.
std::string table_text(const std::string& text, char separator);
/// The shortest text that reads back as the same number; "" if it is not finite.
std::string float_text(float value);

}  // namespace quarry

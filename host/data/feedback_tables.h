// Tables that people filled in: experts' verdicts on sampled negatives, and what users asked for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/data/tables.h"

namespace quarry {

/// A line of a file that `quarry review export` wrote, as it came back. Ids are those of the file.
struct VerdictLine {
  std::uint64_t line = 0;
  std::string review, item;
  std::string sampled_by, cell;  ///< how the sample was drawn, and the cell the line stands for
  std::uint64_t population = 0, sampled = 0;
  double weight = 0;
  std::string verdict, reviewer;  ///< without spaces at both ends; "" where nothing was filled in
};
/// Throws InputError naming the line.
std::vector<VerdictLine> read_verdict_lines(const std::string& path);

/// What a user said of an item.
struct UserRecord {
  std::uint64_t line = 0;
  std::uint32_t user = 0, item = 0;
  std::int64_t time = 0;
  std::string kind;
};
struct UserRecords {
  std::vector<UserRecord> records;  ///< in the order of the file
  std::uint64_t lines = 0, unknown_ids = 0;
};
/// Names of the columns: user, item, time and kind of `columns`. Under UnknownIds::kReject an id
/// without an embedding throws InputError, which names lines and never a user.
UserRecords read_user_records(const std::string& path, const EventColumns& columns,
                              const IdMap& users, const IdMap& items, UnknownIds unknown);

}  // namespace quarry

// Training rows from a table or from the positives of the event log.
#include <algorithm>

#include "host/data/field.h"
#include "host/data/message.h"
#include "host/data/row_keys.h"
#include "host/data/table_scan.h"
#include "host/data/tables.h"

namespace quarry {
namespace {

/// "a|b|c" into its ids; an empty field holds none.
void split_ids(std::string_view field, std::vector<std::string_view>* ids) {
  ids->clear();
  while (!field.empty()) {
    const std::size_t bar = field.find('|');
    ids->push_back(field.substr(0, bar));
    if (bar == std::string_view::npos) return;
    field.remove_prefix(bar + 1);
    if (field.empty()) ids->push_back(field);
  }
}

}  // namespace

RowTable read_rows(const std::string& path, const RowColumns& columns, const IdMap& users,
                   const IdMap& items, UnknownIds unknown, bool number_duplicates) {
  const RowColumns defaults;
  TableScan scan(path);
  const std::size_t user_slot = scan.add(columns.user);
  const std::size_t key_slot = scan.add_optional(columns.row_key, defaults.row_key);
  const std::size_t item_slot = scan.add_optional(columns.item, defaults.item);
  const std::size_t time_slot = scan.add_optional(columns.time, defaults.time);
  const std::size_t segment_slot = scan.add_optional(columns.segment, defaults.segment);

  UnknownIdLog unknown_ids(unknown, path);
  RowTable rows;
  rows.positive_offsets.push_back(0);
  std::vector<std::uint64_t> source_row;
  std::vector<std::string_view> ids;
  std::vector<std::uint32_t> sorted;
  while (scan.next()) {
    const std::optional<std::uint32_t> user =
        unknown_ids.resolve(users, scan.field(user_slot), "user", scan);
    split_ids(scan.field(item_slot), &ids);
    const std::size_t first = rows.positives.size();
    for (const std::string_view id : ids) {
      const std::optional<std::uint32_t> item = unknown_ids.resolve(items, id, "item", scan);
      if (item) rows.positives.push_back(*item);
    }
    sorted.assign(rows.positives.begin() + static_cast<std::ptrdiff_t>(first),
                  rows.positives.end());
    std::sort(sorted.begin(), sorted.end());
    const auto repeat = std::adjacent_find(sorted.begin(), sorted.end());
    if (repeat != sorted.end()) {
      throw_input_error(scan.where(), ": item ", shown(items.id_of(*repeat)),
                        " stands twice in the row; name each positive once");
    }
    const std::int64_t time = scan.field(time_slot).empty() ? INT64_MAX : time_in(scan, time_slot);
    // The key is made of the ids as written, so it stays the same when an embedding comes or goes.
    const std::uint64_t key = key_slot == TableScan::kAbsent
                                  ? row_key_of(scan.field(user_slot), ids, time)
                                  : parse_at(scan, [&](const std::string& where) {
                                      return parse_u64(scan.field(key_slot), "row key", where);
                                    });
    // A row that had positives and lost them all would change its meaning: filters relative to them
    // would do nothing.
    const bool lost = !ids.empty() && rows.positives.size() == first;
    if (!user || lost) {
      rows.positives.resize(first);
      ++rows.dropped_rows;
      continue;
    }
    rows.dropped_positives += ids.size() - (rows.positives.size() - first);
    rows.key.push_back(key);
    rows.user.push_back(*user);
    rows.time.push_back(time);
    if (segment_slot != TableScan::kAbsent) rows.segment.emplace_back(scan.field(segment_slot));
    rows.positive_offsets.push_back(rows.positives.size());
    source_row.push_back(scan.row());
  }
  unknown_ids.finish();
  rows.unknown_ids = unknown_ids.count();
  if (number_duplicates) {
    number_repeated_keys(&rows.key);
  } else if (const auto repeat = find_repeated_key(rows.key)) {
    throw_input_error(at_line(path, scan.line_of(source_row[repeat->second])), ": row key ",
                      rows.key[repeat->second],
                      key_slot == TableScan::kAbsent ? " (of user, positives and time)" : "",
                      " stands already in line ", scan.line_of(source_row[repeat->first]),
                      "; keys must be unique, they steer the random choices. Remove the row or "
                      "number the repeats "
                      "with --number-duplicates");
  }
  return rows;
}

RowTable rows_from_exposure(const Exposure& exposure, RowsFrom from, const IdMap& users,
                            const IdMap& items) {
  QUARRY_CHECK(exposure.offsets.size() == users.size() + 1);
  RowTable rows;
  rows.positive_offsets.push_back(0);
  std::vector<std::string> names;
  std::vector<std::string_view> ids;
  const auto finish_row = [&](std::uint32_t user, const std::string& user_id, std::int64_t time) {
    ids.assign(names.begin(), names.end());
    rows.key.push_back(row_key_of(user_id, ids, time));
    rows.user.push_back(user);
    rows.time.push_back(time);
    rows.positive_offsets.push_back(rows.positives.size());
    names.clear();
  };
  for (std::uint32_t user = 0; user < users.size(); ++user) {
    const std::string user_id = users.id_of(user);
    for (std::uint64_t p = exposure.offsets[user]; p < exposure.offsets[user + 1]; ++p) {
      if (exposure.classes[p] != static_cast<std::uint8_t>(ExposureClass::kPositive)) continue;
      rows.positives.push_back(exposure.items[p]);
      names.push_back(items.id_of(exposure.items[p]));
      if (from == RowsFrom::kPositives) finish_row(user, user_id, exposure.positive_time[p]);
    }
    // A row per user has no time of its own.
    if (!names.empty()) finish_row(user, user_id, INT64_MAX);
  }
  number_repeated_keys(&rows.key);
  return rows;
}

}  // namespace quarry

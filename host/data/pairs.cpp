// Tables of values for (user, item) pairs, and lists of items.
#include <algorithm>

#include "host/data/message.h"
#include "host/data/table_scan.h"
#include "host/data/tables.h"

namespace quarry {
void sort_pairs(std::vector<PairEntry>& entries) {
  std::sort(entries.begin(), entries.end(), [](const PairEntry& a, const PairEntry& b) {
    return a.pair != b.pair ? a.pair < b.pair : a.row < b.row;
  });
}

const PairEntry* first_repeat(const std::vector<PairEntry>& entries) {
  const auto repeat =
      std::adjacent_find(entries.begin(), entries.end(),
                         [](const PairEntry& a, const PairEntry& b) { return a.pair == b.pair; });
  return repeat == entries.end() ? nullptr : &*repeat;
}

PairValues pair_values(const std::vector<PairEntry>& entries, std::uint64_t num_users) {
  PairValues pairs;
  pairs.offsets.assign(num_users + 1, 0);
  pairs.items.reserve(entries.size());
  pairs.values.reserve(entries.size());
  for (const PairEntry& entry : entries) {
    ++pairs.offsets[(entry.pair >> 32) + 1];
    pairs.items.push_back(static_cast<std::uint32_t>(entry.pair));
    pairs.values.push_back(entry.value);
  }
  for (std::uint64_t u = 0; u < num_users; ++u) pairs.offsets[u + 1] += pairs.offsets[u];
  return pairs;
}

PairValues read_pairs(const std::string& path, const PairColumns& columns, const IdMap& users,
                      const IdMap& items, UnknownIds unknown) {
  return read_pairs(*open_table(path), columns, users, items, unknown);
}

PairValues read_pairs(TableReader& table, const PairColumns& columns, const IdMap& users,
                      const IdMap& items, UnknownIds unknown) {
  TableScan scan(table);
  const auto add = [&](const std::string& column, const char* key) {
    return scan.add(column, text_of("map another column with --pair-columns ", key, "=COLUMN"));
  };
  const std::size_t user_slot = add(columns.user, "user");
  const std::size_t item_slot = add(columns.item, "item");
  const std::size_t value_slot = add(columns.value, "value");
  UnknownIdLog unknown_ids(unknown, scan.name());
  std::uint64_t unknown_pairs = 0;
  std::vector<PairEntry> entries;
  while (scan.next()) {
    const std::optional<std::uint32_t> user =
        unknown_ids.resolve(users, scan.field(user_slot), "user", scan);
    const std::optional<std::uint32_t> item =
        unknown_ids.resolve(items, scan.field(item_slot), "item", scan);
    const float value = scan.number(value_slot, "value");
    if (user && item) {
      entries.push_back({std::uint64_t{*user} << 32 | *item, scan.row(), value});
    } else {
      ++unknown_pairs;
    }
  }
  unknown_ids.finish();
  sort_pairs(entries);
  if (const PairEntry* const repeat = first_repeat(entries)) {
    const auto item = static_cast<std::uint32_t>(repeat->pair);
    throw_input_error(at_line(scan.name(), scan.line_of(repeat[1].row)), ": the user with item ",
                      shown(items.id_of(item)), " stands already in line ",
                      scan.line_of(repeat[0].row),
                      "; a pair has one value. Remove one of the rows");
  }
  PairValues pairs = pair_values(entries, users.size());
  pairs.unknown_ids = unknown_pairs;
  return pairs;
}

std::vector<std::uint32_t> read_item_list(const std::string& path, const std::string& column,
                                          const IdMap& items, UnknownIds unknown,
                                          std::uint64_t* dropped) {
  return read_item_list(*open_table(path), column, items, unknown, dropped);
}

std::vector<std::uint32_t> read_item_list(TableReader& table, const std::string& column,
                                          const IdMap& items, UnknownIds unknown,
                                          std::uint64_t* dropped) {
  TableScan scan(table);
  const std::size_t slot =
      scan.add(column, "name the column behind the file: --item-list NAME=FILE:COLUMN");
  UnknownIdLog unknown_ids(unknown, scan.name());
  std::vector<std::uint32_t> list;
  while (scan.next()) {
    const std::optional<std::uint32_t> item =
        unknown_ids.resolve(items, scan.field(slot), "item", scan);
    if (item) list.push_back(*item);
  }
  unknown_ids.finish();
  if (dropped != nullptr) *dropped += unknown_ids.count();
  // A set: the table may be one of events, where items repeat.
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

}  // namespace quarry

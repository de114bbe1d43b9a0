// The tables around a mining run: ids, exposure, catalogue, rows, pair tables. Each reader takes
// the path of a file, or a TableReader: batches from Arrow, say, whose columns are typed already.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "host/data/table.h"
#include "host/recipe/recipe.h"
#include "kernels/core/exec.h"

namespace quarry {

/// What to do with an id that has no embedding.
enum class UnknownIds : std::uint8_t { kReject, kDrop };

/// External id of each table row. Ids are strings at the edge and row indices inside.
class IdMap {
 public:
  /// Row i is known as its decimal number.
  static IdMap identity(std::uint64_t rows);
  /// One id per embedding row, in order, from a column of a table. Throws InputError on repeats or
  /// a wrong count.
  static IdMap from_table(const std::string& path, const std::string& column, std::uint64_t rows,
                          const std::string& what);
  static IdMap from_table(TableReader& table, const std::string& column, std::uint64_t rows,
                          const std::string& what);
  /// The ids of a column alone, in order, whatever they name.
  static std::vector<std::string> read_column(TableReader& table, const std::string& column);
  /// Takes the ids as given.
  static IdMap from_ids(std::vector<std::string> ids, const std::string& what);

  std::uint64_t size() const { return rows_; }
  bool are_row_numbers() const { return identity_; }
  /// Index of an id, or nothing.
  std::optional<std::uint32_t> find(std::string_view id) const;
  std::string id_of(std::uint32_t index) const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::uint64_t rows_ = 0;
  bool identity_ = true;
  std::vector<std::string> ids_;
  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> index_;
};

/// Column names of a table, as mapped by flags or config.
struct EventColumns {
  std::string user = "user", item = "item", time = "time", kind = "kind", value = "value";
  bool value_required = false;  ///< the column `value` was asked for by name: it must be there
  std::string fixed_kind;  ///< if set, every event is of this kind and there need be no kind column
                           ///< (e.g. "rating")
};

/// The earliest and the latest time in logs; the first is behind the last where they are empty.
struct LogTimes {
  std::int64_t first = INT64_MAX, last = INT64_MIN;
};
LogTimes times_of(const std::vector<std::string>& logs, const EventColumns& columns);

/// What each user's events say about each item up to `as_of`, by user, items sorted.
struct Exposure {
  std::vector<std::uint64_t> offsets;   ///< [users + 1]
  std::vector<std::uint32_t> items;     ///< [pairs]
  std::vector<std::uint8_t> classes;    ///< [pairs] ExposureClass
  std::vector<std::int64_t> last_time;  ///< [pairs] of the latest event that counts
  std::vector<std::int64_t>
      positive_time;  ///< [pairs] first moment at which the events satisfied a positive rule;
                      ///< INT64_MIN where the pair is not positive
  std::vector<std::uint32_t> item_count;  ///< [items] positive pairs per item: the popularity
  std::int64_t as_of = INT64_MAX;
  std::int64_t latest_event = INT64_MIN;  ///< the latest time that any mask has seen
  std::uint64_t events = 0, events_after_as_of = 0, unknown_users = 0, unknown_items = 0;
  bool no_values = false;  ///< rules compare values and the log has no column of them
  /// Kinds of events that no rule names, with their numbers, the (at most 10) commonest first. Of
  /// a log with more than 10,000 such kinds the first 10,000 are counted.
  std::vector<std::pair<std::string, std::uint64_t>> unnamed_kinds;
};

/// Reads events in one pass, classifies every (user, item) by all of its events with time <= as_of.
/// The result does not depend on the order of the file. A log without the column `value` has no
/// values, unless that is another than the default or required: comparisons hold for no event of
/// it. Throws InputError with file, line, value and remedy.
Exposure read_exposure(const std::string& path, const EventColumns& columns,
                       const ExposureRules& rules, const IdMap& users, const IdMap& items,
                       std::optional<std::int64_t> as_of, UnknownIds unknown,
                       const Exec& exec = {});
Exposure read_exposure(TableReader& table, const EventColumns& columns, const ExposureRules& rules,
                       const IdMap& users, const IdMap& items, std::optional<std::int64_t> as_of,
                       UnknownIds unknown, const Exec& exec = {});
/// Several files as one log, whatever their order.
Exposure read_exposure(const std::vector<std::string>& paths, const EventColumns& columns,
                       const ExposureRules& rules, const IdMap& users, const IdMap& items,
                       std::optional<std::int64_t> as_of, UnknownIds unknown,
                       const Exec& exec = {});
/// The same with logs more that are no files.
Exposure read_exposure(const std::vector<std::string>& paths, const std::vector<TableReader*>& more,
                       const EventColumns& columns, const ExposureRules& rules, const IdMap& users,
                       const IdMap& items, std::optional<std::int64_t> as_of, UnknownIds unknown,
                       const Exec& exec = {});

/// One event, for callers that have them in memory.
struct Event {
  std::uint32_t user = 0;
  std::uint32_t item = 0;
  std::int64_t time = 0;
  std::uint16_t kind = 0;
  float value = 0.0f;  ///< NaN: none
};
/// Users go over the threads of `exec`, on the host whatever its device; holds the events twice for
/// a moment. Throws InputError for ids, kinds and times out of range.
Exposure classify_events(std::vector<Event> events, const std::vector<std::string>& kinds,
                         const ExposureRules& rules, std::uint64_t num_users,
                         std::uint64_t num_items, std::optional<std::int64_t> as_of,
                         const Exec& exec = {});

/// An attribute of items as codes; code 0 is empty and matches nothing.
struct CatalogueColumn {
  std::string name;
  std::vector<std::uint32_t> codes;  ///< [items]
  std::vector<std::string> names;    ///< [codes]; names[0] = ""
};
struct Catalogue {
  std::vector<CatalogueColumn> columns;
  std::vector<std::int64_t> first_seen;  ///< [items] or empty; INT64_MIN where the field is empty
  std::vector<std::int64_t> retired;     ///< [items] or empty; INT64_MAX where the field is empty
  std::vector<std::string> titles;       ///< [items] or empty
  std::uint64_t unknown_ids = 0;         ///< rows left out under UnknownIds::kDrop
  const CatalogueColumn* find(const std::string& name) const;
};
struct CatalogueColumns {
  std::string item = "item", first_seen = "first_seen", retired = "retired", title = "title";
};
/// Reads item attributes; every other column becomes a coded attribute (codes by first appearance
/// in *item* order, so file order does not matter). Items absent from the file have empty
/// attributes. first_seen/retired/title are optional.
Catalogue read_catalogue(const std::string& path, const CatalogueColumns& columns,
                         const IdMap& items, UnknownIds unknown);
Catalogue read_catalogue(TableReader& table, const CatalogueColumns& columns, const IdMap& items,
                         UnknownIds unknown);

/// Training rows, all of a run or a block of it (row_stream.h).
struct RowTable {
  std::vector<std::uint64_t> key;  ///< unique in a run
  std::vector<std::uint32_t> user;
  std::vector<std::int64_t> time;               ///< INT64_MAX where none is given
  std::vector<std::uint32_t> segment;           ///< places in segment_names; empty: no such column
  std::vector<std::string> segment_names;       ///< of the rows held, by first appearance
  std::vector<std::uint64_t> positive_offsets;  ///< [rows + 1]
  std::vector<std::uint32_t> positives;
  std::uint64_t unknown_ids = 0;  ///< users and positives left out under UnknownIds::kDrop
  std::vector<std::uint64_t>
      bare;  ///< rows of those held that lost every positive to items left out
  std::uint64_t size() const { return key.size(); }
  /// No rows; the memory stays.
  void clear();
};
struct RowColumns {
  std::string row_key = "row_key", user = "user", item = "item", time = "time", segment = "segment";
};
/// Reads rows; `item` may hold several ids separated by '|'; item, time, segment and row_key
/// columns are optional. Without a row_key the key is row_key_of(...). Repeated keys throw
/// InputError unless `number_duplicates`.
RowTable read_rows(const std::string& path, const RowColumns& columns, const IdMap& users,
                   const IdMap& items, UnknownIds unknown, bool number_duplicates);
enum class RowsFrom : std::uint8_t { kPositives, kUsers };
/// One row per positive pair (time = its positive_time) or one per user with a positive, in (user,
/// item) order.
RowTable rows_from_exposure(const Exposure& exposure, RowsFrom from, const IdMap& users,
                            const IdMap& items);
/// XXH3-64 of the external ids with type tags: 'u' user NUL, then per positive 'i' item NUL, then
/// 't' time (8 bytes LE).
std::uint64_t row_key_of(std::string_view user, const std::vector<std::string_view>& positives,
                         std::int64_t time);

/// Sorted lists without repeats, by user.
struct Lists {
  std::vector<std::uint64_t> offsets;  ///< [users + 1]
  std::vector<std::uint32_t> values;
};

/// Values for (user, item) pairs: teacher scores, external candidate runs. Sorted by item within a
/// user.
struct PairValues {
  std::vector<std::uint64_t> offsets;  ///< [users + 1]
  std::vector<std::uint32_t> items;
  std::vector<float> values;
  std::uint64_t unknown_ids = 0;  ///< rows left out under UnknownIds::kDrop
};
struct PairColumns {
  std::string user = "user", item = "item", value = "score";
};
/// A value of a pair, and where it was read.
struct PairEntry {
  std::uint64_t pair = 0;  ///< user << 32 | item
  std::uint64_t row = 0;
  float value = 0.0f;
};
/// Ascending by pair, then by row.
void sort_pairs(std::vector<PairEntry>& entries);
/// The first of two sorted entries of the same pair; null: there is none.
const PairEntry* first_repeat(const std::vector<PairEntry>& entries);
/// entries: ascending by pair, each once.
PairValues pair_values(const std::vector<PairEntry>& entries, std::uint64_t num_users);
/// Repeated pairs and non-finite values throw InputError.
PairValues read_pairs(const std::string& path, const PairColumns& columns, const IdMap& users,
                      const IdMap& items, UnknownIds unknown);
PairValues read_pairs(TableReader& table, const PairColumns& columns, const IdMap& users,
                      const IdMap& items, UnknownIds unknown);
/// Item indices named in the `item` column of a table; adds what was left out under
/// UnknownIds::kDrop to `dropped`.
std::vector<std::uint32_t> read_item_list(const std::string& path, const std::string& column,
                                          const IdMap& items, UnknownIds unknown,
                                          std::uint64_t* dropped = nullptr);
std::vector<std::uint32_t> read_item_list(TableReader& table, const std::string& column,
                                          const IdMap& items, UnknownIds unknown,
                                          std::uint64_t* dropped = nullptr);

}  // namespace quarry

// Reads an event log into events of known users and items, then classifies them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <unordered_map>

#include "host/data/message.h"
#include "host/data/table_scan.h"
#include "host/data/tables.h"

namespace quarry {
namespace {

/// Kinds that rules name, and one last number for all others: they only count as exposure.
class KindNumbers {
 public:
  explicit KindNumbers(const ExposureRules& rules) {
    for (const ExposureRule& rule : rules.rules) {
      for (const ExposureTerm& term : rule.terms) {
        if (std::find(names_.begin(), names_.end(), term.kind) == names_.end())
          names_.push_back(term.kind);
        has_comparison_ = has_comparison_ || term.op != ExposureTerm::Op::kExists;
      }
    }
    if (names_.size() >= 0xFFFF)
      throw ConfigError("exposure rules name more than 65,534 kinds of events; use fewer");
    // No kind in a log is empty, so this name is free.
    names_.emplace_back();
  }
  const std::vector<std::string>& names() const { return names_; }
  std::uint16_t unnamed() const { return static_cast<std::uint16_t>(names_.size() - 1); }
  bool has_comparison() const { return has_comparison_; }
  std::uint16_t number_of(std::string_view kind) const {
    const auto found = std::find(names_.begin(), names_.end() - 1, kind);
    return static_cast<std::uint16_t>(found - names_.begin());
  }

 private:
  std::vector<std::string> names_;
  bool has_comparison_ = false;
};

/// Counts kinds that no rule names. A log with a kind per event must not fill the memory.
class UnnamedKinds {
 public:
  void add(std::string_view kind, std::uint64_t times = 1) {
    auto found = counts_.find(kind);
    if (found == counts_.end()) {
      if (is_full()) return;
      found = counts_.emplace(std::string(kind), 0).first;
    }
    found->second += times;
  }
  void add(const UnnamedKinds& others) {
    for (const auto& [kind, times] : others.counts_) add(kind, times);
  }
  bool is_full() const { return counts_.size() == kMostKinds; }
  std::vector<std::pair<std::string, std::uint64_t>> commonest() const {
    std::vector<std::pair<std::string, std::uint64_t>> all(counts_.begin(), counts_.end());
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    if (all.size() > kNamed) all.resize(kNamed);
    return all;
  }

 private:
  static constexpr std::size_t kMostKinds = 10000, kNamed = 10;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::unordered_map<std::string, std::uint64_t, Hash, std::equal_to<>> counts_;
};

/// Events of one log after another, until they are classified.
class EventLog {
 public:
  EventLog(const EventColumns& columns, const ExposureRules& rules, const IdMap& users,
           const IdMap& items, UnknownIds unknown)
      : columns_(columns),
        rules_(rules),
        kinds_(rules),
        users_(users),
        items_(items),
        unknown_(unknown) {}

  /// A large file in parts, by all threads.
  void read_file(const std::string& path, const Exec& exec) {
    const std::unique_ptr<TableReader> table = open_table(path);
    const std::uint64_t bytes = table->bytes();
    const auto parts =
        std::min(static_cast<std::uint64_t>(std::max(exec.threads, 1)), bytes / kLeastPartBytes);
    if (parts < 2 || !read_parts(path, bytes, parts, exec)) read(*table);
  }

  void read(TableReader& table) {
    TableScan scan(table);
    const Slots slots = add_columns(scan);
    UnknownIdLog unknown_ids(unknown_, scan.name());
    const std::uint16_t fixed_kind = kinds_.number_of(columns_.fixed_kind);
    std::uint64_t rows = 0;
    for (; scan.next(); ++rows) {
      // Room for the whole log at once: growth by doubling would hold three times its size for a
      // moment. Untouched room costs address space only.
      if (rows == 0) events_.reserve(events_.size() + scan.expected_rows());
      Event event;
      const std::optional<std::uint32_t> user =
          unknown_ids.resolve(users_, scan.field(slots.user), "user", scan);
      const std::optional<std::uint32_t> item =
          unknown_ids.resolve(items_, scan.field(slots.item), "item", scan);
      event.time = scan.time(slots.time);
      event.value = scan.blank(slots.value) ? std::numeric_limits<float>::quiet_NaN()
                                            : scan.number(slots.value, "value");
      event.kind = slots.kind == TableScan::kAbsent ? fixed_kind : kind_of(scan, slots.kind);
      latest_ = std::max(latest_.value_or(event.time), event.time);
      unknown_users_ += user ? 0 : 1;
      unknown_items_ += item ? 0 : 1;
      if (!user || !item) continue;
      event.user = *user;
      event.item = *item;
      events_.push_back(event);
    }
    unknown_ids.finish();
    rows_ += rows;
  }

  /// Without --as-of the last event of the logs ends them, also one of ids that were left out.
  Exposure classify(std::optional<std::int64_t> as_of, const Exec& exec) {
    Exposure exposure = classify_events(std::move(events_), kinds_.names(), rules_, users_.size(),
                                        items_.size(), as_of ? as_of : latest_, exec);
    exposure.events = rows_;
    exposure.no_values = no_values_ && kinds_.has_comparison();
    exposure.unknown_users = unknown_users_;
    exposure.unknown_items = unknown_items_;
    exposure.unnamed_kinds = unnamed_.commonest();
    const bool fixed = !columns_.fixed_kind.empty();
    if (fixed && kinds_.number_of(columns_.fixed_kind) == kinds_.unnamed() && rows_ > 0)
      exposure.unnamed_kinds.emplace_back(columns_.fixed_kind, rows_);
    return exposure;
  }

 private:
  struct Slots {
    std::size_t user, item, time, kind, value;
  };
  static constexpr std::uint64_t kLeastPartBytes = std::uint64_t{4} << 20;

  /// False, with nothing changed, where it cannot be told where records begin, and where something
  /// is wrong: the message is that of reading from the beginning.
  bool read_parts(const std::string& path, std::uint64_t bytes, std::uint64_t parts,
                  const Exec& exec) {
    if (begins_with_quotes(path)) return false;
    std::vector<std::unique_ptr<EventLog>> logs(parts);
    parallel_for(exec, parts, 1, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t p = begin; p < end; ++p)
        logs[p] = part_of(path, bytes * p / parts, bytes * (p + 1) / parts);
    });
    std::size_t events = events_.size();
    UnnamedKinds unnamed = unnamed_;
    for (const auto& log : logs) {
      if (log == nullptr) return false;
      events += log->events_.size();
      unnamed.add(log->unnamed_);
    }
    if (unnamed.is_full()) return false;
    unnamed_ = std::move(unnamed);
    events_.reserve(events);
    for (auto& log : logs) {
      events_.insert(events_.end(), log->events_.begin(), log->events_.end());
      rows_ += log->rows_;
      unknown_users_ += log->unknown_users_;
      unknown_items_ += log->unknown_items_;
      if (log->latest_) latest_ = std::max(latest_.value_or(*log->latest_), *log->latest_);
      no_values_ = no_values_ || log->no_values_;
      log.reset();
    }
    return true;
  }

  /// What quotes its fields mostly does so from the first row on, and need not be read twice.
  static bool begins_with_quotes(const std::string& path) {
    const std::unique_ptr<TableReader> table = open_table(path);
    TableBatch batch;
    try {
      table->next(batch);
    } catch (const InputError&) {
      return true;  // and its message is that of reading from the beginning
    }
    return table->has_quotes();
  }

  std::unique_ptr<EventLog> part_of(const std::string& path, std::uint64_t begin,
                                    std::uint64_t end) const {
    try {
      const std::unique_ptr<TableReader> table = open_table(path);
      if (!table->narrow(begin, end)) return nullptr;
      auto log = std::make_unique<EventLog>(columns_, rules_, users_, items_, unknown_);
      log->read(*table);
      return table->has_quotes() || log->unnamed_.is_full() ? nullptr : std::move(log);
    } catch (const std::exception&) {
      return nullptr;
    }
  }

  Slots add_columns(TableScan& scan) {
    const auto add = [&](const std::string& column, const char* key, const char* else_do = "") {
      return scan.add(column,
                      text_of("map another column with --event-columns ", key, "=COLUMN", else_do));
    };
    Slots slots{};
    slots.user = add(columns_.user, "user");
    slots.item = add(columns_.item, "item");
    slots.time = add(columns_.time, "time");
    const bool fixed = !columns_.fixed_kind.empty();
    const std::vector<std::string>& there = scan.column_names();
    const auto is_there = [&there](const std::string& column) {
      return std::find(there.begin(), there.end(), column) != there.end();
    };
    const EventColumns defaults;
    for (const std::string& kind : {columns_.kind, defaults.kind}) {
      if (!fixed || !is_there(kind)) continue;
      throw ConfigError(text_of("--event-kind ", columns_.fixed_kind, " would hide the column ",
                                shown(kind), " of ", scan.name(),
                                "; leave it out, or remove the column if it is not the kind"));
    }
    slots.kind =
        fixed ? TableScan::kAbsent
              : add(columns_.kind, "kind", ", or give every event one kind with --event-kind");
    // Many logs have kinds only. A column that was asked for by name must be there, needed or not.
    const bool required = columns_.value_required || columns_.value != defaults.value;
    const bool no_values = !required && !is_there(columns_.value);
    const bool compared = kinds_.has_comparison();
    const std::size_t value =
        required || (compared && !no_values) ? add(columns_.value, "value") : TableScan::kAbsent;
    slots.value = compared ? value : TableScan::kAbsent;
    no_values_ = no_values_ || no_values;
    return slots;
  }

  std::uint16_t kind_of(TableScan& scan, std::size_t slot) {
    const std::string_view kind = scan.field(slot);
    if (kind.empty()) {
      throw_input_error(
          scan.where(), ": the kind of event (column ", shown(columns_.kind),
          ") is empty; name it, give every event one kind with --event-kind, or remove the row");
    }
    const std::uint16_t number = kinds_.number_of(kind);
    if (number == kinds_.unnamed()) unnamed_.add(kind);
    return number;
  }

  const EventColumns& columns_;
  const ExposureRules& rules_;
  KindNumbers kinds_;
  const IdMap& users_;
  const IdMap& items_;
  UnknownIds unknown_;
  UnnamedKinds unnamed_;
  std::vector<Event> events_;
  std::uint64_t rows_ = 0, unknown_users_ = 0, unknown_items_ = 0;
  std::optional<std::int64_t> latest_;
  bool no_values_ = false;
};

}  // namespace

Exposure read_exposure(const std::string& path, const EventColumns& columns,
                       const ExposureRules& rules, const IdMap& users, const IdMap& items,
                       std::optional<std::int64_t> as_of, UnknownIds unknown, const Exec& exec) {
  return read_exposure(std::vector<std::string>{path}, columns, rules, users, items, as_of, unknown,
                       exec);
}

Exposure read_exposure(TableReader& table, const EventColumns& columns, const ExposureRules& rules,
                       const IdMap& users, const IdMap& items, std::optional<std::int64_t> as_of,
                       UnknownIds unknown, const Exec& exec) {
  EventLog log(columns, rules, users, items, unknown);
  log.read(table);
  return log.classify(as_of, exec);
}

Exposure read_exposure(const std::vector<std::string>& paths, const EventColumns& columns,
                       const ExposureRules& rules, const IdMap& users, const IdMap& items,
                       std::optional<std::int64_t> as_of, UnknownIds unknown, const Exec& exec) {
  EventLog log(columns, rules, users, items, unknown);
  for (const std::string& path : paths) log.read_file(path, exec);
  return log.classify(as_of, exec);
}

Exposure read_exposure(const std::vector<std::string>& paths, const std::vector<TableReader*>& more,
                       const EventColumns& columns, const ExposureRules& rules, const IdMap& users,
                       const IdMap& items, std::optional<std::int64_t> as_of, UnknownIds unknown,
                       const Exec& exec) {
  EventLog log(columns, rules, users, items, unknown);
  for (const std::string& path : paths) log.read_file(path, exec);
  for (TableReader* const table : more) log.read(*table);
  return log.classify(as_of, exec);
}

LogTimes times_of(const std::vector<std::string>& logs, const EventColumns& columns) {
  LogTimes times;
  for (const std::string& log : logs) {
    const std::unique_ptr<TableReader> table = open_table(log);
    TableScan scan(*table);
    const std::size_t slot =
        scan.add(columns.time, "map another column with --event-columns time=COLUMN");
    while (scan.next()) {
      const std::int64_t time = scan.time(slot);
      times.first = std::min(times.first, time);
      times.last = std::max(times.last, time);
    }
  }
  return times;
}

}  // namespace quarry

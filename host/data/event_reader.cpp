// Reads an event log into events of known users and items, then classifies them.
#include <algorithm>
#include <cmath>
#include <limits>
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
  void add(std::string_view kind) {
    auto found = counts_.find(kind);
    if (found == counts_.end()) {
      if (counts_.size() == kMostKinds) return;
      found = counts_.emplace(std::string(kind), 0).first;
    }
    ++found->second;
  }
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

}  // namespace

Exposure read_exposure(const std::string& path, const EventColumns& columns,
                       const ExposureRules& rules, const IdMap& users, const IdMap& items,
                       std::optional<std::int64_t> as_of, UnknownIds unknown, const Exec& exec) {
  return read_exposure(*open_table(path), columns, rules, users, items, as_of, unknown, exec);
}

Exposure read_exposure(TableReader& table, const EventColumns& columns, const ExposureRules& rules,
                       const IdMap& users, const IdMap& items, std::optional<std::int64_t> as_of,
                       UnknownIds unknown, const Exec& exec) {
  const KindNumbers kinds(rules);
  TableScan scan(table);
  const auto add = [&](const std::string& column, const char* key, const char* else_do = "") {
    return scan.add(column,
                    text_of("map another column with --event-columns ", key, "=COLUMN", else_do));
  };
  const std::size_t user_slot = add(columns.user, "user");
  const std::size_t item_slot = add(columns.item, "item");
  const std::size_t time_slot = add(columns.time, "time");
  const bool fixed = !columns.fixed_kind.empty();
  const std::vector<std::string>& there = scan.column_names();
  const auto is_there = [&there](const std::string& column) {
    return std::find(there.begin(), there.end(), column) != there.end();
  };
  const EventColumns defaults;
  for (const std::string& kind : {columns.kind, defaults.kind}) {
    if (!fixed || !is_there(kind)) continue;
    throw ConfigError(text_of("--event-kind ", columns.fixed_kind, " would hide the column ",
                              shown(kind), " of ", scan.name(),
                              "; leave it out, or remove the column if it is not the kind"));
  }
  const std::size_t kind_slot =
      fixed ? TableScan::kAbsent
            : add(columns.kind, "kind", ", or give every event one kind with --event-kind");
  // Many logs have kinds only. A column that was asked for by name must be there, needed or not.
  const bool required = columns.value_required || columns.value != defaults.value;
  const bool no_values = !required && !is_there(columns.value);
  const std::size_t value_column = no_values ? TableScan::kAbsent : add(columns.value, "value");
  const std::size_t value_slot = kinds.has_comparison() ? value_column : TableScan::kAbsent;

  const std::uint16_t fixed_kind = kinds.number_of(columns.fixed_kind);
  UnknownIdLog unknown_ids(unknown, scan.name());
  UnnamedKinds unnamed;
  std::vector<Event> events;
  std::uint64_t num_rows = 0, unknown_users = 0, unknown_items = 0;
  std::optional<std::int64_t> latest;
  for (; scan.next(); ++num_rows) {
    // Room for the whole log at once: growth by doubling would hold three times its size for a
    // moment. Untouched room costs address space only.
    if (num_rows == 0) events.reserve(scan.expected_rows());
    Event event;
    const std::optional<std::uint32_t> user =
        unknown_ids.resolve(users, scan.field(user_slot), "user", scan);
    const std::optional<std::uint32_t> item =
        unknown_ids.resolve(items, scan.field(item_slot), "item", scan);
    event.time = scan.time(time_slot);
    event.value = scan.blank(value_slot) ? std::numeric_limits<float>::quiet_NaN()
                                         : scan.number(value_slot, "value");
    event.kind = fixed_kind;
    if (!fixed) {
      const std::string_view kind = scan.field(kind_slot);
      if (kind.empty()) {
        throw_input_error(
            scan.where(), ": the kind of event (column ", shown(columns.kind),
            ") is empty; name it, give every event one kind with --event-kind, or remove the "
            "row");
      }
      event.kind = kinds.number_of(kind);
      if (event.kind == kinds.unnamed()) unnamed.add(kind);
    }
    latest = std::max(latest.value_or(event.time), event.time);
    unknown_users += user ? 0 : 1;
    unknown_items += item ? 0 : 1;
    if (!user || !item) continue;
    event.user = *user;
    event.item = *item;
    events.push_back(event);
  }
  unknown_ids.finish();

  // Without --as-of the log ends it, with all its rows: also those of ids that were left out.
  Exposure exposure = classify_events(std::move(events), kinds.names(), rules, users.size(),
                                      items.size(), as_of ? as_of : latest, exec);
  exposure.events = num_rows;
  exposure.no_values = no_values && kinds.has_comparison();
  exposure.unknown_users = unknown_users;
  exposure.unknown_items = unknown_items;
  exposure.unnamed_kinds = unnamed.commonest();
  if (fixed && fixed_kind == kinds.unnamed() && num_rows > 0)
    exposure.unnamed_kinds.emplace_back(columns.fixed_kind, num_rows);
  return exposure;
}

}  // namespace quarry

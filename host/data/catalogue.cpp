// Item attributes as codes.
#include <algorithm>
#include <unordered_map>

#include "host/data/message.h"
#include "host/data/table_scan.h"
#include "host/data/tables.h"

namespace quarry {
namespace {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};

/// Codes of one attribute. Numbers follow the file while it is read and are renamed to follow the
/// items at the end.
class AttributeBuilder {
 public:
  AttributeBuilder(std::string name, std::size_t slot, std::uint64_t num_items)
      : slot_(slot), codes_(num_items, 0), name_(std::move(name)) {}
  std::size_t slot() const { return slot_; }
  void set(std::uint32_t item, std::string_view value) {
    if (value.empty()) return;
    auto found = code_of_.find(value);
    if (found == code_of_.end()) {
      found = code_of_.emplace(std::string(value), static_cast<std::uint32_t>(code_of_.size() + 1))
                  .first;
    }
    codes_[item] = found->second;
  }
  CatalogueColumn finish() && {
    std::vector<std::uint32_t> renamed(code_of_.size() + 1, 0);
    std::uint32_t next = 1;
    for (std::uint32_t& code : codes_) {
      if (code != 0 && renamed[code] == 0) renamed[code] = next++;
      code = renamed[code];
    }
    CatalogueColumn column;
    column.name = std::move(name_);
    column.codes = std::move(codes_);
    column.names.resize(next);
    for (const auto& [value, code] : code_of_) column.names[renamed[code]] = value;
    return column;
  }

 private:
  std::size_t slot_;
  std::vector<std::uint32_t> codes_;
  std::string name_;
  std::unordered_map<std::string, std::uint32_t, TextHash, std::equal_to<>> code_of_;
};

}  // namespace

const CatalogueColumn* Catalogue::find(const std::string& name) const {
  const auto found = std::find_if(columns.begin(), columns.end(),
                                  [&](const CatalogueColumn& c) { return c.name == name; });
  return found == columns.end() ? nullptr : &*found;
}

Catalogue read_catalogue(const std::string& path, const CatalogueColumns& columns,
                         const IdMap& items, UnknownIds unknown) {
  return read_catalogue(*open_table(path), columns, items, unknown);
}

Catalogue read_catalogue(TableReader& table, const CatalogueColumns& columns, const IdMap& items,
                         UnknownIds unknown) {
  const CatalogueColumns defaults;
  TableScan scan(table);
  const auto remedy = [](const char* key) {
    return text_of("map another column with --catalogue-columns ", key, "=COLUMN");
  };
  const std::size_t item_slot = scan.add(columns.item, remedy("item"));
  const std::size_t first_seen_slot =
      scan.add_optional(columns.first_seen, defaults.first_seen, remedy("first_seen"));
  const std::size_t retired_slot =
      scan.add_optional(columns.retired, defaults.retired, remedy("retired"));
  const std::size_t title_slot = scan.add_optional(columns.title, defaults.title, remedy("title"));
  std::vector<AttributeBuilder> attributes;
  for (const std::string& name : scan.column_names()) {
    const bool is_special = name == columns.item || name == columns.first_seen ||
                            name == columns.retired || name == columns.title;
    if (!is_special) attributes.emplace_back(name, scan.add(name, ""), items.size());
  }

  Catalogue catalogue;
  if (first_seen_slot != TableScan::kAbsent) catalogue.first_seen.assign(items.size(), INT64_MIN);
  if (retired_slot != TableScan::kAbsent) catalogue.retired.assign(items.size(), INT64_MAX);
  if (title_slot != TableScan::kAbsent) catalogue.titles.resize(items.size());

  UnknownIdLog unknown_ids(unknown, scan.name());
  constexpr std::uint64_t kNoLine = UINT64_MAX;
  std::vector<std::uint64_t> line_of_item(items.size(), kNoLine);
  while (scan.next()) {
    const std::optional<std::uint32_t> item =
        unknown_ids.resolve(items, scan.field(item_slot), "item", scan);
    if (!item) continue;
    if (line_of_item[*item] != kNoLine) {
      throw_input_error(scan.where(), ": item ", shown(scan.field(item_slot)),
                        " stands already in ", scan.line_word(), " ", line_of_item[*item],
                        "; a catalogue has one row per item. Remove the repeated row");
    }
    line_of_item[*item] = scan.line();
    if (!scan.empty(first_seen_slot)) catalogue.first_seen[*item] = scan.time(first_seen_slot);
    if (!scan.empty(retired_slot)) catalogue.retired[*item] = scan.time(retired_slot);
    if (title_slot != TableScan::kAbsent) catalogue.titles[*item] = scan.field(title_slot);
    for (AttributeBuilder& attribute : attributes)
      attribute.set(*item, scan.field(attribute.slot()));
  }
  unknown_ids.finish();
  catalogue.unknown_ids = unknown_ids.count();
  for (AttributeBuilder& attribute : attributes)
    catalogue.columns.push_back(std::move(attribute).finish());
  return catalogue;
}

}  // namespace quarry

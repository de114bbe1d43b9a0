// What filters, weights, caps and sources look up by name, each put into the world once.
#include "host/mine/compile_tables.h"

#include <bit>
#include <utility>

#include "host/mine/snapshot.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint32_t kMaxColumns = 64;

}  // namespace

const float* prepare_table(const std::string& name, const Exec& exec, const MatrixView& table,
                           bool unit, Compiled& out) {
  const auto& rows = out.placement.share<std::vector<float>>(
      (unit ? "host unit rows " : "host rows ") + name, [&](Placement&) {
        std::vector<float> prepared(std::size_t{table.rows} * table.dim);
        parallel_for(exec, table.rows, 1024, [&](std::uint64_t begin, std::uint64_t end) {
          prepare_rows(table, begin, end, unit, prepared.data() + begin * table.dim);
        });
        return prepared;
      });
  out.prepared_bytes += rows.size() * sizeof(float);
  return rows.data();
}

void LookupTables::carry_columns(const std::set<std::string>& wanted) {
  World& w = out_.world;
  std::vector<const CatalogueColumn*> carried;
  std::string names = "columns";
  for (const CatalogueColumn& column : in_.catalogue->columns) {
    if (wanted.count(column.name) == 0) continue;
    column_index_[column.name] = w.num_columns++;
    carried.push_back(&column);
    names += name_part(column.name);
  }
  if (w.num_columns > kMaxColumns) {
    throw ConfigError("the recipe reads " + std::to_string(w.num_columns) +
                      " columns of the catalogue; at most " + std::to_string(kMaxColumns) +
                      " (overlap keeps them as one word of bits)");
  }
  if (carried.empty()) return;
  w.columns = out_.placement.share<const std::uint32_t*>(names, [&](Placement& arrays) {
    std::vector<std::uint32_t> codes;
    codes.reserve(carried.size() * out_.world.num_items);
    for (const CatalogueColumn* column : carried)
      codes.insert(codes.end(), column->codes.begin(), column->codes.end());
    return arrays.keep(std::move(codes));
  });
}

std::uint32_t LookupTables::column(const std::string& name, const std::string& who) const {
  const auto at = column_index_.find(name);
  if (at == column_index_.end()) {
    std::string known;
    if (in_.catalogue != nullptr) {
      for (const CatalogueColumn& c : in_.catalogue->columns) known += " '" + c.name + "'";
    }
    throw ConfigError(who + " reads column '" + name +
                      "', which the catalogue does not have (it has" +
                      (known.empty() ? " none" : known) +
                      "); give --catalogue a table with it, or drop the filter");
  }
  return at->second;
}

std::uint32_t LookupTables::segment_column(const std::string& name, const std::string& who) {
  const std::uint32_t at = column(name, who);
  if (!segment_column_.empty() && segment_column_ != name) {
    throw ConfigError("segment filters of one recipe must name one column; it names '" +
                      segment_column_ + "' and '" + name + "'");
  }
  segment_column_ = name;
  out_.segment_names = in_.catalogue->find(name)->names;
  return at;
}

template <class Make>
const LookupTables::PlacedList& LookupTables::placed_list(const std::string& key, Make&& make) {
  return out_.placement.share<PlacedList>("list " + key, [&](Placement& arrays) {
    UserArrays made = make();
    PlacedList list;
    list.pairs = pairs_of(made, out_.world.num_users);
    list.lists.offsets = arrays.own(std::move(made.offsets));
    list.lists.values = arrays.own(std::move(made.values));
    return list;
  });
}

template <class Make>
std::uint8_t LookupTables::list_place(const std::string& key, Make&& make) {
  const auto known = list_index_.find(key);
  if (known != list_index_.end()) return known->second;
  if (list_pairs_.size() == kMaxUserLists) {
    throw ConfigError("the recipe needs more than " + std::to_string(kMaxUserLists) +
                      " different lists per user (exposed classes, groups); merge some filters");
  }
  const auto index = static_cast<std::uint8_t>(list_pairs_.size());
  const PlacedList& list = placed_list(key, std::forward<Make>(make));
  out_.world.lists[index] = list.lists;
  list_pairs_.push_back(list.pairs);
  list_names_.push_back(key);
  list_index_[key] = index;
  return index;
}

/// The users' positives: of the filter on them, and what lists of groups are made from.
const LookupTables::PlacedList& LookupTables::positive_list() {
  return placed_list("positives", [&] { return user_lists_.positives(); });
}

std::uint8_t LookupTables::positives() {
  return list_place("positives", [&] { return user_lists_.positives(); });
}

std::uint8_t LookupTables::exposed(std::uint32_t classes, std::int64_t oldest) {
  return list_place("exposed " + std::to_string(classes) + " " + std::to_string(oldest),
                    [&] { return user_lists_.exposed(classes, oldest); });
}

std::uint8_t LookupTables::group(const std::string& column_name, std::uint32_t column) {
  return list_place("group " + column_name, [&] {
    return user_lists_.codes(positive_list().pairs,
                             out_.world.columns + std::size_t{column} * out_.world.num_items);
  });
}

std::uint8_t LookupTables::feature_table(const std::string& name, const std::string& who) {
  const auto known = feature_index_.find(name);
  if (known != feature_index_.end()) return known->second;
  if (feature_index_.size() == kMaxFeatureTables)
    throw ConfigError("at most 4 feature tables in one recipe");
  const std::size_t num_items = out_.world.num_items;
  FeatureTable table;
  if (name.empty()) {
    table.dim = in_.items.dim;
    table.rows = out_.placement.borrow("unit items", out_.host_unit_items, num_items * table.dim);
  } else {
    const auto at = in_.features.find(name);
    if (at == in_.features.end()) {
      throw ConfigError(who + " compares on table '" + name +
                        "', which was not given; add --feature " + name +
                        "=FILE, or leave 'table' out to compare item embeddings");
    }
    table.dim = at->second.dim;
    table.rows = out_.placement.borrow(
        "feature " + name, prepare_table("feature " + name, exec_, at->second, true, out_),
        num_items * table.dim);
  }
  const auto index = static_cast<std::uint8_t>(feature_index_.size());
  out_.world.features[index] = table;
  feature_index_[name] = index;
  return index;
}

const PairValues& LookupTables::pair_values(const std::string& name, const std::string& who) const {
  const auto at = in_.pairs.find(name);
  if (at == in_.pairs.end() || at->second == nullptr) {
    throw ConfigError(who + " reads table '" + name +
                      "' of user-item values, which was not given; add --pairs " + name +
                      "=FILE (columns user, item, score)");
  }
  return *at->second;
}

std::uint8_t LookupTables::pair_table(const std::string& name, const std::string& who) {
  const auto known = pair_index_.find(name);
  if (known != pair_index_.end()) return known->second;
  const PairValues& values = pair_values(name, who);
  if (pair_index_.size() == kMaxPairTables)
    throw ConfigError("at most 4 tables of user-item values in one recipe");
  const auto index = static_cast<std::uint8_t>(pair_index_.size());
  PairTable& table = out_.world.pairs[index];
  Placement& place = out_.placement;
  table.offsets =
      place.borrow("pair offsets " + name, values.offsets.data(), values.offsets.size());
  table.items = place.borrow("pair items " + name, values.items.data(), values.items.size());
  table.values = place.borrow("pair values " + name, values.values.data(), values.values.size());
  pair_index_[name] = index;
  return index;
}

template <class Make>
std::uint8_t LookupTables::bitmap(const std::string& key, Make&& make) {
  const auto known = bitmap_index_.find(key);
  if (known != bitmap_index_.end()) return known->second;
  if (bitmap_index_.size() == kMaxBitmaps)
    throw ConfigError("at most 4 item lists (universal, allow_list)");
  const auto index = static_cast<std::uint8_t>(bitmap_index_.size());
  out_.world.bitmaps[index] =
      out_.placement.share<const std::uint32_t*>("bitmap " + key, [&](Placement& arrays) {
        std::vector<std::uint32_t> words = make();
        words.resize((std::size_t{out_.world.num_items} + 31) / 32, 0);
        return arrays.keep(std::move(words));
      });
  bitmap_index_[key] = index;
  return index;
}

std::uint8_t LookupTables::universal(double share) {
  return bitmap("universal " + std::to_string(std::bit_cast<std::uint64_t>(share)),
                [&] { return universal_items(in_.exposure, out_.snapshot, share); });
}

std::uint8_t LookupTables::allow_list(const std::string& name, const std::string& who) {
  const auto list = in_.item_lists.find(name);
  if (list == in_.item_lists.end()) {
    throw ConfigError(who + " reads item list '" + name +
                      "', which was not given; add --item-list " + name + "=FILE");
  }
  return bitmap("allow " + name, [&] {
    std::vector<std::uint32_t> words((std::size_t{out_.world.num_items} + 31) / 32, 0);
    for (const std::uint32_t item : list->second) words[item / 32] |= 1u << (item % 32);
    return words;
  });
}

}  // namespace quarry

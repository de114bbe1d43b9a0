// What filters, weights, caps and sources look up by name, each put into the world once.
#include "host/mine/compile_tables.h"

#include <memory>
#include <utility>

#include "host/mine/snapshot.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint32_t kMaxColumns = 64;

}  // namespace

const float* prepare_table(const Exec& exec, const MatrixView& table, bool unit, Compiled& out) {
  auto rows = std::make_shared<std::vector<float>>(std::size_t{table.rows} * table.dim);
  parallel_for(exec, table.rows, 1024, [&](std::uint64_t begin, std::uint64_t end) {
    prepare_rows(table, begin, end, unit, rows->data() + begin * table.dim);
  });
  out.prepared_bytes += rows->size() * sizeof(float);
  out.keep_alive.push_back(rows);
  return rows->data();
}

void LookupTables::carry_columns(const std::set<std::string>& wanted) {
  World& w = out_.world;
  std::vector<std::uint32_t> codes;
  for (const CatalogueColumn& column : in_.catalogue->columns) {
    if (wanted.count(column.name) == 0) continue;
    column_index_[column.name] = w.num_columns++;
    codes.insert(codes.end(), column.codes.begin(), column.codes.end());
  }
  if (w.num_columns > kMaxColumns) {
    throw ConfigError("the recipe reads " + std::to_string(w.num_columns) +
                      " columns of the catalogue; at most " + std::to_string(kMaxColumns) +
                      " (overlap keeps them as one word of bits)");
  }
  if (w.num_columns > 0) w.columns = out_.placement.keep(std::move(codes));
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
std::uint8_t LookupTables::list_place(const std::string& key, Make&& make) {
  const auto known = list_index_.find(key);
  if (known != list_index_.end()) return known->second;
  if (list_pairs_.size() == kMaxUserLists) {
    throw ConfigError("the recipe needs more than " + std::to_string(kMaxUserLists) +
                      " different lists per user (exposed classes, groups); merge some filters");
  }
  const auto index = static_cast<std::uint8_t>(list_pairs_.size());
  UserArrays lists = make();
  list_pairs_.push_back(pairs_of(lists, out_.world.num_users));
  out_.world.lists[index].offsets = out_.placement.own(std::move(lists.offsets));
  out_.world.lists[index].values = out_.placement.own(std::move(lists.values));
  list_index_[key] = index;
  return index;
}

/// The users' positives, made for the first filter that needs them.
PairView LookupTables::positive_pairs() {
  if (!positive_pairs_) {
    positives_ = user_lists_.positives();
    positive_pairs_ = pairs_of(positives_, out_.world.num_users);
  }
  return *positive_pairs_;
}

std::uint8_t LookupTables::positives() {
  return list_place("positives", [&] {
    positive_pairs();
    return std::move(positives_);  // the view of them stays good
  });
}

std::uint8_t LookupTables::exposed(std::uint32_t classes, std::int64_t oldest) {
  return list_place("exposed " + std::to_string(classes) + " " + std::to_string(oldest),
                    [&] { return user_lists_.exposed(classes, oldest); });
}

std::uint8_t LookupTables::group(const std::string& column_name, std::uint32_t column) {
  return list_place("group " + column_name, [&] {
    return user_lists_.codes(positive_pairs(),
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
    table.rows = out_.placement.borrow(out_.host_unit_items, num_items * table.dim);
  } else {
    const auto at = in_.features.find(name);
    if (at == in_.features.end()) {
      throw ConfigError(who + " compares on table '" + name +
                        "', which was not given; add --feature " + name +
                        "=FILE, or leave 'table' out to compare item embeddings");
    }
    table.dim = at->second.dim;
    table.rows =
        out_.placement.borrow(prepare_table(exec_, at->second, true, out_), num_items * table.dim);
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
  table.offsets = out_.placement.borrow(values.offsets.data(), values.offsets.size());
  table.items = out_.placement.borrow(values.items.data(), values.items.size());
  table.values = out_.placement.borrow(values.values.data(), values.values.size());
  pair_index_[name] = index;
  return index;
}

std::uint8_t LookupTables::bitmap(const std::string& key, std::vector<std::uint32_t> words) {
  const auto known = bitmap_index_.find(key);
  if (known != bitmap_index_.end()) return known->second;
  if (bitmap_index_.size() == kMaxBitmaps)
    throw ConfigError("at most 4 item lists (universal, allow_list)");
  const auto index = static_cast<std::uint8_t>(bitmap_index_.size());
  words.resize(bitmap_words(), 0);
  out_.world.bitmaps[index] = out_.placement.keep(std::move(words));
  bitmap_index_[key] = index;
  return index;
}

std::uint8_t LookupTables::universal(double share) {
  return bitmap("universal " + std::to_string(share),
                universal_items(in_.exposure, out_.snapshot, share));
}

std::uint8_t LookupTables::allow_list(const std::string& name, const std::string& who) {
  const auto list = in_.item_lists.find(name);
  if (list == in_.item_lists.end()) {
    throw ConfigError(who + " reads item list '" + name +
                      "', which was not given; add --item-list " + name + "=FILE");
  }
  std::vector<std::uint32_t> words(bitmap_words(), 0);
  for (const std::uint32_t item : list->second) words[item / 32] |= 1u << (item % 32);
  return bitmap("allow " + name, std::move(words));
}

}  // namespace quarry

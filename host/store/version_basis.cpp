// What a version stood on.
#include "host/store/version_basis.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "host/store/kept_array.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint32_t kNone = 0xFFFFFFFFu;

ArrayShape pairs_shape(std::uint64_t length) { return {"<u8", 8, length, 2}; }
ArrayShape counts_shape(std::uint64_t length) { return {"<u4", 4, length, 1}; }

/// store.basis of a manifest; null where there is none.
Json basis_json(const std::string& manifest_json) {
  const Json manifest = Json::parse(manifest_json, nullptr, false);
  if (!manifest.is_object() || !manifest.contains("store") || !manifest["store"].is_object())
    return {};
  return manifest["store"].value("basis", Json());
}

Snapshot read_snapshot(const std::string& store, const Json& json) {
  Snapshot snapshot;
  snapshot.num_items = json.at("num_items").get<std::uint32_t>();
  snapshot.as_of = json.at("as_of").get<std::int64_t>();
  if (!json.at("positive_users").is_null())
    snapshot.positive_users = json.at("positive_users").get<std::uint64_t>();
  const std::vector<unsigned char> data =
      read_array(store, json.at("popularity").dump(), counts_shape(snapshot.num_items));
  snapshot.popularity.resize(snapshot.num_items);
  std::memcpy(snapshot.popularity.data(), data.data(), data.size());
  return snapshot;
}

std::uint64_t mixed(std::uint64_t key) {
  key ^= key >> 32;
  key *= 0x9E3779B97F4A7C15u;
  return key ^ (key >> 29);
}

}  // namespace

std::string keep_rows(const Store& store, const std::string& draft, const std::string& name,
                      const std::vector<RowBasis>& rows) {
  return keep_sealed(store.path(), draft, name, rows.data(), rows.size());
}

std::string keep_basis(const Store& store, const std::string& draft, const Dependence& dependence,
                       bool exact, const std::vector<std::string>& rows) {
  const Snapshot& snapshot = dependence.snapshot();
  Json common = Json::object();
  for (const auto& [name, value] : dependence.common()) common[name] = value;
  Json entries = Json::array();
  for (const std::string& entry : rows) entries.push_back(Json::parse(entry));
  static_assert(sizeof(ItemBasis) == 16);
  const Json items = Json::parse(keep_array(store.path(), draft, dependence.items().data(),
                                            pairs_shape(dependence.items().size())));
  const Json popularity = Json::parse(keep_array(store.path(), draft, snapshot.popularity.data(),
                                                 counts_shape(snapshot.num_items)));
  return Json{
      {"exact", exact},
      {"as_of", dependence.as_of()},
      {"common", std::move(common)},
      {"num_items", dependence.items().size()},
      {"items", items},
      {"snapshot",
       {{"num_items", snapshot.num_items},
        {"as_of", snapshot.as_of},
        {"positive_users", snapshot.positive_users ? Json(*snapshot.positive_users) : Json()},
        {"popularity", popularity}}},
      {"rows", std::move(entries)}}
      .dump();
}

std::optional<Snapshot> snapshot_of(const std::string& store, const std::string& manifest_json) {
  const Json basis = basis_json(manifest_json);
  if (!basis.is_object()) return std::nullopt;
  try {
    return read_snapshot(store, basis.at("snapshot"));
  } catch (const nlohmann::json::exception& error) {
    throw InputError(store + ": a version's store.basis is damaged: " + error.what());
  }
}

std::vector<std::string> arrays_of(const std::string& manifest_json) {
  const Json basis = basis_json(manifest_json);
  std::vector<std::string> entries;
  if (!basis.is_object()) return entries;
  try {
    entries.push_back(basis.at("items").dump());
    entries.push_back(basis.at("snapshot").at("popularity").dump());
    for (const Json& entry : basis.at("rows")) entries.push_back(entry.dump());
  } catch (const nlohmann::json::exception& error) {
    throw InputError(std::string("store.basis is damaged: ") + error.what());
  }
  return entries;
}

EarlierVersion::EarlierVersion(const Store& store, std::uint64_t number)
    : number_(number), store_(store.path()), set_(store.read(number, true)) {
  const std::string where = store.version_file(number);
  const Json manifest = Json::parse(set_.manifest_json(), nullptr, false);
  const Json basis = basis_json(set_.manifest_json());
  if (!basis.is_object()) {
    throw InputError(where +
                     ": does not keep what its rows stood on, as versions of this program do; "
                     "mine the version again, rows can be taken from the next one");
  }
  try {
    for (const auto& [name, value] : basis.at("common").items())
      basis_.common.emplace_back(name, value.get<std::string>());
    basis_.as_of = basis.at("as_of").get<std::int64_t>();
    basis_.exact = basis.at("exact").get<bool>();
    basis_.items.resize(basis.at("num_items").get<std::uint64_t>());
    const std::vector<unsigned char> items =
        read_array(store_, basis.at("items").dump(), pairs_shape(basis_.items.size()));
    if (!items.empty()) std::memcpy(basis_.items.data(), items.data(), items.size());
    snapshot_ = read_snapshot(store_, basis.at("snapshot"));
    for (const Json& entry : basis.at("rows")) row_entries_.push_back(entry.dump());
    shard_begin_.push_back(0);
    for (const Json& shard : manifest.at("shards"))
      shard_begin_.push_back(shard_begin_.back() + shard.at("rows").get<std::uint64_t>());
  } catch (const nlohmann::json::exception& error) {
    throw InputError(where + ": store.basis is damaged: " + error.what());
  }
  if (row_entries_.size() + 1 != shard_begin_.size())
    throw InputError(where + ": store.basis is not of the version's shards");
  rows_.resize(row_entries_.size());
  if (set_.rows() >= kNone) throw InputError(where + ": has too many rows to take some over");
  places_.assign(std::bit_ceil(std::max<std::uint64_t>(set_.rows() * 2, 2)), kNone);
  const std::uint64_t mask = places_.size() - 1;
  for (std::uint64_t r = 0; r < set_.rows(); ++r) {
    std::uint64_t at = mixed(set_.row(r).row_key) & mask;
    while (places_[at] != kNone) at = (at + 1) & mask;
    places_[at] = static_cast<std::uint32_t>(r);
  }
}

std::optional<std::uint64_t> EarlierVersion::find(std::uint64_t key) {
  if (next_ < set_.rows() && set_.row(next_).row_key == key) return next_++;
  const std::uint64_t mask = places_.size() - 1;
  for (std::uint64_t at = mixed(key) & mask; places_[at] != kNone; at = (at + 1) & mask) {
    if (set_.row(places_[at]).row_key != key) continue;
    next_ = std::uint64_t{places_[at]} + 1;
    return places_[at];
  }
  return std::nullopt;
}

RowBasis EarlierVersion::row(std::uint64_t row) {
  const auto at = std::upper_bound(shard_begin_.begin(), shard_begin_.end(), row);
  const auto shard = static_cast<std::size_t>(at - shard_begin_.begin()) - 1;
  std::vector<RowBasis>& rows = rows_[shard];
  if (rows.empty()) {
    const std::uint64_t count = shard_begin_[shard + 1] - shard_begin_[shard];
    const std::vector<unsigned char> data = read_sealed(store_, row_entries_[shard], count);
    rows.resize(count);
    std::memcpy(rows.data(), data.data(), data.size());
  }
  return rows[row - shard_begin_[shard]];
}

}  // namespace quarry

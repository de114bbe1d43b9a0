// A finished set as a table of pairs.
#include "tools/quarry/set_pairs.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "host/data/table.h"
#include "host/store/digest.h"
#include "host/store/negative_set.h"
#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/ids.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/recorded_run.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// Numbers of a set and what they are here.
class Numbers {
 public:
  /// then: ids of the set; nothing: row numbers.
  Numbers(std::optional<std::vector<std::string>> then, const IdMap& now)
      : then_(std::move(then)), now_(now) {}

  const char* known_as() const { return then_ ? "ids of a file" : "row numbers"; }
  /// kNoItem: it is not here.
  std::uint32_t here(std::uint32_t number) {
    const auto [at, fresh] = known_.try_emplace(number, kNoItem);
    if (fresh) at->second = ask(number);
    return at->second;
  }

 private:
  std::uint32_t ask(std::uint32_t number) const {
    if (!then_) return now_.find(std::to_string(number)).value_or(kNoItem);
    return number < then_->size() ? now_.find((*then_)[number]).value_or(kNoItem) : kNoItem;
  }

  std::optional<std::vector<std::string>> then_;
  const IdMap& now_;
  std::unordered_map<std::uint32_t, std::uint32_t> known_;
};

/// The file of ids that the manifest records under `role`; nothing where ids were row numbers.
std::optional<std::vector<std::string>> recorded_ids(const NegativeSet& set,
                                                     const std::string& set_name,
                                                     const std::string& role, const NamedPath& from,
                                                     const char* default_column) {
  if (from.path.empty()) return std::nullopt;
  const Json manifest = Json::parse(set.manifest_json());
  for (const Json& file : manifest.at("run").value("inputs", Json::array())) {
    if (file.value("role", "") != role) continue;
    if (digest_file(from.path).digest.hex() == file.value("xxh3_128", "")) {
      return IdMap::read_column(*open_table(from.path), id_column(from, default_column));
    }
  }
  throw InputError(fmt::format(
      "{}: is not the file of {} that {} was mined with, so its numbers cannot be told; put that "
      "file back, or write its negatives with their ids (quarry export --to csv) and give that "
      "file",
      from.path, role, set_name));
}

std::optional<std::int64_t> time_in(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

/// Up to when a set knew events, by itself and by the sets that it took over from.
void read_ends(const Json& run, SetPairs& pairs) {
  pairs.as_of = time_in(run, "as_of");
  const std::optional<std::int64_t> latest = time_in(run, "latest_event");
  if (!pairs.as_of) pairs.as_of = latest;
  // An as_of behind the last event knows no more than that.
  pairs.knew_until = latest ? latest : pairs.as_of;
  pairs.end_known = pairs.knew_until.has_value();
  for (const Json& behind : run.value("sets", Json::array())) {
    std::optional<std::int64_t> knew = time_in(behind, "knew_until");
    if (!knew) knew = time_in(behind, "as_of");
    if (knew) pairs.knew_until = std::max(*knew, pairs.knew_until.value_or(*knew));
    pairs.end_known = pairs.end_known && behind.value("end_known", knew.has_value());
  }
}

}  // namespace

bool names_a_set(const std::string& path) {
  std::error_code error;
  std::string store, reference;
  return std::filesystem::is_regular_file(path + "/manifest.json", error) ||
         split_reference(path, &store, &reference);
}

SetPairs pairs_of_set(const std::string& path, const IdMap& users, const IdMap& items,
                      PairValues* values) {
  SetPairs pairs;
  pairs.set = path;
  std::string store, reference;
  // A tag may mean another version tomorrow.
  if (split_reference(path, &store, &reference))
    pairs.set = fmt::format("{}@{}", store, Store::open(store).resolve(reference));
  const NegativeSet set = open_set(pairs.set, true);  // its manifest stands for all rows
  pairs.manifest_path = set.manifest_path();
  pairs.content_hash = set.content_hash();
  std::optional<std::vector<std::string>> user_ids, item_ids;
  if (has_recorded_run(set)) {
    const Json manifest = Json::parse(set.manifest_json());
    pairs.recipe = manifest["run"].value("recipe", Json::object()).value("name", "");
    pairs.model = manifest.value("store", Json::object()).value("model", "");
    read_ends(manifest["run"], pairs);
    const RunOptions then = recorded_options(text_of(set), CLI::App(), {});
    user_ids = recorded_ids(set, pairs.set, "user-ids", split_column(then.user_ids), "user");
    item_ids = recorded_ids(set, pairs.set, "item-ids", split_column(then.item_ids), "item");
  }
  Numbers user_here(std::move(user_ids), users);
  Numbers item_here(std::move(item_ids), items);

  std::vector<PairEntry> entries;
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const NegativeSet::Row row = set.row(r);
    if (row.count > 0 && row.user == kNoItem) {
      throw InputError(fmt::format(
          "{}: row {} names no user, so its negatives belong to none; sets that were mined from "
          "query vectors alone are no table of pairs",
          pairs.set, r));
    }
    pairs.negatives += row.count;
    const std::uint32_t user = row.count > 0 ? user_here.here(row.user) : kNoItem;
    for (std::uint32_t j = 0; j < row.count; ++j) {
      const std::uint32_t item = item_here.here(row.item[j]);
      if (user == kNoItem || item == kNoItem) {
        ++pairs.gone;
      } else {
        entries.push_back({std::uint64_t{user} << 32 | item, r, row.score[j]});
      }
    }
  }
  if (pairs.negatives > 0 && pairs.gone == pairs.negatives) {
    throw InputError(fmt::format(
        "{}: of its {} negatives none is of a user and an item that are here; were they mined with "
        "other ids (there: {}, here: {})?",
        pairs.set, pairs.negatives, user_here.known_as(),
        users.are_row_numbers() ? "row numbers" : "ids of a file"));
  }
  std::sort(entries.begin(), entries.end(), [](const PairEntry& a, const PairEntry& b) {
    return a.pair != b.pair ? a.pair < b.pair : a.value > b.value;
  });
  const auto same = [](const PairEntry& a, const PairEntry& b) { return a.pair == b.pair; };
  entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
  *values = pair_values(entries, users.size());
  return pairs;
}

namespace {

/// Flags of the pairs of one user that stay: [table][place in it].
class UserPruning {
 public:
  UserPruning(const MatrixView& items, double cosine) : items_(items), cosine_(cosine) {}

  /// keep: [pairs] of the whole table.
  void begin() {
    kept_.clear();
    kept_items_.clear();
  }
  void table(const PairValues& values, std::uint32_t user, std::uint8_t* keep) {
    const std::uint64_t first = values.offsets[user];
    const std::uint64_t end = values.offsets[user + 1];
    order_.clear();
    for (std::uint64_t p = first; p < end; ++p) order_.push_back(p);
    std::stable_sort(order_.begin(), order_.end(), [&](std::uint64_t a, std::uint64_t b) {
      return values.values[a] > values.values[b];
    });
    row_.resize(items_.dim);
    for (const std::uint64_t p : order_) {
      const std::uint32_t item = values.items[p];
      prepare_rows(items_, item, std::uint64_t{item} + 1, true, row_.data());
      const bool again =
          std::find(kept_items_.begin(), kept_items_.end(), item) != kept_items_.end();
      keep[p] = again || is_near() ? 0 : 1;
      if (keep[p] == 0) continue;
      kept_items_.push_back(item);
      kept_.insert(kept_.end(), row_.begin(), row_.end());
    }
  }

 private:
  /// As the filter near_duplicate has it.
  bool is_near() const {
    for (std::size_t at = 0; at < kept_.size(); at += items_.dim) {
      const float cosine =
          exact_score(Metric::kInnerProduct, kept_.data() + at, row_.data(), items_.dim);
      if (double{cosine} >= cosine_) return true;
    }
    return false;
  }

  const MatrixView& items_;
  double cosine_;
  std::vector<float> kept_, row_;  ///< unit vectors
  std::vector<std::uint32_t> kept_items_;
  std::vector<std::uint64_t> order_;
};

void leave_out(PairValues& values, const std::vector<std::uint8_t>& keep) {
  std::uint64_t to = 0;
  for (std::size_t u = 0; u + 1 < values.offsets.size(); ++u) {
    std::uint64_t from = values.offsets[u];
    values.offsets[u] = to;
    for (const std::uint64_t end = values.offsets[u + 1]; from < end; ++from) {
      if (keep[from] == 0) continue;
      values.items[to] = values.items[from];
      values.values[to++] = values.values[from];
    }
  }
  values.offsets.back() = to;
  values.items.resize(to);
  values.values.resize(to);
}

}  // namespace

void prune_near_pairs(const MatrixView& items, double cosine, const Exec& exec,
                      const std::vector<std::pair<SetPairs*, PairValues*>>& tables) {
  if (tables.empty()) return;
  std::vector<std::vector<std::uint8_t>> keep;
  keep.reserve(tables.size());
  for (const auto& [from, values] : tables) keep.emplace_back(values->items.size());
  Exec host = exec;
  host.device = Device::kCpu;
  const std::uint64_t users = tables.front().second->offsets.size() - 1;
  parallel_for(host, users, 16, [&](std::uint64_t begin, std::uint64_t end) {
    UserPruning pruning(items, cosine);
    for (std::uint64_t u = begin; u < end; ++u) {
      pruning.begin();
      for (std::size_t t = 0; t < tables.size(); ++t)
        pruning.table(*tables[t].second, static_cast<std::uint32_t>(u), keep[t].data());
    }
  });
  for (std::size_t t = 0; t < tables.size(); ++t) {
    const std::size_t before = tables[t].second->items.size();
    leave_out(*tables[t].second, keep[t]);
    tables[t].first->near = before - tables[t].second->items.size();
  }
}

}  // namespace quarry

// Reading and checking the tables of a miner of Python.
#include "python/bind/loaded_inputs.h"

#include <algorithm>
#include <utility>

#include "host/data/field.h"
#include "host/data/table.h"
#include "host/recipe/reparse.h"
#include "index/index_name.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint64_t kMostRows = 0xFFFFFFFEull;

/// The column that is named, or the only one there is, or the default.
std::string column_of(const IdSource& source, const char* default_column) {
  if (!source.column.empty()) return source.column;
  const auto names = open_table(source.path)->column_names();
  return names.size() == 1 ? names.front() : default_column;
}

IdMap ids_of(const IdSource& source, const char* default_column, std::uint64_t rows,
             const std::string& what) {
  if (!source.path.empty())
    return IdMap::from_table(source.path, column_of(source, default_column), rows, what);
  if (source.ids.empty()) return IdMap::identity(rows);
  if (source.ids.size() != rows) {
    throw InputError(what + ": " + std::to_string(source.ids.size()) + " ids for " +
                     std::to_string(rows) + " rows; give one id per row, in their order");
  }
  return IdMap::from_ids(source.ids, what);
}

}  // namespace

MatrixSource mapped(const MatrixSource& source) {
  if (source.path.empty()) return source;
  const auto file = std::make_shared<const Embeddings>(Embeddings::open(source.path));
  if (file->view().rows == 0)
    throw InputError(source.path + ": has no rows; one or more are needed");
  return {"", file->view(), file};
}

Recipe recipe_of(const MinerRequest& request, const std::vector<std::string>& more) {
  std::vector<std::string> overrides = request.overrides;
  overrides.insert(overrides.end(), more.begin(), more.end());
  if (request.recipe_is_text)
    return parse_recipe_with(request.recipe, request.recipe_file, request.round, overrides);
  return load_recipe(request.recipe, request.round, overrides);
}

LoadedInputs::LoadedInputs(const MinerRequest& request, int threads,
                           const std::function<void()>& pause)
    : recipe(recipe_of(request)), warnings(recipe.warnings) {
  open_tables(request);
  pause();
  name_rows(request);
  read_tables(request, threads, pause);
  know_positives(request);
  check_filters(request);
  const auto num_items = static_cast<std::uint32_t>(inputs.items.rows);
  if (exposure) {
    snapshot_ = make_snapshot(*exposure, num_items);
  } else {
    snapshot_.popularity.assign(num_items, 0);
    snapshot_.num_items = num_items;
    if (!request.as_of.empty()) snapshot_.as_of = parse_time(request.as_of, "as_of");
  }
  inputs.snapshot = &snapshot_;
}

LoadedInputs::LoadedInputs(const std::shared_ptr<const LoadedInputs>& base,
                           const MinerRequest& request)
    : recipe(base->recipe),
      item_ids(base->item_ids),
      user_ids(base->user_ids),
      inputs(base->inputs),
      warnings(base->warnings),
      base_(base->base_ != nullptr ? base->base_ : base) {  // never a chain of all there were
  inputs.items = inputs.users = {};
  open_tables(request);
}

MatrixView LoadedInputs::open(const MatrixSource& source, const std::string& name) {
  const MatrixView& view = source.view;
  if (view.rows == 0 || view.rows > kMostRows || view.dim == 0) {
    throw InputError(name + ": has " + std::to_string(view.rows) + " rows of " +
                     std::to_string(view.dim) +
                     " numbers; 1 to 4294967294 rows of 1 to 65536 numbers are supported");
  }
  return view;
}

void LoadedInputs::open_tables(const MinerRequest& request) {
  inputs.items = open(request.items, "items");
  if (request.users.given()) inputs.users = open(request.users, "users");
  if (request.users.given() && inputs.users.dim != inputs.items.dim) {
    throw InputError("users: have " + std::to_string(inputs.users.dim) + " columns, items have " +
                     std::to_string(inputs.items.dim) +
                     "; items and users must come from one model");
  }
  check_index_name(request.retriever, inputs.items.dim, recipe.metric);
  const char* remedy = "Repair the rows or leave them out of the table";
  check_rows(inputs.items, recipe.metric, BadRows::kReject, "items", remedy);
  if (request.users.given())
    check_rows(inputs.users, recipe.metric, BadRows::kReject, "users", remedy);
}

void LoadedInputs::name_rows(const MinerRequest& request) {
  const auto keep = [](IdMap ids) { return std::make_shared<const IdMap>(std::move(ids)); };
  item_ids = keep(ids_of(request.item_ids, "item", inputs.items.rows, "items"));
  if (request.users.given()) {
    user_ids = keep(ids_of(request.user_ids, "user", inputs.users.rows, "users"));
  } else if (!request.user_ids.path.empty()) {
    const auto table = open_table(request.user_ids.path);
    user_ids = keep(
        IdMap::from_ids(IdMap::read_column(*table, column_of(request.user_ids, "user")), "users"));
  } else if (request.user_ids.given()) {
    user_ids = keep(IdMap::from_ids(request.user_ids.ids, "users"));
  }
}

const IdMap& LoadedInputs::users_for(const char* what) const {
  if (!user_ids) {
    throw ConfigError(std::string(what) +
                      " name users, of whom none is known; give users= (their vectors) or "
                      "user_ids= (their ids)");
  }
  return *user_ids;
}

/// The library knows how many users there are by their vectors or their events.
const IdMap& LoadedInputs::counted_users_for(const char* what) const {
  if (inputs.users.rows == 0 && !exposure)
    throw ConfigError(std::string(what) + " need users= (their vectors) or events= beside them");
  return users_for(what);
}

void LoadedInputs::read_tables(const MinerRequest& request, int threads,
                               const std::function<void()>& pause) {
  const UnknownIds unknown = request.drop_unknown_ids ? UnknownIds::kDrop : UnknownIds::kReject;
  const auto left_out = [this](const std::string& where, std::uint64_t count) {
    if (count > 0) {
      warnings.push_back("left out for unknown ids, in " + where + ": " + std::to_string(count) +
                         "; are the id files the right ones?");
    }
  };
  if (!request.events.empty() || !request.event_tables.empty() || !request.later_events.empty()) {
    read_events(request, unknown, threads);
    left_out("events (ids of users and items)", exposure->unknown_users + exposure->unknown_items);
    if (exposure->no_values) {
      warnings.emplace_back(
          "the events have no column 'value', so rules that compare values hold for none of them; "
          "if it has another name, give event_columns={'value': NAME}");
    }
    pause();
  }
  if (!request.catalogue.empty() || request.catalogue_table) {
    catalogue = catalogue_of(request, unknown);
    inputs.catalogue = &*catalogue;
    left_out("catalogue (rows)", catalogue->unknown_ids);
    pause();
  }
  for (const auto& [name, path] : request.pair_files) {
    pairs_[name] =
        read_pairs(path, request.pair_columns, counted_users_for("pairs"), *item_ids, unknown);
    inputs.pairs[name] = &pairs_[name];
    left_out("pairs '" + name + "' (rows)", pairs_[name].unknown_ids);
    pause();
  }
  for (const auto& [name, arrays] : request.pairs) {
    pairs_[name] = pairs_of(*arrays, "pairs['" + name + "']");
    inputs.pairs[name] = &pairs_[name];
    pause();
  }
  for (const auto& [name, source] : request.features) {
    const std::string what = "features '" + name + "'";
    const MatrixView table = open(source, what);
    if (table.rows != inputs.items.rows) {
      throw InputError(what + ": has " + std::to_string(table.rows) + " rows, items have " +
                       std::to_string(inputs.items.rows) +
                       "; a feature table has one row per item");
    }
    check_rows(table, Metric::kInnerProduct, BadRows::kReject, what,
               "Repair the rows, or make them zeros, which are similar to nothing");
    inputs.features[name] = table;
    pause();
  }
  for (const auto& [name, path] : request.item_list_files) {
    std::uint64_t dropped = 0;
    inputs.item_lists[name] = read_item_list(path, "item", *item_ids, unknown, &dropped);
    left_out("item_lists '" + name + "' (rows)", dropped);
  }
  for (const auto& [name, items] : request.item_lists) {
    std::vector<std::uint32_t> list = items;
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    inputs.item_lists[name] = std::move(list);
  }
}

void LoadedInputs::read_events(const MinerRequest& request, UnknownIds unknown, int threads) {
  std::optional<std::int64_t> as_of;
  if (!request.as_of.empty()) as_of = parse_time(request.as_of, "as_of");
  Exec exec;
  exec.threads = threads;
  const IdMap& users = users_for("events");
  std::vector<std::unique_ptr<TableReader>> tables;
  for (const auto& table : request.event_tables) {
    refuse_row_numbers(*table, request.event_columns.user, users, "user_ids");
    refuse_row_numbers(*table, request.event_columns.item, *item_ids, "item_ids");
    tables.push_back(std::make_unique<GivenTableReader>(*table));
  }
  if (!request.later_events.empty()) {
    tables.push_back(std::make_unique<LaterEventsTable>(request.later_events, request.event_columns,
                                                        users, *item_ids));
  }
  std::vector<TableReader*> readers;
  for (const auto& table : tables) readers.push_back(table.get());
  exposure = read_exposure(request.events, readers, request.event_columns, recipe.exposure, users,
                           *item_ids, as_of, unknown, exec);
  inputs.exposure = &*exposure;
}

Catalogue LoadedInputs::catalogue_of(const MinerRequest& request, UnknownIds unknown) const {
  const CatalogueColumns& columns = request.catalogue_columns;
  if (!request.catalogue_table)
    return read_catalogue(request.catalogue, columns, *item_ids, unknown);
  const GivenTable& table = *request.catalogue_table;
  const bool names_items =
      table.find(columns.item) != nullptr || columns.item != CatalogueColumns().item;
  if (names_items) {
    refuse_row_numbers(table, columns.item, *item_ids, "item_ids");
    GivenTableReader reader(table);
    return read_catalogue(reader, columns, *item_ids, unknown);
  }
  const std::uint64_t num_items = inputs.items.rows;
  if (table.rows > num_items || (table.rows < num_items && !request.has_grown)) {
    throw InputError(table.name + ": has " + std::to_string(table.rows) + " rows, items have " +
                     std::to_string(num_items) +
                     "; a catalogue without the column 'item' has one row per item, in their "
                     "order. Give all, or the column (catalogue_columns={'item': COLUMN})");
  }
  GivenTableReader reader(table, columns.item, *item_ids);
  return read_catalogue(reader, columns, *item_ids, unknown);
}

std::vector<PairEntry> LoadedInputs::number_pairs(const std::vector<std::uint32_t>& users,
                                                  const std::vector<std::uint32_t>& items,
                                                  const std::string& what) const {
  const std::uint64_t num_users = counted_users_for(what.c_str()).size();
  std::vector<PairEntry> pairs;
  pairs.reserve(users.size());
  for (std::size_t i = 0; i < users.size(); ++i) {
    if (users[i] >= num_users || items[i] >= inputs.items.rows) {
      throw InputError(what + ": pair " + std::to_string(i) + " is of user " +
                       std::to_string(users[i]) + " and item " + std::to_string(items[i]) +
                       "; there are " + std::to_string(num_users) + " users and " +
                       std::to_string(inputs.items.rows) + " items, numbered from 0");
    }
    pairs.push_back({std::uint64_t{users[i]} << 32 | items[i], i, 0.0f});
  }
  return pairs;
}

PairValues LoadedInputs::pairs_of(const PairArrays& arrays, const std::string& what) const {
  std::vector<PairEntry> pairs = number_pairs(arrays.users, arrays.items, what);
  for (std::size_t i = 0; i < pairs.size(); ++i)
    pairs[i].value = check_float(arrays.values[i], "value", what + ", pair " + std::to_string(i));
  sort_pairs(pairs);
  if (const PairEntry* const repeat = first_repeat(pairs)) {
    throw InputError(what + ": pair " + std::to_string(repeat[1].row) + ", of user " +
                     std::to_string(repeat->pair >> 32) + " and item " +
                     std::to_string(static_cast<std::uint32_t>(repeat->pair)) +
                     ", stands already at " + std::to_string(repeat->row) +
                     "; a pair has one value. Take one of them out");
  }
  return pair_values(pairs, counted_users_for(what.c_str()).size());
}

void LoadedInputs::know_positives(const MinerRequest& request) {
  if (request.known_users.empty()) return;
  const std::uint64_t num_users = counted_users_for("known_positives").size();
  std::vector<std::uint64_t> pairs;
  pairs.reserve(request.known_users.size());
  for (const PairEntry& entry :
       number_pairs(request.known_users, request.known_items, "known_positives"))
    pairs.push_back(entry.pair);
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  known_positives_.offsets.assign(num_users + 1, 0);
  for (const std::uint64_t pair : pairs) {
    ++known_positives_.offsets[(pair >> 32) + 1];
    known_positives_.values.push_back(static_cast<std::uint32_t>(pair));
  }
  for (std::uint64_t u = 0; u < num_users; ++u)
    known_positives_.offsets[u + 1] += known_positives_.offsets[u];
  inputs.row_positives = &known_positives_;
}

/// A safety filter without the table that it reads would reject nothing, and nobody would notice.
void LoadedInputs::check_filters(const MinerRequest& request) {
  const auto inert = [&](const std::string& why, const char* remedy) {
    if (!request.allow_inert) {
      throw ConfigError(why + ", so it would reject nothing: " + remedy +
                        ", take the filter out of the recipe, or accept it with allow_inert=True");
    }
    warnings.push_back(why + ", so it rejects nothing (allow_inert)");
  };
  if (uses_filter(recipe, FilterType::kTime)) {
    if (!catalogue) {
      inert("the filter time knows no times of items, for want of a catalogue",
            "give catalogue= with a column first_seen or retired");
    } else if (catalogue->first_seen.empty() && catalogue->retired.empty()) {
      inert(
          "the filter time knows no times of items: the catalogue has neither first_seen nor "
          "retired",
          "add one, or name it in catalogue_columns");
    } else if (catalogue->first_seen.empty()) {
      warnings.emplace_back(
          "the catalogue has no column first_seen, so the filter time lets items through that came "
          "after the row; name the column in catalogue_columns");
    }
  }
  if (uses_filter(recipe, FilterType::kPositives) && !exposure && known_positives_.values.empty()) {
    inert("the filter positives knows no positive of anyone but those of a row itself",
          "give events= or known_positives=");
  }
}

}  // namespace quarry

// Loading the inputs of a mining run.
#include "tools/quarry/load_inputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "host/data/table.h"
#include "host/store/digest.h"
#include "index/index_name.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "tools/quarry/device.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/safety_inputs.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

/// The name of the list that keeps dropped items out of every branch.
constexpr const char* kUsableItems = "(usable items)";

void check_stop(const Context& context) {
  if (context.stop != nullptr && context.stop->load())
    throw Cancelled("stopped while loading; nothing was written");
}

/// A copy of the table with the bad rows set to zero, so that no NaN enters a matrix product.
MatrixView without_rows(const MatrixView& table, const std::vector<std::uint64_t>& bad,
                        std::vector<unsigned char>& copy) {
  const auto* const bytes = static_cast<const unsigned char*>(table.data);
  copy.assign(bytes, bytes + table.bytes());
  for (const std::uint64_t row : bad)
    std::memset(copy.data() + row * table.row_bytes(), 0, table.row_bytes());
  MatrixView view = table;
  view.data = copy.data();
  return view;
}

/// The ids of a table: from a file's column, or row numbers.
IdMap load_ids(const NamedPath& from, const char* default_column, std::uint64_t rows,
               const std::string& what) {
  if (from.path.empty()) return IdMap::identity(rows);
  return IdMap::from_table(from.path, id_column(from, default_column), rows, what);
}

void check_tables(const Inputs& inputs) {
  const MatrixView& items = inputs.items.view();
  const MatrixView& users = inputs.users.view();
  if (items.dim != users.dim) {
    throw InputError(
        fmt::format("{}: has {} columns, {} has {}; items and users must come from one model",
                    inputs.users.path(), users.dim, inputs.items.path(), items.dim));
  }
  for (const auto* table : {&inputs.items, &inputs.users}) {
    if (table->view().rows == 0) throw InputError(table->path() + ": has no rows");
    if (table->view().rows > 0xFFFFFFFEull) {
      throw InputError(fmt::format("{}: has {} rows, at most 4294967294 are supported",
                                   table->path(), table->view().rows));
    }
  }
}

/// A safety filter that lets only usable items through.
void keep_bad_items_out(RunRequest& request, Inputs& inputs) {
  std::vector<std::uint32_t> usable;
  usable.reserve(inputs.items.view().rows - inputs.bad_items.size());
  std::size_t next = 0;
  for (std::uint64_t item = 0; item < inputs.items.view().rows; ++item) {
    if (next < inputs.bad_items.size() && inputs.bad_items[next] == item) {
      ++next;
    } else {
      usable.push_back(static_cast<std::uint32_t>(item));
    }
  }
  if (usable.empty())
    throw InputError(inputs.items.path() + ": no row can be scored, so there is nothing to mine");
  inputs.item_lists[kUsableItems] = std::move(usable);
  FilterSpec filter;
  filter.type = FilterType::kAllowList;
  filter.table = kUsableItems;
  filter.kind_text = "bad_rows";
  request.recipe.safety.insert(request.recipe.safety.begin(), filter);
}

void check_embeddings(RunRequest& request, Inputs& inputs) {
  const Metric metric = request.recipe.metric;
  inputs.bad_items = check_rows(inputs.items.view(), metric, request.bad_rows, inputs.items.path());
  inputs.bad_users = check_rows(inputs.users.view(), metric, request.bad_rows, inputs.users.path());
  inputs.item_view = inputs.items.view();
  inputs.user_view = inputs.users.view();
  if (!inputs.bad_items.empty()) {
    inputs.item_view = without_rows(inputs.items.view(), inputs.bad_items, inputs.item_copy);
    keep_bad_items_out(request, inputs);
  }
  if (!inputs.bad_users.empty()) {
    inputs.user_view = without_rows(inputs.users.view(), inputs.bad_users, inputs.user_copy);
  }
}

/// Remembers a file for the manifest, and stops here if asked to.
void note(Inputs& inputs, const Context& context, const std::string& role,
          const std::string& path) {
  check_stop(context);
  inputs.files.push_back({role, path, 0, "", identity_of(path)});
}

/// Of the events that this run sees; nothing: there are none.
std::optional<std::int64_t> end_of_events(const RunRequest& request, const Inputs& inputs) {
  if (request.as_of || !inputs.exposure || inputs.exposure->latest_event == INT64_MIN)
    return request.as_of;
  return inputs.exposure->latest_event;
}

/// The i-th table of pairs, which is a set. The options name its version by number from here on.
void load_set_pairs(RunRequest& request, std::size_t i, const Context& context, Inputs& inputs) {
  check_stop(context);
  NamedPath& entry = request.pairs[i];
  const std::string flag = "--pairs " + entry.name;
  SetPairs from;
  try {
    from = pairs_of_set(entry.path, inputs.user_ids, inputs.item_ids, &inputs.pairs[entry.name]);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}; {}=SET names another", flag, error.what(), flag));
  } catch (const IoError& error) {
    throw IoError(fmt::format("{}: {}; {}=SET names another", flag, error.what(), flag));
  }
  entry.path = from.set;
  request.options.pairs[i] = fmt::format("{}={}", entry.name, from.set);
  note(inputs, context, "pairs " + entry.name, from.manifest_path);
  const std::optional<std::int64_t> end = end_of_events(request, inputs);
  if (from.knew_until && end && *from.knew_until > *end) {
    inputs.warnings.push_back(fmt::format(
        "{}: {} (or a set behind it) knew events up to {}, this run ends at {}: what was positive "
        "by then is missing from its negatives, which tells of the future; quarry audit fails for "
        "it (leak.future_sets)",
        flag, from.set, time_words(*from.knew_until), time_words(*end)));
  }
  if (from.gone > 0) {
    inputs.warnings.push_back(
        fmt::format("{}: {} of {} negatives of {} are of users or items that are not here any more",
                    flag, from.gone, from.negatives, from.set));
  }
  inputs.set_pairs[entry.name] = std::move(from);
}

/// --pairs-near, over the sets in the order of the flags.
void prune_near_sets(const RunRequest& request, Inputs& inputs) {
  const double near = request.options.pairs_near;
  if (near == 0) return;
  std::vector<std::pair<SetPairs*, PairValues*>> tables;
  for (const NamedPath& entry : request.pairs) {
    const auto from = inputs.set_pairs.find(entry.name);
    if (from != inputs.set_pairs.end())
      tables.emplace_back(&from->second, &inputs.pairs[entry.name]);
  }
  if (tables.empty()) {
    throw ConfigError(
        "--pairs-near is for --pairs that are sets (NAME=SET), and none is; take the flag out");
  }
  prune_near_pairs(inputs.item_view, near, request.miner.exec, tables);
}

/// Checks the rows, without holding them.
void open_rows(const RunRequest& request, const Context& context, Inputs& inputs) {
  const RunOptions& o = request.options;
  const RowContext row_context{&inputs.user_ids, &inputs.item_ids,
                               inputs.exposure ? &*inputs.exposure : nullptr, &inputs.bad_items,
                               !o.rows.empty()};
  if (o.rows.empty()) {
    inputs.rows = RowStream::of_exposure(request.rows_from, row_context);
    return;
  }
  note(inputs, context, "rows", o.rows);
  inputs.rows = RowStream::of_table(o.rows, request.row_columns, row_context, request.unknown_ids,
                                    o.number_duplicates);
}

/// Why the events make no row.
std::string no_positive_message(const RunRequest& request, const Inputs& inputs) {
  const Exposure& e = *inputs.exposure;
  std::string text = request.options.events + ": no row can be made from it: ";
  if (e.events == 0) return text + "it has no events";
  if (e.items.empty())
    return text +
           "none of its events is of a known user and item, at or before --as-of and inside "
           "the window of [exposure]";
  text += "no event is positive under the recipe's [exposure] rules";
  if (e.no_values) text += ", and without a column 'value' no comparison of them can hold";
  if (!e.unnamed_kinds.empty()) {
    std::vector<std::string> kinds;
    for (const auto& [kind, count] : e.unnamed_kinds) kinds.push_back(fmt::format("'{}'", kind));
    text += fmt::format("; kinds of events that no rule names, letter for letter: {}",
                        fmt::join(kinds, ", "));
  }
  return text + "; name one under [exposure] positive, or give rows with --rows FILE";
}

void choose_rows(RunRequest& request, Inputs& inputs) {
  std::uint64_t count = inputs.rows.size();
  if (request.options.limit_rows > 0) count = std::min(count, request.options.limit_rows);
  const auto cut = [&](std::uint64_t i) {
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(count) * i /
                                      request.num_shards);
  };
  // Of all shards together: each chooses the retriever that the whole run would.
  request.miner.expected_rows = count;
  inputs.first_row = cut(request.shard);
  inputs.end_row = cut(request.shard + 1);
}

/// The snapshot that was asked for; nothing, where the one made of the events is the same.
void take_snapshot(RunRequest& request, Inputs& inputs) {
  if (!request.snapshot && !request.options.snapshot.empty())
    request.snapshot = read_snapshot_of(request.options.snapshot);
  if (!request.snapshot) return;
  Snapshot& kept = *request.snapshot;
  if (kept.num_items > inputs.items.view().rows) {
    throw InputError(fmt::format(
        "{}: has {} items, the snapshot has {}; items that are gone keep their rows and "
        "get a time in 'retired', or mine without --snapshot (refresh --new-snapshot)",
        inputs.items.path(), inputs.items.view().rows, kept.num_items));
  }
  const Snapshot& own = inputs.snapshot;
  if (kept.num_items == own.num_items && kept.as_of == own.as_of &&
      kept.positive_users == own.positive_users && kept.popularity == own.popularity) {
    request.snapshot.reset();
    return;
  }
  inputs.snapshot = kept;
}

void open_tables(const RunOptions& o, const Context& context, Inputs& inputs) {
  note(inputs, context, "items", o.items);
  inputs.items = Embeddings::open(o.items, o.items_tensor);
  note(inputs, context, "users", o.users);
  inputs.users = Embeddings::open(o.users, o.users_tensor);
  check_tables(inputs);
}

void load_ids_events_catalogue(const RunRequest& request, const Context& context, Inputs& inputs) {
  const RunOptions& o = request.options;
  if (!request.item_ids.path.empty()) note(inputs, context, "item-ids", request.item_ids.path);
  inputs.item_ids = load_ids(request.item_ids, "item", inputs.items.view().rows, "items");
  if (!request.user_ids.path.empty()) note(inputs, context, "user-ids", request.user_ids.path);
  inputs.user_ids = load_ids(request.user_ids, "user", inputs.users.view().rows, "users");
  if (!o.events.empty()) {
    note(inputs, context, "events", o.events);
    Exec exec;
    exec.threads = o.threads > 0 ? o.threads : available_threads();
    std::vector<std::string> logs = {o.events};
    for (const std::string& more : o.more_events) {
      note(inputs, context, fmt::format("more-events {}", logs.size()), more);
      logs.push_back(more);
    }
    inputs.exposure =
        read_exposure(logs, request.event_columns, request.recipe.exposure, inputs.user_ids,
                      inputs.item_ids, request.as_of, request.unknown_ids, exec);
    if (std::string text =
            no_values_warning(fmt::format("{}", fmt::join(logs, ", ")), *inputs.exposure);
        !text.empty())
      inputs.warnings.push_back(std::move(text));
  }
  if (!o.catalogue.empty()) {
    note(inputs, context, "catalogue", o.catalogue);
    inputs.catalogue = read_catalogue(o.catalogue, request.catalogue_columns, inputs.item_ids,
                                      request.unknown_ids);
  }
}

}  // namespace

std::string id_column(const NamedPath& from, const char* default_column) {
  if (!from.column.empty()) return from.column;
  const auto names = open_table(from.path)->column_names();
  return names.size() == 1 ? names.front() : default_column;
}

std::string no_values_warning(const std::string& events, const Exposure& exposure) {
  if (!exposure.no_values) return "";
  return fmt::format(
      "{} has no column 'value', so rules that compare values (rating>=4) hold for none of its "
      "events; if it has them under another name, give --event-columns value=COLUMN",
      events);
}

MinerInputs Inputs::miner_inputs() const {
  MinerInputs in;
  in.items = item_view;
  in.users = user_view;
  if (exposure) in.exposure = &*exposure;
  if (catalogue) in.catalogue = &*catalogue;
  in.row_positives = &rows.new_positives();
  in.snapshot = &snapshot;
  for (const auto& [name, values] : pairs) in.pairs[name] = &values;
  for (const auto& [name, table] : features) in.features[name] = table.view();
  in.item_lists = item_lists;
  return in;
}

bool Inputs::is_bad_user(std::uint32_t user) const {
  return std::binary_search(bad_users.begin(), bad_users.end(), std::uint64_t{user});
}

std::unique_ptr<Inputs> load_names(const RunRequest& request, const Context& context) {
  auto inputs = std::make_unique<Inputs>();
  open_tables(request.options, context, *inputs);
  load_ids_events_catalogue(request, context, *inputs);
  return inputs;
}

std::unique_ptr<Inputs> load_inputs(RunRequest& request, const Context& context) {
  const RunOptions& o = request.options;
  auto loaded = std::make_unique<Inputs>();
  Inputs& inputs = *loaded;
  open_tables(o, context, inputs);
  check_index_name(request.miner.retriever, inputs.items.view().dim, request.recipe.metric);
  check_embeddings(request, inputs);
  load_ids_events_catalogue(request, context, inputs);
  open_rows(request, context, inputs);
  if (inputs.rows.size() == 0) {
    throw InputError(o.rows.empty() ? no_positive_message(request, inputs)
                                    : o.rows + ": has no rows; there is nothing to mine");
  }
  for (std::size_t i = 0; i < request.pairs.size(); ++i) {
    const NamedPath& entry = request.pairs[i];
    if (names_a_set(entry.path)) {
      load_set_pairs(request, i, context, inputs);
      continue;
    }
    note(inputs, context, "pairs " + entry.name, entry.path);
    inputs.pairs[entry.name] = read_pairs(entry.path, request.pair_columns, inputs.user_ids,
                                          inputs.item_ids, request.unknown_ids);
  }
  prune_near_sets(request, inputs);
  for (const NamedPath& entry : request.features) {
    note(inputs, context, "feature " + entry.name, entry.path);
    Embeddings table = Embeddings::open(entry.path);
    if (table.view().rows != inputs.items.view().rows) {
      throw InputError(fmt::format(
          "{}: has {} rows, the item embeddings have {}; a feature table has one row per item",
          entry.path, table.view().rows, inputs.items.view().rows));
    }
    check_rows(table.view(), Metric::kInnerProduct, BadRows::kReject, entry.path,
               "Repair the rows, or make them zeros, which are similar to nothing (--bad-rows is "
               "for --items and --users)");
    inputs.features[entry.name] = std::move(table);
  }
  for (const NamedPath& entry : request.item_lists) {
    note(inputs, context, "item-list " + entry.name, entry.path);
    inputs.item_lists[entry.name] =
        read_item_list(entry.path, entry.column.empty() ? "item" : entry.column, inputs.item_ids,
                       request.unknown_ids, &inputs.dropped_list_items);
  }
  check_safety_inputs(request, inputs);
  const auto num_items = static_cast<std::uint32_t>(inputs.items.view().rows);
  if (inputs.exposure) {
    inputs.snapshot = make_snapshot(*inputs.exposure, num_items);
  } else {
    inputs.snapshot.popularity.assign(num_items, 0);
    inputs.snapshot.num_items = num_items;
    if (request.as_of) inputs.snapshot.as_of = *request.as_of;
  }
  take_snapshot(request, inputs);
  choose_rows(request, inputs);
  check_stop(context);
  return loaded;
}

void hash_files(Inputs& inputs, const Context& context) {
  for (InputFile& file : inputs.files) {
    check_stop(context);
    const FileDigest digest = digest_file(file.path);
    check_unchanged(file.path, file.identity);
    file.bytes = digest.bytes;
    file.xxh3_128 = digest.digest.hex();
  }
}

void check_unchanged(const Inputs& inputs) {
  for (const InputFile& file : inputs.files) check_unchanged(file.path, file.identity);
}

}  // namespace quarry

// The flags of a mining run: what mine, plan, bench, explain and show share. Every flag is listed
// once, in each_option().
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/data/embeddings.h"
#include "host/data/tables.h"
#include "host/mine/miner.h"

namespace CLI {
class App;
}

namespace quarry {

/// As typed. Empty text: not given.
struct RunOptions {
  std::string items, items_tensor, users, users_tensor, item_ids, user_ids;
  std::string events, event_columns, event_kind;
  std::string catalogue, catalogue_columns;
  std::string rows, row_columns, rows_from;
  std::vector<std::string> pairs, features, item_lists;
  std::string pair_columns;
  std::string recipe;
  std::vector<std::string> overrides;
  std::string as_of;
  std::vector<std::string> more_events;
  std::string snapshot;
  std::uint32_t seed = 0;
  std::uint32_t round = 0;
  int threads = 0;
  std::uint32_t tile = 0;
  std::string host_memory = "512M";
  std::string device = "auto";
  std::string retriever = "auto";
  std::uint32_t nprobe = 0, ef_search = 0;
  std::string index_cache;
  double recall = 1;
  double pairs_near = 0;
  std::uint32_t recall_rows = 256;
  std::string unknown_ids = "reject";
  std::string bad_rows = "reject";
  bool number_duplicates = false;
  bool allow_inert = false;
  std::string shard;
  std::uint64_t limit_rows = 0;
};

/// What a flag's text stands for: paths are recorded relative to the set.
enum class OptionRole : std::uint8_t { kPlain, kPath, kPathColumn, kNamedPath, kRecipe };

/// Which verbs take a flag. A set is told by the files it was mined from and the way to search
/// them; seed, recipe, rows and the like are facts of its run, which show and explain do not
/// replace.
enum class OptionUse : std::uint8_t {
  kMine,     ///< verbs that mine: mine, plan, bench
  kExplain,  ///< explain too
  kShow,     ///< show and explain too
};

/// Calls visit(flag, member, role, use, help) for every flag.
template <class Options, class Visit>
void each_option(Options& o, Visit&& visit) {
  using R = OptionRole;
  using U = OptionUse;
  visit("--items", o.items, R::kPath, U::kShow, "item embeddings: .npy, .fbin or .safetensors");
  visit("--items-tensor", o.items_tensor, R::kPlain, U::kShow,
        "tensor of --items, if the file holds several");
  visit("--users", o.users, R::kPath, U::kShow, "user (query) embeddings");
  visit("--users-tensor", o.users_tensor, R::kPlain, U::kShow,
        "tensor of --users, if the file holds several");
  visit("--item-ids", o.item_ids, R::kPathColumn, U::kShow,
        "FILE[:column] with the id of each embedding row; default: row numbers");
  visit("--user-ids", o.user_ids, R::kPathColumn, U::kShow, "FILE[:column], likewise for users");
  visit("--events", o.events, R::kPath, U::kShow,
        "events, CSV or TSV: user, item, time, kind, value");
  visit("--more-events", o.more_events, R::kPath, U::kShow,
        "further logs with the same columns; all are read as one");
  visit("--event-columns", o.event_columns, R::kPlain, U::kShow,
        "names in the file: user=..,item=..,time=..,kind=..,value=..");
  visit("--event-kind", o.event_kind, R::kPlain, U::kShow,
        "kind of every event, for files without a kind column");
  visit("--catalogue", o.catalogue, R::kPath, U::kShow,
        "item attributes, CSV or TSV; every column becomes an attribute");
  visit("--catalogue-columns", o.catalogue_columns, R::kPlain, U::kShow,
        "names: item=..,first_seen=..,retired=..,title=..");
  visit("--rows", o.rows, R::kPath, U::kExplain,
        "training rows: user, item (several by '|'), time, segment, row_key");
  visit("--row-columns", o.row_columns, R::kPlain, U::kExplain,
        "names: user=..,item=..,time=..,segment=..,row_key=..");
  visit("--rows-from", o.rows_from, R::kPlain, U::kMine,
        "positives | users: derive rows from the events (default: positives)");
  visit(
      "--pairs", o.pairs, R::kNamedPath, U::kExplain,
      "NAME=FILE with columns user, item, score: teacher scores, candidate runs; or NAME=SET, the "
      "negatives of a set or STORE@VERSION");
  visit(
      "--pairs-near", o.pairs_near, R::kPlain, U::kExplain,
      "cosine from which on two negatives of a user in sets given as --pairs are near duplicates, "
      "of which the first is kept; 0: all are");
  visit("--pair-columns", o.pair_columns, R::kPlain, U::kExplain,
        "names: user=..,item=..,value=.. (default: user, item, score)");
  visit("--feature", o.features, R::kNamedPath, U::kExplain,
        "NAME=FILE, an item feature table for similarity filters");
  visit("--item-list", o.item_lists, R::kNamedPath, U::kExplain,
        "NAME=FILE[:column], items of an allow list");
  visit("--recipe", o.recipe, R::kRecipe, U::kMine,
        "a named recipe (quarry recipes) or a .toml file");
  visit("--set", o.overrides, R::kPlain, U::kMine,
        "key=value, changes the recipe: k=4, branch.hard.source.pool=100");
  visit("--as-of", o.as_of, R::kPlain, U::kMine,
        "events after this time are not seen: seconds or ISO 8601");
  visit(
      "--snapshot", o.snapshot, R::kPath, U::kMine,
      "STORE@VERSION: popularity, strata and the range of random draws are those of that version");
  visit("--seed", o.seed, R::kPlain, U::kMine, "seed of all chance");
  visit("--round", o.round, R::kPlain, U::kMine,
        "epoch or version: takes scheduled numbers, changes all chance");
  visit("--threads", o.threads, R::kPlain, U::kShow, "CPU threads; 0: all");
  visit("--tile", o.tile, R::kPlain, U::kMine, "rows per tile; 0: chosen to fit --host-memory");
  visit("--host-memory", o.host_memory, R::kPlain, U::kMine,
        "bytes for tiles in flight, e.g. 512M, 2G");
  visit("--device", o.device, R::kPlain, U::kMine,
        "auto | cpu | cuda:N, or several GPUs: cuda:0,1");
  visit("--retriever", o.retriever, R::kPlain, U::kExplain,
        "exact | exact-fp32 | exact-int8 | exact-bf16 | auto | a FAISS index string such as "
        "IVF1024,Flat");
  visit("--nprobe", o.nprobe, R::kPlain, U::kExplain, "IVF lists visited; 0: lists / 16");
  visit("--ef-search", o.ef_search, R::kPlain, U::kExplain,
        "HNSW search width, and all it finds; 0: from the recipe's pool");
  visit("--index-cache", o.index_cache, R::kPath, U::kExplain,
        "index file to load, or to write after building");
  visit(
      "--recall", o.recall, R::kPlain, U::kMine,
      "share of nearest items and negatives to be found, above 0; 1: all. Below 1 auto may take an "
      "approximate index; a warning says if one finds less");
  visit("--recall-rows", o.recall_rows, R::kPlain, U::kMine,
        "rows mined again exactly, to say what an approximate index loses; 0: none");
  visit("--unknown-ids", o.unknown_ids, R::kPlain, U::kShow,
        "reject | drop ids that have no embedding");
  visit("--bad-rows", o.bad_rows, R::kPlain, U::kExplain,
        "reject | drop embedding rows that cannot be scored");
  visit("--number-duplicates", o.number_duplicates, R::kPlain, U::kExplain,
        "give rows with equal keys different ones");
  visit("--allow-inert", o.allow_inert, R::kPlain, U::kMine,
        "mine though a safety filter knows nothing; recorded as a warning");
  visit("--shard", o.shard, R::kPlain, U::kMine,
        "i/n: mine the i-th of n equal parts of the rows, i from 0; with --plan a number, or env");
  visit("--limit-rows", o.limit_rows, R::kPlain, U::kMine,
        "mine only the first so many rows; 0: all");
}

/// Registers the flags that a verb takes: those of `least` and of what is declared behind it.
void add_run_options(CLI::App& verb, RunOptions& options, OptionUse least = OptionUse::kMine);

/// Throws ConfigError naming all that is not given of --items, --users, --recipe, training rows and
/// `more` (value, flag).
void check_required(const RunOptions& options,
                    std::initializer_list<std::pair<const std::string*, const char*>> more = {});

/// "NAME=FILE" taken apart.
struct NamedPath {
  std::string name;
  std::string path;
  std::string column;  ///< if written as FILE:column
};
/// FILE or FILE:column; a file whose name really ends so wins.
NamedPath split_column(const std::string& text);

/// The options taken apart and checked, before anything is loaded.
struct RunRequest {
  RunOptions options;
  NamedPath item_ids, user_ids;
  EventColumns event_columns;
  CatalogueColumns catalogue_columns;
  RowColumns row_columns;
  PairColumns pair_columns;
  RowsFrom rows_from = RowsFrom::kPositives;
  std::vector<NamedPath> pairs, features, item_lists;
  std::optional<std::int64_t> as_of;
  UnknownIds unknown_ids = UnknownIds::kReject;
  BadRows bad_rows = BadRows::kReject;
  std::uint64_t shard = 0, num_shards = 1;
  MinerOptions miner;
  Recipe recipe;
  std::optional<Snapshot> snapshot;  ///< to take instead of one made of the events
};

/// Checks flags and recipe and whether they fit together. A recorded recipe takes the place of
/// --recipe and --set. Throws ConfigError.
RunRequest check_run_options(const RunOptions& options, std::optional<Recipe> recorded = {});

/// What is doubtful about a recipe though it is legal, in sentences.
std::vector<std::string> recipe_warnings(const Recipe& recipe);

/// A size such as "512M" or "2GiB" in bytes. Throws ConfigError.
std::uint64_t parse_bytes(const std::string& text, const std::string& flag);

/// The options as JSON text for a manifest, paths relative to `folder`; and back, relative paths
/// joined to `folder`.
std::string options_to_json(const RunOptions& options, const std::string& folder);
/// Throws InputError naming `where` if the text is not what options_to_json wrote.
RunOptions options_from_json(const std::string& json, const std::string& folder,
                             const std::string& where);

/// A path as written in a manifest: relative to the folder, with '/'.
std::string path_from(const std::string& folder, const std::string& path);

/// "user=who,item=what" over the default names, as --event-columns takes it, beside --event-kind.
EventColumns parse_event_columns(const std::string& text, const std::string& fixed_kind);

}  // namespace quarry

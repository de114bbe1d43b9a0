// The module quarry._quarry: the library as Python calls it. The package's Python files check and
// convert what people pass; here types are exact.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <new>
#include <optional>

#include "host/store/fill_names.h"
#include "host/store/set_hash.h"
#include "host/store/set_lock.h"
#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "python/bind/arrays.h"
#include "python/bind/bind_given_tables.h"
#include "python/bind/bind_text_table.h"
#include "python/bind/bound_miner.h"
#include "python/bind/synthetic.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace quarry {
namespace {

/// What is said of files may hold bytes that are not UTF-8.
void raise(const char* type, const char* words) {
  const nb::object errors = nb::module_::import_("quarry._errors");
  const nb::object text = nb::steal(
      PyUnicode_DecodeUTF8(words, static_cast<Py_ssize_t>(std::strlen(words)), "backslashreplace"));
  const nb::object said = errors.attr("in_words_of_python")(text);
  PyErr_SetObject(nb::object(errors.attr(type)).ptr(), said.ptr());
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const ConfigError& error) {
    raise("ConfigError", error.what());
  } catch (const InputError& error) {
    raise("InputError", error.what());
  } catch (const SetLocked& error) {
    raise("LockedError", error.what());
  } catch (const IoError& error) {
    raise("IoError", error.what());
  } catch (const OutOfMemory& error) {
    raise("OutOfMemory", error.what());
  } catch (const std::bad_alloc&) {
    raise("OutOfMemory", "an allocation failed; mine fewer rows at a time");
  } catch (const DeviceError& error) {
    raise("DeviceError", error.what());
  } catch (const Cancelled& error) {
    raise("Cancelled", error.what());
  } catch (const ForkError& error) {
    raise("ForkError", error.what());
  } catch (const StaleError& error) {
    raise("StaleError", error.what());
  }
}

/// Between tiles: lets Python run what signals ask for, such as the KeyboardInterrupt of Ctrl-C.
void hear_signals() {
  const nb::gil_scoped_acquire held;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

template <class T>
using Table = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

/// Ends a batch or an update in another thread, which signals do not reach.
struct StopFlag {
  std::atomic<bool> asked{false};
};

/// `stop` may be null.
Pause pause_of(const StopFlag* stop) {
  return [stop] {
    hear_signals();
    if (stop != nullptr && stop->asked) throw Cancelled("stopped on request");
  };
}

template <class T>
const T* data_or_null(const std::optional<InColumn<T>>& column, std::size_t size,
                      const char* name) {
  if (!column) return nullptr;
  if (column->size() != size) {
    throw InputError(std::string(name) + ": has " + std::to_string(column->size()) + " entries; " +
                     std::to_string(size) + " are needed");
  }
  return column->data();
}

void check_offsets(const std::uint64_t* offsets, std::size_t rows, std::size_t positives,
                   const char* name = "positives") {
  bool right = offsets[0] == 0 && offsets[rows] == positives;
  for (std::size_t r = 0; r < rows && right; ++r) right = offsets[r] <= offsets[r + 1];
  if (!right) {
    throw InputError(std::string(name) +
                     ": the offsets must begin with 0, never fall and end with " +
                     std::to_string(positives) + ", the number of values");
  }
}

const float* queries_of(const std::optional<MatrixSource>& queries, std::size_t rows,
                        const Edition& edition) {
  if (!queries) return nullptr;
  const MatrixView& view = queries->view;
  const std::uint32_t dim = edition.loaded().inputs.items.dim;
  if (view.rows != rows || view.dim != dim || view.dtype != Dtype::kF32) {
    throw InputError("queries: must be float32 of shape (" + std::to_string(rows) + ", " +
                     std::to_string(dim) + "), one row per row of the batch");
  }
  return static_cast<const float*>(view.data);
}

/// The columns of a result, until Python has them.
struct Columns {
  OutColumn<std::uint64_t> key;
  OutColumn<std::uint32_t> item, raw_rank, survivor_rank, stratum;
  OutColumn<float> score, logq, kappa, positive_min;
  OutColumn<std::uint8_t> branch, fill, certified;
  OutColumn<std::uint16_t> count;
  OutColumn<std::int64_t> number;

  Picks allocate(std::size_t rows, std::size_t k, std::size_t branches) {
    const std::size_t slots = rows * k;
    key.allocate(rows), item.allocate(slots), raw_rank.allocate(slots);
    survivor_rank.allocate(slots), stratum.allocate(slots), score.allocate(slots);
    logq.allocate(slots), kappa.allocate(rows * branches), positive_min.allocate(rows);
    branch.allocate(slots), fill.allocate(slots), certified.allocate(rows);
    count.allocate(rows), number.allocate(slots);
    Picks out;
    out.item = item.data(), out.score = score.data(), out.branch = branch.data();
    out.raw_rank = raw_rank.data(), out.survivor_rank = survivor_rank.data();
    out.stratum = stratum.data(), out.logq = logq.data(), out.fill = fill.data();
    out.count = count.data(), out.kappa = kappa.data(), out.positive_min = positive_min.data();
    out.certified = certified.data();
    return out;
  }

  nb::dict to_numpy(std::size_t rows, std::size_t k, std::size_t branches) {
    nb::dict result;
    result["key"] = key.to_numpy({rows});
    result["item"] = number.to_numpy({rows, k});
    result["score"] = score.to_numpy({rows, k});
    result["branch"] = branch.to_numpy({rows, k});
    result["raw_rank"] = raw_rank.to_numpy({rows, k});
    result["survivor_rank"] = survivor_rank.to_numpy({rows, k});
    result["stratum"] = stratum.to_numpy({rows, k});
    result["logq"] = logq.to_numpy({rows, k});
    result["fill"] = fill.to_numpy({rows, k});
    result["count"] = count.to_numpy({rows});
    result["kappa"] = kappa.to_numpy({rows, branches});
    result["positive_min"] = positive_min.to_numpy({rows});
    result["certified"] = certified.to_numpy({rows});
    return result;
  }
};

void refuse_stale(const Edition& edition, std::int64_t version) {
  if (version == edition.version()) return;
  throw StaleError("version: the batch is of version " + std::to_string(version) +
                   ", the Miner's items are of version " + std::to_string(edition.version()) +
                   "; bring the Miner up to date (update_items), or mine with stale=\"warn\"");
}

nb::dict mine(BoundMiner& miner, std::size_t rows, std::optional<std::uint32_t> wanted_k,
              std::optional<std::uint32_t> wanted_round, std::optional<std::int64_t> version,
              const std::optional<InColumn<std::uint64_t>>& key,
              const std::optional<InColumn<std::uint32_t>>& user,
              const std::optional<InColumn<std::int64_t>>& time,
              const std::optional<std::vector<std::string>>& segments,
              const std::optional<InColumn<std::uint64_t>>& positive_offsets,
              const std::optional<InColumn<std::uint32_t>>& positives, const nb::object& queries,
              const StopFlag* stop) {
  const std::shared_ptr<Edition> edition = miner.edition();
  const std::uint32_t round = wanted_round.value_or(miner.round());
  if (version) refuse_stale(*edition, *version);
  const std::uint32_t k = wanted_k ? *wanted_k : edition->k_at(round);
  RowsView view;
  view.num_rows = rows;
  view.key = data_or_null(key, rows, "keys");
  view.user = data_or_null(user, rows, "users");
  view.time = data_or_null(time, rows, "times");
  view.positive_offsets = data_or_null(positive_offsets, rows + 1, "positive_offsets");
  if (view.positive_offsets != nullptr && positives) {
    view.positives = positives->data();
    check_offsets(view.positive_offsets, rows, positives->size());
  }
  std::optional<MatrixSource> vectors;
  if (!queries.is_none()) vectors = matrix_of(queries, "queries");
  view.queries = queries_of(vectors, rows, *edition);
  std::vector<std::uint32_t> codes;
  if (segments) {
    if (segments->size() != rows)
      throw InputError("segments: has " + std::to_string(segments->size()) + " entries; " +
                       std::to_string(rows) + " are needed");
    for (const std::string& name : *segments) codes.push_back(edition->first().segment_code(name));
    view.segment = codes.data();
  }
  const std::size_t branches = edition->loaded().recipe.branches.size();
  const auto pause = pause_of(stop);
  Columns columns;
  {
    const nb::gil_scoped_release free;
    const Picks out = columns.allocate(rows, k, branches);
    if (rows > 0) miner.mine(*edition, view, columns.key.data(), round, k, out, pause);
    if (view.key != nullptr && rows > 0) std::copy_n(view.key, rows, columns.key.data());
    for (std::size_t i = 0; i < rows * k; ++i)
      columns.number.data()[i] = out.item[i] == kNoItem ? -1 : std::int64_t{out.item[i]};
  }
  nb::dict result = columns.to_numpy(rows, k, branches);
  result["version"] = edition->version();
  result["round"] = round;
  return result;
}

std::string content_hash(const Table<std::uint32_t>& item, const Table<float>& score,
                         const Table<std::uint32_t>& stratum, const Table<std::uint8_t>& fill) {
  const std::size_t rows = item.shape(0), k = item.shape(1);
  const auto same = [&](const auto& other) {
    return other.shape(0) == rows && other.shape(1) == k;
  };
  if (!same(score) || !same(stratum) || !same(fill))
    throw InputError("content_hash: the columns differ in shape; take them of the same rows");
  ContentHash hash(static_cast<std::uint32_t>(k));
  hash.update(rows, item.data(), score.data(), stratum.data(), fill.data());
  return hash.hex();
}

/// The folder that a set's shards are relative to, its manifest's text and content hash.
nb::tuple open_set(const std::string& name, bool verify) {
  std::string folder, reference;
  const auto set = [&] {
    const nb::gil_scoped_release free;
    if (!split_reference(name, &folder, &reference)) return NegativeSet::open(name, verify);
    const Store store = Store::open(folder);
    return store.read(store.resolve(reference), verify);
  }();
  return nb::make_tuple(set.path(), set.manifest_json(), set.content_hash());
}

template <class To, class Column>
void take(To& to, const Column& from) {
  to.assign(from.data(), from.data() + from.size());
}

/// Tables of vectors with their ids, which a Miner is made from and an update replaces.
template <class R>
void bind_tables(nb::class_<R>& request) {
  request.def("set_items", [](R& r, const nb::object& a) { r.items = matrix_of(a, "items"); })
      .def("set_items_file", [](R& r, const std::string& path) { r.items.path = path; })
      .def("set_users", [](R& r, const nb::object& a) { r.users = matrix_of(a, "users"); })
      .def("set_users_file", [](R& r, const std::string& path) { r.users.path = path; })
      .def("set_feature",
           [](R& r, const std::string& name, const nb::object& a) {
             r.features[name] = matrix_of(a, "features['" + name + "']");
           })
      .def("set_feature_file", [](R& r, const std::string& name,
                                  const std::string& path) { r.features[name].path = path; })
      .def("set_item_ids",
           [](R& r, const std::string& path, const std::string& column,
              const std::vector<std::string>& ids) {
             r.item_ids = {path, column, ids};
           })
      .def("set_user_ids", [](R& r, const std::string& path, const std::string& column,
                              const std::vector<std::string>& ids) {
        r.user_ids = {path, column, ids};
      });
}

void bind_request(nb::module_& m) {
  using R = MinerRequest;
  nb::class_<R> request(m, "Request",
                        "What a Miner is made from; fields as in python/bind/request.h.");
  bind_tables(request);
  request.def(nb::init<>())
      .def_rw("recipe", &R::recipe)
      .def_rw("recipe_is_text", &R::recipe_is_text)
      .def_rw("overrides", &R::overrides)
      .def_rw("seed", &R::seed)
      .def_rw("round", &R::round)
      .def_rw("threads", &R::threads)
      .def_rw("retriever", &R::retriever)
      .def_rw("events", &R::events)
      .def_rw("catalogue", &R::catalogue)
      .def_rw("pair_files", &R::pair_files)
      .def_rw("item_list_files", &R::item_list_files)
      .def_rw("as_of", &R::as_of)
      .def_rw("drop_unknown_ids", &R::drop_unknown_ids)
      .def_rw("allow_inert", &R::allow_inert)
      .def(
          "add_events",
          [](R& r, GivenTable& table) {
            r.event_tables.push_back(std::make_shared<const GivenTable>(std::move(table)));
          },
          "Takes what the table holds.")
      .def(
          "set_catalogue",
          [](R& r, GivenTable& table) {
            r.catalogue_table = std::make_shared<const GivenTable>(std::move(table));
          },
          "Takes what the table holds.")
      .def("set_item_list",
           [](R& r, const std::string& name, const InColumn<std::uint32_t>& items) {
             take(r.item_lists[name], items);
           })
      .def("set_pairs",
           [](R& r, const std::string& name, const InColumn<std::uint32_t>& users,
              const InColumn<std::uint32_t>& items, const InColumn<float>& values) {
             auto pairs = std::make_shared<PairArrays>();
             take(pairs->users, users), take(pairs->items, items), take(pairs->values, values);
             r.pairs[name] = std::move(pairs);
           })
      .def("set_known_positives",
           [](R& r, const InColumn<std::uint32_t>& users, const InColumn<std::uint32_t>& items) {
             take(r.known_users, users), take(r.known_items, items);
           })
      .def("set_event_columns",
           [](R& r, const std::string& user, const std::string& item, const std::string& time,
              const std::string& kind, const std::string& value, bool value_required,
              const std::string& fixed_kind) {
             r.event_columns = {user, item, time, kind, value, value_required, fixed_kind};
           })
      .def("set_catalogue_columns",
           [](R& r, const std::string& item, const std::string& first_seen,
              const std::string& retired, const std::string& title) {
             r.catalogue_columns = {item, first_seen, retired, title};
           })
      .def("set_pair_columns",
           [](R& r, const std::string& user, const std::string& item, const std::string& value) {
             r.pair_columns = {user, item, value};
           });
}

void bind_update(nb::module_& m) {
  using U = Update;
  nb::class_<U> request(m, "Update", "What changes; fields as in python/bind/bound_miner.h.");
  bind_tables(request);
  request.def(nb::init<>())
      .def_rw("version", &U::version)
      .def_rw("events", &U::events)
      .def("set_events",
           [](U& u, const InColumn<std::uint32_t>& users, const InColumn<std::uint32_t>& items,
              const InColumn<std::int64_t>& times, const InColumn<std::uint32_t>& kinds,
              const std::vector<std::string>& kind_names,
              const std::optional<InColumn<float>>& values) {
             auto events = std::make_shared<LaterEvents>();
             take(events->users, users), take(events->items, items), take(events->times, times);
             take(events->kinds, kinds);
             events->kind_names = kind_names;
             if (values) take(events->values, *values);
             u.later_events = std::move(events);
           });
}

/// (positive, coefficient, vector or None)
nb::tuple synthesize(const BoundMiner& miner, std::uint32_t round,
                     std::optional<std::int64_t> version, const InColumn<std::uint64_t>& key,
                     const Table<std::int64_t>& item,
                     const InColumn<std::uint64_t>& positive_offsets,
                     const InColumn<std::uint32_t>& positives, bool vectors) {
  const std::shared_ptr<Edition> edition = miner.edition();
  if (version) refuse_stale(*edition, *version);
  const std::size_t rows = item.shape(0), k = item.shape(1);
  if (key.size() != rows || positive_offsets.size() != rows + 1)
    throw InputError("positives: are not of as many rows as the negatives");
  check_offsets(positive_offsets.data(), rows, positives.size());
  const MatrixView& items = edition->loaded().inputs.items;
  OutColumn<std::int64_t> positive;
  OutColumn<float> coefficient, vector;
  {
    const nb::gil_scoped_release free;
    positive.allocate(rows * k), coefficient.allocate(rows * k);
    if (vectors) vector.allocate(rows * k * items.dim);
    mix({miner.seed(), round},
        {rows, static_cast<std::uint32_t>(k), key.data(), item.data(), positive_offsets.data(),
         positives.data()},
        items, miner.threads(), {positive.data(), coefficient.data(), vector.data()});
  }
  return nb::make_tuple(positive.to_numpy({rows, k}), coefficient.to_numpy({rows, k}),
                        vectors ? vector.to_numpy({rows, k, items.dim}) : nb::none());
}

nb::tuple queue_of(const BoundMiner& miner) {
  const Lists rows = miner.queue();
  OutColumn<std::uint64_t> offsets;
  OutColumn<std::uint32_t> items;
  offsets.allocate(rows.offsets.size()), items.allocate(rows.values.size());
  std::copy(rows.offsets.begin(), rows.offsets.end(), offsets.data());
  std::copy(rows.values.begin(), rows.values.end(), items.data());
  return nb::make_tuple(offsets.to_numpy({rows.offsets.size()}),
                        items.to_numpy({rows.values.size()}));
}

void set_queue(BoundMiner& miner, const InColumn<std::uint64_t>& offsets,
               const InColumn<std::uint32_t>& items) {
  if (offsets.size() == 0) throw InputError("queue: has no offsets; one more than rows is needed");
  check_offsets(offsets.data(), offsets.size() - 1, items.size(), "queue");
  Lists rows;
  rows.offsets.assign(offsets.data(), offsets.data() + offsets.size());
  rows.values.assign(items.data(), items.data() + items.size());
  miner.set_queue(rows);
}

std::vector<std::uint32_t> branches_from(const BoundMiner& miner, const std::string& source) {
  const SourceKind kind = source == "batch" ? SourceKind::kBatch : SourceKind::kUniform;
  const auto recipe = miner.edition()->recipe_at(miner.round());
  std::vector<std::uint32_t> places;
  for (std::uint32_t b = 0; b < recipe->branches.size(); ++b)
    if (recipe->branches[b].source.kind == kind) places.push_back(b);
  return places;
}

nb::object popularity_of(const BoundMiner& miner) {
  const std::shared_ptr<Edition> edition = miner.edition();
  const std::vector<std::uint32_t>& counts = edition->loaded().inputs.snapshot->popularity;
  OutColumn<std::uint32_t> out;
  out.allocate(counts.size());
  std::copy(counts.begin(), counts.end(), out.data());
  return out.to_numpy({counts.size()});
}

void bind_miner(nb::module_& m) {
  nb::class_<StopFlag>(m, "StopFlag", "Ends batches and updates of other threads.")
      .def(nb::init<>())
      .def("set", [](StopFlag& flag) { flag.asked = true; });
  nb::class_<BoundMiner>(m, "Miner", "quarry.Miner without the conversions.")
      .def(
          "__init__",
          [](BoundMiner* self, const MinerRequest& request) {
            const nb::gil_scoped_release free;
            new (self) BoundMiner(request, hear_signals);
          },
          "request"_a)
      .def("mine", &mine, "rows"_a, "k"_a.none(), "round"_a.none(), "version"_a.none(),
           "key"_a.noconvert().none(), "user"_a.noconvert().none(), "time"_a.noconvert().none(),
           "segments"_a.none(), "positive_offsets"_a.noconvert().none(),
           "positives"_a.noconvert().none(), "queries"_a.none(), "stop"_a.none(),
           "Mines `rows` rows; columns as in RowsView, shapes of the result as in Picks.")
      .def(
          "update",
          [](BoundMiner& b, const Update& update, const StopFlag* stop) {
            const auto pause = pause_of(stop);
            const nb::gil_scoped_release free;
            return b.update(update, pause);
          },
          "update"_a, "stop"_a.none())
      .def(
          "set_round",
          [](BoundMiner& b, std::uint32_t round) {
            const nb::gil_scoped_release free;
            b.set_round(round, hear_signals);
          },
          "round"_a)
      .def("synthesize", &synthesize, "round"_a, "version"_a.none(), "key"_a.noconvert(),
           "item"_a.noconvert(), "positive_offsets"_a.noconvert(), "positives"_a.noconvert(),
           "vectors"_a)
      .def_prop_ro("has_queue", &BoundMiner::has_queue)
      .def("queue", &queue_of)
      .def("set_queue", &set_queue, "offsets"_a.noconvert(), "items"_a.noconvert())
      .def_prop_ro("k", [](const BoundMiner& b) { return b.edition()->k_at(b.round()); })
      .def_prop_ro("dim",
                   [](const BoundMiner& b) { return b.edition()->loaded().inputs.items.dim; })
      .def_prop_ro("num_items",
                   [](const BoundMiner& b) { return b.edition()->loaded().inputs.items.rows; })
      .def_prop_ro("num_users",
                   [](const BoundMiner& b) -> std::uint64_t {
                     const auto edition = b.edition();
                     const auto& ids = edition->loaded().user_ids;
                     return ids ? ids->size() : 0;
                   })
      .def_prop_ro("version", [](const BoundMiner& b) { return b.edition()->version(); })
      .def_prop_ro(
          "num_miners",
          [](const BoundMiner& b) {
            const nb::gil_scoped_release free;
            return b.edition()->num_miners();
          },
          "How many k and rounds have prepared tables.")
      .def_prop_ro("threads", &BoundMiner::threads)
      .def_prop_ro("seed", &BoundMiner::seed)
      .def_prop_ro("round", &BoundMiner::round)
      .def_prop_ro("branches",
                   [](const BoundMiner& b) { return b.edition()->first().branch_names(); })
      .def("branches_from", &branches_from, "source"_a,
           "Places of the branches whose source is `batch` or `uniform`.")
      .def("popularity", &popularity_of, "uint32 [items]: users to whom an item is positive.")
      .def_prop_ro("strata",
                   [](const BoundMiner& b) { return b.edition()->first().stratum_names(); })
      .def_prop_ro("promise", [](const BoundMiner& b) { return b.edition()->first().promise(); })
      .def_prop_ro("retriever", [](const BoundMiner& b) { return b.edition()->retriever(); })
      .def_prop_ro("recipe", [](const BoundMiner& b) { return b.edition()->loaded().recipe.text; })
      .def_prop_ro("recipe_name",
                   [](const BoundMiner& b) { return b.edition()->loaded().recipe.name; })
      .def_prop_ro(
          "fixed_kind",
          [](const BoundMiner& b) { return b.edition()->request().event_columns.fixed_kind; })
      .def_prop_ro("warnings", [](const BoundMiner& b) { return b.edition()->loaded().warnings; })
      .def_prop_ro("as_of",
                   [](const BoundMiner& b) { return b.edition()->loaded().inputs.snapshot->as_of; })
      .def_prop_ro(
          "items_address",
          [](const BoundMiner& b) {
            return reinterpret_cast<std::uintptr_t>(b.edition()->loaded().inputs.items.data);
          },
          "Where the library reads the items.")
      .def_prop_ro(
          "users_address",
          [](const BoundMiner& b) {
            return reinterpret_cast<std::uintptr_t>(b.edition()->loaded().inputs.users.data);
          },
          "Where the library reads the users; 0: it has none.");
}

void bind_functions(nb::module_& m) {
  m.def("set_num_threads", &set_default_threads, "threads"_a);
  m.def("get_num_threads", &default_threads);
  m.def("recipes", [] {
    std::vector<std::string> names;
    for (const NamedRecipe& recipe : named_recipes()) {
      if (!recipe.toml.empty()) names.push_back(recipe.name);
    }
    return names;
  });
  m.def("fill_codes", [] {
    return std::vector<std::string>(std::begin(kFillCodeNames), std::end(kFillCodeNames));
  });
  m.def(
      "check_time",
      [](const std::string& text, const std::string& where) { return parse_time(text, where); },
      "text"_a, "where"_a);
  m.def("content_hash", &content_hash, "item"_a.noconvert(), "score"_a.noconvert(),
        "stratum"_a.noconvert(), "fill"_a.noconvert());
  m.def("open_set", &open_set, "name"_a, "verify"_a);
}

}  // namespace
}  // namespace quarry

NB_MODULE(_quarry, m) {
  nb::set_leak_warnings(false);  // a Miner may live to the end, as in a thread that still mines
  m.doc() = "The library behind the package quarry; its names are private.";
  nb::register_exception_translator(quarry::translate);
  quarry::bind_given_tables(m);
  quarry::bind_text_table(m);
  quarry::bind_request(m);
  quarry::bind_update(m);
  quarry::bind_miner(m);
  quarry::bind_functions(m);
}

// The module quarry._quarry: the library as Python calls it. The package's Python files check and
// convert what people pass; here types are exact.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
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
#include "python/bind/bound_miner.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace quarry {
namespace {

/// What is said of files may hold bytes that are not UTF-8.
void raise(const char* type, const char* words) {
  const nb::object error = nb::module_::import_("quarry._errors").attr(type);
  nb::object text = nb::steal(
      PyUnicode_DecodeUTF8(words, static_cast<Py_ssize_t>(std::strlen(words)), "backslashreplace"));
  PyErr_SetObject(error.ptr(), text.ptr());
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
  }
}

/// Between tiles: lets Python run what signals ask for, such as the KeyboardInterrupt of Ctrl-C.
void hear_signals() {
  const nb::gil_scoped_acquire held;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
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

void check_offsets(const std::uint64_t* offsets, std::size_t rows, std::size_t positives) {
  bool right = offsets[0] == 0 && offsets[rows] == positives;
  for (std::size_t r = 0; r < rows && right; ++r) right = offsets[r] <= offsets[r + 1];
  if (!right) {
    throw InputError("positives: their offsets must begin with 0, never fall and end with " +
                     std::to_string(positives) + ", the number of positives");
  }
}

const float* queries_of(const std::optional<MatrixSource>& queries, std::size_t rows,
                        const BoundMiner& miner) {
  if (!queries) return nullptr;
  const MatrixView& view = queries->view;
  const std::uint32_t dim = miner.loaded().inputs.items.dim;
  if (view.rows != rows || view.dim != dim || view.dtype != Dtype::kF32) {
    throw InputError("queries: must be float32 of shape (" + std::to_string(rows) + ", " +
                     std::to_string(dim) + "), one row per row of the batch");
  }
  return static_cast<const float*>(view.data);
}

nb::dict mine(BoundMiner& miner, std::size_t rows, std::uint32_t k,
              const std::optional<InColumn<std::uint64_t>>& key,
              const std::optional<InColumn<std::uint32_t>>& user,
              const std::optional<InColumn<std::int64_t>>& time,
              const std::optional<std::vector<std::string>>& segments,
              const std::optional<InColumn<std::uint64_t>>& positive_offsets,
              const std::optional<InColumn<std::uint32_t>>& positives, const nb::object& queries) {
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
  view.queries = queries_of(vectors, rows, miner);
  std::vector<std::uint32_t> codes;
  if (segments) {
    if (segments->size() != rows)
      throw InputError("segments: has " + std::to_string(segments->size()) + " entries; " +
                       std::to_string(rows) + " are needed");
    for (const std::string& name : *segments) codes.push_back(miner.miner().segment_code(name));
    view.segment = codes.data();
  }
  const std::size_t branches = miner.miner().branch_names().size();
  const std::size_t slots = rows * k;
  OutColumn<std::uint64_t> keys(rows);
  OutColumn<std::uint32_t> item(slots), raw_rank(slots), survivor_rank(slots), stratum(slots);
  OutColumn<float> score(slots), logq(slots), kappa(rows * branches), positive_min(rows);
  OutColumn<std::uint8_t> branch(slots), fill(slots), certified(rows);
  OutColumn<std::uint16_t> count(rows);
  OutColumn<std::int64_t> number(slots);
  Picks out;
  out.item = item.data(), out.score = score.data(), out.branch = branch.data();
  out.raw_rank = raw_rank.data(), out.survivor_rank = survivor_rank.data();
  out.stratum = stratum.data(), out.logq = logq.data(), out.fill = fill.data();
  out.count = count.data(), out.kappa = kappa.data(), out.positive_min = positive_min.data();
  out.certified = certified.data();
  {
    const nb::gil_scoped_release free;
    if (rows > 0) miner.mine(view, keys.data(), k, out, hear_signals);
    if (view.key != nullptr && rows > 0) std::copy_n(view.key, rows, keys.data());
    for (std::size_t i = 0; i < slots; ++i)
      number.data()[i] = item.data()[i] == kNoItem ? -1 : std::int64_t{item.data()[i]};
  }
  nb::dict result;
  result["key"] = keys.to_numpy({rows});
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

template <class T>
using Table = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

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

void bind_request(nb::module_& m) {
  using R = MinerRequest;
  nb::class_<R>(m, "Request", "What a Miner is made from; fields as in python/bind/request.h.")
      .def(nb::init<>())
      .def_rw("recipe", &R::recipe)
      .def_rw("recipe_is_text", &R::recipe_is_text)
      .def_rw("overrides", &R::overrides)
      .def_rw("seed", &R::seed)
      .def_rw("round", &R::round)
      .def_rw("threads", &R::threads)
      .def_rw("retriever", &R::retriever)
      .def_rw("events", &R::events)
      .def_rw("catalogue", &R::catalogue)
      .def_rw("pairs", &R::pairs)
      .def_rw("item_list_files", &R::item_list_files)
      .def_rw("as_of", &R::as_of)
      .def_rw("drop_unknown_ids", &R::drop_unknown_ids)
      .def_rw("allow_inert", &R::allow_inert)
      .def("set_item_list",
           [](R& r, const std::string& name, const InColumn<std::uint32_t>& items) {
             r.item_lists[name].assign(items.data(), items.data() + items.size());
           })
      .def("set_known_positives",
           [](R& r, const InColumn<std::uint32_t>& users, const InColumn<std::uint32_t>& items) {
             r.known_users.assign(users.data(), users.data() + users.size());
             r.known_items.assign(items.data(), items.data() + items.size());
           })
      .def("set_items", [](R& r, const nb::object& a) { r.items = matrix_of(a, "items"); })
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
      .def("set_user_ids",
           [](R& r, const std::string& path, const std::string& column,
              const std::vector<std::string>& ids) {
             r.user_ids = {path, column, ids};
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

void bind_miner(nb::module_& m) {
  nb::class_<BoundMiner>(m, "Miner", "quarry.Miner without the conversions.")
      .def(
          "__init__",
          [](BoundMiner* self, const MinerRequest& request) {
            const nb::gil_scoped_release free;
            new (self) BoundMiner(request, hear_signals);
          },
          "request"_a)
      .def("mine", &mine, "rows"_a, "k"_a, "key"_a.noconvert().none(), "user"_a.noconvert().none(),
           "time"_a.noconvert().none(), "segments"_a.none(),
           "positive_offsets"_a.noconvert().none(), "positives"_a.noconvert().none(),
           "queries"_a.none(),
           "Mines `rows` rows; columns as in RowsView, shapes of the result as in Picks.")
      .def_prop_ro("k", [](const BoundMiner& b) { return b.loaded().recipe.k; })
      .def_prop_ro("dim", [](const BoundMiner& b) { return b.loaded().inputs.items.dim; })
      .def_prop_ro("num_items", [](const BoundMiner& b) { return b.loaded().inputs.items.rows; })
      .def_prop_ro("num_users",
                   [](const BoundMiner& b) -> std::uint64_t {
                     return b.loaded().user_ids ? b.loaded().user_ids->size() : 0;
                   })
      .def_prop_ro("threads", &BoundMiner::threads)
      .def_prop_ro("seed", &BoundMiner::seed)
      .def_prop_ro("round", &BoundMiner::round)
      .def_prop_ro("branches", [](const BoundMiner& b) { return b.miner().branch_names(); })
      .def_prop_ro("strata", [](const BoundMiner& b) { return b.miner().stratum_names(); })
      .def_prop_ro("promise", [](const BoundMiner& b) { return b.miner().promise(); })
      .def_prop_ro("retriever", &BoundMiner::retriever)
      .def_prop_ro("recipe", [](const BoundMiner& b) { return b.loaded().recipe.text; })
      .def_prop_ro("warnings", [](const BoundMiner& b) { return b.loaded().warnings; })
      .def_prop_ro("as_of", [](const BoundMiner& b) { return b.loaded().inputs.snapshot->as_of; })
      .def_prop_ro(
          "items_address",
          [](const BoundMiner& b) {
            return reinterpret_cast<std::uintptr_t>(b.loaded().inputs.items.data);
          },
          "Where the library reads the items.")
      .def_prop_ro(
          "users_address",
          [](const BoundMiner& b) {
            return reinterpret_cast<std::uintptr_t>(b.loaded().inputs.users.data);
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
  quarry::bind_request(m);
  quarry::bind_miner(m);
  quarry::bind_functions(m);
}

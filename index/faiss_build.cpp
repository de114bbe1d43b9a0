// Builds FAISS indexes from FAISS's own strings, and makes sure that this FAISS works at all.
#if defined(QUARRY_HAS_FAISS)

#include <faiss/IndexFlat.h>
#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>

#include <algorithm>
#include <new>
#include <vector>

#include "index/faiss_cache.h"
#include "index/faiss_interrupt.h"
#include "index/faiss_searcher.h"
#include "index/faiss_threads.h"
#include "kernels/core/errors.h"
#include "kernels/core/philox.h"
#include "kernels/topk/blas_threads.h"

namespace quarry {
namespace {

constexpr char kExamples[] = "examples: exact, Flat, IVF1024,Flat, IVF1024,SQfp16, HNSW32,Flat";

faiss::MetricType faiss_metric(Metric metric) {
  return metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

/// The index that holds the structure, without the wrappers around it.
const faiss::Index* unwrap(const faiss::Index* index) {
  for (;;) {
    if (const auto* transform = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
      index = transform->index;
    } else if (const auto* map = dynamic_cast<const faiss::IndexIDMap*>(index)) {
      index = map->index;
    } else if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(index)) {
      index = refine->base_index;
    } else {
      return index;
    }
  }
}
faiss::Index* unwrap(faiss::Index* index) {
  return const_cast<faiss::Index*>(unwrap(static_cast<const faiss::Index*>(index)));
}

void set_seed(faiss::Index* index, std::uint64_t seed) {
  const int s = static_cast<int>(seed & 0x7FFFFFFFu);
  faiss::Index* inner = unwrap(index);
  if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(inner)) {
    ivf->cp.seed = s;
    ivf->cp.min_points_per_centroid =
        1;  // FAISS would print a warning; small catalogues are legal here
  }
  if (auto* pq = dynamic_cast<faiss::IndexIVFPQ*>(inner)) pq->pq.cp.seed = s;
  if (auto* pq = dynamic_cast<faiss::IndexPQ*>(inner)) pq->pq.cp.seed = s;
}

/// True for kinds whose parts are computed independently of each other, so that any number of
/// threads builds the same index. A graph (HNSW, NSG, alone or as the quantizer of an IVF) depends
/// on the order of insertion. Kinds not known here count as graphs.
bool builds_alike_on_threads(const faiss::Index& index) {
  const faiss::Index* inner = unwrap(&index);
  if (const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(inner)) inner = ivf->quantizer;
  return dynamic_cast<const faiss::IndexFlatCodes*>(inner) != nullptr;
}

/// What FAISS says, without the file and line in front.
std::string words_of(const faiss::FaissException& error) {
  std::string text = error.what();
  const auto at = text.find("failed: ");
  const auto end_of_place = text.find(": ", text.find(".cpp:"));
  if (at == std::string::npos && end_of_place != std::string::npos)
    return text.substr(end_of_place + 2);
  return text;
}

/// Empty: this FAISS can be used. Otherwise what is wrong with it.
std::string judge_faiss() {
  const std::string library = faiss_library_version();
  if (library != "unknown" && library != faiss_header_version()) {
    return "FAISS library " + library + " was linked but its headers say " +
           faiss_header_version() +
           "; object layouts change even in patch releases, so results would be silently wrong: "
           "build against the "
           "headers of the library that is linked (-DFAISS_ROOT)";
  }
  // An inverted file that visits all its lists must find what the flat index finds.
  constexpr int kDim = 8;
  constexpr FaissId kVectors = 64;
  constexpr FaissId kQueries = 4;
  constexpr FaissId kDepth = 10;
  // Outside of the try block: memory that is denied says nothing of FAISS.
  const OneBlasThread one_blas_thread(1);
  try {
    const OmpThreads one(1);
    std::vector<float> data(kDim * kVectors);
    for (std::size_t i = 0; i < data.size(); ++i) {
      data[i] =
          static_cast<float>(philox4x32({1, 2}, static_cast<std::uint32_t>(i), 0, 0, 0).z[0]) *
          0x1p-32f;
    }
    const std::unique_ptr<faiss::Index> flat(faiss::index_factory(kDim, "Flat", faiss::METRIC_L2));
    const std::unique_ptr<faiss::Index> lists(
        faiss::index_factory(kDim, "IVF4,Flat", faiss::METRIC_L2));
    set_seed(lists.get(), 1);
    lists->train(kVectors, data.data());
    flat->add(kVectors, data.data());
    lists->add(kVectors, data.data());
    auto* ivf = dynamic_cast<faiss::IndexIVF*>(lists.get());
    if (ivf == nullptr || ivf->nlist != 4)
      return "FAISS self-test: IVF4,Flat is not an inverted file of 4 lists";
    ivf->nprobe = 4;
    std::vector<float> distances(2 * kQueries * kDepth);
    std::vector<FaissId> labels(2 * kQueries * kDepth);
    flat->search(kQueries, data.data(), kDepth, distances.data(), labels.data());
    lists->search(kQueries, data.data(), kDepth, distances.data() + kQueries * kDepth,
                  labels.data() + kQueries * kDepth);
    if (!std::equal(labels.begin(), labels.begin() + kQueries * kDepth,
                    labels.begin() + kQueries * kDepth)) {
      return "FAISS self-test: an inverted file that visits every list and a flat index disagree "
             "on 64 vectors; the "
             "library does not fit its headers (" +
             faiss_header_version() +
             "): build against the headers of the library that is linked (-DFAISS_ROOT)";
    }
  } catch (const std::exception& error) {
    return std::string("FAISS self-test: ") + error.what();
  }
  return "";
}

const std::string& verdict() {
  static const std::string text = judge_faiss();
  return text;
}

}  // namespace

void require_working_faiss() {
  if (!verdict().empty())
    throw ConfigError(verdict() + "; or use the index kind exact, which needs no FAISS");
}

std::string faiss_version() { return faiss_header_version(); }

FaissInfo faiss_info() {
  FaissInfo info;
  info.present = true;
#if defined(QUARRY_FAISS_GPU)
  info.gpu = true;
#endif
  info.header_version = faiss_header_version();
  info.library_version = faiss_library_version();
  info.self_test_passed = verdict().empty();
  return info;
}

bool is_flat(const faiss::Index& index) {
  return dynamic_cast<const faiss::IndexFlat*>(&index) != nullptr;
}

std::uint32_t lists_visited(const faiss::Index& index, const FaissOptions& options) {
  const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(unwrap(&index));
  if (ivf == nullptr) return 0;
  const std::uint64_t wanted =
      options.nprobe > 0 ? options.nprobe : std::max<std::uint64_t>(1, ivf->nlist / 16);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, ivf->nlist));
}

std::uint32_t graph_width(const faiss::Index& index, const FaissOptions& options) {
  if (dynamic_cast<const faiss::IndexHNSW*>(unwrap(&index)) == nullptr) return 0;
  constexpr std::uint32_t kLeast = 64;
  constexpr std::uint32_t kMost = 0x7FFFFFFFu;  // FAISS keeps it in an int
  const std::uint32_t first = std::max(options.first_depth, 1u);
  if (options.ef_search > 0) return std::min(std::max(options.ef_search, first), kMost);
  const std::uint64_t deepest = options.max_depth > 0 ? options.max_depth : kMost;
  const std::uint64_t known = options.first_depth > 0 ? options.first_depth : kLeast;
  const std::uint64_t wanted = std::min<std::uint64_t>(4 * known, deepest);
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::max<std::uint64_t>({wanted, first, kLeast}), kMost));
}

std::string search_parameters(const faiss::Index& index, const FaissOptions& options) {
  std::string text;
  if (const std::uint32_t lists = lists_visited(index, options); lists > 0)
    text += " nprobe=" + std::to_string(lists);
  if (const std::uint32_t width = graph_width(index, options); width > 0)
    text += " ef_search=" + std::to_string(width);
  return text;
}

void set_search_parameters(faiss::Index& index, const FaissOptions& options) {
  faiss::Index* inner = unwrap(&index);
  if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(inner))
    ivf->nprobe = lists_visited(index, options);
  if (auto* hnsw = dynamic_cast<faiss::IndexHNSW*>(inner))
    hnsw->hnsw.efSearch = static_cast<int>(graph_width(index, options));
}

std::unique_ptr<faiss::Index> build_index(const Exec& exec, const ItemTable& items,
                                          const FaissOptions& options, std::string& notice) {
  require_working_faiss();
  const OneBlasThread one_blas_thread(exec.threads);
  IndexIdentity identity;
  std::string stale;
  if (!options.cache.empty()) {
    identity = identify(items, options.index, options.seed);
    if (auto cached = load_index(options.cache, identity, stale)) return cached;
  }
  std::unique_ptr<faiss::Index> index;
  try {
    index.reset(faiss::index_factory(static_cast<int>(items.dim), options.index.c_str(),
                                     faiss_metric(items.metric)));
  } catch (const faiss::FaissException& error) {
    throw ConfigError("index \"" + options.index + "\" is not a kind that FAISS " +
                      faiss_header_version() + " knows for dimension " + std::to_string(items.dim) +
                      " (FAISS: " + words_of(error) + "); " + kExamples);
  }
  const FaissInterrupt interrupt(options.interrupted);
  try {
    set_seed(index.get(), options.seed);
    const OmpThreads threads(builds_alike_on_threads(*index) ? exec.threads : 1);
    if (!index->is_trained) index->train(items.num_items, items.rows);
    if (items.num_items > 0) index->add(items.num_items, items.rows);
  } catch (const faiss::FaissException& error) {
    if (interrupt.happened()) throw Cancelled("stopped on request while an index was built");
    throw ConfigError("index \"" + options.index + "\" cannot be built on " +
                      std::to_string(items.num_items) + " items of dimension " +
                      std::to_string(items.dim) + " (FAISS: " + words_of(error) +
                      "); try fewer lists, or Flat");
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory to build index \"" + options.index + "\" on " +
                      std::to_string(items.num_items) + " items of dimension " +
                      std::to_string(items.dim) +
                      "; the kind exact needs no copy of the items, IVF with SQfp16 a smaller one");
  }
  if (options.cache.empty() || !options.save) return index;
  save_index(options.cache, identity, *index);
  if (!stale.empty()) {
    notice = "index cache " + options.cache + " held an index with " + stale +
             ", so the index was built anew and has replaced it; name one file per index to keep "
             "both";
  }
  return index;
}

}  // namespace quarry

#endif

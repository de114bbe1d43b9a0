// FAISS behind the Retriever interface: flat under the certificate, other kinds re-scored and put
// in key order.
#include "index/retriever.h"
#include "kernels/core/errors.h"

#if defined(QUARRY_HAS_FAISS)

#include <faiss/impl/FaissException.h>

#include <algorithm>
#include <functional>

#include "index/certificate.h"
#include "index/faiss_cache.h"
#include "index/faiss_searcher.h"
#include "index/faiss_threads.h"
#include "kernels/core/exact_math.h"

namespace quarry {
namespace {

/// Bytes of FAISS's answers in flight.
constexpr std::uint64_t kAnswerBytes = std::uint64_t{48} << 20;
/// Below this many query elements FAISS's flat search leaves the BLAS (1.15 and later), at a sixth
/// of the speed.
constexpr std::uint64_t kBlasElements = 128000;

class CpuSearcher final : public FaissSearcher {
 public:
  CpuSearcher(std::unique_ptr<faiss::Index> index, const FaissOptions& options)
      : index_(std::move(index)), options_(options) {}

  void search(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t k,
              float* distances, FaissId* labels) override {
    set_search_parameters(*index_, options_, k);
    if (!is_flat(*index_)) {
      const OmpThreads threads(exec.threads);
      index_->search(rows, queries, k, distances, labels);
      return;
    }
    // FAISS flat is one matrix product after the other, and a product of this shape does not scale
    // over threads: each worker gets queries of its own, in even pieces that are not too small for
    // the BLAS.
    const auto dim = static_cast<std::uint64_t>(index_->d);
    const auto threads = static_cast<std::uint64_t>(std::max(exec.threads, 1));
    const std::uint64_t pieces =
        std::clamp<std::uint64_t>(rows * dim / kBlasElements, 1, 4 * threads);
    const std::uint64_t grain = (rows + pieces - 1) / pieces;
    parallel_for(exec, rows, grain, [&](std::uint64_t begin, std::uint64_t end) {
      const OmpThreads one(1);
      index_->search(static_cast<FaissId>(end - begin), queries + begin * dim, k,
                     distances + begin * k, labels + begin * k);
    });
  }
  std::uint32_t max_k() const override { return 0xFFFFFFFFu; }

 private:
  std::unique_ptr<faiss::Index> index_;
  FaissOptions options_;
};

/// What both kinds share: the searcher, its name, its answers.
struct FaissEngine {
  ItemTable items;
  std::unique_ptr<FaissSearcher> searcher;
  std::string description;
  std::uint64_t index_bytes = 0;
  HostBuffer<float> distances;
  HostBuffer<FaissId> labels;

  std::uint64_t memory_bytes() const {
    return index_bytes + distances.capacity_bytes() + labels.capacity_bytes();
  }

  void search(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t k) {
    distances.resize(exec, std::size_t{rows} * k);
    labels.resize(exec, std::size_t{rows} * k);
    try {
      searcher->search(exec, queries, rows, k, distances.data(), labels.data());
    } catch (const faiss::FaissException& error) {
      throw ConfigError("FAISS refused a search of " + std::to_string(rows) +
                        " queries, k = " + std::to_string(k) + ", in " + description + ": " +
                        error.what() + "; try the index kind exact");
    } catch (const std::bad_alloc&) {
      throw OutOfMemory("no memory for a FAISS search of " + std::to_string(rows) +
                        " queries, k = " + std::to_string(k) + "; try a smaller tile");
    }
  }
};

class FaissFlatRetriever final : public Retriever, private CandidateSource {
 public:
  explicit FaissFlatRetriever(FaissEngine engine)
      : engine_(std::move(engine)), certified_(engine_.items, Approximation::kFaissFlat) {}

  void search(const Exec& exec, const float* queries, std::uint32_t num_queries, std::uint32_t k,
              const SearchResult& out) override {
    certified_.search(exec, *this, queries, num_queries, k, out);
  }
  bool exact() const override { return true; }
  std::string description() const override { return engine_.description; }
  SearchStats stats() const override { return certified_.stats(); }
  std::uint64_t memory_bytes() const override {
    return certified_.memory_bytes() + engine_.memory_bytes();
  }

 private:
  void find(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t depth,
            TopkWorkspace&, const TopkResult& out) override {
    engine_.search(exec, queries, rows, depth);
    const bool negate = engine_.items.metric == Metric::kL2;
    parallel_for(exec, rows, 16, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t r = begin; r < end; ++r) {
        std::uint64_t* keys = out.keys + r * depth;
        std::uint32_t n = 0;
        for (std::uint64_t j = r * depth; j < (r + 1) * depth; ++j) {
          const FaissId label = engine_.labels.data()[j];
          if (label < 0 || label >= FaissId{engine_.items.num_items}) continue;
          const float distance = engine_.distances.data()[j];
          keys[n++] = score_key(clear_negative_zero(negate ? -distance : distance),
                                static_cast<std::uint32_t>(label));
        }
        out.count[r] = n;
        // FAISS keeps any of several that tie at the end: everything left out may score as much as
        // the worst kept.
        out.left_out[r] = n < engine_.items.num_items ? 1 : 0;
        if (n > 0) out.cut[r] = score_of_key(*std::min_element(keys, keys + n));
      }
    });
  }
  std::uint32_t max_depth() const override { return engine_.searcher->max_k(); }

  FaissEngine engine_;
  CertifiedSearch certified_;
};

class FaissApproximateRetriever final : public Retriever {
 public:
  explicit FaissApproximateRetriever(FaissEngine engine) : engine_(std::move(engine)) {}

  void search(const Exec& exec, const float* queries, std::uint32_t num_queries, std::uint32_t k,
              const SearchResult& out) override {
    stats_.queries += num_queries;
    const std::uint32_t depth = std::min(k, engine_.items.num_items);
    for (std::uint32_t r = 0; r < num_queries; ++r) {
      out.count[r] = 0;
      out.complete[r] = engine_.items.num_items == 0 ? 1 : 0;
      if (out.certified != nullptr) out.certified[r] = 0;
    }
    if (depth == 0) return;
    const auto step = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
        kAnswerBytes / ((sizeof(float) + sizeof(FaissId)) * std::uint64_t{depth}), 1, 65536));
    for (std::uint32_t begin = 0; begin < num_queries;
         begin += std::min(step, num_queries - begin)) {
      const std::uint32_t rows = std::min(step, num_queries - begin);
      const float* block = queries + std::uint64_t{begin} * engine_.items.dim;
      engine_.search(exec, block, rows, depth);
      keys_.resize(exec, std::size_t{rows} * depth);
      parallel_for(exec, rows, 8, [&](std::uint64_t first, std::uint64_t end) {
        for (std::uint64_t r = first; r < end; ++r) {
          settle(block + r * engine_.items.dim, r, depth, begin + r, k, out);
        }
      });
    }
  }
  bool exact() const override { return false; }
  std::string description() const override { return engine_.description; }
  SearchStats stats() const override { return stats_; }
  std::uint64_t memory_bytes() const override {
    return engine_.memory_bytes() + keys_.capacity_bytes();
  }

 private:
  /// Exact scores, key order, no repeats, no empty places.
  void settle(const float* query, std::uint64_t from, std::uint32_t depth, std::uint64_t row,
              std::uint32_t k, const SearchResult& out) {
    std::uint64_t* keys = keys_.data() + from * depth;
    const FaissId* labels = engine_.labels.data() + from * depth;
    const ItemTable& items = engine_.items;
    std::uint32_t n = 0;
    for (std::uint32_t j = 0; j < depth; ++j) {
      if (labels[j] < 0 || labels[j] >= FaissId{items.num_items}) continue;
      const auto item = static_cast<std::uint32_t>(labels[j]);
      keys[n++] = score_key(
          exact_score(items.metric, query, items.rows + std::uint64_t{item} * items.dim, items.dim),
          item);
    }
    std::sort(keys, keys + n, std::greater<>());
    n = static_cast<std::uint32_t>(std::unique(keys, keys + n) - keys);
    for (std::uint32_t j = 0; j < n; ++j) {
      out.items[row * k + j] = item_of_key(keys[j]);
      out.scores[row * k + j] = score_of_key(keys[j]);
    }
    out.count[row] = n;
    // Fewer than asked for: what the lists or the graph reach is exhausted, and a larger k reaches
    // no further.
    out.complete[row] = n < k || n == items.num_items ? 1 : 0;
  }

  FaissEngine engine_;
  HostBuffer<std::uint64_t> keys_;
  SearchStats stats_;
};

}  // namespace

std::unique_ptr<FaissSearcher> make_cpu_searcher(std::unique_ptr<faiss::Index> index,
                                                 const FaissOptions& options) {
  return std::make_unique<CpuSearcher>(std::move(index), options);
}

std::unique_ptr<Retriever> make_faiss_retriever(const Exec& exec, const ItemTable& items,
                                                const FaissOptions& options) {
  std::unique_ptr<faiss::Index> index = build_index(exec, items, options);
  const bool flat = is_flat(*index);
  FaissEngine engine;
  engine.items = items;
  engine.description = options.index + search_parameters(*index, options);
  if (!flat) engine.description += " seed=" + std::to_string(options.seed);
  engine.index_bytes = serialized_bytes(*index);
  set_search_parameters(*index, options, 1);  // a copy on a GPU takes nprobe from here
#if defined(QUARRY_FAISS_GPU)
  if (exec.device == Device::kCuda) engine.searcher = make_gpu_searcher(exec, *index, options);
#endif
  if (engine.searcher == nullptr) engine.searcher = make_cpu_searcher(std::move(index), options);
  if (flat) return std::make_unique<FaissFlatRetriever>(std::move(engine));
  return std::make_unique<FaissApproximateRetriever>(std::move(engine));
}

}  // namespace quarry

#else

namespace quarry {

std::unique_ptr<Retriever> make_faiss_retriever(const Exec&, const ItemTable&,
                                                const FaissOptions& options) {
  throw ConfigError(
      "index \"" + options.index +
      "\" needs FAISS, which this build does not have; use the index kind exact, or install FAISS "
      "(libfaiss-dev, or -DFAISS_ROOT) and build again");
}

FaissInfo faiss_info() { return {}; }

}  // namespace quarry

#endif

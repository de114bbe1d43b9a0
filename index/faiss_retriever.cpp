// FAISS behind the Retriever interface: flat under the certificate, other kinds re-scored and put
// in key order.
#include "index/retriever.h"
#include "kernels/core/errors.h"

#if defined(QUARRY_HAS_FAISS)

#include <faiss/impl/FaissException.h>

#include <algorithm>

#include "index/certificate.h"
#include "index/faiss_cache.h"
#include "index/faiss_searcher.h"
#include "index/faiss_threads.h"
#include "kernels/topk/blas_threads.h"

namespace quarry {
namespace {

/// Bytes of FAISS's answers in flight.
constexpr std::uint64_t kAnswerBytes = std::uint64_t{48} << 20;
/// Below this many query elements FAISS's flat search leaves the BLAS (1.15 and later), at a sixth
/// of the speed.
constexpr std::uint64_t kBlasElements = 128000;

class CpuSearcher final : public FaissSearcher {
 public:
  explicit CpuSearcher(std::unique_ptr<faiss::Index> index) : index_(std::move(index)) {}

  void search(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t k,
              float* distances, FaissId* labels) override {
    const OneBlasThread one_blas_thread(exec.threads);
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
  bool on_device() const override { return false; }
  std::uint32_t max_k() const override { return 0xFFFFFFFFu; }

 private:
  std::unique_ptr<faiss::Index> index_;
};

/// Answers of an index in the memory of the Exec, as lists of keys.
struct FaissEngine {
  ItemTable items;
  std::unique_ptr<FaissSearcher> searcher;
  std::string description, notice;
  std::uint64_t index_bytes = 0;
  ExecBuffer<float> distances;
  ExecBuffer<FaissId> labels;
  // What travels if the Exec is a device and the searcher is not on it.
  HostBuffer<float> host_queries, host_distances;
  HostBuffer<FaissId> host_labels;

  std::uint64_t memory_bytes() const {
    return index_bytes + distances.host_bytes() + labels.host_bytes() +
           host_queries.capacity_bytes() + host_distances.capacity_bytes() +
           host_labels.capacity_bytes();
  }
  std::uint64_t device_bytes() const {
    return distances.device_bytes() + labels.device_bytes() +
           (searcher->on_device() ? index_bytes : 0);
  }

  void find(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t depth,
            const TopkResult& out) {
    if (searcher->on_device() && exec.device != Device::kCuda) {
      throw ConfigError("index \"" + description +
                        "\" was made for a GPU and a search asked for on the CPU; make one "
                        "retriever per device");
    }
    const std::size_t places = std::size_t{rows} * depth;
    distances.resize(exec, places);
    labels.resize(exec, places);
    if (searcher->on_device() || exec.device == Device::kCpu) {
      ask(exec, queries, rows, depth, distances.data(), labels.data());
    } else {
      const std::size_t numbers = std::size_t{rows} * items.dim;
      host_queries.resize(exec, numbers);
      host_distances.resize(exec, places);
      host_labels.resize(exec, places);
      copy_to_host(exec, host_queries.data(), queries, numbers * sizeof(float));
      synchronize(exec);  // also the last answers have left
      ask(exec, host_queries.data(), rows, depth, host_distances.data(), host_labels.data());
      copy_to_device(exec, distances.data(), host_distances.data(), places * sizeof(float));
      copy_to_device(exec, labels.data(), host_labels.data(), places * sizeof(FaissId));
    }
    LabelArgs args;
    args.labels = labels.data();
    args.distances = distances.data();
    args.num_lists = rows;
    args.depth = depth;
    args.num_items = items.num_items;
    args.negate = items.metric == Metric::kL2;
    args.keys = out.keys;
    args.count = out.count;
    args.cut = out.cut;
    args.left_out = out.left_out;
    label_keys(exec, args);
  }

 private:
  void ask(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t k,
           float* found, FaissId* found_labels) {
    const auto what = [&] { return std::to_string(rows) + " queries, k = " + std::to_string(k); };
    const auto no_memory = [&] {
      return OutOfMemory("no memory for a FAISS search of " + what() + "; try a smaller tile");
    };
    try {
      searcher->search(exec, queries, rows, k, found, found_labels);
    } catch (const faiss::FaissException& error) {
      // What FAISS's own threads throw arrives as words.
      if (std::string(error.what()).find("bad_alloc") != std::string::npos) throw no_memory();
      throw ConfigError("FAISS refused a search of " + what() + ", in " + description + ": " +
                        error.what() + "; try the index kind exact");
    } catch (const std::bad_alloc&) {
      throw no_memory();
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
  std::string notice() const override { return engine_.notice; }
  SearchStats stats() const override { return certified_.stats(); }
  std::uint64_t memory_bytes() const override {
    return certified_.memory_bytes() + engine_.memory_bytes();
  }
  std::uint64_t device_bytes() const override {
    return certified_.device_bytes() + engine_.device_bytes();
  }

 private:
  void find(const Exec& exec, const float*, const float* queries, std::uint32_t rows,
            std::uint32_t depth, SearchWorkspace&, const TopkResult& out) override {
    engine_.find(exec, queries, rows, depth, out);
  }
  std::uint32_t max_depth() const override { return engine_.searcher->max_k(); }

  FaissEngine engine_;
  CertifiedSearch certified_;
};

class FaissApproximateRetriever final : public Retriever {
 public:
  /// width: items of every search, whatever k; 0: as many as are asked for.
  FaissApproximateRetriever(FaissEngine engine, std::uint32_t width)
      : engine_(std::move(engine)), items_(engine_.items), width_(width) {}

  void search(const Exec& exec, const float* queries, std::uint32_t num_queries, std::uint32_t k,
              const SearchResult& out) override {
    if (num_queries == 0) return;
    stats_.queries += num_queries;
    const ItemTable& table = engine_.items;
    if (k == 0 || table.num_items == 0) {
      fill_bytes(exec, out.count, 0, num_queries * sizeof(out.count[0]));
      fill_bytes(exec, out.complete, table.num_items == 0 ? 1 : 0, num_queries);
      if (out.certified != nullptr) fill_bytes(exec, out.certified, 0, num_queries);
      return;
    }
    const std::uint32_t most = std::min(engine_.searcher->max_k(), table.num_items);
    const std::uint32_t depth = std::min(width_ > 0 ? width_ : k, most);
    const auto step = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
        kAnswerBytes / ((sizeof(float) + sizeof(FaissId)) * std::uint64_t{depth}), 1, 65536));
    CertifyArgs args;
    args.kind = ListKind::kUnproven;
    args.bound.dim = table.dim;
    args.bound.metric = table.metric;
    args.items = items_.at(exec);
    args.num_items = table.num_items;
    args.whole = width_ > 0 || depth == most;
    args.k = k;
    args.out = {out.items, out.scores, out.count, out.complete, out.certified};
    for (std::uint32_t begin = 0; begin < num_queries; begin += args.num_lists) {
      args.num_lists = std::min(step, num_queries - begin);
      args.queries = queries + std::uint64_t{begin} * table.dim;
      args.first_row = begin;
      keys_.resize(exec, std::size_t{args.num_lists} * depth);
      count_.resize(exec, args.num_lists);
      cut_.resize(exec, args.num_lists);
      left_out_.resize(exec, args.num_lists);
      scratch_.resize(exec, certify_scratch_size(exec, args.num_lists, depth));
      engine_.find(exec, args.queries, args.num_lists, depth,
                   {keys_.data(), count_.data(), cut_.data(), left_out_.data()});
      args.lists = {keys_.data(), count_.data(), cut_.data(), left_out_.data(), depth};
      args.scratch = scratch_.data();
      certify(exec, args);
    }
  }
  bool exact() const override { return false; }
  std::string description() const override { return engine_.description; }
  std::string notice() const override { return engine_.notice; }
  SearchStats stats() const override { return stats_; }
  std::uint64_t memory_bytes() const override {
    return engine_.memory_bytes() + keys_.host_bytes() + scratch_.host_bytes() +
           count_.host_bytes() + cut_.host_bytes() + left_out_.host_bytes();
  }
  std::uint64_t device_bytes() const override {
    return engine_.device_bytes() + items_.device_bytes() + keys_.device_bytes() +
           scratch_.device_bytes() + count_.device_bytes() + cut_.device_bytes() +
           left_out_.device_bytes();
  }

 private:
  FaissEngine engine_;
  ItemRows items_;
  std::uint32_t width_;
  ExecBuffer<std::uint64_t> keys_, scratch_;
  ExecBuffer<std::uint32_t> count_;
  ExecBuffer<float> cut_;
  ExecBuffer<std::uint8_t> left_out_;
  SearchStats stats_;
};

}  // namespace

void require_depth(const FaissSearcher& searcher, const FaissOptions& options) {
  if (options.first_depth <= searcher.max_k()) return;
  throw ConfigError("searches begin " + std::to_string(options.first_depth) +
                    " items deep, index \"" + options.index + "\" on a GPU finds at most " +
                    std::to_string(searcher.max_k()) +
                    " per query; lower the pool, max_rank or the rank window of the recipe's topk "
                    "branches, or use --retriever exact or --device cpu");
}

std::unique_ptr<FaissSearcher> make_cpu_searcher(std::unique_ptr<faiss::Index> index) {
  return std::make_unique<CpuSearcher>(std::move(index));
}

std::unique_ptr<Retriever> make_faiss_retriever(const Exec& exec, const ItemTable& items,
                                                const FaissOptions& options) {
  FaissEngine engine;
  std::unique_ptr<faiss::Index> index = build_index(exec, items, options, engine.notice);
  const bool flat = is_flat(*index);
  engine.items = items;
  engine.description = options.index + search_parameters(*index, options);
  if (!flat) engine.description += " seed=" + std::to_string(options.seed);
  engine.index_bytes = serialized_bytes(*index);
  set_search_parameters(*index, options);  // a copy on a GPU takes nprobe from here
  const std::uint32_t width = graph_width(*index, options);
#if defined(QUARRY_FAISS_GPU)
  if (exec.device == Device::kCuda && has_gpu_form(*index))
    engine.searcher = make_gpu_searcher(exec, *index, options);
#endif
  if (engine.searcher == nullptr) engine.searcher = make_cpu_searcher(std::move(index));
  if (flat) return std::make_unique<FaissFlatRetriever>(std::move(engine));
  require_depth(*engine.searcher, options);
  return std::make_unique<FaissApproximateRetriever>(std::move(engine), width);
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
std::string faiss_version() { return "none"; }

}  // namespace quarry

#endif

// Where a FAISS index is searched: on the CPU or on a GPU. Private: includes FAISS.
#pragma once

#include <faiss/Index.h>

#include <cstdint>
#include <memory>

#include "index/faiss_compat.h"
#include "index/retriever.h"

namespace quarry {

/// Searches one index. Not re-entrant.
class FaissSearcher {
 public:
  virtual ~FaissSearcher() = default;
  /// As faiss::Index::search. distances, labels: [rows, k]; label -1: nothing. All three are device
  /// memory and the work is ordered on exec.stream if on_device(), else host memory.
  virtual void search(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t k,
                      float* distances, FaissId* labels) = 0;
  virtual bool on_device() const = 0;
  virtual std::uint32_t max_k() const = 0;
};

/// Built or loaded as the options say; `notice` becomes a sentence if it took the place of another
/// index in the cache. Throws ConfigError with FAISS's words for what FAISS refuses.
std::unique_ptr<faiss::Index> build_index(const Exec& exec, const ItemTable& items,
                                          const FaissOptions& options, std::string& notice);

/// True for an index that compares with every item in fp32.
bool is_flat(const faiss::Index& index);

/// How search-time parameters are written in the manifest, "" if the index has none.
std::string search_parameters(const faiss::Index& index, const FaissOptions& options);
/// Sets nprobe and ef_search, once: neither depends on a search.
void set_search_parameters(faiss::Index& index, const FaissOptions& options);
/// Width of every search of a graph; 0 for an index without one.
std::uint32_t graph_width(const faiss::Index& index, const FaissOptions& options);
/// Lists visited per query; 0 for an index without lists.
std::uint32_t lists_visited(const faiss::Index& index, const FaissOptions& options);

/// The version check and the self-test; ConfigError if this FAISS cannot be trusted. Runs once per
/// process.
void require_working_faiss();

/// ConfigError if the searcher cannot serve options.first_depth.
void require_depth(const FaissSearcher& searcher, const FaissOptions& options);

std::unique_ptr<FaissSearcher> make_cpu_searcher(std::unique_ptr<faiss::Index> index);

#if defined(QUARRY_FAISS_GPU)
/// True for kinds that FAISS can copy to a GPU.
bool has_gpu_form(const faiss::Index& index);
/// Copies the index to exec.cuda_device. See faiss_gpu.cpp for what a device fault does.
std::unique_ptr<FaissSearcher> make_gpu_searcher(const Exec& exec, const faiss::Index& index,
                                                 const FaissOptions& options);
#endif

}  // namespace quarry

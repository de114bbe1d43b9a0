// Retriever: the nearest items of a query, in the order of docs/row_contract.md section 1.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/core/exact_score.h"
#include "kernels/core/exec.h"
#include "kernels/topk/topk.h"

namespace quarry {

/// The items that are searched. Kept by pointer: the caller keeps them alive and unchanged.
struct ItemTable {
  const float* rows = nullptr;  ///< [num_items, dim] fp32, unit rows under kCosine, host memory
  std::uint32_t num_items = 0;
  std::uint32_t dim = 0;
  Metric metric = Metric::kInnerProduct;
  const float* device_rows = nullptr;  ///< the same rows on the device of the Exec; null: not there
};

/// Where results go, in the memory of the Exec's device. List l has count[l] <= k entries at l * k,
/// in key order, with exact scores (but for what a goal says is settled or dismissed); places
/// behind them are left as they are.
struct SearchResult {
  std::uint32_t* items = nullptr;     ///< [queries, k]
  float* scores = nullptr;            ///< [queries, k]
  std::uint32_t* count = nullptr;     ///< [queries]
  std::uint8_t* complete = nullptr;   ///< [queries] 1: a deeper search would find nothing more
  std::uint8_t* certified = nullptr;  ///< [queries] 1: proven equal to brute force; may be null
  /// [queries] items ahead of a list's end that search_toward passed over, whole where the list
  /// goes down to the goal's pass_above; may be null, and is not written by other searches.
  std::uint32_t* passed = nullptr;
};

/// Totals since construction.
struct SearchStats {
  std::uint64_t queries = 0;
  std::uint64_t certified = 0;  ///< proven by the error bound at some slack
  std::uint64_t fallback = 0;   ///< proven by exact brute force
  std::uint64_t widened = 0;    ///< searches repeated in fp32 or with a larger slack
  std::uint64_t coarse = 0;     ///< of `certified`: proven with scores of bf16 rows
  std::uint64_t toward = 0;     ///< scans that went as deep as a goal said, repeated ones too
  std::uint64_t passed = 0;     ///< items that these counted without listing them
};

/// Long enough for a caller who will reject a part of each list (kernels/topk/topk.h), with rows of
/// exact scores for `ceiling`. Arrays in host memory.
using SearchGoal = TopkGoal;

class Retriever {
 public:
  virtual ~Retriever() = default;
  /// Up to min(k, num_items) nearest items of each query. queries: [num_queries, dim], prepared
  /// like the items. Queries and results are host memory under kCpu, device memory under kCuda,
  /// where work is ordered on exec.stream: the caller synchronises before it copies results to the
  /// host. Exact kinds wait for the stream once per pass, for one flag per query; nothing else
  /// travels, unless the index is one that only the CPU searches. Not re-entrant; uses exec.threads
  /// threads; every call brings the same device. Results do not depend on threads, batch or device
  /// for exact kinds. Throws OutOfMemory, DeviceError, and ConfigError for what FAISS refuses.
  virtual void search(const Exec& exec, const float* queries, std::uint32_t num_queries,
                      std::uint32_t k, const SearchResult& out) = 0;
  /// As search with k = most, but each list may end behind the entry by which the goal is reached,
  /// rarely before it, may begin with what goal.settled_above says, in no order, with
  /// kSettledScore (kernels/certify/candidate_lists.h), and may hold what goal.dismisses says in no
  /// order between the other entries, which stand at their ranks. The last entry behind what is
  /// settled, of a list that is not complete, is the worst and has its exact score. Costs one pass
  /// for rows that reach it at any depth below `most`. Only where follows_goals().
  virtual void search_toward(const Exec& exec, const float* queries, std::uint32_t num_queries,
                             std::uint32_t most, const SearchGoal& goal, const SearchResult& out);
  /// Whether that is faster than search, by which results are the same; far: as for
  /// topk_toward_pays.
  virtual bool follows_goals(const Exec& exec, std::uint32_t num_queries, bool far) const;
  /// True if results equal brute force with the exact score.
  virtual bool exact() const = 0;
  /// As written in the manifest: an exact_kind(), or FAISS's index string with
  /// its parameters.
  virtual std::string description() const = 0;
  /// What a person should know of how it was made, a sentence; "" mostly.
  virtual std::string notice() const { return {}; }
  virtual SearchStats stats() const = 0;
  /// Host bytes held beside the item table. Work areas are kept between calls. FAISS allocates its
  /// own on top in every search, which no option of it prevents: on the CPU 16 MiB of products per
  /// thread for flat and IVF kinds, and a heap or a reservoir per query.
  virtual std::uint64_t memory_bytes() const = 0;
  /// Likewise on the device, a copy of the item table included where ItemTable names none.
  virtual std::uint64_t device_bytes() const = 0;
};

/// What an exact search on the CPU multiplies first: scores of bf16 rows, which have a larger error
/// and leave rows to fp32; bounds from 8-bit rows, which leave pairs to fp32; or fp32 alone.
/// kFastest: 8 bits where int8_pays() and rows are enough, else bf16 where bf16_pays() and fewer
/// are. The other three ask for one of them, slow as it may be here.
enum class FirstPass : std::uint8_t { kFastest, kFp32, kInt8, kBf16 };
/// "exact", "exact-fp32", "exact-int8", "exact-bf16"; nothing for other names.
std::optional<FirstPass> exact_kind(const std::string& name);
const char* name_of(FirstPass pass);

/// Exact search by blocked products, running top-k and certificate (this project's own). Results
/// are the same bit for bit with any first pass.
std::unique_ptr<Retriever> make_exact_retriever(const ItemTable& items,
                                                FirstPass pass = FirstPass::kFastest);
/// Of its memory_bytes() on the CPU, what it may keep of so many items by the first search, beside
/// work areas.
std::uint64_t bytes_kept_of_items(std::uint32_t num_items, std::uint32_t dim, Metric metric,
                                  FirstPass pass);

struct FaissOptions {
  std::string index =
      "Flat";  ///< FAISS's own string: Flat, IVF1024,Flat, IVF1024,SQfp16, HNSW32,Flat ...
  std::uint32_t nprobe = 0;     ///< IVF lists visited; 0: max(1, lists / 16)
  std::uint32_t ef_search = 0;  ///< HNSW; 0: 4 * first_depth within [64, max_depth]
  std::uint64_t seed = 1;       ///< training sample and k-means
  /// Index file to load, or to write after building; "" = none. One of other items or options is
  /// replaced, which notice() tells.
  std::string cache;
  bool save = true;  ///< false: `cache` is only read, whatever is in it
  /// How deep searches begin and the deepest that will be asked for; 0: not known. The Miner sets
  /// both. They are facts of the recipe, so nothing that depends on them depends on the tile.
  std::uint32_t first_depth = 0;
  std::uint32_t max_depth = 0;
  /// Asked from time to time while an index is built, where FAISS looks (between the steps of
  /// k-means, within a graph), on the thread that builds it; true ends that with Cancelled. Not
  /// needed afterwards.
  std::function<bool()> interrupted = {};
};
/// FAISS's index behind the interface. Flat is exact; the others give what their index reaches, in
/// key order, and say `complete` where a deeper search reaches no further:
///  - HNSW is built by one thread, because the graph depends on the order of insertion, and always
///    searched max(ef_search, first_depth) wide, whatever k is: that many items are all it gives.
///    So a query has one answer, for any tile, any threads and any history of deeper searches.
///  - IVF gives the members of the lists it visits. FAISS may rank centroids that tie within
///    rounding differently in batches of other sizes, and keeps any of several items that tie at k.
///  - On a GPU FAISS finds at most 2048 items per query; that many are then all it gives.
/// Kinds without a form on the GPU (HNSW), and all kinds where FAISS has no GPU, are searched on
/// the CPU under kCuda too: queries and candidates are copied, the rest stays on the device.
/// Throws ConfigError for an index string FAISS does not know, a build without FAISS, or a
/// first_depth that a GPU index cannot serve; InputError for a damaged cache.
std::unique_ptr<Retriever> make_faiss_retriever(const Exec& exec, const ItemTable& items,
                                                const FaissOptions& options);

/// An exact_kind() or a FAISS string; "auto" is exact here, where nothing is known of the task
/// (index/choose_retriever.h).
std::unique_ptr<Retriever> make_retriever(const Exec& exec, const ItemTable& items,
                                          const std::string& kind, const FaissOptions& options);

/// What FAISS this build has: version, GPU or not, and whether its self-test passes; for `doctor`.
struct FaissInfo {
  bool present = false;
  bool gpu = false;
  std::string header_version;
  std::string library_version;  ///< "unknown" where the library cannot tell (1.7.3)
  bool self_test_passed = false;
};
FaissInfo faiss_info();
/// Its header_version alone, without the self-test; "none" where there is no FAISS.
std::string faiss_version();

}  // namespace quarry

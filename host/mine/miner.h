// Miner: from training rows to hard negatives. Reads with miner.cpp as the pipeline of README.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/mine/inputs.h"
#include "host/mine/sliced_lists.h"
#include "host/recipe/recipe.h"
#include "index/choose_retriever.h"
#include "index/item_slice.h"
#include "index/retriever.h"
#include "kernels/core/exec.h"
#include "kernels/model/rows.h"

struct CUstream_st;

namespace quarry {

/// Candidates that all rows of a call share, not owned: ascending, without repeats, host memory.
struct SharedPool {
  const std::uint32_t* items = nullptr;
  std::uint32_t count = 0;
};

/// The rows of one call, not owned: host memory for mine(), memory of the Miner's device for
/// mine_batch().
struct RowsView {
  std::uint64_t num_rows = 0;
  const std::uint64_t* key = nullptr;      ///< [rows]
  const std::uint32_t* user = nullptr;     ///< [rows]; may be null where nothing is known by user:
                                           ///< query vectors, no exposure, no pairs, no user table
  const std::int64_t* time = nullptr;      ///< [rows]; null: the end of time
  const std::uint32_t* segment = nullptr;  ///< codes of the recipe's segment column; null: none
  const std::uint64_t* positive_offsets = nullptr;  ///< [rows + 1]; null: no positives
  const std::uint32_t* positives =
      nullptr;  ///< never negatives of their row under filter `positives`
  const float* queries =
      nullptr;  ///< [rows, dim] query vectors to use instead of the user table; null: the table
  /// [branches] host memory, for recipes with a source `batch` or `queue`; others are not read. For
  /// `batch` the positives of all rows that the caller mines together, in however many calls.
  const SharedPool* pools = nullptr;
};

/// Throws ConfigError: a run over a table has no batches for a branch of that source.
[[noreturn]] void throw_no_batches(SourceKind source, const std::string& branch);

/// Rows first .. first + count - 1 of a view, offsets into the same positives. dim: of its queries.
RowsView part_of(const RowsView& rows, std::uint64_t first, std::uint64_t count, std::uint32_t dim);

/// Negatives of the rows of one call or tile; layout of Picks, host memory.
struct NegativeBatch {
  std::uint64_t first_row = 0;
  std::uint32_t num_rows = 0;
  std::uint32_t k = 0;
  std::uint32_t num_branches = 0;
  std::vector<std::uint32_t> item, raw_rank, survivor_rank, stratum;
  std::vector<float> score, logq, kappa;
  std::vector<float> positive_min;  ///< [rows] NaN for rows without positives
  std::vector<float> floor;         ///< [rows] Picks::floor
  std::vector<std::uint8_t> branch, fill, certified;
  std::vector<std::uint16_t> count;
};

struct MinerOptions {
  Exec exec = {};
  /// Further devices: mine() spreads its tiles over `exec` and these, a thread and a replica of
  /// index and tables for each. The same negatives whatever their number.
  std::vector<Exec> more = {};
  std::uint32_t seed = 0;
  std::uint32_t round = 0;
  std::uint32_t tile_rows = 0;               ///< 0: chosen to stay under host_memory
  std::uint64_t host_memory = 512ull << 20;  ///< bytes for tiles in flight
  std::string retriever = "auto";
  /// For "auto": the share of nearest items that must be found, (0, 1], and how many rows will be
  /// mined in all (0: not known). Below 1 it may be an approximate index, where the rows pay for
  /// it.
  double recall = 1;
  std::uint64_t expected_rows = 0;
  FaissOptions faiss = {};
  /// Searches are of these items alone, for find(); nothing can be mined. Exact, on the CPU.
  std::optional<ItemSlice> slice = {};
  /// What searches of slices found of the rows that will be mined, in the place of first searches.
  /// Exact, on the CPU.
  std::shared_ptr<const SlicedLists> found = {};
};

/// Seconds of wall time and work by stage.
struct MinerTimes {
  double prepare = 0, retrieve = 0, gather = 0, exclude = 0, select = 0, merge = 0, emit = 0;
};
struct MinerReport {
  Counters counters;
  std::vector<StratumCounters> strata;  ///< by stratum, in the order of stratum_names()
  SearchStats search;
  MinerTimes seconds;
  std::uint64_t tiles = 0;
  std::uint64_t deepened_rows = 0;  ///< rows searched again, deeper
  std::uint64_t deepest = 0;        ///< largest depth searched
  std::uint64_t candidates = 0;     ///< candidates judged, again where a row was searched again
  std::uint64_t certified_rows = 0;
};

/// What a run will need, before it starts.
struct MinePlan {
  std::uint64_t rows = 0, num_items = 0, num_users = 0;
  std::uint32_t dim = 0, tile_rows = 0, depth = 0, k = 0;
  std::uint64_t mapped_bytes = 0;  ///< inputs in place
  /// Rows of items that searches read again and again: of mapped_bytes, where they are read as they
  /// were given; 0: prepared ones, or no branch searches.
  std::uint64_t searched_bytes = 0;
  std::uint64_t prepared_bytes = 0;  ///< of resident_bytes: rows widened or made unit rows
  std::uint64_t resident_bytes = 0;  ///< item table copy, lists, snapshot
  std::uint64_t tile_bytes = 0;      ///< buffers of tiles in flight
  /// resident + tile. Before the first tile the work areas of searches are not in it, and never
  /// what FAISS takes during a search; quarry plan measures both on a tile or two.
  std::uint64_t peak_bytes = 0;
  double gemm_flops = 0;
  std::string retriever;
  double build_seconds = 0;  ///< what making the retriever took
  std::string notice;        ///< Retriever::notice()
};

class Miner {
 public:
  /// Compiles the recipe against the inputs. Throws ConfigError (recipe asks for what the inputs
  /// lack), InputError.
  Miner(const Recipe& recipe, const MinerInputs& inputs, const MinerOptions& options);
  /// A miner of the inputs and options of `former` by another recipe, or one with schedules read at
  /// another round: it mines what a new one would. Tables that both look up are shared instead of
  /// made again (prepared rows, lists per user, strata, draw spaces), and the index if it is exact
  /// or searched as deep. So only one of the two may mine at a time; either may be destroyed first.
  /// Made while `former` mines, too. Not of one that mines by slices, whose lists are of a recipe.
  /// interrupted: as in FaissOptions, for an index that is built. Throws as the constructor above.
  Miner(const Recipe& recipe, const Miner& former, std::uint32_t round,
        const std::function<bool()>& interrupted = {});
  /// Searches begin as deep as the former has learned that rows need, by the depths that the
  /// recipes ask for: cost only. Neither mines meanwhile.
  void begin_as(const Miner& former);
  ~Miner();
  Miner(const Miner&) = delete;
  Miner& operator=(const Miner&) = delete;

  /// Mines rows in host memory tile by tile and hands each finished tile to `sink` in row order, on
  /// the calling thread. `stop`, if given, ends the run between searches with Cancelled. A tile
  /// that finds no memory is halved and mined again; OutOfMemory when one row does not fit. Throws
  /// InputError, before anything is mined, for users and positives outside their tables; a row
  /// that brings a query vector that cannot be scored (not finite, no norm) comes out empty with
  /// code kBadRow. A vector of the user table is not looked at: one that scores nothing leaves its
  /// rows without a candidate, with the codes of any short row.
  void mine(const RowsView& rows, const std::function<void(const NegativeBatch&)>& sink,
            const std::atomic<bool>* stop = nullptr);

  /// Searches options.slice for the rows, tile by tile, and hands each tile's lists to `sink` with
  /// the place of its first row: what mine() with options.found begins with. Rows and errors as
  /// mine(); a tile that finds no memory is halved likewise.
  void find(const RowsView& rows, const std::function<void(const FoundLists&, std::uint64_t)>& sink,
            const std::atomic<bool>* stop = nullptr);

  /// Mines one batch, as a training step asks for it. Every pointer in `rows` and `out` is memory
  /// of the Miner's device (host memory on the CPU); a column of `out` may be null: not wanted.
  /// Shapes are those of Picks, row i of `out` belongs to row i of `rows`. On a GPU the work is
  /// ordered behind what was queued on `stream`, and `stream` behind the work; the host waits for
  /// the batch all the same, since it decides which rows are searched deeper. A row that names a
  /// user or a positive outside its table, or whose query cannot be scored, comes out empty with
  /// code kBadRow. Allocates nothing once it has seen the largest batch, with the exact retriever.
  /// Up to 2^32 - 1 rows; the same negatives as mine() gives. Not re-entrant.
  void mine_batch(const RowsView& rows, const Picks& out, CUstream_st* stream = nullptr);

  /// From the next batch on chance is that of another round, as if the Miner had been made with it.
  /// Only for recipes without schedules, whose numbers are those of the round they were read at:
  /// throws ConfigError for others.
  void set_round(std::uint32_t round);

  /// After some rows were mined it also knows whether rows need deeper searches.
  MinePlan plan(std::uint64_t num_rows) const;
  /// The same of a process that searches one slice of so many items (MinerOptions::slice), which
  /// this one need not do: mapped_bytes and searched_bytes are of the slice's rows. Only where all
  /// can be searched in slices: not_sliced() is "".
  MinePlan plan_of_slice(std::uint64_t num_rows, std::uint32_t slice_items) const;
  /// Why items are not searched in slices, half a sentence; "" where they can be.
  std::string not_sliced() const;
  const MinerReport& report() const;
  /// Adds what an earlier process did for rows of the same run to report().
  void count_earlier(const MinerReport& earlier);
  /// Names for the numbers in batches and counters.
  std::vector<std::string> branch_names() const;
  std::vector<std::string> filter_names(std::uint32_t branch) const;
  std::vector<std::string> stratum_names() const;
  /// Code of a segment value, 0 if the recipe has no segment filter or the value is unknown.
  std::uint32_t segment_code(std::string_view value) const;
  /// "cpu_gpu_identical" or "same_index".
  std::string promise() const;
  /// What "auto" stood for, and why; where a retriever was named: that, with no estimates.
  const RetrieverChoice& choice() const;
  /// True if candidates are what brute force finds, or no branch searches.
  bool exact() const;
  /// Depth of the deepest pool of the topk branches, at most the number of items; 0 without one.
  std::uint32_t pool_depth() const;
  /// The items that the retriever ranks first for each row's query, before any filter: row r has
  /// count[r] <= k of them at r * k of `items` ([rows, k], [rows]; resized). Rows in host memory,
  /// checked as by mine(). Holds 8 bytes per row and place meanwhile. Not in report(). Throws as
  /// mine(), and ConfigError where no branch searches.
  void rank(const RowsView& rows, std::uint32_t k, std::vector<std::uint32_t>& items,
            std::vector<std::uint32_t>& count);
  /// A miner of the same compiled recipe, on the same device, that searches exactly, up to 256
  /// rows at a time; the tables are shared. Inputs must outlive it as they must this one.
  std::unique_ptr<Miner> exact_twin() const;

  struct State;  ///< compiled plan, world, retriever, work areas
  const State& state() const { return *state_; }

 private:
  Miner();
  void prepare_searches(const State* former = nullptr);
  void mine_alone(const RowsView& rows, const std::function<void(const NegativeBatch&)>& sink,
                  const std::atomic<bool>* stop);
  std::unique_ptr<State> state_;
};

}  // namespace quarry

// Miner: from training rows to hard negatives.
#include "host/mine/miner.h"

#include <algorithm>
#include <new>

#include "host/mine/batch_threads.h"
#include "host/mine/deepen.h"
#include "host/mine/rank.h"
#include "host/mine/searches.h"
#include "host/mine/shared_pools.h"
#include "host/mine/spread.h"
#include "host/mine/state.h"
#include "kernels/core/device.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// Rows at a time of an exact twin, which mines samples.
constexpr std::uint32_t kTwinRows = 256;

/// The first ten offenders, for a message. `what` makes its middle: nothing is built while all is
/// well.
template <class What, class Bad>
void reject_rows(const RowsView& rows, What&& what, Bad&& bad) {
  std::string list;
  std::uint64_t count = 0;
  for (std::uint64_t r = 0; r < rows.num_rows; ++r) {
    if (!bad(r)) continue;
    if (count++ < 10) list += (list.empty() ? "" : ", ") + std::to_string(r);
  }
  if (count > 0)
    throw InputError(std::to_string(count) + " rows " + what() + "; the first: rows " + list);
}

void require_columns(const RowsView& rows, const Miner::State& s) {
  if (rows.key == nullptr) throw InputError("rows need a key each");
  if (rows.user == nullptr && (s.compiled->has_users || rows.queries == nullptr))
    throw InputError("rows need a user each: the miner knows exposure, pairs or vectors by user");
  if (rows.queries == nullptr && s.inputs.users.data == nullptr) {
    throw InputError(
        "rows bring no query vectors and the miner has no user table; give one of them");
  }
  require_pools(rows, s);
}

void check(const RowsView& rows, const Miner::State& s) {
  const std::uint64_t num_users = s.compiled->world.num_users;
  const std::uint64_t num_items = s.inputs.items.rows;
  if (s.compiled->has_users) {
    reject_rows(
        rows, [&] { return "name a user outside the table of " + std::to_string(num_users); },
        [&](std::uint64_t r) { return rows.user[r] >= num_users; });
  }
  if (rows.positive_offsets == nullptr) return;
  if (rows.positives == nullptr && rows.positive_offsets[rows.num_rows] > rows.positive_offsets[0])
    throw InputError("rows have positive offsets but no positives");
  reject_rows(
      rows, [] { return std::string("have decreasing positive offsets"); },
      [&](std::uint64_t r) { return rows.positive_offsets[r + 1] < rows.positive_offsets[r]; });
  reject_rows(
      rows, [&] { return "name a positive outside the table of " + std::to_string(num_items); },
      [&](std::uint64_t r) {
        return std::any_of(rows.positives + rows.positive_offsets[r],
                           rows.positives + rows.positive_offsets[r + 1],
                           [&](std::uint32_t item) { return item >= num_items; });
      });
}

/// Adds what another device did; seconds of all devices add up.
void add(MinerReport& into, const MinerReport& from) {
  add(into.counters, from.counters);
  into.strata.resize(std::max(into.strata.size(), from.strata.size()));
  for (std::size_t i = 0; i < from.strata.size(); ++i) {
    for (std::uint32_t code = 0; code < kNumFillCodes; ++code)
      into.strata[i].slots[code] += from.strata[i].slots[code];
  }
  add(into.search, from.search);
  into.seconds.prepare += from.seconds.prepare;
  into.seconds.retrieve += from.seconds.retrieve;
  into.seconds.gather += from.seconds.gather;
  into.seconds.exclude += from.seconds.exclude;
  into.seconds.select += from.seconds.select;
  into.seconds.merge += from.seconds.merge;
  into.seconds.emit += from.seconds.emit;
  into.tiles += from.tiles;
  into.deepened_rows += from.deepened_rows;
  into.deepest = std::max(into.deepest, from.deepest);
  into.candidates += from.candidates;
  into.certified_rows += from.certified_rows;
}

[[noreturn]] void throw_no_memory() {
  throw OutOfMemory("no memory for a tile of one row; lower the recipe's pool or max_rank");
}

/// Room for a smaller tile: half the rows, half of what deep searches take, and what the failed
/// attempt holds is given back.
void halve_tiles(Miner::State& s) {
  s.tile_rows = (s.tile_rows + 1) / 2;
  s.run_bytes = std::max(s.run_bytes / 2, Tile::row_bytes(*s.compiled, s.max_depth));
  s.tile = make_tile(s);
  s.host_stage = {};
}

/// Does the work of a tile. False: it found no memory, and the next one is half as large.
template <class Work>
bool fits_in_memory(Miner::State& s, Work&& work) {
  try {
    work();
    return true;
  } catch (const OutOfMemory&) {
    if (s.tile_rows == 1) throw;
  } catch (const std::bad_alloc&) {
    if (s.tile_rows == 1) throw_no_memory();
  }
  halve_tiles(s);
  return false;
}

}  // namespace

Miner::Miner(const Recipe& recipe, const MinerInputs& inputs, const MinerOptions& options)
    : Miner() {
  State& s = *state_;
  s.recipe = recipe;
  s.options = options;
  s.exec = options.exec;
  s.inputs = inputs;
  s.compiled = compile(s.recipe, s.inputs, options.exec, options.seed, options.round);
  prepare_searches();
  s.options.faiss.interrupted = nullptr;  // it may be of this call alone
  for (const Exec& exec : options.more) {
    MinerOptions other = options;
    other.exec = exec;
    other.more.clear();
    s.replicas.push_back(std::make_unique<Miner>(recipe, inputs, other));
  }
}

Miner::Miner(const Recipe& recipe, const Miner& former, std::uint32_t round,
             const std::function<bool()>& interrupted)
    : Miner() {
  State& s = *state_;
  const State& f = *former.state_;
  QUARRY_CHECK(!f.options.slice && f.options.found == nullptr);
  s.recipe = recipe;
  s.options = f.options;
  s.options.round = round;
  s.exec = s.options.exec;
  s.options.faiss.interrupted = interrupted;
  s.inputs = f.inputs;
  s.compiled = compile(recipe, s.inputs, s.options.exec, s.options.seed, round, f.compiled.get());
  prepare_searches(&f);
  s.options.faiss.interrupted = nullptr;
  for (const auto& replica : f.replicas)
    s.replicas.push_back(std::make_unique<Miner>(recipe, *replica, round, interrupted));
}

Miner::Miner() : state_(std::make_unique<State>()) {}

std::unique_ptr<Miner> Miner::exact_twin() const {
  std::unique_ptr<Miner> twin(new Miner);
  State& s = *twin->state_;
  s.recipe = state_->recipe;
  s.options = state_->options;
  s.options.retriever = "exact";
  s.options.more.clear();
  s.exec = s.options.exec;
  // Its lists may be longer; a budget that holds this miner's rows is not refused for them.
  s.options.tile_rows = std::min(state_->tile_rows, kTwinRows);
  s.inputs = state_->inputs;
  s.compiled = state_->compiled;
  twin->prepare_searches();
  return twin;
}

RowsView part_of(const RowsView& rows, std::uint64_t first, std::uint64_t count,
                 std::uint32_t dim) {
  RowsView part = rows;
  part.num_rows = count;
  part.key += first;
  if (part.user != nullptr) part.user += first;
  if (part.time != nullptr) part.time += first;
  if (part.segment != nullptr) part.segment += first;
  if (part.positive_offsets != nullptr) part.positive_offsets += first;
  if (part.queries != nullptr) part.queries += first * dim;
  return part;
}

Miner::~Miner() = default;

void Miner::mine(const RowsView& rows, const std::function<void(const NegativeBatch&)>& sink,
                 const std::atomic<bool>* stop) {
  State& s = *state_;
  if (rows.num_rows == 0) return;
  require_columns(rows, s);
  check(rows, s);
  if (s.replicas.empty()) return mine_alone(rows, sink, stop);
  spread_rows(
      rows.num_rows, s.tile_rows, static_cast<std::uint32_t>(s.replicas.size() + 1),
      [&](std::uint32_t worker, std::uint64_t first, std::uint64_t count, const auto& take,
          const std::atomic<bool>& ended) {
        Miner& miner = worker == 0 ? *this : *s.replicas[worker - 1];
        miner.mine_alone(part_of(rows, first, count, s.compiled->world.dim), take, &ended);
      },
      sink, stop);
}

/// On this miner's own device; the rows are checked.
void Miner::mine_alone(const RowsView& rows, const std::function<void(const NegativeBatch&)>& sink,
                       const std::atomic<bool>* stop) {
  State& s = *state_;
  std::uint64_t first = 0;
  while (first < rows.num_rows) {
    stop_if_asked(stop);
    const auto n = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(rows_with_pools(s, rows), rows.num_rows - first));
    const bool done = fits_in_memory(s, [&] {
      s.batch.first_row = first;
      s.batch.num_rows = n;
      s.batch.k = s.compiled->plan.k;
      s.batch.num_branches = s.compiled->plan.num_branches;
      const TileJob job = s.host_stage.load(s.exec, rows, first, n, s.compiled->world.dim, s.batch);
      mine_rows(s, job, 0, n, stop);
      s.host_stage.store(s.exec, s.batch);
    });
    if (!done) continue;
    for (std::uint32_t r = 0; r < n; ++r) s.report.certified_rows += s.batch.certified[r];
    sink(s.batch);
    first += n;
  }
}

void Miner::find(const RowsView& rows,
                 const std::function<void(const FoundLists&, std::uint64_t)>& sink,
                 const std::atomic<bool>* stop) {
  State& s = *state_;
  QUARRY_CHECK(s.options.slice && s.retriever);
  if (rows.num_rows == 0) return;
  require_columns(rows, s);
  check(rows, s);
  const std::uint32_t dim = s.compiled->world.dim;
  for (std::uint64_t first = 0; first < rows.num_rows;) {
    stop_if_asked(stop);
    const auto n =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(s.tile_rows, rows.num_rows - first));
    FoundLists found;
    const bool done = fits_in_memory(s, [&] {
      const TileJob job = s.host_stage.load(s.exec, rows, first, n, dim, s.batch);
      found = s.tile->find(job, {0, n, nullptr}, first_search_of(s, job, 0, n));
    });
    if (!done) continue;
    sink(found, first);
    first += n;
  }
}

void Miner::mine_batch(const RowsView& rows, const Picks& out, CUstream_st* stream) {
  State& s = *state_;
  if (rows.num_rows == 0) return;
  if (rows.num_rows > kNoItem) {
    throw InputError("a batch of " + std::to_string(rows.num_rows) +
                     " rows; at most 4,294,967,295, mine it in parts");
  }
  require_columns(rows, s);
  const BatchThreads threads(s, rows);
  const StreamOrder order(s.exec, stream);
  const TileJob job = s.caller_stage.load(s.exec, rows, out, s.compiled->plan.k,
                                          s.compiled->plan.num_branches, s.tile->needs_positives());
  const auto num_rows = static_cast<std::uint32_t>(rows.num_rows);
  std::uint32_t first = 0;
  while (first < num_rows) {
    const std::uint32_t n = std::min(rows_with_pools(s, rows), num_rows - first);
    if (fits_in_memory(s, [&] { mine_rows(s, job, first, n, nullptr); })) first += n;
  }
}

void Miner::set_round(std::uint32_t round) {
  State& s = *state_;
  if (s.recipe.has_schedules) {
    throw ConfigError(
        "the recipe has schedules, whose numbers change with the round; read it again at round " +
        std::to_string(round) + " and make another miner");
  }
  s.compiled->plan.key.round = round;
  for (const auto& replica : s.replicas) replica->set_round(round);
}

MinePlan Miner::plan(std::uint64_t num_rows) const {
  const State& s = *state_;
  MinePlan p;
  p.rows = num_rows;
  p.num_items = s.compiled->world.num_items;
  p.num_users = s.compiled->world.num_users;
  p.dim = s.compiled->world.dim;
  p.k = s.compiled->plan.k;
  p.depth = s.reach > 1 ? s.depth : s.plain_depth;
  p.tile_rows = static_cast<std::uint32_t>(std::min<std::uint64_t>(s.tile_rows, num_rows));
  p.mapped_bytes = s.inputs.items.bytes() + s.inputs.users.bytes();
  if (s.retriever && s.compiled->host_items == s.inputs.items.data)
    p.searched_bytes = s.inputs.items.bytes();
  p.prepared_bytes = s.compiled->prepared_bytes;
  p.resident_bytes = s.compiled->placement.host_bytes() + s.compiled->prepared_bytes +
                     s.compiled->snapshot.popularity.size() * sizeof(std::uint32_t) +
                     (s.retriever ? s.retriever->memory_bytes() : 0);
  // After some tiles: what they left allocated, which is what the next ones use.
  p.tile_bytes =
      s.report.tiles > 0
          ? s.tile->bytes()
          : std::uint64_t{p.tile_rows} *
                Tile::row_bytes(*s.compiled, std::max(most_at(s, s.depth), s.plain_depth));
  for (const auto& replica : s.replicas) {
    const MinePlan other = replica->plan(num_rows);
    p.resident_bytes += other.resident_bytes;
    p.tile_bytes += other.tile_bytes;
  }
  p.peak_bytes = p.resident_bytes + p.tile_bytes;
  p.gemm_flops =
      s.retriever ? 2.0 * static_cast<double>(num_rows) * static_cast<double>(p.num_items) * p.dim
                  : 0;
  p.retriever = s.retriever ? s.retriever->description() : "none";
  p.build_seconds = s.build_seconds;
  if (s.retriever) p.notice = s.retriever->notice();
  return p;
}

MinePlan Miner::plan_of_slice(std::uint64_t num_rows, std::uint32_t slice_items) const {
  const State& s = *state_;
  QUARRY_CHECK(not_sliced().empty());
  MinePlan p = plan(num_rows);
  const std::uint64_t bytes = slice_items * s.inputs.items.row_bytes();
  p.mapped_bytes -= s.inputs.items.bytes() - bytes;
  p.searched_bytes = std::min(p.searched_bytes, bytes);
  // A slice may be short enough to be packed once and kept, where all items are not.
  const auto kept = [&](std::uint32_t items) {
    return bytes_kept_of_items(items, p.dim, s.recipe.metric, first_pass(s));
  };
  const auto all = static_cast<std::uint32_t>(p.num_items);
  const std::uint64_t more = std::max(kept(slice_items), kept(all)) - kept(all);
  p.resident_bytes += more;
  p.peak_bytes += more;
  return p;
}

std::string Miner::not_sliced() const {
  const State& s = *state_;
  if (!s.retriever) return "no branch of the recipe searches the items";
  if (!exact_kind(s.choice.chosen.retriever))
    return "slices are searched exactly, and the retriever is " + s.choice.chosen.retriever;
  if (s.options.exec.device != Device::kCpu || !s.options.more.empty())
    return "slices are searched on the CPU alone, and the device is not";
  return {};
}

const MinerReport& Miner::report() const {
  const State& s = *state_;
  if (s.replicas.empty() && !s.has_earlier) return s.report;
  s.total = s.report;
  add(s.total, s.earlier);
  for (const auto& replica : s.replicas) add(s.total, replica->report());
  return s.total;
}

void Miner::count_earlier(const MinerReport& earlier) {
  add(state_->earlier, earlier);
  state_->has_earlier = true;
}

std::vector<std::string> Miner::branch_names() const { return state_->compiled->branch_names; }

std::vector<std::string> Miner::filter_names(std::uint32_t branch) const {
  return state_->compiled->filter_names.at(branch);
}

std::vector<std::string> Miner::stratum_names() const { return state_->compiled->stratum_names; }

std::uint32_t Miner::segment_code(std::string_view value) const {
  const auto& names = state_->compiled->segment_names;
  const auto at = std::find(names.begin(), names.end(), value);
  return at == names.end() ? 0 : static_cast<std::uint32_t>(at - names.begin());
}

std::string Miner::promise() const { return exact() ? "cpu_gpu_identical" : "same_index"; }

const RetrieverChoice& Miner::choice() const { return state_->choice; }

bool Miner::exact() const { return !state_->retriever || state_->retriever->exact(); }

std::uint32_t Miner::pool_depth() const {
  return std::min(state_->compiled->topk_depth, state_->compiled->world.num_items);
}

void Miner::rank(const RowsView& rows, std::uint32_t k, std::vector<std::uint32_t>& items,
                 std::vector<std::uint32_t>& count) {
  State& s = *state_;
  if (!s.retriever) throw ConfigError("no branch of the recipe searches: there is no ranking");
  require_columns(rows, s);
  check(rows, s);
  rank_rows(s.exec, *s.retriever, *s.compiled, s.inputs, rows, k, items, count);
}

}  // namespace quarry

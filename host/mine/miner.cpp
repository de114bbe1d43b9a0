// Miner: from training rows to hard negatives.
#include "host/mine/miner.h"

#include <algorithm>
#include <new>
#include <numeric>

#include "host/mine/state.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint32_t kMaxTileRows = 8192;
/// Deep searches of few rows still get enough at once to keep the GEMM busy.
constexpr std::uint64_t kLeastRunBytes = 64ull << 20;

/// Rows of a tile at `depth` that stay under the budget.
std::uint32_t rows_within(const Compiled& compiled, std::uint32_t depth, std::uint64_t budget) {
  const std::uint64_t rows = budget / Tile::row_bytes(compiled, depth);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(rows, 1, kMaxTileRows));
}

/// Deep enough that most rows fill in one search: the pool, a quarter of it for rejections, and a
/// little.
std::uint32_t first_depth(const Compiled& compiled, std::uint32_t max_depth) {
  if (compiled.topk_depth == 0) return 0;
  const std::uint64_t wanted = std::uint64_t{compiled.topk_depth} + compiled.topk_depth / 4 + 32;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, max_depth));
}

std::uint32_t deepest(const Compiled& compiled) {
  std::uint32_t depth = 0;
  for (std::uint32_t b = 0; b < compiled.plan.num_branches; ++b) {
    const Branch& branch = compiled.plan.branches[b];
    if (branch.source == SourceKind::kTopk) depth = std::max(depth, branch.max_rank);
  }
  return std::min(depth, compiled.world.num_items);
}

bool has_source(const Compiled& compiled, SourceKind kind) {
  for (std::uint32_t b = 0; b < compiled.plan.num_branches; ++b) {
    if (compiled.plan.branches[b].source == kind) return true;
  }
  return false;
}

/// The first ten offenders, for a message.
template <class Bad>
void reject_rows(const RowsView& rows, const std::string& what, Bad&& bad) {
  std::string list;
  std::uint64_t count = 0;
  for (std::uint64_t r = 0; r < rows.num_rows; ++r) {
    if (!bad(r)) continue;
    if (count++ < 10) list += (list.empty() ? "" : ", ") + std::to_string(r);
  }
  if (count > 0)
    throw InputError(std::to_string(count) + " rows " + what + "; the first: rows " + list);
}

void check(const RowsView& rows, const MinerInputs& inputs) {
  if (rows.num_rows == 0) return;
  if (rows.key == nullptr || rows.user == nullptr)
    throw InputError("rows need a key and a user each");
  if (rows.queries == nullptr && inputs.users.data == nullptr) {
    throw InputError(
        "rows bring no query vectors and the miner has no user table; give one of them");
  }
  reject_rows(rows, "name a user outside the table of " + std::to_string(inputs.users.rows),
              [&](std::uint64_t r) { return rows.user[r] >= inputs.users.rows; });
  if (rows.positive_offsets == nullptr) return;
  reject_rows(rows, "have decreasing positive offsets", [&](std::uint64_t r) {
    return rows.positive_offsets[r + 1] < rows.positive_offsets[r];
  });
  reject_rows(rows, "name a positive outside the table of " + std::to_string(inputs.items.rows),
              [&](std::uint64_t r) {
                return std::any_of(rows.positives + rows.positive_offsets[r],
                                   rows.positives + rows.positive_offsets[r + 1],
                                   [&](std::uint32_t item) { return item >= inputs.items.rows; });
              });
}

void shape(NegativeBatch& batch, std::uint64_t first, std::uint32_t num_rows, const Plan& plan) {
  batch.first_row = first;
  batch.num_rows = num_rows;
  batch.k = plan.k;
  batch.num_branches = plan.num_branches;
  const std::size_t slots = std::size_t{num_rows} * plan.k;
  for (auto* column : {&batch.item, &batch.raw_rank, &batch.survivor_rank, &batch.stratum})
    column->resize(slots);
  batch.score.resize(slots);
  batch.logq.resize(slots);
  batch.branch.resize(slots);
  batch.fill.resize(slots);
  batch.kappa.resize(std::size_t{num_rows} * plan.num_branches);
  batch.positive_min.resize(num_rows);
  batch.certified.resize(num_rows);
  batch.count.resize(num_rows);
}

/// One tile of rows, searched deeper until every row is final.
void mine_tile(Miner::State& s, const RowsView& rows, std::uint64_t first, std::uint32_t num_rows) {
  MinerReport report = s.report;
  shape(s.batch, first, num_rows, s.compiled->plan);
  s.ids.resize(num_rows);
  std::iota(s.ids.begin(), s.ids.end(), first);
  for (std::uint32_t depth = s.depth; !s.ids.empty();
       depth = static_cast<std::uint32_t>(
           std::min<std::uint64_t>(std::uint64_t{depth} * 4, s.max_depth))) {
    s.deeper.clear();
    report.deepest = std::max<std::uint64_t>(report.deepest, depth);
    const std::uint32_t step = std::min(s.tile_rows, rows_within(*s.compiled, depth, s.run_bytes));
    for (std::size_t at = 0; at < s.ids.size(); at += step) {
      const std::size_t n = std::min<std::size_t>(step, s.ids.size() - at);
      s.tile->run(rows, std::span(s.ids).subspan(at, n), first, depth, s.batch, s.deeper, report);
    }
    QUARRY_CHECK(s.deeper.empty() || depth < s.max_depth);
    report.deepened_rows += s.deeper.size();
    std::swap(s.ids, s.deeper);
  }
  report.tiles += 1;
  for (const std::uint8_t certified : s.batch.certified) report.certified_rows += certified;
  // Start the next tile deeper if this one often had to search twice: cost only, never the result.
  const std::uint64_t again = report.deepened_rows - s.report.deepened_rows;
  if (again * 8 > num_rows) {
    s.depth = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::uint64_t{s.depth} * 3 / 2, s.max_depth));
  }
  if (s.retriever) report.search = s.retriever->stats();
  s.report = report;
}

}  // namespace

Miner::Miner(const Recipe& recipe, const MinerInputs& inputs, const MinerOptions& options)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.recipe = recipe;
  s.options = options;
  s.inputs = inputs;
  s.compiled = compile(s.recipe, s.inputs, options.exec, options.seed, options.round);
  ItemTable items{s.compiled->host_items, s.compiled->world.num_items, s.compiled->world.dim,
                  recipe.metric};
  if (options.exec.device == Device::kCuda) items.device_rows = s.compiled->world.items;
  if (has_source(*s.compiled, SourceKind::kTopk)) {
    FaissOptions faiss = options.faiss;
    faiss.max_depth = deepest(*s.compiled);
    faiss.first_depth = first_depth(*s.compiled, faiss.max_depth);
    s.retriever = make_retriever(options.exec, items, options.retriever, faiss);
  }
  if (has_source(*s.compiled, SourceKind::kNear)) {
    ItemTable unit{s.compiled->host_unit_items, items.num_items, items.dim, Metric::kCosine};
    if (unit.rows == items.rows) unit.device_rows = items.device_rows;
    s.near_retriever = make_exact_retriever(unit);
  }
  s.max_depth = deepest(*s.compiled);
  s.depth = first_depth(*s.compiled, s.max_depth);
  s.tile_rows = options.tile_rows > 0 ? std::min(options.tile_rows, kMaxTileRows * 8)
                                      : rows_within(*s.compiled, s.depth, options.host_memory);
  s.run_bytes = std::max(s.tile_rows * Tile::row_bytes(*s.compiled, s.depth),
                         std::min(kLeastRunBytes, options.host_memory));
  s.tile = std::make_unique<Tile>(TileContext{s.options.exec, *s.compiled, s.inputs,
                                              s.retriever.get(), s.near_retriever.get()});
}

Miner::~Miner() = default;

void Miner::mine(const RowsView& rows, const std::function<void(const NegativeBatch&)>& sink,
                 const std::atomic<bool>* stop) {
  State& s = *state_;
  check(rows, s.inputs);
  std::uint64_t first = 0;
  while (first < rows.num_rows) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed))
      throw Cancelled("stopped on request");
    const auto n =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(s.tile_rows, rows.num_rows - first));
    try {
      mine_tile(s, rows, first, n);
    } catch (const OutOfMemory&) {
      if (s.tile_rows == 1) throw;
      s.tile_rows = (s.tile_rows + 1) / 2;
      continue;
    } catch (const std::bad_alloc&) {
      if (s.tile_rows == 1)
        throw OutOfMemory("no memory for a tile of one row; lower the recipe's pool or max_rank");
      s.tile_rows = (s.tile_rows + 1) / 2;
      continue;
    }
    sink(s.batch);
    first += n;
  }
}

MinePlan Miner::plan(std::uint64_t num_rows) const {
  const State& s = *state_;
  MinePlan p;
  p.rows = num_rows;
  p.num_items = s.compiled->world.num_items;
  p.num_users = s.compiled->world.num_users;
  p.dim = s.compiled->world.dim;
  p.k = s.compiled->plan.k;
  p.depth = s.depth;
  p.tile_rows = static_cast<std::uint32_t>(std::min<std::uint64_t>(s.tile_rows, num_rows));
  const auto element = [](Dtype t) { return t == Dtype::kF32 ? 4u : 2u; };
  p.mapped_bytes = s.inputs.items.rows * s.inputs.items.dim * element(s.inputs.items.dtype) +
                   s.inputs.users.rows * s.inputs.users.dim * element(s.inputs.users.dtype);
  p.resident_bytes = s.compiled->placement.host_bytes() + s.compiled->prepared_bytes +
                     s.compiled->snapshot.popularity.size() * sizeof(std::uint32_t) +
                     (s.retriever ? s.retriever->memory_bytes() : 0);
  // Searches of different depths each leave the arrays they need most of at their largest: half on
  // top.
  p.tile_bytes = s.report.deepened_rows > 0
                     ? s.run_bytes + s.run_bytes / 2
                     : std::uint64_t{p.tile_rows} * Tile::row_bytes(*s.compiled, s.depth);
  p.peak_bytes = p.resident_bytes + p.tile_bytes;
  p.gemm_flops =
      s.retriever ? 2.0 * static_cast<double>(num_rows) * static_cast<double>(p.num_items) * p.dim
                  : 0;
  p.retriever = s.retriever ? s.retriever->description() : "none";
  return p;
}

const MinerReport& Miner::report() const { return state_->report; }

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

std::string Miner::promise() const {
  return !state_->retriever || state_->retriever->exact() ? "cpu_gpu_identical" : "same_index";
}

}  // namespace quarry

// The searches of a miner: by which retrievers, how deep, and in how many rows at once.
#include "host/mine/searches.h"

#include <algorithm>

#include "host/mine/deepen.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// Candidates to spare where a scan knows all that will be rejected but for the last bits of
/// scores.
constexpr std::uint32_t kRounding = 8;

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

/// What "auto" stands for here, or what is named.
RetrieverChoice choose(const Compiled& compiled, const MinerOptions& options,
                       const FaissOptions& faiss) {
  if (options.retriever != "auto") return {{.retriever = options.retriever}, "it was named"};
  RetrievalTask task;
  task.num_items = compiled.world.num_items;
  task.rows = options.expected_rows;
  task.dim = compiled.world.dim;
  task.depth = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      std::uint64_t{faiss.first_depth} * SearchGoals(options.exec, compiled).rejected(),
      faiss.max_depth));
  task.recall = options.recall;
  task.metric = compiled.world.metric;
  task.device = options.exec.device;
  task.threads = options.exec.threads;
  task.faiss = faiss_version() != "none";
  return choose_retriever(task);
}

/// Rows per tile that keep one exact search within a second or two, so that a stop is heard.
std::uint32_t rows_in_time(const Compiled& compiled, const Exec& exec) {
  constexpr double kFlopsPerThread = 1.0e11;
  if (compiled.topk_depth == 0 || exec.device == Device::kCuda) return kMaxTileRows;
  const double per_row = 2.0 * compiled.world.num_items * compiled.world.dim;
  const double rows = kFlopsPerThread * exec.threads / per_row;
  const double least = 256.0 * exec.threads;  // fewer leave the GEMM slow
  return static_cast<std::uint32_t>(std::clamp(rows, least, double{kMaxTileRows}));
}

/// Whether the former's retriever finds what one made for `s`, whose choice is made, would find. An
/// exact one does whatever the depths are.
bool finds_the_same(const Miner::State& former, const Miner::State& s) {
  if (!former.retriever || former.recipe.metric != s.recipe.metric ||
      former.choice.chosen.retriever != s.choice.chosen.retriever)
    return false;
  if (former.retriever->exact() && s.options.exec.device == Device::kCpu) return true;
  if (exact_kind(s.choice.chosen.retriever)) return true;
  return former.faiss.nprobe == s.faiss.nprobe && former.faiss.ef_search == s.faiss.ef_search &&
         former.faiss.first_depth == s.faiss.first_depth &&
         former.faiss.max_depth == s.faiss.max_depth;
}

/// Slices are searched exactly, on the CPU, by recipes that search.
void check_slices(const Miner::State& s) {
  const MinerOptions& options = s.options;
  if (!options.slice && options.found == nullptr) return;
  if (options.exec.device != Device::kCpu || !options.more.empty())
    throw ConfigError("slices of the items are searched on the CPU alone: give --device cpu");
  if (!s.retriever)
    throw ConfigError("no branch of the recipe searches the items, so there are no slices of them");
  if (!exact_kind(s.choice.chosen.retriever)) {
    throw ConfigError("slices of the items are searched exactly, and the retriever is " +
                      s.choice.chosen.retriever + "; give --retriever exact");
  }
}

}  // namespace

std::unique_ptr<Tile> make_tile(Miner::State& s) {
  return std::make_unique<Tile>(TileContext{s.exec, *s.compiled, s.inputs, s.retriever.get(),
                                            s.near_retriever.get(), s.options.slice.has_value(),
                                            s.options.found.get()});
}

FirstPass first_pass(const Miner::State& s) {
  return exact_kind(s.options.retriever).value_or(FirstPass::kFastest);
}

/// Everything behind the compiled recipe: the retrievers, and how deep and how many rows at once.
/// former: of a miner of the same inputs, whose retrievers serve where they are those wanted here.
void Miner::prepare_searches(const State* former) {
  State& s = *state_;
  const MinerOptions& options = s.options;
  ItemTable items{s.compiled->host_items, s.compiled->world.num_items, s.compiled->world.dim,
                  s.recipe.metric};
  if (options.exec.device == Device::kCuda) items.device_rows = s.compiled->world.items;
  if (has_source(*s.compiled, SourceKind::kTopk)) {
    FaissOptions faiss = options.faiss;
    faiss.max_depth = deepest(*s.compiled);
    faiss.first_depth = first_depth(*s.compiled, faiss.max_depth);
    s.choice = choose(*s.compiled, options, faiss);
    const RetrieverCost& chosen = s.choice.chosen;
    if (faiss.nprobe == 0) faiss.nprobe = chosen.nprobe;
    if (faiss.ef_search == 0) faiss.ef_search = chosen.ef_search;
    s.faiss = faiss;
    s.faiss.interrupted = nullptr;
    if (former != nullptr && finds_the_same(*former, s)) {
      s.retriever = former->retriever;
    } else {
      const StageTimer timer(s.build_seconds);
      s.retriever = options.slice ? make_slice_retriever(items, *options.slice, first_pass(s))
                                  : make_retriever(options.exec, items, chosen.retriever, faiss);
    }
  }
  check_slices(s);
  if (has_source(*s.compiled, SourceKind::kNear)) {
    ItemTable unit{s.compiled->host_unit_items, items.num_items, items.dim, Metric::kCosine};
    if (unit.rows == items.rows) unit.device_rows = items.device_rows;
    // Its rows on a device are those of the metric.
    const bool as_former =
        former != nullptr && former->near_retriever != nullptr &&
        (former->recipe.metric == Metric::kCosine) == (s.recipe.metric == Metric::kCosine);
    s.near_retriever =
        as_former ? former->near_retriever : make_exact_retriever(unit, first_pass(s));
  }
  s.max_depth = deepest(*s.compiled);
  s.depth = s.plain_depth = first_depth(*s.compiled, s.max_depth);
  s.tile = make_tile(s);
  const SearchGoals& goals = s.tile->goals();
  if (goals.any() && s.retriever->follows_goals(options.exec, kMaxTileRows, false)) {
    if (goals.complete()) s.depth = std::min(s.depth, s.compiled->topk_depth + kRounding);
    make_room_in_lists(s, options.host_memory);
  }
  s.begun_depth = s.depth, s.begun_plain_depth = s.plain_depth, s.begun_reach = s.reach;
  const std::uint32_t longest = std::max(most_at(s, s.depth), s.plain_depth);
  const std::uint64_t least = Tile::row_bytes(*s.compiled, longest);
  if (options.tile_rows == 0 && options.host_memory < least) {
    throw ConfigError("a host memory of " + std::to_string(options.host_memory) +
                      " bytes for tiles in flight holds no row: one takes " +
                      std::to_string(least) +
                      " bytes by this recipe; give that at least, or the rows per tile (--tile)");
  }
  s.tile_rows = options.tile_rows > 0
                    ? std::min(options.tile_rows, kMaxTileRows * 8)
                    : std::min(rows_within(*s.compiled, longest, options.host_memory),
                               rows_in_time(*s.compiled, options.exec));
  s.run_bytes = std::max(s.tile_rows * Tile::row_bytes(*s.compiled, longest),
                         std::min(kLeastRunBytes, options.host_memory));
}

void Miner::begin_as(const Miner& former) {
  State& s = *state_;
  const State& f = *former.state_;
  if (f.begun_depth == 0 || s.begun_depth == 0) return;
  const auto learned = [&](std::uint32_t begun, std::uint32_t now, std::uint32_t then) {
    return static_cast<std::uint32_t>(
        std::min(std::uint64_t{begun} * std::max(now, then) / then, std::uint64_t{s.max_depth}));
  };
  s.depth = learned(s.begun_depth, f.depth, f.begun_depth);
  s.plain_depth = learned(s.begun_plain_depth, f.plain_depth, f.begun_plain_depth);
  if (s.begun_reach > 1) {
    s.reach = std::min(s.begun_reach * std::max(f.reach / f.begun_reach, 1u),
                       std::max(s.begun_reach, f.reach));
  }
  for (std::size_t i = 0; i < s.replicas.size(); ++i) s.replicas[i]->begin_as(*f.replicas[i]);
}

}  // namespace quarry

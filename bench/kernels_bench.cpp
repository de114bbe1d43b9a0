// Every row kernel on lists that retrieval really gives: up to 2,048 rows of 1,024 candidates over
// a clustered catalogue, on CPU threads and, in builds with CUDA, on a GPU (waiting for each call).
// Report: rows and candidates per second, bytes of candidates read, and the share of rows whose
// pool is complete at this depth. Longer than other files because all kernels run on one workload.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/mine/compile.h"
#include "host/mine/placement.h"
#include "index/retriever.h"
#include "kernels/admit/admit.h"
#include "kernels/certify/certify.h"
#include "kernels/core/device.h"
#include "kernels/exclude/exclude.h"
#include "kernels/gather/gather.h"
#include "kernels/merge/merge.h"
#include "kernels/sample/sample.h"
#include "kernels/score/score.h"
#include "kernels/select/select.h"
#include "kernels/tally/tally.h"
#include "kernels/topk/topk.h"
#include "tools/demo/synthetic.h"

namespace quarry {
namespace {

constexpr std::uint32_t kUsers = 2048;
constexpr std::uint32_t kItems = 20000;
constexpr std::uint32_t kDim = 128;
constexpr std::uint32_t kDepth = 1024;
constexpr std::uint32_t kDraws = 64;
constexpr std::uint32_t kProven = 500;  ///< best of each list of kDepth that are to be proven

// Branch 0: retrieved lists, branch 1: drawn while merging, branch 2: a drawn pool.
constexpr const char* kRecipe = R"(
name = "bench"
k = 10
metric = "cosine"
[exposure]
positive = ["purchase", "like"]
aversion = ["dislike"]
disinterest = ["skip"]
[safety]
filters = [
  { kind = "positives" },
  { kind = "exposed", classes = ["ambiguous", "aversion", "disinterest"] },
  { kind = "time" },
  { kind = "relative_margin", ratio = 0.95, against = "min" },
SIMILARITY
]
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 100 }
select = SELECT
[[branch]]
name = "random"
share = 0.3
source = { kind = "uniform" }
[[branch]]
name = "drawn"
share = 0.2
source = { kind = "pool", n = 64 }
)";
constexpr const char* kExposedRecipe = R"(
name = "seen"
k = 10
metric = "cosine"
[safety]
filters = ["positives"]
[[branch]]
name = "seen"
source = { kind = "exposed", classes = ["aversion", "disinterest"] }
)";

std::string recipe_text(bool similarity, bool sampled) {
  std::string text = kRecipe;
  const auto put = [&text](const std::string& mark, const std::string& value) {
    text.replace(text.find(mark), mark.size(), value);
  };
  put("SIMILARITY", similarity ? "  { kind = \"near_duplicate\", cosine = 0.98 }," : "");
  put("SELECT", sampled ? "{ kind = \"sample\", weight = { kind = \"simans\" } }" : "\"top\"");
  return text;
}

/// The arrays that select writes for one branch.
struct OrderArrays {
  TileArray<std::uint32_t> place, rank, order, pool_size, count, cut, cut_survivors;
  TileArray<float> log_weight, key, log_total;
  TileArray<std::uint8_t> open;
  BranchOrder view(const Exec& exec, std::uint32_t rows, std::uint64_t stride) {
    for (auto* v : {&place, &rank, &order}) v->resize(exec, rows * stride);
    for (auto* v : {&log_weight, &key}) v->resize(exec, rows * stride);
    for (auto* v : {&pool_size, &count, &cut, &cut_survivors}) v->resize(exec, rows);
    log_total.resize(exec, rows);
    open.resize(exec, rows);
    return {stride,         place.at(exec),         rank.at(exec),      log_weight.at(exec),
            order.at(exec), key.at(exec),           pool_size.at(exec), count.at(exec),
            cut.at(exec),   cut_survivors.at(exec), log_total.at(exec), open.at(exec)};
  }
};

/// One compiled recipe over the synthetic world, with the lists of its branches.
class Workload {
 public:
  Workload(bool similarity, bool sampled, const Exec& where) : exec(where), placement_(where) {
    demo::SyntheticOptions options;
    options.num_users = kUsers;
    options.num_items = kItems;
    options.dim = kDim;
    options.events_per_user = 100;
    const demo::SyntheticWorld synthetic(options);
    items_.resize(std::size_t{kItems} * kDim);
    users_.resize(std::size_t{kUsers} * kDim);
    synthetic.item_vectors(0, kItems, items_.data());
    synthetic.user_vectors(0, kUsers, users_.data());
    std::vector<Event> log;
    std::vector<demo::SyntheticEvent> events;
    std::vector<std::string> kinds;
    for (int k = 0; k < 5; ++k) {
      kinds.emplace_back(demo::event_kind_name(static_cast<demo::EventKind>(k)));
    }
    for (std::uint32_t u = 0; u < kUsers; ++u) {
      synthetic.user_events(u, events);
      for (const demo::SyntheticEvent& e : events) {
        if (!e.held_out) {
          log.push_back({u, e.item, e.time, static_cast<std::uint16_t>(e.kind), e.value});
        }
      }
    }
    recipe_ = parse_recipe(recipe_text(similarity, sampled), "bench.toml", 0);
    exposure_ =
        classify_events(std::move(log), kinds, recipe_.exposure, kUsers, kItems, std::nullopt);
    for (const demo::SyntheticItem& item : synthetic.items()) {
      catalogue_.first_seen.push_back(item.first_seen);
      catalogue_.retired.push_back(item.retired);
    }
    rows_ = rows_from_exposure(exposure_, RowsFrom::kUsers, IdMap::identity(kUsers),
                               IdMap::identity(kItems));
    std::fill(rows_.time.begin(), rows_.time.end(), synthetic.log_end());
    inputs_.items = {items_.data(), kItems, kDim, Dtype::kF32};
    inputs_.users = {users_.data(), kUsers, kDim, Dtype::kF32};
    inputs_.exposure = &exposure_;
    inputs_.catalogue = &catalogue_;
    inputs_.rows = &rows_;
    compiled = compile(recipe_, inputs_, exec, 1, 0);
    fill_batch();
    fill_lists();
  }

  std::uint32_t num_rows() const { return batch.num_rows; }

  Candidates candidates(std::uint32_t branch) {
    Candidates c;
    c.stride = branch == 0 ? kDepth : kDraws;
    c.items = branch == 0 ? found_.at(exec) : drawn_.at(exec);
    c.scores = branch == 0 ? found_scores_.at(exec) : drawn_scores_.at(exec);
    c.count = branch == 0 ? found_count_.at(exec) : drawn_count_.at(exec);
    c.complete = branch == 0 ? complete_.at(exec) : nullptr;
    return c;
  }

  void draw() {
    SampleArgs args;
    args.world = &compiled->world;
    args.plan = &compiled->plan;
    args.rows = batch;
    args.branch = 2;
    args.stride = kDraws;
    args.items = drawn_.at(exec);
    args.count = drawn_count_.at(exec);
    args.scratch = scratch(sample_scratch_bytes(exec, num_rows(), kDraws));
    sample(exec, args);
  }
  void score(bool order) {
    ScoreArgs args;
    args.world = &compiled->world;
    args.rows = batch;
    args.stride = kDraws;
    args.items = drawn_.at(exec);
    args.scores = drawn_scores_.at(exec);
    args.count = drawn_count_.at(exec);
    args.order = order;
    if (order) args.scratch = scratch(score_scratch_bytes(exec, num_rows(), kDraws));
    score_lists(exec, args);
  }
  void judge(std::uint32_t branch) {
    const Candidates lists = candidates(branch);
    reasons_[branch].resize(exec, num_rows() * lists.stride);
    ExcludeArgs args;
    args.world = &compiled->world;
    args.plan = &compiled->plan;
    args.rows = batch;
    args.candidates = lists;
    args.branch = branch;
    args.reasons = reasons_[branch].at(exec);
    exclude(exec, args);
  }
  void choose(std::uint32_t branch) {
    const Candidates lists = candidates(branch);
    SelectArgs args;
    args.world = &compiled->world;
    args.plan = &compiled->plan;
    args.rows = batch;
    args.candidates = lists;
    args.branch = branch;
    args.reasons = reasons_[branch].at(exec);
    args.out = orders_[branch].view(exec, num_rows(), lists.stride);
    args.scratch = scratch(select_scratch_bytes(exec, num_rows(), lists.stride));
    select(exec, args);
    merge_.candidates[branch] = lists;
    merge_.reasons[branch] = args.reasons;
    merge_.order[branch] = args.out;
  }
  void join() {
    const Plan& plan = compiled->plan;
    const std::size_t slots = std::size_t{num_rows()} * plan.k;
    for (auto* v : {&item_, &raw_rank_, &survivor_rank_, &stratum_}) v->resize(exec, slots);
    for (auto* v : {&score_, &logq_}) v->resize(exec, slots);
    for (auto* v : {&branch_, &fill_}) v->resize(exec, slots);
    kappa_.resize(exec, std::size_t{num_rows()} * plan.num_branches);
    tallies_.resize(exec, std::size_t{num_rows()} * plan.num_branches);
    count_.resize(exec, num_rows());
    deepen_.resize(exec, num_rows());
    positive_min_.resize(exec, num_rows());
    certified_.resize(exec, num_rows());
    merge_.world = &compiled->world;
    merge_.plan = &plan;
    merge_.rows = batch;
    merge_.tallies = tallies_.at(exec);
    merge_.out = {item_.at(exec),     score_.at(exec),         branch_.at(exec),
                  raw_rank_.at(exec), survivor_rank_.at(exec), stratum_.at(exec),
                  logq_.at(exec),     fill_.at(exec),          count_.at(exec),
                  kappa_.at(exec),    positive_min_.at(exec),  certified_.at(exec)};
    merge_.deepen = deepen_.at(exec);
    merge_.scratch = scratch(merge_scratch_bytes(exec, compiled->world, plan, num_rows()));
    merge(exec, merge_);
  }

  /// Totals of what join() left.
  void total() {
    counters_.resize(exec, 1);
    strata_.resize(exec, compiled->world.num_strata);
    counters_.host()[0] = Counters{};
    std::fill_n(strata_.host(), strata_.size(), StratumCounters{});
    counters_.push(exec);
    strata_.push(exec);
    merge_.strata = strata_.at(exec);
    tally(exec, merge_, counters_.at(exec));
  }
  /// Queries as a caller of Miner::mine_batch brings them.
  void take_queries() {
    taken_.resize(exec, std::size_t{num_rows()} * kDim);
    bad_.resize(exec, num_rows());
    AdmitArgs args;
    args.world = &compiled->world;
    args.rows = batch;
    args.vectors = batch.queries;
    args.queries = taken_.at(exec);
    args.bad = bad_.at(exec);
    admit(exec, args);
  }
  void gather_exposed(const Compiled& with_exposed) {
    const std::uint64_t stride = with_exposed.plan.branches[0].capacity;
    seen_.resize(exec, std::max<std::uint64_t>(num_rows() * stride, 1));
    seen_count_.resize(exec, num_rows());
    GatherArgs args;
    args.world = &with_exposed.world;
    args.plan = &with_exposed.plan;
    args.rows = batch;
    args.stride = stride;
    args.items = seen_.at(exec);
    args.count = seen_count_.at(exec);
    gather(exec, args);
  }
  std::unique_ptr<Compiled> compile_exposed() {
    exposed_recipe_ = parse_recipe(kExposedRecipe, "seen.toml", 0);
    return compile(exposed_recipe_, inputs_, exec, 1, 0);
  }
  /// Lists of approximate scores, as a search leaves them.
  void find_lists() {
    const std::size_t entries = std::size_t{num_rows()} * kDepth;
    keys_.resize(exec, entries);
    key_count_.resize(exec, num_rows());
    cut_.resize(exec, num_rows());
    left_out_.resize(exec, num_rows());
    TopkWorkspace workspace;
    Exec host;
    host.threads = exec.threads;
    topk(host, {.rows = compiled->host_items, .num_items = kItems, .dim = kDim}, {},
         queries_.data(), num_rows(), kDepth, workspace,
         {keys_.host(), key_count_.host(), cut_.host(), left_out_.host()});
    keys_.push(exec);
    key_count_.push(exec);
    cut_.push(exec);
    left_out_.push(exec);
    for (std::uint32_t i = 0; i < kItems; ++i) {
      const float* row = compiled->host_items + std::size_t{i} * kDim;
      largest_norm_ = std::max(largest_norm_, norm_rounded_up(squared_norm(row, kDim), kDim));
    }
  }
  void prove() {
    CertifyArgs args;
    args.bound = {.dim = kDim, .metric = Metric::kCosine, .largest_norm = largest_norm_};
    args.items = compiled->world.items;
    args.num_items = kItems;
    args.queries = batch.queries;
    args.lists = {.keys = keys_.at(exec),
                  .count = key_count_.at(exec),
                  .cut = cut_.at(exec),
                  .left_out = left_out_.at(exec),
                  .depth = kDepth};
    args.num_lists = num_rows();
    args.k = kProven;
    best_.resize(exec, std::size_t{num_rows()} * kProven);
    best_scores_.resize(exec, best_.size());
    best_count_.resize(exec, num_rows());
    best_complete_.resize(exec, num_rows());
    proven_.resize(exec, num_rows());
    args.out = {best_.at(exec), best_scores_.at(exec), best_count_.at(exec),
                best_complete_.at(exec)};
    args.proven = proven_.at(exec);
    args.scratch = static_cast<std::uint64_t*>(
        scratch(certify_scratch_size(exec, num_rows(), kDepth) * sizeof(std::uint64_t)));
    certify(exec, args);
  }
  double proven_share() { return share_of(proven_); }
  double exposed_per_row() {
    seen_count_.pull(exec);
    wait();
    std::uint64_t sum = 0;
    for (std::uint32_t r = 0; r < num_rows(); ++r) sum += seen_count_.host()[r];
    return static_cast<double>(sum) / num_rows();
  }

  /// Rows whose pool is not complete are searched deeper by the miner and cost little here.
  double final_share() { return 1.0 - share_of(orders_[0].open); }

  /// A call to a kernel on a GPU returns before it has run.
  void wait() { synchronize(exec); }

  Exec exec;
  std::unique_ptr<Compiled> compiled;
  RowBatch batch;

 private:
  /// Of the rows, those that a flag of 1 marks.
  double share_of(TileArray<std::uint8_t>& flags) {
    flags.pull(exec);
    wait();
    const auto marked = std::count(flags.host(), flags.host() + num_rows(), 1);
    return static_cast<double>(marked) / num_rows();
  }
  void fill_batch() {
    batch.num_rows = static_cast<std::uint32_t>(rows_.size());
    batch.num_queries = batch.num_rows;
    query_.resize(batch.num_rows);
    queries_.resize(std::size_t{batch.num_rows} * kDim);
    for (std::uint32_t r = 0; r < batch.num_rows; ++r) {
      query_[r] = r;
      prepare_rows(inputs_.users, rows_.user[r], rows_.user[r] + 1, true,
                   queries_.data() + std::size_t{r} * kDim);
    }
    batch.key = placement_.borrow(rows_.key.data(), rows_.key.size());
    batch.user = placement_.borrow(rows_.user.data(), rows_.user.size());
    batch.time = placement_.borrow(rows_.time.data(), rows_.time.size());
    batch.query = placement_.borrow(query_.data(), query_.size());
    batch.queries = placement_.borrow(queries_.data(), queries_.size());
    batch.positive_offsets =
        placement_.borrow(rows_.positive_offsets.data(), rows_.positive_offsets.size());
    batch.positives = placement_.borrow(rows_.positives.data(), rows_.positives.size());
    positive_scores_.resize(exec, std::size_t{batch.num_rows} * kNumPositiveScores);
    score_positives(exec, compiled->world, compiled->plan, batch, positive_scores_.at(exec));
    batch.positive_scores = positive_scores_.at(exec);
  }
  void fill_lists() {
    found_.resize(exec, std::size_t{num_rows()} * kDepth);
    found_scores_.resize(exec, found_.size());
    found_count_.resize(exec, num_rows());
    complete_.resize(exec, num_rows());
    ItemTable items{compiled->host_items, kItems, kDim, Metric::kCosine};
    if (exec.device == Device::kCuda) items.device_rows = compiled->world.items;
    const auto retriever = make_exact_retriever(items);
    retriever->search(exec, batch.queries, num_rows(), kDepth,
                      {found_.at(exec), found_scores_.at(exec), found_count_.at(exec),
                       complete_.at(exec), nullptr});
    drawn_.resize(exec, std::size_t{num_rows()} * kDraws);
    drawn_scores_.resize(exec, drawn_.size());
    drawn_count_.resize(exec, num_rows());
    draw();
    score(true);
  }
  void* scratch(std::uint64_t bytes) {
    scratch_.resize(exec, bytes / sizeof(std::uint64_t) + 1);
    return scratch_.data();
  }

  Recipe recipe_;
  Exposure exposure_;
  Catalogue catalogue_;
  RowTable rows_;
  MinerInputs inputs_;
  MergeArgs merge_;
  OrderArrays orders_[3];
  Placement placement_;
  std::vector<float> items_, users_, queries_;
  std::vector<std::uint32_t> query_;
  TileArray<float> positive_scores_, found_scores_, drawn_scores_, score_, logq_, kappa_,
      positive_min_;
  TileArray<std::uint32_t> found_, found_count_, drawn_, drawn_count_;
  TileArray<std::uint32_t> item_, raw_rank_, survivor_rank_, stratum_;
  TileArray<std::uint8_t> complete_, reasons_[3], branch_, fill_, deepen_, certified_;
  TileArray<std::uint16_t> count_;
  TileArray<DrawTally> tallies_;
  TileArray<Counters> counters_;
  TileArray<StratumCounters> strata_;
  Recipe exposed_recipe_;
  TileArray<std::uint64_t> keys_;
  TileArray<std::uint32_t> key_count_, seen_, seen_count_, best_, best_count_;
  TileArray<float> cut_, taken_, best_scores_;
  TileArray<std::uint8_t> left_out_, bad_, best_complete_, proven_;
  double largest_norm_ = 0.0;
  ExecBuffer<std::uint64_t> scratch_;
};

/// `per_row` candidates are handled for each row, of `bytes` each: an item and a score.
void report(benchmark::State& state, const Workload& w, double per_row, double bytes = 8) {
  const double rows = static_cast<double>(state.iterations()) * w.num_rows();
  state.counters["rows/s"] = benchmark::Counter(rows, benchmark::Counter::kIsRate);
  state.counters["candidates/s"] = benchmark::Counter(rows * per_row, benchmark::Counter::kIsRate);
  state.counters["bytes/s"] =
      benchmark::Counter(rows * per_row * bytes, benchmark::Counter::kIsRate);
}

/// Where a benchmark runs, from its arguments: cuda, threads.
class Place {
 public:
  explicit Place(benchmark::State& state) {
    exec_.threads = static_cast<int>(state.range(1));
    if (state.range(0) == 0) return;
    std::string why;
    if (cuda_device_count(&why) == 0) {
      state.SkipWithError(("no CUDA device: " + why).c_str());
      return;
    }
    device_ = std::make_unique<CudaExec>(0, exec_.threads);
    exec_ = device_->exec();
  }
  /// False where the benchmark was skipped.
  bool usable(const benchmark::State& state) const {
    return state.range(0) == 0 || device_ != nullptr;
  }
  const Exec& exec() const { return exec_; }

 private:
  std::unique_ptr<CudaExec> device_;
  Exec exec_;
};

void score_drawn_lists(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  for (auto _ : state) {
    w.score(false);
    w.wait();
  }
  report(state, w, kDraws);
}
void score_and_sort_drawn_lists(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  for (auto _ : state) {
    w.score(true);
    w.wait();
  }
  report(state, w, kDraws);
}
void sample_pools(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  for (auto _ : state) {
    w.draw();
    w.wait();
  }
  report(state, w, kDraws);
}
void exclude_by_lists_time_margin(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  for (auto _ : state) {
    w.judge(0);
    w.wait();
  }
  report(state, w, kDepth);
}
void exclude_and_near_duplicates(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(true, false, place.exec());
  for (auto _ : state) {
    w.judge(0);
    w.wait();
  }
  report(state, w, kDepth);
}
void select_top(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  w.judge(0);
  for (auto _ : state) {
    w.choose(0);
    w.wait();
  }
  report(state, w, kDepth);
  state.counters["complete"] = w.final_share();
}
void select_sample_simans(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, true, place.exec());
  w.judge(0);
  for (auto _ : state) {
    w.choose(0);
    w.wait();
  }
  report(state, w, kDepth);
  state.counters["complete"] = w.final_share();
}
void merge_three_branches(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, true, place.exec());
  for (const std::uint32_t branch : {0u, 2u}) {
    w.judge(branch);
    w.choose(branch);
  }
  for (auto _ : state) {
    w.join();
    w.wait();
  }
  report(state, w, kDepth + kDraws);
  state.counters["complete"] = w.final_share();
}

void tally_totals(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, true, place.exec());
  for (const std::uint32_t branch : {0u, 2u}) {
    w.judge(branch);
    w.choose(branch);
  }
  w.join();
  for (auto _ : state) {
    w.total();
    w.wait();
  }
  report(state, w, w.compiled->plan.k);
}
void admit_queries(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  for (auto _ : state) {
    w.take_queries();
    w.wait();
  }
  report(state, w, 1, kDim * 2 * sizeof(float));  // a vector read, a vector written
}
void gather_exposed(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  const std::unique_ptr<Compiled> with_exposed = w.compile_exposed();
  for (auto _ : state) {
    w.gather_exposed(*with_exposed);
    w.wait();
  }
  report(state, w, w.exposed_per_row(), sizeof(std::uint32_t));
  state.counters["candidates/row"] = w.exposed_per_row();
}
void certify_lists(benchmark::State& state) {
  const Place place(state);
  if (!place.usable(state)) return;
  Workload w(false, false, place.exec());
  w.find_lists();
  for (auto _ : state) {
    w.prove();
    w.wait();
  }
  report(state, w, kDepth);
  state.counters["proven"] = w.proven_share();
}

void on_cuda([[maybe_unused]] benchmark::internal::Benchmark* b) {
#if defined(QUARRY_HAS_CUDA)
  b->Args({1, 1});
#endif
}

#define QUARRY_BENCHMARK(name)        \
  BENCHMARK(name)                     \
      ->ArgNames({"cuda", "threads"}) \
      ->Args({0, 1})                  \
      ->Args({0, 2})                  \
      ->Apply(on_cuda)                \
      ->Unit(benchmark::kMillisecond) \
      ->UseRealTime()                 \
      ->MeasureProcessCPUTime()
QUARRY_BENCHMARK(score_drawn_lists);
QUARRY_BENCHMARK(score_and_sort_drawn_lists);
QUARRY_BENCHMARK(sample_pools);
QUARRY_BENCHMARK(exclude_by_lists_time_margin);
QUARRY_BENCHMARK(exclude_and_near_duplicates);
QUARRY_BENCHMARK(select_top);
QUARRY_BENCHMARK(select_sample_simans);
QUARRY_BENCHMARK(merge_three_branches);
QUARRY_BENCHMARK(tally_totals);
QUARRY_BENCHMARK(admit_queries);
QUARRY_BENCHMARK(gather_exposed);
QUARRY_BENCHMARK(certify_lists);

}  // namespace
}  // namespace quarry

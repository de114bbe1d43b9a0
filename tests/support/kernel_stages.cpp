// Every kernel in pipeline order on one problem, on any backend.
#include "tests/support/kernel_stages.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>

#include "host/data/embeddings.h"
#include "host/mine/compile.h"
#include "kernels/sample/sample.h"
#include "kernels/score/score.h"
#include "kernels/select/select.h"
#include "kernels/tally/tally.h"

namespace quarry::test {
namespace {

constexpr unsigned char kUntouched = 0xAB;

class Stages {
 public:
  Stages(const Problem& problem, const Exec& exec)
      : p_(problem),
        exec_(exec),
        compiled_(compile(p_.recipe, p_.inputs, exec, p_.seed, p_.round)) {
    merge_.world = &compiled_->world;
    merge_.plan = &compiled_->plan;
  }

  std::vector<Record> run() {
    load_rows();
    score_positives(exec_, compiled_->world, compiled_->plan, batch_, at(positive_scores_));
    record("score_positives", positive_scores_);
    batch_.positive_scores = at(positive_scores_);
    merge_.rows = batch_;
    for (std::uint32_t b = 0; b < plan().num_branches; ++b) {
      if (is_draw(plan().branches[b])) continue;
      list_candidates(b);
      judge(b);
    }
    merge_rows();
    counters_.resize(exec_, 1);
    counters_.host()[0] = Counters{};
    counters_.push(exec_);
    strata_.resize(exec_, compiled_->world.num_strata);
    std::fill_n(strata_.host(), strata_.size(), StratumCounters{});
    strata_.push(exec_);
    merge_.strata = at(strata_);
    tally(exec_, merge_, at(counters_));
    record("tally", counters_);
    record("tally strata", strata_);
    return std::move(records_);
  }

 private:
  struct Work {
    TileArray<std::uint32_t> items, raw_rank, count, pool_place, pool_rank, order, pool_size,
        ordered, cut, survivors;
    TileArray<float> scores, log_weight, sampling_key, log_total;
    TileArray<std::uint8_t> reasons, open, complete;
  };

  const Plan& plan() const { return compiled_->plan; }
  template <class T>
  T* at(TileArray<T>& array) {
    return array.at(exec_);
  }
  template <class T>
  void prepare(TileArray<T>& array, std::size_t count) {
    array.resize(exec_, std::max<std::size_t>(count, 1));
    std::memset(static_cast<void*>(array.host()), kUntouched, array.size() * sizeof(T));
    array.push(exec_);
  }
  template <class T>
  void record(const std::string& name, TileArray<T>& array) {
    array.pull(exec_);
    synchronize(exec_);
    const auto* bytes = reinterpret_cast<const unsigned char*>(array.host());
    records_.push_back({name, sizeof(T), {bytes, bytes + array.size() * sizeof(T)}});
  }
  void* scratch(std::uint64_t bytes) {
    scratch_.resize(exec_, bytes / sizeof(std::uint64_t) + 1);
    return at(scratch_);
  }

  void load_rows() {
    const RowsView& rows = p_.rows_view;
    const auto n = static_cast<std::uint32_t>(rows.num_rows);
    const std::uint32_t dim = compiled_->world.dim;
    const auto copy = [&](auto& array, const auto* from, std::size_t count) {
      prepare(array, count);
      std::copy_n(from, count, array.host());
      array.push(exec_);
      return at(array);
    };
    batch_.num_rows = batch_.num_queries = n;
    batch_.key = copy(key_, rows.key, n);
    batch_.user = copy(user_, rows.user, n);
    if (rows.time != nullptr) batch_.time = copy(time_, rows.time, n);
    if (rows.segment != nullptr) batch_.segment = copy(segment_, rows.segment, n);
    const std::vector<std::uint64_t> none(std::size_t{n} + 1, 0);
    const std::uint64_t* offsets =
        rows.positive_offsets != nullptr ? rows.positive_offsets : none.data();
    batch_.positive_offsets = copy(positive_offsets_, offsets, std::size_t{n} + 1);
    batch_.positives = copy(positives_, rows.positives, offsets[n]);
    prepare(query_, n);
    prepare(queries_, std::size_t{n} * dim);
    for (std::uint32_t r = 0; r < n; ++r) {
      query_.host()[r] = r;
      prepare_rows(p_.inputs.users, rows.user[r], std::uint64_t{rows.user[r]} + 1,
                   compiled_->world.metric == Metric::kCosine,
                   queries_.host() + std::size_t{r} * dim);
    }
    query_.push(exec_);
    queries_.push(exec_);
    batch_.query = at(query_);
    batch_.queries = at(queries_);
    prepare(positive_scores_, std::size_t{n} * kNumPositiveScores);
  }

  /// Lists of any length up to the catalogue; every second problem with a stride that makes a block
  /// share a row.
  void list_candidates(std::uint32_t b) {
    const Branch& branch = plan().branches[b];
    Work& w = work_[b];
    Candidates& c = merge_.candidates[b];
    const bool pool = branch.source == SourceKind::kPool;
    const std::uint32_t num_items = compiled_->world.num_items;
    c.stride = pool ? branch.draws : num_items + (p_.number % 2 == 1 ? 300 : 0);
    for (auto* array : {&w.items, &w.raw_rank}) prepare(*array, c.stride * batch_.num_rows);
    prepare(w.scores, c.stride * batch_.num_rows);
    prepare(w.count, batch_.num_rows);
    if (pool) {
      SampleArgs args{.world = merge_.world,
                      .plan = merge_.plan,
                      .rows = batch_,
                      .branch = b,
                      .stride = c.stride};
      args.items = at(w.items);
      args.count = at(w.count);
      args.scratch = scratch(sample_scratch_bytes(exec_, batch_.num_rows, branch.draws));
      sample(exec_, args);
      record("sample items of branch " + std::to_string(b), w.items);
      record("sample count of branch " + std::to_string(b), w.count);
    } else {
      make_lists(b);
    }
    ScoreArgs args{.world = merge_.world, .rows = batch_, .stride = c.stride};
    args.items = at(w.items);
    args.scores = at(w.scores);
    args.count = at(w.count);
    args.order = branch.source != SourceKind::kRun && branch.source != SourceKind::kNear;
    if (pool) c.raw_rank = args.raw_rank = at(w.raw_rank);
    args.scratch = scratch(score_scratch_bytes(exec_, batch_.num_rows, c.stride));
    score_lists(exec_, args);
    record("score items of branch " + std::to_string(b), w.items);
    record("score scores of branch " + std::to_string(b), w.scores);
    record("score raw_rank of branch " + std::to_string(b), w.raw_rank);
    c.items = at(w.items);
    c.scores = at(w.scores);
    c.count = at(w.count);
  }

  void make_lists(std::uint32_t b) {
    Work& w = work_[b];
    Rng rng{p_.number * 31 + b};
    std::vector<std::uint32_t> shuffled(compiled_->world.num_items);
    std::iota(shuffled.begin(), shuffled.end(), 0u);
    prepare(w.complete, batch_.num_rows);
    for (std::uint32_t r = 0; r < batch_.num_rows; ++r) {
      for (std::size_t i = shuffled.size(); i > 1; --i)
        std::swap(shuffled[i - 1], shuffled[rng.in(0, i - 1)]);
      w.count.host()[r] = static_cast<std::uint32_t>(
          rng.in(rng.chance(10) ? 0 : shuffled.size() / 2, shuffled.size()));
      std::copy_n(shuffled.begin(), w.count.host()[r],
                  w.items.host() + r * merge_.candidates[b].stride);
      w.complete.host()[r] = rng.chance(80) ? 1 : 0;
    }
    w.items.push(exec_);
    w.count.push(exec_);
    w.complete.push(exec_);
    if (plan().branches[b].source == SourceKind::kTopk)
      merge_.candidates[b].complete = at(w.complete);
  }

  void judge(std::uint32_t b) {
    const Branch& branch = plan().branches[b];
    Work& w = work_[b];
    const Candidates& c = merge_.candidates[b];
    const std::string of = " of branch " + std::to_string(b);
    prepare(w.reasons, c.stride * batch_.num_rows);
    ExcludeArgs exclusion{merge_.world, merge_.plan, batch_, c, b, at(w.reasons)};
    exclude(exec_, exclusion);
    record("exclude reasons" + of, w.reasons);
    std::uint64_t stride =
        std::max<std::uint64_t>(std::min<std::uint64_t>(branch.pool, c.stride), 1);
    if (branch.select == SelectKind::kSampleReplacement)
      stride = std::max<std::uint64_t>(stride, plan().k);
    for (auto* a : {&w.pool_place, &w.pool_rank, &w.order}) prepare(*a, stride * batch_.num_rows);
    for (auto* a : {&w.log_weight, &w.sampling_key}) prepare(*a, stride * batch_.num_rows);
    for (auto* a : {&w.pool_size, &w.ordered, &w.cut, &w.survivors}) prepare(*a, batch_.num_rows);
    prepare(w.log_total, batch_.num_rows);
    prepare(w.open, batch_.num_rows);
    SelectArgs args{merge_.world, merge_.plan, batch_, c, b, at(w.reasons), {}, nullptr};
    args.out = {stride,      at(w.pool_place),   at(w.pool_rank), at(w.log_weight),
                at(w.order), at(w.sampling_key), at(w.pool_size), at(w.ordered),
                at(w.cut),   at(w.survivors),    at(w.log_total), at(w.open)};
    args.scratch = scratch(select_scratch_bytes(exec_, batch_.num_rows, stride));
    select(exec_, args);
    merge_.reasons[b] = at(w.reasons);
    merge_.order[b] = args.out;
    record("select reasons" + of, w.reasons);
    record("select pool_place" + of, w.pool_place);
    record("select pool_rank" + of, w.pool_rank);
    record("select log_weight" + of, w.log_weight);
    record("select order" + of, w.order);
    record("select sampling_key" + of, w.sampling_key);
    record("select pool_size" + of, w.pool_size);
    record("select count" + of, w.ordered);
    record("select cut" + of, w.cut);
    record("select cut_survivors" + of, w.survivors);
    record("select log_total" + of, w.log_total);
    record("select open" + of, w.open);
  }

  void merge_rows() {
    const std::size_t slots = std::size_t{batch_.num_rows} * plan().k;
    for (auto* a : {&item_, &raw_rank_, &survivor_rank_, &stratum_}) prepare(*a, slots);
    for (auto* a : {&score_, &logq_}) prepare(*a, slots);
    for (auto* a : {&branch_, &fill_}) prepare(*a, slots);
    prepare(kappa_, std::size_t{batch_.num_rows} * plan().num_branches);
    prepare(count_, batch_.num_rows);
    prepare(deepen_, batch_.num_rows);
    prepare(positive_min_, batch_.num_rows);
    prepare(certified_, batch_.num_rows);
    prepare(tallies_, std::size_t{batch_.num_rows} * plan().num_branches);
    merge_.tallies = at(tallies_);
    merge_.out = {at(item_),          at(score_),   at(branch_),       at(raw_rank_),
                  at(survivor_rank_), at(stratum_), at(logq_),         at(fill_),
                  at(count_),         at(kappa_),   at(positive_min_), at(certified_)};
    merge_.deepen = at(deepen_);
    merge_.scratch = scratch(merge_scratch_bytes(exec_, compiled_->world, plan(), batch_.num_rows));
    merge(exec_, merge_);
    record("merge deepen", deepen_);
    record("merge count", count_);
    record("merge item", item_);
    record("merge branch", branch_);
    record("merge score", score_);
    record("merge raw_rank", raw_rank_);
    record("merge survivor_rank", survivor_rank_);
    record("merge stratum", stratum_);
    record("merge fill", fill_);
    record("merge logq", logq_);
    record("merge kappa", kappa_);
    record("merge positive_min", positive_min_);
    record("merge certified", certified_);
    record("merge tallies", tallies_);
  }

  const Problem& p_;
  Exec exec_;
  std::unique_ptr<Compiled> compiled_;
  RowBatch batch_;
  MergeArgs merge_;
  Work work_[kMaxBranches];
  TileArray<std::uint64_t> key_, positive_offsets_, scratch_;
  TileArray<std::uint32_t> user_, segment_, positives_, query_, item_, raw_rank_, survivor_rank_,
      stratum_;
  TileArray<std::int64_t> time_;
  TileArray<float> queries_, positive_scores_, score_, logq_, kappa_, positive_min_;
  TileArray<std::uint8_t> branch_, fill_, deepen_, certified_;
  TileArray<std::uint16_t> count_;
  TileArray<DrawTally> tallies_;
  TileArray<Counters> counters_;
  TileArray<StratumCounters> strata_;
  std::vector<Record> records_;
};

}  // namespace

std::vector<Record> run_kernels(const Problem& problem, const Exec& exec) {
  return Stages(problem, exec).run();
}

std::string difference(const std::vector<Record>& expected, const std::vector<Record>& actual) {
  for (std::size_t i = 0; i < std::min(expected.size(), actual.size()); ++i) {
    const Record& e = expected[i];
    const Record& a = actual[i];
    if (e.name != a.name || e.bytes.size() != a.bytes.size())
      return e.name + " against " + a.name + ": shapes differ";
    const auto at = std::mismatch(e.bytes.begin(), e.bytes.end(), a.bytes.begin());
    if (at.first == e.bytes.end()) continue;
    return e.name + " differs first at element " +
           std::to_string(static_cast<std::size_t>(at.first - e.bytes.begin()) / e.element);
  }
  return expected.size() == actual.size() ? "" : "one run stopped early";
}

}  // namespace quarry::test

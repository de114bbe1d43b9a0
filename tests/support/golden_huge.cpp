// A batch whose rows x candidates exceed 2^31: every place in its lists needs more than 32 bits.
// Each row is made from its number, so a CPU can do the sampled rows alone.
#include <algorithm>
#include <numeric>

#include "host/data/embeddings.h"
#include "host/mine/compile.h"
#include "host/recipe/recipe.h"
#include "kernels/core/buffer.h"
#include "kernels/exclude/exclude.h"
#include "kernels/merge/merge.h"
#include "kernels/score/score.h"
#include "kernels/select/select.h"
#include "tests/support/golden_cases.h"

namespace quarry::test {
namespace {

constexpr std::uint32_t kItems = 4099;  ///< a prime: every step walks through all of them
constexpr std::uint32_t kUsers = 512;
/// Rows that nobody looks at have short lists; where they lie counts, not what is in them.
constexpr std::uint32_t kUnsampledCandidates = 24;

constexpr const char* kRecipe = R"(
name = "huge"
k = 8
metric = "ip"
[safety]
filters = [
  { kind = "positives" },
  { kind = "exposed", classes = ["aversion", "disinterest"] },
  { kind = "time" },
  { kind = "relative_margin", ratio = 0.95, against = "min" },
]
[[branch]]
name = "hard"
share = 1.0
source = { kind = "topk", pool = 64 }
select = { kind = "sample", weight = { kind = "simans", a = 0.5, b = 0.0 } }
[quota]
cap = [{ column = "category", per_row = 3 }]
)";

std::uint64_t key_of(std::uint64_t row) { return (row + 1) * 0x9E3779B97F4A7C15u; }
std::uint32_t user_of(std::uint64_t row) { return static_cast<std::uint32_t>(row % kUsers); }
std::uint32_t positive_of(std::uint64_t row) {
  return static_cast<std::uint32_t>(key_of(row) >> 40) % kItems;
}
std::uint32_t candidate_of(std::uint64_t row, std::uint64_t place) {
  const std::uint64_t step = 1 + (key_of(row) >> 33) % (kItems - 1);
  return static_cast<std::uint32_t>((key_of(row) % kItems + place * step) % kItems);
}

class Huge {
 public:
  Huge(const HugeBatch& batch, const Exec& exec)
      : exec_(exec),
        sampled_(batch.sampled),
        n_(batch.sampled_only ? batch.sampled.size() : batch.num_rows),
        dense_(batch.sampled_only),
        world_(make_world({.users = kUsers,
                           .items = kItems,
                           .dim = 8,
                           .rows_per_user = 1,
                           .events_per_user = 20,
                           .seed = 31})),
        recipe_(parse_recipe(kRecipe, "huge.toml", 0)),
        compiled_(compile(recipe_, world_->inputs, exec, 11, 0)),
        placement_(exec) {}

  GoldenHashes run() {
    load_rows();
    load_lists();
    judge();
    return picked();
  }

 private:
  /// The number of the row at a place of the batch.
  std::uint64_t row_at(std::uint64_t place) const { return dense_ ? sampled_[place] : place; }
  bool is_sampled(std::uint64_t row) const {
    return std::binary_search(sampled_.begin(), sampled_.end(), row);
  }
  void* scratch(std::uint64_t bytes) {
    scratch_.resize(exec_, bytes / sizeof(std::uint64_t) + 1);
    return scratch_.data();
  }

  void load_rows() {
    std::vector<std::uint64_t> key(n_), offsets(n_ + 1);
    std::vector<std::uint32_t> user(n_), positives(n_);
    std::vector<std::int64_t> time(n_, 120000);
    std::iota(offsets.begin(), offsets.end(), std::uint64_t{0});
    for (std::uint64_t i = 0; i < n_; ++i) {
      key[i] = key_of(row_at(i));
      user[i] = user_of(row_at(i));
      positives[i] = positive_of(row_at(i));
    }
    std::vector<float> queries(std::size_t{kUsers} * compiled_->world.dim);
    prepare_rows(world_->inputs.users, 0, kUsers, false, queries.data());
    batch_.num_rows = static_cast<std::uint32_t>(n_);
    batch_.num_queries = kUsers;
    batch_.key = placement_.keep(std::move(key));
    batch_.query = batch_.user = placement_.keep(std::move(user));
    batch_.time = placement_.keep(std::move(time));
    batch_.positive_offsets = placement_.keep(std::move(offsets));
    batch_.positives = placement_.keep(std::move(positives));
    batch_.queries = placement_.keep(std::move(queries));
    positive_scores_.resize(exec_, n_ * kNumPositiveScores);
    score_positives(exec_, compiled_->world, compiled_->plan, batch_, positive_scores_.data());
    batch_.positive_scores = positive_scores_.data();
  }

  void load_lists() {
    items_.resize(exec_, n_ * kHugeStride);
    scores_.resize(exec_, n_ * kHugeStride);
    std::vector<std::uint32_t> count(n_);
    // In pieces: the whole of it is larger than what many hosts can spare beside the device.
    constexpr std::uint64_t kPiece = 4096;
    std::vector<std::uint32_t> piece(std::min(kPiece, n_) * kHugeStride);
    for (std::uint64_t first = 0; first < n_; first += kPiece) {
      const std::uint64_t rows = std::min(kPiece, n_ - first);
      for (std::uint64_t i = first; i < first + rows; ++i) {
        const std::uint64_t row = row_at(i);
        count[i] = is_sampled(row) ? static_cast<std::uint32_t>(kHugeStride - row % 3)
                                   : kUnsampledCandidates;
        for (std::uint32_t j = 0; j < count[i]; ++j)
          piece[(i - first) * kHugeStride + j] = candidate_of(row, j);
      }
      copy_from_host(exec_, items_.data() + first * kHugeStride, piece.data(),
                     rows * kHugeStride * sizeof(piece[0]));
      synchronize(exec_);
    }
    candidates_.stride = kHugeStride;
    candidates_.items = items_.data();
    candidates_.scores = scores_.data();
    candidates_.count = placement_.keep(std::move(count));
    ScoreArgs args{.world = &compiled_->world, .rows = batch_, .stride = kHugeStride};
    args.items = items_.data();
    args.scores = scores_.data();
    args.count = candidates_.count;
    args.order = true;
    args.scratch = scratch(score_scratch_bytes(exec_, static_cast<std::uint32_t>(n_), kHugeStride));
    score_lists(exec_, args);
    synchronize(exec_);
    scratch_ = {};  // a quarter of the device's memory is free again
  }

  void judge() {
    constexpr std::uint64_t kPool = 64;
    // One user, many rows: a topk list belongs to a query, so these lists are given as a source's
    // whose lists belong to rows.
    plan_ = compiled_->plan;
    plan_.branches[0].source = SourceKind::kRun;
    reasons_.resize(exec_, n_ * kHugeStride);
    exclude(exec_, {&compiled_->world, &plan_, batch_, candidates_, 0, reasons_.data()});
    for (auto* a : {&pool_place_, &pool_rank_, &order_}) a->resize(exec_, n_ * kPool);
    for (auto* a : {&log_weight_, &sampling_key_}) a->resize(exec_, n_ * kPool);
    for (auto* a : {&pool_size_, &ordered_, &cut_, &survivors_}) a->resize(exec_, n_);
    log_total_.resize(exec_, n_);
    open_.resize(exec_, n_);
    SelectArgs args{&compiled_->world, &plan_, batch_, candidates_, 0,
                    reasons_.data(),   {},     nullptr};
    args.out = {kPool,         pool_place_.data(),   pool_rank_.data(), log_weight_.data(),
                order_.data(), sampling_key_.data(), pool_size_.data(), ordered_.data(),
                cut_.data(),   survivors_.data(),    log_total_.data(), open_.data()};
    args.scratch = scratch(select_scratch_bytes(exec_, batch_.num_rows, kPool));
    select(exec_, args);
    merge_.world = &compiled_->world;
    merge_.plan = &plan_;
    merge_.rows = batch_;
    merge_.candidates[0] = candidates_;
    merge_.reasons[0] = reasons_.data();
    merge_.order[0] = args.out;
    const std::size_t slots = n_ * plan_.k;
    for (auto* a : {&item_, &raw_rank_, &survivor_rank_, &stratum_}) a->resize(exec_, slots);
    for (auto* a : {&score_, &logq_}) a->resize(exec_, slots);
    for (auto* a : {&branch_, &fill_}) a->resize(exec_, slots);
    kappa_.resize(exec_, n_);
    count_.resize(exec_, n_);
    deepen_.resize(exec_, n_);
    certified_.resize(exec_, n_);
    positive_min_.resize(exec_, n_);
    tallies_.resize(exec_, n_);
    merge_.tallies = tallies_.data();
    merge_.deepen = deepen_.data();
    merge_.out = {item_.data(),          score_.data(),   branch_.data(),       raw_rank_.data(),
                  survivor_rank_.data(), stratum_.data(), logq_.data(),         fill_.data(),
                  count_.data(),         kappa_.data(),   positive_min_.data(), certified_.data()};
    merge_.scratch = scratch(merge_scratch_bytes(exec_, compiled_->world, plan_, batch_.num_rows));
    merge(exec_, merge_);
    synchronize(exec_);
  }

  /// The first `width` of the `stride` elements that each sampled row has in an array.
  template <class T>
  void hash_rows(GoldenHash& hash, ExecBuffer<T>& array, std::uint64_t stride,
                 std::uint64_t width = 0) {
    if (width == 0) width = stride;
    std::vector<T> row(width);
    for (std::size_t s = 0; s < sampled_.size(); ++s) {
      const T* from = array.data() + (dense_ ? s : sampled_[s]) * stride;
      if (exec_.device == Device::kCuda) {
        copy_to_host(exec_, row.data(), from, width * sizeof(T));
        synchronize(exec_);
      } else {
        std::copy_n(from, width, row.data());
      }
      hash.add(row);
    }
  }

  GoldenHashes picked() {
    GoldenHash inputs, ids, scores, reasons;
    inputs.add(kRecipe);
    inputs.add(world_->items);
    inputs.add(sampled_);
    hash_rows(ids, item_, plan_.k);
    for (auto* a : {&score_, &logq_}) hash_rows(scores, *a, plan_.k);
    hash_rows(scores, kappa_, 1);
    hash_rows(scores, scores_, kHugeStride, kHugeStride - 2);  // the shortest of the sampled lists
    hash_rows(reasons, reasons_, kHugeStride, kHugeStride - 2);
    hash_rows(reasons, count_, 1);
    for (auto* a : {&branch_, &fill_}) hash_rows(reasons, *a, plan_.k);
    for (auto* a : {&raw_rank_, &survivor_rank_, &stratum_}) hash_rows(reasons, *a, plan_.k);
    return {inputs.text(), ids.text(), scores.text(), reasons.text()};
  }

  Exec exec_;
  std::vector<std::uint64_t> sampled_;
  std::uint64_t n_;
  bool dense_;
  std::unique_ptr<TestWorld> world_;
  Recipe recipe_;
  std::unique_ptr<Compiled> compiled_;
  Placement placement_;
  RowBatch batch_;
  Plan plan_;
  Candidates candidates_;
  MergeArgs merge_;
  ExecBuffer<std::uint64_t> scratch_;
  ExecBuffer<std::uint32_t> items_, pool_place_, pool_rank_, order_, pool_size_, ordered_, cut_,
      survivors_, item_, raw_rank_, survivor_rank_, stratum_;
  ExecBuffer<float> scores_, positive_scores_, log_weight_, sampling_key_, log_total_, score_,
      logq_, kappa_, positive_min_;
  ExecBuffer<std::uint8_t> reasons_, open_, branch_, fill_, deepen_, certified_;
  ExecBuffer<std::uint16_t> count_;
  ExecBuffer<DrawTally> tallies_;
};

}  // namespace

HugeBatch huge_batch(std::uint64_t num_rows, bool sampled_only) {
  HugeBatch batch;
  batch.num_rows = num_rows;
  batch.sampled_only = sampled_only;
  const std::uint64_t passes = (std::uint64_t{1} << 31) / kHugeStride;
  for (std::uint64_t i = 0; i < 6; ++i) {
    for (const std::uint64_t row :
         {i, num_rows - 1 - i, passes - 3 + i, passes / 2 - 3 + i, num_rows / 7 * i + 5}) {
      if (row < num_rows) batch.sampled.push_back(row);
    }
  }
  std::sort(batch.sampled.begin(), batch.sampled.end());
  batch.sampled.erase(std::unique(batch.sampled.begin(), batch.sampled.end()), batch.sampled.end());
  return batch;
}

std::uint64_t huge_bytes(const HugeBatch& batch) {
  const std::uint64_t rows = batch.sampled_only ? batch.sampled.size() : batch.num_rows;
  // Items, scores, reasons and the room to order them; per row the columns, its pool and the work
  // area of merge.
  return rows * (kHugeStride * (4 + 4 + 1 + 16) + 8192);
}

GoldenHashes run_huge(const HugeBatch& batch, const Exec& exec) { return Huge(batch, exec).run(); }

}  // namespace quarry::test

// Exact search by this project's own top-k kernel under the certificate.
#include <algorithm>
#include <bit>

#include "index/certificate.h"
#include "index/retriever.h"
#include "kernels/topk/bf16_cpu.h"
#include "kernels/topk/int8_cpu.h"

namespace quarry {
namespace {

/// Narrower rows gain little from a coarse pass.
constexpr std::uint32_t kLeastCoarseDim = 24;
/// Fewer rows per worker do not pay for packing all items.
constexpr std::uint32_t kLeastCoarseRows = 4;
/// Likewise of 8 bits, where packing costs as much as some 60 rows gain.
constexpr std::uint32_t kLeastInt8Rows = 128;
/// Smaller tables are packed once and kept, by all workers together.
constexpr std::uint64_t kMostInt8Bytes = std::uint64_t{32} << 20;
/// Fewest rows per worker of a search of a table that is kept.
constexpr std::uint32_t kLeastTableRows = 16;
constexpr std::uint32_t kLeastInt8Dim = 32;

/// Smaller tables are as well searched from their beginning; larger samples cost more than the
/// thresholds that they give save.
constexpr std::uint32_t kLeastSampled = 2048;
constexpr std::uint32_t kLeastStride = 8;
constexpr std::uint32_t kMostSampled = 8192;
/// Where no more of the items than one of so many count, the sample is of these.
constexpr std::uint32_t kFewCount = 4;

bool keeps_int8_table(std::uint32_t num_items, std::uint32_t dim) {
  return Int8Table::bytes(num_items, dim) <= kMostInt8Bytes;
}

class ExactRetriever final : public Retriever, private CandidateSource {
 public:
  ExactRetriever(const ItemTable& items, FirstPass pass)
      : items_(items), pass_(pass), certified_(items, Approximation::kTopk) {}

  void search(const Exec& exec, const float* queries, std::uint32_t num_queries, std::uint32_t k,
              const SearchResult& out) override {
    certified_.search(exec, *this, queries, num_queries, k, out);
  }
  void search_toward(const Exec& exec, const float* queries, std::uint32_t num_queries,
                     std::uint32_t most, const SearchGoal& goal, const SearchResult& out) override {
    certified_.search_toward(exec, *this, queries, num_queries, most, goal, out);
  }
  bool follows_goals(const Exec& exec, std::uint32_t num_queries, bool far) const override {
    return exec.device == Device::kCpu && topk_toward_pays(exec, num_queries, far);
  }
  bool exact() const override { return true; }
  std::string description() const override { return name_of(pass_); }
  SearchStats stats() const override { return certified_.stats(); }
  std::uint64_t memory_bytes() const override {
    return certified_.memory_bytes() + bias_.capacity_bytes() + packed_.capacity_bytes() +
           sample_.capacity_bytes() + sample_of_some_.capacity_bytes();
  }
  std::uint64_t device_bytes() const override {
    return certified_.device_bytes() + device_bias_.capacity_bytes();
  }

 private:
  void find(const Exec& exec, const float* items, const float* queries, std::uint32_t rows,
            std::uint32_t depth, SearchWorkspace& workspace, const TopkResult& out) override {
    TopkItems table = scored(exec, items);
    choose_int8(exec, rows, table);
    // Whole lists begin without a threshold: no goal says how long they are to be.
    topk_on(exec, table, queries, rows, depth, workspace, out);
  }
  void find_toward(const Exec& exec, Approximation how, const float* items, const float* queries,
                   std::uint32_t rows, std::uint32_t depth, const TopkGoal& goal,
                   SearchWorkspace& workspace, const TopkResult& out) override {
    TopkItems table = scored(exec, items);
    if (how == Approximation::kTopkBf16) {
      table.scoring = TopkScoring::kBf16;
      table.bf16 = bf16_unit();
    } else {
      choose_int8(exec, rows, table);
      choose_sample(exec, goal.eligible, table);
    }
    topk_toward(exec, table, goal, queries, rows, depth, workspace.cpu, out);
  }
  bool may_be_coarse(const Exec& exec) const override {
    if (exec.device != Device::kCpu) return false;
    if (pass_ != FirstPass::kFastest) return pass_ == FirstPass::kBf16;
    return items_.dim >= kLeastCoarseDim && bf16_pays(bf16_unit());
  }
  /// Rows in bf16 are packed again by every search: worth it for fewer rows than 8 bits are.
  bool coarse_pays(const Exec& exec, std::uint32_t rows) const override {
    if (!may_be_coarse(exec) || pass_ == FirstPass::kBf16) return may_be_coarse(exec);
    return rows_per_worker(exec, rows) >= kLeastCoarseRows && !int8_pays_of(exec, rows);
  }

  static std::uint32_t rows_per_worker(const Exec& exec, std::uint32_t rows) {
    return rows / static_cast<std::uint32_t>(std::max(exec.threads, 1));
  }

  bool keeps_table() const { return keeps_int8_table(items_.num_items, items_.dim); }
  /// Whether bounds of 8 bits are the fastest of what may be chosen for so many rows.
  bool int8_pays_of(const Exec& exec, std::uint32_t rows) const {
    return pass_ == FirstPass::kFastest && int8_pays(int8_unit()) && items_.dim >= kLeastInt8Dim &&
           items_.dim <= kMostInt8Dim &&
           rows_per_worker(exec, rows) >= (keeps_table() ? kLeastTableRows : kLeastInt8Rows);
  }

  /// By bounds of 8 bits, or not.
  void choose_int8(const Exec& exec, std::uint32_t rows, TopkItems& table) {
    if (exec.device != Device::kCpu || items_.dim > kMostInt8Dim) return;
    const bool pays = int8_pays_of(exec, rows);
    if (!pays && pass_ != FirstPass::kInt8) return;
    table.scoring = TopkScoring::kInt8;
    table.int8 = int8_unit();
    table.always_by_bounds = !pays;
    if (!keeps_table()) return;
    if (packed_.empty())
      packed_.pack(exec, int8_unit(), table.rows, nullptr, items_.num_items, items_.dim);
    table.int8_table = &packed_;
  }

  /// First thresholds of lists that follow a goal.
  void choose_sample(const Exec& exec, const std::uint32_t* eligible, TopkItems& table) {
    const std::uint32_t n = items_.num_items;
    if (table.scoring != TopkScoring::kInt8 || n < kLeastSampled) return;
    const std::uint32_t population = eligible != nullptr ? number_of(eligible, n) : n;
    const bool few = population <= n / kFewCount;
    if (few && !sample_of_some_.is_of(eligible, n))
      take(exec, table, eligible, population, sample_of_some_);
    if (!few && sample_.size() == 0) take(exec, table, nullptr, n, sample_);
    table.int8_sample = few ? &sample_of_some_ : &sample_;
  }
  /// Items of n whose bits are set.
  static std::uint32_t number_of(const std::uint32_t* some, std::uint32_t n) {
    std::uint32_t count = 0;
    for (std::uint32_t w = 0; w < n / 32; ++w)
      count += static_cast<std::uint32_t>(std::popcount(some[w]));
    if (n % 32 == 0) return count;
    return count + static_cast<std::uint32_t>(std::popcount(some[n / 32] & ((1u << n % 32) - 1)));
  }
  /// population: items that it is taken of.
  static void take(const Exec& exec, const TopkItems& table, const std::uint32_t* eligible,
                   std::uint32_t population, Int8Sample& sample) {
    const std::uint32_t n = table.num_items;
    const std::uint32_t most = std::min(kMostSampled, n / kLeastStride);
    std::uint32_t stride = 1;
    while (population / stride > most) stride *= 2;
    sample.take(exec, table.int8, table.rows, table.bias, n, table.dim, stride, eligible);
  }

  TopkItems scored(const Exec& exec, const float* items) {
    TopkItems table{
        .rows = items, .num_items = items_.num_items, .dim = items_.dim, .metric = items_.metric};
    if (items_.metric == Metric::kL2) {
      table.scale = 2.0f;
      table.bias = bias(exec);
    }
    return table;
  }

  /// -|x|^2 of every item, in the memory of exec.device; computed once.
  const float* bias(const Exec& exec) {
    if (bias_.size() != items_.num_items) {
      bias_.resize(exec, items_.num_items);
      parallel_for(exec, items_.num_items, 4096, [this](std::uint64_t begin, std::uint64_t end) {
        for (std::uint64_t i = begin; i < end; ++i) {
          bias_.data()[i] =
              -static_cast<float>(squared_norm(items_.rows + i * items_.dim, items_.dim));
        }
      });
    }
    if (exec.device == Device::kCpu) return bias_.data();
    if (device_bias_.size() != items_.num_items) {
      device_bias_.resize(exec, items_.num_items);
      copy_to_device(exec, device_bias_.data(), bias_.data(), items_.num_items * sizeof(float));
    }
    return device_bias_.data();
  }

  ItemTable items_;
  FirstPass pass_;
  CertifiedSearch certified_;
  HostBuffer<float> bias_;
  Int8Table packed_;
  Int8Sample sample_;
  Int8Sample sample_of_some_;  ///< of the items that a goal said may count
  DeviceBuffer<float> device_bias_;
};

}  // namespace

std::unique_ptr<Retriever> make_exact_retriever(const ItemTable& items, FirstPass pass) {
  return std::make_unique<ExactRetriever>(items, pass);
}

std::uint64_t bytes_kept_of_items(std::uint32_t num_items, std::uint32_t dim, Metric metric,
                                  FirstPass pass) {
  const bool may_pack =
      pass == FirstPass::kInt8 ||
      (pass == FirstPass::kFastest && int8_pays(int8_unit()) && dim >= kLeastInt8Dim);
  std::uint64_t bytes = metric == Metric::kL2 ? std::uint64_t{num_items} * sizeof(float) : 0;
  if (may_pack && dim <= kMostInt8Dim && keeps_int8_table(num_items, dim))
    bytes += Int8Table::bytes(num_items, dim);
  return bytes;
}

}  // namespace quarry

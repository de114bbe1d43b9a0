// Exact retrieval against FAISS flat and against the tile GEMM alone, on the same threads in the
// same run. Report: GF/s of the scores alone (2 * queries * items * dim per second) and queries per
// second.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "index/retriever.h"
#include "kernels/topk/topk.h"

namespace quarry {
namespace {

constexpr std::uint32_t kDim = 128;
constexpr std::uint32_t kQueries = 1024;

struct Catalogue {
  std::vector<float> items, queries;
  std::uint32_t num_items = 0;
};

/// Random rows, made once per size and kept for the run.
const Catalogue& catalogue(std::uint32_t num_items) {
  static std::map<std::uint32_t, Catalogue> made;
  Catalogue& c = made[num_items];
  if (c.num_items == 0) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    c.items.resize(std::size_t{num_items} * kDim);
    c.queries.resize(std::size_t{kQueries} * kDim);
    for (float& v : c.items) v = normal(random);
    for (float& v : c.queries) v = normal(random);
    c.num_items = num_items;
  }
  return c;
}

Exec exec_of(const benchmark::State& state) {
  Exec exec;
  exec.threads = static_cast<int>(state.range(2));
  return exec;
}

void report(benchmark::State& state) {
  const auto queries = static_cast<double>(state.iterations()) * kQueries;
  state.counters["queries/s"] = benchmark::Counter(queries, benchmark::Counter::kIsRate);
  state.counters["GF/s"] = benchmark::Counter(
      queries * static_cast<double>(state.range(0)) * kDim * 2e-9, benchmark::Counter::kIsRate);
}

void gemm_limit(benchmark::State& state) {
  const Catalogue& c = catalogue(static_cast<std::uint32_t>(state.range(0)));
  TopkWorkspace workspace;
  const TopkItems items{.rows = c.items.data(), .num_items = c.num_items, .dim = kDim};
  for (auto _ : state) topk_gemm_only(exec_of(state), items, c.queries.data(), kQueries, workspace);
  report(state);
}

void topk_kernel(benchmark::State& state) {
  const Catalogue& c = catalogue(static_cast<std::uint32_t>(state.range(0)));
  const auto k = static_cast<std::uint32_t>(state.range(1));
  TopkWorkspace workspace;
  std::vector<std::uint64_t> keys(std::size_t{kQueries} * k);
  std::vector<std::uint32_t> count(kQueries);
  std::vector<float> cut(kQueries);
  std::vector<std::uint8_t> left_out(kQueries);
  const TopkItems items{.rows = c.items.data(), .num_items = c.num_items, .dim = kDim};
  for (auto _ : state) {
    topk(exec_of(state), items, {}, c.queries.data(), kQueries, k, workspace,
         {keys.data(), count.data(), cut.data(), left_out.data()});
  }
  report(state);
  state.SetLabel(topk_instruction_set());
}

void retrieve(benchmark::State& state, const std::string& kind) {
  if (kind != "exact" && !faiss_info().present) {
    state.SkipWithError("this build has no FAISS");
    return;
  }
  const Catalogue& c = catalogue(static_cast<std::uint32_t>(state.range(0)));
  const auto k = static_cast<std::uint32_t>(state.range(1));
  const Exec exec = exec_of(state);
  const ItemTable table{c.items.data(), c.num_items, kDim, Metric::kInnerProduct};
  const auto retriever = make_retriever(exec, table, kind, {});
  std::vector<std::uint32_t> items(std::size_t{kQueries} * k);
  std::vector<float> scores(items.size());
  std::vector<std::uint32_t> count(kQueries);
  std::vector<std::uint8_t> complete(kQueries);
  for (auto _ : state) {
    retriever->search(exec, c.queries.data(), kQueries, k,
                      {items.data(), scores.data(), count.data(), complete.data(), nullptr});
  }
  report(state);
  const SearchStats stats = retriever->stats();
  state.counters["certified"] = static_cast<double>(stats.certified) /
                                static_cast<double>(stats.queries > 0 ? stats.queries : 1);
  state.counters["bytes"] = static_cast<double>(retriever->memory_bytes());
}
void exact(benchmark::State& state) { retrieve(state, "exact"); }
void faiss_flat(benchmark::State& state) { retrieve(state, "Flat"); }

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"items", "k", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const std::int64_t items : {20000, 200000}) {
    for (const std::int64_t k : {10, 500}) {
      for (const std::int64_t threads : {1, 2}) b->Args({items, k, threads});
    }
  }
}
BENCHMARK(gemm_limit)->Apply(sizes);
BENCHMARK(topk_kernel)->Apply(sizes);
BENCHMARK(exact)->Apply(sizes);
BENCHMARK(faiss_flat)->Apply(sizes);

}  // namespace
}  // namespace quarry

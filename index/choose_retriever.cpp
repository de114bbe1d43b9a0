// Chooses a retriever from the size of the task.
#include "index/choose_retriever.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

// Seconds and operations of one CPU thread. `bench/auto/run --fit FILE` prints the numbers of a
// measurement; a number changes here together with the file it comes from.
//
// From bench/results/cpu/mine_20k.json and mine_200k.json (nv-perc, two threads, 128 dimensions):
constexpr double kExactRow = 21.5e-6;   // a row, beside its products
constexpr double kExactRate = 100.1e9;  // multiplications and additions of the scan
constexpr double kFlatRow = 142e-6;     // the same of FAISS's Flat
constexpr double kFlatRate = 15.3e9;
// From bench/results/cpu/peers_small.json, peers_medium.json and peers_large.json (128 dimensions,
// one thread, FAISS from Python on a busy machine). Provisional: bench/auto has not been run.
constexpr double kKmeansRate = 65e9;    // training an IVF, assigning its items, ranking its lists
constexpr double kIvfRow = 20e-6;       // a row, beside what follows
constexpr double kIvfItem = 40e-9;      // an item of a visited list,
constexpr double kIvfElement = 0.6e-9;  // and each of its dimensions
constexpr double kHnswInsert = 2.5e-8;  // an item's insertion, per dimension and doubling of items
constexpr double kHnswVisit = 8e-9;     // per place of a search's width and dimension
// From bench/results/cpu/auto_recall.json (100 nearest of 5,000 to 60,000 synthetic items):
// 1 - recall = kMissed * f^-kDecay, f: items of the visited lists over items wanted; 9 of 10
// measurements lose no more. Fewer than kLeastProbes lists lose what lies across their borders,
// however long they are.
constexpr double kMissed = 0.476;
constexpr double kDecay = 1.37;
constexpr double kLeastProbes = 4;

constexpr double kKmeansRounds = 10;       // FAISS's IndexIVF
constexpr double kTrainingPerList = 256;   // the most that it trains on
constexpr double kLeastPerList = 39;       // below it FAISS warns of too few
constexpr std::uint64_t kLeastLists = 16;  // fewer divide nothing
/// Graphs are built by one thread, scans by all. Choices must not depend on threads, so a build
/// counts as if it kept this many waiting.
constexpr double kThreadsKeptWaiting = 8;
/// An index must be this much cheaper than the exact scan. The model is of fp32 on one processor
/// and of indexes on another; where there are bf16 instructions the scan is up to four times as
/// fast.
constexpr double kAdvantage = 4;

double operations(const RetrievalTask& t, double vectors) {
  return 2.0 * vectors * static_cast<double>(t.dim);
}

/// Thread-seconds into what a caller sees.
RetrieverCost cost(const RetrievalTask& t, std::string retriever, double build, double row) {
  const double threads = std::max(t.threads, 1);
  RetrieverCost c;
  c.retriever = std::move(retriever);
  c.build_seconds = build / threads;
  c.rows_per_second = threads / row;
  c.work = build + row * static_cast<double>(t.rows);
  return c;
}

/// Items to look at for each one that is wanted.
double oversampling(double recall) {
  return std::max(1.0, std::pow(kMissed / (1.0 - recall), 1.0 / kDecay));
}

void add_ivf(const RetrievalTask& t, std::vector<RetrieverCost>& costs) {
  const auto n = static_cast<double>(t.num_items);
  std::uint64_t last = 0;
  for (const double of_root : {0.5, 1.0, 2.0, 4.0}) {
    const double lists = std::exp2(std::round(std::log2(of_root * std::sqrt(n))));
    const auto whole = static_cast<std::uint64_t>(lists);
    if (whole < kLeastLists || lists * kLeastPerList > n || whole == last) continue;
    last = whole;
    const double probes =
        std::max(kLeastProbes, std::ceil(oversampling(t.recall) * t.depth * lists / n));
    if (probes * 2 > lists) continue;  // nearly a scan, by a slower way
    const double trained = std::min(n, kTrainingPerList * lists);
    const double build = operations(t, lists * (kKmeansRounds * trained + n)) / kKmeansRate;
    const double row = kIvfRow + operations(t, lists) / kKmeansRate +
                       probes * n / lists * (kIvfItem + kIvfElement * t.dim);
    RetrieverCost c = cost(t, "IVF" + std::to_string(whole) + ",Flat", build, row);
    c.nprobe = static_cast<std::uint32_t>(probes);
    costs.push_back(std::move(c));
  }
}

/// Inner products are no distance: a graph over them loses items whatever its width.
void add_hnsw(const RetrievalTask& t, std::vector<RetrieverCost>& costs) {
  const auto n = static_cast<double>(t.num_items);
  const double width = std::ceil(oversampling(t.recall) * t.depth);
  if (t.metric == Metric::kInnerProduct || width * 2 > n) return;
  const double build = n * std::log2(n) * kHnswInsert * t.dim;
  RetrieverCost c = cost(t, "HNSW32,Flat", build, kIvfRow + width * kHnswVisit * t.dim);
  c.ef_search = static_cast<std::uint32_t>(width);
  c.build_seconds = build;
  c.work += build * (kThreadsKeptWaiting - 1);
  costs.push_back(std::move(c));
}

std::string words(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g s", seconds);
  return text;
}

std::string words_of(const RetrievalTask& t, const RetrieverCost& c) {
  const double search = static_cast<double>(t.rows) / c.rows_per_second;
  return c.exact ? words(search)
                 : words(c.build_seconds) + " to build and " + words(search) + " to search";
}

}  // namespace

std::vector<RetrieverCost> retriever_costs(const RetrievalTask& t) {
  const double scan = operations(t, static_cast<double>(t.num_items));
  std::vector<RetrieverCost> costs = {cost(t, "exact", 0, kExactRow + scan / kExactRate)};
  costs.back().exact = true;
  if (!t.faiss) return costs;
  costs.push_back(cost(t, "Flat", 0, kFlatRow + scan / kFlatRate));
  costs.back().exact = true;
  if (t.recall >= 1) return costs;
  add_ivf(t, costs);
  add_hnsw(t, costs);
  return costs;
}

RetrieverChoice choose_retriever(const RetrievalTask& t) {
  if (!(t.recall > 0 && t.recall <= 1)) throw ConfigError("a recall must be above 0 and at most 1");
  const std::vector<RetrieverCost> costs = retriever_costs(t);
  const RetrieverCost& exact = costs.front();
  if (t.recall >= 1) {
    return {exact,
            "all nearest items are wanted, and quarry's own scan has been the fastest exact "
            "way wherever it was measured"};
  }
  if (!t.faiss) return {exact, "this build has no FAISS, and without it no approximate index"};
  if (t.device == Device::kCuda) return {exact, "no approximate index has been measured on a GPU"};
  if (t.rows == 0)
    return {exact, "it is not known how many rows there will be to pay for building an index"};
  const RetrieverCost* best = nullptr;
  for (const RetrieverCost& c : costs) {
    if (!c.exact && (best == nullptr || c.work < best->work)) best = &c;
  }
  if (best == nullptr) {
    return {exact, "an index would have to look at nearly all of the " +
                       std::to_string(t.num_items) + " items to find " + std::to_string(t.depth) +
                       " of each row"};
  }
  const std::string both = best->retriever + " would take " + words_of(t, *best) +
                           ", the exact scan " + words_of(t, exact);
  if (best->work * kAdvantage >= exact.work)
    return {exact, std::to_string(t.rows) + " rows do not pay for an index: " + both};
  return {*best, std::to_string(t.rows) + " rows pay for an index: " + both};
}

}  // namespace quarry

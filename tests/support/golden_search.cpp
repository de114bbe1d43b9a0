// Golden cases of searches: the exact retriever on tables whose ties make it search again, and the
// steps that only indexes of others need.
#include <algorithm>

#include "host/mine/placement.h"
#include "index/retriever.h"
#include "kernels/certify/certify.h"
#include "tests/support/golden_cases.h"
#include "tests/support/problems.h"

namespace quarry::test {
namespace {

constexpr std::uint32_t kItems = 3400;
constexpr std::uint32_t kQueries = 6;
constexpr std::uint32_t kDepths[] = {31, 33, 65, 1025, 2048};

/// An array that starts as a pattern, so that what nobody writes is the same everywhere.
template <class T>
T* start(TileArray<T>& array, const Exec& exec, std::size_t count) {
  array.resize(exec, count);
  std::fill_n(array.host(), count, static_cast<T>(77));
  array.push(exec);
  return array.at(exec);
}
template <class T>
void finish(GoldenHash& hash, TileArray<T>& array, const Exec& exec) {
  array.pull(exec);
  synchronize(exec);
  hash.add(array.host(), array.size() * sizeof(T));
}

struct Hashes {
  GoldenHash inputs, ids, scores, reasons;
};

void search(Hashes& out, const TestWorld& w, Metric metric, std::uint32_t k, const Exec& exec) {
  Placement placement(exec);
  std::vector<float> items(w.items.size()), queries(w.users.size());
  const bool unit = metric == Metric::kCosine;
  prepare_rows(w.inputs.items, 0, kItems, unit, items.data());
  prepare_rows(w.inputs.users, 0, kQueries, unit, queries.data());
  ItemTable table{items.data(), kItems, w.inputs.items.dim, metric};
  if (exec.device == Device::kCuda)
    table.device_rows = placement.borrow(items.data(), items.size());
  TileArray<std::uint32_t> found, count;
  TileArray<float> scores;
  TileArray<std::uint8_t> complete, certified;
  const std::size_t places = std::size_t{kQueries} * k;
  const SearchResult result{start(found, exec, places), start(scores, exec, places),
                            start(count, exec, kQueries), start(complete, exec, kQueries),
                            start(certified, exec, kQueries)};
  const auto retriever = make_exact_retriever(table);
  retriever->search(exec, placement.borrow(queries.data(), queries.size()), kQueries, k, result);
  finish(out.ids, found, exec);
  finish(out.scores, scores, exec);
  finish(out.reasons, count, exec);
  finish(out.reasons, complete, exec);  // how it was proven is search cost, and no result
}

/// Answers as an index gives them: signed numbers, some missing, scores with ties.
void label(Hashes& out, std::uint64_t number, std::uint32_t depth, bool negate, const Exec& exec) {
  Rng rng{number * 977 + 5};
  const std::size_t places = std::size_t{kQueries} * depth;
  std::vector<std::int64_t> labels(places);
  std::vector<float> distances(places);
  for (std::size_t i = 0; i < places; ++i) {
    labels[i] = rng.chance(10) ? -1 : static_cast<std::int64_t>(rng.in(0, kItems - 1));
    distances[i] = static_cast<float>(rng.in(0, 40)) / 4.0f - 5.0f;
  }
  out.inputs.add(labels);
  out.inputs.add(distances);
  Placement placement(exec);
  TileArray<std::uint64_t> keys;
  TileArray<std::uint32_t> count;
  TileArray<float> cut;
  TileArray<std::uint8_t> left_out;
  LabelArgs args;
  args.labels = placement.borrow(labels.data(), places);
  args.distances = placement.borrow(distances.data(), places);
  args.num_lists = kQueries;
  args.depth = depth;
  args.num_items = kItems;
  args.negate = negate;
  args.keys = start(keys, exec, places);
  args.count = start(count, exec, kQueries);
  args.cut = start(cut, exec, kQueries);
  args.left_out = start(left_out, exec, kQueries);
  label_keys(exec, args);
  finish(out.ids, keys, exec);
  finish(out.scores, cut, exec);
  finish(out.reasons, count, exec);
  finish(out.reasons, left_out, exec);
}

void gather(Hashes& out, const TestWorld& w, std::uint64_t number, const Exec& exec) {
  const std::vector<std::uint32_t> rows = {5, 0, static_cast<std::uint32_t>(number % kQueries), 3};
  const std::uint32_t dim = w.inputs.users.dim;
  Placement placement(exec);
  TileArray<float> gathered;
  float* to = start(gathered, exec, rows.size() * dim);
  gather_queries(exec, placement.borrow(w.users.data(), w.users.size()), dim,
                 placement.borrow(rows.data(), rows.size()),
                 static_cast<std::uint32_t>(rows.size()), to);
  finish(out.scores, gathered, exec);
}

}  // namespace

GoldenHashes run_search(std::uint64_t number, const Exec& exec) {
  const auto metric = static_cast<Metric>(number % 3);
  const std::uint32_t depth = kDepths[number / 3 % 5];
  WorldShape shape{.users = kQueries, .items = kItems, .dim = 20, .rows_per_user = 1};
  shape.ties = number / 15 % 2 == 1;
  shape.seed = static_cast<std::uint32_t>(31000 + number);
  const auto w = make_world(shape);
  if (number % 2 == 1) w->items[20 * 100] = 1e6f;  // outside of the bound: an item of its own
  Hashes out;
  out.inputs.add(w->items);
  out.inputs.add(w->users);
  search(out, *w, metric, depth, exec);
  label(out, number, depth, metric == Metric::kL2, exec);
  gather(out, *w, number, exec);
  return {out.inputs.text(), out.ids.text(), out.scores.text(), out.reasons.text()};
}

}  // namespace quarry::test

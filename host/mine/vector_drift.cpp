// How far embeddings moved between two models.
#include "host/mine/vector_drift.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "index/retriever.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

std::vector<float> prepared(const MatrixView& table, std::uint64_t rows, bool unit,
                            const Exec& exec) {
  std::vector<float> out(rows * table.dim);
  parallel_for(exec, rows, 1024, [&](std::uint64_t begin, std::uint64_t end) {
    prepare_rows(table, begin, end, unit, out.data() + begin * table.dim);
  });
  return out;
}

/// Sorted nearest items of each sampled user.
std::vector<std::vector<std::uint32_t>> nearest(const MatrixView& items, const MatrixView& users,
                                                const std::vector<std::uint64_t>& sample,
                                                std::uint64_t num_items, std::uint32_t depth,
                                                Metric metric, const Exec& exec) {
  if (items.dim != users.dim) {
    throw InputError("items of " + std::to_string(items.dim) + " dimensions and users of " +
                     std::to_string(users.dim) + " are not of one model");
  }
  const bool unit = metric == Metric::kCosine;
  const std::vector<float> rows = prepared(items, num_items, unit, exec);
  std::vector<float> queries(sample.size() * users.dim);
  for (std::size_t q = 0; q < sample.size(); ++q)
    prepare_rows(users, sample[q], sample[q] + 1, unit, queries.data() + q * users.dim);
  ItemTable table;
  table.rows = rows.data();
  table.num_items = static_cast<std::uint32_t>(num_items);
  table.dim = items.dim;
  table.metric = metric;
  const auto retriever = make_exact_retriever(table);
  const auto num_queries = static_cast<std::uint32_t>(sample.size());
  std::vector<std::uint32_t> item(sample.size() * depth), count(sample.size());
  std::vector<float> score(sample.size() * depth);
  std::vector<std::uint8_t> complete(sample.size());
  retriever->search(exec, queries.data(), num_queries, depth,
                    {item.data(), score.data(), count.data(), complete.data(), nullptr, nullptr});
  std::vector<std::vector<std::uint32_t>> lists;
  for (std::size_t q = 0; q < sample.size(); ++q) {
    const auto begin = item.begin() + static_cast<std::ptrdiff_t>(q * depth);
    lists.emplace_back(begin, begin + count[q]);
    std::sort(lists.back().begin(), lists.back().end());
  }
  return lists;
}

std::optional<double> mean_cosine(const MatrixView& then, const MatrixView& now,
                                  std::uint64_t rows) {
  if (then.dim != now.dim) return std::nullopt;
  std::vector<float> a(then.dim), b(now.dim);
  double sum = 0;
  std::uint64_t counted = 0;
  const std::uint64_t step = std::max<std::uint64_t>(rows / 10000, 1);
  for (std::uint64_t i = 0; i < rows; i += step) {
    prepare_rows(then, i, i + 1, true, a.data());
    prepare_rows(now, i, i + 1, true, b.data());
    double dot = 0, norm_a = 0, norm_b = 0;
    for (std::uint32_t d = 0; d < then.dim; ++d) {
      dot += double{a[d]} * b[d];
      norm_a += double{a[d]} * a[d];
      norm_b += double{b[d]} * b[d];
    }
    if (!(norm_a > 0.5) || !(norm_b > 0.5) || !std::isfinite(dot)) continue;
    sum += dot;
    ++counted;
  }
  if (counted == 0) return std::nullopt;
  return sum / static_cast<double>(counted);
}

}  // namespace

VectorDrift measure_vector_drift(const MatrixView& items_then, const MatrixView& users_then,
                                 const MatrixView& items_now, const MatrixView& users_now,
                                 Metric metric, const Exec& exec, std::uint32_t sample,
                                 std::uint32_t depth) {
  const std::uint64_t items = std::min(items_then.rows, items_now.rows);
  const std::uint64_t users = std::min(users_then.rows, users_now.rows);
  VectorDrift drift;
  drift.depth = static_cast<std::uint32_t>(std::min<std::uint64_t>(depth, items));
  drift.users = static_cast<std::uint32_t>(std::min<std::uint64_t>(sample, users));
  if (drift.depth == 0 || drift.users == 0) return drift;
  std::vector<std::uint64_t> chosen;
  for (std::uint64_t i = 0; i < drift.users; ++i) chosen.push_back(i * users / drift.users);
  Exec host = exec;
  host.device = Device::kCpu;
  const auto then = nearest(items_then, users_then, chosen, items, drift.depth, metric, host);
  const auto now = nearest(items_now, users_now, chosen, items, drift.depth, metric, host);
  double sum = 0, squares = 0;
  for (std::size_t q = 0; q < chosen.size(); ++q) {
    std::vector<std::uint32_t> both;
    std::set_intersection(then[q].begin(), then[q].end(), now[q].begin(), now[q].end(),
                          std::back_inserter(both));
    const double share = static_cast<double>(both.size()) / drift.depth;
    sum += share;
    squares += share * share;
  }
  const double n = drift.users;
  drift.overlap = sum / n;
  const double variance = n > 1 ? std::max(0.0, (squares - sum * sum / n) / (n - 1)) : 0;
  const double margin = 1.96 * std::sqrt(variance / n);
  drift.low = std::max(0.0, drift.overlap - margin);
  drift.high = std::min(1.0, drift.overlap + margin);
  drift.mean_cosine = mean_cosine(items_then, items_now, items);
  return drift;
}

}  // namespace quarry

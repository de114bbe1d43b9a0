// What a retriever ranks first for rows, before any filter.
#include "host/mine/rank.h"

#include <algorithm>

#include "kernels/core/buffer.h"

namespace quarry {
namespace {

/// Bytes of items and scores of one search.
constexpr std::uint64_t kListBytes = 16ull << 20;

}  // namespace

void rank_rows(const Exec& exec, Retriever& retriever, const Compiled& compiled,
               const MinerInputs& inputs, const RowsView& rows, std::uint32_t k,
               std::vector<std::uint32_t>& items, std::vector<std::uint32_t>& count) {
  const std::uint32_t dim = compiled.world.dim;
  const bool unit = compiled.world.metric == Metric::kCosine;
  items.resize(rows.num_rows * k);
  count.resize(rows.num_rows);
  if (rows.num_rows == 0) return;
  const std::uint64_t step = std::clamp<std::uint64_t>(
      kListBytes / (std::max(k, 1u) * (sizeof(std::uint32_t) + sizeof(float))), 1,
      std::min<std::uint64_t>(rows.num_rows, 4096));
  std::vector<float> vectors(step * dim);
  ExecBuffer<float> queries, scores;
  ExecBuffer<std::uint32_t> found, counts;
  ExecBuffer<std::uint8_t> complete;
  queries.resize(exec, step * dim);
  found.resize(exec, std::max<std::uint64_t>(step * k, 1));
  scores.resize(exec, std::max<std::uint64_t>(step * k, 1));
  counts.resize(exec, step);
  complete.resize(exec, step);
  const auto take = [&exec](std::uint32_t* to, const std::uint32_t* from, std::uint64_t number) {
    if (exec.device == Device::kCuda) {
      copy_to_host(exec, to, from, number * sizeof(std::uint32_t));
    } else {
      std::copy_n(from, number, to);
    }
  };
  for (std::uint64_t first = 0; first < rows.num_rows; first += step) {
    const auto n = static_cast<std::uint32_t>(std::min(step, rows.num_rows - first));
    for (std::uint32_t i = 0; i < n; ++i) {
      const MatrixView own{rows.queries, rows.num_rows, dim, Dtype::kF32};
      const bool brought = rows.queries != nullptr;
      const std::uint64_t at =
          brought ? first + i
                  : std::min<std::uint64_t>(rows.user[first + i], inputs.users.rows - 1);
      prepare_rows(brought ? own : inputs.users, at, at + 1, unit, vectors.data() + i * dim);
    }
    copy_from_host(exec, queries.data(), vectors.data(), std::size_t{n} * dim * sizeof(float));
    retriever.search(exec, queries.data(), n, k,
                     {found.data(), scores.data(), counts.data(), complete.data(), nullptr});
    take(items.data() + first * k, found.data(), std::uint64_t{n} * k);
    take(count.data() + first, counts.data(), n);
    synchronize(exec);
  }
}

}  // namespace quarry

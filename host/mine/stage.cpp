// Rows and negatives between the caller's memory and the Exec's.
#include "host/mine/stage.h"

#include <algorithm>

namespace quarry {
namespace {

/// Copies `count` elements of a caller's host column to the Exec, or leaves it where it is.
template <class T>
const T* place_column(const Exec& exec, TileArray<T>& array, const T* host, std::size_t count) {
  if (host == nullptr || exec.device == Device::kCpu) return host;
  array.resize(exec, std::max<std::size_t>(count, 1));
  std::copy_n(host, count, array.host());
  array.push(exec);
  return array.at(exec);
}

/// A column of the Exec's memory for an output that the caller keeps elsewhere or not at all.
template <class T>
T* own_column(const Exec& exec, TileArray<T>& array, std::size_t count) {
  array.resize(exec, count);
  return array.at(exec);
}

}  // namespace

/// move(stage's array, the batch's column, elements).
template <class Move>
void HostStage::for_each_column(NegativeBatch& b, Move&& move) {
  const std::size_t slots = std::size_t{b.num_rows} * b.k;
  move(item_, b.item, slots), move(raw_rank_, b.raw_rank, slots);
  move(survivor_rank_, b.survivor_rank, slots), move(stratum_, b.stratum, slots);
  move(score_, b.score, slots), move(logq_, b.logq, slots);
  move(branch_, b.branch, slots), move(fill_, b.fill, slots);
  move(kappa_, b.kappa, std::size_t{b.num_rows} * b.num_branches);
  move(positive_min_, b.positive_min, b.num_rows), move(certified_, b.certified, b.num_rows);
  move(count_, b.count, b.num_rows), move(floor_, b.floor, b.num_rows);
}

TileJob HostStage::load(const Exec& exec, const RowsView& rows, std::uint64_t first,
                        std::uint32_t count, std::uint32_t dim, NegativeBatch& out) {
  TileJob job;
  job.rows.num_rows = count;
  job.rows.pools = rows.pools;
  job.host_user = rows.user != nullptr ? rows.user + first : nullptr;
  job.rows.key = place_column(exec, key_, rows.key + first, count);
  job.rows.user = place_column(exec, user_, job.host_user, count);
  if (rows.time != nullptr) job.rows.time = place_column(exec, time_, rows.time + first, count);
  if (rows.segment != nullptr)
    job.rows.segment = place_column(exec, segment_, rows.segment + first, count);
  if (rows.queries != nullptr) {
    job.rows.queries =
        place_column(exec, queries_, rows.queries + first * dim, std::size_t{count} * dim);
  }
  if (rows.positive_offsets != nullptr) {
    job.host_positive_offsets = rows.positive_offsets + first;
    job.host_positives = rows.positives;
    job.rows.positive_offsets =
        place_column(exec, positive_offsets_, job.host_positive_offsets, std::size_t{count} + 1);
    if (exec.device == Device::kCpu) {
      job.rows.positives = rows.positives;
    } else {  // only the tile's part travels: its offsets begin at 0
      const std::uint64_t base = job.host_positive_offsets[0];
      for (std::uint32_t i = 0; i <= count; ++i) positive_offsets_.host()[i] -= base;
      positive_offsets_.push(exec);
      job.rows.positives =
          place_column(exec, positives_, rows.positives + base,
                       static_cast<std::size_t>(job.host_positive_offsets[count] - base));
    }
  }
  for_each_column(out, [&](auto& array, auto& column, std::size_t n) {
    column.resize(n);
    if (exec.device == Device::kCuda) own_column(exec, array, n);
  });
  if (exec.device == Device::kCpu) {
    job.out = {out.item.data(),     out.score.data(),         out.branch.data(),
               out.raw_rank.data(), out.survivor_rank.data(), out.stratum.data(),
               out.logq.data(),     out.fill.data(),          out.count.data(),
               out.kappa.data(),    out.positive_min.data(),  out.certified.data(),
               out.floor.data()};
  } else {
    job.out = {item_.at(exec),     score_.at(exec),         branch_.at(exec),
               raw_rank_.at(exec), survivor_rank_.at(exec), stratum_.at(exec),
               logq_.at(exec),     fill_.at(exec),          count_.at(exec),
               kappa_.at(exec),    positive_min_.at(exec),  certified_.at(exec),
               floor_.at(exec)};
  }
  return job;
}

void HostStage::store(const Exec& exec, NegativeBatch& out) {
  if (exec.device == Device::kCpu) return;
  for_each_column(out, [&](auto& array, auto&, std::size_t) { array.pull(exec); });
  synchronize(exec);
  for_each_column(out, [&](auto& array, auto& column, std::size_t n) {
    std::copy_n(array.host(), n, column.begin());
  });
}

TileJob CallerStage::load(const Exec& exec, const RowsView& rows, const Picks& out, std::uint32_t k,
                          std::uint32_t num_branches, bool needs_positives) {
  TileJob job;
  job.rows = rows;
  job.out = out;
  const auto n = static_cast<std::size_t>(rows.num_rows);
  const auto keep = [&](auto*& column, auto& array, std::size_t count) {
    if (column == nullptr) column = own_column(exec, array, count);
  };
  keep(job.out.item, item_, n * k), keep(job.out.score, score_, n * k);
  keep(job.out.branch, branch_, n * k), keep(job.out.raw_rank, raw_rank_, n * k);
  keep(job.out.survivor_rank, survivor_rank_, n * k), keep(job.out.stratum, stratum_, n * k);
  keep(job.out.logq, logq_, n * k), keep(job.out.fill, fill_, n * k);
  keep(job.out.count, count_, n), keep(job.out.kappa, kappa_, n * num_branches);
  keep(job.out.positive_min, positive_min_, n), keep(job.out.certified, certified_, n);
  if (exec.device == Device::kCpu) {
    job.host_user = rows.user;
    job.host_positive_offsets = rows.positive_offsets;
    job.host_positives = rows.positives;
    return job;
  }
  if (Tile::needs_users(rows)) {
    user_.resize({}, n);
    copy_to_host(exec, user_.data(), rows.user, n * sizeof(std::uint32_t));
    job.host_user = user_.data();
  }
  if (needs_positives && rows.positive_offsets != nullptr) {
    positive_offsets_.resize({}, n + 1);
    copy_to_host(exec, positive_offsets_.data(), rows.positive_offsets,
                 (n + 1) * sizeof(std::uint64_t));
    synchronize(exec);
    const std::uint64_t total = positive_offsets_.data()[n];
    positives_.resize({}, total);
    copy_to_host(exec, positives_.data(), rows.positives, total * sizeof(std::uint32_t));
    job.host_positive_offsets = positive_offsets_.data();
    job.host_positives = positives_.data();
  }
  synchronize(exec);
  return job;
}

}  // namespace quarry

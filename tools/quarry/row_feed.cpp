// Feeding rows to the Miner.
#include "tools/quarry/row_feed.h"

#include <algorithm>
#include <limits>
#include <string>

#include "kernels/core/ids.h"

namespace quarry {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// One row without negatives.
NegativeBatch bad_row(std::uint64_t row, std::uint32_t k, std::uint32_t num_branches) {
  NegativeBatch b;
  b.first_row = row;
  b.num_rows = 1;
  b.k = k;
  b.num_branches = num_branches;
  b.item.assign(k, kNoItem);
  for (auto* column : {&b.raw_rank, &b.survivor_rank, &b.stratum}) column->assign(k, 0);
  for (auto* column : {&b.score, &b.logq}) column->assign(k, kNan);
  b.kappa.assign(num_branches, kNan);
  b.positive_min.assign(1, kNan);
  b.branch.assign(k, 0xFF);
  b.fill.assign(k, static_cast<std::uint8_t>(FillCode::kBadRow));
  b.certified.assign(1, 0);
  b.count.assign(1, 0);
  return b;
}

/// Rows [begin, end) of a batch.
NegativeBatch slice(const NegativeBatch& batch, std::uint32_t begin, std::uint32_t end,
                    std::uint64_t first_row) {
  NegativeBatch part;
  part.first_row = first_row;
  part.num_rows = end - begin;
  part.k = batch.k;
  part.num_branches = batch.num_branches;
  const auto cut = [&](auto& to, const auto& from, std::uint64_t width) {
    to.assign(from.begin() + static_cast<std::ptrdiff_t>(begin * width),
              from.begin() + static_cast<std::ptrdiff_t>(end * width));
  };
  cut(part.item, batch.item, batch.k);
  cut(part.raw_rank, batch.raw_rank, batch.k);
  cut(part.survivor_rank, batch.survivor_rank, batch.k);
  cut(part.stratum, batch.stratum, batch.k);
  cut(part.score, batch.score, batch.k);
  cut(part.logq, batch.logq, batch.k);
  cut(part.kappa, batch.kappa, batch.num_branches);
  cut(part.positive_min, batch.positive_min, 1);
  cut(part.branch, batch.branch, batch.k);
  cut(part.fill, batch.fill, batch.k);
  cut(part.certified, batch.certified, 1);
  cut(part.count, batch.count, 1);
  return part;
}

}  // namespace

RowFeed::RowFeed(const Inputs& inputs, Miner& miner, std::uint32_t k, std::uint64_t begin,
                 std::uint64_t end)
    : inputs_(inputs), miner_(miner), k_(k), begin_(begin), end_(end) {
  if (!inputs.bad_users.empty() || !inputs.bad_rows.empty()) {
    for (std::uint64_t row = begin; row < end; ++row) {
      if (inputs.is_bad_row(row)) bad_.push_back(row - begin);
    }
  }
  if (!inputs.rows.segment.empty()) {
    segment_.reserve(end - begin);
    for (std::uint64_t row = begin; row < end; ++row) {
      segment_.push_back(miner.segment_code(inputs.rows.segment[row]));
    }
  }
}

RowsView RowFeed::direct_view() {
  const RowTable& rows = inputs_.rows;
  RowsView view;
  view.num_rows = end_ - begin_;
  view.key = rows.key.data() + begin_;
  view.user = rows.user.data() + begin_;
  view.time = rows.time.data() + begin_;
  view.segment = segment_.empty() ? nullptr : segment_.data();
  view.positive_offsets = rows.positive_offsets.data() + begin_;
  view.positives = rows.positives.data();
  return view;
}

RowsView RowFeed::compacted_view() {
  const RowTable& rows = inputs_.rows;
  offsets_.assign(1, 0);
  std::size_t next = 0;
  for (std::uint64_t row = begin_; row < end_; ++row) {
    if (next < bad_.size() && bad_[next] == row - begin_) {
      ++next;
      continue;
    }
    key_.push_back(rows.key[row]);
    user_.push_back(rows.user[row]);
    time_.push_back(rows.time[row]);
    if (!segment_.empty()) kept_segment_.push_back(segment_[row - begin_]);
    positives_.insert(
        positives_.end(),
        rows.positives.begin() + static_cast<std::ptrdiff_t>(rows.positive_offsets[row]),
        rows.positives.begin() + static_cast<std::ptrdiff_t>(rows.positive_offsets[row + 1]));
    offsets_.push_back(positives_.size());
  }
  RowsView view;
  view.num_rows = key_.size();
  view.key = key_.data();
  view.user = user_.data();
  view.time = time_.data();
  view.segment = kept_segment_.empty() ? nullptr : kept_segment_.data();
  view.positive_offsets = offsets_.data();
  view.positives = positives_.data();
  return view;
}

void RowFeed::mine(const std::function<void(const NegativeBatch&)>& sink,
                   const std::atomic<bool>* stop) {
  if (bad_.empty()) {
    if (end_ > begin_) miner_.mine(direct_view(), sink, stop);
    return;
  }
  std::uint64_t row = 0;  // next place in the range
  std::size_t next = 0;   // next bad row
  const std::uint32_t k = k_;
  const auto branches = static_cast<std::uint32_t>(miner_.branch_names().size());
  const auto emit_bad = [&] {
    while (next < bad_.size() && bad_[next] == row) {
      sink(bad_row(row, k, branches));
      ++next;
      ++row;
    }
  };
  emit_bad();
  const RowsView view = compacted_view();
  if (view.num_rows > 0) {
    miner_.mine(
        view,
        [&](const NegativeBatch& batch) {
          std::uint32_t at = 0;
          while (at < batch.num_rows) {
            const std::uint64_t until = next < bad_.size() ? bad_[next] - row : batch.num_rows;
            const auto end =
                static_cast<std::uint32_t>(std::min<std::uint64_t>(batch.num_rows, at + until));
            sink(slice(batch, at, end, row));
            row += end - at;
            at = end;
            emit_bad();
          }
        },
        stop);
  }
  emit_bad();
}

}  // namespace quarry

// Feeding rows to the Miner.
#include "tools/quarry/row_feed.h"

#include <algorithm>
#include <limits>
#include <string>

#include "kernels/core/ids.h"

namespace quarry {
namespace {

/// Rows held at a time, rounded up to tiles.
constexpr std::uint64_t kBlockRows = 65536;
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

std::vector<std::uint32_t> segment_codes(const RowTable& rows, const Miner& miner) {
  std::vector<std::uint32_t> of_name;
  of_name.reserve(rows.segment_names.size());
  for (const std::string& name : rows.segment_names) of_name.push_back(miner.segment_code(name));
  std::vector<std::uint32_t> codes;
  codes.reserve(rows.segment.size());
  for (const std::uint32_t place : rows.segment) codes.push_back(of_name[place]);
  return codes;
}

RowsView view_of(const RowTable& rows, const std::vector<std::uint32_t>& segments) {
  RowsView view;
  view.num_rows = rows.size();
  view.key = rows.key.data();
  view.user = rows.user.data();
  view.time = rows.time.data();
  view.segment = segments.empty() ? nullptr : segments.data();
  view.positive_offsets = rows.positive_offsets.data();
  view.positives = rows.positives.data();
  return view;
}

RowFeed::RowFeed(const Inputs& inputs, Miner& miner, std::uint32_t k, std::uint64_t begin,
                 std::uint64_t end)
    : inputs_(inputs), miner_(miner), k_(k), begin_(begin), end_(end) {}

void RowFeed::mine(const Sink& sink, const std::atomic<bool>* stop) {
  // Whole tiles, so that blocks cut no tile short.
  const std::uint64_t tile = std::max<std::uint64_t>(1, miner_.plan(end_ - begin_).tile_rows);
  const std::uint64_t rows = (kBlockRows + tile - 1) / tile * tile;
  at_ = bad_rows_ = unknown_segments_ = 0;
  while (begin_ + at_ < end_) {
    inputs_.rows.read(begin_ + at_, std::min(rows, end_ - begin_ - at_), block_);
    mine_block(sink, stop);
    at_ += block_.size();
  }
}

void RowFeed::leave_out_bad_rows() {
  bad_.clear();
  for (std::uint64_t row = 0; row < block_.size() && !inputs_.bad_users.empty(); ++row) {
    if (inputs_.is_bad_user(block_.user[row])) bad_.push_back(row);
  }
  // Rows whose every positive was dropped: nothing would keep hard negatives from being positives.
  const std::size_t by_user = bad_.size();
  bad_.insert(bad_.end(), block_.bare.begin(), block_.bare.end());
  std::inplace_merge(bad_.begin(), bad_.begin() + static_cast<std::ptrdiff_t>(by_user), bad_.end());
  bad_.erase(std::unique(bad_.begin(), bad_.end()), bad_.end());
  bad_rows_ += bad_.size();
  if (bad_.empty()) return;
  kept_.clear();
  kept_.segment_names = block_.segment_names;
  std::size_t next = 0;
  for (std::uint64_t row = 0; row < block_.size(); ++row) {
    if (next < bad_.size() && bad_[next] == row) {
      ++next;
      continue;
    }
    kept_.key.push_back(block_.key[row]);
    kept_.user.push_back(block_.user[row]);
    kept_.time.push_back(block_.time[row]);
    if (!block_.segment.empty()) kept_.segment.push_back(block_.segment[row]);
    kept_.positives.insert(
        kept_.positives.end(),
        block_.positives.begin() + static_cast<std::ptrdiff_t>(block_.positive_offsets[row]),
        block_.positives.begin() + static_cast<std::ptrdiff_t>(block_.positive_offsets[row + 1]));
    kept_.positive_offsets.push_back(kept_.positives.size());
  }
}

void RowFeed::mine_block(const Sink& sink, const std::atomic<bool>* stop) {
  leave_out_bad_rows();
  std::uint64_t row = 0;  // next place in the block
  std::size_t next = 0;   // next bad row
  const auto branches = static_cast<std::uint32_t>(miner_.branch_names().size());
  const auto emit = [&](const NegativeBatch& batch) {
    sink(batch, at_ + row,
         {block_.key.data() + row, block_.user.data() + row, block_.time.data() + row,
          block_.positive_offsets.data() + row, block_.positives.data()});
    row += batch.num_rows;
  };
  const auto emit_bad = [&] {
    for (; next < bad_.size() && bad_[next] == row; ++next) emit(bad_row(at_ + row, k_, branches));
  };
  const auto emit_mined = [&](const NegativeBatch& batch) {
    if (bad_.empty()) return emit(batch);
    std::uint32_t at = 0;
    while (at < batch.num_rows) {
      const std::uint64_t until = next < bad_.size() ? bad_[next] - row : batch.num_rows;
      const auto end =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(batch.num_rows, at + until));
      emit(slice(batch, at, end, at_ + row));
      at = end;
      emit_bad();
    }
  };
  const RowTable& rows = bad_.empty() ? block_ : kept_;
  const std::vector<std::uint32_t> segments = segment_codes(rows, miner_);
  unknown_segments_ +=
      segments.empty()
          ? rows.size()
          : static_cast<std::uint64_t>(std::count(segments.begin(), segments.end(), 0u));
  emit_bad();
  if (rows.size() > 0) miner_.mine(view_of(rows, segments), emit_mined, stop);
  emit_bad();
}

}  // namespace quarry

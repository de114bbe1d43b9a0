// Feeding rows to the Miner.
#include "tools/quarry/row_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

/// Rows held at a time, rounded up to tiles.
constexpr std::uint64_t kBlockRows = 65536;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Rows taken over at a time.
constexpr std::size_t kTakeRows = 4096;
/// RowFeed::Special::place of a row that is left out.
constexpr std::uint64_t kBad = ~std::uint64_t{0};

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
  b.floor.assign(1, std::numeric_limits<float>::infinity());
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
  cut(part.floor, batch.floor, 1);
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
                 std::uint64_t end, const Dependence* dependence, const TakeOver* takeover)
    : inputs_(inputs),
      miner_(miner),
      k_(k),
      begin_(begin),
      end_(end),
      dependence_(dependence),
      takeover_(takeover) {}

void RowFeed::each_block(const std::atomic<bool>* stop, const std::function<void()>& visit) {
  // Whole tiles, so that blocks cut no tile short.
  const std::uint64_t tile = std::max<std::uint64_t>(1, miner_.plan(end_ - begin_).tile_rows);
  const std::uint64_t rows = (kBlockRows + tile - 1) / tile * tile;
  at_ = bad_rows_ = unknown_segments_ = 0;
  taken_ = {};
  while (begin_ + at_ < end_) {
    if (stop != nullptr && stop->load()) throw Cancelled("stopped");
    inputs_.rows.read(begin_ + at_, std::min(rows, end_ - begin_ - at_), block_);
    find_bad_rows();
    find_standing_rows();
    visit();
    at_ += block_.size();
  }
}

void RowFeed::mine(const Sink& sink, const std::atomic<bool>* stop) {
  each_block(stop, [&] {
    collect_rows_to_mine();
    mine_block(sink, stop);
  });
}

std::uint64_t RowFeed::count_to_mine(const std::atomic<bool>* stop) {
  std::uint64_t rows = 0;
  each_block(stop, [&] { rows += block_.size() - special_.size(); });
  return rows;
}

void RowFeed::find_bad_rows() {
  std::vector<std::uint64_t> bad;
  for (std::uint64_t row = 0; row < block_.size() && !inputs_.bad_users.empty(); ++row) {
    if (inputs_.is_bad_user(block_.user[row])) bad.push_back(row);
  }
  // Rows whose every positive was dropped: nothing would keep hard negatives from being positives.
  const std::size_t by_user = bad.size();
  bad.insert(bad.end(), block_.bare.begin(), block_.bare.end());
  std::inplace_merge(bad.begin(), bad.begin() + static_cast<std::ptrdiff_t>(by_user), bad.end());
  bad.erase(std::unique(bad.begin(), bad.end()), bad.end());
  bad_rows_ += bad.size();
  special_.clear();
  for (const std::uint64_t row : bad) special_.push_back({row, kBad});
}

/// Hashes what the rows depend on, and asks which of them come out as they did.
void RowFeed::find_standing_rows() {
  if (dependence_ == nullptr) return;
  const std::uint64_t rows = block_.size();
  std::vector<RowFacts> facts(rows);
  for (std::uint64_t r = 0; r < rows; ++r) {
    facts[r].user = block_.user[r];
    facts[r].time = block_.time[r];
    if (!block_.segment.empty()) facts[r].segment = block_.segment_names[block_.segment[r]];
    const std::uint64_t begin = block_.positive_offsets[r];
    facts[r].positives = {block_.positives.data() + begin, block_.positive_offsets[r + 1] - begin};
  }
  for (const Special& bad : special_) facts[bad.row].unusable = true;
  depends_.resize(rows);
  parallel_for(dependence_->exec(), rows, 1024, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t r = begin; r < end; ++r) depends_[r] = dependence_->of_row(facts[r]);
  });
  if (takeover_ == nullptr) return;

  std::vector<std::uint64_t> row_of, place, depends_then, depends_now;
  std::vector<RowFacts> known;
  std::vector<float> floor;
  for (std::uint64_t r = 0; r < rows; ++r) {
    if (facts[r].unusable) continue;
    const std::optional<std::uint64_t> found = takeover_->from->find(block_.key[r]);
    if (!found) continue;
    const RowBasis basis = takeover_->from->row(*found);
    row_of.push_back(r);
    place.push_back(*found);
    depends_then.push_back(basis.depends);
    depends_now.push_back(depends_[r]);
    floor.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(basis.floor_bits)));
    known.push_back(facts[r]);
  }
  std::vector<std::uint8_t> stands(known.size());
  takeover_->reuse->judge({known.data(), depends_then.data(), depends_now.data(), floor.data()},
                          known.size(), stands.data());
  std::vector<Special> all;
  std::size_t bad = 0;
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (stands[i] == 0) continue;
    while (bad < special_.size() && special_[bad].row < row_of[i]) all.push_back(special_[bad++]);
    all.push_back({row_of[i], place[i]});
  }
  all.insert(all.end(), special_.begin() + static_cast<std::ptrdiff_t>(bad), special_.end());
  special_ = std::move(all);
}

void RowFeed::collect_rows_to_mine() {
  if (special_.empty()) return;
  kept_.clear();
  kept_.segment_names = block_.segment_names;
  std::size_t next = 0;
  for (std::uint64_t row = 0; row < block_.size(); ++row) {
    if (next < special_.size() && special_[next].row == row) {
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

/// Special rows first .. first + count - 1, which are taken over, as they stand in the version.
NegativeBatch RowFeed::take(std::size_t first, std::size_t count) {
  const NegativeSet& set = takeover_->from->set();
  NegativeBatch b;
  b.first_row = at_ + special_[first].row;
  b.num_rows = static_cast<std::uint32_t>(count);
  b.k = k_;
  b.num_branches = static_cast<std::uint32_t>(set.schema().branches.size());
  taken_.strata.resize(set.schema().strata.size());
  const auto append = [](auto& to, const auto* from, std::size_t n) {
    to.insert(to.end(), from, from + n);
  };
  for (std::size_t i = first; i < first + count; ++i) {
    const NegativeSet::Row row = set.row(special_[i].place);
    append(b.item, row.item, k_), append(b.raw_rank, row.raw_rank, k_);
    append(b.survivor_rank, row.survivor_rank, k_), append(b.stratum, row.stratum, k_);
    append(b.score, row.score, k_), append(b.logq, row.logq, k_);
    append(b.branch, row.branch, k_), append(b.fill, row.fill, k_);
    append(b.kappa, row.kappa, b.num_branches);
    b.positive_min.push_back(row.positive_min);
    b.certified.push_back(row.certified);
    b.count.push_back(row.count);
    const RowBasis basis = takeover_->from->row(special_[i].place);
    b.floor.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(basis.floor_bits)));
    Counters& c = taken_.counters;
    c.rows += 1;
    c.requested += k_;
    c.emitted += row.count;
    taken_.certified_rows += row.certified;
    for (std::uint32_t j = 0; j < k_; ++j) {
      if (row.stratum[j] >= taken_.strata.size() || row.fill[j] >= kNumFillCodes ||
          (j < row.count && row.branch[j] >= b.num_branches)) {
        throw InputError(fmt::format("{}: row {} is damaged; mine the version again",
                                     set.manifest_path(), special_[i].place));
      }
      taken_.strata[row.stratum[j]].slots[row.fill[j]] += 1;
      if (j < row.count) {
        c.branch[row.branch[j]].picked += 1;
      } else {
        c.missing[row.fill[j]] += 1;
      }
    }
  }
  return b;
}

void RowFeed::mine_block(const Sink& sink, const std::atomic<bool>* stop) {
  std::uint64_t row = 0;  // next place in the block
  std::size_t next = 0;   // next special row
  const auto branches = static_cast<std::uint32_t>(miner_.branch_names().size());
  const auto emit = [&](const NegativeBatch& batch) {
    sink(batch, at_ + row,
         {block_.key.data() + row, block_.user.data() + row, block_.time.data() + row,
          block_.positive_offsets.data() + row, block_.positives.data(),
          dependence_ != nullptr ? depends_.data() + row : nullptr});
    row += batch.num_rows;
  };
  const auto emit_special = [&] {
    while (next < special_.size() && special_[next].row == row) {
      if (special_[next].place == kBad) {
        emit(bad_row(at_ + row, k_, branches));
        ++next;
        continue;
      }
      std::size_t end = next;
      while (end < special_.size() && end - next < kTakeRows && special_[end].place != kBad &&
             special_[end].row == row + (end - next))
        ++end;
      const std::size_t first = next;
      next = end;
      emit(take(first, end - first));
    }
  };
  const auto emit_mined = [&](const NegativeBatch& batch) {
    if (special_.empty()) return emit(batch);
    std::uint32_t at = 0;
    while (at < batch.num_rows) {
      const std::uint64_t until =
          next < special_.size() ? special_[next].row - row : batch.num_rows;
      const auto end =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(batch.num_rows, at + until));
      emit(slice(batch, at, end, at_ + row));
      at = end;
      emit_special();
    }
  };
  const RowTable& rows = special_.empty() ? block_ : kept_;
  const std::vector<std::uint32_t> segments = segment_codes(rows, miner_);
  unknown_segments_ +=
      segments.empty()
          ? rows.size()
          : static_cast<std::uint64_t>(std::count(segments.begin(), segments.end(), 0u));
  emit_special();
  if (rows.size() > 0) miner_.mine(view_of(rows, segments), emit_mined, stop);
  emit_special();
}

}  // namespace quarry

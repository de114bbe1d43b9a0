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
#include "tools/quarry/set_batch.h"

namespace quarry {
namespace {

/// Rows held at a time, rounded up to tiles.
constexpr std::uint64_t kBlockRows = 65536;
/// Rows to mine that make searches large enough to end a stretch.
constexpr std::uint64_t kEnoughToMine = 16384;
/// Rows of a stretch, which are held with their positives: a kill costs what was mined of it.
constexpr std::uint64_t kStretchRows = std::uint64_t{1} << 20;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Rows taken over at a time.
constexpr std::size_t kTakeRows = 4096;
/// RowFeed::Special::place of a row that is left out, and of one that nobody asked for.
constexpr std::uint64_t kBad = ~std::uint64_t{0}, kPassedOver = kBad - 1;

std::uint64_t bytes_of(const RowTable& rows) {
  constexpr std::uint64_t kEach = 8 + 4 + 8 + 8 + 4 + 8 + 16;  // its columns, a hash, a Special
  return rows.size() * kEach + rows.positives.size() * sizeof(std::uint32_t);
}

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
                 std::uint64_t end, const Dependence* dependence, const TakeOver* takeover,
                 std::uint64_t block_rows, std::uint64_t stretch_bytes)
    : inputs_(inputs),
      miner_(miner),
      k_(k),
      begin_(begin),
      end_(end),
      dependence_(dependence),
      takeover_(takeover),
      block_rows_(block_rows),
      stretch_bytes_(stretch_bytes) {
  if (block_rows_ > 0) return;
  // Whole tiles, so that blocks cut no tile short.
  const std::uint64_t tile = std::max<std::uint64_t>(1, miner_.plan(end_ - begin_).tile_rows);
  block_rows_ = (kBlockRows + tile - 1) / tile * tile;
}

void RowFeed::mine(const Sink& sink, const std::atomic<bool>* stop) {
  while (begin_stretch(stop) > 0) mine_stretch(sink, stop);
}

std::uint64_t RowFeed::begin_stretch(const std::atomic<bool>* stop) {
  at_ += stretch_rows_;
  stretch_rows_ = 0;
  depends_.clear();
  special_.clear();
  kept_.clear();
  kept_segments_.clear();
  if (blocks_.size() > 1) blocks_.resize(1);
  whole_block_ = takeover_ == nullptr;
  std::uint64_t held = 0;
  while (begin_ + at_ + stretch_rows_ < end_) {
    if (stop != nullptr && stop->load()) throw Cancelled("stopped");
    const std::uint64_t row = begin_ + at_ + stretch_rows_;
    if (stretch_rows_ > 0 || blocks_.empty()) blocks_.emplace_back();
    inputs_.rows.read(row, std::min(block_rows_, end_ - row), blocks_.back());
    block_first_ = stretch_rows_;
    std::vector<Special> special = bad_rows_of_block();
    if (takeover_ == nullptr || takeover_->from != nullptr) bad_rows_ += special.size();
    std::vector<RowFacts> facts;
    if (dependence_ != nullptr) hash_block(special, facts);
    if (takeover_ != nullptr) {
      special =
          takeover_->to_mine != nullptr ? decided_rows(special) : standing_rows(special, facts);
    }
    if (!special.empty()) whole_block_ = false;
    if (!whole_block_) keep_rows_to_mine(special);
    special_.insert(special_.end(), special.begin(), special.end());
    stretch_rows_ += block().size();
    held += bytes_of(block());
    if (takeover_ == nullptr || rows_to_mine() >= kEnoughToMine || stretch_rows_ >= kStretchRows ||
        (stretch_bytes_ > 0 && held + bytes_of(kept_) >= stretch_bytes_))
      break;
  }
  return stretch_rows_;
}

/// Rows of users that cannot be scored, and rows whose every positive was dropped: nothing would
/// keep hard negatives from being positives.
std::vector<RowFeed::Special> RowFeed::bad_rows_of_block() const {
  std::vector<std::uint64_t> bad;
  for (std::uint64_t row = 0; row < block().size() && !inputs_.bad_users.empty(); ++row) {
    if (inputs_.is_bad_user(block().user[row])) bad.push_back(row);
  }
  const std::size_t by_user = bad.size();
  bad.insert(bad.end(), block().bare.begin(), block().bare.end());
  std::inplace_merge(bad.begin(), bad.begin() + static_cast<std::ptrdiff_t>(by_user), bad.end());
  bad.erase(std::unique(bad.begin(), bad.end()), bad.end());
  std::vector<Special> special;
  special.reserve(bad.size());
  for (const std::uint64_t row : bad) special.push_back({block_first_ + row, kBad});
  return special;
}

/// What the rows of the block depend on.
void RowFeed::hash_block(const std::vector<Special>& bad, std::vector<RowFacts>& facts) {
  const std::uint64_t rows = block().size();
  facts.resize(rows);
  for (std::uint64_t r = 0; r < rows; ++r) {
    facts[r].user = block().user[r];
    facts[r].time = block().time[r];
    if (!block().segment.empty()) facts[r].segment = block().segment_names[block().segment[r]];
    const std::uint64_t begin = block().positive_offsets[r];
    facts[r].positives = {block().positives.data() + begin,
                          block().positive_offsets[r + 1] - begin};
  }
  for (const Special& special : bad) facts[special.row - block_first_].unusable = true;
  const std::size_t first = depends_.size();
  depends_.resize(first + rows);
  std::uint64_t* hashes = depends_.data() + first;
  parallel_for(dependence_->exec(), rows, 1024, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t r = begin; r < end; ++r) hashes[r] = dependence_->of_row(facts[r]);
  });
}

/// The bad rows and those that come out as they did.
std::vector<RowFeed::Special> RowFeed::standing_rows(const std::vector<Special>& bad,
                                                     const std::vector<RowFacts>& facts) {
  std::vector<std::uint64_t> row_of, place, depends_then, depends_now;
  std::vector<RowFacts> known;
  std::vector<float> floor;
  for (std::uint64_t r = 0; r < block().size(); ++r) {
    if (facts[r].unusable) continue;
    const std::optional<std::uint64_t> found = takeover_->from->find(block().key[r]);
    if (!found) continue;
    const RowBasis basis = takeover_->from->row(*found);
    row_of.push_back(block_first_ + r);
    place.push_back(*found);
    depends_then.push_back(basis.depends);
    depends_now.push_back(depends_[block_first_ + r]);
    floor.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(basis.floor_bits)));
    known.push_back(facts[r]);
  }
  std::vector<std::uint8_t> stands(known.size());
  takeover_->reuse->judge({known.data(), depends_then.data(), depends_now.data(), floor.data()},
                          known.size(), stands.data());
  std::vector<Special> all;
  std::size_t next = 0;
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (stands[i] == 0) continue;
    while (next < bad.size() && bad[next].row < row_of[i]) all.push_back(bad[next++]);
    all.push_back({row_of[i], place[i]});
  }
  all.insert(all.end(), bad.begin() + static_cast<std::ptrdiff_t>(next), bad.end());
  return all;
}

/// The rows that were not to be mined when that was decided.
std::vector<RowFeed::Special> RowFeed::decided_rows(const std::vector<Special>& bad) {
  std::vector<Special> all;
  std::size_t next = 0;
  for (std::uint64_t r = 0; r < block().size(); ++r) {
    const std::uint64_t row = block_first_ + r;  // of the stretch
    if (takeover_->to_mine->has(begin_ + at_ + row)) continue;
    while (next < bad.size() && bad[next].row < row) ++next;
    if (takeover_->from == nullptr) {
      all.push_back({row, kPassedOver});
    } else if (next < bad.size() && bad[next].row == row) {
      all.push_back(bad[next]);
    } else {
      const std::optional<std::uint64_t> found = takeover_->from->find(block().key[r]);
      if (!found || takeover_->from->row(*found).depends != depends_[row]) {
        throw InputError(fmt::format(
            "row {}: was to be taken from version {}, where it is none, or stands on something "
            "else; plan anew",
            begin_ + at_ + row, takeover_->from->number()));
      }
      all.push_back({row, *found});
    }
  }
  return all;
}

void RowFeed::mark_rows_to_mine(RowMarks& marks) const {
  std::size_t next = 0;
  for (std::uint64_t row = 0; row < stretch_rows_; ++row) {
    if (next < special_.size() && special_[next].row == row) {
      ++next;
    } else {
      marks.mark(begin_ + at_ + row);
    }
  }
}

void RowFeed::keep_rows_to_mine(const std::vector<Special>& special) {
  const std::vector<std::uint32_t> segments = segment_codes(block(), miner_);
  std::size_t next = 0;
  for (std::uint64_t row = 0; row < block().size(); ++row) {
    if (next < special.size() && special[next].row == block_first_ + row) {
      ++next;
      continue;
    }
    kept_.key.push_back(block().key[row]);
    kept_.user.push_back(block().user[row]);
    kept_.time.push_back(block().time[row]);
    if (!segments.empty()) kept_segments_.push_back(segments[row]);
    kept_.positives.insert(
        kept_.positives.end(),
        block().positives.begin() + static_cast<std::ptrdiff_t>(block().positive_offsets[row]),
        block().positives.begin() + static_cast<std::ptrdiff_t>(block().positive_offsets[row + 1]));
    kept_.positive_offsets.push_back(kept_.positives.size());
  }
}

/// Special rows first .. first + count - 1, which are taken over, as they stand in the version.
NegativeBatch RowFeed::take(std::size_t first, std::size_t count) {
  const NegativeSet& set = takeover_->from->set();
  NegativeBatch b = batch_for(set);
  b.first_row = at_ + special_[first].row;
  taken_.strata.resize(set.schema().strata.size());
  for (std::size_t i = first; i < first + count; ++i) {
    const NegativeSet::Row row = set.row(special_[i].place);
    append_row(b, row, takeover_->from->row(special_[i].place));
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

/// The rows of a stretch on their way out, in order: mined ones as they come, the others between
/// them.
class RowFeed::Emission {
 public:
  Emission(RowFeed& feed, const Sink& sink)
      : feed_(feed),
        sink_(sink),
        branches_(static_cast<std::uint32_t>(feed.miner_.branch_names().size())) {}

  void mined(const NegativeBatch& batch) {
    if (feed_.special_.empty() && feed_.whole_block_) return emit(batch);
    std::uint32_t at = 0;
    while (at < batch.num_rows) {
      const std::uint64_t next =
          next_ < feed_.special_.size() ? feed_.special_[next_].row : feed_.stretch_rows_;
      const auto end =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(batch.num_rows, at + next - row_));
      emit(slice(batch, at, end, feed_.at_ + row_));
      at = end;
      specials();
    }
  }

  /// All that stand here.
  void specials() {
    const std::vector<Special>& special = feed_.special_;
    while (next_ < special.size() && special[next_].row == row_) {
      if (special[next_].place == kPassedOver) {
        ++next_, ++row_;
        continue;
      }
      if (special[next_].place == kBad) {
        ++next_;
        emit(bad_row(feed_.at_ + row_, feed_.k_, branches_));
        continue;
      }
      const std::size_t first = next_;
      while (next_ < special.size() && next_ - first < kTakeRows && special[next_].place != kBad &&
             special[next_].row == row_ + (next_ - first))
        ++next_;
      emit(feed_.take(first, next_ - first));
    }
  }

 private:
  /// In parts, if its rows are of several blocks.
  void emit(const NegativeBatch& batch) {
    std::uint32_t at = 0;
    while (at < batch.num_rows) {
      const RowTable& block = feed_.blocks_[row_ / feed_.block_rows_];
      const std::uint64_t place = row_ % feed_.block_rows_;
      const auto end = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(batch.num_rows, at + block.size() - place));
      const bool whole = end - at == batch.num_rows;
      out(whole ? batch : slice(batch, at, end, feed_.at_ + row_), block, place);
      at = end;
    }
  }

  void out(const NegativeBatch& batch, const RowTable& block, std::uint64_t place) {
    sink_(batch, feed_.at_ + row_,
          {block.key.data() + place, block.user.data() + place, block.time.data() + place,
           block.positive_offsets.data() + place, block.positives.data(),
           feed_.dependence_ != nullptr ? feed_.depends_.data() + row_ : nullptr});
    row_ += batch.num_rows;
  }

  RowFeed& feed_;
  const Sink& sink_;
  std::uint32_t branches_;
  std::uint64_t row_ = 0;  ///< next place in the stretch
  std::size_t next_ = 0;   ///< next special row
};

/// The rows of the stretch that are not special.
RowFeed::ToMine RowFeed::to_mine() const {
  if (whole_block_) return {block(), segment_codes(block(), miner_)};
  return {kept_, kept_segments_};
}

void RowFeed::find(const FoundSink& sink, const std::atomic<bool>* stop) {
  while (begin_stretch(stop) > 0) {
    const auto [rows, segments] = to_mine();
    if (rows.size() == 0) continue;
    const RowsView view = view_of(rows, segments);
    miner_.find(
        view, [&](const FoundLists& lists, std::uint64_t first) { sink(lists, view.key + first); },
        stop);
  }
}

void RowFeed::mine_stretch(const Sink& sink, const std::atomic<bool>* stop) {
  const auto [rows, segments] = to_mine();
  Emission emission(*this, sink);
  emission.specials();
  const MinedSink mined = [&](const NegativeBatch& batch) { emission.mined(batch); };
  if (source_ && rows.size() > 0) {
    source_(view_of(rows, segments), mined);
    return;
  }
  unknown_segments_ +=
      segments.empty()
          ? rows.size()
          : static_cast<std::uint64_t>(std::count(segments.begin(), segments.end(), 0u));
  if (rows.size() > 0) miner_.mine(view_of(rows, segments), mined, stop);
}

}  // namespace quarry

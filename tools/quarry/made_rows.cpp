// Reading back what workers mined.
#include "tools/quarry/made_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/core/errors.h"
#include "tools/quarry/set_batch.h"

namespace quarry {
namespace {

/// Rows given at a time.
constexpr std::uint64_t kGiveRows = 4096;

}  // namespace

MadeRows::MadeRows(std::uint64_t count, std::function<RunPart(std::uint64_t)> open,
                   std::function<void(const RunPart&)> count_part)
    : count_(count), open_(std::move(open)), count_part_(std::move(count_part)) {}

/// False: there is no further row.
bool MadeRows::open_next() {
  if (!part_ || row_ == part_->set().rows()) {
    if (next_ == count_) return false;
    part_.emplace(open_(next_++));
    count_part_(*part_);
    row_ = shard_ = shard_end_ = 0;
  } else {
    ++shard_;
  }
  basis_ = part_->basis(shard_);
  shard_end_ = row_ + basis_.size();
  return true;
}

void MadeRows::give(const RowsView& rows, const RowFeed::MinedSink& sink) {
  for (std::uint64_t at = 0; at < rows.num_rows;) {
    if ((!part_ || row_ == shard_end_) && !open_next()) {
      throw InputError(fmt::format(
          "{} rows are to be mined that no shard of the plan has; plan anew", rows.num_rows - at));
    }
    const std::uint64_t end = std::min({rows.num_rows, at + kGiveRows, at + shard_end_ - row_});
    NegativeBatch batch = batch_for(part_->set());
    batch.first_row = at;
    for (; at < end; ++at, ++row_) {
      const NegativeSet::Row row = part_->set().row(row_);
      if (row.row_key != rows.key[at] || row.user != rows.user[at]) {
        throw InputError(
            fmt::format("{}: row {} is not the one that is to be mined there; plan anew",
                        part_->set().path(), row_));
      }
      append_row(batch, row, basis_[basis_.size() - (shard_end_ - row_)]);
    }
    sink(batch);
  }
}

void MadeRows::check_end() {
  if ((part_ && row_ < part_->set().rows()) || next_ < count_)
    throw InputError("shards of the plan have rows that are not to be mined; plan anew");
}

}  // namespace quarry

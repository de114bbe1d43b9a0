// Rows to the columns of a shard, empty slots as FORMAT.md wants them.
#include "host/store/shard_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "host/store/set_hash.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

/// Slots whose columns are made at a time.
constexpr std::uint64_t kChunkSlots = 32768;
constexpr std::uint32_t kNoUser = 0xFFFFFFFFu;
constexpr float kNan = std::bit_cast<float>(0x7FC00000u);

/// One NaN for all, so that equal sets have equal bytes.
float canonical(float value) { return std::isnan(value) ? kNan : value; }

}  // namespace

ShardWriter::ShardWriter(const std::string& folder, const SetSchema& schema)
    : folder_(folder), schema_(schema) {
  if (!make_folder(folder_)) throw IoError(folder_ + ": is there already");
  const auto branches = static_cast<std::uint32_t>(schema_.branches.size());
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const auto column = static_cast<Column>(c);
    columns_.emplace_back(folder_, column, column_width(column, schema_.k, branches));
  }
  put(Column::kPositiveOffset, &facts_.positives, 1);
}

void ShardWriter::append(const NegativeBatch& batch, const SetRows& of, std::uint64_t begin,
                         std::uint64_t count, ContentHash* content) {
  const std::uint64_t part = std::max<std::uint64_t>(kChunkSlots / schema_.k, 1);
  for (std::uint64_t done = 0; done < count; done += std::min(part, count - done))
    append_part(batch, of, begin + done, std::min(part, count - done), content);
}

ShardFacts ShardWriter::finish() {
  DigestStream all;
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    columns_[c].finish(column_length(static_cast<Column>(c), facts_.rows, facts_.positives));
    facts_.column_digest[c] = columns_[c].digest();
    facts_.column_bytes[c] = columns_[c].file_bytes();
    all.update(facts_.column_digest[c].bytes, sizeof(facts_.column_digest[c].bytes));
  }
  columns_.clear();
  facts_.digest = all.digest();
  sync_folder(folder_);
  return facts_;
}

void ShardWriter::canonicalise(const NegativeBatch& batch, std::uint64_t begin,
                               std::uint64_t count) {
  const std::uint64_t k = schema_.k;
  for (auto* column : {&item_, &raw_rank_, &survivor_rank_, &stratum_}) column->resize(count * k);
  for (auto* column : {&score_, &gap_, &quantile_, &logq_}) column->resize(count * k);
  for (auto* column : {&branch_, &fill_}) column->resize(count * k);
  positive_min_.resize(count);
  for (std::uint64_t r = 0; r < count; ++r) {
    const std::uint64_t row = begin + r;
    positive_min_[r] = canonical(batch.positive_min[row]);
    for (std::uint64_t j = 0; j < k; ++j) {
      const std::uint64_t from = row * k + j;
      const std::uint64_t to = r * k + j;
      const bool filled = j < batch.count[row];
      QUARRY_CHECK(filled == (batch.item[from] != kNoItem));
      QUARRY_CHECK(filled == (batch.fill[from] == static_cast<std::uint8_t>(FillCode::kFilled)));
      item_[to] = batch.item[from];
      fill_[to] = batch.fill[from];
      stratum_[to] = batch.stratum[from];
      branch_[to] = filled ? batch.branch[from] : 0xFF;
      raw_rank_[to] = filled ? batch.raw_rank[from] : 0;
      survivor_rank_[to] = filled ? batch.survivor_rank[from] : 0;
      score_[to] = filled ? canonical(batch.score[from]) : kNan;
      gap_[to] = filled ? canonical(positive_min_[r] - batch.score[from]) : kNan;
      logq_[to] = filled ? canonical(batch.logq[from]) : kNan;
      quantile_[to] =
          raw_rank_[to] != 0 && schema_.num_items != 0
              ? static_cast<float>(raw_rank_[to]) / static_cast<float>(schema_.num_items)
              : kNan;
    }
  }
  const std::uint64_t branches = schema_.branches.size();
  kappa_.resize(count * branches);
  for (std::uint64_t i = 0; i < count * branches; ++i)
    kappa_[i] = canonical(batch.kappa[begin * branches + i]);
}

/// Where each row's positives end in the shard's column, and the positives.
void ShardWriter::put_positives(const SetRows& of, std::uint64_t begin, std::uint64_t count) {
  if (of.positive_offsets == nullptr) {
    positive_offset_.assign(count, facts_.positives);
    put(Column::kPositiveOffset, positive_offset_);
    return;
  }
  const std::uint64_t* from = of.positive_offsets + begin;
  positive_offset_.resize(count);
  for (std::uint64_t r = 0; r < count; ++r)
    positive_offset_[r] = facts_.positives + (from[r + 1] - from[0]);
  put(Column::kPositiveOffset, positive_offset_);
  put(Column::kPositive, of.positives + from[0], from[count] - from[0]);
  facts_.positives += from[count] - from[0];
}

void ShardWriter::append_part(const NegativeBatch& batch, const SetRows& of, std::uint64_t begin,
                              std::uint64_t count, ContentHash* content) {
  canonicalise(batch, begin, count);
  put(Column::kRowKey, of.key + begin, count);
  if (of.user != nullptr) {
    put(Column::kUser, of.user + begin, count);
  } else {
    put(Column::kUser, std::vector<std::uint32_t>(count, kNoUser));
  }
  if (of.time != nullptr) {
    put(Column::kTime, of.time + begin, count);
  } else {
    put(Column::kTime, std::vector<std::int64_t>(count, INT64_MAX));
  }
  put_positives(of, begin, count);
  put(Column::kCount, batch.count.data() + begin, count);
  put(Column::kPositiveMin, positive_min_);
  put(Column::kKappa, kappa_);
  put(Column::kCertified, batch.certified.data() + begin, count);
  put(Column::kItem, item_);
  put(Column::kScore, score_);
  put(Column::kGap, gap_);
  put(Column::kBranch, branch_);
  put(Column::kRawRank, raw_rank_);
  put(Column::kSurvivorRank, survivor_rank_);
  put(Column::kQuantile, quantile_);
  put(Column::kStratum, stratum_);
  put(Column::kLogq, logq_);
  put(Column::kFill, fill_);
  if (content != nullptr)
    content->update(count, item_.data(), score_.data(), stratum_.data(), fill_.data());
  facts_.rows += count;
}

}  // namespace quarry

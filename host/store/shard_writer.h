// One shard of a set on disk: a folder of columns, written front to back (host/store/FORMAT.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/store/column_file.h"
#include "host/store/negative_set.h"

namespace quarry {

class ContentHash;

/// What a finished shard holds.
struct ShardFacts {
  std::uint64_t rows = 0;
  std::uint64_t positives = 0;
  Digest digest;  ///< over the digests of its columns
  std::uint64_t column_bytes[kNumColumns] = {};
  Digest column_digest[kNumColumns] = {};
};

class ShardWriter {
 public:
  /// Makes the folder, which must not exist. Throws IoError.
  ShardWriter(const std::string& folder, const SetSchema& schema);
  /// Rows [begin, begin + count) of a batch and what they are; a part at a time, so that memory
  /// does not grow with k. Adds them to `content` unless that is null.
  void append(const NegativeBatch& batch, const SetRows& of, std::uint64_t begin,
              std::uint64_t count, ContentHash* content);
  std::uint64_t rows() const { return facts_.rows; }
  /// Completes headers, syncs files and folder.
  ShardFacts finish();

 private:
  void append_part(const NegativeBatch& batch, const SetRows& of, std::uint64_t begin,
                   std::uint64_t count, ContentHash* content);
  void canonicalise(const NegativeBatch& batch, std::uint64_t begin, std::uint64_t count);
  void put_positives(const SetRows& of, std::uint64_t begin, std::uint64_t count);
  template <class T>
  void put(Column column, const std::vector<T>& values) {
    put(column, values.data(), values.size());
  }
  template <class T>
  void put(Column column, const T* values, std::size_t count) {
    columns_[static_cast<std::size_t>(column)].append(values, count * sizeof(T));
  }

  std::string folder_;
  SetSchema schema_;
  ShardFacts facts_;
  std::vector<ColumnWriter> columns_;
  // Columns of the rows being appended, [rows] or [rows, k].
  std::vector<std::uint32_t> item_, raw_rank_, survivor_rank_, stratum_;
  std::vector<std::uint64_t> positive_offset_;
  std::vector<float> positive_min_, kappa_, score_, gap_, quantile_, logq_;
  std::vector<std::uint8_t> branch_, fill_;
};

}  // namespace quarry

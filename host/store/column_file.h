// One column of a shard on disk: an .npy file written front to back, or mapped
// (host/store/FORMAT.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "host/store/digest.h"
#include "host/store/files.h"

namespace quarry {

/// How a column's shape follows from the shard's: one number per row, one more than that (where the
/// positives of each row begin, and their end), one per positive of a row, per slot, or per row and
/// branch.
enum class ColumnShape : std::uint8_t { kRows, kRowEnds, kPositives, kRowsSlots, kRowsBranches };

struct ColumnType {
  const char* name;
  const char* descr;  ///< NumPy's, little-endian
  std::uint32_t bytes;
  ColumnShape shape;
};

/// The columns of a set in the order of FORMAT.md.
enum class Column : std::uint8_t {
  kRowKey,
  kUser,
  kTime,
  kPositiveOffset,
  kPositive,
  kCount,
  kPositiveMin,
  kKappa,
  kCertified,
  kItem,
  kScore,
  kGap,
  kBranch,
  kRawRank,
  kSurvivorRank,
  kQuantile,
  kStratum,
  kLogq,
  kFill,
};
inline constexpr std::size_t kNumColumns = 19;
const ColumnType& column_type(Column column);
/// The shape's name in the manifest.
const char* shape_words(ColumnShape shape);

/// First extent of a column's file: entries of `rows` rows that have `positives` in all.
std::uint64_t column_length(Column column, std::uint64_t rows, std::uint64_t positives);
/// Numbers per entry.
std::uint64_t column_width(Column column, std::uint32_t k, std::uint32_t num_branches);

inline constexpr std::size_t kNpyHeaderBytes = 128;
/// The exact header of an .npy file of `length` numbers or, with two extents, entries of `width`.
std::string npy_header(const char* descr, std::uint64_t length, std::uint64_t width,
                       bool two_extents);
/// That of a column file.
std::string npy_header(Column column, std::uint64_t length, std::uint64_t width);

/// Writes one column file front to back. Buffered; the header is completed by finish().
class ColumnWriter {
 public:
  /// Creates `folder/<column>.npy`; the file must not exist.
  ColumnWriter(const std::string& folder, Column column, std::uint64_t width);
  void append(const void* data, std::size_t bytes);
  /// Writes the header for `length` entries, syncs, closes.
  void finish(std::uint64_t length);
  Digest digest() const { return digest_.digest(); }
  std::uint64_t file_bytes() const { return kNpyHeaderBytes + data_bytes_; }

 private:
  void flush();
  std::string path_;
  Column column_;
  std::uint64_t width_;
  FileHandle file_;
  std::vector<unsigned char> buffer_;
  std::uint64_t data_bytes_ = 0;
  std::uint64_t written_ = 0;  ///< bytes of the file
  DigestStream digest_;
};

/// A column file mapped read-only.
class MappedColumn {
 public:
  /// Opens `name` in the folder `folder_fd` without following links and checks size and header.
  /// Throws InputError.
  MappedColumn(int folder_fd, const std::string& folder, Column column, std::uint64_t length,
               std::uint64_t width);
  ~MappedColumn();
  MappedColumn(MappedColumn&& other) noexcept;
  MappedColumn(const MappedColumn&) = delete;
  MappedColumn& operator=(const MappedColumn&) = delete;
  const void* data() const { return base_ + kNpyHeaderBytes; }
  std::uint64_t data_bytes() const { return bytes_ - kNpyHeaderBytes; }

 private:
  const unsigned char* base_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace quarry

// Column files of a negative set: .npy headers, digests, durable writes, checked mappings.
#include "host/store/column_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;

constexpr std::array<ColumnType, kNumColumns> kColumns = {{
    {"row_key", "<u8", 8, ColumnShape::kRows},
    {"user", "<u4", 4, ColumnShape::kRows},
    {"time", "<i8", 8, ColumnShape::kRows},
    {"positive_offset", "<u8", 8, ColumnShape::kRowEnds},
    {"positive", "<u4", 4, ColumnShape::kPositives},
    {"count", "<u2", 2, ColumnShape::kRows},
    {"positive_min", "<f4", 4, ColumnShape::kRows},
    {"kappa", "<f4", 4, ColumnShape::kRowsBranches},
    {"certified", "|u1", 1, ColumnShape::kRows},
    {"item", "<u4", 4, ColumnShape::kRowsSlots},
    {"score", "<f4", 4, ColumnShape::kRowsSlots},
    {"gap", "<f4", 4, ColumnShape::kRowsSlots},
    {"branch", "|u1", 1, ColumnShape::kRowsSlots},
    {"raw_rank", "<u4", 4, ColumnShape::kRowsSlots},
    {"survivor_rank", "<u4", 4, ColumnShape::kRowsSlots},
    {"quantile", "<f4", 4, ColumnShape::kRowsSlots},
    {"stratum", "<u4", 4, ColumnShape::kRowsSlots},
    {"logq", "<f4", 4, ColumnShape::kRowsSlots},
    {"fill", "|u1", 1, ColumnShape::kRowsSlots},
}};

}  // namespace

const ColumnType& column_type(Column column) { return kColumns[static_cast<std::size_t>(column)]; }

const char* shape_words(ColumnShape shape) {
  switch (shape) {
    case ColumnShape::kRows:
      return "rows";
    case ColumnShape::kRowEnds:
      return "rows + 1";
    case ColumnShape::kPositives:
      return "positives";
    case ColumnShape::kRowsSlots:
      return "rows, k";
    case ColumnShape::kRowsBranches:
      return "rows, branches";
  }
  return "";
}

std::uint64_t column_length(Column column, std::uint64_t rows, std::uint64_t positives) {
  const ColumnShape shape = column_type(column).shape;
  if (shape == ColumnShape::kPositives) return positives;
  return shape == ColumnShape::kRowEnds ? rows + 1 : rows;
}

std::uint64_t column_width(Column column, std::uint32_t k, std::uint32_t num_branches) {
  const ColumnShape shape = column_type(column).shape;
  if (shape == ColumnShape::kRowsSlots) return k;
  return shape == ColumnShape::kRowsBranches ? num_branches : 1;
}

std::string npy_header(Column column, std::uint64_t length, std::uint64_t width) {
  const ColumnType& type = column_type(column);
  return npy_header(
      type.descr, length, width,
      type.shape == ColumnShape::kRowsSlots || type.shape == ColumnShape::kRowsBranches);
}

std::string npy_header(const char* descr, std::uint64_t length, std::uint64_t width,
                       bool two_extents) {
  std::string header = std::string("\x93NUMPY\x01\x00\x76\x00", 10) + "{'descr': '" + descr +
                       "', 'fortran_order': False, 'shape': (" + std::to_string(length) + ",";
  if (two_extents) header += " " + std::to_string(width);
  header += "), }";
  QUARRY_CHECK(header.size() < kNpyHeaderBytes);
  header.resize(kNpyHeaderBytes - 1, ' ');
  return header + "\n";
}

ColumnWriter::ColumnWriter(const std::string& folder, Column column, std::uint64_t width)
    : path_(folder + "/" + column_type(column).name + ".npy"),
      column_(column),
      width_(width),
      file_(create_file(path_)) {
  const std::string header = npy_header(column, 0, width);
  write_to(file_, path_, header.data(), header.size(), 0);
  written_ = header.size();
}

void ColumnWriter::append(const void* data, std::size_t bytes) {
  digest_.update(data, bytes);
  data_bytes_ += bytes;
  const auto* from = static_cast<const unsigned char*>(data);
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes > kBufferBytes) {
    write_to(file_, path_, from, bytes, written_);
    written_ += bytes;
  } else {
    buffer_.insert(buffer_.end(), from, from + bytes);
  }
}

void ColumnWriter::flush() {
  if (buffer_.empty()) return;
  write_to(file_, path_, buffer_.data(), buffer_.size(), written_);
  written_ += buffer_.size();
  buffer_.clear();
}

void ColumnWriter::finish(std::uint64_t length) {
  QUARRY_CHECK(data_bytes_ == length * width_ * column_type(column_).bytes);
  flush();
  const std::string header = npy_header(column_, length, width_);
  write_to(file_, path_, header.data(), header.size(), 0);
  sync_file(file_, path_);
  close_file(file_, path_);
}

MappedColumn::MappedColumn(int folder_fd, const std::string& folder, Column column,
                           std::uint64_t length, std::uint64_t width) {
  const std::string name = std::string(column_type(column).name) + ".npy";
  const std::string path = folder + "/" + name;
  const FileHandle file(
      ::openat(folder_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT)
      throw InputError(path + ": column file is missing; the set is damaged, mine it again");
    if (errno == ELOOP)
      throw InputError(path + ": is a symbolic link; links inside a set are not followed");
    throw IoError(io_message(path, "cannot open"));
  }
  struct stat info = {};
  if (::fstat(file.get(), &info) != 0) throw IoError(io_message(path, "cannot stat"));
  if (!S_ISREG(info.st_mode)) throw InputError(path + ": is not a regular file");
  std::uint64_t expected = 0;
  if (__builtin_mul_overflow(length, width, &expected) ||
      __builtin_mul_overflow(expected, std::uint64_t{column_type(column).bytes}, &expected) ||
      __builtin_add_overflow(expected, std::uint64_t{kNpyHeaderBytes}, &expected)) {
    throw InputError(path + ": the manifest's shape " + std::to_string(length) + " x " +
                     std::to_string(width) + " overflows 64 bits");
  }
  if (static_cast<std::uint64_t>(info.st_size) != expected) {
    throw InputError(path + ": has " + std::to_string(info.st_size) + " bytes, the manifest's " +
                     std::to_string(length) + " entries need " + std::to_string(expected) +
                     "; the file is truncated or not of this set");
  }
  void* mapped = ::mmap(nullptr, expected, PROT_READ, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) throw IoError(io_message(path, "cannot map"));
  base_ = static_cast<const unsigned char*>(mapped);
  bytes_ = expected;
  if (std::memcmp(base_, npy_header(column, length, width).data(), kNpyHeaderBytes) != 0) {
    ::munmap(mapped, bytes_);
    throw InputError(path + ": its .npy header is not the one of a " + column_type(column).name +
                     " column of " + std::to_string(length) +
                     " entries (host/store/FORMAT.md); the file is damaged or was rewritten");
  }
}

MappedColumn::~MappedColumn() {
  if (base_ != nullptr) ::munmap(const_cast<unsigned char*>(base_), bytes_);
}

MappedColumn::MappedColumn(MappedColumn&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

}  // namespace quarry

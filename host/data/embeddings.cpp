// Opening of embedding tables: format by extension, mapped where the alignment allows, else copied.
#include "host/data/embeddings.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "host/data/embedding_formats.h"
#include "host/data/input_file.h"
#include "host/data/message.h"

namespace quarry {

void check_shape(std::uint64_t rows, std::uint64_t dim, const std::string& path) {
  constexpr std::uint64_t kMaxRows = 0xFFFFFFFEu;
  constexpr std::uint64_t kMaxDim = 65536;
  if (rows < 1 || rows > kMaxRows) {
    throw_input_error(path, ": the table has ", rows, " rows (shape [", rows, ", ", dim,
                      "]), allowed are 1 to ", kMaxRows,
                      rows == 0 ? "; export at least one row" : "; split the table");
  }
  if (dim < 1 || dim > kMaxDim) {
    throw_input_error(path, ": a row has ", dim, " numbers (shape [", rows, ", ", dim,
                      "]), allowed are 1 to ", kMaxDim, "; is the shape [rows, dim]?");
  }
}

void check_size(const TableLayout& layout, std::uint64_t available, const std::string& path) {
  // At most 2^32 * 2^16 * 4 bytes: no overflow once the shape is checked.
  const std::uint64_t wanted = layout.rows * layout.dim * bytes_of(layout.dtype);
  if (wanted > available) {
    throw_input_error(path, ": is cut: shape [", layout.rows, ", ", layout.dim, "] needs ", wanted,
                      " bytes of data, the file has ", available, "; copy or write it again");
  }
  if (wanted < available) {
    throw_input_error(path, ": ", available - wanted, " trailing bytes: shape [", layout.rows, ", ",
                      layout.dim, "] needs ", wanted, " bytes of data, the file has ", available,
                      "; copy or write it again");
  }
}

TableLayout parse_fbin(std::span<const std::byte> file, const std::string& path) {
  if (file.size() < 8) {
    throw_input_error(
        path, ": is cut inside the header (", file.size(),
        " bytes); a .fbin file begins with two 32-bit numbers, rows and dim. Copy it again");
  }
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value |= std::to_integer<std::uint32_t>(file[at + i]) << (8 * i);
    return value;
  };
  TableLayout layout;
  layout.offset = 8;
  layout.rows = word(0);
  layout.dim = word(4);
  check_shape(layout.rows, layout.dim, path);
  check_size(layout, file.size() - 8, path);
  return layout;
}

Embeddings Embeddings::open(const std::string& path, const std::string& tensor) {
  const std::string extension = extension_of(path);
  const bool named_tensors = extension == ".safetensors";
  if (is_arrow_extension(extension)) {
    throw_input_error(path, ": ", extension,
                      " is not read as it is. Convert it: quarry convert embeddings ", path, " ",
                      with_extension(path, ".npy"),
                      " (of the Python package, python -m quarry convert; --help says how columns "
                      "and ids are named)");
  }
  if (!named_tensors && extension != ".npy" && extension != ".fbin") {
    throw_input_error(
        path, ": extension ", shown(extension),
        " is not supported; allowed are .npy, .fbin and .safetensors. Save the table as .npy with "
        "numpy.save");
  }
  if (!named_tensors && !tensor.empty()) {
    throw ConfigError(
        text_of(path, ": a tensor name (", shown(tensor), ") was given, but a ", extension,
                " file has no named tensors; leave --items-tensor or --users-tensor out"));
  }
  std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const TableLayout layout = named_tensors         ? parse_safetensors(file->bytes(), path, tensor)
                             : extension == ".npy" ? parse_npy(file->bytes(), path)
                                                   : parse_fbin(file->bytes(), path);
  Embeddings table;
  table.path_ = path;
  table.view_.rows = layout.rows;
  table.view_.dim = static_cast<std::uint32_t>(layout.dim);
  table.view_.dtype = layout.dtype;
  const std::byte* data = file->bytes().data() + layout.offset;
  if (layout.offset % 4 == 0) {
    table.view_.data = data;
    table.storage_ = std::move(file);
    table.mapped_ = true;
    return table;
  }
  const std::uint64_t bytes = layout.rows * layout.dim * bytes_of(layout.dtype);
  constexpr std::align_val_t kAlignment{64};
  std::shared_ptr<void> copy(::operator new(bytes, kAlignment),
                             [](void* p) { ::operator delete(p, kAlignment); });
  std::memcpy(copy.get(), data, bytes);
  table.view_.data = copy.get();
  table.storage_ = std::move(copy);
  return table;
}

void Embeddings::expect_few_reads_outside(std::uint64_t first, std::uint64_t end) const {
  if (!mapped_) return;
  const std::uint64_t row = view_.row_bytes();
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto data = reinterpret_cast<std::uintptr_t>(view_.data);
  const auto tell = [page](std::uint64_t begin, std::uint64_t stop) {  // pages wholly between
    begin = (begin + page - 1) / page * page;
    stop = stop / page * page;
    // Advice: where it is not taken, nothing but speed is lost.
    if (begin < stop)
      ::madvise(reinterpret_cast<void*>(begin), static_cast<std::size_t>(stop - begin),
                MADV_RANDOM);
  };
  tell(data, data + first * row);
  tell(data + end * row, data + view_.rows * row);
}

}  // namespace quarry

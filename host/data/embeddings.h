// Embedding tables from files: .npy (f32, f16), .fbin, .safetensors (f32, f16, bf16).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/exact_score.h"

namespace quarry {

enum class Dtype : std::uint8_t { kF32, kF16, kBf16 };
inline std::uint32_t bytes_of(Dtype dtype) { return dtype == Dtype::kF32 ? 4 : 2; }

/// [rows, dim] row-major numbers, not owned.
struct MatrixView {
  const void* data = nullptr;
  std::uint64_t rows = 0;
  std::uint32_t dim = 0;
  Dtype dtype = Dtype::kF32;

  std::uint64_t row_bytes() const { return std::uint64_t{dim} * bytes_of(dtype); }
  std::uint64_t bytes() const { return rows * row_bytes(); }
};

/// A table opened from a file; mapped where the format's alignment allows, else read. Keeps the
/// file mapped while alive.
class Embeddings {
 public:
  /// Opens by extension. `tensor` names the tensor of a .safetensors file ("" if it holds exactly
  /// one 2-d tensor). Throws InputError (wrong magic, dtype, shape, Fortran order, big-endian,
  /// truncated, trailing bytes ...), IoError.
  static Embeddings open(const std::string& path, const std::string& tensor = "");
  const MatrixView& view() const { return view_; }
  const std::string& path() const { return path_; }
  /// False: the rows are a copy in memory, because the file's alignment does not allow it.
  bool mapped() const { return mapped_; }
  /// Rows outside [first, end) are read one here, one there from now on, so that the system reads
  /// no more of the file than these where it is not in memory. No change for tables not mapped.
  void expect_few_reads_outside(std::uint64_t first, std::uint64_t end) const;

 private:
  std::shared_ptr<const void> storage_;
  MatrixView view_;
  std::string path_;
  bool mapped_ = false;
};

enum class BadRows : std::uint8_t { kReject, kDrop };

/// Rows that cannot be scored: NaN or infinite elements, squared norm that overflows (for kL2:
/// above a quarter of the range), zero norm under kCosine. kReject throws InputError naming the
/// first ten rows and the count; kDrop returns them.
std::vector<std::uint64_t> check_rows(
    const MatrixView& table, Metric metric, BadRows policy, const std::string& what,
    const char* remedy = "Repair the rows or leave them out with --bad-rows drop");

/// Widens rows [begin, end) to fp32 into `out` [end - begin, dim]; divides each by its norm if
/// `unit` (docs/row_contract.md section 1). Rows with zero norm are left as they are.
void prepare_rows(const MatrixView& table, std::uint64_t begin, std::uint64_t end, bool unit,
                  float* out);

/// Writes a [rows, dim] fp32 .npy file atomically. Throws IoError.
void write_npy(const std::string& path, const float* data, std::uint64_t rows, std::uint32_t dim);

}  // namespace quarry

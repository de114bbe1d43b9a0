// topk on a GPU: cuBLAS multiplies a tile, a kernel scans it into the running lists.
#include <cublas_v2.h>

#include <algorithm>
#include <string>

#include "kernels/core/errors.h"
#include "kernels/core/launch.cuh"
#include "kernels/topk/topk_device.cuh"

namespace quarry {
namespace {

/// Bytes of running lists in flight before blocks get fewer rows.
constexpr std::uint64_t kDeviceListBytes = std::uint64_t{256} << 20;

/// As on the CPU: room for `keep`, twice that between two cuts, and a tile.
std::uint32_t device_capacity(std::uint32_t items, std::uint32_t keep) {
  const std::uint64_t wanted =
      std::uint64_t{keep} + std::max<std::uint64_t>(2ull * keep, 256) + kTopkDeviceTileItems;
  const std::uint64_t tiles =
      (std::uint64_t{items} + kTopkDeviceTileItems - 1) / kTopkDeviceTileItems;
  return static_cast<std::uint32_t>(
      std::min({wanted, tiles * kTopkDeviceTileItems, std::uint64_t{0xFFFFFFFFu}}));
}

/// Row-major scores = scale * queries * items^T, seen by cuBLAS as the column-major transpose.
void multiply(const Exec& exec, const TopkTile& tile) {
  const auto handle = static_cast<cublasHandle_t>(exec.blas);
  const auto dim = static_cast<int>(tile.items.dim);
  const float none = 0.0f;
  const cublasStatus_t status =
      cublasSgemm(handle, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(tile.num_items),
                  static_cast<int>(tile.rows), dim, &tile.items.scale,
                  tile.items.rows + std::uint64_t{tile.first_item} * tile.items.dim, dim,
                  tile.queries, dim, &none, tile.scores, static_cast<int>(kTopkDeviceTileItems));
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw DeviceError(std::string("cuBLAS: sgemm of ") + std::to_string(tile.rows) +
                      " queries by " + std::to_string(tile.num_items) + " items failed with " +
                      cublasGetStatusString(status) + "; try --device cpu");
  }
}

}  // namespace

void topk_gpu(const Exec& exec, const TopkItems& items, const TopkMask& mask, const float* queries,
              std::uint32_t rows, std::uint32_t k, TopkDeviceWorkspace& workspace,
              const TopkResult& out) {
  if (rows == 0) return;
  if (k == 0 || items.num_items == 0) {
    QUARRY_CHECK(items.num_items == 0);  // k = 0 leaves no list to bound what is left out
    fill_device(exec, out.count, 0, rows * sizeof(*out.count));
    fill_device(exec, out.left_out, 0, rows * sizeof(*out.left_out));
    return;
  }
  const DeviceScope scope(exec);
  TopkTile tile;
  tile.items = items;
  tile.mask = mask;
  tile.k = k;
  tile.keep =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{k} + 1, items.num_items));
  tile.capacity = device_capacity(items.num_items, tile.keep);
  const auto block_rows = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
      kDeviceListBytes / (sizeof(std::uint64_t) * tile.capacity), 1, kTopkDeviceTileRows));
  const std::uint32_t most = std::min(block_rows, rows);
  workspace.scores.resize(exec, std::size_t{most} * kTopkDeviceTileItems);
  workspace.keys.resize(exec, std::size_t{most} * tile.capacity);
  workspace.count.resize(exec, most);
  workspace.threshold.resize(exec, most);
  tile.scores = workspace.scores.data();
  tile.keys = workspace.keys.data();
  tile.count = workspace.count.data();
  tile.threshold = workspace.threshold.data();
  for (std::uint32_t row = 0; row < rows; row += tile.rows) {
    tile.first_row = row;
    tile.rows = std::min(block_rows, rows - row);
    tile.queries = queries + std::uint64_t{row} * items.dim;
    tile.first_item = 0;
    for (std::uint32_t left = items.num_items; left > 0; left -= tile.num_items) {
      tile.first_item = items.num_items - left;
      tile.num_items = std::min(kTopkDeviceTileItems, left);
      if (items.scoring == TopkScoring::kBlas) {
        multiply(exec, tile);
      } else {
        score_topk_tile(exec, tile);
      }
      append_topk_tile(exec, tile);
    }
    finish_topk_rows(exec, tile, out);
  }
}

}  // namespace quarry

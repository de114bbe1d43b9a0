// topk on a GPU for callers with host memory: the item table is kept on the device, queries and
// lists travel.
#pragma once

#include "index/retriever.h"
#include "kernels/core/buffer.h"
#include "kernels/topk/topk.h"

namespace quarry {

/// Not re-entrant. Its buffers belong to the Exec of the first call, which every call must bring.
class DeviceTopk {
 public:
  /// As topk under kBlas, on exec.stream; waits for the answer. bias: [num_items] host memory, used
  /// at the first call; null: none. queries and out: host memory.
  void find(const Exec& exec, const ItemTable& items, float scale, const float* bias,
            const float* queries, std::uint32_t rows, std::uint32_t depth, const TopkResult& out);

 private:
  DeviceBuffer<float> items_, bias_, queries_, cut_;
  DeviceBuffer<std::uint64_t> keys_;
  DeviceBuffer<std::uint32_t> count_;
  DeviceBuffer<std::uint8_t> left_out_;
  TopkDeviceWorkspace workspace_;
};

}  // namespace quarry

// The rows of an item table in the memory of an Exec.
#pragma once

#include "index/retriever.h"
#include "kernels/core/buffer.h"

namespace quarry {

/// On a device a table without device_rows is copied at the first use, to the device of that Exec,
/// which later calls must bring too.
class ItemRows {
 public:
  explicit ItemRows(const ItemTable& items) : items_(items) {}
  const ItemTable& table() const { return items_; }

  /// [num_items, dim] in the memory of exec.device.
  const float* at(const Exec& exec) {
    if (exec.device == Device::kCpu) return items_.rows;
    if (items_.device_rows != nullptr) return items_.device_rows;
    const std::size_t numbers = std::size_t{items_.num_items} * items_.dim;
    if (copy_.size() != numbers) {
      copy_.resize(exec, numbers);
      copy_to_device(exec, copy_.data(), items_.rows, numbers * sizeof(float));
    }
    return copy_.data();
  }
  std::uint64_t device_bytes() const { return copy_.capacity_bytes(); }

 private:
  ItemTable items_;
  DeviceBuffer<float> copy_;
};

}  // namespace quarry

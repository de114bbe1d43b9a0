// topk on a GPU for callers with host memory.
#include "index/device_topk.h"

namespace quarry {

void DeviceTopk::find(const Exec& exec, const ItemTable& items, float scale, const float* bias,
                      const float* queries, std::uint32_t rows, std::uint32_t depth,
                      const TopkResult& out) {
  const std::size_t table = std::size_t{items.num_items} * items.dim;
  if (items.device_rows == nullptr && items_.size() != table) {
    items_.resize(exec, table);
    copy_to_device(exec, items_.data(), items.rows, table * sizeof(float));
  }
  if (bias != nullptr && bias_.size() != items.num_items) {
    bias_.resize(exec, items.num_items);
    copy_to_device(exec, bias_.data(), bias, items.num_items * sizeof(float));
  }
  queries_.resize(exec, std::size_t{rows} * items.dim);
  keys_.resize(exec, std::size_t{rows} * depth);
  count_.resize(exec, rows);
  cut_.resize(exec, rows);
  left_out_.resize(exec, rows);
  copy_to_device(exec, queries_.data(), queries, queries_.size() * sizeof(float));
  TopkItems scored{.rows = items.device_rows != nullptr ? items.device_rows : items_.data(),
                   .num_items = items.num_items,
                   .dim = items.dim,
                   .metric = items.metric,
                   .scale = scale};
  if (bias != nullptr) scored.bias = bias_.data();
  topk_gpu(exec, scored, {}, queries_.data(), rows, depth, workspace_,
           {keys_.data(), count_.data(), cut_.data(), left_out_.data()});
  copy_to_host(exec, out.keys, keys_.data(), keys_.size() * sizeof(*out.keys));
  copy_to_host(exec, out.count, count_.data(), rows * sizeof(*out.count));
  copy_to_host(exec, out.cut, cut_.data(), rows * sizeof(*out.cut));
  copy_to_host(exec, out.left_out, left_out_.data(), rows * sizeof(*out.left_out));
  synchronize(exec);
}

}  // namespace quarry

// Tables and samples of items in 8 bits that are kept.
#include <algorithm>
#include <bit>
#include <utility>

#include "kernels/core/errors.h"
#include "kernels/core/philox.h"
#include "kernels/topk/int8_cpu.h"

namespace quarry {

void Int8Table::pack(const Exec& exec, Int8Unit unit, const float* rows,
                     const std::uint32_t* chosen, std::uint32_t n, std::uint32_t dim) {
  constexpr std::uint32_t kBlock = 512;  // a multiple of what int8_rows() rounds up to
  Int8Table table;
  table.width_ = int8_width(dim);
  table.rows_ = int8_rows(n);
  table.numbers_.resize(exec, std::size_t{table.rows_} * table.width_);
  table.info_.resize(exec, std::size_t{3} * table.rows_);
  const std::size_t gathered = chosen == nullptr ? 0 : std::size_t{std::min(kBlock, n)} * dim;
  HostBuffer<float> gather(exec, gathered * static_cast<std::size_t>(std::max(exec.threads, 1)));
  parallel_for(exec, (std::uint64_t{n} + kBlock - 1) / kBlock, 1,
               [&](std::uint64_t begin, std::uint64_t end) {
                 for (std::uint64_t b = begin; b < end; ++b) {
                   const auto first = static_cast<std::uint32_t>(b * kBlock);
                   const std::uint32_t count = std::min(kBlock, n - first);
                   const float* from = rows + std::uint64_t{first} * dim;
                   if (chosen != nullptr) {
                     float* to =
                         gather.data() + gathered * static_cast<std::size_t>(worker_index());
                     for (std::uint32_t i = 0; i < count; ++i)
                       std::copy_n(rows + std::uint64_t{chosen[first + i]} * dim, dim,
                                   to + std::uint64_t{i} * dim);
                     from = to;
                   }
                   float* info = table.info_.data() + first;
                   int8_pack_items(unit, from, count, dim,
                                   table.numbers_.data() + std::uint64_t{first} * table.width_,
                                   info, info + table.rows_, info + std::size_t{2} * table.rows_);
                 }
               });
  *this = std::move(table);
}

void Int8Sample::take(const Exec& exec, Int8Unit unit, const float* rows, const float* bias,
                      std::uint32_t n, std::uint32_t dim, std::uint32_t stride) {
  QUARRY_CHECK(std::has_single_bit(stride) && n > 0);
  Int8Sample sample;
  sample.shift_ = static_cast<std::uint32_t>(std::countr_zero(stride));
  const std::uint32_t size = (n - 1) / stride + 1;
  sample.items_.resize(exec, size);
  if (bias != nullptr) sample.bias_.resize(exec, size);
  for (std::uint32_t i = 0; i < size; ++i) {
    const std::uint32_t first = i << sample.shift_;
    const std::uint32_t item =
        first + philox4x32({}, i, 0, 0, 0).z[0] % std::min(stride, n - first);
    sample.items_.data()[i] = item;
    if (bias != nullptr) sample.bias_.data()[i] = bias[item];
  }
  sample.table_.pack(exec, unit, rows, sample.items_.data(), size, dim);
  *this = std::move(sample);
}

Int8Items Int8Table::info_at(std::uint32_t item) const {
  const float* info = info_.data() + item;
  return {info, info + rows_, info + std::size_t{2} * rows_};
}

}  // namespace quarry

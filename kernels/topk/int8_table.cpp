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
                      std::uint32_t n, std::uint32_t dim, std::uint32_t stride,
                      const std::uint32_t* some) {
  QUARRY_CHECK(std::has_single_bit(stride) && n > 0);
  Int8Sample sample;
  sample.shift_ = static_cast<std::uint32_t>(std::countr_zero(stride));
  sample.population_ = n;
  HostBuffer<std::uint32_t> members;
  if (some != nullptr) {
    sample.population_ = sample.index(exec, some, n);
    members.resize(exec, sample.population_);
    std::uint32_t found = 0;
    for (std::uint32_t i = 0; i < n; ++i)
      if ((some[i / 32] >> (i % 32) & 1u) != 0) members.data()[found++] = i;
  }
  const std::uint32_t of = sample.population_;
  const std::uint32_t size = of == 0 ? 0 : (of - 1) / stride + 1;
  sample.items_.resize(exec, size);
  if (bias != nullptr) sample.bias_.resize(exec, size);
  for (std::uint32_t i = 0; i < size; ++i) {
    const std::uint32_t first = i << sample.shift_;
    const std::uint32_t at = first + philox4x32({}, i, 0, 0, 0).z[0] % std::min(stride, of - first);
    const std::uint32_t item = some == nullptr ? at : members.data()[at];
    sample.items_.data()[i] = item;
    if (bias != nullptr) sample.bias_.data()[i] = bias[item];
  }
  sample.table_.pack(exec, unit, rows, sample.items_.data(), size, dim);
  *this = std::move(sample);
}

/// Counts of the items ahead of each word; all of them.
std::uint32_t Int8Sample::index(const Exec& exec, const std::uint32_t* some, std::uint32_t n) {
  const std::uint32_t words = (n + 31) / 32;
  some_.resize(exec, words);
  ahead_.resize(exec, words);
  std::uint32_t count = 0;
  for (std::uint32_t w = 0; w < words; ++w) {
    some_.data()[w] = some[w];
    if (w + 1 == words && n % 32 != 0) some_.data()[w] &= (1u << n % 32) - 1;
    ahead_.data()[w] = count;
    count += static_cast<std::uint32_t>(std::popcount(some_.data()[w]));
  }
  return count;
}

bool Int8Sample::is_of(const std::uint32_t* some, std::uint32_t n) const {
  const std::uint32_t whole = n / 32;
  if (some_.size() != (n + 31) / 32 || !std::equal(some, some + whole, some_.data())) return false;
  return n % 32 == 0 || ((some[whole] ^ some_.data()[whole]) & ((1u << n % 32) - 1)) == 0;
}

Int8Items Int8Table::info_at(std::uint32_t item) const {
  const float* info = info_.data() + item;
  return {info, info + rows_, info + std::size_t{2} * rows_};
}

}  // namespace quarry

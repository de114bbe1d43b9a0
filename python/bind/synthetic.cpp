// Negatives between a negative and a positive.
#include "python/bind/synthetic.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/core/errors.h"
#include "kernels/core/exec.h"

namespace quarry {
namespace {

void check(const MixRows& rows, std::uint64_t num_items) {
  const auto refuse = [&](const char* what, std::uint64_t entry, std::int64_t value) {
    throw InputError(std::string(what) + ": entry " + std::to_string(entry) + " is " +
                     std::to_string(value) + "; there are " + std::to_string(num_items) +
                     " items, numbered from 0");
  };
  for (std::uint64_t slot = 0; slot < rows.num_rows * rows.k; ++slot) {
    if (rows.item[slot] >= 0 && static_cast<std::uint64_t>(rows.item[slot]) >= num_items)
      refuse("negatives.item", slot, rows.item[slot]);
  }
  for (std::uint64_t p = 0; p < rows.positive_offsets[rows.num_rows]; ++p)
    if (rows.positives[p] >= num_items) refuse("positives", p, rows.positives[p]);
}

}  // namespace

void mix(PhiloxKey key, const MixRows& rows, const MatrixView& items, int threads,
         const MixOut& out) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  check(rows, items.rows);
  Exec exec;
  exec.threads = threads;
  parallel_for(exec, rows.num_rows, 64, [&](std::uint64_t begin, std::uint64_t end) {
    std::vector<float> positive(items.dim), negative(items.dim);
    for (std::uint64_t slot = begin * rows.k; slot < end * rows.k; ++slot) {
      const std::uint64_t row = slot / rows.k;
      const std::uint64_t first = rows.positive_offsets[row];
      const std::uint64_t count = rows.positive_offsets[row + 1] - first;
      float* const vector = out.vector != nullptr ? out.vector + slot * items.dim : nullptr;
      if (rows.item[slot] < 0 || count == 0) {
        out.positive[slot] = -1;
        out.coefficient[slot] = kNan;
        if (vector != nullptr) std::fill_n(vector, items.dim, kNan);
        continue;
      }
      const auto item = static_cast<std::uint32_t>(rows.item[slot]);
      const PhiloxWords words = random_words(key, rows.key[row], item, 0, kMixing);
      const std::uint64_t word = std::uint64_t{words.z[2]} << 32 | words.z[3];
      const std::uint32_t chosen = rows.positives[first + mulhi(word, count)];
      const float c = static_cast<float>(words.z[0] >> 8) * 0x1p-24f;
      out.positive[slot] = chosen;
      out.coefficient[slot] = c;
      if (vector == nullptr) continue;
      prepare_rows(items, chosen, std::uint64_t{chosen} + 1, false, positive.data());
      prepare_rows(items, item, std::uint64_t{item} + 1, false, negative.data());
      for (std::uint32_t d = 0; d < items.dim; ++d)
        vector[d] = c * positive[d] + (1.0f - c) * negative[d];
    }
  });
}

}  // namespace quarry

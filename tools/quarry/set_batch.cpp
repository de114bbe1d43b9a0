// Rows of a set in a batch.
#include "tools/quarry/set_batch.h"

#include <bit>
#include <cstdint>

namespace quarry {

NegativeBatch batch_for(const NegativeSet& set) {
  NegativeBatch batch;
  batch.k = set.k();
  batch.num_branches = static_cast<std::uint32_t>(set.schema().branches.size());
  return batch;
}

void append_row(NegativeBatch& b, const NegativeSet::Row& row, const RowBasis& basis) {
  const auto append = [](auto& to, const auto* from, std::size_t n) {
    to.insert(to.end(), from, from + n);
  };
  append(b.item, row.item, b.k), append(b.raw_rank, row.raw_rank, b.k);
  append(b.survivor_rank, row.survivor_rank, b.k), append(b.stratum, row.stratum, b.k);
  append(b.score, row.score, b.k), append(b.logq, row.logq, b.k);
  append(b.branch, row.branch, b.k), append(b.fill, row.fill, b.k);
  append(b.kappa, row.kappa, b.num_branches);
  b.positive_min.push_back(row.positive_min);
  b.certified.push_back(row.certified);
  b.count.push_back(row.count);
  b.floor.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(basis.floor_bits)));
  b.num_rows += 1;
}

}  // namespace quarry

// A mined set whose columns a test changes before it is written again, hashes and all: for planting
// defects that no miner makes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/store/negative_set.h"

namespace quarry::test {

struct EditableSet {
  SetSchema schema;
  NegativeBatch batch;  ///< all rows
  std::vector<std::uint64_t> key, offsets;
  std::vector<std::uint32_t> user, positives;
  std::vector<std::int64_t> time;
  nlohmann::ordered_json run;

  explicit EditableSet(const std::string& path) {
    const NegativeSet set = NegativeSet::open(path, true);
    schema = set.schema();
    run = nlohmann::ordered_json::parse(set.manifest_json())["run"];
    batch.k = set.k();
    batch.num_rows = static_cast<std::uint32_t>(set.rows());
    batch.num_branches = static_cast<std::uint32_t>(schema.branches.size());
    offsets = {0};
    for (std::uint64_t r = 0; r < set.rows(); ++r) {
      const NegativeSet::Row row = set.row(r);
      key.push_back(row.row_key), user.push_back(row.user), time.push_back(row.time);
      positives.insert(positives.end(), row.positives.begin(), row.positives.end());
      offsets.push_back(positives.size());
      const auto slots = [&](auto& to, const auto* from) {
        to.insert(to.end(), from, from + batch.k);
      };
      slots(batch.item, row.item), slots(batch.raw_rank, row.raw_rank);
      slots(batch.survivor_rank, row.survivor_rank), slots(batch.stratum, row.stratum);
      slots(batch.score, row.score), slots(batch.logq, row.logq);
      slots(batch.branch, row.branch), slots(batch.fill, row.fill);
      batch.kappa.insert(batch.kappa.end(), row.kappa, row.kappa + batch.num_branches);
      batch.positive_min.push_back(row.positive_min);
      batch.certified.push_back(row.certified);
      batch.count.push_back(row.count);
    }
  }

  std::uint64_t rows() const { return batch.num_rows; }
  std::size_t slot(std::uint64_t row, std::uint32_t j) const { return row * batch.k + j; }

  void write(const std::string& path) const {
    SetWriter writer(path, schema);
    writer.append(batch, {key.data(), user.data(), time.data(), offsets.data(), positives.data()});
    writer.finish(run.dump());
  }
};

}  // namespace quarry::test

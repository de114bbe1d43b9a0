// All that a run gives, its tiles laid end to end, and comparisons that name the first column that
// differs, bit by bit.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "host/mine/miner.h"

namespace quarry::test {

struct Mined {
  NegativeBatch all;
  MinerReport report;
};

/// All rows by a miner that has mined nothing yet.
inline Mined mine_all(Miner& miner, const Recipe& recipe, const RowsView& rows) {
  Mined mined;
  NegativeBatch& all = mined.all;
  all.k = recipe.k;
  all.num_branches = static_cast<std::uint32_t>(recipe.branches.size());
  miner.mine(rows, [&](const NegativeBatch& b) {
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    all.num_rows += b.num_rows;
    append(all.item, b.item), append(all.raw_rank, b.raw_rank);
    append(all.survivor_rank, b.survivor_rank), append(all.stratum, b.stratum);
    append(all.score, b.score), append(all.logq, b.logq), append(all.kappa, b.kappa);
    append(all.positive_min, b.positive_min), append(all.branch, b.branch);
    append(all.fill, b.fill), append(all.certified, b.certified), append(all.count, b.count);
    append(all.floor, b.floor);
  });
  mined.report = miner.report();
  return mined;
}

inline Mined mine_all(const Recipe& recipe, const MinerInputs& inputs, const RowsView& rows,
                      const MinerOptions& options) {
  Miner miner(recipe, inputs, options);
  return mine_all(miner, recipe, rows);
}

/// The rows for which `keep` holds, in a table of their own.
template <class Keep>
RowTable rows_where(const RowTable& rows, const Keep& keep) {
  RowTable some;
  some.positive_offsets = {0};
  for (std::uint64_t r = 0; r < rows.size(); ++r) {
    if (!keep(r)) continue;
    some.key.push_back(rows.key[r]);
    some.user.push_back(rows.user[r]);
    some.time.push_back(rows.time[r]);
    for (std::uint64_t p = rows.positive_offsets[r]; p < rows.positive_offsets[r + 1]; ++p)
      some.positives.push_back(rows.positives[p]);
    some.positive_offsets.push_back(some.positives.size());
  }
  return some;
}

inline RowsView view_of(const RowTable& rows) {
  RowsView view;
  view.num_rows = rows.size();
  view.key = rows.key.data();
  view.user = rows.user.data();
  view.time = rows.time.data();
  view.positive_offsets = rows.positive_offsets.data();
  view.positives = rows.positives.data();
  return view;
}

/// The first column in which row r of x and row q of y differ, "" if none does. Whether a search
/// was proven is its cost, not the row, and is not looked at.
inline std::string row_difference(const NegativeBatch& x, std::uint64_t r, const NegativeBatch& y,
                                  std::uint64_t q) {
  const auto differs = [r, q](const auto& a, const auto& b, std::uint64_t width) {
    return std::memcmp(a.data() + r * width, b.data() + q * width, width * sizeof(a[0])) != 0;
  };
  if (differs(x.count, y.count, 1)) return "count";
  if (differs(x.item, y.item, x.k)) return "item";
  if (differs(x.score, y.score, x.k)) return "score";
  if (differs(x.branch, y.branch, x.k)) return "branch";
  if (differs(x.fill, y.fill, x.k)) return "fill";
  if (differs(x.stratum, y.stratum, x.k)) return "stratum";
  if (differs(x.raw_rank, y.raw_rank, x.k)) return "raw_rank";
  if (differs(x.survivor_rank, y.survivor_rank, x.k)) return "survivor_rank";
  if (differs(x.logq, y.logq, x.k)) return "logq";
  if (differs(x.kappa, y.kappa, x.num_branches)) return "kappa";
  return differs(x.positive_min, y.positive_min, 1) ? "positive_min" : "";
}

/// Of the counters that a set is described by; costs of searching stand apart.
inline std::string counter_difference(const MinerReport& x, const MinerReport& y) {
  if (std::memcmp(&x.counters, &y.counters, sizeof x.counters) != 0) return "counters";
  if (x.strata.size() != y.strata.size()) return "number of strata";
  for (std::size_t s = 0; s < x.strata.size(); ++s) {
    if (std::memcmp(&x.strata[s], &y.strata[s], sizeof x.strata[s]) != 0)
      return "counters of stratum " + std::to_string(s);
  }
  return "";
}

/// The first row and column, or counter, that differ; "" if none does.
inline std::string difference(const Mined& x, const Mined& y) {
  if (x.all.num_rows != y.all.num_rows) return "number of rows";
  for (std::uint64_t r = 0; r < x.all.num_rows; ++r) {
    const std::string column = row_difference(x.all, r, y.all, r);
    if (!column.empty()) return column + " of row " + std::to_string(r);
  }
  return counter_difference(x.report, y.report);
}

}  // namespace quarry::test

// Strata computed again (docs/row_contract.md section 4).
#include "host/audit/strata.h"

#include <algorithm>
#include <numeric>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

struct AttributeCells {
  std::vector<std::uint32_t> of_item;
  std::vector<std::string> names;
};

AttributeCells cells_of(const JudgeTables& t, const StratumAttribute& a) {
  AttributeCells cells;
  cells.names = a.names;
  std::size_t size = a.names.size();
  const Catalogue* catalogue = t.in.catalogue;
  switch (a.kind) {
    case StratumAttribute::Kind::kPopularity:
      cells.of_item = popularity_bins_of(t.frozen_popularity, t.snapshot_items, a.bins);
      cells.of_item.resize(t.num_items, 0);
      size = a.bins;
      break;
    case StratumAttribute::Kind::kRecency:
      if (catalogue == nullptr || catalogue->first_seen.empty())
        throw InputError(
            "the audit needs the times that items were first seen (--catalogue) for "
            "stratum '" +
            a.name + "'");
      size = a.edges.size() + 1;
      for (const std::int64_t seen : catalogue->first_seen) {
        std::uint32_t cell = 0;
        for (const std::int64_t edge : a.edges)
          cell += seen == INT64_MIN || t.snapshot_as_of - seen >= edge;
        cells.of_item.push_back(cell);
      }
      break;
    case StratumAttribute::Kind::kColumn: {
      const CatalogueColumn* column = t.column(a.column);
      if (column == nullptr)
        throw InputError("the audit needs column '" + a.column + "' of --catalogue for stratum '" +
                         a.name + "'");
      cells.of_item = column->codes;
      cells.names = column->names;
      size = column->names.size();
      break;
    }
  }
  while (cells.names.size() < size)
    cells.names.push_back(a.name + std::to_string(cells.names.size()));
  return cells;
}

std::vector<double> shares_of(const QuotaAttribute& quota, const AttributeCells& cells,
                              std::uint32_t num_items) {
  std::vector<double> shares(cells.names.size(), 0);
  if (quota.mode == QuotaAttribute::Shares::kEqual) {
    for (std::uint32_t i = 0; i < num_items; ++i) shares[cells.of_item[i]] = 1;
  }
  if (quota.mode == QuotaAttribute::Shares::kCatalogue) {
    for (std::uint32_t i = 0; i < num_items; ++i) shares[cells.of_item[i]] += 1;
  }
  if (quota.mode == QuotaAttribute::Shares::kNamed) {
    for (std::size_t c = 0; c < shares.size(); ++c) {
      for (const auto& [name, share] : quota.shares) {
        if (name == cells.names[c]) shares[c] = static_cast<double>(share);
      }
    }
  }
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share = sum > 0 ? share / sum : 0;
  return shares;
}

}  // namespace

std::vector<std::uint32_t> popularity_bins_of(const std::vector<std::uint32_t>& counts,
                                              std::uint32_t num_items, std::uint32_t bins) {
  std::vector<std::uint32_t> order(num_items);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return counts[a] != counts[b] ? counts[a] < counts[b] : a < b;
  });
  std::vector<std::uint32_t> bin(counts.size(), 0);
  for (std::uint64_t place = 0; place < num_items; ++place)
    bin[order[place]] = static_cast<std::uint32_t>(place * bins / num_items);
  return bin;
}

WantedStrata wanted_strata(const JudgeTables& tables) {
  WantedStrata wanted;
  wanted.of_item.assign(tables.num_items, 0);
  wanted.share = {1};
  for (const QuotaAttribute& quota : tables.recipe.quota->by) {
    for (const StratumAttribute& attribute : tables.recipe.strata) {
      if (attribute.name != quota.attribute) continue;
      const AttributeCells cells = cells_of(tables, attribute);
      const std::vector<double> shares = shares_of(quota, cells, tables.snapshot_items);
      const auto size = static_cast<std::uint32_t>(shares.size());
      std::vector<double> product;
      for (const double outer : wanted.share) {
        for (const double inner : shares) product.push_back(outer * inner);
      }
      wanted.share = std::move(product);
      for (std::uint32_t i = 0; i < tables.num_items; ++i)
        wanted.of_item[i] = wanted.of_item[i] * size + cells.of_item[i];
    }
  }
  const double sum = std::accumulate(wanted.share.begin(), wanted.share.end(), 0.0);
  for (double& share : wanted.share) share = sum > 0 ? share / sum : 0;
  return wanted;
}

}  // namespace quarry

// Strata, integer weights and marks that are computed once per snapshot, before any row.
#include "host/mine/snapshot.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/core/errors.h"
#include "kernels/setup/setup.h"

namespace quarry {
namespace {

/// One attribute's cell for each item, and the cells' names.
struct Cells {
  std::vector<std::uint32_t> of_item;
  std::vector<std::string> names;
  std::uint64_t bytes() const {
    return of_item.size() * sizeof(std::uint32_t) + names.size() * sizeof(std::string);
  }
};

Cells popularity_cells(const Exec& exec, const StratumAttribute& a, const Snapshot& snapshot,
                       const std::uint32_t* popularity, std::uint32_t num_items) {
  Cells cells;
  cells.names = a.names;
  cells.of_item.resize(num_items);
  const PlacedArray<std::uint32_t> bins =
      popularity_bins(exec, popularity, std::min(snapshot.num_items, num_items), num_items, a.bins);
  const std::size_t bytes = bins.size() * sizeof(std::uint32_t);
  if (exec.device == Device::kCuda) {
    copy_to_host(exec, cells.of_item.data(), bins.data(), bytes);
    synchronize(exec);
  } else {
    std::memcpy(cells.of_item.data(), bins.data(), bytes);
  }
  return cells;
}

Cells recency_cells(const StratumAttribute& a, const Snapshot& snapshot, const Catalogue* catalogue,
                    std::uint32_t num_items) {
  if (catalogue == nullptr || catalogue->first_seen.empty()) {
    throw ConfigError(
        "stratum '" + a.name +
        "' needs the time that items were first seen, which the catalogue does "
        "not have; add a first_seen column or map one with --catalogue-columns first_seen=NAME");
  }
  Cells cells;
  cells.names = a.names;
  cells.of_item.resize(num_items);
  for (std::uint32_t i = 0; i < num_items; ++i) {
    const std::int64_t seen = catalogue->first_seen[i];
    std::uint32_t cell = static_cast<std::uint32_t>(a.edges.size());
    if (seen != INT64_MIN) {
      const std::int64_t age = snapshot.as_of - seen;
      cell = static_cast<std::uint32_t>(std::upper_bound(a.edges.begin(), a.edges.end(), age) -
                                        a.edges.begin());
    }
    cells.of_item[i] = cell;
  }
  return cells;
}

Cells column_cells(const StratumAttribute& a, const Catalogue* catalogue) {
  const CatalogueColumn* column = catalogue != nullptr ? catalogue->find(a.column) : nullptr;
  if (column == nullptr) {
    throw ConfigError(
        "stratum '" + a.name + "' reads column '" + a.column +
        "', which the catalogue does not have; give --catalogue a table with that column");
  }
  return {column->codes, column->names};
}

Cells cells_of(const Exec& exec, const StratumAttribute& a, const Snapshot& snapshot,
               const std::uint32_t* popularity, const Catalogue* catalogue,
               std::uint32_t num_items) {
  Cells cells;
  std::size_t size = 0;
  switch (a.kind) {
    case StratumAttribute::Kind::kPopularity:
      cells = popularity_cells(exec, a, snapshot, popularity, num_items);
      size = a.bins;
      break;
    case StratumAttribute::Kind::kRecency:
      cells = recency_cells(a, snapshot, catalogue, num_items);
      size = a.edges.size() + 1;
      break;
    case StratumAttribute::Kind::kColumn:
      cells = column_cells(a, catalogue);
      size = cells.names.size();
      break;
  }
  while (cells.names.size() < size)
    cells.names.push_back(a.name + std::to_string(cells.names.size()));
  return cells;
}

/// All that the cells of an attribute depend on besides the snapshot and the catalogue.
std::string name_of(const StratumAttribute& a) {
  std::string name = std::to_string(static_cast<int>(a.kind)) + name_part(a.name) + " " +
                     std::to_string(a.bins) + name_part(a.column);
  for (const std::int64_t edge : a.edges) name += " " + std::to_string(edge);
  for (const std::string& cell : a.names) name += name_part(cell);
  return name;
}

/// `num_items`: the snapshot's, so that targets are frozen with it.
std::vector<std::uint64_t> cell_weights(const QuotaAttribute& quota, const Cells& cells,
                                        std::uint32_t num_items) {
  std::vector<std::uint64_t> weights(cells.names.size(), 0);
  switch (quota.mode) {
    case QuotaAttribute::Shares::kEqual:
      for (std::uint32_t i = 0; i < num_items; ++i) weights[cells.of_item[i]] = 1;
      break;
    case QuotaAttribute::Shares::kCatalogue:
      for (std::uint32_t i = 0; i < num_items; ++i) weights[cells.of_item[i]] += 1;
      break;
    case QuotaAttribute::Shares::kNamed:
      for (const auto& [name, share] : quota.shares) {
        const auto at = std::find(cells.names.begin(), cells.names.end(), name);
        if (at == cells.names.end()) {
          std::string words = "[quota] names '" + name + "' of '" + quota.attribute +
                              "', which does not exist; the first values are";
          for (std::size_t i = 0; i < cells.names.size() && i < 10; ++i)
            words.append(" '").append(cells.names[i]).append("'");
          throw ConfigError(words);
        }
        weights[static_cast<std::size_t>(at - cells.names.begin())] = share;
      }
      break;
  }
  return weights;
}

constexpr const char* kManyDecimals =
    "[quota] shares do not reduce to small whole numbers; use shares with fewer decimals";

/// Products without their common divisor. Throws where they need more than 62 bits.
std::vector<std::uint64_t> reduced(const std::vector<unsigned __int128>& products) {
  unsigned __int128 divisor = 0;
  for (unsigned __int128 w : products) {
    while (w != 0) {
      const unsigned __int128 rest = divisor % w;
      divisor = w;
      w = rest;
    }
  }
  std::vector<std::uint64_t> weights;
  for (const unsigned __int128 w : products) {
    const unsigned __int128 reduced = divisor > 1 ? w / divisor : w;
    if (reduced >> 62 != 0) throw ConfigError(kManyDecimals);
    weights.push_back(static_cast<std::uint64_t>(reduced));
  }
  return weights;
}

void divide_out(std::vector<std::uint64_t>& weights) {
  std::uint64_t divisor = 0;
  for (const std::uint64_t w : weights) divisor = std::gcd(divisor, w);
  if (divisor > 1) {
    for (std::uint64_t& w : weights) w /= divisor;
  }
}

}  // namespace

std::uint64_t users_with_a_positive(const Exposure& e) {
  const auto positive = static_cast<std::uint8_t>(ExposureClass::kPositive);
  std::uint64_t users = 0;
  for (std::size_t u = 0; u + 1 < e.offsets.size(); ++u) {
    bool any = false;
    for (std::uint64_t i = e.offsets[u]; i < e.offsets[u + 1] && !any; ++i)
      any = e.classes[i] == positive;
    users += any ? 1 : 0;
  }
  return users;
}

Snapshot make_snapshot(const Exposure& exposure, std::uint32_t num_items) {
  Snapshot s;
  s.popularity = exposure.item_count;
  s.popularity.resize(num_items, 0);
  s.num_items = num_items;
  s.as_of = exposure.as_of;
  s.positive_users = users_with_a_positive(exposure);
  return s;
}

Strata make_strata(const Exec& exec, const Recipe& recipe, const Snapshot& snapshot,
                   const std::uint32_t* popularity, const Catalogue* catalogue,
                   std::uint32_t num_items, Placement& cells_by_name) {
  Strata strata;
  strata.tables_name = "strata";
  strata.of_item.assign(num_items, 0);
  strata.names = {""};
  strata.weight = {1};
  std::vector<std::uint32_t> sizes;
  for (const QuotaAttribute& quota : recipe.quota->by) {
    const auto attribute =
        std::find_if(recipe.strata.begin(), recipe.strata.end(),
                     [&](const StratumAttribute& a) { return a.name == quota.attribute; });
    if (attribute == recipe.strata.end()) {
      throw ConfigError("[quota] by '" + quota.attribute + "', which [strata] does not define");
    }
    const std::string name = name_of(*attribute);
    strata.tables_name += name_part(name);
    const Cells& cells = cells_by_name.share<Cells>("cells " + name, [&](Placement&) {
      return cells_of(exec, *attribute, snapshot, popularity, catalogue, num_items);
    });
    std::vector<std::uint64_t> weights =
        cell_weights(quota, cells, std::min(snapshot.num_items, num_items));
    divide_out(weights);
    const auto size = static_cast<std::uint32_t>(cells.names.size());
    if (strata.names.size() * size > kMaxStrata) {
      throw ConfigError("[quota] makes " + std::to_string(strata.names.size() * size) +
                        " strata; at most " + std::to_string(kMaxStrata) +
                        "; use fewer bins, edges or a coarser column");
    }
    std::vector<std::string> names;
    std::vector<unsigned __int128> products;
    for (std::size_t outer = 0; outer < strata.names.size(); ++outer) {
      for (std::uint32_t c = 0; c < size; ++c) {
        names.push_back(sizes.empty() ? cells.names[c]
                                      : strata.names[outer] + "/" + cells.names[c]);
        products.push_back(static_cast<unsigned __int128>(strata.weight[outer]) * weights[c]);
      }
    }
    for (std::uint32_t i = 0; i < num_items; ++i)
      strata.of_item[i] = strata.of_item[i] * size + cells.of_item[i];
    strata.names = std::move(names);
    strata.weight = reduced(products);
    sizes.push_back(size);
  }
  unsigned __int128 sum = 0;
  for (const std::uint64_t w : strata.weight) sum += w;
  if (sum == 0) throw ConfigError("[quota] gives every stratum a share of 0");
  if (sum * recipe.k >> 62 != 0) throw ConfigError(kManyDecimals);
  std::uint32_t width = 1;
  for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
    width *= *size;
    strata.level_width.push_back(width);
  }
  return strata;
}

std::vector<std::uint32_t> universal_items(const Exposure* e, const Snapshot& snapshot,
                                           double share) {
  std::vector<std::uint32_t> bitmap((snapshot.popularity.size() + 31) / 32, 0);
  std::uint64_t users = 0;
  if (snapshot.positive_users) {
    users = *snapshot.positive_users;
  } else if (e != nullptr) {
    users = users_with_a_positive(*e);
  }
  for (std::size_t i = 0; i < snapshot.popularity.size(); ++i) {
    if (snapshot.popularity[i] > share * static_cast<double>(users))
      bitmap[i / 32] |= 1u << (i % 32);
  }
  return bitmap;
}

}  // namespace quarry

// Strata, integer weights and lists that are computed once per snapshot, before any row.
#include "host/mine/snapshot.h"

#include <algorithm>
#include <numeric>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// One attribute's cell for each item, and the cells' names.
struct Cells {
  std::vector<std::uint32_t> of_item;
  std::vector<std::string> names;
};

Cells popularity_cells(const StratumAttribute& a, const Snapshot& snapshot,
                       std::uint32_t num_items) {
  Cells cells;
  cells.names = a.names;
  cells.of_item.assign(num_items,
                       0);  // items newer than the snapshot belong to the least popular bin
  const std::uint32_t n = std::min(snapshot.num_items, num_items);
  std::vector<std::uint32_t> by_count(n);
  std::iota(by_count.begin(), by_count.end(), 0u);
  std::stable_sort(by_count.begin(), by_count.end(), [&](std::uint32_t x, std::uint32_t y) {
    return snapshot.popularity[x] < snapshot.popularity[y];
  });
  for (std::uint32_t place = 0; place < n; ++place) {
    cells.of_item[by_count[place]] = static_cast<std::uint32_t>(std::uint64_t{place} * a.bins / n);
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

Cells cells_of(const StratumAttribute& a, const Snapshot& snapshot, const Catalogue* catalogue,
               std::uint32_t num_items) {
  Cells cells;
  std::size_t size = 0;
  switch (a.kind) {
    case StratumAttribute::Kind::kPopularity:
      cells = popularity_cells(a, snapshot, num_items);
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

/// `num_items`: the snapshot's, so that targets are frozen with it.
std::vector<std::uint64_t> cell_weights(const QuotaAttribute& quota, const Cells& cells,
                                        std::uint32_t num_items) {
  std::vector<std::uint64_t> weights(cells.names.size(), 0);
  switch (quota.mode) {
    case QuotaAttribute::Shares::kEqual:
      std::fill(weights.begin(), weights.end(), 1);
      break;
    case QuotaAttribute::Shares::kCatalogue:
      for (std::uint32_t i = 0; i < num_items; ++i) weights[cells.of_item[i]] += 1;
      break;
    case QuotaAttribute::Shares::kNamed:
      for (const auto& [name, share] : quota.shares) {
        const auto at = std::find(cells.names.begin(), cells.names.end(), name);
        if (at == cells.names.end()) {
          std::string known;
          for (std::size_t i = 0; i < cells.names.size() && i < 10; ++i)
            known += " '" + cells.names[i] + "'";
          throw ConfigError("[quota] names '" + name + "' of '" + quota.attribute +
                            "', which does not exist; the first values are" + known);
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

Snapshot make_snapshot(const Exposure& exposure, std::uint32_t num_items) {
  Snapshot s;
  s.popularity = exposure.item_count;
  s.popularity.resize(num_items, 0);
  s.num_items = num_items;
  s.as_of = exposure.as_of;
  return s;
}

Strata make_strata(const Recipe& recipe, const Snapshot& snapshot, const Catalogue* catalogue,
                   std::uint32_t num_items) {
  Strata strata;
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
    const Cells cells = cells_of(*attribute, snapshot, catalogue, num_items);
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
        names.push_back(strata.names[outer].empty() ? cells.names[c]
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

Lists positive_lists(const MinerInputs& inputs, std::uint32_t num_users) {
  Lists lists;
  std::vector<std::uint64_t>& offsets = lists.offsets;
  offsets.assign(std::size_t{num_users} + 1, 0);
  const Exposure* e = inputs.exposure;
  const auto positive = static_cast<std::uint8_t>(ExposureClass::kPositive);
  if (e != nullptr) {
    for (std::uint32_t u = 0; u < num_users; ++u) {
      for (std::uint64_t i = e->offsets[u]; i < e->offsets[u + 1]; ++i)
        offsets[u + 1] += e->classes[i] == positive;
    }
  }
  if (inputs.rows != nullptr) {
    for (std::uint64_t r = 0; r < inputs.rows->size(); ++r) {
      offsets[inputs.rows->user[r] + 1] +=
          inputs.rows->positive_offsets[r + 1] - inputs.rows->positive_offsets[r];
    }
  }
  const Lists* more = inputs.row_positives;
  if (more != nullptr && more->offsets.empty()) more = nullptr;
  for (std::uint32_t u = 0; more != nullptr && u < num_users; ++u)
    offsets[u + 1] += more->offsets[u + 1] - more->offsets[u];
  for (std::uint32_t u = 0; u < num_users; ++u) offsets[u + 1] += offsets[u];
  lists.values.resize(offsets[num_users]);
  std::vector<std::uint64_t> next(offsets.begin(), offsets.end() - 1);
  if (e != nullptr) {
    for (std::uint32_t u = 0; u < num_users; ++u) {
      for (std::uint64_t i = e->offsets[u]; i < e->offsets[u + 1]; ++i) {
        if (e->classes[i] == positive) lists.values[next[u]++] = e->items[i];
      }
    }
  }
  if (inputs.rows != nullptr) {
    for (std::uint64_t r = 0; r < inputs.rows->size(); ++r) {
      const std::uint32_t u = inputs.rows->user[r];
      for (std::uint64_t i = inputs.rows->positive_offsets[r];
           i < inputs.rows->positive_offsets[r + 1]; ++i) {
        lists.values[next[u]++] = inputs.rows->positives[i];
      }
    }
  }
  for (std::uint32_t u = 0; more != nullptr && u < num_users; ++u) {
    for (std::uint64_t i = more->offsets[u]; i < more->offsets[u + 1]; ++i)
      lists.values[next[u]++] = more->values[i];
  }
  std::uint64_t kept = 0;
  for (std::uint32_t u = 0; u < num_users; ++u) {
    const std::uint64_t begin = offsets[u];
    const std::uint64_t end = next[u];
    offsets[u] = kept;
    std::sort(lists.values.begin() + static_cast<std::ptrdiff_t>(begin),
              lists.values.begin() + static_cast<std::ptrdiff_t>(end));
    for (std::uint64_t i = begin; i < end; ++i) {
      if (i > begin && lists.values[i] == lists.values[kept - 1]) continue;
      lists.values[kept++] = lists.values[i];
    }
  }
  offsets[num_users] = kept;
  lists.values.resize(kept);
  return lists;
}

Lists exposed_lists(const Exposure* e, std::uint32_t num_users, std::uint32_t mask,
                    std::int64_t oldest) {
  Lists lists;
  lists.offsets.assign(std::size_t{num_users} + 1, 0);
  for (std::uint32_t u = 0; e != nullptr && u < num_users; ++u) {
    for (std::uint64_t i = e->offsets[u]; i < e->offsets[u + 1]; ++i) {
      if ((mask >> e->classes[i] & 1u) != 0 && e->last_time[i] >= oldest)
        lists.values.push_back(e->items[i]);
    }
    lists.offsets[u + 1] = lists.values.size();
  }
  return lists;
}

Lists code_lists(const Lists& positives, const std::vector<std::uint32_t>& codes) {
  Lists lists;
  lists.offsets.assign(positives.offsets.size(), 0);
  std::vector<std::uint32_t> own;
  for (std::size_t u = 0; u + 1 < positives.offsets.size(); ++u) {
    own.clear();
    for (std::uint64_t i = positives.offsets[u]; i < positives.offsets[u + 1]; ++i) {
      if (codes[positives.values[i]] != 0) own.push_back(codes[positives.values[i]]);
    }
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end()), own.end());
    lists.values.insert(lists.values.end(), own.begin(), own.end());
    lists.offsets[u + 1] = lists.values.size();
  }
  return lists;
}

std::vector<std::uint32_t> universal_items(const Exposure* e, const Snapshot& snapshot,
                                           double share) {
  std::vector<std::uint32_t> bitmap((snapshot.popularity.size() + 31) / 32, 0);
  std::uint64_t users = 0;
  const auto positive = static_cast<std::uint8_t>(ExposureClass::kPositive);
  for (std::size_t u = 0; e != nullptr && u + 1 < e->offsets.size(); ++u) {
    bool any = false;
    for (std::uint64_t i = e->offsets[u]; i < e->offsets[u + 1] && !any; ++i)
      any = e->classes[i] == positive;
    users += any ? 1 : 0;
  }
  for (std::size_t i = 0; i < snapshot.popularity.size(); ++i) {
    if (snapshot.popularity[i] > share * static_cast<double>(users))
      bitmap[i / 32] |= 1u << (i % 32);
  }
  return bitmap;
}

}  // namespace quarry

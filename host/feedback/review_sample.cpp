// Cells, allocation and the draw.
#include "host/feedback/review_sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <numeric>
#include <queue>
#include <tuple>
#include <unordered_map>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint64_t kStopEvery = 1024;

const char* name_of(SampleBy by) {
  switch (by) {
    case SampleBy::kBranch:
      return "branch";
    case SampleBy::kStratum:
      return "stratum";
    case SampleBy::kRank:
      return "rank";
  }
  return "?";
}

/// Decade of a rank: 0 for ranks 1 to 10; of what is not ranked one that no rank has.
std::uint32_t decade_of(std::uint32_t raw_rank) {
  constexpr std::uint32_t kNotRanked = 15;
  if (raw_rank == 0) return kNotRanked;
  std::uint32_t decade = 0;
  for (std::uint64_t most = 10; raw_rank > most; most *= 10) ++decade;
  return decade;
}

/// The numbers that make a cell, in one.
std::uint64_t key_of(const NegativeSet::Row& row, std::uint32_t slot,
                     const std::vector<SampleBy>& by) {
  std::uint64_t key = 0;
  for (const SampleBy what : by) {
    if (what == SampleBy::kBranch) key |= std::uint64_t{row.branch[slot]} << 40;
    if (what == SampleBy::kStratum) key |= std::uint64_t{row.stratum[slot]};
    if (what == SampleBy::kRank) key |= std::uint64_t{decade_of(row.raw_rank[slot])} << 32;
  }
  return key;
}

template <class Visit>
void each_slot(const NegativeSet& set, const std::atomic<bool>* stop, Visit&& visit) {
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    if (r % kStopEvery == 0 && stop != nullptr && stop->load())
      throw Cancelled("stopped while walking over the set; nothing was written");
    const NegativeSet::Row row = set.row(r);
    for (std::uint32_t j = 0; j < row.count; ++j) visit(r, row, j);
  }
}

/// Cells by key, numbered in the order of their names.
struct Cells {
  std::vector<SampleCell> all;
  std::unordered_map<std::uint64_t, std::uint32_t> number_of;
};

Cells find_cells(const NegativeSet& set, const std::vector<SampleBy>& by,
                 const std::atomic<bool>* stop) {
  struct Found {
    std::string name;
    std::uint64_t population = 0;
  };
  std::unordered_map<std::uint64_t, Found> found;
  each_slot(set, stop, [&](std::uint64_t, const NegativeSet::Row& row, std::uint32_t j) {
    Found& cell = found[key_of(row, j, by)];
    if (cell.population++ == 0) cell.name = cell_of(set.schema(), row, j, by);
  });
  std::vector<std::pair<std::string, std::uint64_t>> order;
  order.reserve(found.size());
  for (const auto& [key, cell] : found) order.emplace_back(cell.name, key);
  std::sort(order.begin(), order.end());
  Cells cells;
  for (const auto& [name, key] : order) {
    // Two strata of one name are one cell.
    if (cells.all.empty() || cells.all.back().name != name) cells.all.push_back({name, 0, 0});
    cells.all.back().population += found[key].population;
    cells.number_of[key] = static_cast<std::uint32_t>(cells.all.size() - 1);
  }
  return cells;
}

std::uint64_t draw_hash(std::uint64_t row_key, std::uint32_t slot, std::uint64_t seed) {
  unsigned char bytes[sizeof(row_key) + sizeof(slot)];
  std::memcpy(bytes, &row_key, sizeof(row_key));
  std::memcpy(bytes + sizeof(row_key), &slot, sizeof(slot));
  return XXH3_64bits_withSeed(bytes, sizeof(bytes), seed);
}

/// Of a set: a next version keeps most row keys, and a draw by these alone would be of the slots
/// that the last review cleaned.
std::uint64_t seed_of(const NegativeSet& set, std::uint64_t seed) {
  const std::string hash = set.content_hash();
  return XXH3_64bits_withSeed(hash.data(), hash.size(), seed);
}

}  // namespace

std::vector<SampleBy> parse_sample_by(const std::string& text) {
  std::vector<SampleBy> by;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find_first_of("+,", at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    bool known = false;
    for (const SampleBy what : {SampleBy::kBranch, SampleBy::kStratum, SampleBy::kRank}) {
      if (word != name_of(what)) continue;
      known = true;
      if (std::find(by.begin(), by.end(), what) == by.end()) by.push_back(what);
    }
    if (!known)
      throw ConfigError("--by: '" + word +
                        "' is nothing to stratify by; branch, stratum and rank are, several with a "
                        "comma between them (branch,rank)");
  }
  std::sort(by.begin(), by.end());
  return by;
}

std::string words_of(const std::vector<SampleBy>& by) {
  std::string words;
  for (const SampleBy what : by) words += (words.empty() ? "" : "+") + std::string(name_of(what));
  return words;
}

std::string rank_band(std::uint32_t raw_rank) {
  if (raw_rank == 0) return "not ranked";
  std::uint64_t most = 10;
  while (raw_rank > most) most *= 10;
  return fmt::format("{}-{}", most == 10 ? 1 : most / 10 + 1, most);
}

std::string cell_of(const SetSchema& schema, const NegativeSet::Row& row, std::uint32_t slot,
                    const std::vector<SampleBy>& by) {
  const auto named = [](const std::vector<std::string>& names, std::uint32_t number) {
    return number < names.size() ? names[number] : fmt::format("#{}", number);
  };
  std::string name;
  for (const SampleBy what : by) {
    name += fmt::format("{}{}=", name.empty() ? "" : "; ", name_of(what));
    if (what == SampleBy::kBranch) name += named(schema.branches, row.branch[slot]);
    if (what == SampleBy::kStratum) name += named(schema.strata, row.stratum[slot]);
    if (what == SampleBy::kRank) name += rank_band(row.raw_rank[slot]);
  }
  return name;
}

std::vector<std::uint64_t> allocate(std::span<const std::uint64_t> populations, std::uint64_t size,
                                    std::uint64_t least) {
  const std::uint64_t all =
      std::accumulate(populations.begin(), populations.end(), std::uint64_t{0});
  if (all <= size) return {populations.begin(), populations.end()};
  std::uint64_t needed = 0;
  for (const std::uint64_t n : populations) needed += std::min(n, least);
  if (needed > size)
    throw ConfigError(fmt::format(
        "--sample {}: {} strata with at least {} each take {}; raise --sample, lower --least, or "
        "stratify by less (--by)",
        size, populations.size(), least, needed));
  // The level to which all strata are filled: from the smallest on, each takes its share of what is
  // left or all it has.
  std::vector<std::size_t> order(populations.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tie(populations[a], b) < std::tie(populations[b], a);
  });
  std::vector<std::uint64_t> given(populations.size(), 0);
  std::uint64_t left = size;
  std::size_t rest = order.size();
  std::uint64_t level = 0;
  for (const std::size_t h : order) {
    level = left / rest;
    if (populations[h] > level) break;
    given[h] = populations[h];
    left -= populations[h];
    --rest;
  }
  // The largest stand last, of equal ones the first.
  for (std::size_t i = 0; i < rest; ++i) given[order[order.size() - 1 - i]] = level;
  left -= level * rest;
  for (std::size_t i = 0; i < left; ++i) ++given[order[order.size() - 1 - i]];
  return given;
}

std::vector<SampleCell> cells_of(const NegativeSet& set, const std::vector<SampleBy>& by,
                                 const std::atomic<bool>* stop) {
  return find_cells(set, by, stop).all;
}

ReviewSample draw_sample(const NegativeSet& set, const std::vector<SampleBy>& by,
                         std::uint64_t size, std::uint64_t least, std::uint64_t seed,
                         const std::atomic<bool>* stop) {
  Cells cells = find_cells(set, by, stop);
  const std::uint64_t draw = seed_of(set, seed);
  if (cells.all.empty())
    throw InputError(set.manifest_path() + ": has no negative in any row; nothing can be judged");
  std::vector<std::uint64_t> populations;
  for (const SampleCell& cell : cells.all) populations.push_back(cell.population);
  const std::vector<std::uint64_t> sizes = allocate(populations, size, least);
  using Drawn = std::tuple<std::uint64_t, std::uint64_t, std::uint32_t>;  // hash, row, slot
  std::vector<std::priority_queue<Drawn>> drawn(cells.all.size());
  each_slot(set, stop, [&](std::uint64_t r, const NegativeSet::Row& row, std::uint32_t j) {
    const std::uint32_t cell = cells.number_of.at(key_of(row, j, by));
    if (sizes[cell] == 0) return;
    const Drawn one(draw_hash(row.row_key, j, draw), r, j);
    auto& kept = drawn[cell];
    if (kept.size() < sizes[cell]) {
      kept.push(one);
    } else if (one < kept.top()) {
      kept.pop();
      kept.push(one);
    }
  });
  ReviewSample sample;
  for (std::size_t c = 0; c < cells.all.size(); ++c) {
    cells.all[c].sampled = sizes[c];
    sample.population += cells.all[c].population;
    for (; !drawn[c].empty(); drawn[c].pop()) {
      const auto& [hash, row, slot] = drawn[c].top();
      sample.slots.push_back({row, slot, static_cast<std::uint32_t>(c)});
    }
  }
  std::sort(sample.slots.begin(), sample.slots.end(),
            [](const SampledSlot& a, const SampledSlot& b) {
              return std::tie(a.row, a.slot) < std::tie(b.row, b.slot);
            });
  sample.cells = std::move(cells.all);
  return sample;
}

std::string ReviewId::text() const { return fmt::format("{}:{}:{}", content_hash, row, slot); }

std::optional<ReviewId> parse_review_id(const std::string& text) {
  const std::size_t first = text.find(':');
  const std::size_t second = first == std::string::npos ? first : text.find(':', first + 1);
  if (second == std::string::npos) return std::nullopt;
  ReviewId id;
  id.content_hash = text.substr(0, first);
  const auto number = [&](std::size_t from, std::size_t to, auto& value) {
    const char* const end = text.data() + to;
    const auto read = std::from_chars(text.data() + from, end, value);
    return read.ec == std::errc() && read.ptr == end;
  };
  if (!number(first + 1, second, id.row) || !number(second + 1, text.size(), id.slot))
    return std::nullopt;
  // One text per slot: what a spreadsheet changed ("007") is none.
  return id.text() == text ? std::optional(id) : std::nullopt;
}

std::vector<std::vector<std::uint32_t>> assign_reviewers(std::uint64_t units,
                                                         std::uint32_t reviewers,
                                                         std::uint32_t each) {
  std::vector<std::vector<std::uint32_t>> all(units);
  std::uint64_t next = 0;
  for (auto& of_line : all) {
    for (std::uint32_t i = 0; i < each; ++i)
      of_line.push_back(static_cast<std::uint32_t>(next++ % reviewers));
    std::sort(of_line.begin(), of_line.end());
  }
  return all;
}

}  // namespace quarry

// The searches of a tile.
#include "host/mine/deepen.h"

#include <algorithm>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// Longest lists, in lengths of what is wanted of them.
constexpr std::uint32_t kMaxReach = 64;
/// Likewise, to begin with, where rows share their queries.
constexpr std::uint32_t kSharedReach = 8;

std::uint32_t scaled(std::uint32_t depth, std::uint32_t by, std::uint32_t over,
                     std::uint32_t most) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{depth} * by / over, most));
}

/// Four times as much, so many times.
std::uint32_t after_steps(std::uint32_t depth, std::uint32_t steps, std::uint32_t most) {
  for (; steps > 0 && depth < most; --steps) depth = scaled(depth, 4, 1, most);
  return depth;
}

/// The longest list that a scan leaves.
std::uint32_t longest(const Miner::State& s) {
  const std::uint32_t items = s.compiled->world.num_items;
  return std::min(s.max_depth, items - items / 8);
}

SearchDepth depth_at(const Miner::State& s, const SearchDepth& first, const SearchStep& step) {
  const std::uint32_t wanted = after_steps(first.wanted, step.wanted, s.max_depth);
  const std::uint32_t plain = after_steps(first.plain, step.wanted, s.max_depth);
  std::uint32_t most = most_at(s, wanted);
  if (step.doubled == 0) return {plain, wanted, most, step.found};
  for (std::uint32_t i = 0; i < step.doubled && most < longest(s); ++i)
    most = scaled(most, 2, 1, longest(s));
  // Few rows are searched without a goal, to the same place.
  return {std::max(plain, most), wanted, most};
}

/// The step of a row that `step` was not enough for. Where nearly all items are to be listed it is
/// the last one, which is no scan.
SearchStep next_step(const Miner::State& s, const SearchDepth& first, const SearchStep& step,
                     const ShortRow& row) {
  if (step.found) return {};
  // Four times as much is wanted, so that the list is as long as it was.
  SearchStep next{step.wanted + 1, step.doubled - std::min(step.doubled, 2u)};
  while (depth_at(s, first, next).most < row.length) {
    if (depth_at(s, first, next).most >= longest(s)) {
      next.doubled = 0;
      while (depth_at(s, first, next).wanted < s.max_depth) ++next.wanted;
      break;
    }
    ++next.doubled;
  }
  return next;
}

/// Several rows of a user are one query, which counts by the lowest of their ceilings and passes
/// over by the highest: more lies between.
bool shares_queries(const TileJob& job, std::uint32_t first, std::uint32_t num_rows) {
  if (job.rows.queries != nullptr || num_rows < 2) return false;
  std::uint32_t repeats = 0;  // rows of a user mostly stand together
  for (std::uint32_t i = 1; i < num_rows; ++i)
    repeats += job.host_user[first + i] == job.host_user[first + i - 1] ? 1 : 0;
  return repeats * 2 > num_rows;
}

/// Some rows at one depth; those that it was not enough for wait for their next step.
void search_once(Miner::State& s, const TileJob& job, const TileRows& rows,
                 const SearchDepth& first, const SearchStep& step, const std::atomic<bool>* stop) {
  MinerReport& report = s.attempt;
  const SearchDepth depth = depth_at(s, first, step);
  report.deepest = std::max<std::uint64_t>(report.deepest,
                                           depth.most > depth.wanted ? depth.wanted : depth.plain);
  s.short_rows.clear();
  const std::uint32_t at_once = std::min(
      s.tile_rows, rows_within(*s.compiled, std::max(depth.most, depth.plain), s.run_bytes));
  for (std::uint32_t at = 0; at < rows.count; at += std::min(at_once, rows.count - at)) {
    stop_if_asked(stop);
    const TileRows part{rows.places != nullptr ? 0 : rows.first + at,
                        std::min(at_once, rows.count - at),
                        rows.places != nullptr ? rows.places + at : nullptr};
    s.tile->run(job, part, depth, s.short_rows, report);
  }
  QUARRY_CHECK(s.short_rows.empty() || step.found || depth.wanted < s.max_depth);
  report.deepened_rows += s.short_rows.size();
  for (const ShortRow& row : s.short_rows)
    s.waiting.push_back({next_step(s, first, step, row), row.place});
}

/// The waiting rows whose turn is next: all of one step, in their order.
SearchStep take_waiting(Miner::State& s) {
  std::sort(s.waiting.begin(), s.waiting.end(), [](const WaitingRow& a, const WaitingRow& b) {
    return a.step != b.step ? a.step > b.step : a.place > b.place;
  });
  const SearchStep step = s.waiting.back().step;
  s.places.clear();
  while (!s.waiting.empty() && s.waiting.back().step == step) {
    s.places.push_back(s.waiting.back().place);
    s.waiting.pop_back();
  }
  return step;
}

}  // namespace

void stop_if_asked(const std::atomic<bool>* stop) {
  if (stop != nullptr && stop->load(std::memory_order_relaxed))
    throw Cancelled("stopped on request");
}

void add(SearchStats& into, const SearchStats& from) {
  into.queries += from.queries;
  into.certified += from.certified;
  into.fallback += from.fallback;
  into.widened += from.widened;
  into.coarse += from.coarse;
  into.toward += from.toward;
  into.passed += from.passed;
}

SearchStats minus(SearchStats a, const SearchStats& b) {
  a.queries -= b.queries;
  a.certified -= b.certified;
  a.fallback -= b.fallback;
  a.widened -= b.widened;
  a.coarse -= b.coarse;
  a.toward -= b.toward;
  a.passed -= b.passed;
  return a;
}

std::uint32_t rows_within(const Compiled& compiled, std::uint32_t depth, std::uint64_t budget) {
  const std::uint64_t rows = budget / Tile::row_bytes(compiled, depth);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(rows, 1, kMaxTileRows));
}

std::uint32_t most_at(const Miner::State& s, std::uint32_t wanted) {
  const std::uint64_t items = s.compiled->world.num_items;
  const std::uint64_t most = std::min(
      {std::uint64_t{wanted} * s.reach + s.skipped, std::uint64_t{s.max_depth}, items - items / 8});
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(most, wanted));
}

SearchDepth first_search_of(Miner::State& s, const TileJob& job, std::uint32_t first,
                            std::uint32_t num_rows) {
  if (s.reach > 1 && shares_queries(job, first, num_rows))
    s.reach = std::max(s.reach, kSharedReach);
  return {std::max(s.plain_depth, s.depth), s.depth, most_at(s, s.depth)};
}

void make_room_in_lists(Miner::State& s, std::uint64_t budget) {
  constexpr std::uint32_t kFewestRows = 64;
  s.reach = s.tile->goals().reach();
  const std::uint32_t usual = s.tile->goals().skipped();
  if (usual > std::uint64_t{s.depth} * (s.reach - 1)) s.skipped = usual;
  while (rows_within(*s.compiled, most_at(s, s.depth), budget) < kFewestRows) {
    if (s.skipped > s.depth) {
      s.skipped /= 2;
    } else if (s.reach > kMaxReach) {
      s.reach /= 2;
    } else {
      break;
    }
  }
}

void mine_rows(Miner::State& s, const TileJob& job, std::uint32_t first, std::uint32_t num_rows,
               const std::atomic<bool>* stop) {
  MinerReport& report = s.attempt;
  report = s.report;
  const SearchStats before = s.retriever ? s.retriever->stats() : SearchStats{};
  const std::uint64_t cut_short_before = s.tile->cut_short();
  const SearchDepth start = first_search_of(s, job, first, num_rows);
  s.waiting.clear();
  const SearchStep to_begin{.found = s.options.found != nullptr};
  search_once(s, job, {first, num_rows, nullptr}, start, to_begin, stop);
  while (!s.waiting.empty()) {
    const SearchStep step = take_waiting(s);
    search_once(s, job, {0, static_cast<std::uint32_t>(s.places.size()), s.places.data()}, start,
                step, stop);
  }
  report.tiles += 1;
  // Start the next tile deeper if this one often had to search twice: cost only, never the result.
  const std::uint64_t again = report.deepened_rows - s.report.deepened_rows;
  const std::uint64_t cut_short = s.tile->cut_short() - cut_short_before;
  // But for rows that lists of slices were not enough for: they say nothing of searches.
  if (again * 8 > num_rows && s.options.found == nullptr) {
    const bool toward = s.retriever->stats().toward > before.toward;
    if (toward && cut_short * 2 > again && s.reach < kMaxReach) {
      s.reach *= 2;
    } else if (toward) {
      s.depth = scaled(s.depth, 3, 2, s.max_depth);
    } else {
      s.plain_depth = scaled(s.plain_depth, 3, 2, s.max_depth);
    }
  }
  if (s.retriever) add(report.search, minus(s.retriever->stats(), before));
  s.report = report;
}

}  // namespace quarry

// What a Miner holds between calls.
#pragma once

#include <compare>

#include "host/mine/compile.h"
#include "host/mine/stage.h"
#include "host/mine/tile.h"

namespace quarry {

/// How much more than in a tile's first search is wanted: four times, so many times; and how often
/// lists are twice as long as that calls for. Before all of them: what was found in slices.
struct SearchStep {
  std::uint32_t wanted = 0, doubled = 0;
  bool found = false;
  auto operator<=>(const SearchStep&) const = default;
};
struct WaitingRow {
  SearchStep step;
  std::uint32_t place = 0;
};

struct Miner::State {
  Recipe recipe;
  MinerOptions options;  ///< never changed: a miner made after this one reads them while it mines
  Exec exec;             ///< of `options`, with fewer threads for a small batch (BatchThreads)
  MinerInputs inputs;
  std::shared_ptr<Compiled> compiled;  ///< shared with exact twins
  RetrieverChoice choice;
  FaissOptions faiss;                         ///< as the retriever was made with
  std::shared_ptr<Retriever> retriever;       ///< shared with miners made after this one
  double build_seconds = 0;                   ///< of the retriever
  std::shared_ptr<Retriever> near_retriever;  ///< likewise
  std::unique_ptr<Tile> tile;
  std::vector<std::unique_ptr<Miner>> replicas;  ///< on the other devices
  mutable MinerReport total;                     ///< of all replicas, made when asked for
  MinerReport report;
  MinerReport earlier;  ///< of other processes
  bool has_earlier = false;
  MinerReport attempt;            ///< of the tile in work; becomes `report` when it is done
  std::uint32_t plain_depth = 0;  ///< where the next tile starts to search, if it follows no goal
  std::uint32_t depth = 0;        ///< where it starts if it does
  std::uint32_t begun_plain_depth = 0, begun_depth = 0, begun_reach = 1;  ///< at first
  std::uint32_t skipped = 0;    ///< and so much longer, for items of users' own lists
  std::uint32_t reach = 1;      ///< lists may be this many times as long as what is wanted of them
  std::uint32_t max_depth = 0;  ///< no branch looks beyond
  std::uint32_t tile_rows = 0;
  std::uint64_t run_bytes = 0;  ///< what a tile may take at any depth; fewer rows go deeper at once
  NegativeBatch batch;
  HostStage host_stage;
  CallerStage caller_stage;
  std::vector<ShortRow> short_rows;   ///< of the search at hand
  std::vector<WaitingRow> waiting;    ///< rows of the call that are to be searched again,
  std::vector<std::uint32_t> places;  ///< and those that are
};

}  // namespace quarry

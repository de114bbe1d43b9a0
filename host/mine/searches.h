// What a miner's searches are made of, beside Miner::prepare_searches.
#pragma once

#include <memory>

#include "host/mine/state.h"

namespace quarry {

/// A tile without buffers, on the retrievers that the miner has.
std::unique_ptr<Tile> make_tile(Miner::State& s);

/// What exact searches of the miner multiply first.
FirstPass first_pass(const Miner::State& s);

}  // namespace quarry

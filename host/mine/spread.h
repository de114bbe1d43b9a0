// Rows of one run spread over several devices: a thread for each, results in row order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "host/mine/miner.h"

namespace quarry {

/// Mines rows [0, num_rows) in blocks of `block_rows`: `num_workers` threads take one block after
/// the other and call `mine(worker, first, count, sink)`, which hands finished batches of the block
/// to its sink in order. `sink` gets all batches in row order on the calling thread; at most two
/// finished blocks per worker wait for it. The first exception of a worker or of the sink ends all
/// of them and is rethrown.
void spread_rows(
    std::uint64_t num_rows, std::uint64_t block_rows, std::uint32_t num_workers,
    const std::function<void(std::uint32_t worker, std::uint64_t first, std::uint64_t count,
                             const std::function<void(const NegativeBatch&)>& sink,
                             const std::atomic<bool>& stop)>& mine,
    const std::function<void(const NegativeBatch&)>& sink, const std::atomic<bool>* stop);

}  // namespace quarry

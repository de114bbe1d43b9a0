// Blocks of rows to workers, batches back in order.
#include "host/mine/spread.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// What workers and the caller share; everything under `mutex` but `stop`.
struct Board {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t next_block = 0;    ///< the next to be taken
  std::uint64_t next_emitted = 0;  ///< the next that the sink gets
  std::map<std::uint64_t, std::vector<NegativeBatch>> finished;
  std::exception_ptr error;
  std::atomic<bool> stop{false};  ///< read by workers between searches

  void fail(std::exception_ptr e) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!error) error = std::move(e);
    stop = true;
    changed.notify_all();
  }
};

}  // namespace

void spread_rows(
    std::uint64_t num_rows, std::uint64_t block_rows, std::uint32_t num_workers,
    const std::function<void(std::uint32_t worker, std::uint64_t first, std::uint64_t count,
                             const std::function<void(const NegativeBatch&)>& sink,
                             const std::atomic<bool>& stop)>& mine,
    const std::function<void(const NegativeBatch&)>& sink, const std::atomic<bool>* stop) {
  const std::uint64_t num_blocks = (num_rows + block_rows - 1) / block_rows;
  Board board;
  const auto work = [&](std::uint32_t worker) {
    try {
      for (;;) {
        std::uint64_t block = 0;
        {
          std::unique_lock<std::mutex> lock(board.mutex);
          board.changed.wait(lock, [&] {
            return board.stop || board.next_block == num_blocks ||
                   board.next_block < board.next_emitted + 2ull * num_workers;
          });
          if (board.stop || board.next_block == num_blocks) return;
          block = board.next_block++;
        }
        const std::uint64_t first = block * block_rows;
        std::vector<NegativeBatch> batches;
        mine(
            worker, first, std::min(block_rows, num_rows - first),
            [&](const NegativeBatch& batch) {
              batches.push_back(batch);
              batches.back().first_row += first;
            },
            board.stop);
        const std::lock_guard<std::mutex> lock(board.mutex);
        board.finished[block] = std::move(batches);
        board.changed.notify_all();
      }
    } catch (...) {
      board.fail(std::current_exception());
    }
  };

  std::vector<std::thread> threads;
  try {
    for (std::uint32_t w = 0; w < num_workers; ++w) threads.emplace_back(work, w);
    std::unique_lock<std::mutex> lock(board.mutex);
    while (board.next_emitted < num_blocks && !board.error) {
      if (stop != nullptr && stop->load(std::memory_order_relaxed))
        throw Cancelled("stopped on request");
      const auto ready = board.finished.find(board.next_emitted);
      if (ready == board.finished.end()) {
        // Now and then the caller's wish to stop is looked at: nothing else wakes this thread.
        board.changed.wait_for(lock, std::chrono::milliseconds(100));
        continue;
      }
      const std::vector<NegativeBatch> batches = std::move(ready->second);
      board.finished.erase(ready);
      board.next_emitted += 1;
      board.changed.notify_all();
      lock.unlock();
      for (const NegativeBatch& batch : batches) sink(batch);
      lock.lock();
    }
  } catch (...) {
    board.fail(std::current_exception());
  }
  for (std::thread& thread : threads) thread.join();
  if (board.error) std::rethrow_exception(board.error);
}

}  // namespace quarry

// A training loop asks for negatives batch by batch: pointers to the rows and query vectors of the
// batch go in, item indices come out in memory of the caller's. Nothing is allocated once the first
// batch has been seen, which this program counts.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <random>
#include <vector>

#include "host/mine/miner.h"

namespace {

constexpr std::uint32_t kUsers = 5000;
constexpr std::uint32_t kItems = 20000;
constexpr std::uint32_t kDim = 64;
constexpr std::uint32_t kEventsPerUser = 20;
constexpr std::uint32_t kBatchRows = 512;
constexpr int kBatches = 100;

int allocations = 0;

/// Host memory as the library would take it, counted.
quarry::Allocator counting_allocator() {
  return {[](void*, std::size_t bytes, const quarry::Exec&) -> void* {
            ++allocations;
            return ::operator new (bytes, std::align_val_t{64});
          },
          [](void*, void* pointer, std::size_t, const quarry::Exec&) noexcept {
            ::operator delete (pointer, std::align_val_t{64});
          },
          nullptr};
}

std::vector<float> random_vectors(std::mt19937& random, std::uint32_t rows) {
  std::normal_distribution<float> normal;
  std::vector<float> vectors(std::size_t{rows} * kDim);
  for (float& x : vectors) x = normal(random);
  return vectors;
}

/// What the users did: likes and skips of random items.
std::vector<quarry::Event> random_events(std::mt19937& random) {
  std::vector<quarry::Event> events;
  for (std::uint32_t user = 0; user < kUsers; ++user) {
    for (std::uint32_t e = 0; e < kEventsPerUser; ++e) {
      quarry::Event event;
      event.user = user;
      event.item = random() % kItems;
      event.time = 1'700'000'000 + static_cast<std::int64_t>(random() % 10'000'000);
      event.kind = random() % 2;
      events.push_back(event);
    }
  }
  return events;
}

int run() {
  std::mt19937 random(1);
  const std::vector<float> items = random_vectors(random, kItems);
  const std::vector<float> users = random_vectors(random, kUsers);

  // Once: the recipe, the history, the item table. The Miner keeps `items` by pointer.
  const quarry::Recipe recipe = quarry::load_recipe("nv-perc", 0, {"k=8"});
  const quarry::Exposure exposure = quarry::classify_events(
      random_events(random), {"like", "skip"}, recipe.exposure, kUsers, kItems, std::nullopt);
  quarry::MinerInputs inputs;
  inputs.items = {items.data(), kItems, kDim, quarry::Dtype::kF32};
  inputs.users = {users.data(), kUsers, kDim, quarry::Dtype::kF32};
  inputs.exposure = &exposure;
  const quarry::Allocator allocator = counting_allocator();
  quarry::MinerOptions options;
  options.exec.threads = 2;
  options.exec.allocator = &allocator;
  options.seed = 42;
  options.tile_rows = kBatchRows;
  quarry::Miner miner(recipe, inputs, options);

  std::vector<std::uint64_t> keys(kBatchRows);
  std::vector<std::uint32_t> batch_users(kBatchRows);
  std::vector<std::uint64_t> offsets(kBatchRows + 1);
  std::vector<std::uint32_t> positives(kBatchRows);
  // What the loop wants of each batch: items [rows, k] and how many there are [rows].
  std::vector<std::uint32_t> negatives(std::size_t{kBatchRows} * recipe.k);
  std::vector<std::uint16_t> count(kBatchRows);
  quarry::Picks picks;
  picks.item = negatives.data();
  picks.count = count.data();
  int after_warm_up = 0;
  std::uint64_t emitted = 0;
  std::uint64_t wrong = 0;
  double seconds = 0;
  for (int batch = 0; batch < kBatches; ++batch) {
    // What a training step has: some rows, and the vectors that the model gives their users right
    // now.
    for (std::uint32_t row = 0; row < kBatchRows; ++row) {
      keys[row] = std::uint64_t{kBatchRows} * static_cast<std::uint64_t>(batch) + row;
      batch_users[row] = random() % kUsers;
      positives[row] = random() % kItems;
      offsets[row + 1] = row + 1;
    }
    std::vector<float> queries = random_vectors(random, kBatchRows);
    for (std::size_t i = 0; i < queries.size(); ++i)
      queries[i] += items[std::size_t{positives[i / kDim]} * kDim + i % kDim];

    quarry::RowsView rows;
    rows.num_rows = kBatchRows;
    rows.key = keys.data();
    rows.user = batch_users.data();
    rows.positive_offsets = offsets.data();
    rows.positives = positives.data();
    rows.queries = queries.data();
    const auto start = std::chrono::steady_clock::now();
    miner.mine_batch(rows, picks);  // with a GPU: device pointers, and the caller's stream
    const double taken =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (std::uint32_t r = 0; r < kBatchRows; ++r) {
      emitted += count[r];
      for (std::uint32_t slot = 0; slot < count[r]; ++slot) {
        const std::uint32_t item = negatives[std::size_t{r} * recipe.k + slot];
        wrong += item >= kItems || item == positives[r] ? 1 : 0;
      }
    }
    // A first batch warms up; it is not counted.
    if (batch == 0) after_warm_up = allocations;
    if (batch > 0) seconds += taken;
  }
  const int later = allocations - after_warm_up;

  const double rows_per_second = kBatchRows * (kBatches - 1) / seconds;
  std::printf(
      "%d batches of %u rows: %llu of %llu negatives, %llu wrong, %d allocations after "
      "the first batch, %.0f rows/s\n",
      kBatches, kBatchRows, static_cast<unsigned long long>(emitted),
      static_cast<unsigned long long>(std::uint64_t{kBatchRows} * kBatches * recipe.k),
      static_cast<unsigned long long>(wrong), later, rows_per_second);
  return wrong == 0 && emitted > 0 && allocations > 0 && later == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "per_batch: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
